"""What starting costs beside `import requests`: whole processes, taken in turns.

    uv run python tests/benchmarks/import_cost.py

`llamalab` loads `requests` when the first of its functions is used, so that is measured, too.
Target: with it, the median of llamalab is at most 1.15 times the median of requests. The last
line is `llamalab serve`, from its start until a client can connect.
"""

import contextlib
import socket
import statistics
import subprocess
import sys
import time

ROUNDS = 31
STATEMENTS = ["pass", "import requests", "import llamalab", "import llamalab; llamalab.generate"]
SERVE = "llamalab serve"


def seconds(statement: str) -> float:
    """How long a process takes that runs this statement; for SERVE, until it listens."""
    start = time.perf_counter()
    if statement != SERVE:
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - start
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llamalab", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    return time.perf_counter() - start
                time.sleep(0.005)
            raise SystemExit("llamalab serve has ended")
        finally:
            server.terminate()


def main() -> int:
    statements = [*STATEMENTS, SERVE]
    taken: dict[str, list[float]] = {statement: [] for statement in statements}
    for statement in statements:
        seconds(statement)  # the first one reads the disk
    for _ in range(ROUNDS):
        for statement in statements:
            taken[statement].append(seconds(statement))
    medians = {statement: statistics.median(taken[statement]) for statement in statements}
    for statement, median in medians.items():
        print(f"{statement:36} {median * 1000:7.1f} ms {median / medians[STATEMENTS[1]]:7.2f}")
    ratio = medians[STATEMENTS[3]] / medians[STATEMENTS[1]]
    print(f"llamalab in use: {ratio:.2f} times requests (target: at most 1.15)")
    return ratio > 1.15


if __name__ == "__main__":
    sys.exit(main())
