"""The part of the page that trains: a text comes in, is checked, and a `charloom train` learns it.

One training at a time, a process of its own, which saves and ends when it is stopped and when the
server ends. All that is shown of it is read from its run folder, so a training that was started
elsewhere, by a server that was killed or in a terminal, is shown and stopped, too.
"""

import asyncio
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from charloom.errors import CharloomError
from charloom.files import read_bytes
from charloom.formatting import harmless
from charloom.runs.checkpoint import steps
from charloom.runs.folders import holder
from charloom.runs.metrics import Tail
from charloom.runs.run import Run
from charloom.serve.errors import Refused
from charloom.serve.models import Models
from charloom.serve.processes import Command, Elsewhere, trainer_of
from charloom.serve.requests import struct
from charloom.serve.uploads import Upload, Uploads, plain_name

LEAST_MINUTES, MOST_MINUTES = 0.02, 10_080.0
LARGEST_SAMPLE = 2**16  # bytes

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Minutes = Annotated[float, msgspec.Meta(ge=LEAST_MINUTES, le=MOST_MINUTES)]


class Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/training` asks for: a new run on a text, or more of a run.

    `text` is what the server called it; `name` is that of the new run, and what is True is an
    option of its reading. A `run` without minutes goes on to where it was to end.
    """

    text: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    run: Name | None = None
    minutes: Minutes | None = None
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    dedupe: bool = False
    drop_boilerplate: bool = False
    fix_mojibake: bool = False

    @property
    def options(self) -> list[str]:
        """The options of `charloom train` that were chosen."""
        chosen = {
            "--dedupe": self.dedupe,
            "--drop-boilerplate": self.drop_boilerplate,
            "--fix-mojibake": self.fix_mojibake,
        }
        return [option for option, given in chosen.items() if given]


def run_name(name: str) -> str:
    """Return the name of a run folder; raises Refused for what leads elsewhere or is hidden."""
    name = name.strip()
    if not re.fullmatch(r"[\w()+][\w.()+ -]{0,79}", name) or name.endswith("."):
        message = "a name has up to 80 letters, digits, spaces and . - _ + ( ), and begins with one"
        raise Refused(400, message, "invalid_value", "name")
    return name


class Training:
    """A command that trains a run: one that is begun here, or one that was begun elsewhere."""

    def __init__(self, path: Path, minutes: float | None, command: Command | Elsewhere) -> None:
        self.path, self.minutes, self.command = path, minutes, command
        self._tail, self._newest = Tail(path / "metrics.jsonl"), 0.0
        # What the run had been trained for: what is found goes back to its beginning.
        self._before = 0.0 if isinstance(command, Elsewhere) else self._seconds()
        self._began, self._ended = time.monotonic(), 0.0

    @classmethod
    def found(cls, path: Path) -> Self | None:
        """Return the training that holds a run; None if there is none."""
        command = trainer_of(path)
        if command is None:
            return None
        minutes = None
        with suppress(CharloomError):
            minutes = Run.open(path).config.train.minutes
        return cls(path, minutes, command)

    @property
    def state(self) -> str:
        """One of starting, training, stopping, stopped, finished, failed."""
        command = self.command
        if command.running:
            if command.stopping:
                return "stopping"
            return "training" if self._seconds() > self._before else "starting"
        if isinstance(command, Elsewhere):
            return "finished" if _is_complete(self.path) else "stopped"
        if command.status == 0:
            return "finished"
        return "stopped" if command.was_stopped else "failed"

    def describe(self, name: str) -> dict[str, Any]:
        """Return what the page shows of it."""
        state, command = self.state, self.command
        seconds = max(0.0, self._seconds() - self._before)
        if command.running or not self._ended:
            self._ended = time.monotonic()
        found: dict[str, Any] = {
            "run": name,
            "state": state,
            "minutes": self.minutes,
            "elapsed": self._ended - self._began,
            "seconds": seconds,
            "said": "",
            "process": None,
            "saved": bool(steps(self.path / "checkpoints")),
            "sample": _newest_sample(self.path),
        }
        if isinstance(command, Elsewhere):
            return found | {"elapsed": seconds, "process": command.process}
        if state == "failed":
            found["error"] = command.error or "training has ended without a word"
        return found | {"said": harmless(command.said())}

    def _seconds(self) -> float:
        """Return how long the run has been trained, as far as its metrics say."""
        with suppress(CharloomError):
            lines, anew = self._tail.read()
            if lines or anew:
                self._newest = (lines[-1].seconds or 0.0) if lines else 0.0
        return self._newest


class Trainer:
    """What is trained, and from what."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.uploads = Uploads(models.home)
        self.training: Training | None = None
        self._changing = threading.Lock()  # the training

    @property
    def _running(self) -> bool:
        return self.training is not None and self.training.command.running

    def _look(self) -> None:
        """If nothing is trained here, look for a training that was begun elsewhere."""
        for name in [] if self._running else self._models.names:
            with suppress(Refused):  # the run has just gone
                if (found := Training.found(self._models.path(name))) is not None:
                    self.training = found
                    return

    def describe(self) -> dict[str, Any]:
        """Return all that the page shows."""
        with self._changing:
            self._look()
        home, text, training = self._models.home, self.uploads.text, self.training
        return {
            "folder": None if home is None else str(home),
            "text": None if text is None else text.describe(),
            "training": None if training is None else training.describe(self._name(training)),
        }

    def is_new(self) -> bool:
        """Whether there is a run by now that the table does not have yet."""
        if self.training is None:
            return False
        path = self.training.path
        return self._models.name_at(path) is None and (path / "config.json").exists()

    def begin(self, asked: Begin) -> None:
        """Start a training; raises Refused, above all if there is one already."""
        if (asked.text is None) == (asked.run is None):
            raise Refused(400, "name a text or a run", "invalid_value", "text")
        with self._changing:
            self._look()
            self._check_free()
            self._begin(asked)

    def _begin(self, asked: Begin) -> None:
        if asked.run is not None:
            self._go_on(self._models.path(asked.run), asked.minutes)
            return
        text = self.uploads.find(asked.text or "")
        if asked.minutes is None:
            raise Refused(400, "say for how many minutes", "invalid_value", "minutes")
        path = self._place(asked.name, text)
        text.stop_checking()
        arguments = ["--minutes", f"{asked.minutes:g}", *asked.options, "--out", str(path)]
        self._start(path, asked.minutes, ["train", *arguments, "--", str(text.path)])
        text.used = True

    def _go_on(self, path: Path, minutes: float | None) -> None:
        try:
            run = Run.open(path)
            run.check_resumable()
        except CharloomError as error:
            raise Refused(409, str(error), error.code.replace("-", "_"), "run") from None
        left = minutes
        if minutes is None and run.config.train.minutes is not None:
            lines = run.metrics()
            used = (lines[-1].seconds or 0.0) if lines else 0.0
            left = max(0.0, run.config.train.minutes - used / 60)
        more = [] if minutes is None else ["--minutes", f"{minutes:g}"]
        self._start(path, left, ["resume", *more, "--", str(path)])

    def stop(self, name: str | None) -> None:
        """Let the training save and end; raises Refused if it is not that of run `name`, if any."""
        training = self.training
        if training is None or not training.command.running:
            raise Refused(409, "nothing is being trained here", "nothing_runs")
        if name is not None and name != self._name(training):
            message = f"it is {self._name(training)} that is being trained"
            raise Refused(409, message, "nothing_runs", "run")
        training.command.stop()

    def end(self) -> None:
        """Ask all that was begun here to end."""
        self.uploads.forget()
        if (command := self._own) is not None:
            command.stop()

    def close(self, seconds: float) -> None:
        """Wait for the training to save."""
        self.end()
        if (command := self._own) is not None:
            command.wait(seconds)

    @property
    def _own(self) -> Command | None:
        command = None if self.training is None else self.training.command
        return command if isinstance(command, Command) else None

    def _name(self, training: Training) -> str:
        return self._models.name_at(training.path) or training.path.name

    def _start(self, path: Path, minutes: float | None, arguments: list[str]) -> None:
        try:
            self.training = Training(path, minutes, Command(arguments))
        except OSError as error:
            message = f"no process could be started ({error.strerror}): end others first"
            raise Refused(503, message, "no_process", retry=10) from None

    def _check_free(self) -> None:
        if self.training is not None and self.training.command.running:
            name = self._name(self.training)
            message = f"{name} is being trained: wait for its end, or stop it"
            raise Refused(409, message, "busy")
        for name in self._models.names:
            process = holder(self._models.path(name))
            if process is not None:
                message = (
                    f"{name} is being trained by process {process}, which was started elsewhere: "
                    "wait for its end, or stop it there"
                )
                raise Refused(409, message, "busy")

    def _place(self, name: str, text: Upload) -> Path:
        """Return a free folder for a new run: of that name, or named after the text."""
        home = self._models.home
        assert home is not None  # a text has been kept there
        home = home.absolute()
        if name.strip():
            place = home / run_name(name)
            if place.exists() or place.is_symlink():
                raise Refused(
                    409, f"there is a {name.strip()} already: choose another name", "taken", "name"
                )
            return place
        stem = Path(plain_name(text.path.name)).stem
        number, place = 1, home / stem
        while place.exists() or place.is_symlink():
            number += 1
            place = home / f"{stem}-{number}"
        return place


def _is_complete(path: Path) -> bool:
    with suppress(CharloomError):
        return Run.open(path).final() is not None
    return False


def _newest_sample(path: Path) -> dict[str, Any] | None:
    """Return what a run wrote last, or at its end the best checkpoint."""
    try:
        run = Run.open(path)
        if (best := run.best_sample()) is not None:
            return {"step": None, "text": harmless(best)}
        for step, file in run.samples()[-1:]:
            text = read_bytes(file, LARGEST_SAMPLE).decode(errors="replace")
            return {"step": step, "text": harmless(text)}
    except (CharloomError, OSError):
        pass
    return None


class _Part:
    """The routes."""

    def __init__(self, trainer: Trainer, models: Models) -> None:
        self._trainer, self._models = trainer, models

    async def show(self, request: Request) -> Response:
        """GET /v1/charloom/training."""
        self._models.look(at_once=self._trainer.is_new())
        return _json(await asyncio.to_thread(self._trainer.describe))

    async def begin(self, request: Request) -> Response:
        """POST /v1/charloom/training."""
        asked = struct(await request.body(), Begin)
        self._trainer.begin(asked)
        return await self.show(request)

    async def stop(self, request: Request) -> Response:
        """DELETE /v1/charloom/training?run=NAME."""
        self._trainer.stop(request.query_params.get("run"))
        return await self.show(request)

    async def receive(self, request: Request) -> Response:
        """POST /v1/charloom/texts?name=NAME, with the file as it is."""
        name = request.query_params.get("name", "")
        try:
            await self._trainer.uploads.receive(name, request.stream())
        except ClientDisconnect:
            return Response(status_code=499)
        return await self.show(request)

    async def forget(self, request: Request) -> Response:
        """DELETE /v1/charloom/texts."""
        self._trainer.uploads.forget()
        return await self.show(request)


def routes(trainer: Trainer, models: Models) -> list[BaseRoute]:
    """Return the routes."""
    part = _Part(trainer, models)
    return [
        Route("/v1/charloom/texts", part.receive, methods=["POST"]),
        Route("/v1/charloom/texts", part.forget, methods=["DELETE"]),
        Route("/v1/charloom/training", part.show),
        Route("/v1/charloom/training", part.begin, methods=["POST"]),
        Route("/v1/charloom/training", part.stop, methods=["DELETE"]),
    ]


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
