"""A run, or a model in a folder of Hugging Face's format, in; a model that reads text out."""

import json
from os import PathLike
from pathlib import Path

from charloom.config import Engine
from charloom.models.engines import LanguageModel, create_model, load_torchnet
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


def open_model(run: str | PathLike[str], engine: Engine = "auto") -> LanguageModel:
    """Open the best model of a run, with any engine, or a model in Hugging Face's format.

    Raises CharloomError if there is no run, or no complete checkpoint in it.
    """
    opened = open_run(run)
    if opened is None:
        model: LanguageModel = load_torchnet().open_folder(Path(run))
        return model
    config, weights = opened.config, opened.load_weights()
    return create_model(config.model, weights, opened.vocabulary, engine, config.dtype)
