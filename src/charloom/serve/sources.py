"""What runs learned from: what a text must not copy at length, and where it was copied from."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from charloom.analysis.inputs import copied_from
from charloom.analysis.novelty import MARKED_LENGTH, Copy, copied
from charloom.data.suffix_array import Continuations
from charloom.errors import CharloomError
from charloom.formatting import whole_words
from charloom.generation.copy_limit import CopyLimit
from charloom.runs.open import open_run
from charloom.serve.errors import Refused
from charloom.serve.models import Models, Served

LARGEST = 2**23  # characters: sorting them takes about a second for each million
KEPT = 4  # sorted texts
AROUND = 40  # characters of the source that are told before a copy, and after


class Marked(NamedTuple):
    """A copy with what is around it in the source."""

    copy: Copy
    before: str
    after: str


class Sources:
    """The texts of a table's runs, sorted when they are first asked for, one at a time."""

    def __init__(self, models: Models) -> None:
        self._models, self._sorting = models, asyncio.Lock()
        self._sorted: OrderedDict[tuple[str, int], Continuations] = OrderedDict()

    async def limit(self, served: Served, most: int) -> CopyLimit:
        """Return a limit to copying at most so many characters in a row; raises Refused."""
        index = await self._index(served, most, "max_copy")
        return CopyLimit(index.source, most, index)

    async def copies(self, served: Served, text: str) -> list[Marked]:
        """Return the passages of a text that the source holds too, in order; raises Refused."""
        index = await self._index(served, MARKED_LENGTH - 1, "model")
        return await asyncio.to_thread(lambda: [*_marked(text, index)])

    async def _index(self, served: Served, depth: int, field: str) -> Continuations:
        key = served.fingerprint, depth
        async with self._sorting:
            if key not in self._sorted:
                path = self._models.path(served.name)
                try:
                    self._sorted[key] = await asyncio.to_thread(_sort, path, served.name, depth)
                except CharloomError as error:
                    raise Refused(400, str(error), "unsupported", field) from None
            self._sorted.move_to_end(key)
            if len(self._sorted) > KEPT:
                self._sorted.popitem(last=False)
            return self._sorted[key]


def _sort(path: Path, name: str, depth: int) -> Continuations:
    run = open_run(path)
    characters = 0 if run is None else run.corpus.characters
    if characters > LARGEST:
        message = (
            f"{name} learned from {characters:,} characters, and at most {LARGEST:,} are searched "
            "for copies here: charloom study novelty takes more"
        )
        raise CharloomError(message, "unsupported", characters=characters, most=LARGEST)
    return Continuations(copied_from(run, name), depth)


def _marked(text: str, index: Continuations) -> Iterator[Marked]:
    source = index.source
    for copy in copied(text, source, index=index):
        begin, end = copy.offset, copy.offset + copy.length
        first, _ = whole_words(source, max(0, begin - AROUND), begin)
        _, last = whole_words(source, end, min(len(source), end + AROUND))
        yield Marked(copy, source[first:begin], source[end:last])
