"""What reading one fragment costs: the document's bare loop, `llamalab.stream`, the ollama package.

    uv run python tests/benchmarks/stream_cost.py

A server in a separate process sends 20,000 records, one HTTP chunk each, as fast as they are
taken. Each reader runs in a fresh process, in turns; the time is that of the reading alone.
Targets: `stream()` at most 1.3 times the bare loop and at most half of the ollama package, and
its memory does not grow with the number of fragments beyond their text.
"""

import json
import multiprocessing
import socket
import statistics
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))
from tiny_server import chunk, head

FRAGMENTS = 20_000
ROUNDS = 9

READERS = {
    "the document's loop": """
import requests, json
def read():
    text = ""
    response = requests.post(URL + "/api/generate", json={"model": "m", "prompt": "?"})
    answers = [json.loads(line) for line in response.content.decode("utf-8").splitlines()]
    for answer in answers:
        if not answer["done"]:
            text += answer["response"]
    return text
""",
    "llamalab.stream": """
import llamalab
def read():
    text = ""
    for fragment in llamalab.stream("?", model="m", server=URL):
        text += fragment
    return text
""",
    "ollama package": """
import ollama
client = ollama.Client(URL)
def read():
    text = ""
    for part in client.generate("m", "?", stream=True):
        text += part.response
    return text
""",
}

HARNESS = """
import json, sys, time, tracemalloc
URL, READ, FRAGMENTS = sys.argv[1], sys.argv[2], int(sys.argv[3])
exec(READ)
read()
start = time.perf_counter()
text = read()
seconds = time.perf_counter() - start
tracemalloc.start()
read()
peak = tracemalloc.get_traced_memory()[1]
assert len(text) == FRAGMENTS * 6, len(text)
print(json.dumps({"seconds": seconds, "peak": peak}))
"""


def serve(ready: Connection, fragments: int) -> None:
    start = '{"model":"m","created_at":"2026-01-12T17:04:38.40368138Z",'
    records = [start + '"response":" token","done":false}\n'] * fragments
    records.append(start + '"response":"","done":true}\n')
    answer = head() + b"".join(chunk(record.encode()) for record in records) + chunk(b"")
    listener = socket.create_server(("127.0.0.1", 0))
    ready.send(listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        with connection:
            while request := connection.recv(65536):
                if request.endswith(b"}"):  # the body is there
                    connection.sendall(answer)


def main() -> int:
    medians, peaks = {}, {}
    for fragments in (FRAGMENTS // 10, FRAGMENTS):
        here, there = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(there, fragments), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{here.recv()}"
        results: dict[str, list[dict]] = {name: [] for name in READERS}
        for _ in range(ROUNDS if fragments == FRAGMENTS else 1):
            for name, read in READERS.items():
                arguments = [sys.executable, "-c", HARNESS, url, read, str(fragments)]
                done = subprocess.run(arguments, check=True, capture_output=True, text=True)
                results[name].append(json.loads(done.stdout))
        server.terminate()
        print(f"{fragments} fragments")
        for name, runs in results.items():
            medians[name] = statistics.median(run["seconds"] for run in runs) / fragments
            peak = peaks[name, fragments] = statistics.median(run["peak"] for run in runs)
            print(f"  {name:20} {medians[name] * 1e6:6.2f} µs each   peak {peak / 1e6:6.2f} MB")
    bare, stream, package = medians.values()
    print(f"stream / the document's loop: {stream / bare:.2f}  (target: at most 1.3)")
    print(f"stream / ollama package:      {stream / package:.2f}  (target: at most 0.5)")
    grown = peaks["llamalab.stream", FRAGMENTS] - peaks["llamalab.stream", FRAGMENTS // 10]
    text = 2 * (FRAGMENTS - FRAGMENTS // 10) * len(" token")  # kept by reader and by stream()
    print(f"memory of stream grows by:    {grown / text:.2f} x the text  (target: at most 1.1)")
    return stream / bare > 1.3 or stream / package > 0.5 or grown > 1.1 * text


if __name__ == "__main__":
    sys.exit(main())
