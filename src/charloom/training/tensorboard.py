"""Event files for TensorBoard, written beside a run from the stream of its events.

Needs the extra `charloom[tensorboard]`, which brings the formats; TensorBoard itself is not
needed to write. Importing it takes some seconds if PyTorch is installed, which it then loads.
Records go into the file in the thread that trains, through tensorboardX's RecordWriter: its
SummaryWriter has a queue and a thread, which wait for ever if the disk is full.

    tensorboard --logdir runs
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter, time
from typing import Any

from charloom.errors import needs_extra
from charloom.formatting import LN2, model_name
from charloom.training.events import Evaluated, Event, Finished, Progress, Sampled, Started, Warned

FOLDER = "tensorboard"  # in that of the run
PAUSE_SECONDS = 1.0  # between two points of the training loss, at least
PAUSE_SHARE = 0.001  # ... and this share of the time so far, so that a long run has a small file


def recorded(events: Iterator[Event], folder: Path) -> Iterator[Event]:
    """Pass events on, and write what they tell into `folder`/tensorboard.

    A run that is resumed hides what was written after its checkpoint. If the folder cannot be
    written to, a warning is passed on, and nothing more is written. Raises CharloomError if
    tensorboardX is not installed.
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
                yield Warned(event.step, text)
    finally:
        if recorder is not None:
            recorder.close()


def check() -> None:
    """Raise CharloomError if tensorboardX is not installed."""
    with needs_extra("tensorboard", "--tensorboard"):
        import tensorboardX  # noqa: F401


class _Recorder:
    """Writes events into a new file of the folder. Its methods raise OSError."""

    def __init__(self, folder: Path, started: Started) -> None:
        from tensorboardX import RecordWriter

        self._step = self._seen = started.step
        self._back: int | None = started.step or None  # the step of the checkpoint gone on from
        self._sum, self._count = 0.0, 0
        self._written_at = self._began = perf_counter()
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time():017.6f}.{os.getpid()}"
        self._file = RecordWriter(str(folder / name))
        self._write(file_version="brain.Event:2")
        if not started.step:
            words = f"{model_name(started.run.config.model)}, on {started.run.corpus.name}"
            self._text("run", words, 0)

    def take(self, event: Event) -> None:
        """Write what an event tells."""
        if not isinstance(event, Started | Warned):
            if event.step < self._step:  # training rolled back to a checkpoint
                self._back = self._seen = event.step
                self._sum, self._count = 0.0, 0
            self._step = event.step
        match event:
            case Progress():
                self._hide_later(made_up=False)
                self._progress(event)
            case Evaluated():
                self._hide_later(made_up=event.step == self._back)
                self._losses("validation", event.score.nats, event.step)
            case Sampled():
                self._hide_later(made_up=event.step == self._back)
                self._text("sample", event.text, event.step)
            case Finished():
                self._file.flush()

    def close(self) -> None:
        """Close the file; what could not be written is lost."""
        with suppress(OSError):
            self._file.close()

    def _hide_later(self, made_up: bool) -> None:
        """Hide what was written after the checkpoint; at its step, if that is made up for."""
        if self._back is not None:
            from tensorboardX.proto.event_pb2 import SessionLog

            log = SessionLog(status=SessionLog.START)
            self._write(step=self._back + (not made_up), session_log=log)
            self._back = None

    def _progress(self, event: Progress) -> None:
        updates = event.step - self._seen
        self._sum, self._count = self._sum + event.loss * updates, self._count + updates
        self._seen = event.step
        now = perf_counter()
        pause = max(PAUSE_SECONDS, PAUSE_SHARE * (now - self._began))
        if self._count and (now - self._written_at >= pause or event.step == event.total):
            self._losses("training", self._sum / self._count, event.step)
            self._scalar("learning_rate", event.rate, event.step)
            self._scalar("characters_per_second", event.speed, event.step)
            self._scalar("epoch", event.epoch, event.step)
            self._file.flush()
            self._sum, self._count, self._written_at = 0.0, 0, now

    def _losses(self, of: str, nats: float, step: int) -> None:
        self._scalar(f"nats_per_character/{of}", nats, step)
        self._scalar(f"bits_per_character/{of}", nats / LN2, step)

    def _scalar(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def _text(self, tag: str, text: str, step: int) -> None:
        """Add a text as a block of code: TensorBoard reads Markdown."""
        from tensorboardX.summary import text as summary

        self._write(step=step, summary=summary(tag, "    " + text.replace("\n", "\n    ")))

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event as Record

        self._file.write(Record(wall_time=time(), **fields).SerializeToString())
