"""`charloom export`: a run as a file for other programs."""

from pathlib import Path

import click

from charloom.cli.options import examples, output
from charloom.cli.text import (
    echo,
    labelled,
    sized,
)
from charloom.formatting import count


@click.command(epilog=examples("charloom export runs/novel --onnx -o it.onnx"))
@click.argument("run", metavar="RUN")
@click.option("--onnx", is_flag=True, required=True, help="Write an ONNX file: the only format.")
@output("--out", "The file to write", "RUN.onnx")
@click.option("--force", is_flag=True, hidden=True, expose_value=False)  # once needed to replace
def export(run: str, onnx: bool, out: Path | None) -> None:
    """Export RUN for other programs, and check that they generate the same text.

    The model takes characters and a state, and returns log-probabilities and the next state. The
    file also holds the vocabulary, the settings, and a description of how to use it.
    """
    from charloom.files import is_stdout
    from charloom.formats.onnx import export_onnx
    from charloom.runs.run import Run

    opened = Run.open(run)
    own = Path(f"{opened.path.resolve().name}.onnx")
    done = export_onnx(opened, out or own, free=out is None)
    dtype = opened.config.dtype
    rounded = "" if dtype == "float32" else f", rounded from {dtype}"
    same, difference = done.comparison.characters, done.comparison.difference
    rows = [
        ("file", f"{done.path}: {count(done.size, 'byte')}"),
        ("model", f"{sized(opened.config.model, done.parameters)}, in float32{rounded}"),
        ("check", f"onnxruntime generates the same {same} characters as charloom;"),
        ("", f"its log-probabilities differ by {difference:.1e} nats at most"),
    ]
    final = opened.final()
    if final is not None and final.mixture is not None:
        rows.append(
            ("note", "of the network alone: the n-gram model that is mixed in stays behind")
        )
    echo("\n".join(labelled(rows)), err=is_stdout(done.path))
