"""`charloom presets`: the historic programs by name."""

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charloom.cli.text import echo_json
from charloom.presets import PRESETS, Preset


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, settings and all.")
def presets(as_json: bool) -> None:
    """Show the historic programs that --preset knows.

    With each: what is exactly as it was there, and what differs.
    """
    if as_json:
        echo_json([*PRESETS.values()])
        return
    table = Table(box=None, padding=(0, 2, 1, 0), show_header=False)
    for preset in PRESETS.values():
        table.add_row(Text(preset.name, "bold"), _description(preset))
    Console(highlight=False).print(table)


def _description(preset: Preset) -> Text:
    return Text.assemble(
        (f"{preset.title}\n", "bold"),
        (f"{preset.source}\n", "dim"),
        f"Kept: {preset.kept}\n",
        f"Differs: {preset.differs}",
    )
