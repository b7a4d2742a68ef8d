"""The runs that are served: a table of names, which are keys and never paths."""

import asyncio
import hashlib
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from charloom.config import DataConfig
from charloom.data.boundary import BOUNDARY, MARK
from charloom.data.rare import as_learned
from charloom.data.raw_bytes import raw_text
from charloom.data.text import Text
from charloom.data.vocabulary import UnknownCharacterError
from charloom.errors import CharloomError
from charloom.formatting import in_a_line
from charloom.models.protocols import LanguageModel
from charloom.runs.folders import list_runs
from charloom.runs.open import open_model, open_run
from charloom.runs.run import Run
from charloom.serve.errors import Refused
from charloom.serve.groups import warm
from charloom.serve.jobs import Prompt

LOOK_EVERY = 1.0  # seconds, for a newer checkpoint, and for new runs in a folder
OPENED_FIRST = 8  # runs of folders, the newest, that are opened before anybody asks for them


class Served:
    """A model as it was opened once: requests that began with it end with it.

    `fingerprint` tells it from what the same run was before or becomes.
    """

    def __init__(self, name: str, model: LanguageModel, own: DataConfig, fingerprint: str) -> None:
        self.name, self.model, self.fingerprint, self._own = name, model, fingerprint, own
        self._tokens: dict[int, str] = {}

    def prompt(self, content: str) -> Prompt:
        """Return a prompt as the model reads it; raises Refused."""
        own, vocabulary = self._own, self.model.vocabulary
        text = raw_text(content.encode()) if own.raw else content
        try:
            read = as_learned(Text.prompt(text, "prompt", own.normalize), vocabulary, own.min_count)
            if BOUNDARY in read.content:
                raise UnknownCharacterError(BOUNDARY, read.content.index(BOUNDARY))
            ids = vocabulary.prompt(read.content)
        except CharloomError as error:
            raise Refused(400, f"prompt: {error}", error.code.replace("-", "_"), "prompt") from None
        return Prompt(read.content, ids, len(ids) if read.content else 0)

    def token(self, id: int) -> str:
        """Return what stands for an id among the tokens of log-probabilities."""
        if id not in self._tokens:
            vocabulary = self.model.vocabulary
            text = vocabulary.decode([id])
            if id == vocabulary.boundary:
                text = MARK
            elif vocabulary.unit == "bytes" and id >= 0x80:
                text = f"bytes:\\x{id:02x}"
            self._tokens[id] = text
        return self._tokens[id]


