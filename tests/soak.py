"""The built-in server under eight impatient readers, for as long as you like, and its figures.

    uv run python tests/soak.py --minutes 10

Each reader asks at random: a recording or the model, one of three endpoints, streamed or whole,
well, with a fault, or going away at any byte. At the end every answer that was let come to its
end was whole, the model was idle, and the server has no more memory, threads and files than when
it was warm. Exit code 1 where that is not so.
"""

import argparse
import collections
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psutil
import requests

from llamalab.standin import limits
from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.engine import SLOTS
from llamalab.standin.answers.recordings import read_folder
from llamalab.standin.http.faults import FAULTS

READERS = 8
PATIENCE = 180  # seconds without a byte: the model is slow where others need the processor, too
SLICES = 8  # of the time, to see the memory on the way; a second or more each
GROWTH = 20 * 2**20  # bytes; or a twentieth, where that is more

MODEL = builtin_model.NAME
SHORT = {"num_predict": 3}
RIGHT = {"split-line"}  # faults that a patient reader never notices, and that we can compare
ENDLESS = {"stall", "slow-start"}  # those that only end for who leaves

RECORDINGS = read_folder()


class Soak:
    """Eight readers at one server; what they did is in `did`, what went wrong in `wrong`."""

    def __init__(self, url: str, live: bool, seed: int):
        self.url, self.live, self.seed = url, live, seed
        self.did: collections.Counter = collections.Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def run(self, seconds: float) -> None:
        self.seed += READERS
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(READERS) as readers:
            list(readers.map(self._read_until, [end] * READERS, range(READERS)))

    def _read_until(self, end: float, reader: int) -> None:
        dice = random.Random(self.seed + reader)
        while time.monotonic() < end:
            path, asked, lines = self._question(dice)
            fault = dice.choice(sorted(FAULTS)) if dice.random() < 0.3 else ""
            prefix = f"/fault/{fault}" if fault else ""
            if fault in ENDLESS or dice.random() < 0.3:
                did = self._leave(dice, prefix + path, asked)
            else:
                did = self._read(prefix + path, fault, asked, lines)
            with self._lock:
                self.did.update(["requests", did, *(["faults"] if fault else [])])

    def _question(self, dice: random.Random) -> tuple[str, dict, list[bytes] | None]:
        """A path, a request, and the recorded lines of its answer (None: the model's own)."""
        stream = {"stream": dice.random() < 0.6}
        if self.live and dice.random() < 0.3:
            prompt = f"Say {dice.randrange(1000)}."
            messages = [{"role": "user", "content": prompt}]
            asked = {"model": MODEL, **stream, "options": SHORT, "max_tokens": 3}
            path = dice.choice(["/api/generate", "/api/chat", "/v1/chat/completions"])
            return path, {**asked, "prompt": prompt, "messages": messages}, None
        recording = dice.choice(RECORDINGS)
        path = recording.path
        if path == "/api/chat" and "options" not in recording.request and dice.random() < 0.3:
            path = "/v1/chat/completions"
        return path, {**recording.request, **stream}, recording.lines

    def _read(self, path: str, fault: str, asked: dict, lines: list[bytes] | None) -> str:
        """Read an answer to its end, and say what became of it."""
        try:
            answer = requests.post(self.url + path, json=asked, timeout=PATIENCE)
        except requests.Timeout:
            self.wrong.append(f"{path}: nothing came any more")
            return "hung"
        except requests.RequestException as error:
            if not fault:
                self.wrong.append(f"{path}: {error}")
            return "broken"
        if fault and fault not in RIGHT:
            return "faulty"
        if answer.status_code != 200 or not is_whole(path, asked, answer.content, lines):
            self.wrong.append(f"{path} {asked}: {answer.status_code} {answer.content[:300]}")
        return "whole"

    def _leave(self, dice: random.Random, path: str, asked: dict) -> str:
        """Go away in the middle of the request, or after any byte of the answer."""
        body = json.dumps(asked).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        address = urlsplit(self.url)
        with (
            suppress(OSError),
            socket.create_connection((address.hostname, address.port), PATIENCE) as connection,
        ):
            if dice.random() < 0.2:
                request = request[: dice.randrange(len(request))]
            connection.sendall(request)
            connection.settimeout(dice.random())
            left = dice.randrange(2000)
            while left > 0 and (data := connection.recv(left)):
                left -= len(data)
            if dice.random() < 0.5:  # and with a bang: a reset instead of an end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "left"


def is_whole(path: str, asked: dict, content: bytes, lines: list[bytes] | None) -> bool:
    """Whether an answer is the recorded one, to the byte; or else well formed, to its end."""
    if "/v1/" in path:
        text, ended = openai_text(asked, content)
        return ended and (lines is None or text == text_of(lines))
    if asked["stream"] and lines is not None:
        return content == b"".join(lines)
    records = [json.loads(line) for line in content.splitlines()]
    return records[-1]["done"] and (lines is None or text_of([content]) == text_of(lines))


def text_of(lines: list[bytes]) -> str:
    records = [json.loads(line) for line in lines]
    return "".join(r["message"]["content"] if "message" in r else r["response"] for r in records)


