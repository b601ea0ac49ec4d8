"""What `import llamalab` costs beside `import requests`: whole processes, taken in turns.

    uv run python tests/benchmarks/import_cost.py

Target: the median of llamalab is at most 1.15 times the median of requests.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 31


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> int:
    statements = ["pass", "import requests", "import llamalab"]
    taken: dict[str, list[float]] = {statement: [] for statement in statements}
    for statement in statements:
        seconds(statement)  # the first one reads the disk
    for _ in range(ROUNDS):
        for statement in statements:
            taken[statement].append(seconds(statement))
    for statement in statements:
        print(f"{statement:16} {statistics.median(taken[statement]) * 1000:7.1f} ms")
    nothing, requests, llamalab = (statistics.median(taken[s]) for s in statements)
    ratio = llamalab / requests
    print(f"ratio            {ratio:7.2f}     (target: at most 1.15)")
    own = (llamalab - nothing) / (requests - nothing)
    print(f"... without the interpreter's own start: {own:.2f}")
    return ratio > 1.15


if __name__ == "__main__":
    sys.exit(main())
