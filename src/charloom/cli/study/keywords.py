"""`charloom study keywords`: the words that a text keeps, loses and invents."""

from collections.abc import Sequence
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
)
from charloom.formatting import count, percent, printable

if TYPE_CHECKING:
    from charloom.analysis.inputs import Candidate
    from charloom.analysis.keywords import Keyword, Keywords


@click.command(epilog=examples("charloom study keywords runs/novel"))
@click.argument("name", metavar="RUN|TEXT")
@click.option("--source", metavar="FILE", help="Its training text.  [that of RUN]")
@click.option("--against", metavar="FILE", help="A general text.  [common English]")
@click.option("--human", metavar="FILE", help="Text by people.  [what RUN held out]")
@click.option("--length", default=20_000, metavar="N", help="Generate N characters.  [20,000]")
@click.option("--seed", default=0, metavar="N", help="Seed of the sampling.  [0]")
@click.option("--temperature", default=1.0, metavar="X", help="Temperature of the sampling.  [1]")
@click.option(
    "--top", type=click.IntRange(1), default=10, metavar="N", help="Rows of each list.  [10]"
)
@click.option("--yake", is_flag=True, help="Find key phrases with YAKE, if it is installed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def keywords(
    name: str, against: str | None, top: int, yake: bool, as_json: bool, **options: Any
) -> None:
    """Find the words of its source that a generated text keeps and loses, and those it invents.

    A RUN generates a text, and its source is its training text. A TEXT is a file, a folder, - for
    standard input or corpus:NAME. Keywords are found against general text, --against: one of
    those too, or by default the 3,000 commonest words of War and Peace, 18 older English books
    and the American presidents' yearly addresses since 1901, all in the public domain. That list
    is no guide to today's English, nor to other languages.

    Figures are G2, the log-likelihood: 6.63 is p < 0.01, 15.13 is p < 0.0001. A keyword is more
    frequent in the source than in general text (G2 above 15.13); the words of a key phrase stand
    together more often than by chance, or YAKE found it, whose lower scores are better. A word
    is lost if the text has less of it than the source (G2 above 6.63), and invented if it is not
    in the source.
    """
    from charloom.analysis.inputs import candidate
    from charloom.analysis.keywords import check_yake
    from charloom.analysis.keywords import keywords as study
    from charloom.analysis.word_counts import frequencies
    from charloom.data.text import read_text

    if yake:
        check_yake()
    text = candidate(name, **options)
    general = None if against is None else read_text([against])
    counts = None if general is None else frequencies(general.content, general.name)
    names = text.name, text.source_name
    found = study(text.text, text.source, counts, top, text.human, yake, names)
    for note in text.notes:
        echo_note(note)
    if general is None and not found.is_english:
        echo_note(
            f"only {found.common_share:.0%} of the source's words are common English, "
            "so keywords mean little: name general text in its language, --against FILE"
        )
    if as_json:
        about = {"text": text.name, "source": text.source_name, "seed": text.seed}
        echo_json(about | {"keywords": found})
    else:
        echo("\n\n".join([_heading(found, text), *_parts(found), fill(_summary(found))]))


def _heading(found: "Keywords", text: "Candidate") -> str:
    seed = "" if text.seed is None else f", seed {text.seed}"
    rows = [
        ("text", f"{text.name}: {count(found.text_words, 'word')}{seed}"),
        ("source", f"{text.source_name}: {count(found.source_words, 'word')}"),
        ("against", found.against),
    ]
    return "\n".join(labelled(rows))


def _parts(found: "Keywords") -> list[str]:
    lists = (
        ("keywords kept", found.kept),
        ("keywords lost", found.lost),
        ("key phrases kept", found.kept_phrases),
        ("key phrases lost", found.lost_phrases),
    )
    parts = [_rows(title, rows, found) for title, rows in lists if rows]
    listed = [("keywords of the text", found.of_text), ("keywords of the source", found.of_source)]
    parts.append("\n".join(labelled([(title, _listed(rows)) for title, rows in listed])))
    if found.invented:
        rows = [
            [printable(w.word), f"{w.text:,}", "yes" if w.listed else "no", w.near]
            for w in found.invented
        ]
        parts.append(table(["invented words", "in text", "in general text", "similar to"], rows))
    return parts


def _rows(title: str, rows: Sequence["Keyword"], found: "Keywords") -> str:
    """Return a table with frequencies per 10,000 words, which do not depend on the length."""
    lines = [
        [
            printable(row.word),
            f"{1e4 * row.source / found.source_words:.1f}",
            f"{1e4 * row.text / found.text_words:.1f}",
            f"{row.keyness:.1f}" if row.keyness >= 1 else f"{row.keyness:.4f}",
            f"{row.change:+.1f}",
        ]
        for row in rows
    ]
    return table([title, "source /10,000", "text /10,000", "keyness G2", "change G2"], lines)


def _listed(rows: Sequence["Keyword"]) -> str:
    return ", ".join(printable(row.word) for row in rows) or "none"


def _summary(found: "Keywords") -> str:
    people = found.human_new_share
    human = "" if people is None else f" ({percent(people)} of those by people)"
    said = (
        f"{percent(found.new_share)} of its words are not in the source{human}.\n"
        f"{percent(found.real_share)} are in the source or in general text."
    )
    if found.unsure:
        said += (
            f"\nIt lacks {count(found.unsure, 'more keyword')}, but is too short to have lost them."
        )
    return said
