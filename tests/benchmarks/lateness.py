"""How late each record arrives, beside the moment at which it was due.

    uv run python tests/benchmarks/lateness.py

A recording is replayed at its true pace; each record is due where its `created_at` says, counted
from the first one. Connections are new for each answer, or kept (as by `requests.Session`, the
`ollama` and `openai` packages, nginx). With the built-in model a record is due when the engine
has made it, which its own `created_at` says. Medians and the worst of all records, in ms.
"""

import json
import statistics
import time
from datetime import datetime

import requests

from llamalab.standin.answers.local_model import local_model
from llamalab.standin.answers.recordings import moment
from llamalab.standin.run import BuiltinServer

ANSWERS = 5
RECORDED = {"model": "mistral", "prompt": "Are you listening?"}
LIVE = {"model": "smollm2:135m", "prompt": "Count to twenty.", "options": {"num_predict": 60}}


def arrivals(post, url: str, asked: dict) -> list[tuple[float, dict]]:
    """When each record came (ns since 1970), and the record."""
    came, rest = [], b""
    with post(f"{url}/api/generate", json=asked, stream=True) as answer:
        for chunk in answer.iter_content(None):
            *lines, rest = (rest + chunk).split(b"\n")
            came += [(time.time_ns(), json.loads(line)) for line in lines]
    return came


def late_recorded(came: list[tuple[float, dict]]) -> list[float]:
    """Milliseconds after the pace of the recording, from the earliest record on."""
    late = [at - moment(record["created_at"]) for at, record in came]
    return [(each - min(late)) / 1e6 for each in late]


def late_live(came: list[tuple[float, dict]]) -> list[float]:
    """Milliseconds after the record was made; the clocks are the same."""
    return [(at - moment(record["created_at"])) / 1e6 for at, record in came]


def main() -> None:
    print(f"{datetime.now():%Y-%m-%d}, ms late: median, worst of the first records, worst of all")
    with BuiltinServer.start(engine=local_model()) as server:
        requests.post(f"{server.url}/api/generate", json=LIVE)  # loads the model
        for asked, late_by in ((RECORDED, late_recorded), (LIVE, late_live)):
            for kept in (False, True):
                session = requests.Session()
                post = session.post if kept else requests.post
                late = [late_by(arrivals(post, server.url, asked)) for _ in range(ANSWERS)]
                firsts, every = [each[0] for each in late], [ms for each in late for ms in each]
                what = f"{asked['model']}, {'kept' if kept else 'new'} connection"
                median = statistics.median(every)
                print(f"{what:32} {median:6.2f} {max(firsts):6.2f} {max(every):6.2f}")


if __name__ == "__main__":
    main()
