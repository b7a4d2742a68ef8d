"""Requests in, pieces of text out: one thread writes all texts, those of a model side by side.

Each text is a lane of its model, with random numbers of its own, and lanes come and go at any
time. A lane does not depend on the others to the last bit: either the model promises that
(`WritesLanes`), or each lane is computed alone. So the same seed gives the same text, whatever
the load.
"""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from charloom.serve.groups import Group, Place, group_of
from charloom.serve.jobs import Failed, Job, Piece
from charloom.serve.texts import READ_AT_ONCE, Lane, Reader, alike, read

BACKLOG = 2**17  # bytes that a client has not taken: its texts wait until it has


class Full(Exception):  # noqa: N818 -- it is an answer
    """There is no room in the queue; `seconds` is about how long until there is."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Closed(Exception):  # noqa: N818 -- it is an answer
    """The engine takes no more jobs."""


@dataclass
class Counts:
    """What has happened since the start: read by anybody, written by the engine's thread alone."""

    prompted: int = 0  # ids read
    written: int = 0  # ids drawn, as far as they belong to texts
    cancelled: int = 0  # jobs
    failed: int = 0
    busy_seconds: float = 0.0


Post = list[tuple[Job, list[Piece | Failed]]]


def deliver(post: Post) -> None:
    """Hand what is new to each job."""
    for job, pieces in post:
        job.deliver(pieces)


