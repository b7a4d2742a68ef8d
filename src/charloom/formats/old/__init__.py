"""Files of older programs in, what they hold as a model and its history out; nothing is executed.

Each program has a file here that knows what it saved, and each way of saving has one that reads
it: torch7, tensorflow, pickled. All sizes are checked against the file before memory is taken.
"""
