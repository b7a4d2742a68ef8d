"""From what stands on the command line of `charloom train` to the settings of a run."""

from pathlib import Path
from typing import Any

import click

from charloom.cli.options import changed, changed_model
from charloom.config import (
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    TrainConfig,
    TransformerConfig,
    replace,
)
from charloom.errors import CharloomError
from charloom.presets import preset as find_preset
from charloom.training.recipe import BASE, MINUTES, TRANSFORMER

SHAPE = ("model", *ModelConfig.__struct_fields__, *TransformerConfig.__struct_fields__)
LORA_RATE = 10  # times the rate of full fine-tuning (Schulman et al. 2025, "LoRA Without Regret")


def configure(values: dict[str, Any]) -> RunConfig:
    """Return the settings of a run from what was given; raises CharloomError.

    Those of recipe.CHOSEN that were not given are still to be chosen, unless there is a preset.
    """
    base, preset = BASE, values.get("preset")
    if preset is not None:
        base = find_preset(preset)
    if "start" in values:
        base = _begun(values)
    elif isinstance(base.model, PretrainedConfig):
        raise CharloomError(f"--preset {preset} needs --from FOLDER: the model it begins with")
    preset = base.preset
    if "lora" in values and not (isinstance(base.model, PretrainedConfig) and base.model.lora):
        raise CharloomError("--lora is for --from FOLDER with a pretrained model: leave it out")
    ends = [name for name in ("iterations", "epochs") if values.get(name) is not None]
    if "minutes" in values and ends:
        raise CharloomError(f"--minutes and --{ends[0]} both say when the run ends: give one")
    if len(values.keys() & {"iterations", "epochs"}) == 1:  # it alone says when the run ends
        values = {"iterations": None, "epochs": None} | values
    sample = replace(base.watch.sample, **_temperature(values))
    model = changed_model(base.model, values.get("model"), values)
    if isinstance(model, NgramConfig) and "minutes" in values:
        raise CharloomError("--minutes is for networks, and an n-gram model counts: leave it out")
    untimed = preset is None or isinstance(model, PretrainedConfig)
    if untimed and not ends and not isinstance(model, NgramConfig):
        values = {"minutes": MINUTES} | values
    if isinstance(model, TransformerConfig):
        if preset is None:
            base = replace(base, train=TRANSFORMER)
        model, values = _one_window(model, base.train, values)
    return replace(
        base,
        model=model,
        data=changed(base.data, values),
        train=changed(base.train, values),
        watch=replace(changed(base.watch, values), sample=sample),
        engine=values.get("engine", base.engine),
        dtype=values.get("dtype", base.dtype),
        preset=preset,
    )


def _one_window(
    model: TransformerConfig, train: TrainConfig, values: dict[str, Any]
) -> tuple[TransformerConfig, dict[str, Any]]:
    """Let a transformer learn from windows as long as what it looks back over."""
    if model.mixer != "attention":
        return model, values
    length = values.get("length", values.get("context", train.length))
    if "start" not in values and "context" not in values:
        model = replace(model, context=length)
    if length > model.context:
        raise CharloomError(
            f"--length {length} is more than the {model.context} characters that the model looks "
            "back over: lower it"
        )
    return model, values | {"length": length}


def _begun(values: dict[str, Any]) -> RunConfig:
    """Settings with the model of the run whose weights are to begin with."""
    from charloom.runs.open import is_pretrained
    from charloom.runs.run import Run

    folder = Path(values["start"])
    for name in ("preset", *SHAPE, *NgramConfig.__struct_fields__):
        if name in values and values[name] != "gpt2":
            flag = f"--{name.replace('_', '-')}"
            raise CharloomError(f"--from takes the model of {folder}: leave out {flag}")
    if is_pretrained(folder):
        return _fine_tuned(folder, values.get("lora", 0))
    if values.get("preset") == "gpt2":
        raise CharloomError(f"{folder} holds no pretrained model: its config.json names none")
    run = Run.open(folder)
    model = run.config.model
    if isinstance(model, NgramConfig):
        raise CharloomError(f"{run.path} has counted n-grams, and no weights: train anew")
    run.checkpoint()  # raises where there is none
    base = find_preset("gpt2") if isinstance(model, PretrainedConfig) else BASE
    start = str(run.path.absolute())
    return replace(base, model=model, dtype=run.config.dtype, start=start)


def _fine_tuned(folder: Path, lora: int) -> RunConfig:
    """Settings that begin with the model in a folder of Hugging Face's format."""
    from charloom.models.engines import load_torchnet

    base = find_preset("gpt2")
    model = load_torchnet().config_of(folder, lora)
    rate = base.train.learning_rate * (LORA_RATE if lora else 1)
    length = min(base.train.length, model.context)
    train = replace(base.train, learning_rate=rate, length=length)
    return replace(base, model=model, train=train)


def _temperature(values: dict[str, Any]) -> dict[str, float]:
    if values.get("greedy") and "temperature" in values:
        raise click.UsageError("--greedy is --temperature 0: give one of them")
    if values.get("greedy"):
        return {"temperature": 0.0}
    return {"temperature": values["temperature"]} if "temperature" in values else {}
