"""What the built-in model gives through the server, beside the engine driven directly.

    uv run python tests/benchmarks/engine_cost.py

The server and the engine alone each run in a process of their own and take turns at the same
prompts (temperature 0, 128 tokens); medians of one run on one machine. Targets:

    one reader             >= 0.95 x the engine driven directly, in tokens/s
    eight readers          >= 1.5 x one reader's tokens/s in all, first fragment <= 0.6 s (median)
    start to listening     <= 1.0 s        first token of a cold model   <= 2 s
    resident memory        <= 500 MB with eight readers, server and engine; <= 70 MB without a model
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time

import psutil
import requests

ROUNDS = 7
TOKENS = 128
PROMPTS = [
    "Tell me a long story about a fox.",
    "Why is the sky blue? Explain in detail.",
    "Write a long poem about rain.",
    "How do I bake bread? List every step.",
    "Who was Ada Lovelace? Tell me everything.",
    "Describe a llama to a child, at length.",
    "What happened in the year 1969?",
    "Explain how a bicycle stays upright.",
]

DIRECT = """
import json, sys, time, requests
from llamalab.standin.answers import builtin_model
from llamalab.standin.answers.engine import Engine
at = Engine(builtin_model.model_path()).endpoint
for line in sys.stdin:
    start, last = time.perf_counter(), {}
    headers = {"Authorization": f"Bearer {at.key}"}
    url = f"{at.url}/v1/chat/completions"
    with requests.post(url, json=json.loads(line), headers=headers, stream=True) as answer:
        for event in answer.iter_lines():
            if b'"content":"' in event:
                end = time.perf_counter()
            if b'"timings"' in event:
                last = json.loads(event.partition(b":")[2])["timings"]
    print(json.dumps({"tokens": last["predicted_n"], "seconds": end - start}), flush=True)
"""


def ask(url: str, prompt: str) -> dict:
    """One answer: its tokens, seconds to the first and to the last fragment."""
    options = {"temperature": 0, "num_predict": TOKENS}
    asked = {"model": "smollm2:135m", "prompt": prompt, "options": options}
    start = time.perf_counter()
    first = None
    with requests.post(f"{url}/api/generate", json=asked, stream=True) as response:
        for line in response.iter_lines():
            record = json.loads(line)
            if record.get("response"):
                last = time.perf_counter() - start
                first = first or last
    return {"tokens": record["eval_count"], "first": first, "seconds": last}


def ask_all(url: str, prompts: list[str]) -> tuple[float, list[dict]]:
    answers: list[dict] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(ask(url, p))) for p in prompts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, answers


def start_server(port: int) -> tuple[subprocess.Popen, float]:
    """A server process, and the seconds until it listens."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "llamalab", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    server.stdout.readline()  # "Server: ...", said once it listens
    return server, time.perf_counter() - start


def memory_of(server: subprocess.Popen) -> float:
    """Resident megabytes of the server and of its engine."""
    process = psutil.Process(server.pid)
    every = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in every) / 1e6


def main() -> None:
    port = 18765
    url = f"http://127.0.0.1:{port}"
    listening, cold = [], []
    for _ in range(3):
        server, seconds = start_server(port)
        listening.append(seconds)
        cold.append(ask(url, PROMPTS[0])["first"])
        server.terminate()
        server.wait()
    server, _ = start_server(port)
    direct = subprocess.Popen(
        [sys.executable, "-c", DIRECT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    alone, through, together, firsts = [], [], [], []
    ask(url, PROMPTS[0])
    for i in range(ROUNDS):
        prompt = PROMPTS[i % len(PROMPTS)]
        messages = [{"role": "user", "content": prompt}]
        body = {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "stream": True}
        print(json.dumps(body), file=direct.stdin, flush=True)
        run = json.loads(direct.stdout.readline())
        alone.append(run["tokens"] / run["seconds"])
        answer = ask(url, prompt)
        through.append(answer["tokens"] / answer["seconds"])
    for i in range(3):
        prompts = [f"{prompt} ({i})" for prompt in PROMPTS]  # not what is in the cache
        seconds, answers = ask_all(url, prompts)
        together.append(sum(a["tokens"] for a in answers) / seconds)
        firsts.append(statistics.median(a["first"] for a in answers))
    repeated = statistics.median(ask(url, PROMPTS[i % 4])["first"] for i in range(12))
    memory = memory_of(server)
    unload = {"model": "smollm2:135m", "keep_alive": 0}
    requests.post(f"{url}/api/generate", json=unload)
    without = memory_of(server)
    direct.stdin.close()
    server.terminate()
    one, eight = statistics.median(through), statistics.median(together)
    engine = statistics.median(alone)
    print(f"engine alone        {engine:7.1f} tokens/s   ({os.cpu_count()} cores)")
    print(f"one reader          {one:7.1f} tokens/s   {one / engine:.2f} x  (target: >= 0.95)")
    print(f"eight readers       {eight:7.1f} tokens/s   {eight / one:.2f} x  (target: >= 1.5)")
    print(f"  first fragment    {statistics.median(firsts):7.2f} s    (target: <= 0.6)")
    print(f"start to listening  {statistics.median(listening):7.2f} s    (target: <= 1.0)")
    print(f"cold first token    {statistics.median(cold):7.2f} s    (target: <= 2)")
    print(f"repeated question   {repeated:7.3f} s    to its first fragment")
    print(f"resident memory     {memory:7.0f} MB   (target: <= 500, server and engine)")
    print(f"  without a model   {without:7.0f} MB   (target: <= 70)")


if __name__ == "__main__":
    main()
