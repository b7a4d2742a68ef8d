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
from charloom.formatting import count, listed
from charloom.models.engines import LanguageModel, create_model, load_torchnet
from charloom.models.weights import Array, with_characters
from charloom.runs.run import Run

LARGEST_CONFIG = 2**24  # bytes


def first_weights(
    config: RunConfig, vocabulary: Tokenizer
) -> tuple[Mapping[str, Array] | None, list[str]]:
    """Return the weights that a run begins with: another's, a folder's, or None for fresh ones.

    They are made to fit a vocabulary with more characters (see `with_characters`), and a note
    names these. Raises CharloomError if they cannot be read.
    """
    if config.start is not None:
        start = Run.open(config.start)
        weights = start.load_weights()
        if isinstance(config.model, PretrainedConfig | NgramConfig):
            return weights, []
        if vocabulary.unit != "characters":
            return weights, []
        known = start.vocabulary.characters
        if gone := vocabulary.unknown(known):
            message = (
                f"{start.path} has {listed([*map(describe, gone)])}, which it did not have when "
                "this run was created: restore that run, or train a new one"
            )
            raise CharloomError(message, "other-settings", path=str(start.path))
        places = vocabulary.encode("".join(known))
        weights = with_characters(config.model, weights, places, len(vocabulary))
        old = {*known, BOUNDARY}
        new = [describe(character) for character in vocabulary.characters if character not in old]
        others = len(vocabulary) - len(new) - (vocabulary.boundary is not None)
        added = f"{count(len(new), 'character')} added to the {count(others, 'character')} of"
        return weights, [f"{added} {config.start}: {listed(new)}"] if new else []
    if isinstance(config.model, PretrainedConfig) and not config.model.lora:
        return load_torchnet().source_weights(config.model), []
    return None, []


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
