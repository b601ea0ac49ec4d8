"""An Ollama-compatible server for machines without Ollama. Loopback only.

`run` starts and stops it. `http` has the routes, the limits of a connection, and the faults;
`ollama` has Ollama's requests and records, as data; `answers` has who answers: recordings, the
model in the box, an engine elsewhere.
"""
