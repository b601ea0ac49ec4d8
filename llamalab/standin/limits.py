"""How much the built-in server takes, and for how long: every limit it has, with its reason.

It serves one person on this machine, and should survive that person's mistakes: a loop without
an end, an answer never read, a file posted in place of a prompt. A real Ollama has hardly any
of these limits. This module imports nothing.

A limit that is reached is answered in words (413, 431, 408, 400 or 503 with `{"error": ...}`,
as Ollama words an error), and `llamalab.client` turns each into an error of its family.
"""

# ---- sizes, in bytes

MAX_HEAD = 64 * 2**10  # request line and headers; cookies of all of `localhost` fit in (431)
HEAD_TOO_LONG = f"the request's head is longer than {MAX_HEAD} bytes"

# The body of a request (413). The longest contexts there are (a million tokens) take 4 MB of
# text; the built-in model understands no images. What is worst to parse, a list of 1.4 million
# empty lists, takes 100 MB and a second.
MAX_BODY = 4 * 2**20

# A longer body is parsed in a thread: 64 KiB hold up the others for a tenth of a second at most.
PARSED_AT_ONCE = 64 * 2**10

# A refused body is still read, because a sender does not listen; but only up to this size.
MAX_DISCARDED = 256 * 2**20

MAX_DEPTH = 500  # of nests in JSON; Go's own is 10,000, Python's stack ends sooner

# A prompt longer than so many bytes for each token of the context cannot fit in it, and gets
# Ollama's 400 before llama.cpp looks for its tokens: it needs 4 s and 60 MB for each MB.
BYTES_PER_TOKEN = 128

# The options and the format (a JSON schema) of one request (400). llama.cpp makes a grammar of a
# schema while all its readers wait: a second for 4 KB, half a minute for 30 KB were measured.
MAX_SETTINGS = 8 * 2**10

# How much an engine may grow once its model is loaded: nothing that it should do takes half of it.
ENGINE_GROWTH = 2**30

# ---- numbers

# Connections; one more is answered 503, in Ollama's words, and one more than twice as many is
# closed. An answer of the engine takes three files, and a Mac gives a process 256. How many are
# answered by the model at the same time is `engine.SLOTS`.
MAX_CONNECTIONS = 64

# ---- times, in seconds

HEAD_TIME = 60  # for a head to come, once it has begun: long enough to type it by hand (408)
BODY_TIME = 300  # for its body (408): 4 MiB through the slowest of tunnels

# An idle connection is kept for a person who thinks between two cells. Closing it is safe:
# `requests` sees that it is closed, and opens a new one.
IDLE_TIME = 300

# For an answer that is not read, because the cell that asked waits for something else; what is
# written meanwhile fits in the sockets' buffers, the rest waits in the engine.
UNREAD_TIME = 600

LINGER = 2  # for a refused sender to read why, before the connection is closed

# How long an engine may be silent before it is replaced: so long, or for a larger model than the
# built-in one as long as it takes to read its file at this pace, if that is longer.
ENGINE_SILENCE = 10
ENGINE_BYTES_PER_SECOND = 50e6

# There is no limit on how long an answer may take. One that is not wanted any more ends when its
# reader leaves, but for the time in which llama.cpp reads a prompt: it reads that to its end
# (2000 tokens: 5 s on two quiet cores, 30 s on two busy ones), and only then looks up.
