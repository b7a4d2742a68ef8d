"""`charloom train`: from a text to a run."""

from pathlib import Path
from time import perf_counter
from typing import Any

import click

from charloom.cli.options import (
    Section,
    SectionedCommand,
    given,
    option,
    options,
)
from charloom.cli.several import begun
from charloom.config import NgramConfig, TransformerConfig
from charloom.distributed import place
from charloom.training.recipe import BASE, CHOSEN
from charloom.training.settings import KINDS, MINUTES, configure

_MODEL = Section(
    "Model",
    BASE.model,
    {
        "hidden": "rnn, lstm, gru: units H in a layer.",
        "layers": "Layers, one above the other; a transformer has 4.",
        "embedding": "rnn, lstm, gru: width of the learned input vectors; 0 is one-hot inputs.",
        "init_std": "Weights start as N(0, this squared); auto is 1 / fan-in.",
        "forget_bias": "What the bias of an LSTM's forget gate starts at.",
    },
    unset="auto",
    chosen=CHOSEN,
)
_TRANSFORMER = Section(
    "Model",
    TransformerConfig(),
    {
        "width": "transformer, mingru, minlstm: numbers D that stand for a character.",
        "heads": "transformer: heads that attend side by side.",
        "context": "transformer: characters it looks back over; also --length.",
        "positions": "transformer: learned or rotary.",
    },
)
_NGRAM = Section(
    "Model",
    NgramConfig(),
    {
        "order": "Characters in an n-gram, the predicted one counted.",
        "smoothing": "kneser-ney, witten-bell, or none: a plain Markov chain.",
    },
)
_LENGTH = Section(
    "How long",
    BASE.train,
    {
        "iterations": "End after so many steps. What is chosen then follows from the text alone, "
        "and the same command learns the same.",
        "epochs": "End after so many passes through the text; the same goes for it.",
    },
)
_DATA = Section(
    "Text",
    BASE.data,
    {
        "validation": "Share at the end that is held out, to measure on.",
        "test": "Share after that, which training never looks at.",
    },
)
_STEP = Section(
    "Steps",
    BASE.train,
    {
        "batch": "Places B of the text that are read side by side.",
        "batches": "lanes are read on and on; windows lie anywhere, and each begins from nothing.",
        "length": "Characters T that the gradient reaches back over.",
        "optimizer": "sgd, adagrad, rmsprop, adam or adamw.",
        "learning_rate": "The rate where it is highest.",
        "schedule": "Of the rate: constant, step, exponential, cosine, one-cycle or plateau.",
        "warmup": "Iterations over which the rate climbs from 0.",
        "decay_factor": "step, exponential, plateau: what the rate is multiplied by.",
        "decay_every": "step, exponential: epochs between two cuts.",
        "decay_after": "step, exponential: epochs before the first cut.",
        "final_rate": "cosine, one-cycle, plateau: the lowest rate, a share of the highest.",
        "window": "plateau: iterations that a mean loss is taken over.",
        "patience": "plateau: windows without a new lowest mean before a cut.",
        "clip_value": "Cut each number of the gradient to plus or minus this.",
        "clip_norm": "Scale the gradient down to this norm.",
        "reduction": "Whether the gradient is of the mean or the sum of a step's losses.",
        "dropout": "Share of a layer's outputs that is dropped, the same all through a step.",
        "weight_decay": "adamw: how strongly weights are drawn to 0.",
        "beta1": "adam, adamw: memory of the gradient.",
        "beta2": "adam, adamw: memory of its square.",
        "decay": "rmsprop: memory of the gradient's square.",
        "seed": "Draws the first weights and the dropout.",
    },
    chosen=CHOSEN,
)
_WATCH = Section(
    "On the way (changes nothing of what is learned; 0 is never)",
    BASE.watch,
    {
        "evaluate_every": "Iterations between two looks at held-out text.",
        "checkpoint_every": "Iterations between two checkpoints.",
        "keep": "Newest checkpoints that stay, beside the best.",
        "sample_every": "Iterations between two samples.",
        "sample_length": "Characters in a sample.",
        "sample_at_best": "Draw a sample only at a new lowest smoothed loss.",
        "sample_below": "... and once that is below this share of the loss at the start.",
    },
    unset="auto",
)
_WRITE = Section(
    _WATCH.title,
    BASE.watch,
    {"write_below": "Below this share, also append samples to samples/generated.txt."},
)
_SAMPLE = Section(
    _WATCH.title,
    BASE.watch.sample,
    {"temperature": "Of samples: below 1 is safer, above is wilder."},
)
_ENGINE = Section(
    "Engine",
    BASE,
    {
        "engine": "What computes: auto, compiled, torch or reference.",
        "dtype": "Of weights: float32 or float64.",
    },
)
_TORCH = Section(
    "Engine",
    BASE.train,
    {
        "precision": "torch: of products: full, bf16 or fp16.",
        "accumulate": "torch: parts of the batch, one after the other, where memory is short.",
        "compile": "torch: let torch.compile make kernels.",
    },
)


