"""`python -m charloom` is the `charloom` command."""

from charloom.cli import main

main()
