"""Runs and texts in; what the models learned, as plain rows, out: nothing is printed or drawn."""
