"""What is known before a file is read: a run's text and its network, or one that a file brings."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Annotated, NamedTuple, Self

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from charloom.compression.telling import told
from charloom.config import ModelConfig
from charloom.data.raw_bytes import CHARACTERS, ZERO
from charloom.errors import CharloomError
from charloom.formatting import model_name
from charloom.models.mixing import ContextMixer, Network, code_lengths, letters_of, new_network
from charloom.models.mixing.model import piece_of
from charloom.models.weights import Array, weight_shapes
from charloom.progress import Tell
from charloom.runs.one_network import one_network
from charloom.runs.open import open_run
from charloom.runs.run import Run

MOST_READ = 1 << 22  # characters of a run's text: its end
MOST_JUDGED = 200_000  # of them, those held out, on which it is learned what a network is worth
LEVELS = 31  # above and below 0 of a weight that a file brings: at 4 bits each, 0.008 nats

Length = Annotated[int, Meta(ge=0, le=62)]
Id = Annotated[int, Meta(ge=0, lt=2**31)]


class Embedded(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """A network that a file brings, but for its weights: they are the next `size` bytes.

    `symbols` are the characters of its ids (V,), of Latin-1 if it reads bytes, and `lengths` (V,)
    those of their codes. Weights are whole numbers from -LEVELS to LEVELS, by name and row, times
    the scale of their array.
    """

    config: ModelConfig
    symbols: str
    by_bytes: bool
    first: Id
    lengths: list[Length]
    scales: list[Annotated[float, Meta(ge=0, le=1e30)]]
    size: Id


class Marks(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """What tells one run from another: the beginnings of SHA-256."""

    characters: bytes
    text: bytes
    weights: bytes


class Ready(NamedTuple):
    """A mixer that has read the text, its network, and the character of each of its numbers."""

    mixer: ContextMixer
    network: Network | None
    symbols: list[str]


@dataclass(frozen=True, eq=False)
class Prior:
    """What compressing and decompressing begin with.

    `symbols` (V,) are the characters of ids, of Latin-1 if it reads bytes (`by_bytes`), and
    `counts` (V,) say how often each is expected. `text` are ids; the last `judged` of them show
    what the `network` is worth, which reads the id `first` before any. Of a run there are its name,
    `what` it is, and the `step` of its weights.
    """

    symbols: str
    by_bytes: bool
    first: int
    counts: Sequence[int]
    text: NDArray[np.int32] = field(repr=False)
    judged: int
    network: tuple[ModelConfig, Mapping[str, Array]] | None = field(repr=False)
    step: int = 0
    name: str = ""
    what: str = ""

    @classmethod
    def of_run(cls, path: str | PathLike[str], step: int | None = None) -> Self:
        """Return what a run knows at a step, by default at its best; raises CharloomError.

        Of a run that is no recurrent network that is its text, which is read in any case; of
        several networks, the first.
        """
        run = open_run(path)
        if run is None or run.vocabulary.unit == "tokens":
            message = f"{path} reads tokens, and a file has characters or bytes: name another run"
            raise CharloomError(message, "unsupported", path=str(path))
        run = one_network(run)
        network, config = None, run.config.model
        if isinstance(config, ModelConfig):
            found = run.checkpoint("best" if step is None else step, weights_only=True)
            for note in found.notes:
                warnings.warn(note, stacklevel=2)
            network, step = (config, found.weights), found.meta.step
        text, judged = _text_of(run)
        counts = np.bincount(text, minlength=len(run.vocabulary)) + 1
        symbols, by_bytes = _symbols_of(run)
        return cls(
            symbols,
            by_bytes,
            int(run.vocabulary.prompt("")[0]),
            counts.tolist(),
            text,
            judged if network else 0,
            network,
            step or 0,
            Path(path).absolute().name,
            model_name(config),
        )

    def marks(self) -> Marks:
        """Return what tells this from another one."""
        alphabet = msgspec.json.encode((self.symbols, self.by_bytes, self.first))
        weights = hashlib.sha256()
        if self.network is not None:
            config, arrays = self.network
            weights.update(msgspec.json.encode(config))
            for name in sorted(arrays):
                weights.update(arrays[name].astype("<f4").tobytes())
        text = hashlib.sha256(self.text.astype("<i4").tobytes())
        digests = (hashlib.sha256(alphabet), text, weights)
        return Marks(*(digest.digest()[:8] for digest in digests))

    def embedded(self) -> tuple["Prior", Embedded, bytes]:
        """Return a rounded network without the text, and what a file has to bring of it.

        Raises CharloomError if there is no network.
        """
        if self.network is None:
            message = f"a file can bring a recurrent network, but {self.name} is {self.what}"
            raise CharloomError(f"{message}: leave out --embed", "unsupported", path=self.name)
        config, arrays = self.network
        scales, levels = [], b""
        for name in weight_shapes(config, len(self.symbols)):
            array = np.asarray(arrays[name], np.float32)
            scale = np.float32(np.abs(array).max() / LEVELS)
            scales.append(float(scale))
            levels += np.rint(array / (scale or 1)).astype(np.int8).tobytes()
        head = Embedded(
            config,
            self.symbols,
            self.by_bytes,
            self.first,
            code_lengths(self.counts),
            scales,
            0,
        )
        return Prior.of_embedded(head, levels), head, levels

    @classmethod
    def of_embedded(cls, head: Embedded, levels: bytes) -> Self:
        """Return what a file brings; raises ValueError if that cannot be."""
        V = len(head.symbols)
        shapes = weight_shapes(head.config, V)
        if not len(set(head.symbols)) == V == len(head.lengths) > head.first:
            raise ValueError("its alphabet contradicts itself")
        if len(shapes) != len(head.scales):
            raise ValueError("its weights contradict themselves")
        numbers, weights, begin = np.frombuffer(levels, np.int8), {}, 0
        for (name, shape), scale in zip(shapes.items(), head.scales, strict=True):
            end = begin + int(np.prod(shape))
            weights[name] = numbers[begin:end].reshape(shape) * np.float32(scale)
            begin = end
        counts = [1 << (max(head.lengths) - length) for length in head.lengths]
        text = np.empty(0, np.int32)
        network = head.config, weights
        return cls(head.symbols, head.by_bytes, head.first, counts, text, 0, network)

    def begin(self, extra: str, count: int, tell: Tell) -> Ready:
        """Read the text; `extra` are the other characters of a file of `count`."""
        symbols, counts = [*self.symbols, *extra], [*self.counts, *[1] * len(extra)]
        lengths = np.array(code_lengths(counts), np.int64)
        order = np.argsort(lengths, kind="stable")
        places = np.argsort(order).astype(np.int32)
        in_order = [symbols[c] for c in order]
        N = len(self.text) + count
        mixer = ContextMixer(lengths[order].tolist(), letters_of(in_order), N)
        network = None
        if self.network is not None:
            network = new_network(*self.network, places[: len(self.symbols)], len(symbols))
            network.begin(self.first)
        cut = len(self.text) - self.judged
        for part, what, other in (
            (self.text[:cut], "reading the run's text", None),
            (self.text[cut:], "weighing its network", network),
        ):
            scores = mixer.scores(places[part], network=other)
            for _ in told(scores, piece_of(other), what, len(part), tell):
                pass
        if network is not None:
            network.begin(self.first)
        return Ready(mixer, network, in_order)


def _text_of(run: Run) -> tuple[NDArray[np.int32], int]:
    """Return the end of a run's text as ids, and how many of them, at its end, are judged by."""
    if not run.corpus.characters:  # it was imported
        return np.empty(0, np.int32), 0
    parts = run.parts()
    held_out = [ids for ids in (parts.validation, parts.test) if ids is not None]
    text = np.concatenate([ids[-MOST_READ:] for ids in (parts.train, *held_out)])[-MOST_READ:]
    return text.astype(np.int32), min(sum(map(len, held_out)), MOST_JUDGED, len(text))


def _symbols_of(run: Run) -> tuple[str, bool]:
    """Return the character of each id, of Latin-1 if it stands for a byte, and whether it does."""
    if run.vocabulary.unit == "bytes":
        return "".join(map(chr, range(256))), True
    if run.config.data.raw:
        return "".join(CHARACTERS).replace(ZERO, "\0"), True
    return "".join(run.vocabulary.characters), False
