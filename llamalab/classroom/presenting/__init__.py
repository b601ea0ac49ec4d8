"""A chapter on the projector, one section at a time, and the notes in a second window."""
