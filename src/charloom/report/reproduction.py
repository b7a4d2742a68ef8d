"""A run -> the command line that trains it again, and what its exact bits depend on."""

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from charloom.config import (
    AUTO,
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    TransformerConfig,
    replace,
)
from charloom.errors import CharloomError
from charloom.files import read_json
from charloom.formatting import model_kind
from charloom.presets import preset
from charloom.runs.checkpoint import find, steps
from charloom.runs.meta import Meta
from charloom.runs.run import Run
from charloom.training.recipe import BASE, CHOSEN, TRANSFORMER, alone
from charloom.training.settings import KINDS

DURATIONS = ("iterations", "epochs")


@dataclass(frozen=True)
class Origin:
    """How to reproduce a run: a command line, and what its exact bits depend on.

    `exact` is whether the command gives the same bits; `trained` is when the last checkpoint was
    saved.
    """

    command: str
    exact: bool
    sources: tuple[str, ...]
    sha256: str
    characters: int
    seed: int | None
    engine: str
    dtype: str
    versions: dict[str, str]
    trained: datetime | None


def origin(run: Run) -> Origin:
    """Return how to reproduce a run."""
    config, meta = run.config, meta_of(run)
    counts = isinstance(config.model, NgramConfig)
    return Origin(
        command=command(run),
        exact=config.train.minutes is None or counts,
        sources=run.corpus.sources,
        sha256=run.corpus.sha256,
        characters=run.corpus.characters,
        seed=None if counts else config.train.seed,
        engine="counts" if counts else config.engine,
        dtype=config.dtype,
        versions=dict(meta.versions) if meta else {},
        trained=run.last_saved,
    )


def command(run: Run) -> str:
    """Return the `charloom train` that gives this run's settings, quoted for a shell.

    Every setting that charloom chose is spelled out, so that nothing is chosen anew. A run that
    had minutes gets them again; an imported one is imported again.
    """
    config = run.config
    if config.imported:
        return shlex.join(["charloom", "import", "FILE", "--out", run.path.resolve().name or "RUN"])
    words = ["charloom", "train", *config.data.sources, "--out", run.path.resolve().name or "RUN"]
    return shlex.join([*words, *flags(config)])


def flags(config: RunConfig) -> list[str]:
    """Return the options of `charloom train` that give these settings."""
    base, words = _base(config)
    chosen = () if config.preset else CHOSEN
    model, networks = alone(config.model)
    if not isinstance(model, PretrainedConfig) and config.start is None:
        start = base.model if type(base.model) is type(model) else KINDS[model_kind(model)][0]
        words += _changed(start, model, always=chosen)
        if isinstance(model, ModelConfig) and (networks > 1 or chosen):
            words += ["--networks", str(networks)]
    found_out = ("sources", "boundaries", "raw")  # by what is read
    words += _changed(base.data, config.data, skip=found_out, always=("split",))
    if not isinstance(model, NgramConfig):
        words += _length(config, base)
        skip = ("minutes", *DURATIONS)
        words += _changed(base.train, config.train, skip=skip, always=chosen)
    words += _changed(base.watch, config.watch, skip=("sample",))
    if config.watch.sample.temperature != base.watch.sample.temperature:
        words += ["--temperature", str(config.watch.sample.temperature)]
    for name in ("engine", "dtype"):
        if getattr(config, name) != getattr(base, name):
            words += [f"--{name}", getattr(config, name)]
    return words


def meta_of(run: Run) -> Meta | None:
    """Return the metadata of the latest checkpoint; None if none can be read."""
    saved = steps(run.checkpoints)
    try:
        return read_json(find(run.checkpoints, saved[-1]) / "meta.json", Meta) if saved else None
    except CharloomError:
        return None


def _base(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return the settings that `charloom train` starts from, and the options that select them."""
    model = config.model
    if config.start is not None:
        base = preset("gpt2") if isinstance(model, PretrainedConfig) else BASE
        return base, ["--from", config.start]
    if isinstance(model, PretrainedConfig):
        lora = ["--lora", str(model.lora)] if model.lora else []
        return preset("gpt2"), ["--from", model.source, *lora]
    if config.preset is not None:
        base = preset(config.preset)
        words = ["--preset", config.preset]
        if model_kind(base.model) != model_kind(model):
            words += ["--model", model_kind(model)]
        return base, words
    train = TRANSFORMER if isinstance(model, TransformerConfig) else BASE.train
    return replace(BASE, train=train), ["--model", model_kind(model)]


def _changed(
    base: msgspec.Struct,
    now: msgspec.Struct,
    skip: tuple[str, ...] = (),
    always: tuple[str, ...] = (),
) -> list[str]:
    words = []
    for name in now.__struct_fields__:
        value = getattr(now, name)
        told = name in always or value != getattr(base, name)
        if told and name not in (*skip, "cell", "mixer"):
            words += _flag(name, value)
    return words


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, tuple):
        flag = flag.removesuffix("s")  # columns are given one by one, with --column
        return [word for one in value for word in (f"--{flag}", str(one))]
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if value is None:
        return [f"--{flag}", "auto" if name in AUTO else "none"]
    return [f"--{flag}", str(value)]


def _length(config: RunConfig, base: RunConfig) -> list[str]:
    """Return the options for how long to train, without those of the preset."""
    train = config.train
    if train.minutes is not None:
        return ["--minutes", f"{train.minutes:g}"]
    given = [name for name in DURATIONS if getattr(train, name) is not None]
    if config.preset and all(getattr(train, n) == getattr(base.train, n) for n in given):
        return []
    return [word for name in given for word in _flag(name, getattr(train, name))]
