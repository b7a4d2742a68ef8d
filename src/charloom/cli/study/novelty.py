"""`charloom study novelty`: how much of a text is copied from its source."""

from typing import TYPE_CHECKING, Any

import click

from charloom.cli.options import examples
from charloom.cli.text import (
    echo,
    echo_json,
    echo_note,
    fill,
    labelled,
    table,
    wrapped,
)
from charloom.formatting import count, percent

if TYPE_CHECKING:
    from charloom.analysis.inputs import Candidate
    from charloom.analysis.novelty import Copy, Novelty

LONGEST_SHOWN = 400  # characters of a passage


@click.command(epilog=examples("charloom study novelty runs/novel"))
@click.argument("name", metavar="RUN|TEXT")
@click.option("--source", metavar="FILE", help="Its training text.  [that of RUN]")
@click.option("--human", metavar="FILE", help="Text by people.  [what RUN held out]")
@click.option(
    "--length", type=int, metavar="N", help="Generate N characters.  [as many as RUN held out]"
)
@click.option("--seed", default=0, metavar="N", help="Seed of the sampling.  [0]")
@click.option("--temperature", default=1.0, metavar="X", help="Temperature of the sampling.  [1]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def novelty(name: str, as_json: bool, **options: Any) -> None:
    """Measure how much of a text is copied from its source, and whether people copy as much.

    A RUN generates as many characters as it held out of training, between 2,000 and 20,000. Its
    source is its training text, and what it held out shows how much of that people repeat. A
    TEXT is a file, a folder, - for standard input or corpus:NAME.

    The table has the share of n-grams (n characters in a row) that are not in the source. A text
    copies more than people do if, for n = 10, 15, 20, 30 or 50, the share of its n-grams that are
    in the source exceeds 1.5 times the human share plus 5 percentage points; or if its longest
    copy is more than twice as long as the human one, and more than 10 characters longer.
    """
    from charloom.analysis.inputs import candidate
    from charloom.analysis.novelty import novelty as study
    from charloom.analysis.novelty import verdict

    text = candidate(name, **options)
    found = study(text.text, text.source, text.human)
    for note in text.notes:
        echo_note(note)
    if as_json:
        echo_json(
            {
                "text": text.name,
                "source": text.source_name,
                "seed": text.seed,
                "novelty": found,
                "more_at": found.more_at,
                "copies_more": found.copies_more,
                "human_known": found.human_known,
            }
        )
        return
    copies = "\n\n".join(map(_copy, found.copies)) or (
        f"No copy is longer than chance explains: {count(found.chance, 'character')}."
    )
    echo("\n\n".join([_heading(found, text), _shares(found), copies, fill(verdict(found))]))


def _heading(found: "Novelty", text: "Candidate") -> str:
    from charloom.data.likeness import share_words

    seed = "" if text.seed is None else f", seed {text.seed}"
    rows = [
        ("text", f"{text.name}: {count(found.text.characters, 'character')}{seed}"),
        ("source", f"{text.source_name}: {count(found.source_characters, 'character')}"),
    ]
    if found.human:
        known = "not" if found.is_comparable else f"{share_words(found.human_known)} of them"
        rows.append(
            ("human", f"{count(found.human.characters, 'character')}, {known} in the source")
        )
    return "\n".join(labelled(rows))


def _shares(found: "Novelty") -> str:
    from charloom.analysis.novelty import SHOWN_LENGTHS

    profiles = [found.text] + ([found.human] if found.human else [])
    rows = [
        [str(n), *(percent(profile.new[n - 1]) for profile in profiles)]
        for n in SHOWN_LENGTHS
        if n <= found.text.characters
    ]
    rows.append(["longest copy", *(f"{profile.longest:,}" for profile in profiles)])
    return table(["new n-grams, n =", "text", *(["human"] if found.human else [])], rows)


def _copy(copy: "Copy") -> str:
    left = len(copy.passage) - LONGEST_SHOWN
    more = f" ... and {left:,} more" if left > 0 else ""
    passage = copy.passage[:LONGEST_SHOWN] + more
    where = (
        f"{count(copy.length, 'character')} at {copy.start:,}; in the source at {copy.offset:,}, "
        f"line {copy.line:,}:"
    )
    return f"{fill(where)}\n{wrapped(passage, '  | ')}"
