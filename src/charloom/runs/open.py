"""A run, or a model in a folder of Hugging Face's format, in; a model that reads text out."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from charloom.config import Engine, NgramConfig, PretrainedConfig, RunConfig
from charloom.data.boundary import BOUNDARY
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import describe
from charloom.errors import CharloomError
from charloom.formatting import listed
from charloom.models.engines import LanguageModel, create_model, load_torchnet
from charloom.models.weights import Array, with_characters
from charloom.runs.run import Run

LARGEST_CONFIG = 2**24  # bytes


def first_weights(config: RunConfig, vocabulary: Tokenizer) -> Mapping[str, Array] | None:
    """Return the weights that a run begins with: another's, a folder's, or None for fresh ones.

    They are made to fit a vocabulary with more characters (see `with_characters`). Raises
    CharloomError if they cannot be read.
    """
    weights: Mapping[str, Array]
    if config.start is not None:
        start = Run.open(config.start)
        weights = start.load_weights()
        if isinstance(config.model, PretrainedConfig | NgramConfig):
            return weights
        if vocabulary.unit != "characters":
            return weights
        if gone := vocabulary.unknown(start.vocabulary.characters):
            message = (
                f"{start.path} has {listed([*map(describe, gone)])}, and had not when this run "
                "was created: put that run back, or train anew"
            )
            raise CharloomError(message, "other-settings", path=str(start.path))
        places = vocabulary.encode("".join(start.vocabulary.characters))
        return with_characters(config.model, weights, places, len(vocabulary))
    if isinstance(config.model, PretrainedConfig) and not config.model.lora:
        weights = load_torchnet().source_weights(config.model)
        return weights
    return None


def added(config: RunConfig, vocabulary: Tokenizer) -> tuple[str, ...]:
    """Return the characters that the run did not know whose weights this one begins with.

    A boundary between documents is none.
    """
    if config.start is None:
        return ()
    known = {*Run.open(config.start).vocabulary.characters, BOUNDARY}
    return tuple(character for character in vocabulary.characters if character not in known)


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


def open_run(folder: str | PathLike[str]) -> Run | None:
    """Open a run; None for a model in Hugging Face's format, which has no text and no settings."""
    return None if is_pretrained(folder) else Run.open(folder)


def open_model(run: str | PathLike[str], engine: Engine = "auto") -> LanguageModel:
    """Open the best model of a run, with any engine, or a model in Hugging Face's format.

    Raises CharloomError if there is no run, or no complete checkpoint in it.
    """
    if is_pretrained(run):
        model: LanguageModel = load_torchnet().open_folder(Path(run))
        return model
    run = run if isinstance(run, Run) else Run.open(run)
    config = run.config
    return create_model(config.model, run.load_weights(), run.vocabulary, engine, config.dtype)
