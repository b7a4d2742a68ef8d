"""`charloom presets`: the historic programs."""

import click

from charloom.cli.text import echo_json
from charloom.presets import presets as known


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with all settings.")
def presets(as_json: bool) -> None:
    """Show the historic programs that `train --preset NAME` repeats.

    For each: what is exactly as it was in the program, and what differs.
    """
    if as_json:
        echo_json([*known().values()])
        return
    for preset in known().values():
        click.echo(f"{click.style(preset.name, bold=True)} - {preset.title}")
        for line in (preset.source, f"Same: {preset.kept}", f"Differs: {preset.differs}"):
            click.echo(click.wrap_text(line, initial_indent="  ", subsequent_indent="  "))
        click.echo()
