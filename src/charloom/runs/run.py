"""A run is a folder of plain files.

    config.json      what was asked: a `RunConfig`
    vocabulary.json  the characters, or that bytes are read; of tokens, the tokenizer.json
    corpus.json      the text's name, sources, length and SHA-256: a `Corpus`
    ids.npy          the text as ids, made when it is first read, and ids.json: see token_file.py
    metrics.jsonl    one object a line, by step: see metrics.py
    final.json       the loss of the best model on all of the validation part: see final.py
    samples/         STEP.txt, generated at that step; generated.txt, those of a low loss; best.txt,
                     by the best checkpoint when the run had ended
    checkpoints/     see checkpoint.py

`config.json` is written last, and again only if the run is given more minutes (`Run.extend`): a
folder without it is no run.
"""

import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Literal, Self

import msgspec

from charloom.config import NgramConfig, PretrainedConfig, RunConfig
from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.dataset import NO_TEXT, Dataset
from charloom.data.dataset import Corpus as Corpus
from charloom.data.raw_bytes import CHARACTERS
from charloom.data.subwords import Subwords
from charloom.data.text import Text
from charloom.data.token_file import alone, read_checksums
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.files import (
    LARGEST_JSON,
    damaged,
    decode_json,
    encode_json,
    fits,
    one_line,
    plain_size,
    read_bytes,
    read_json,
    refuse_link,
    replace_file,
    sync_folder,
    write_file,
    writing,
)
from charloom.formatting import model_name, printable
from charloom.models.weights import parameter_count
from charloom.progress import Tell, say_nothing
from charloom.runs import checkpoint, final, metrics
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.final import Final
from charloom.runs.folders import check_free, hold, names_in, no_run
from charloom.runs.meta import Meta
from charloom.runs.metrics import Line
from charloom.runs.tensors import Array, expected_arrays

LARGEST_SAMPLE = 2**24  # bytes

Which = Literal["best", "latest"] | int

_ADD = (
    "use the version that wrote it, or add the cell first, with charloom.models.reference.add_cell"
)
# What msgspec says of settings that a later version may have, and what they are called then.
_UNKNOWN = {
    r"Object contains unknown field `(\w+)`": "the setting",
    r"Invalid value '([^']+)' - at `\$\.model\.kind`": "the kind of model",
    r"Invalid enum value '([^']+)'": "the value",
    r"cell is '([^']+)'": "the cell",
}