class Engine:
    """One thread; at most `slots` texts at once and `queue` jobs that wait, first in, first out.

    It calls `post`, which must not wait, with what is new of all jobs together, to be delivered.
    """

    post: Callable[[Post], None] = staticmethod(deliver)

    def __init__(self, slots: int, queue: int) -> None:
        self.slots, self.most_queued, self.counts = slots, queue, Counts()
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._jobs: set[Job] = set()  # that have begun
        self._readers: list[Reader] = []
        self._groups: dict[int, Group] = {}  # by their models' identities
        self._parked: list[Place] = []
        self._used = 0  # slots
        self._post: Post = []
        self._closed = self._stopped = False
        self._durations: deque[float] = deque([1.0], maxlen=32)  # of the last jobs, in seconds
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._queue)

    @property
    def used(self) -> int:
        """How many slots are taken."""
        return self._used

    @property
    def idle(self) -> bool:
        """Whether no job is left."""
        return not self._queue and not self._jobs

    def submit(self, job: Job) -> None:
        """Take a job; raises Full or Closed."""
        with self._changed:
            if self._closed:
                raise Closed
            if not 0 < job.lanes <= self.slots:
                raise ValueError(f"{job.lanes} lanes for {self.slots} slots")
            if len(self._queue) >= self.most_queued:
                wanted = self._used + job.lanes + sum(waiting.lanes for waiting in self._queue)
                if wanted > self.slots:  # else all that wait are about to begin
                    turns = 1 + len(self._queue) / max(1, len(self._jobs))
                    raise Full(turns * sum(self._durations) / len(self._durations))
            self._queue.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Let a job go, whether it waits, is being written, or has ended."""
        with self._changed:
            job.cancelled = True
            self._changed.notify()

    def taken(self, job: Job, size: int) -> None:
        """Note that pieces of that size of a job were taken."""
        with self._changed:
            job.waiting -= size
            if self._parked:
                self._changed.notify()

    def refuse(self) -> None:
        """Take no more jobs."""
        self._closed = True

    def close(self) -> None:
        """Let all jobs go, and end the thread."""
        with self._changed:
            self._closed = self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopped or self._has_work()):
                    self._changed.wait()
                stopped = self._stopped
                self._drop_cancelled()
                self._admit()
            if stopped:
                self._fail([*self._jobs, *self._queue], "the server is shutting down")
                self._send()
                return
            began = time.perf_counter()
            self._read()
            for key, group in [*self._groups.items()]:
                self._write(key, group)
            self._park()
            self._send()
            self.counts.busy_seconds += time.perf_counter() - began

    def _has_work(self) -> bool:
        resumable = any(_is_taken(parked.lane.job) for parked in self._parked)
        dropped = any(job.cancelled for job in (*self._jobs, *self._queue))
        waiting = bool(self._queue) and self._used + self._queue[0].lanes <= self.slots
        return bool(self._readers or self._groups or resumable or dropped or waiting)

    def _drop_cancelled(self) -> None:
        if any(job.cancelled for job in self._queue):
            self.counts.cancelled += sum(job.cancelled for job in self._queue)
            self._queue = deque(job for job in self._queue if not job.cancelled)
        gone = {job for job in self._jobs if job.cancelled}
        if gone:
            self.counts.cancelled += len(gone)
            self._remove(gone)

    def _remove(self, gone: set[Job]) -> None:
        """Take everything of these jobs away, and free their slots."""
        self._readers = [reader for reader in self._readers if reader.job not in gone]
        self._parked = [parked for parked in self._parked if parked.lane.job not in gone]
        for group in self._groups.values():
            group.take([b for b, lane in enumerate(group.lanes) if lane.job in gone])
        self._groups = {key: group for key, group in self._groups.items() if group.lanes}
        self._used -= sum(job.left for job in gone & self._jobs)
        self._jobs -= gone

    def _admit(self) -> None:
        """Begin with jobs in their order, as long as there are slots for all texts of the next."""
        while self._queue and self._used + self._queue[0].lanes <= self.slots:
            job = self._queue.popleft()
            self._used += job.lanes
            job.began = time.monotonic()
            self._jobs.add(job)
            self._readers += [Reader(job, p) for p in range(len(job.prompts))]

    def _fail(self, jobs: Sequence[Job], why: str) -> None:
        self.counts.failed += len(jobs)
        with self._changed:
            self._remove(set(jobs))
        for job in jobs:
            self._post.append((job, [Failed(why)]))

    def _read(self) -> None:
        """Read one piece of each prompt; of those that are read, begin to write."""
        now, left = list[Reader](), READ_AT_ONCE
        for reader in self._readers:
            if left <= 0:
                break
            now.append(reader)
            left -= len(reader.piece)
        later = self._readers[len(now) :]
        for readers in alike(now):
            here = [reader for reader in readers if reader.job in self._jobs]  # none has failed
            try:
                self.counts.prompted += read(here)
            except Exception:
                traceback.print_exc()
                self._fail([*{reader.job for reader in here}], "the model failed")
        now = [reader for reader in now if reader.job in self._jobs]
        unread = [reader for reader in now if reader.left]
        self._readers = unread + [reader for reader in later if reader.job in self._jobs]
        begun: dict[int, list[Place]] = {}
        for reader in now:
            if not reader.left:
                begun.setdefault(id(reader.job.model), []).extend(self._begin(reader))
        for places in begun.values():
            if places:
                self._group(places[0].lane.job).add(places)

    def _begin(self, reader: Reader) -> list[Place]:
        """Return where to write on from once a prompt is read, for all of its texts."""
        job, prompt = reader.job, reader.job.prompts[reader.number]
        if job.echo:
            pieces = [Piece(i, prompt.text, reader.seen, None) for i in reader.numbers]
            self._deliver(job, list[Piece](pieces))
        begun = [Lane(job, number) for number in reader.numbers]
        if not job.tokens:
            self._deliver(job, [Piece(lane.number, "", [], "length") for lane in begun])
            return []
        return [Place(lane, reader.last, reader.state, job.rules) for lane in begun]

    def _group(self, job: Job) -> Group:
        key = id(job.model)
        if key not in self._groups:
            self._groups[key] = group_of(job.model)
        return self._groups[key]

    def _write(self, key: int, group: Group) -> None:
        try:
            pieces = group.write()
        except Exception:
            traceback.print_exc()
            self._fail([*{lane.job for lane in group.lanes}], "the model failed")
            return
        self.counts.written += group.written
        if not group.lanes:
            del self._groups[key]
        for job, new in pieces.items():
            self._deliver(job, new)

    def _deliver(self, job: Job, pieces: list[Piece]) -> None:
        ended = sum(piece.ended is not None for piece in pieces)
        with self._changed:
            job.waiting += sum(piece.size for piece in pieces)
            job.left -= ended
            self._used -= ended
            if not job.left:
                self._jobs.discard(job)
                self._durations.append(time.monotonic() - job.began)
        self._post.append((job, [*pieces]))

    def _send(self) -> None:
        if self._post:
            self.post(self._post)
            self._post = []

    def _park(self) -> None:
        """Set lanes aside whose client does not take what there is; go on with those that do."""
        for group in self._groups.values():
            late = [b for b, lane in enumerate(group.lanes) if lane.job.waiting > BACKLOG]
            self._parked += group.take(late)
        self._groups = {key: group for key, group in self._groups.items() if group.lanes}
        if not self._parked:
            return
        ready = [parked for parked in self._parked if _is_taken(parked.lane.job)]
        self._parked = [parked for parked in self._parked if not _is_taken(parked.lane.job)]
        for parked in ready:
            self._group(parked.lane.job).add([parked])


def _is_taken(job: Job) -> bool:
    return job.waiting <= BACKLOG // 2
