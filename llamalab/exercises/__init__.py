"""The exercises: their cases, `llamalab.check`, and the judge of a script."""
