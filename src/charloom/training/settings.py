"""From what a user gives, by name, to the settings of a run."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from charloom.config import (
    CELLS,
    AttentiveConfig,
    DataConfig,
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.data.web.fetching import is_address
from charloom.errors import CharloomError
from charloom.formatting import model_kind
from charloom.models.engines import load_torchnet
from charloom.presets import preset as find_preset
from charloom.runs.open import is_pretrained
from charloom.runs.run import Run
from charloom.training.recipe import BASE, TRANSFORMER

MINUTES = 3.0  # of a run, if nobody says how long
KINDS: dict[str, tuple[NetworkConfig | NgramConfig, dict[str, str]]] = {
    **{cell: (BASE.model, {"cell": cell}) for cell in ("rnn", "lstm", "gru")},
    "ngram": (NgramConfig(), {}),
    "transformer": (TransformerConfig(), {"mixer": "attention"}),
    "mingru": (TransformerConfig(), {"mixer": "mingru"}),
    "minlstm": (TransformerConfig(), {"mixer": "minlstm"}),
}  # "model" -> settings to start from, and what makes them that model's
SHAPE = (
    *("model", "networks"),
    *ModelConfig.__struct_fields__,
    *TransformerConfig.__struct_fields__,
)
NAMES = {
    *("preset", "start", "lora", "engine", "dtype", "temperature", "greedy", *SHAPE),
    *NgramConfig.__struct_fields__,
    *DataConfig.__struct_fields__,
    *TrainConfig.__struct_fields__,
    *WatchConfig.__struct_fields__,
}.difference(("sources", "sample", "boundaries", "raw", "gate"))
LORA_RATE = 10  # times the rate of full fine-tuning (Schulman et al. 2025, "LoRA Without Regret")

C = TypeVar("C", bound=msgspec.Struct)


def configure(sources: Sequence[str], given: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run on a text from those `given`, by the names of their fields.

    Beside fields there are "model" (one of KINDS), "networks" (how many are averaged), "preset",
    "start" (a run or folder whose weights to begin with), "lora" (its rank), "temperature" and
    "greedy". Fields of recipe.CHOSEN that are not given are still to be chosen, unless there is a
    preset. Raises CharloomError.
    """
    if unknown := given.keys() - NAMES:
        name = min(unknown)
        raise CharloomError(f"there is no setting {name!r}", "bad-setting", field=name)
    base, preset = BASE, given.get("preset")
    if preset is not None:
        base = find_preset(preset)
    if "start" in given:
        base = _begun(given)
        if given.get("unit", base.data.unit) != base.data.unit:
            message = (
                f"the unit is that of {given['start']}, whose weights know no other: leave it out"
            )
            raise CharloomError(message, "bad-setting", field="unit")
    elif isinstance(base.model, PretrainedConfig):
        message = f"preset {preset} fine-tunes a model: name its folder with --from"
        raise CharloomError(message, "bad-setting", field="start")
    if "lora" in given and not (isinstance(base.model, PretrainedConfig) and base.model.lora):
        message = "lora is for fine-tuning a pretrained model: leave it out"
        raise CharloomError(message, "bad-setting", field="lora")
    model = _model(base.model, given)
    given = {**given, **_length(base, model, given)}
    if isinstance(model, TransformerConfig):
        if base.preset is None:
            base = replace(base, train=TRANSFORMER)
        model, given = _one_window(model, base.train, given)
    return replace(
        base,
        model=model,
        data=replace(_changed(base.data, given), sources=tuple(sources)),
        train=_changed(base.train, given),
        watch=replace(_changed(base.watch, given), sample=_sample(base.watch, given)),
        engine=given.get("engine", base.engine),
        dtype=given.get("dtype", base.dtype),
    )


def folders(sources: Sequence[str], pattern: str) -> Iterator[Path]:
    """Yield runs/PATTERN, runs/PATTERN-2, ...: the first that can be made is what is looked for.

    In the pattern {text} stands for the name of the first source.
    """
    text = sources[0].removeprefix("corpus:")
    if text == "-":
        text = "stdin"
    elif is_address(text):
        text = text.partition("://")[2]
    elif text == sources[0]:
        text = Path(text).resolve().stem
    name = re.sub(r"[^\w.]+", "-", pattern.format(text=text)).strip("-.")
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    return (Path("runs", name) for name in names)


def default_folders(config: RunConfig) -> Iterator[Path]:
    """Yield the folders of a run that nobody has named one for: runs/TEXT-MODEL, then others."""
    name = config.preset or model_kind(config.model)
    return folders(config.data.sources, f"{{text}}-{name}")


def _changed(config: C, given: Mapping[str, Any]) -> C:
    return replace(config, **{n: given[n] for n in config.__struct_fields__ if n in given})


