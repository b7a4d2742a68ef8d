"""Event files for TensorBoard, written beside a run from the stream of its events.

Needs the extra `charloom[tensorboard]`, which brings the formats; TensorBoard itself is not
needed to write. Records go straight into the file, in the thread that trains: a disk that is full
must not stop training, and the writer of tensorboardX would wait for ever then.

    tensorboard --logdir runs
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter, time
from typing import IO, Any

from charloom.errors import CharloomError
from charloom.formatting import LN2, model_name
from charloom.training.events import Evaluated, Event, Finished, Progress, Sampled, Started, Warned

FOLDER = "tensorboard"  # in that of the run
PAUSE = 1.0  # seconds between two points of the losses in training, at least
SHARE = 0.001  # ... and this share of the time so far, so that a long run has a small file


def recorded(events: Iterator[Event], folder: Path) -> Iterator[Event]:
    """Pass events on, and write what they tell into `folder`/tensorboard.

    A run that goes on from an earlier step hides what was written after it. Where the folder
    cannot be written to, a warning is passed on, and nothing more is written. Raises CharloomError
    where tensorboardX is not installed.
    """
    check()
    recorder: _Recorder | None = None
    try:
        for event in events:
            problem = ""
            try:
                if isinstance(event, Started) and event.step < event.total:
                    recorder = _Recorder(folder / FOLDER, event)
                elif recorder is not None:
                    recorder.take(event)
            except OSError as error:
                if recorder is not None:
                    recorder.close()
                recorder, problem = None, error.strerror or str(error)
            yield event
            if problem:
                text = f"cannot write {folder / FOLDER} ({problem}): training goes on without it"
                yield Warned(getattr(event, "step", 0), text)
    finally:
        if recorder is not None:
            recorder.close()


def check() -> None:
    """Raise CharloomError where tensorboardX is not installed."""
    try:
        with _without_torch():
            import tensorboardX  # noqa: F401
    except ImportError:
        raise CharloomError(
            "event files need tensorboardX, which is not installed: "
            "pip install 'charloom[tensorboard]'"
        ) from None


@contextmanager
def _without_torch() -> Iterator[None]:
    """Hide PyTorch from tensorboardX, which would load it for tensors that nobody hands it.

    That takes seconds of every run, and no run of the compiled engine needs it.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["torch"]


class _Recorder:
    """Writes events into a new file of the folder."""

    def __init__(self, folder: Path, started: Started) -> None:
        self._step = self._seen = started.step
        self._back: int | None = started.step or None  # the step that is gone on from
        self._sum, self._count = 0.0, 0
        self._written_at = self._began = perf_counter()
        self._file = _File(folder)
        if not started.step:
            words = f"{model_name(started.run.config.model)}, on {started.run.corpus.name}"
            self._file.text("run", words, 0)

    def take(self, event: Event) -> None:
        """Write what an event tells. Raises OSError."""
        if (step := getattr(event, "step", None)) is not None and not isinstance(event, Warned):
            if step < self._step:  # the network broke, and training went back to a checkpoint
                self._back = self._seen = step
                self._sum, self._count = 0.0, 0
            self._step = step
        match event:
            case Progress():
                self._go_on(made_up=False)
                self._progress(event)
            case Evaluated():
                self._go_on(made_up=event.step == self._back)
                self._losses("held-out", event.score.nats, event.step)
            case Sampled():
                self._go_on(made_up=event.step == self._back)
                self._file.text("sample", event.text, event.step)
            case Finished():
                self._file.flush()

    def _go_on(self, made_up: bool) -> None:
        """Hide what is told anew: all after the checkpoint, and a look there made up for."""
        if self._back is not None:
            self._file.purge(self._back + (not made_up))
            self._back = None

    def _progress(self, event: Progress) -> None:
        updates = event.step - self._seen
        self._sum, self._count = self._sum + event.loss * updates, self._count + updates
        self._seen = event.step
        now = perf_counter()
        pause = max(PAUSE, SHARE * (now - self._began))
        if self._count and (now - self._written_at >= pause or event.step == event.total):
            self._losses("training", self._sum / self._count, event.step)
            self._file.scalar("learning_rate", event.rate, event.step)
            self._file.scalar("characters_per_second", event.speed, event.step)
            self._file.scalar("times_through_the_text", event.epoch, event.step)
            self._file.flush()
            self._sum, self._count, self._written_at = 0.0, 0, now

    def _losses(self, of: str, nats: float, step: int) -> None:
        self._file.scalar(f"nats_per_character/{of}", nats, step)
        self._file.scalar(f"bits_per_character/{of}", nats / LN2, step)

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        self._file.close()


class _File:
    """One event file: a record for each event, framed as TFRecord frames it."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c

        self._events, self._checksum = event_pb2, masked_crc32c
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time():017.6f}.{os.getpid()}"
        self._file: IO[bytes] = (folder / name).open("xb")
        self._write(file_version="brain.Event:2")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a number."""
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def text(self, tag: str, text: str, step: int) -> None:
        """Add a text, which TensorBoard reads as Markdown: as a block of code it stays as it is."""
        from tensorboardX.summary import text as summary

        block = "\n".join(f"    {line}" for line in text.split("\n"))
        self._write(step=step, summary=summary(tag, block))

    def purge(self, step: int) -> None:
        """Let what earlier records say of this step and later ones be forgotten."""
        log = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=step, session_log=log)

    def flush(self) -> None:
        """Hand all to the system, for TensorBoard to read."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        with suppress(OSError):
            self._file.close()

    def _write(self, **fields: Any) -> None:
        data = self._events.Event(wall_time=time(), **fields).SerializeToString()
        length = len(data).to_bytes(8, "little")
        for part in (length, data):
            self._file.write(part + self._checksum(part).to_bytes(4, "little"))
