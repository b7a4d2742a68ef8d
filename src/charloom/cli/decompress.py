"""`charloom decompress`: the file that `charloom compress` was given."""

from pathlib import Path

import click

from charloom.cli.options import examples, output
from charloom.cli.text import echo, labelled, progress
from charloom.formatting import count


@click.command(
    epilog=examples(
        "charloom decompress novel.clm -o novel.txt",
        "charloom decompress a.clm --model runs/a -o a",
    )
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="RUN|none",
    default="none",
    help="The run that it was compressed with, unless that is in the file.  [none]",
)
@output("--out", "The file to write", required=True)
def decompress(file: Path, model: str, out: Path) -> None:
    """Decompress FILE, which `charloom compress` wrote, and check that every byte is as it was.

    A file that is damaged or cut short is refused, or that needs another run, and nothing is
    written.
    """
    from charloom.compression import decompress as library
    from charloom.compression import read_file
    from charloom.files import is_stdout, write_output

    run = None if model == "none" else model
    with progress() as (_, tell):
        content = library(read_file(file), str(file), tell, run)
    write_output(out, content)
    rows = [("file", f"{out}: {count(len(content), 'byte')}")]
    echo("\n".join(labelled(rows)), err=is_stdout(out))
