"""What `llamalab share` does: keys, configuration and sheets into a folder; nginx on demand."""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from llamalab import find, keys
from llamalab.classroom.share import (
    addresses,
    lesson_site,
    names,
    nginx,
    program,
    sheets,
    students,
    watch,
)
from llamalab.classroom.share.addresses import Place
from llamalab.classroom.share.students import Student
from llamalab.errors import LlamalabError, ServerNotFound
from llamalab.lesson.jupyterlab import a_server, end_like_ctrl_c, go_on_alone

FOLDER = "llama-class"
SETTINGS = "class.json"  # what was said the last time, but for the keys
PAUSE = 2  # seconds between two looks of --watch

NOT_PROTECTED = (
    "the connection is plain HTTP. In a shared Wi-Fi, others can read prompts, answers\n"
    "          and keys. With a certificate it is encrypted: --cert FILE --key FILE"
)


class Settings(NamedTuple):
    """How a class is served; `upstreams` are () where the server is looked for each time.

    `site` is the folder of the lesson in the browser, "" for none.
    """

    listen: Place
    upstreams: tuple[str, ...] = ()
    certificate: tuple[str, str] | None = None
    site: str = ""

    @property
    def address(self) -> str:
        return sheets.address(self.listen, encrypted=bool(self.certificate))

    @property
    def page(self) -> str:
        """The address of the lesson in the browser; "" for none."""
        return self.address + lesson_site.PATH if self.site else ""


class Asked(NamedTuple):
    """The options of the command line, as they were typed."""

    out: str = FOLDER
    students: str | None = None
    upstream: Sequence[str] = ()
    listen: str | None = None
    cert: str | None = None
    key: str | None = None
    site: str | None = None  # "" takes it out again
    add: Sequence[str] = ()
    withdraw: Sequence[str] = ()
    start: bool = False  # --run
    watch: bool = False


def share(asked: Asked) -> int:
    """Prepare, change, run or watch a class's server; returns the exit code."""
    folder = Path(asked.out).expanduser()
    if asked.watch:
        return keep_watching(folder)
    last_time = load(folder)
    settings = choose(asked, last_time)
    with one_at_a_time(folder):
        before = students.load(folder)
        now = changed(before, asked)
        write_class(folder, settings, now)
        write_sheets(folder, settings, before, now)
        if settings != last_time or not (asked.start or program.running(folder)):
            write_nginx(folder, settings, upstreams_or_usual(settings))
        reloaded = not asked.start and program.reload(folder)  # before a word, which may be cut off
    report_students(folder, before, now)
    report(folder, settings, started=asked.start)
    if last_time and last_time.address != settings.address:
        print(f"New:      the address was {last_time.address}: print the sheets again")
    elif last_time and settings.page and not last_time.page:
        print("New:      the lesson in the browser: print the sheets again")
    if asked.start:
        return run(folder, settings)
    if reloaded:
        print("nginx:    it runs, and has read the keys again")
    else:
        print(f"Start:    llamalab share --run{in_folder(asked.out)}")
    return 0


def in_folder(out: str) -> str:
    return "" if out == FOLDER else f" --out {out}"


# ---- what was asked for


def load(folder: Path) -> Settings | None:
    """The settings that a folder was made with."""
    try:
        known = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        place = Place(str(known["host"]), int(known["port"]))
        certificate = known["certificate"] and (known["certificate"][0], known["certificate"][1])
        site = str(known.get("site", ""))
        return Settings(place, tuple(known["upstreams"]), certificate, site)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LlamalabError(
            f"{folder / SETTINGS} cannot be read.", str(error), "remove it, and call share again"
        ) from None


def choose(asked: Asked, before: Settings | None) -> Settings:
    """The settings for now: what is not said is as it was the last time."""
    if bool(asked.cert) != bool(asked.key):
        raise LlamalabError("A certificate and its key belong together.", do="--cert and --key")
    before = before or Settings(addresses.listening(None))
    listen = addresses.listening(asked.listen) if asked.listen else before.listen
    upstreams = tuple(dict.fromkeys(map(addresses.upstream, asked.upstream))) or before.upstreams
    certificate = before.certificate
    if asked.cert and asked.key:
        certificate = need_file(asked.cert), need_file(asked.key)
    site = before.site if asked.site is None else asked.site
    if str(listen) in upstreams:
        raise LlamalabError(f"nginx at {listen} would ask itself.", do="see --listen, --upstream")
    return Settings(listen, upstreams, certificate, site and lesson_site.need_site(site))


def need_file(name: str) -> str:
    file = Path(name).expanduser().resolve()
    if not file.is_file():
        raise LlamalabError(f"There is no file {name}.")
    if any(mark in str(file) for mark in '"$\\\n'):
        raise LlamalabError(f"nginx cannot read a file of this name: {name}", do="rename it")
    return file.as_posix()


def changed(before: list[Student], asked: Asked) -> list[Student]:
    """The class's students after what was asked. Raises `LlamalabError` where there are none."""
    if not (before or asked.students or asked.add):
        raise LlamalabError(
            "There are no students yet.",
            do="llamalab share --students names.csv   (a name on each line), or --students 30",
        )
    now = students.with_new(before, names.read(asked.students)) if asked.students else before
    for name in asked.add:
        (name,) = names.checked([(1, names.tidy(name))], "--add")
        now = students.given_again(now, name)
    for name in asked.withdraw:
        now = students.withdrawn(now, name)
    return now


