"""A run folder, or a model in a folder of Hugging Face's format -> a model that reads text."""

import json
from collections.abc import Mapping
from pathlib import Path

from charloom.config import Engine, PretrainedConfig, RunConfig
from charloom.models.engines import LanguageModel, create_model, load_torchnet
from charloom.models.weights import Array
from charloom.runs.run import Run


def first_weights(config: RunConfig) -> Mapping[str, Array] | None:
    """Return the weights that a run begins with, of another run or a folder; None for fresh ones.

    Raises CharloomError where they are not there.
    """
    if config.start is not None:
        return Run.open(config.start).load_weights()
    if isinstance(config.model, PretrainedConfig) and not config.model.lora:
        weights: Mapping[str, Array] = load_torchnet().source_weights(config.model)
        return weights
    return None


def is_pretrained(folder: str | Path) -> bool:
    """Whether a folder holds a model in Hugging Face's format."""
    try:
        document = json.loads(Path(folder, "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "model_type" in document


def open_model(run: str | Path | Run, engine: Engine = "auto") -> LanguageModel:
    """Open the best model of a run folder, whichever engine trained it.

    Or a model in a folder of Hugging Face's format. Raises CharloomError where there is no run or
    no valid checkpoint in it.
    """
    if not isinstance(run, Run) and is_pretrained(run):
        model: LanguageModel = load_torchnet().open_folder(Path(run))
        return model
    run = run if isinstance(run, Run) else Run.open(run)
    config = run.config
    return create_model(config.model, run.load_weights(), run.vocabulary, engine, config.dtype)
