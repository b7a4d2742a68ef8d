"""`charloom study`: see what a run learned. One file a command, imported when it is asked for."""

import click

from charloom.cli.lazy import LazyGroup

COMMANDS = {
    "novelty": "Say how much of a generated text is copied from its source.",
    "keywords": "Find the words that a generated text kept, lost and invented.",
    "surprise": "Show what a run found hard to foresee in a text.",
    "neurons": "Find cells that respond to something, and show what.",
}


class _Studies(LazyGroup):
    package, known = "charloom.cli.study", COMMANDS


@click.group(cls=_Studies)
def study() -> None:
    """See what a run learned."""
