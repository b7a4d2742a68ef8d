"""A model of an older program in; an ordinary run with its weights and its history out."""

import dataclasses
from pathlib import Path

import numpy as np
from msgspec import UNSET

from charloom.config import ModelConfig, RunConfig, replace
from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.reading import Reading
from charloom.data.split import arrange
from charloom.data.text import Text, read_text
from charloom.data.tokenizer import Tokenizer
from charloom.data.unknown import check_known
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.formats.old.found import Found
from charloom.formats.old.recognition import reading, recognise, whole_file
from charloom.formats.old.vocabularies import of_lines, of_text, read_vocabulary
from charloom.formatting import printable
from charloom.models.versions import versions
from charloom.models.weights import Weights, check_weights
from charloom.runs.meta import Best, Meta
from charloom.runs.metrics import Line
from charloom.runs.run import Run

LINES = 1_000  # of the history, at most, beside one for each validation loss
NEVER = -100.0  # the logit of a byte that a model has never seen: e^-100 of the likeliest, or less
# Where char-rnn-tensorflow, and nanoGPT in the folder of its data, keep their characters; and what
# textgenrnn has in the name of its weights, and in that of its characters.
_BESIDE = ("chars_vocab.pkl", "meta.pkl")
_NAMED = ("_weights.hdf5", "_vocab.json")


def import_run(
    source: Path, out: Path, vocabulary: Path | None = None, text: str | None = None
) -> tuple[Run, Found]:
    """Make a run of a file or folder of an older program; return it, and what was found.

    `vocabulary` is a file with the characters, and `text` what the model learned; both are needed
    only if the model's own file lacks what they say. Raises CharloomError.
    """
    found = recognise(source)
    read = None if text is None else read_text([text], reading=Reading.of(found.data))
    found, lowered = with_tokens(found, source, vocabulary, read)
    tokenizer, weights = arranged(found)
    unit = "byte" if isinstance(tokenizer, ByteVocabulary) else "character"
    data = replace(found.data, unit=unit)
    if text is None or read is None:
        data = replace(data, validation=0.0, test=0.0)
    else:
        if lowered:  # no file has that text: the run keeps it
            read, text = Text.from_string(read.content.lower(), read.name), "-"
        check_known(read, tokenizer, f"{source} did not learn {read.name}")
        data = replace(data, sources=(text,))
        read = arrange(read, data)
    config = RunConfig(model=found.model, data=data, train=found.train, imported=found.program)
    run = Run.create(out, config, tokenizer, read)
    for line in _lines(found):
        run.append_metrics(line)
    best = found.validation.get(found.step)
    meta = Meta(
        step=found.step,
        seconds=0.0,
        best=None if best is None else Best(found.step, best),
        versions=versions("reference"),
        config=config,
    )
    run.save(weights, meta)
    return run, found


def with_tokens(
    found: Found, source: Path, given: Path | None, text: Text | None
) -> tuple[Found, bool]:
    """Return what was found with its characters, and whether its text is in lower case.

    They are those of the file `given` or of one beside the `source`, of the model's own file, or of
    its text. Raises CharloomError if there are none, or if they are not as many as it knows.
    """
    if given is None and found.tokens is None:
        folder = source if source.is_dir() else source.parent
        names = [*_BESIDE, source.name.replace(*_NAMED)] if not source.is_dir() else _BESIDE
        given = next((p for name in names if (p := folder / name).is_file() and p != source), None)
    if given is not None:
        with reading(given):
            tokens = read_vocabulary(whole_file(given))
        if found.lines and isinstance(tokens, tuple) and "\n" not in tokens:
            tokens = ("\n", *tokens)
        return _named(found, tokens, str(given)), False
    if found.tokens is None:
        by_text = found.lowered or found.lines
        if text is None or not by_text:
            cure = "name the text that it learned with --text, or " if by_text else "name "
            cure += "a file that has them in their order with --vocabulary"
            message = f"{source} does not say which {found.size:,} characters it knows: {cure}"
            raise CharloomError(message, "unsupported", path=str(source), characters=found.size)
        if found.lines:
            return _named(found, of_lines(text), text.name), False
        known = of_text(text, found.size)
        if known is None:
            return _named(found, text.alphabet, text.name), False
        return _named(found, known[0], text.name), known[1]
    return _named(found, found.tokens, str(source)), False


def _named(found: Found, tokens: tuple[str, ...] | bytes, where: str) -> Found:
    """Return what was found with these characters; raises CharloomError unless they fit."""
    if len(tokens) != found.size or len({*tokens}) != len(tokens):
        message = (
            f"the model knows {found.size:,} characters, and {printable(where)} has "
            f"{len({*tokens}):,}: it belongs to another model"
        )
        raise CharloomError(message, "unsupported", path=where, characters=found.size)
    return dataclasses.replace(found, tokens=tokens)


def arranged(found: Found) -> tuple[Tokenizer, Weights]:
    """Return charloom's vocabulary, and the weights in its order.

    Of bytes there are all 256. Those that the model has never seen get a logit of -100: the
    probabilities of the others stay the same to e^-100. Raises CharloomError for weights that are
    not finite.
    """
    tokens = found.tokens
    assert tokens is not None
    tokenizer: Tokenizer
    if isinstance(tokens, bytes):
        if not isinstance(found.model, ModelConfig):
            raise CharloomError("of bytes, recurrent networks alone are read", "unsupported")
        tokenizer, places = ByteVocabulary(), np.frombuffer(tokens, np.uint8).astype(np.intp)
    else:
        tokenizer = Vocabulary(tuple(sorted(tokens)))
        places = tokenizer.encode("".join(tokens)).astype(np.intp)
    size = len(tokenizer)
    weights: Weights = {}
    first = "embedding" if "embedding" in found.weights else "layer0.Wx"
    for name, array in found.weights.items():
        with np.errstate(all="ignore"):
            array = np.asarray(array, np.float32)
        if name in (first, "head.W", "head.b"):
            axis = 0 if name == first else -1
            shape = [*array.shape]
            beyond = shape[axis] - found.size  # what stands for no character stays at the end
            shape[axis] = size + beyond
            moved = np.full(shape, NEVER if name == "head.b" else 0.0, np.float32)
            to = [*places, *range(size, size + beyond)]
            np.moveaxis(moved, axis, 0)[to] = np.moveaxis(array, axis, 0)
            array = moved
        weights[name] = np.ascontiguousarray(array)
    check_weights(weights, found.model, size)
    return tokenizer, weights


def _lines(found: Found) -> list[Line]:
    """Return the history as lines of metrics: means of the training loss, validation losses."""
    last = max([found.step, *found.losses, *found.validation])
    every = -(-last // LINES) if last else 1
    steps = sorted({*range(every, last + 1, every), *found.validation, found.step} - {0})
    per_step = found.train.batch * found.train.length
    lines, begin = [], 0
    for step in steps:
        losses = [found.losses[n] for n in range(begin + 1, step + 1) if n in found.losses]
        validation = found.validation.get(step, UNSET)
        if losses or validation is not UNSET:
            loss = sum(losses) / len(losses) if losses else None
            characters = step * per_step
            lines.append(Line(step=step, characters=characters, loss=loss, validation=validation))
        begin = step
    return lines
