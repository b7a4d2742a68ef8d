"""`charloom import`: a model of an older program as a run."""

from pathlib import Path

import click

from charloom.cli.options import examples
from charloom.cli.text import alphabet, echo, labelled, sized
from charloom.formatting import count, nats_and_bits


@click.command(
    "import",
    epilog=examples(
        "charloom import checkpoint.t7 -o runs/towns",
        "charloom import save/ --text it.txt -o runs/it",
    ),
)
@click.argument("file", metavar="FILE|FOLDER")
@click.option("--out", "-o", required=True, metavar="RUN", help="The run folder to make.")
@click.option(
    "--vocabulary", metavar="FILE", help="Where the model's characters are, if not in its file."
)
@click.option(
    "--text", metavar="FILE", help="The text that the model learned, if you still have it."
)
def import_(file: str, out: str, vocabulary: str | None, text: str | None) -> None:
    """Make a run of a model that another program has trained.

    It reads checkpoints of torch-rnn and char-rnn (.t7), of RNN_Text_Generation_Tensorflow and
    char-rnn-tensorflow, of char-rnn.pytorch, nanoGPT, makemore and others like them (.pt), of Keras
    (.h5, .keras) and textgenrnn (.hdf5), and weights of min-char-rnn as .npz. What FILE is, its
    contents say, and nothing in it is executed. The run is like any other: sample, evaluate,
    compare, study, report, export and train --from take it.
    """
    from charloom.formats.old.importing import import_run

    named = None if vocabulary is None else Path(vocabulary)
    run, found = import_run(Path(file), Path(out), named, text)
    unit = run.vocabulary.unit
    rows = [
        ("found", f"a model of {found.program}"),
        ("model", sized(found.model, run.parameters)),
        ("knows", alphabet(run.vocabulary) + (" characters" if unit == "characters" else "")),
    ]
    if found.step:
        rows.append(("trained", f"{count(found.step, 'step')} by {found.program}"))
    if found.validation:
        last = found.validation[max(found.validation)]
        rows.append(("loss", f"{nats_and_bits(last)} on its validation part, as it noted then"))
    rows += [("note", note) for note in found.notes]
    if text and found.held_out:
        rows.append(("note", found.held_out))
    rows.append(("run", str(run.path)))
    echo("\n".join(labelled(rows)))
