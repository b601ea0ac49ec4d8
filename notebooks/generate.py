"""Ask a model: python generate.py "Are you listening?"

The server is the one in OLLAMA_HOST. If that is not set, it is Ollama on this computer.
"""

import json
import os
import re
import sys

import requests

MODEL = "mistral"
USAGE = 'usage: python generate.py "your prompt"'
NO_SERVER = "No server answers. Start Ollama or `llamalab serve`, or set OLLAMA_HOST."


def server_address(host):
    """Return the URL for a host, a host:port or a URL; a key may be in it (user:key@host)."""
    if not host.startswith(("http://", "https://")):
        host = f"http://{host}" if re.search(r":\d+$", host) else f"http://{host}:11434"
    if not re.fullmatch(r"https?://([^/@]+@)?[\w.-]+(:\d+)?(/\S*)?", host):
        raise RuntimeError("OLLAMA_HOST must be a host, host:port, or http://host:port.")
    return host.replace("//0.0.0.0", "//127.0.0.1").rstrip("/")


def ask(server, prompt):
    """Print the fragments as they arrive. Raise an error if the answer is not complete."""
    if "//127.0.0.1" in server or "//localhost" in server:
        os.environ["no_proxy"] = "127.0.0.1,localhost"  # no proxy for this computer
    url = f"{server}/api/generate"
    json_data = {"model": MODEL, "prompt": prompt}
    answer = {}
    try:
        response = requests.post(url, json=json_data, stream=True, timeout=(5, 330))
    except requests.ConnectionError:
        raise RuntimeError(NO_SERVER) from None
    with response:
        for json_line in response.iter_lines(chunk_size=None):
            answer = json.loads(json_line)
            if "error" in answer:
                raise RuntimeError(f"The server says: {answer['error']}")
            print(answer["response"] or "", end="", flush=True)
    if not answer.get("done"):
        raise RuntimeError("The answer stopped before its end. Try again.")
    print()


def main():
    """Ask, and return the exit code: 0 success, 1 error, 2 wrong usage, 130 Ctrl-C."""
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) != 1:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        ask(server_address(os.environ.get("OLLAMA_HOST") or "127.0.0.1"), arguments[0])
        return 0
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        problem = error
    except (requests.RequestException, ValueError, KeyError, TypeError):
        problem = "The answer stopped, or it is not from a model server. Look at OLLAMA_HOST."
    print(f"\n{problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # print "?" for characters the console cannot show
    sys.exit(main())
