"""The program of the engine's process: llama.cpp, through xllamacpp. `engine` starts it.

The first line of stdin is a JSON object of settings. Once the model is loaded, a line on stdout
says where llama.cpp listens. The process ends when stdin closes, so it ends with its parent,
however that ends, on each system. It imports nothing of llamalab: it starts faster.
"""

import json
import os
import sys
import threading


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = wanted.pop("file")
    params.api_keys = [wanted.pop("key")]
    params.hostnames = ["127.0.0.1"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = wanted.pop("threads")
    for name, value in wanted.items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)  # it lives as long as it is referred to
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: no module of ours should replace another
    main()
