"""A run, or a model in a folder of Hugging Face's format, in; a model that reads text out."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from charloom.config import Engine, Precision
from charloom.errors import CharloomError
from charloom.models.engines import create_model, load_torchnet
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel
from charloom.models.weights import Array
from charloom.runs.run import Run

LARGEST_CONFIG = 2**24  # bytes


def is_pretrained(folder: str | PathLike[str]) -> bool:
    """Whether a folder holds a model in Hugging Face's format."""
    path = Path(folder, "config.json")
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:  # a pipe is waited for
            return False
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "model_type" in document


def open_run(run: str | PathLike[str]) -> Run | None:
    """Open a run; None for a model in Hugging Face's format, which has no text and no settings."""
    if isinstance(run, Run):
        return run
    return None if is_pretrained(run) else Run.open(run)


def open_model(
    run: str | PathLike[str],
    engine: Engine = "auto",
    weights: Mapping[str, Array] | None = None,
    precision: Precision = "full",
) -> LanguageModel:
    """Open the best model of a run, with any engine, or a model in Hugging Face's format.

    `weights` are those of the run, if they have been read; `precision` is as in `create_model`. If
    the run has ended in a mixture, its n-grams are counted anew. Raises CharloomError if there is
    no run, no complete checkpoint in it, or not the text that is to be counted.
    """
    opened = open_run(run)
    if opened is None:
        if precision != "full":
            message = f"--precision {precision} needs a run, and {run} is none: leave it out"
            raise CharloomError(message, "unsupported", field="precision")
        model: LanguageModel = load_torchnet().open_folder(Path(run))
        return model
    network = open_alone(opened, engine, weights, precision)
    final = opened.final() if opened.config.train.mixture else None
    if final is None or final.mixture is None:
        return network
    from charloom.models.mixture.model import mixture_of

    mixed, train = final.mixture, opened.parts().train
    counts = NgramModel.fit(train[-mixed.learned :], opened.vocabulary, mixed.counts)
    return mixture_of(network, counts, np.array(mixed.shares))


def open_alone(
    run: Run,
    engine: Engine = "auto",
    weights: Mapping[str, Array] | None = None,
    precision: Precision = "full",
) -> LanguageModel:
    """Open the best model of a run without what it may be mixed with; see `open_model`."""
    config, weights = run.config, run.load_weights() if weights is None else weights
    return create_model(config.model, weights, run.vocabulary, engine, config.dtype, precision)
