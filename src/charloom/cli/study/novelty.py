"""`charloom study novelty`: how much of a text is copied from its source."""

import math
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.text import echo_json, table
from charloom.formatting import count, printable

if TYPE_CHECKING:
    from charloom.analysis.inputs import Material
    from charloom.analysis.novelty import Novelty

_LENGTHS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50)
_LONGEST_SHOWN = 400  # characters of a passage


@click.command()
@click.argument("name", metavar="RUN|TEXT")
@click.option("--source", metavar="FILE", help="What it may be copied from; of a run, its own.")
@click.option("--human", metavar="FILE", help="Text by people; of a run, what it held out.")
@click.option("--length", type=int, metavar="N", help="Characters that a run is let write.")
@click.option("--seed", default=0, metavar="N", help="Of what a run writes.  [0]")
@click.option("--temperature", default=1.0, metavar="X", help="Of what a run writes.  [1]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def novelty(name: str, as_json: bool, **options: Any) -> None:
    """Say how much of a text is copied from its source, and whether that is more than usual.

    A RUN is let write: as much as it held out of training, from 2,000 to 20,000 characters. Its
    source is what it was trained on, and what it held out shows how much of that people repeat
    by themselves. A TEXT is a file, a folder, - for standard input or corpus:NAME.

    It copies more than people do where, of its passages of 10, 15, 20, 30 or 50 characters, half
    as many again as of theirs are in the source and 5 in 100 of all more; or where its longest
    copy is more than twice as long as theirs, and 10 characters longer.
    """
    from charloom.analysis.inputs import gather
    from charloom.analysis.novelty import novelty as study

    material = gather(name, **options)
    found = study(material.text, material.source, material.human)
    for note in material.notes:
        click.echo(f"charloom: {note}", err=True)
    if as_json:
        echo_json(_document(found, material))
    else:
        click.echo("\n\n".join([_heading(found, material), _shares(found), *_copies(found)]))
        click.echo(f"\n{_sentence(found)}")


def _document(found: "Novelty", material: "Material") -> dict[str, Any]:
    return {
        "text": material.name,
        "source": material.source_name,
        "seed": material.seed,
        "novelty": found,
        "more_at": found.more_at,
        "copies_more": found.copies_more,
    }


def _heading(found: "Novelty", material: "Material") -> str:
    wrote = f"wrote (seed {material.seed})" if material.written else "has"
    lines = [
        f"text    {material.name} {wrote} {count(found.text.characters, 'character')}",
        f"source  {material.source_name}: {count(found.source_characters, 'character')}",
    ]
    if found.human:
        lines.append(f"human   {count(found.human.characters, 'character')} that are not in it")
    return "\n".join(lines)


def _shares(found: "Novelty") -> str:
    profiles = [found.text] + ([found.human] if found.human else [])
    rows = [
        [str(n), *(_percent(profile.new[n - 1]) for profile in profiles)]
        for n in _LENGTHS
        if n <= found.text.characters
    ]
    rows.append(["longest copy", *(f"{profile.longest:,}" for profile in profiles)])
    header = ["new, of n in a row", "text", *(["human"] if found.human else [])]
    return table(header, rows)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}%"


def _copies(found: "Novelty") -> list[str]:
    if not found.copies:
        return [f"No copy is longer than chance gives, {count(found.chance, 'character')}."]
    return [
        f"{count(copy.length, 'character')} at {copy.start:,}, in the source at {copy.offset:,}, "
        f"line {copy.line:,}:\n{_indented(copy.passage)}"
        for copy in found.copies
    ]


def _indented(passage: str) -> str:
    left = len(passage) - _LONGEST_SHOWN
    shown = printable(passage[:_LONGEST_SHOWN]) + (f" ... and {left:,} more" if left > 0 else "")
    return "\n".join(f"  | {line}" for line in shown.split("\n"))


def _sentence(found: "Novelty") -> str:
    """Say in one line what all that means."""
    if found.human is None:
        return "Without text by people beside it (--human FILE) it cannot be said what is usual."
    usual = found.human
    if not found.copies_more:
        return "It copies no more than a human would."
    if found.more_at:
        n = found.more_at[0]
        own, theirs = (_percent(1 - profile.new[n - 1]) for profile in (found.text, usual))
        return (
            f"It copies more than a human would: {own} of its passages of {n} characters, and "
            f"people {theirs}."
        )
    return (
        f"It copies more than a human would: {count(found.compared or 0, 'character')} in a row, "
        f"and people {usual.longest:,}."
    )
