"""What nginx in front of the model servers costs a class, and what it is good for.

    uv run python tests/benchmarks/class_cost.py

First: sixty readers stream a recorded answer at its true pace, direct and through nginx in turn,
at three built-in servers. How late is each record, counted from the first one of its answer?
Then: eight students ask the model in the box one after another, alone and beside a greedy one who
sends a hundred requests, twenty at a time; direct, and through nginx, which lets one through.
How long do the eight wait for their first fragment? All figures are in milliseconds.

27 November 2026, two cores with nothing else to do, nginx 1.22.1:

                                         p50      p90      p99
    60 readers, direct                   0.9      3.7     15.8
    60 readers, nginx                    0.9      3.6     15.8
    8 students, direct, alone            137      820      826
    8 students, direct, beside it       5652     6842     6907
    8 students, nginx, alone              96      129      149
    8 students, nginx, beside it         115      153      176
"""

import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import requests

from llamalab.classroom.share import command, program, students
from llamalab.classroom.share.addresses import Place
from llamalab.standin.answers.local_model import local_model
from llamalab.standin.answers.recordings import moment
from llamalab.standin.run import BuiltinServer

sys.path.append(str(Path(__file__).parents[1]))
from nginx_class import all_at_once
from tiny_server import free_port

READERS, ROUNDS, OTHERS, GREEDY, AT_A_TIME = 60, 3, 8, 100, 20
RECORDED = {"model": "mistral", "prompt": "Are you listening?"}
LIVE = {"model": "smollm2:135m", "prompt": "Name an animal.", "options": {"num_predict": 20}}

Asking = Callable[[int], tuple[str, tuple[str, str] | None]]  # a number -> address, key


@contextlib.contextmanager
def nginx_in_front(servers: Sequence[BuiltinServer], count: int):
    """Where each of `count` students asks, through nginx."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Place("127.0.0.1", free_port())
        urls = [server.url for server in servers]
        with contextlib.redirect_stdout(None):
            command.share(command.Asked(folder, str(count), upstream=urls, listen=str(place)))
        stack.enter_context(program.Nginx(Path(folder), place))
        known = students.load(Path(folder))
        yield lambda number: (f"http://{place}", known[number][1:])


def records(asking: Asking, number: int, asked: dict) -> list[tuple[float, dict]]:
    """When each record came (ns since 1970), and the record."""
    address, auth = asking(number)
    came, rest = [], b""
    with requests.post(
        f"{address}/api/generate", json=asked, auth=auth, stream=True, timeout=600
    ) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_content(None):
            *lines, rest = (rest + chunk).split(b"\n")
            came += [(time.time_ns(), json.loads(line)) for line in lines]
    return came


def lateness(asking: Asking) -> list[float]:
    """Milliseconds that each record of sixty readers is late, from the earliest one on."""
    late = []
    for came in all_at_once(READERS, lambda number: records(asking, number, RECORDED)):
        if isinstance(came, Exception):
            raise came
        behind = [at - moment(record["created_at"]) for at, record in came]
        late += [(each - min(behind)) / 1e6 for each in behind]
    return late


def first_fragments(asking: Asking, greedy: bool) -> list[float]:
    """Milliseconds to the first record for eight students, each three times in a row."""
    end, threads = threading.Event(), []
    if greedy:
        left = iter(range(GREEDY))
        threads = [
            threading.Thread(target=ask_greedily, args=(asking, left, end), daemon=True)
            for _ in range(AT_A_TIME)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)

    def lesson(number: int) -> list[float]:
        waits = []
        for _ in range(3):
            begun = time.time_ns()
            waits.append((records(asking, number + 1, LIVE)[0][0] - begun) / 1e6)
        return waits

    waits = all_at_once(OTHERS, lesson)
    end.set()
    for thread in threads:
        thread.join(60)
    return [wait for each in waits for wait in each]


def ask_greedily(asking: Asking, left, end: threading.Event) -> None:
    for _ in left:
        if end.is_set():
            return
        with contextlib.suppress(requests.RequestException):
            records(asking, 0, {**LIVE, "options": {"num_predict": 100}})


def show(what: str, values: list[float]) -> None:
    percents = statistics.quantiles(values, n=100)
    shown = [statistics.median(values), percents[89], percents[98], max(values)]
    print(f"{what:36}" + "".join(f"{value:9.1f}" for value in shown), flush=True)


def main() -> None:
    print(f"{datetime.now():%Y-%m-%d}, in ms {'':21}{'p50':>8}{'p90':>9}{'p99':>9}{'worst':>9}")
    servers = [BuiltinServer.start() for _ in range(3)]
    with nginx_in_front(servers, READERS) as through:
        ways = {"direct": lambda number: (servers[number % 3].url, None), "nginx": through}
        late: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, asking in ways.items():
                late[way] += lateness(asking)
    for way, values in late.items():
        show(f"{READERS} readers, {way}", values)
    for server in servers:
        server.stop()
    with BuiltinServer.start(engine=local_model()) as server:
        direct = lambda number: (server.url, None)  # noqa: E731
        records(direct, 0, LIVE)  # loads the model
        with nginx_in_front([server], OTHERS + 1) as through:
            for way, asking in (("direct", direct), ("nginx", through)):
                for greedy in (False, True):
                    beside = "beside a greedy one" if greedy else "alone"
                    show(f"{OTHERS} students, {way}, {beside}", first_fragments(asking, greedy))


if __name__ == "__main__":
    main()