def openai_text(asked: dict, content: bytes) -> tuple[str, bool]:
    """The text of a `/v1/chat/completions` answer, and whether it has its end."""
    if not asked["stream"]:
        choice = json.loads(content)["choices"][0]
        return choice["message"]["content"], bool(choice["finish_reason"])
    events = [event.removeprefix(b"data: ") for event in content.split(b"\n\n")]
    choices = [choice for event in events[:-2] for choice in json.loads(event)["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return text, events[-2:] == [b"[DONE]", b""]


# ---- the server, seen from outside


@contextmanager
def serving():
    """A separate server in a separate process: its address and the process.

    glibc gives each thread its own heap, and how many of them once were full is chance: a
    few threads more or less were 60 MB. With two heaps, what grows is a leak.
    """
    command = [sys.executable, "-m", "llamalab", "serve", "--port", "0", "--speed", "0"]
    env = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        said = iter(server.stdout.readline, "")
        url = next(found[1] for line in said if (found := re.match(r"Server: (\S+)", line)))
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def settled(url: str, process: psutil.Process) -> dict:
    """What the server holds once nobody asks: memory, threads, files. Its model is unloaded.

    A model that is still held by a reader who has left is never unloaded: this then says so.
    """
    asked = {"model": MODEL, "keep_alive": 0}
    end = time.monotonic() + PATIENCE
    requests.post(f"{url}/api/generate", json=asked)
    while True:
        busy = bool(requests.get(f"{url}/api/ps").json()["models"])
        time.sleep(0.2)  # until the server has seen that this reader has left, too
        others = len([c for c in connections(process) if c.status != "LISTEN"])
        if not (busy or others) or time.monotonic() > end:
            break
    files = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
    memory, threads = process.memory_info().rss, process.num_threads()
    return {"busy": busy, "connections": others, "rss": memory, "threads": threads, "fds": files}


def connections(process: psutil.Process) -> list:
    look = getattr(process, "net_connections", None) or process.connections  # psutil 5
    return look("tcp")


def ask_the_most_at_once(url: str) -> None:
    """What takes the most memory, from all readers at the same time: it is not all given back.

    Later it happens by chance, and would look like a leak.
    """
    longest = b" " * limits.MAX_BODY

    def ask(_: int) -> None:
        huge = f"{url}/fault/huge-line/api/generate"
        requests.post(huge, json={**RECORDINGS[0].request, "stream": True}, timeout=PATIENCE)
        requests.post(f"{url}/api/generate", data=longest, timeout=PATIENCE)

    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(ask, range(4 * READERS)))


def all_slots_answer(url: str) -> bool:
    """Whether as many readers as the engine has slots are answered at the same time."""
    asked = {"model": MODEL, "prompt": "Hi", "stream": False, "options": SHORT}

    def done(_: int) -> bool:
        answer = requests.post(f"{url}/api/generate", json=asked, timeout=PATIENCE)
        return answer.json().get("done", False)

    with ThreadPoolExecutor(SLOTS) as readers:
        return all(readers.map(done, range(SLOTS)))


def soak(
    seconds: float,
    warm: float,
    seed: int = 0,
    live: bool | None = None,
    tries: int = 1,
    rounds: int = 2,
) -> list[str]:
    """Let the readers at a server, print its figures; what was not as it should be.

    A process that has only begun still grows: with more than one of `tries`, it has to stop for
    `seconds` once, after as many of them at most. It warms up in `rounds` for `warm` seconds: of
    the second model it unloads, glibc keeps more than of the first.
    """
    live = builtin_model.is_whole() if live is None else live
    slices = max(1, min(SLICES, int(seconds)))
    with serving() as (url, process):
        readers = Soak(url, live, seed)
        after = start = settled(url, process)
        slots = True
        for _ in range(rounds):
            readers.run(warm / rounds)
            ask_the_most_at_once(url)
            slots = slots and (not live or all_slots_answer(url))
            after = settled(url, process)
        memory = []
        for _ in range(tries):
            before = after
            for _ in range(slices):
                readers.run(seconds / slices)
                memory.append(process.memory_info().rss)
            slots = slots and (not live or all_slots_answer(url))
            after = settled(url, process)
            if not (more := grown(before, after)):
                break
    wrong = readers.wrong[:10]
    if not slots:
        wrong.append("not every slot of the engine is free")
    wrong += [f"{name}: {after[name]}" for name in ("busy", "connections") if after[name]]
    wrong += more
    print(f"{'requests':14}", ", ".join(f"{n} {what}" for what, n in readers.did.most_common()))
    for name, figures in (("at the start", start), ("warm", before), ("at the end", after)):
        print(f"{name:14} {mb(figures)}, {figures['threads']} threads, {figures['fds']} files")
    print(f"{'on the way':14}", ", ".join(f"{rss / 2**20:.0f}" for rss in memory), "MB")
    print(f"{'model':14}", "idle, every slot answers" if live and slots else "none" * (not live))
    print("\n".join(["WRONG", *wrong]) if wrong else "All is well.")
    return wrong


def grown(before: dict, after: dict) -> list[str]:
    """What the server has more of than before."""
    found = [
        f"{name}: {before[name]}, then {after[name]}"
        for name in ("threads", "fds")
        if after[name] > before[name]
    ]
    if after["rss"] - before["rss"] > max(GROWTH, before["rss"] // 20):
        found.append(f"memory grows: {mb(before)}, then {mb(after)}")
    return found


def mb(figures: dict) -> str:
    return f"{figures['rss'] / 2**20:.1f} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    print(f"{'seed':14} {arguments.seed}", flush=True)
    seconds = 60 * arguments.minutes
    return 1 if soak(seconds * 0.8, warm=seconds * 0.2, seed=arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
