"""An Ollama-compatible server for machines without Ollama. Loopback only; nothing loads here.

`llamalab.find` and the command line enter through `llamalab.server.run`; nobody else needs to.
Who it imitates, and how closely, is measured in `tests/server`.
"""