# ---- the folder


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Make the folder, for its owner alone; two that write at once do not lose a key."""
    from filelock import FileLock

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise PermissionError(
                errno.EPERM, "it belongs to someone else, who could read the keys"
            )
        folder.chmod(0o700)
        (folder / "tmp").mkdir(exist_ok=True)
        keys.write_private(folder / ".gitignore", "*\n")  # keys belong in no repository
    except OSError as error:
        raise LlamalabError(f"{folder} cannot be used.", str(error), "--out FOLDER") from None
    with FileLock(folder / ".lock"):
        yield


def write_class(folder: Path, settings: Settings, now: list[Student]) -> None:
    students.save(folder, now)
    keys.write_private(folder / "students.map", nginx.key_map(now))
    known = {
        "host": settings.listen.host,
        "port": settings.listen.port,
        "upstreams": settings.upstreams,
        "certificate": settings.certificate,
        "site": settings.site,
    }
    keys.write_private(folder / SETTINGS, json.dumps(known, indent=1))


def write_nginx(folder: Path, settings: Settings, upstreams: Sequence[str]) -> None:
    text = nginx.configuration(settings.listen, upstreams, settings.certificate, settings.site)
    keys.write_private(folder / "nginx.conf", text)


def upstreams_or_usual(settings: Settings) -> Sequence[str]:
    """The model servers that were named, or the one that would be found here."""
    return settings.upstreams or [addresses.upstream((find.present() or (find.DEFAULT, ""))[0])]


def write_sheets(
    folder: Path, settings: Settings, before: list[Student], now: list[Student]
) -> None:
    """All sheets; those of late students once more, in a file to print alone."""
    sheets.write(folder / sheets.FILE, now, settings.address, settings.page)
    new = [student for student in now if student not in before and student.key]
    if before and new:
        sheets.write(folder / sheets.NEW_FILE, new, settings.address, settings.page)


# ---- what is said


def report_students(folder: Path, before: list[Student], now: list[Student]) -> None:
    had_key = {student.login for student in before if student.key}
    new = [s.name for s in now if s.key and s.login not in had_key]
    gone = [s.name for s in now if not s.key and s.login in had_key]
    left = [s.name for s in now if not s.key and s.login not in had_key]
    count = sum(1 for student in now if student.key)
    print(f"Students: {count} with a key, in {folder / students.FILE}")
    if before and new:
        print(f"Added:    {', '.join(new)} (to print alone: {folder / sheets.NEW_FILE})")
    if gone:
        print(f"Key taken back: {', '.join(gone)}")
    if left:
        print(f"No key:   {', '.join(left)} (taken back before; --add NAME gives a new one)")


def report(folder: Path, settings: Settings, started: bool) -> None:
    print(f"Sheets:   {folder / sheets.FILE} (open it in a browser, print it, cut it apart)")
    print(f"nginx:    {folder / 'nginx.conf'}")
    print(f"Address:  {settings.address} ({about_place(settings.listen)})")
    if settings.page:
        print(f"Lesson:   {settings.page} (in any browser; it asks for the login and the key)")
    for server in settings.upstreams or ([] if started else upstreams_or_usual(settings)):
        print(f"Models:   http://{server} ({answers(server)})")
    if not settings.certificate:
        print(f"Open:     {NOT_PROTECTED}")


def about_place(listen: Place) -> str:
    """Whose address it is, and which others there are."""
    own = addresses.machine_s()
    others = [f"{address} ({card})" for address, card in own.items() if address != listen.host]
    also = f"; this machine also has {', '.join(others)}: --listen" if others else ""
    if listen.host in own:
        return f"this machine's, {own[listen.host]}{also}"
    if listen.host in ("127.0.0.1", "localhost", "::1"):
        return f"for this machine alone{also}"
    return f"as you said{also}"


def answers(server: str) -> str:
    """What answers at a model server's address."""
    try:
        return find.who_answers(f"http://{server}", timeout=3)
    except ServerNotFound as error:
        return f"nothing answers there now: {error.why}"


# ---- nginx


def run(folder: Path, settings: Settings) -> int:
    """Run nginx, and the built-in server where no other is there, until Ctrl-C."""
    end_like_ctrl_c()
    program.find()  # before a server is started for nothing
    program.need_stopped(folder)
    code = 0
    try:
        with contextlib.ExitStack() as running:
            upstreams = settings.upstreams
            if not upstreams:
                upstreams = [addresses.upstream(running.enter_context(a_server()))]
            write_nginx(folder, settings, upstreams)
            with program.Nginx(folder, settings.listen) as server:
                print(f"Running:  {settings.address} waits for the class; Ctrl-C ends it")
                print(f"See it:   llamalab share --watch{in_folder(str(folder))}", flush=True)
                while server.running:
                    server.wait(0.5)
                    if not settings.upstreams:
                        go_on_alone()
                print(f"nginx has ended; see {folder / 'error.log'}", file=sys.stderr)
                code = 1
    except KeyboardInterrupt:
        print()  # the terminal has shown ^C
    print("Stopped.", flush=True)
    return code


def keep_watching(folder: Path) -> int:
    """Show the class every two seconds until Ctrl-C; once, where no one watches."""
    settings, known = load(folder), students.load(folder)
    if not (settings and known):
        raise LlamalabError(
            f"There is no class in {folder}.", do="llamalab share --students names.csv --run"
        )
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    while True:
        connections = watch.open_connections(program.running(folder), settings.listen.port)
        requests = watch.recent(folder / "access.log", watch.now())
        shown = watch.table(students.load(folder), requests, *connections)
        print(f"{clear}{time.strftime('%H:%M:%S')}  {settings.address}: {shown}", flush=True)
        if not clear:
            return 0
        time.sleep(PAUSE)
