"""Groups of commands that are imported when they are asked for."""

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from charloom.cli import meant


class LazyGroup(click.Group):
    """A group whose command NAME is the function NAME of the module `package`.NAME.

    Modules that are named otherwise are in `modules`. `sections` has the names of commands with
    their line of help, as they are listed, under headings.
    """

    package = ""
    sections: Mapping[str, Mapping[str, str]] = {}
    modules: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{self.package}.{self.modules.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, f"{cmd_name}{'_' * iskeyword(cmd_name)}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        for heading, known in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([*known.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if there is no such command or option, say which is meant."""
        words = [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            known = self.list_commands(ctx)
            if not words or words[0] in known:
                raise meant.of_option(error, words) from None
            name = meant.COMMANDS.get(words[0])
            if name not in known:
                raise
            told = f"No such command {words[0]!r}. Did you mean `charloom {name}`?"
            raise click.UsageError(told, ctx) from None