class Run:
    """One run folder: make it with `create`, find it again with `open`.

    `config`, `vocabulary` and `corpus` are what its files hold; `checkpoints` is their folder.
    """

    def __init__(
        self, path: Path, config: RunConfig, vocabulary: Tokenizer, corpus: Corpus
    ) -> None:
        self.path, self.config, self.vocabulary, self.corpus = path, config, vocabulary, corpus
        self.checkpoints, self._samples = path / "checkpoints", path / "samples"
        self._metrics, self._final = path / "metrics.jsonl", path / "final.json"
        self._dataset = Dataset(path, config, vocabulary, corpus)

    def __repr__(self) -> str:
        saved = checkpoint.steps(self.checkpoints)
        where = f"step {saved[-1]}" if saved else "untrained"
        return f"Run({str(self.path)!r}, {model_name(self.config.model)}, {where})"

    @property
    def parameters(self) -> int | None:
        """How many parameters the network has; None for an n-gram model."""
        model = self.config.model
        if isinstance(model, NgramConfig):
            return None
        return parameter_count(model, len(self.vocabulary))

    @property
    def unlike(self) -> bool:
        """Whether what is held out was found to be unlike the rest, when the ids were written."""
        return read_checksums(self.path).unlike

    @property
    def repeated(self) -> float:
        """The share of what is held out that was found to be in the training part, too.

        It is 0 if so little is that the loss does not measure memory.
        """
        layout = self.corpus.layout
        return max(read_checksums(self.path).repeated, layout.known if layout else 0.0)

    @property
    def last_saved(self) -> datetime | None:
        """When its newest checkpoint was written; None if there is none."""
        saved: list[float] = []
        for path in self.checkpoints.glob("[0-9]*/MANIFEST.json"):
            with suppress(FileNotFoundError):  # it has just been rotated away
                saved.append(path.stat().st_mtime)
        return datetime.fromtimestamp(max(saved)).astimezone() if saved else None

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def create(
        cls,
        path: str | PathLike[str],
        config: RunConfig,
        vocabulary: Tokenizer,
        text: Text | None,
        tell: Tell = say_nothing,
    ) -> Self:
        """Create a run in a folder that is new or empty; raises CharloomError for any other.

        An imported run may have no text. Of several processes one creates it, and the others are
        refused. What one that was killed has left gives way.
        """
        path = Path(path)
        corpus = NO_TEXT if text is None else Corpus.of(text, config.data.sources)
        run = cls(path, config, vocabulary, corpus)
        documents = {
            "vocabulary.json": vocabulary.to_json().encode(),
            "corpus.json": encode_json(corpus),
            "config.json": encode_json(config),
        }
        for name, document in documents.items():
            _check_size(name, document, config)
        check_free(path)
        with writing(path, "choose another folder"):
            path.mkdir(parents=True, exist_ok=True)
            with alone(path):
                check_free(path)
                for left_over in path.iterdir():  # by a `create` that was interrupted
                    left_over.rmdir() if left_over.is_dir() else left_over.unlink()
                for folder in run.checkpoints, run._samples:
                    folder.mkdir()
                settings = documents.pop("config.json")
                for name, document in documents.items():
                    write_file(path / name, [document])
                if text is not None:
                    run._dataset.begin(text, tell)
                replace_file(path / "config.json", settings)  # last: now there is a run
            sync_folder(path.parent)
        return run

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """Open a run.

        Raises CharloomError that names a file that is missing or damaged, or what is newer.
        """
        path = Path(path)
        if "config.json" not in names_in(path):
            raise no_run(path, f"{path} is not a run folder: it has no config.json")
        config = _read_settings(path / "config.json")
        corpus = read_json(path / "corpus.json", Corpus)
        document = read_bytes(path / "vocabulary.json", LARGEST_JSON)
        try:
            vocabulary = _vocabulary(config, document.decode("ascii"))
        except (CharloomError, UnicodeDecodeError) as error:
            raise damaged(path / "vocabulary.json", one_line(error)) from None
        return cls(path, config, vocabulary, corpus)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one trainer; raises CharloomError if another process has it."""
        for folder in self._samples, self.checkpoints:
            refuse_link(folder)
        for path in self._metrics, self._samples / "generated.txt":
            if path.exists() or path.is_symlink():  # it may be a pipe or a device
                plain_size(path)
        with hold(self.path):
            yield

    def extend(self, config: RunConfig) -> None:
        """Let the run go on with settings that give it more minutes; raises CharloomError.

        This one file is all that changes: a checkpoint with other minutes is from before.
        """
        document = encode_json(config)
        _check_size("config.json", document, config)
        with writing(self.path / "config.json"):
            replace_file(self.path / "config.json", document)
        self.config = config

    def read_text(self) -> Text:
        """Read the text again; raises CharloomError unless it is the one the run began with."""
        return self._dataset.read()

    def dataset(self, tell: Tell = say_nothing) -> Dataset:
        """Return the text as ids, split into parts; the first call writes them to ids.npy.

        If its files hold another text by now, the ids are still what was learned, and a note of
        the dataset says so. Progress is reported to `tell`. Raises CharloomError if there are no
        ids and the text has changed, or if another process is writing them.
        """
        return self._dataset.open(tell)

    def parts(self) -> Dataset:
        """Return `dataset()` to somebody who shows none of its notes: warns of unusual ones."""
        parts = self.dataset()
        for note in filter(None, (parts.changed, parts.unwritten)):
            warnings.warn(printable(note), stacklevel=1)  # at one place, and so once
        return parts

    def append_metrics(self, line: Line) -> None:
        """Add one line; NaN and infinities, which JSON does not have, become null."""
        with writing(self._metrics):
            metrics.append(self._metrics, line)

    def metrics(self) -> list[Line]:
        """Return the lines of metrics, by step, without a last line that was cut short.

        Raises CharloomError if a line before the last is damaged.
        """
        return metrics.lines(self._metrics)

    def truncate_metrics(self, step: int) -> None:
        """Remove the lines after `step`: training is about to repeat those steps."""
        with writing(self._metrics):
            metrics.truncate(self._metrics, step)

    def final(self) -> Final | None:
        """Return how the run ended; None if it has not, or was trained on since.

        Runs that earlier versions ended have none either; `charloom resume` adds it. Raises
        CharloomError if its file is damaged.
        """
        if not self._final.exists():
            return None
        found = final.read(self._final)
        saved = checkpoint.steps(self.checkpoints)
        return found if saved and found.step == saved[-1] else None

    @property
    def kind(self) -> str:
        """Kind and size of its model, and whether it has ended in a mixture; raises as `final`."""
        final = self.final() if self.config.train.mixture else None
        mixed = " + n-gram" if final is not None and final.mixture is not None else ""
        return model_name(self.config.model) + mixed

    def write_final(self, found: Final) -> None:
        """Record how the run ended. Raises CharloomError."""
        with writing(self._final):
            final.write(self._final, found)

    def best_sample(self) -> str | None:
        """Return what the best checkpoint generated when the run had ended; None if nothing.

        Raises CharloomError if its file, or that of `final`, cannot be read.
        """
        path = self._samples / "best.txt"
        if not path.exists() or self.final() is None:
            return None
        return read_bytes(path, LARGEST_SAMPLE).decode(errors="replace")

    def write_sample(self, step: int | Literal["best"], text: str) -> Path:
        """Write a sample that was generated at `step`; return the path of its file."""
        path = self._samples / (f"{step}.txt" if step == "best" else f"{step:08d}.txt")
        with writing(path):
            self._samples.mkdir(exist_ok=True)
            replace_file(path, text.encode())
        return path

    def samples(self) -> list[tuple[int, Path]]:
        """Return the files with samples, each after the step at which it was generated, by step."""
        paths = self._samples.glob("[0-9]*.txt")
        stems = {path: path.stem for path in paths if path.stem.isascii() and path.stem.isdecimal()}
        return sorted((int(stem), path) for path, stem in stems.items())

    def append_generated(self, step: int, loss: float, text: str) -> None:
        """Add a text to generated.txt, with the time, the step and the smoothed loss in nats."""
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        path = self._samples / "generated.txt"
        with writing(path), path.open("ab") as file:
            file.write(f"---- {now}, step {step}, loss {loss:.6f} ----\n{text}\n\n".encode())

    def save(self, arrays: Mapping[str, Array], meta: Meta) -> Path:
        """Write the metrics through to the disk, then a checkpoint; raises CharloomError."""
        if self._metrics.exists():
            with writing(self._metrics), self._metrics.open("rb") as file:
                os.fsync(file.fileno())
        return checkpoint.save(self.checkpoints, arrays, meta, self.config.watch.keep)

    def checkpoint(self, which: Which = "best", weights_only: bool = False) -> Checkpoint:
        """Read a checkpoint: the one of the lowest validation loss, the latest, or that of a step.

        If the best or the latest is damaged, another is read and its notes say so; a step that
        was asked for by its number is read or refused. An imported run has weights only. Raises
        CharloomError.
        """
        if not weights_only:
            self.check_resumable()
        expected = expected_arrays(self.config, len(self.vocabulary))
        if isinstance(which, int):
            path = checkpoint.find(self.checkpoints, which)
            return checkpoint.read(path, expected, weights_only)
        return checkpoint.read_newest(self.checkpoints, expected, weights_only, which == "best")

    def check_resumable(self) -> None:
        """Raise CharloomError for an imported run, of which there is no training state."""
        if self.config.imported:
            message = (
                f"{self.path} was imported, with the weights of {self.config.imported} alone: to "
                f"go on from them, charloom train TEXT --from {shlex.quote(str(self.path))}"
            )
            raise CharloomError(message, "unsupported", path=str(self.path))

    def load_weights(self, which: Which = "best") -> dict[str, Array]:
        """Return the arrays of the model alone; warns if a damaged checkpoint was passed over.

        The training state is not read. Raises CharloomError as `checkpoint` does.
        """
        found = self.checkpoint(which, weights_only=True)
        for note in found.notes:
            warnings.warn(note, stacklevel=2)
        return found.weights


def _read_settings(path: Path) -> RunConfig:
    """Read config.json; raises CharloomError, for what is not known here with the name of that."""
    content = read_bytes(path, LARGEST_JSON)
    try:
        return decode_json(path, content, RunConfig)
    except CharloomError:
        if found := _unknown(content):
            cure = _ADD if found[0] == "the cell" else "use the version that wrote it"
            message = f"{path} has {' '.join(found)}, which this charloom does not know: {cure}"
            raise CharloomError(message, "newer-format", path=str(path), found=found[1]) from None
        raise


def _unknown(content: bytes) -> tuple[str, str] | None:
    """Return what is not known here in settings, and its name; None if they are damaged."""
    if b'"model"' not in content:  # these are no settings of any version
        return None
    try:
        msgspec.json.decode(content, type=RunConfig)
    except (ValueError, RecursionError, OverflowError) as error:
        for form, what in _UNKNOWN.items():
            if match := re.match(form, str(error)):
                return what, printable(match[1][:40])
    return None


def _vocabulary(config: RunConfig, document: str) -> Tokenizer:
    """Read what is in vocabulary.json; raises CharloomError if it is something else."""
    unit = config.data.unit
    if isinstance(config.model, PretrainedConfig) or unit in ("bpe", "word"):
        return Subwords.from_json(document)
    if unit == "byte" and not config.data.raw:
        return ByteVocabulary.from_json(document)
    vocabulary = Vocabulary.from_json(document)
    if config.data.raw and vocabulary.characters != CHARACTERS:
        raise CharloomError("the vocabulary is not that of a file that is no text", "damaged")
    return vocabulary


def _check_size(name: str, document: bytes, config: RunConfig) -> None:
    """Raise CharloomError for a document of a new run that could not be read again."""
    size = len(document)
    if fits(2 * size if name == "config.json" else size):  # meta.json holds that and more
        return
    sources = len(config.data.sources)
    cure = f"name a folder in place of {sources:,} texts"
    if name == "vocabulary.json":
        cure = "use a model with a smaller vocabulary"
    message = f"{name} would have {len(document):,} bytes, too many to be read again: {cure}"
    raise CharloomError(message, "unsupported", file=name, size=len(document))
