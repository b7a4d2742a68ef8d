"""How figures, durations and models are written, on a terminal and on a page."""

from collections.abc import Sequence
from unicodedata import category

from charloom.config import (
    AttentiveConfig,
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    PretrainedConfig,
    TransformerConfig,
)

_KEPT = "\n\t\u200c\u200d"
LN2 = 0.6931471805599453
LONGEST_PIECE = 15  # characters of a word that may be left out at an end


def duration(seconds: float) -> str:
    """Return minutes and seconds, with hours if there are any: 0:07, 12:05, 3:02:11."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def count(number: int, noun: str) -> str:
    """Return a number and what it counts: 1 layer, 1,000 weights."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def extent(name: str, read: int, whole: int) -> str:
    """Return the name of a text and how many of its characters were read."""
    part = "" if read == whole else f"the first {read:,} of "
    return f"{name}: {part}{count(whole, 'character')}"


def line_of(text: str, place: int) -> int:
    """Return the number of the line that a place in a text is in; the first is 1."""
    return text.count("\n", 0, place) + 1


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a stretch [start, end) of a text without the pieces of words that its ends cut off.

    A piece of more than 15 characters stays: there are writings without white space.
    """
    first, last = start, end
    if _cuts_word(text, start):
        first += _piece(text[start:end])
    if _cuts_word(text, end):
        last -= _piece(text[first:end][::-1])
    return first, last


def _cuts_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and not any(map(str.isspace, text[place - 1 : place + 1]))


def _piece(text: str) -> int:
    """Return how long the piece of a word that a text begins with is, with the space behind it."""
    spaces = (i for i, c in enumerate(text[: LONGEST_PIECE + 1]) if c.isspace())
    return next(spaces, -1) + 1


def speed(per_second: float) -> str:
    """Return characters per second to three digits; more would only flicker."""
    return f"{float(f'{per_second:.3g}'):,.0f} characters/s"


def nats_and_bits(nats: float) -> str:
    """Return a loss per character in both units."""
    return f"{nats:.3f} nats, {nats / LN2:.3f} bits per character"


def model_kind(model: NetworkConfig | NgramConfig) -> str:
    """Return what --model calls a model."""
    match model:
        case NgramConfig():
            return "ngram"
        case ModelConfig():
            return model.cell
        case EnsembleConfig():
            return model.network.cell
        case TransformerConfig():
            return "transformer" if model.mixer == "attention" else model.mixer
        case AttentiveConfig():
            return "textgenrnn"
        case PretrainedConfig():
            return str(model.architecture.get("model_type", "pretrained"))


def model_name(model: NetworkConfig | NgramConfig) -> str:
    """Return a model's kind and size: lstm 2 x 128 is two layers of 128 units."""
    match model:
        case NgramConfig():
            smoothing = "" if model.smoothing == NgramConfig().smoothing else f", {model.smoothing}"
            return f"ngram {model.order}{smoothing}"
        case ModelConfig():
            return f"{model.cell} {model.layers} x {model.hidden}"
        case EnsembleConfig():
            return f"{model.networks} networks, {model_name(model.network)}"
        case TransformerConfig():
            return f"{model_kind(model)} {model.layers} x {model.width}"
        case AttentiveConfig():
            return f"textgenrnn {model.layers} x {model.hidden}"
        case PretrainedConfig():
            return model_kind(model) + (f", LoRA {model.lora}" if model.lora else "")


def percent(share: float, digits: int = 1) -> str:
    """Return a share as 12.5%; empty for NaN."""
    return "" if share != share else f"{100 * share:.{digits}f}%"


def harmless(text: str) -> str:
    """Return a text, of the same length, that commands no terminal and hides nothing.

    Control characters but line ends and tabs are dots, and so is what turns the direction of
    writing. Spaces of any width stay, and what joins letters or keeps them apart.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT or category(c) == "Zs" else "·" for c in text)


def printable(text: str) -> str:
    """Return a harmless text, with spaces for tabs."""
    return harmless(text.expandtabs(4))


def in_a_line(text: str) -> str:
    """Return a printable text, with a sign for each line end: for a cell, a note or a label."""
    return printable(text).replace("\n", "↵")


def short_number(number: float) -> str:
    """Return a number to three digits: 950, 4.72k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
