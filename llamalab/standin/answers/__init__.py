"""Who answers: recordings, llama.cpp on this machine, or an engine elsewhere."""