class _Entry:
    """A run that is opened when it is first asked for, and again when it has changed."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.lock = asyncio.Lock()
        self.served: Served | None = None
        self.stamp: object = None
        self.looked = 0.0
        self.reloading: asyncio.Task[None] | None = None


class Models:
    """The table: each of `sources` is a run, or a folder of runs that is looked at again.

    Raises CharloomError if there is no such folder, or if two runs have one name.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self._folders: list[Path] = []
        self._entries: dict[str, _Entry] = {}
        self._scanned = time.monotonic()
        self.ready = False  # whether `prepare` is done
        for source in sources:
            if (source / "config.json").exists():
                self._enter(source.resolve().name, source)
            else:
                self._folders.append(source)
                self._scan(source)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._entries)

    def _enter(self, name: str, path: Path) -> None:
        known = self._entries.setdefault(name, _Entry(name, path))
        if known.path != path:
            message = f"{known.path} and {path} would both be called {name!r}: rename one"
            raise CharloomError(message, "taken", path=str(path))

    def _scan(self, folder: Path) -> None:
        for path in list_runs(folder):
            self._enter(path.relative_to(folder).as_posix(), path)

    @property
    def folders(self) -> list[Path]:
        """The folders that runs are looked for in."""
        return [*self._folders]

    @property
    def home(self) -> Path | None:
        """The folder that new runs are made in; None if only runs were named."""
        return self._folders[0] if self._folders else None

    def folder_of(self, name: str) -> Path | None:
        """Return the folder that a run was found in; None if it was named itself."""
        path = self.path(name)
        return next((folder for folder in self._folders if folder in path.parents), None)

    def name_at(self, path: Path) -> str | None:
        """Return the name of the run that is there; None if there is none in the table."""
        found = ((name, entry.path.absolute()) for name, entry in [*self._entries.items()])
        return next((name for name, place in found if place == path.absolute()), None)

    def look(self, at_once: bool = False) -> None:
        """Look for runs that are new in the folders, or gone from them, once a second at most."""
        now = time.monotonic()
        if now < self._scanned + LOOK_EVERY and not at_once:
            return
        self._scanned = now
        for folder in self._folders:
            with suppress(CharloomError):
                self._scan(folder)
        gone = [
            name
            for name, entry in self._entries.items()
            if self._is_below(entry.path) and not (entry.path / "config.json").exists()
        ]
        for name in gone:
            del self._entries[name]

    def describe(self, name: str) -> dict[str, Any]:
        """Return what is told of a model; raises Refused."""
        entry = self._entry(name)
        with suppress(OSError):
            created = int((entry.path / "config.json").stat().st_mtime)
            return {"id": name, "object": "model", "created": created, "owned_by": "charloom"}
        return {"id": name, "object": "model", "created": 0, "owned_by": "charloom"}

    def path(self, name: str) -> Path:
        """Return the folder of a run in the table; raises Refused."""
        return self._entry(name).path

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            self.look()
        if name not in self._entries:
            message = f"there is no model {in_a_line(name)[:100]!r}: GET /v1/models lists them"
            raise Refused(404, message, "model_not_found", "model")
        return self._entries[name]

    async def prepare(self) -> None:
        """Open the runs that were named, and the newest of those in folders; then be `ready`."""
        named = [e for e in self._entries.values() if not self._is_below(e.path)]
        others = [e for e in self._entries.values() if self._is_below(e.path)]
        others.sort(key=lambda entry: _changed(entry.path), reverse=True)
        for entry in [*named, *others[:OPENED_FIRST]]:
            try:
                await self._open_once(entry)
            except Exception:  # the others can be opened all the same
                traceback.print_exc()
        self.ready = True

    def _is_below(self, path: Path) -> bool:
        return any(folder in path.parents for folder in self._folders)

    async def get(self, name: str) -> Served:
        """Return a model, which is opened now if it was not yet; raises Refused.

        If the run has a newer checkpoint, it is opened in the background, for later requests.
        """
        entry = self._entry(name)
        if entry.served is None:
            await self._open_once(entry)
        elif time.monotonic() > entry.looked + LOOK_EVERY:
            entry.looked = time.monotonic()
            if entry.reloading is None and _stamp(entry.path) != entry.stamp:
                entry.reloading = asyncio.create_task(self._reload(entry))
        if entry.served is None:
            message = f"the model {name!r} cannot be opened: the server's log says why"
            raise Refused(404, message, "model_not_available", "model")
        return entry.served

    async def _open_once(self, entry: _Entry) -> None:
        async with entry.lock:
            if entry.served is None:
                await self._open(entry)

    async def _open(self, entry: _Entry) -> None:
        entry.looked, entry.stamp = time.monotonic(), _stamp(entry.path)
        try:
            entry.served = await asyncio.to_thread(_opened, entry.name, entry.path)
        except CharloomError as error:
            print(f"charloom: {in_a_line(str(error))}", file=sys.stderr, flush=True)

    async def _reload(self, entry: _Entry) -> None:
        try:
            await self._open(entry)
        finally:
            entry.reloading = None


def _stamp(path: Path) -> object:
    """Return what changes if a run's best model may have changed."""
    found = []
    for file in (*path.glob("checkpoints/[0-9]*/MANIFEST.json"), path / "final.json"):
        with suppress(OSError):
            status = file.stat()
            found.append((str(file), status.st_mtime_ns, status.st_ino))
    return sorted(found)


def _changed(path: Path) -> float:
    """Return when a run last had a new checkpoint, or was made."""
    for name in ("checkpoints", "config.json"):
        with suppress(OSError):
            return (path / name).stat().st_mtime
    return 0.0


def _opened(name: str, path: Path) -> Served:
    """Open the best model of a run, ready to write; raises CharloomError."""
    run = open_run(path)
    if run is None:
        digest = hashlib.sha256(str((path.resolve(), path.stat().st_mtime_ns)).encode())
        model, own, fingerprint = open_model(path), DataConfig(), f"fp_{digest.hexdigest()[:12]}"
    else:
        weights = run.load_weights()
        model, own = open_model(run, weights=weights), run.config.data
        fingerprint = _fingerprint(run, weights)
    warm(model)
    return Served(name, model, own, fingerprint)


def _fingerprint(run: Run, weights: dict[str, Any]) -> str:
    """Return a name for what a run predicts with: its settings, its weights, how it is mixed."""
    final = run.final() if run.config.train.mixture else None
    digest = hashlib.sha256(msgspec.json.encode([run.config.model, final and final.mixture]))
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).data)
    return f"fp_{digest.hexdigest()[:12]}"
