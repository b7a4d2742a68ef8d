"""Saved web pages in; their main text, without what is beside it, out."""
