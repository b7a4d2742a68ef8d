"""`charloom compress`: a file made smaller by a model that learns while it reads it."""

from pathlib import Path
from time import perf_counter

import click

from charloom.cli.options import examples, output
from charloom.cli.text import echo, echo_note, labelled, progress
from charloom.errors import CharloomError
from charloom.formatting import count, duration, nats_and_bits


@click.command(
    epilog=examples(
        "charloom compress novel.txt -o novel.clm",
        "charloom decompress novel.clm -o novel.txt",
        "charloom compress a --model runs/a -o a.clm",
        "charloom decompress a.clm --model runs/a -o a",
    )
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="RUN|none",
    default="none",
    help="A run that both sides have: its text is read first, and its network predicts.  [none]",
)
@click.option(
    "--embed",
    is_flag=True,
    help="Put the network of the run, rounded, into the file, which then needs no run.",
)
@output("--out", "The file to write", required=True)
def compress(file: Path, model: str, embed: bool, out: Path) -> None:
    """Compress FILE, of any kind, by predicting it character by character.

    No model is needed: one learns while it reads, the same way here and in `charloom decompress`,
    which gives back every byte on any computer. What is printed is a loss that nothing can
    flatter: the size of the whole file that was written, for each character.

    With --model RUN, FILE becomes smaller the more it is like what RUN learned, and decompressing
    needs RUN with the same text and weights, on any computer, too. The loss then does not count
    what is in RUN. With --embed it does: that pays for files of many megabytes.
    """
    from charloom.compression import Prior, read_file
    from charloom.compression import compress as library
    from charloom.files import is_stdout, write_output

    if embed and model == "none":
        message = "--embed puts a run's network into the file: name a run by --model"
        raise CharloomError(message, field="embed")
    content = read_file(file)
    prior = None if model == "none" else Prior.of_run(model)
    if prior is not None and prior.network is None and not embed:
        echo_note(
            f"{model} is {prior.what}: its text is read, but it does not predict, which "
            "recurrent networks alone do the same way on every computer"
        )
    with progress() as (_, tell):
        began = perf_counter()
        done = library(content, tell, prior, embed)
        seconds = perf_counter() - began
    write_output(out, done.packed)
    rows = [("file", f"{out}: {count(len(done.packed), 'byte')} for {count(len(content), 'byte')}")]
    if done.symbols:
        of_bytes = "" if done.is_text else " (it is not UTF-8: a byte is a character)"
        rows.append(("loss", nats_and_bits(done.nats) + of_bytes))
    if done.brought:
        rows.append(("model", f"{count(done.brought, 'byte')} of the file: no run is needed"))
    elif prior is not None:
        rows.append(
            ("model", f"{model}, without which it cannot be decompressed: keep it as it is")
        )
    rows.append(("time", duration(seconds)))
    echo("\n".join(labelled(rows)), err=is_stdout(out))
