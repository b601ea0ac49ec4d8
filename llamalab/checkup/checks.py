"""All checks in their order, and how they are done: side by side, each with a safety net."""

import re
import threading
import time
from collections.abc import Callable, Sequence

from llamalab import find
from llamalab.checkup import browser, machine, network, packages
from llamalab.checkup.report import Finding, Line, Report, fail, note

PATIENCE = 8.0  # seconds for all checks together: a name server may keep silent for minutes

Check = tuple[str, Callable[[], Finding]]  # its name, and the function that looks

CHECKS: tuple[Check, ...] = (
    ("Python", packages.python),
    ("Packages", packages.packages),
    ("JupyterLab", packages.jupyterlab),
    ("Widgets", packages.widgets),
    ("Engine", packages.engine),
    ("Model file", machine.model_file),
    ("Disk", machine.disk),
    ("System", network.system),
    ("OLLAMA_HOST", network.ollama_host),
    ("Port 11434", network.port_11434),
    ("Models", network.models),
    ("Proxy", network.proxies),
    ("localhost", network.localhost),
    ("Console", machine.console),
)

IN_A_PAGE: tuple[Check, ...] = (
    ("Python", packages.python),
    ("Files", browser.files),
    ("Server", browser.server),
)


def doctor() -> Report:
    """Look at everything the lesson needs, in about a second.

    `.ok` says whether the lesson can begin; `.lines` has each line's `name`, `state` ("OK",
    "note" or "FAIL"), `found` and `do`.
    """
    if find.page():  # no threads there, and nothing that takes long
        return Report([Line(name, *careful(check)) for name, check in IN_A_PAGE])
    return checkup()


def checkup(checks: Sequence[Check] = CHECKS, patience: float = PATIENCE) -> Report:
    """Do all checks side by side, and wait for them at most `patience` seconds."""
    silence = note(f"no result within {patience:g} seconds", "look at the network; try once more")
    findings = dict.fromkeys(range(len(checks)), silence)

    def look(number: int, check: Callable[[], Finding]) -> None:
        findings[number] = careful(check)

    threads = [
        threading.Thread(target=look, args=(number, check), daemon=True)
        for number, (_, check) in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return Report([Line(name, *findings[number]) for number, (name, _) in enumerate(checks)])


def careful(check: Callable[[], Finding]) -> Finding:
    """A check's finding, or its error as a note: not knowing is not a reason to stop."""
    try:
        return check()
    except ModuleNotFoundError as error:  # what the checks import, the lesson's server needs
        return fail(f"the package {error.name} is not installed", packages.install(error.name))
    except Exception as error:
        words = re.sub(r"://\S*@", "://", f"{type(error).__name__}: {error}")  # no passwords
        return note(f"this check itself failed ({words})")
