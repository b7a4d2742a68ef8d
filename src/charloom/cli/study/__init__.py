"""`charloom study`: see what a run learned. One file a command, imported when it is asked for."""

from importlib import import_module

import click

COMMANDS = {
    "novelty": "Say how much of a generated text is copied from its source.",
    "keywords": "Find the words that a generated text kept, lost and invented.",
    "surprise": "Show what a run found hard to foresee in a text.",
    "neurons": "Find cells that respond to something, and show what.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"charloom.cli.study.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=_LazyGroup)
def study() -> None:
    """See what a run learned."""
