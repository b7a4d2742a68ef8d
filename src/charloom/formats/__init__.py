"""Runs in, other programs' files out."""
