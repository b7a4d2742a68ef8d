"""The export: what can be written, how large it becomes, and what that changes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET

from charloom.config import ModelConfig, NgramConfig
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import evaluate_part
from charloom.files import check_output, write_output
from charloom.formats.html.assembler import assemble
from charloom.formats.html.contents import Arrays, counted, pack
from charloom.formats.html.page import asset, page
from charloom.formats.html.pruning import Pruner
from charloom.formats.html.weights import quantized, restored, single
from charloom.formatting import harmless
from charloom.models.engines import create_model
from charloom.models.mixture.model import Mixture, mixture_of
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel
from charloom.runs.open import open_model
from charloom.runs.run import Run

Precision = Literal["int8", "float32"]

SIZE = 1_000_000  # bytes of a page
FOR_COUNTS = 0.25  # of that n-grams get, if the network leaves less
SCORED = 20_000  # characters that say what a smaller model costs
_ROUNDS = 6  # in which the number of n-grams is found
_FULL = 0.96  # of the room that is enough
_BYTES = 12  # of a page that an n-gram takes, before it is known


class Twin(NamedTuple):
    """A model as a page has it, computed here, and the model that it was made from."""

    own: LanguageModel
    model: LanguageModel


class Exported(NamedTuple):
    """A file of `size` bytes, with how many n-grams of how many.

    `losses` are nats per character of the run and of the page on `scored` characters of what was
    held out; None if nothing was.
    """

    path: Path
    size: int
    grams: int
    of: int
    losses: tuple[float, float] | None
    scored: int


def export_html(
    run: Run,
    path: Path,
    free: bool = False,
    precision: Precision = "int8",
    size: int = SIZE,
) -> Exported:
    """Write the best model of a run as a page that runs it, as `write_output` says.

    Weights are in float32, or in 8 bits. N-grams are pruned until the page has at most `size`
    bytes, but get a quarter of that if the network leaves less. Raises CharloomError if the model
    is none that a page can run.
    """
    _check(run)
    if not free:
        check_output(path)
    content, twin = contents(run, precision, size)
    losses, scored = _losses(run, twin)
    counts, of = _counts(twin.model), _counts(twin.own)
    path = write_output(path, content, free)
    return Exported(
        path,
        len(content),
        counts.parameter_count if counts else 0,
        of.parameter_count if of else 0,
        losses,
        scored,
    )


def contents(run: Run, precision: Precision, size: int) -> tuple[bytes, Twin]:
    """Return the page of a run and its twin."""
    own = open_model(run)
    config, vocabulary = run.config.model, run.vocabulary
    assert isinstance(vocabulary, Vocabulary)
    about: dict[str, Any] = {"characters": vocabulary.characters}
    arrays: Arrays = {}
    network = None
    if isinstance(config, ModelConfig):
        about["network"] = msgspec.to_builtins(config)
        weights = run.load_weights()
        arrays = quantized(weights) if precision == "int8" else single(weights)
        network = create_model(config, restored(arrays), vocabulary, dtype=run.config.dtype)
        arrays["kernels"] = np.frombuffer(assemble(asset("kernels.wat")), np.uint8)
        about["weights"] = precision
    counts = _counts(own)
    if counts is None:
        assert network is not None
        return _page(run, about, arrays, None), Twin(own, network)
    if isinstance(own, Mixture):
        about["shares"] = own.shares.tolist()
    kept, content = _fitted(partial(_page, run, about, arrays), counts, size)
    if not isinstance(own, Mixture):
        return content, Twin(own, kept)
    assert network is not None
    return content, Twin(own, mixture_of(network, kept, own.shares))


def _fitted(
    page_with: Callable[[NgramModel | None], bytes], counts: NgramModel, size: int
) -> tuple[NgramModel, bytes]:
    """Return the n-grams for which there is room, and the page with them.

    How many bytes an n-gram takes, pages of some say.
    """
    rest, whole = len(page_with(None)), counts.parameter_count
    room = max(size - rest, round(FOR_COUNTS * size))
    if whole <= room // 2:  # so small that it may fit as it is
        content = page_with(counts)
        if len(content) <= rest + room:
            return counts, content
    pruner, tried = Pruner(counts), min(whole, room // _BYTES)
    best = pruner.keep(0), page_with(pruner.keep(0))
    for _ in range(_ROUNDS):
        kept = pruner.keep(tried)
        content = page_with(kept)
        taken = len(content) - rest
        if taken <= room and len(content) > len(best[1]):
            best = kept, content
        if _FULL * room < taken <= room:
            break
        tried = min(whole, int(tried * (1 + _FULL) / 2 * room / taken))
    return best


def _page(run: Run, about: dict[str, Any], arrays: Arrays, kept: NgramModel | None) -> bytes:
    """Return a page with the n-grams that are kept, if there are any."""
    words = [f"{run.kind}, trained on {run.corpus.name}"]
    if "network" in about:
        bits = "8 bits" if about["weights"] == "int8" else "float32"
        words.append(f"{run.parameters:,} weights in {bits}")
    if kept is not None:
        arrays = arrays | counted(kept)
        words.append(f"{kept.parameter_count:,} n-grams")
        about = about | {"contexts": kept.trie.whole_backoff.size}
    about = about | {
        "name": run.path.resolve().name,
        "words": harmless("; ".join(words)),
    }
    return page(about["name"], about, pack(arrays)).encode()


def _counts(model: LanguageModel) -> NgramModel | None:
    if isinstance(model, Mixture):
        return model.counts
    return model if isinstance(model, NgramModel) else None


def _losses(run: Run, twin: Twin) -> tuple[tuple[float, float] | None, int]:
    """Return the losses of both on the same part of what was held out, and how long that is."""
    try:
        ids = run.parts().validation
    except CharloomError:  # the text is gone, or an imported run never had one
        return None, 0
    if ids is None or len(ids) < 2:
        return None, 0
    own, model = (evaluate_part(model, ids, SCORED) for model in twin)
    return (own.nats, model.nats), own.characters


def _check(run: Run) -> None:
    """Raise CharloomError for a model that no page can run."""
    problem, model = "", run.config.model
    if not isinstance(model, ModelConfig | NgramConfig):
        problem = "a page runs recurrent networks and n-gram models"
    elif isinstance(model, ModelConfig) and model.gate is not UNSET:
        problem = f"a page does not know gates that are a {model.gate}"
    elif not isinstance(run.vocabulary, Vocabulary) or run.config.data.raw:
        problem = f"a page knows characters, and this is a model of {run.vocabulary.unit}"
    if problem:
        raise CharloomError(
            f"{run.path} cannot become a page: {problem}", "unsupported", path=str(run.path)
        )
