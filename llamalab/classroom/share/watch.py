"""The class at a glance, from nginx's log and its open connections. No prompts: nginx has none."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import psutil

from llamalab.classroom.share.nginx import ANSWERS
from llamalab.classroom.share.students import Student

MINUTES = 5
TAIL = 8 * 2**20  # bytes of the log that are looked at; five minutes of a class are far less

COLUMNS = ("answers", "stopped", "errors", "refused", "connected")
LEGEND = (
    "answers: complete. stopped: ended early, by the student or by a server that failed. "
    "errors: from a\nmodel server. refused: by nginx (wrong request, too much, too fast). "
    "connected: open connections."
)


def recent(log: Path, now: float, seconds: float = 60 * MINUTES) -> Iterator[dict]:
    """The requests in nginx's log that ended within the last so many seconds."""
    try:
        with log.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - TAIL))
            lines = opened.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            request = json.loads(line.decode(errors="replace"))
            ended = datetime.fromisoformat(request["time"]).timestamp()
        except (ValueError, KeyError, TypeError):
            continue  # the first one may be half a line
        if ended > now - seconds - 1:
            yield request


def kind(request: dict) -> str:
    """The column that a request is counted in; "" for none.

    >>> asked = {"path": "/api/chat", "status": "200", "complete": "OK", "upstream": "gpu:11434"}
    >>> kind(asked), kind(asked | {"complete": ""}), kind({"status": "429", "upstream": ""})
    ('answers', 'stopped', 'refused')
    """
    status = int(request["status"])
    if status == 499:  # the student has stopped waiting, before the answer began
        return "stopped"
    if status >= 500 or (status >= 400 and request["upstream"]):
        return "errors"
    if status >= 400:
        return "refused"
    if request["path"] not in ANSWERS:
        return ""
    return "answers" if request["complete"] else "stopped"


def open_connections(master: psutil.Process | None, port: int) -> tuple[Counter[str], int]:
    """From which addresses students are connected and how often; and how many answers run."""
    students: Counter[str] = Counter()
    running = 0
    for process in master.children() if master else ():
        look = getattr(process, "net_connections", None) or process.connections
        try:
            found = look("tcp")
        except psutil.Error:  # it has just ended
            continue
        for connection in found:
            if connection.status != psutil.CONN_ESTABLISHED:
                continue
            if connection.laddr.port == port:
                students[connection.raddr.ip] += 1
            else:
                running += 1  # towards a model server: nginx keeps no others
    return students, running


def table(
    students: Iterable[Student],
    requests: Iterable[dict],
    connected: Counter[str] | None = None,
    running: int = 0,
) -> str:
    """The class as text: a line for each student, and one for requests without a right key."""
    connected = connected or Counter()
    counts: dict[str, Counter[str]] = {}
    users: dict[str, set[str]] = {}  # an address -> who has asked from there
    for request in requests:
        login = request["student"]
        counts.setdefault(login, Counter())[kind(request)] += 1
        if login:
            users.setdefault(request["address"], set()).add(login)
    for address, number in connected.items():
        if len(who := users.get(address, set())) == 1:  # else it could be any of them
            counts[next(iter(who))]["connected"] += number
    rows = [(s.name, counts.get(s.login, Counter())) for s in students if s.key]
    if unknown := counts.get("", Counter()).total():
        rows.append(("(no key, or a wrong one)", Counter(refused=unknown)))
    width = max([len("student"), *(len(name) for name, _ in rows)])
    lines = [
        f"{running} answers running, {connected.total()} connections; "
        f"ended in the last {MINUTES} minutes:",
        "",
        f"{'student':{width}}" + "".join(f"{column:>11}" for column in COLUMNS),
    ]
    for name, count in rows:
        cells = (count[column] or "-" for column in COLUMNS)
        lines.append(f"{name:{width}}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join([*lines, "", LEGEND])


def now() -> float:
    return datetime.now(timezone.utc).timestamp()
