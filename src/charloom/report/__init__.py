"""Runs in; plots and self-contained HTML pages of what they learned out."""
