"""Builds the lesson as a static site, which needs nothing but a browser."""