def _model(base: NetworkConfig | NgramConfig, given: Mapping[str, Any]) -> Any:
    """The model's settings, of another kind if "model" says so."""
    model, kind = base, given.get("model")
    if kind is not None:
        if kind not in KINDS and kind not in CELLS:
            message = f"there is no model {kind!r}: give {', '.join(KINDS)}"
            raise CharloomError(message, "bad-setting", field="model")
        start, changes = KINDS.get(kind, (BASE.model, {"cell": kind}))
        model = replace(base if type(base) is type(start) else start, **changes)
    for other, _ in KINDS.values():
        for name in given.keys() & {*other.__struct_fields__}.difference(model.__struct_fields__):
            of = [kind for kind, (one, _) in KINDS.items() if name in one.__struct_fields__]
            kinds = " or ".join([", ".join(of[:-1]), of[-1]] if len(of) > 1 else of)
            message = f"{name.replace('_', '-')} is for model {kinds}: leave it out"
            raise CharloomError(message, "bad-setting", field=name)
    model = _changed(model, given)
    networks = given.get("networks", 1)
    if networks == 1:
        return model
    if not isinstance(model, ModelConfig):
        message = "networks is for model rnn, lstm or gru: leave it out"
        raise CharloomError(message, "bad-setting", field="networks")
    return EnsembleConfig(network=model, networks=networks)


def _length(
    base: RunConfig, model: NetworkConfig | NgramConfig, given: Mapping[str, Any]
) -> dict[str, Any]:
    """What ends the run: what is given, that of a preset, or else MINUTES."""
    ends = [name for name in ("iterations", "epochs") if given.get(name) is not None]
    if isinstance(model, NgramConfig):
        if "minutes" in given:
            message = "minutes is for networks, and an n-gram model counts: leave it out"
            raise CharloomError(message, "bad-setting", field="minutes")
        return {}
    if "minutes" in given and ends:
        message = f"minutes and {ends[0]} both say when the run ends: give one"
        raise CharloomError(message, "bad-setting", field="minutes")
    untimed = base.preset is None or isinstance(model, PretrainedConfig)
    minutes = {"minutes": MINUTES} if untimed and not ends and "minutes" not in given else {}
    if len(given.keys() & {"iterations", "epochs"}) == 1:  # it alone says when the run ends
        return minutes | {"iterations": None, "epochs": None} | {n: given[n] for n in ends}
    return minutes


def _sample(base: WatchConfig, given: Mapping[str, Any]) -> SampleConfig:
    if given.get("greedy") and "temperature" in given:
        message = "greedy is temperature 0: give one of them"
        raise CharloomError(message, "bad-setting", field="greedy")
    temperature = 0.0 if given.get("greedy") else given.get("temperature", base.sample.temperature)
    return replace(base.sample, temperature=temperature)


def _one_window(
    model: TransformerConfig, train: TrainConfig, given: Mapping[str, Any]
) -> tuple[TransformerConfig, Mapping[str, Any]]:
    """Let a transformer learn from sequences as long as its context."""
    if model.mixer != "attention":
        return model, given
    length = given.get("length", given.get("context", train.length))
    if "start" not in given and "context" not in given:
        model = replace(model, context=length)
    if length > model.context:
        message = f"length {length} is more than the model's context of {model.context}: lower it"
        raise CharloomError(message, "bad-setting", field="length")
    return model, {**given, "length": length}


def _begun(given: Mapping[str, Any]) -> RunConfig:
    """Settings with the model of the run whose weights are to begin with."""
    folder = Path(given["start"])
    for name in ("preset", *SHAPE, *NgramConfig.__struct_fields__):
        if name in given and given[name] != "gpt2":
            message = f"the model is that of {folder}: leave out {name.replace('_', '-')}"
            raise CharloomError(message, "bad-setting", field=name)
    if is_pretrained(folder):
        return _fine_tuned(folder, given.get("lora", 0))
    if given.get("preset") == "gpt2":
        message = f"{folder} holds no pretrained model: its config.json names none"
        raise CharloomError(message, "not-found")
    run = Run.open(folder)
    model = run.config.model
    if isinstance(model, NgramConfig):
        message = f"{run.path} is an n-gram model, which has no weights to begin with"
        raise CharloomError(message, "unsupported")
    if isinstance(model, AttentiveConfig):
        message = f"{run.path} is a model of textgenrnn, which is read and not trained further"
        raise CharloomError(message, "unsupported")
    run.checkpoint(weights_only=True)  # raises if there is none
    base = find_preset("gpt2") if isinstance(model, PretrainedConfig) else BASE
    start, data = str(run.path.absolute()), run.config.data
    data = replace(base.data, unit=data.unit, raw=data.raw, normalize=data.normalize)
    return replace(base, model=model, data=data, dtype=run.config.dtype, start=start)


def _fine_tuned(folder: Path, lora: int) -> RunConfig:
    """Settings that begin with the model in a folder of Hugging Face's format."""
    base = find_preset("gpt2")
    model = load_torchnet().config_of(folder, lora)
    rate = base.train.learning_rate * (LORA_RATE if lora else 1)
    length = min(base.train.length, model.context)
    train = replace(base.train, learning_rate=rate, length=length)
    return replace(base, model=model, train=train)
