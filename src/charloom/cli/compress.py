"""`charloom compress`: a file made smaller by a model that learns while it reads it."""

from pathlib import Path

import click

from charloom.cli.options import examples, output
from charloom.cli.text import echo, labelled, progress
from charloom.formatting import count, nats_and_bits


@click.command(
    epilog=examples(
        "charloom compress novel.txt -o novel.clm", "charloom decompress novel.clm -o novel.txt"
    )
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@output("--out", "The file to write", required=True)
def compress(file: Path, out: Path) -> None:
    """Compress FILE, of any kind, by predicting it character by character.

    No model is needed: one learns while it reads, the same way here and in `charloom decompress`,
    which gives back every byte on any computer. What is printed is a loss that nothing can
    flatter: the size of the whole file that was written, for each character.
    """
    from charloom.compression import compress as library
    from charloom.compression import read_file
    from charloom.files import is_stdout, write_output

    content = read_file(file)
    with progress() as (_, tell):
        done = library(content, tell)
    write_output(out, done.packed)
    rows = [("file", f"{out}: {count(len(done.packed), 'byte')} for {count(len(content), 'byte')}")]
    if done.symbols:
        of_bytes = "" if done.is_text else " (it is not UTF-8: a byte is a character)"
        rows.append(("loss", nats_and_bits(done.nats) + of_bytes))
    echo("\n".join(labelled(rows)), err=is_stdout(out))