@click.command(cls=SectionedCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@option(
    "Run",
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A new folder.  [runs/TEXT-MODEL]",
)
@option(
    "Run",
    "--preset",
    metavar="NAME",
    help="Start from the settings of a program of old: see `charloom presets`.",
)
@option(
    "Run",
    "--from",
    "start",
    metavar="RUN",
    help="Begin with the best weights of RUN, and with its model and characters; all else anew. "
    "Or a folder with a causal language model in Hugging Face's format.",
)
@option(
    "Run",
    "--lora",
    type=click.IntRange(1),
    metavar="RANK",
    help="With --from FOLDER: train adapters of this rank alone; its weights stay as they are.",
)
@option(
    "Model",
    "--model",
    type=click.Choice([*KINDS]),
    metavar="NAME",
    help="rnn, lstm, gru; ngram, which counts; with PyTorch transformer, mingru, minlstm.  [lstm]",
)
@options(_MODEL)
@options(_TRANSFORMER)
@options(_NGRAM)
@option(
    "How long",
    "--minutes",
    type=float,
    metavar="X",
    help="End when so much time is over, reading and compiling and all: the speed of this machine "
    f"is measured, and what is [chosen] below suits it.  [{MINUTES:g}]",
)
@options(_LENGTH)
@options(_DATA)
@options(_STEP)
@options(_WATCH)
@options(_WRITE)
@options(_SAMPLE)
@option(_WATCH.title, "--greedy", is_flag=True, help="Of samples: always the likeliest character.")
@option(
    _WATCH.title,
    "--tensorboard",
    is_flag=True,
    help="Write event files into RUN/tensorboard, too; resume goes on with them.",
)
@options(_ENGINE)
@options(_TORCH)
@click.pass_context
def train(context: click.Context, /, **_: Any) -> None:
    """Train a model on a text, and watch it learn.

    SOURCE is a file, a folder, - for standard input, or corpus:NAME (`charloom corpora`).
    Ctrl-C saves, and `charloom resume RUN` goes on. Brackets hold the defaults, where no
    preset has its own; the word none there turns a thing off.
    """
    began, values = perf_counter(), given(context)
    sources, out = values.pop("sources"), values.pop("out", None)
    from charloom.cli.plain import open_view
    from charloom.training.tensorboard import check, recorded

    record = values.pop("tensorboard", False)
    if record:
        check()

    with open_view() as view:
        from charloom.training.loop import train as start
        from charloom.training.planning import prepare

        again = begun(out, configure(sources, values), values) if place() else None
        if again:
            view.status("going on from the last checkpoint")
            run = again
            run.prepare(view.status)
        else:
            run, view.reasons, began = prepare(sources, values, out, tell=view.status, began=began)
        events = start(run, resume=again is not None, began=began)
        context.exit(view.follow(recorded(events, run.path) if record else events))
