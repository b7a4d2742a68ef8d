"""`charloom presets`: the historic programs."""

import click
import msgspec

from charloom.cli.text import (
    echo,
    echo_json,
    fill,
    labelled,
)
from charloom.presets import preset
from charloom.presets import presets as known


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with all settings.")
def presets(name: str | None, as_json: bool) -> None:
    """Show the historic programs that `train --preset NAME` repeats.

    For each: what is exactly as it was in the program, and what differs; for one that is named,
    all settings.

    \b
      charloom presets char-rnn
      charloom train novel.txt --preset char-rnn
    """  # noqa: D301 -- a real backspace, for click
    if name is not None:
        preset(name)  # which raises for an unknown one
    found = [one for one in known().values() if name in (None, one.name)]
    if as_json:
        echo_json(found)
        return
    for one in found:
        title = fill(f"{one.name} - {one.title}").removeprefix(one.name)
        echo(one.name, nl=False, bold=True)
        echo(title)
        for line in (one.source, f"Same: {one.kept}", f"Differs: {one.differs}"):
            echo(fill(line, 2, 2))
        if name is not None:
            echo()
            parts = ("model", "data", "train", "watch")
            rows = [(part, _settings(getattr(one.config, part))) for part in parts]
            echo("\n".join(labelled(rows, indent=2)))
        echo()


def _settings(config: msgspec.Struct) -> str:
    """Return settings in a line; those that are off are left out."""
    return ", ".join(
        f"{name.replace('_', '-')} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in msgspec.structs.asdict(config).items()
        if isinstance(value, int | float | str) and value is not False
    )
