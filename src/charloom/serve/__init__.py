"""Runs in; an HTTP API that OpenAI's clients speak, and a page to write with them, out."""
