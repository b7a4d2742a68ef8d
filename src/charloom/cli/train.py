"""`charloom train`: train a model on a text."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, cast, get_args

import click

from charloom.cli.options import (
    MIN_COUNT,
    SectionedCommand,
    examples,
    given,
    option,
    options,
    reading,
)
from charloom.cli.plain import open_view
from charloom.cli.several import begun
from charloom.cli.summary import header
from charloom.cli.text import echo, echo_json
from charloom.config import NgramConfig, Reset, TransformerConfig
from charloom.distributed import place
from charloom.runs.folders import check_free
from charloom.training import loop
from charloom.training.events import Event, Started
from charloom.training.planning import prepare
from charloom.training.recipe import BASE, CHOSEN
from charloom.training.settings import KINDS, MINUTES, configure
from charloom.training.tensorboard import check, recorded

MONITORING = "Monitoring (no effect on learning; 0 is never)"


@click.command(
    cls=SectionedCommand,
    epilog=examples(
        "charloom train novel.txt --minutes 10",
        "charloom train posts/ --model gru --hidden 256",
        "charloom train novel.txt --dry-run",
    ),
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@option(
    "Run",
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A new folder to save to.  [runs/TEXT-MODEL]",
)
@option(
    "Run",
    "--preset",
    metavar="NAME",
    help="Use the settings of a historic program: see `charloom presets`.",
)
@option(
    "Run",
    "--from",
    "start",
    metavar="RUN",
    help="Start a new run with the model, vocabulary and best weights of RUN, or of a causal "
    "language model in a folder in Hugging Face's format.",
)
@option(
    "Run",
    "--lora",
    type=click.IntRange(1),
    metavar="RANK",
    help="With --from FOLDER: train LoRA adapters of this rank only.",
)
@option(
    "Model",
    "--model",
    type=click.Choice([*KINDS]),
    metavar="NAME",
    help="rnn, lstm, gru or ngram; with PyTorch transformer, mingru or minlstm.  [lstm]",
)
@options(
    "Model",
    BASE.model,
    {
        "hidden": "rnn, lstm, gru: hidden size H, the units of a layer.",
        "layers": "Number of layers L; a transformer has 4.",
        "embedding": "rnn, lstm, gru: width of the learned input vectors; 0 is one-hot inputs.",
        "init_std": "Initial weights are N(0, X^2); auto is N(0, 1/fan-in).",
        "forget_bias": "lstm: initial bias of the forget gate.",
    },
    chosen=CHOSEN,
)
@option(
    "Model",
    "--networks",
    type=click.IntRange(1, 64),
    metavar="N",
    help="rnn, lstm, gru: networks that are trained side by side, and whose predictions are "
    "averaged.  [chosen]",
)
@option(
    "Model",
    "--reset",
    type=click.Choice(get_args(Reset)),
    metavar="WHAT",
    help="gru: what the reset gate multiplies, if not the recurrent product: biased-product, as in "
    "PyTorch's GRU, or state, as in char-rnn's.",
)
@options(
    "Model",
    TransformerConfig(),
    {
        "width": "transformer, mingru, minlstm: width D of the embedding and of each layer.",
        "heads": "transformer: attention heads.",
        "context": "transformer: characters it looks back over; sets --length, too.",
        "positions": "transformer: learned or rotary positions.",
    },
)
@options(
    "Model",
    NgramConfig(),
    {
        "order": "ngram: length of the longest n-grams, with the predicted character.",
        "smoothing": "ngram: held-out, kneser-ney, witten-bell, or none, for a plain Markov chain.",
    },
)
@options(
    "Model",
    BASE.train,
    {
        "mixture": "Share of the training part that is kept to learn how to mix the network with "
        "an n-gram model; 0 trains the network alone.",
    },
    chosen=CHOSEN,
)
@option(
    "Duration",
    "--minutes",
    type=float,
    metavar="X",
    help="Stop after X minutes, with reading and compiling. The speed of this machine is measured, "
    f"and the settings marked [chosen] are chosen for it.  [{MINUTES:g}]",
)
@option(
    "Duration",
    "--dry-run",
    is_flag=True,
    help="Show what would be trained, and why so; train and save nothing.",
)
@options(
    "Duration",
    BASE.train,
    {
        "iterations": "Stop after N steps. Nothing is measured: the same command repeats the "
        "same run.",
        "epochs": "Stop after X passes through the training text; nothing is measured.",
    },
)
@options(
    "Text",
    BASE.data,
    {
        "unit": "What a model reads and writes one by one: character; byte, of any file; bpe, "
        "parts of words, learned from the text; word. Losses are per character.",
        "validation": "Share of the text for the validation loss.",
        "test": "Share of it for the test loss.",
        "split": "What is held out. tail: the end of the text; documents: some, or the end of each "
        "if they are few; lines: some, for a list. Documents are files, or pieces of one file "
        "between <|endoftext|>, ---, ***, % or blank lines.",
        "split_seed": "Draws those documents or lines.",
        **MIN_COUNT,
    },
    chosen=("split",),
)
@reading("Text")
@options(
    "Optimization",
    BASE.train,
    {
        "batch": "Batch size B: sequences read side by side in a step.",
        "batches": "lanes: each sequence continues its predecessor and keeps its state; windows: "
        "each is at a random place and starts from a zero state.",
        "length": "Sequence length T: characters that the gradient reaches back over.",
        "optimizer": "sgd, adagrad, rmsprop, adam or adamw.",
        "learning_rate": "Learning rate, at the peak of the schedule.",
        "schedule": "constant, step, exponential, cosine, one-cycle or plateau.",
        "warmup": "Steps over which the learning rate rises from 0.",
        "decay_factor": "step, exponential, plateau: factor of each cut of the learning rate.",
        "decay_every": "step, exponential: epochs between two cuts.",
        "decay_after": "step, exponential: epochs before the first cut.",
        "final_rate": "cosine, one-cycle, plateau: lowest learning rate, as a share of the peak.",
        "window": "plateau: steps over which the loss is averaged.",
        "patience": "plateau: windows without a new lowest average before a cut.",
        "clip_value": "Clip each element of the gradient to plus or minus X.",
        "clip_norm": "Scale the gradient down to a norm of X.",
        "reduction": "Gradient of the mean or of the sum of a step's losses.",
        "dropout": "Share of each layer's outputs set to 0, the same ones all through a step.",
        "weight_decay": "adamw: weight decay.",
        "beta1": "adam, adamw: decay of the mean gradient.",
        "beta2": "adam, adamw: decay of the mean squared gradient.",
        "decay": "rmsprop: decay of the mean squared gradient.",
        "seed": "Draws the initial weights and the dropout.",
    },
    chosen=CHOSEN,
)
@options(
    MONITORING,
    BASE.watch,
    {
        "evaluate_every": "Steps between two evaluations.",
        "checkpoint_every": "Steps between two checkpoints.",
        "keep": "Latest checkpoints to keep, besides the best.",
        "sample_every": "Steps between two samples.",
        "sample_length": "Characters in a sample.",
        "sample_at_best": "Sample only at each new lowest smoothed loss,",
        "sample_below": "... once that is below this share of the initial loss.",
        "write_below": "Below this share, append samples to samples/generated.txt, too.",
    },
)
@options(
    MONITORING,
    BASE.watch.sample,
    {"temperature": "For samples: below 1 is safer, above 1 is wilder."},
)
@option(MONITORING, "--greedy", is_flag=True, help="For samples: the same as --temperature 0.")
@option(
    MONITORING,
    "--tensorboard",
    is_flag=True,
    help="Write TensorBoard event files to RUN/tensorboard, too.",
)
@option(
    MONITORING,
    "--json",
    "as_json",
    is_flag=True,
    help="Print nothing but one JSON document, at the end.",
)
@options(
    "Engine",
    BASE,
    {
        "engine": "auto, compiled, torch or reference.",
        "dtype": "float32 or float64, of the parameters.",
    },
)
@options(
    "Engine",
    BASE.train,
    {
        "precision": "full, bf16, or torch: fp16, of matrix products.",
        "accumulate": "torch: parts that a batch is computed in, to save memory.",
        "compile": "torch: use torch.compile.",
    },
)
@click.pass_context
def train(context: click.Context, /, **_: Any) -> None:
    """Train a model on a text.

    SOURCE is a file, a folder, - for standard input, or corpus:NAME (`charloom corpora`).
    Ctrl-C saves and stops; `charloom resume RUN` continues. Defaults are in brackets, unless a
    preset has its own; `none` turns an option off.
    """
    began, values = perf_counter(), given(context)
    sources, out = values.pop("sources"), values.pop("out", None)
    as_json, dry = values.pop("as_json", False), values.pop("dry_run", False)
    record = values.pop("tensorboard", False)
    if record:
        check()

    if dry:
        _try_out(sources, values, out, as_json)
        return
    with open_view(as_json) as view:
        restarted = begun(out, configure(sources, values), values) if place() else None
        if restarted:
            view.status("resuming from the last checkpoint")
            run = restarted
            run.dataset(view.status)
        else:
            run, view.reasons, began = prepare(sources, values, out, tell=view.status, began=began)
        events = loop.train(run, resume=restarted is not None, began=began)
        context.exit(view.follow(recorded(events, run.path) if record else events))


def _try_out(sources: list[str], values: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Plan a run in a temporary folder, and show how it would begin."""
    if out is not None:
        check_free(out)
    with TemporaryDirectory(prefix="charloom-") as folder:
        with open_view(as_json) as view:
            run, reasons, began = prepare(sources, values, Path(folder, "run"), tell=view.status)
            with closing(cast(Generator[Event], loop.train(run, began=began))) as events:
                started = next(event for event in events if isinstance(event, Started))
        if as_json:
            config = {"config": run.config, "parameters": started.parameters}
            echo_json(config | {"notes": started.notes, "reasons": reasons})
        else:
            echo("\n".join(header(started, reasons, is_plan=True)))
