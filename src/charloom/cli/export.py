"""`charloom export`: a run for other programs."""

from pathlib import Path

import click

from charloom.cli.text import count, model_name


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--onnx", is_flag=True, required=True, help="As an ONNX file: the one format.")
@click.option("--out", metavar="FILE", help="Where it goes.  [the run's name, and .onnx]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def export(run: str, onnx: bool, out: str | None, force: bool) -> None:
    """Write RUN as a file for other programs, and check that it writes the same text.

    Characters and a state go in, log-probabilities and the next state come out. The vocabulary
    and the settings are in the file, which says in words how it is used.
    """
    from charloom.formats.onnx import export_onnx
    from charloom.runs.run import Run

    opened = Run.open(run)
    path = Path(out or f"{opened.path.resolve().name}.onnx")
    done = export_onnx(opened, path, force)
    model, dtype = model_name(opened.config.model), opened.config.dtype
    rounded = "" if dtype == "float32" else f", rounded from {dtype}"
    click.echo(f"file   {done.path}: {count(done.size, 'byte')}")
    click.echo(f"model  {model}: {count(done.parameters, 'number')}, in float32{rounded}")
    click.echo(
        f"check  onnxruntime writes the same {done.comparison.characters} characters as charloom,\n"
        f"       and its log-probabilities are within {done.comparison.difference:.1e} nats"
    )
