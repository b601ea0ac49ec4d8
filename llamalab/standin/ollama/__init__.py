"""Ollama's protocol as data: its JSON, its requests, its records and its errors."""
