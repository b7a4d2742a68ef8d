"""What was found in a file of an older program: a model, its history, and what they ran on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charloom.config import (
    AttentiveConfig,
    DataConfig,
    ModelConfig,
    TrainConfig,
    TransformerConfig,
    replace,
)
from charloom.errors import CharloomError
from charloom.models.weights import Weights, weight_shapes

MOST_STEPS = 10**12
ALL_OF_IT = "its program trained on all of the text: nothing of it is held out"


class MalformedError(Exception):
    """What is wrong with the contents of a file, as the end of a sentence without its name."""


class RefusedError(Exception):
    """Why what is in a file cannot become a run, as a sentence without its name."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model of another program, with weights under charloom's names and in its layout.

    Ids are the other program's: `tokens` (V,) are the characters, or the bytes, that they stand
    for, or None if the file does not say; then `size` is V. `lowered` says that the program turned
    its text to lower case and sorted the characters, so that a text gives them, `lines` that it
    learned lines, whose end is id 0, and sorted the characters within. `losses` and
    `validation` are in nats per character after so many updates, `step` in all. `data` has the
    shares that were held out, of which `held_out` is a note for whoever has the text, and `train`
    how it was trained, as far as that is known. `notes` are for all.
    """

    program: str
    model: ModelConfig | TransformerConfig | AttentiveConfig
    weights: Weights = field(repr=False)
    size: int
    tokens: tuple[str, ...] | bytes | None = None
    lowered: bool = False
    lines: bool = False
    step: int = 0
    losses: Mapping[int, float] = field(default_factory=dict, repr=False)
    validation: Mapping[int, float] = field(default_factory=dict, repr=False)
    data: DataConfig = field(default_factory=lambda: DataConfig(validation=0.0))
    train: TrainConfig = field(default_factory=TrainConfig)
    held_out: str = ""
    notes: tuple[str, ...] = ()


def check_fit(
    weights: Weights, model: ModelConfig | TransformerConfig | AttentiveConfig, size: int
) -> None:
    """Raise MalformedError unless there is each array of such a model, of its shape."""
    for name, shape in weight_shapes(model, size).items():
        found = weights.get(name)
        if found is None or found.shape != shape or found.dtype.kind != "f":
            raise MalformedError(f"its weights do not fit one another ({name})")


def whole(value: object, least: int, most: int) -> int | None:
    """Return a whole number within bounds, which Lua has as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if int(value) == value and least <= value <= most else None


def trained(usual: TrainConfig, step: int, asked: Mapping[str, Any]) -> TrainConfig:
    """Return how a model was trained: as a program usually does, but for what was `asked`.

    What is no setting is passed over: none of it changes what the model predicts.
    """
    config = replace(usual, epochs=None, minutes=None, iterations=max(1, step))
    for name, value in asked.items():
        usual_value = getattr(usual, name)
        if isinstance(value, float) and isinstance(usual_value, int):
            value = int(value) if value.is_integer() else None
        if value is not None:
            try:
                config = replace(config, **{name: value})
            except CharloomError:
                continue
    return config


def history(values: Mapping[int, object]) -> dict[int, float]:
    """Return the losses by step, without what is none."""
    return {
        step: float(loss)
        for step, loss in sorted(values.items())
        if 0 < step <= MOST_STEPS and isinstance(loss, float) and math.isfinite(loss)
    }


def characters(tokens: list[str | int]) -> tuple[str, ...] | bytes:
    """Return tokens as characters, or all as bytes if some are bytes of UTF-8.

    A number from 128 on is a byte: of UTF-8 if its lead and continuation bytes are among the
    tokens, else a character of Windows-1252. Beyond 255 all of them are code points.
    """
    numbers = [token for token in tokens if isinstance(token, int)]
    if numbers and max(numbers) < 256 and _of_utf8(numbers):
        codes = [token if isinstance(token, int) else ord(token) for token in tokens]
        if max(codes) > 255:
            raise MalformedError("its vocabulary mixes bytes and characters")
        return bytes(codes)
    decode = chr if numbers and max(numbers) > 255 else _of_windows
    return tuple(decode(token) if isinstance(token, int) else token for token in tokens)


def _of_utf8(numbers: list[int]) -> bool:
    lead = [0xC2 <= number < 0xF5 for number in numbers if number >= 0xC0]
    return len(numbers) > len(lead) > 0 and all(lead)


def _of_windows(byte: int) -> str:
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)
