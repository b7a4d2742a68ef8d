"""Exports of blogs and of microblogs, and feeds in; each published post once, oldest first, out."""
