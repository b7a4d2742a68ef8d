"""`charloom study keywords`: the words that a text kept, lost and invented."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.text import echo_json, table
from charloom.formatting import count, printable

if TYPE_CHECKING:
    from charloom.analysis.inputs import Material
    from charloom.analysis.keywords import Keyword, Keywords
    from charloom.analysis.word_counts import Frequencies


@click.command()
@click.argument("name", metavar="RUN|TEXT")
@click.option("--source", metavar="FILE", help="What it was learned from; of a run, its own.")
@click.option("--against", metavar="FILE", help="A general text.  [common English]")
@click.option("--human", metavar="FILE", help="Text by people; of a run, what it held out.")
@click.option("--length", default=20_000, metavar="N", help="Characters of a run.  [20,000]")
@click.option("--seed", default=0, metavar="N", help="Of what a run writes.  [0]")
@click.option("--temperature", default=1.0, metavar="X", help="Of what a run writes.  [1]")
@click.option(
    "--top", type=click.IntRange(1), default=10, metavar="N", help="Rows of each list.  [10]"
)
@click.option("--yake", is_flag=True, help="Key phrases by YAKE, where it is installed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def keywords(
    name: str, against: str | None, top: int, yake: bool, as_json: bool, **options: Any
) -> None:
    """Find the words that a generated text kept of its source, lost and invented.

    A RUN is let write, and its source is what it was trained on. A TEXT is a file, a folder, -
    for standard input or corpus:NAME. What they are compared with, --against, is one of those
    too, or by default the 3,000 commonest words of War and Peace, 18 older English books and the
    American presidents' yearly addresses since 1901, all in the public domain: it knows little
    of today's English, and of other languages nothing.

    The figures are G2, the log-likelihood: 6.63 is p < 0.01, 15.13 is p < 0.0001. Key words are
    those of which the source has more than general text, above 15.13; the words of a key phrase
    stand together more often than by chance, or it is one of YAKE's, whose figure is better when
    it is less. Lost is what the text has less of than the source, above 6.63. Invented are words
    that are not in the source; a word is taken for real where it is in the source or the list.
    """
    from charloom.analysis.inputs import gather
    from charloom.analysis.keywords import ENGLISH
    from charloom.analysis.keywords import keywords as study

    material = gather(name, **options)
    general = None if against is None else _read(against)
    found = study(material.text, material.source, general, top, material.human, yake)
    for note in material.notes:
        click.echo(f"charloom: {note}", err=True)
    if general is None and found.common_share < ENGLISH:
        click.echo(
            f"charloom: {found.common_share:.0%} of the source's words are common English, so "
            "key words mean little: name a text of its kind, --against FILE",
            err=True,
        )
    if as_json:
        about = {"text": material.name, "source": material.source_name, "seed": material.seed}
        echo_json(about | {"keywords": found})
    else:
        click.echo("\n\n".join([_heading(found, material), *_parts(found), _sentence(found)]))


def _read(name: str) -> "Frequencies":
    from charloom.analysis.word_counts import frequencies
    from charloom.data.text import read_text

    text = read_text([name])
    return frequencies(text.content, text.name)


def _heading(found: "Keywords", material: "Material") -> str:
    wrote = f"wrote (seed {material.seed})" if material.written else "has"
    return "\n".join(
        [
            f"text     {material.name} {wrote} {count(found.text_words, 'word')}",
            f"source   {material.source_name}: {count(found.source_words, 'word')}",
            f"against  {found.against}",
        ]
    )


def _parts(found: "Keywords") -> list[str]:
    lists = (
        ("key words kept", found.kept),
        ("key words lost", found.lost),
        ("key phrases kept", found.kept_phrases),
        ("key phrases lost", found.lost_phrases),
    )
    parts = [_rows(title, rows, found) for title, rows in lists if rows]
    parts.append(
        f"key words of the text   {_listed(found.of_text)}\n"
        f"key words of the source {_listed(found.of_source)}"
    )
    if found.invented:
        rows = [
            [printable(w.word), f"{w.text:,}", "yes" if w.listed else "no", w.near]
            for w in found.invented
        ]
        parts.append(table(["words not in the source", "text", "in list", "like"], rows))
    return parts


def _rows(title: str, rows: Sequence["Keyword"], found: "Keywords") -> str:
    """Figures for each 10,000 words, so that texts of different lengths compare."""
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
    return table([title, "source /10,000", "text /10,000", "key G2", "change G2"], lines)


def _listed(rows: Sequence["Keyword"]) -> str:
    return ", ".join(printable(row.word) for row in rows) or "none"


def _sentence(found: "Keywords") -> str:
    people = found.human_new_share
    beside = "" if people is None else f" ({people:.1%} in text by people)"
    said = (
        f"{found.new_share:.1%} of its words are not in the source{beside};\n"
        f"{found.real_share:.1%} are in the source or the list."
    )
    if found.unsure:
        said += (
            f"\nOf {count(found.unsure, 'key word')} it has none, and is too short to say that "
            "they are lost."
        )
    return said
