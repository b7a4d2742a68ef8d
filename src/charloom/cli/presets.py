"""`charloom presets`: the historic programs."""

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from charloom.cli.text import echo_json
from charloom.presets import PRESETS, Preset


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with all settings.")
def presets(as_json: bool) -> None:
    """Show the historic programs that `train --preset NAME` repeats.

    For each: what is exactly as it was in the program, and what differs.
    """
    if as_json:
        echo_json([*PRESETS.values()])
        return
    console = Console(highlight=False)
    for preset in PRESETS.values():
        console.print(Text.assemble((preset.name, "bold"), f" - {preset.title}"))
        console.print(Padding(_description(preset), (0, 0, 1, 2)))


def _description(preset: Preset) -> Text:
    return Text.assemble(
        (f"{preset.source}\n", "dim"),
        f"Same: {preset.kept}\n",
        f"Differs: {preset.differs}",
    )
