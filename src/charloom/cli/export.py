"""`charloom export`: a run as a file for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from charloom.cli.options import examples, output
from charloom.cli.text import (
    echo,
    labelled,
    sized,
)
from charloom.config import EnsembleConfig
from charloom.formatting import count, model_name

if TYPE_CHECKING:
    from charloom.runs.run import Run

Format = Literal["onnx", "npz", "torch", "keras", "arpa", "html"]
ENDINGS = {
    "onnx": ".onnx",
    "npz": ".npz",
    "torch": ".safetensors",
    "keras": ".h5",
    "arpa": ".arpa",
    "html": ".html",
}


@click.command(
    epilog=examples(
        "charloom export runs/novel --onnx -o it.onnx",
        "charloom export runs/novel --html",
        "charloom export runs/it --torch",
    )
)
@click.argument("run", metavar="RUN")
@click.option("--onnx", "kind", flag_value="onnx", help="Write an ONNX file, and check it.")
@click.option("--npz", "kind", flag_value="npz", help="Write the weights as arrays for NumPy.")
@click.option("--torch", "kind", flag_value="torch", help="Write a state_dict for PyTorch.")
@click.option("--keras", "kind", flag_value="keras", help="Write a model for Keras.")
@click.option("--arpa", "kind", flag_value="arpa", help="Write an n-gram model for KenLM.")
@click.option("--html", "kind", flag_value="html", help="Write a page that runs the model.")
@click.option(
    "--weights",
    type=click.Choice(["int8", "float32"]),
    default="int8",
    help="For --html: how exact the weights are.  [int8]",
)
@click.option(
    "--size",
    metavar="MB",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="For --html: prune n-grams so that the page has at most MB.  [1]",
)
@output("--out", "The file to write", "RUN and an ending")
@click.option("--force", is_flag=True, hidden=True, expose_value=False)  # once needed to replace
def export(
    run: str,
    kind: Format | None,
    out: Path | None,
    weights: Literal["int8", "float32"],
    size: float,
) -> None:
    """Export RUN for other programs.

    An ONNX file takes characters and a state, and returns log-probabilities and the next state; it
    is checked to generate the same text. It also holds the vocabulary, the settings, and a
    description of how to use it.

    For NumPy and PyTorch it writes the weights of a recurrent network, with its characters: under
    charloom's names, or under those of nn.LSTM, nn.GRU and nn.RNN. For Keras it writes one as a
    Sequential from ids to probabilities. An ARPA file has the n-grams of an n-gram model, each
    character a word.

    A page is one HTML file that any browser opens, without a network: it goes on with a text, shows
    what the model expected at each character, and keeps every branch. It runs recurrent networks,
    n-gram models and mixtures of both.
    """
    from charloom.files import is_stdout
    from charloom.formats.arrays import export_npz, export_torch
    from charloom.formats.keras import export_keras
    from charloom.runs.one_network import one_network
    from charloom.runs.run import Run

    if kind is None:
        kinds = "--onnx, --html, --npz, --torch, --keras or --arpa"
        raise click.UsageError(f"Say what to write: {kinds}.")
    whole = Run.open(run)
    opened = one_network(whole)
    path = out or Path(f"{opened.path.resolve().name}{ENDINGS[kind]}")
    if kind == "onnx":
        written, rows = _onnx(opened, path, free=out is None)
    elif kind == "arpa":
        written, rows = _arpa(opened, path, free=out is None)
    elif kind == "html":
        written, rows = _html(opened, path, out is None, weights, round(size * 1e6))
    else:
        write = {"npz": export_npz, "torch": export_torch, "keras": export_keras}[kind]
        written, size = write(opened, path, free=out is None)
        model = sized(opened.config.model, opened.parameters)
        rows = [("file", f"{written}: {count(size, 'byte')}"), ("model", model)]
        if kind == "torch":
            rows.append(("use", "examples/torch_sample.py generates text with it"))
        if kind == "keras":
            rows.append(("use", f"keras.saving.load_model({str(written)!r})"))
    if isinstance(whole.config.model, EnsembleConfig):
        of = whole.config.model.networks
        rows.append(("note", f"the first of {of} networks, which alone has a higher loss"))
    final = opened.final()
    if final is not None and final.mixture is not None and kind != "html":
        rows.append(
            ("note", "of the network alone: the n-gram model that is mixed in stays behind")
        )
    echo("\n".join(labelled(rows)), err=is_stdout(written))


def _arpa(run: "Run", path: Path, free: bool) -> tuple[Path, list[tuple[str, str]]]:
    from charloom.formats.arpa import KENLM_ORDER, export_arpa

    written, grams = export_arpa(run, path, free)
    rows = [
        ("file", f"{written}: {count(grams, 'n-gram')}"),
        ("model", model_name(run.config.model)),
    ]
    order = getattr(run.config.model, "order", 0)
    if not 2 <= order <= KENLM_ORDER:
        limit = f"KenLM reads orders 2 to {KENLM_ORDER}, unless it is built for more"
        rows.append(("note", f"{limit}; this one has {order}"))
    return written, rows


def _html(
    run: "Run", path: Path, free: bool, weights: Literal["int8", "float32"], size: int
) -> tuple[Path, list[tuple[str, str]]]:
    from charloom.formats.html import export_html

    done = export_html(run, path, free, weights, size)
    kind = run.kind
    if run.parameters is not None:
        bits = "8 bits" if weights == "int8" else "float32"
        kind += f", {count(run.parameters, 'parameter')} in {bits}"
    rows = [("file", f"{done.path}: {count(done.size, 'byte')}"), ("model", kind)]
    if done.grams < done.of:
        rows.append(("n-grams", f"{done.grams:,} of {done.of:,}, those that tell most"))
    elif done.of:
        rows.append(("n-grams", f"all {done.of:,}"))
    if done.losses:
        own, page = done.losses
        on = f"nats on {count(done.scored, 'character')} of the validation part"
        rows.append(("loss", f"{page:.4f} {on}; the run has {own:.4f}"))
    return done.path, rows


def _onnx(run: "Run", path: Path, free: bool) -> tuple[Path, list[tuple[str, str]]]:
    from charloom.formats.onnx import export_onnx

    done = export_onnx(run, path, free)
    dtype = run.config.dtype
    rounded = "" if dtype == "float32" else f", rounded from {dtype}"
    same, difference = done.comparison.characters, done.comparison.difference
    return done.path, [
        ("file", f"{done.path}: {count(done.size, 'byte')}"),
        ("model", f"{sized(run.config.model, done.parameters)}, in float32{rounded}"),
        ("check", f"onnxruntime generates the same {same} characters as charloom;"),
        ("", f"its log-probabilities differ by {difference:.1e} nats at most"),
    ]
