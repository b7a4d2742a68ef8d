"""The part of the page that shows the runs of a folder: their figures and curves; names and trash.

What is read is run folders alone. A run that is deleted goes to TRASH below the folder that it is
in, and comes back from there.
"""

import asyncio
import math
import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from charloom.analysis.baselines import compressor
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.formatting import LN2, harmless
from charloom.runs import folders
from charloom.runs.listing import (
    NONE,
    PREDICTS,
    REMEMBERS,
    TRAINED,
    described,
    is_provisional,
    loss_of,
)
from charloom.runs.metrics import Line, Tail
from charloom.runs.open import is_pretrained
from charloom.runs.run import Run
from charloom.serve.errors import Refused
from charloom.serve.models import Models
from charloom.serve.requests import struct
from charloom.serve.training import run_name

TRASH = ".trash"
KINDS = {PREDICTS: "validation", REMEMBERS: "memory", TRAINED: "training", NONE: None}
MOST_POINTS = 2000  # of a curve that are sent at once, and those with a validation loss
MOST_CURVES = 200  # that are kept
COMPRESSED = 4_000_000  # characters of a text that is compressed, at most


class Renamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/runs/NAME` asks for: another name."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class _Curve:
    """The points of a run so far; `id` is another after each new beginning."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path / "metrics.jsonl")
        self.points: list[tuple[Any, ...]] = []
        self.id = secrets.token_hex(6)

    def look(self) -> None:
        """Read what is new; raises CharloomError."""
        lines, anew = self._tail.read()
        if anew:
            self.points, self.id = [], secrets.token_hex(6)
        self.points += map(_point, lines)

    def since(self, cursor: str) -> dict[str, Any]:
        """Return what is new since a cursor was given, or else all, thinned."""
        points, id, _, count = self.points, *cursor.partition("-")
        known = int(count) if id == self.id and count.isascii() and count.isdecimal() else 0
        if known == 0 and len(points) > MOST_POINTS:
            every = -(-len(points) // MOST_POINTS)
            last = len(points) - 1
            points = [p for n, p in enumerate(points) if n % every == 0 or p[4] or n == last]
        cursor = f"{self.id}-{len(self.points)}"
        return {"cursor": cursor, "whole": known == 0, "points": points[known:]}


def _point(line: Line) -> tuple[Any, ...]:
    """Return step, characters, seconds, training loss, validation loss: None if not known."""
    validation = line.validation_loss
    if validation is not None and math.isinf(validation):
        validation = None
    return line.step, line.characters, line.seconds, line.loss, validation


class _Table:
    """What is told of runs, and read again when their files have changed."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._rows: dict[Path, tuple[object, dict[str, Any]]] = {}
        self._curves: OrderedDict[Path, _Curve] = OrderedDict()
        self._levels: dict[str, list[dict[str, Any]]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each run, in the order of names."""
        paths = {name: self._models.path(name) for name in self._models.names}
        rows = [self._row(name, path) for name, path in paths.items() if not is_pretrained(path)]
        self._rows = {path: self._rows[path] for path in paths.values() if path in self._rows}
        return rows

    def trash(self) -> dict[str, Path]:
        """Return the runs in the trash, by name."""
        found: dict[str, Path] = {}
        for folder in self._models.folders:
            trash = folder / TRASH
            if trash.is_dir():
                for path in folders.list_runs(trash):
                    found.setdefault(path.relative_to(trash).as_posix(), path)
        return found

    def curve(self, name: str, cursor: str) -> dict[str, Any]:
        """Return the points of a run, or those that are new."""
        path = self._models.path(name)
        curve = self._curves.setdefault(path, _Curve(path))
        self._curves.move_to_end(path)
        if len(self._curves) > MOST_CURVES:
            self._curves.popitem(last=False)
        curve.look()
        return curve.since(cursor)

    def levels(self, name: str) -> list[dict[str, Any]]:
        """Return what simple models reach on the text of a run; raises CharloomError."""
        run = Run.open(self._models.path(name))
        final, found = run.final(), list[dict[str, Any]]()
        if final is not None and final.counted is not None:
            label = f"n-gram of order {final.counted.order}"
            found.append({"name": label, "nats": final.counted.score.nats})
        row = self._row(name, run.path)
        if row["held_out"] not in self._levels:
            self._levels[row["held_out"]] = _compressed(run)
        return found + self._levels[row["held_out"]]

    def _row(self, name: str, path: Path) -> dict[str, Any]:
        stamp = _stamp(path)
        if self._rows.get(path, (None,))[0] != stamp:
            self._rows[path] = stamp, _row(described(path))
        row = self._rows[path][1]
        held = folders.holder(path)
        state = "training" if held is not None else row["state"]
        movable = self._models.folder_of(name) is not None
        return row | {"id": name, "state": state, "process": held, "movable": movable}


def _row(found: dict[str, Any]) -> dict[str, Any]:
    if "error" in found:
        return {"state": "damaged", "error": harmless(found["error"]), "held_out": ""}
    kind, nats = loss_of(found)
    ended = found["score"] is not None or found["training"] is not None
    if nats is not None and math.isinf(nats):
        nats = None
    return {
        "state": "imported" if found["imported"] else "complete" if ended else "stopped",
        "model": found["model"],
        "text": harmless(found["text"]),
        "parameters": found["parameters"],
        "steps": found["steps"],
        "seconds": found["seconds"],
        "nats": nats,
        "bits": None if nats is None else nats / LN2,
        "measured": KINDS[kind],
        "provisional": is_provisional(found),
        "best_step": found["best_step"],
        "last_trained": found["last_trained"].timestamp(),
        "held_out": found["held_out"],
    }


def _stamp(path: Path) -> object:
    """Return what changes if a run may have changed."""
    names = ("config.json", "metrics.jsonl", "final.json", "checkpoints")
    found: list[object] = []
    for name in names:
        try:
            status = (path / name).stat()
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append(None)
    return found


def _compressed(run: Run) -> list[dict[str, Any]]:
    """Return what bz2 makes of a text, if that is short, and of characters."""
    vocabulary = run.vocabulary
    short = 0 < run.corpus.characters <= COMPRESSED
    if not short or not isinstance(vocabulary, Vocabulary) or run.config.data.raw:
        return []
    parts = run.dataset()
    if parts.validation is None or not len(parts.validation):
        return []
    train, held_out = (vocabulary.decode(ids) for ids in (parts.train, parts.validation))
    found = compressor("bz2", train, held_out)
    if found.nats <= 0:  # a part so small that it does not even make a difference
        return []
    return [{"name": f"{found.name}, which learns while it reads", "nats": found.nats}]


class _Part:
    """The routes."""

    def __init__(self, models: Models) -> None:
        self._models, self._table = models, _Table(models)

    async def list(self, request: Request) -> Response:
        """GET /v1/charloom/runs."""
        self._models.look()
        return await self._listed()

    async def rename(self, request: Request) -> Response:
        """POST /v1/charloom/runs/NAME."""
        name = run_name(struct(await request.body(), Renamed).name)
        path = self._movable(request)
        await self._changed(folders.move, path, path.with_name(name))
        return await self._listed()

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/charloom/runs/NAME."""
        path = self._movable(request)
        folder = self._models.folder_of(request.path_params["name"])
        assert folder is not None
        trash = folder / TRASH / path.relative_to(folder).parent
        place = await self._changed(folders.discard, path, trash)
        return await self._listed(moved=place.relative_to(folder / TRASH).as_posix())

    async def restore(self, request: Request) -> Response:
        """POST /v1/charloom/trash/NAME: out of the trash, to where it was."""
        name = request.path_params["name"]
        path = (await asyncio.to_thread(self._table.trash)).get(name)
        if path is None:
            raise Refused(404, "this run is not in the trash", "not_found")
        folder = next(f for f in self._models.folders if f / TRASH in path.parents)
        await self._changed(folders.move, path, folder / name)
        return await self._listed()

    async def curve(self, request: Request) -> Response:
        """GET /v1/charloom/curves/NAME?since=CURSOR."""
        cursor = request.query_params.get("since", "")
        return _json(await _told(self._table.curve, request.path_params["name"], cursor))

    async def levels(self, request: Request) -> Response:
        """GET /v1/charloom/levels/NAME."""
        return _json({"data": await _told(self._table.levels, request.path_params["name"])})

    def _movable(self, request: Request) -> Path:
        name = request.path_params["name"]
        path = self._models.path(name)
        if self._models.folder_of(name) is None:
            message = "a run that the server was started with stays as it is"
            raise Refused(409, message, "not_movable")
        return path

    async def _changed(self, change: Any, *arguments: Any) -> Any:
        found = await _told(change, *arguments)
        self._models.look(at_once=True)
        return found

    async def _listed(self, **more: Any) -> Response:
        rows = await asyncio.to_thread(self._table.rows)
        trash = await asyncio.to_thread(self._table.trash)
        home = self._models.home
        place = None if home is None else str(home / TRASH)
        told = {"object": "list", "data": rows, "trash": sorted(trash), "trash_folder": place}
        return _json(told | more)


async def _told(function: Any, *arguments: Any) -> Any:
    """Return what a function returns, in a thread; raises Refused for what it cannot do."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except CharloomError as error:
        raise Refused(409, str(error), error.code.replace("-", "_")) from None


def routes(models: Models) -> list[BaseRoute]:
    """Return the routes."""
    part = _Part(models)
    return [
        Route("/v1/charloom/runs", part.list),
        Route("/v1/charloom/runs/{name:path}", part.rename, methods=["POST"]),
        Route("/v1/charloom/runs/{name:path}", part.delete, methods=["DELETE"]),
        Route("/v1/charloom/trash/{name:path}", part.restore, methods=["POST"]),
        Route("/v1/charloom/curves/{name:path}", part.curve),
        Route("/v1/charloom/levels/{name:path}", part.levels),
    ]


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
