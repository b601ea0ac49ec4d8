# part 1: what it does, and what it needs
"""Ask a model: python generate.py "Are you listening?" (server: OLLAMA_HOST, or this machine)."""

import json
import os
import sys

import requests

MODEL = "mistral"


# part 2: where the server is
def server_address(host):
    """Make a whole address of a host, host:port, :port, http://... or nothing (this machine)."""
    host = host.strip(" '\"")
    if "://" not in host:
        name, _, port = host.partition(":")
        host = f"http://{name or '127.0.0.1'}:{port or 11434}"
    return host.replace("//0.0.0.0", "//127.0.0.1").rstrip("/")


# part 3: post the prompt
def post(server, prompt):
    """Post the prompt; hand out each line of the answer as soon as it is here."""
    if "//127.0.0.1" in server or "//localhost" in server:
        os.environ["no_proxy"] = "127.0.0.1,localhost"  # what stays here is not for a proxy
    url = f"{server}/api/generate"
    json_data = {"model": MODEL, "prompt": prompt}
    with requests.post(url, json=json_data, stream=True, timeout=(5, 330)) as response:
        yield from response.iter_lines(chunk_size=None)


# part 4: a line becomes a record
def load_answer(json_line):
    """Turn a line into a dictionary; say what an error record says."""
    answer = json.loads(json_line)
    if not isinstance(answer, dict):
        raise ValueError("a record is a dictionary")
    if "error" in answer:
        raise RuntimeError(f"The server says: {answer['error']}")
    return answer


# part 5: print the fragments
def print_answer(json_lines):
    """Print each fragment as it arrives; the last record has to be done."""
    answer = {}
    for answer in map(load_answer, json_lines):
        print(answer["response"] or "", end="", flush=True)
    if not answer.get("done"):
        raise RuntimeError("The answer stopped before its end.")


# part 6: what went wrong, in one sentence
def explain(error, server):
    """Say what happened, and what to do about it."""
    if isinstance(error, RuntimeError):
        return str(error)
    if not isinstance(error, requests.ConnectionError) or "Read timed out" in str(error):
        return f"No whole answer from {server}: is it a model server? Ask again."
    return f"No server at {server}: start Ollama or `llamalab serve`, or point OLLAMA_HOST to one."


# part 7: ask, and end well
def ask(server, prompt):
    """Print the answer; return the exit code: 0 answered, 1 trouble, 130 Ctrl-C."""
    try:
        print_answer(post(server, prompt))
    except KeyboardInterrupt:
        return 130
    except (requests.RequestException, RuntimeError, ValueError, KeyError) as error:
        print("\n" + explain(error, server), file=sys.stderr)
        return 1
    print()
    return 0


# part 8: the command line
def main(arguments):
    """Answer the one prompt; with none, or with several, say how the script is used."""
    help = arguments in (["-h"], ["--help"])
    if help or len(arguments) != 1:
        print('usage: python generate.py "your prompt"', file=sys.stdout if help else sys.stderr)
        return 0 if help else 2
    return ask(server_address(os.environ.get("OLLAMA_HOST", "")), arguments[0])


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a console that lacks a character prints "?"
    sys.exit(main(sys.argv[1:]))
