"""HTTP: routes, statuses, framing, who may ask, and answers that break on demand."""
