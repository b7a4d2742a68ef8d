"""The posts of a blog, each once and oldest first, however many there are."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from html import unescape
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

from charloom.data.readers import Document, Job
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.plain import one_line
from charloom.errors import CharloomError

MEMORY = 2**26  # bytes of text above which posts wait in a temporary file
_TAG = re.compile("</?[a-zA-Z][^<>]*>")


class Posts(AbstractContextManager["Posts"]):
    """Posts that wait until the last has been read, for the file may have them in any order."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file = SpooledTemporaryFile(MEMORY)  # noqa: SIM115
        self._waiting: list[tuple[str, int, int, Document]] = []  # date, place, bytes, the rest
        self._known: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, post: Document, identity: str = "") -> None:
        """Keep a post, unless it has no text or its identity is known already."""
        left_out = self._job.report.left_out
        if not post.text.strip():
            left_out["empty posts"] += 1
        elif identity and identity in self._known:
            left_out["repeated posts"] += 1
        else:
            self._known.add(identity)
            self._keep(post)

    def oldest_first(self) -> Iterator[Document]:
        """Yield the posts by their dates, those without one first; raises if there are none."""
        if not self._waiting:
            left_out = [f"{noun} {n:,}" for noun, n in self._job.report.left_out.items()]
            reason = f"left out: {', '.join(left_out)}" if left_out else "it is empty"
            message = f"{self._job.label} has no published post ({reason}): check what was exported"
            raise CharloomError(message, "not-text", why="no posts", path=self._job.label)
        for _, place, size, post in sorted(self._waiting, key=lambda waiting: waiting[:2]):
            self._file.seek(place)
            yield post._replace(text=self._file.read(size).decode())

    def _keep(self, post: Document) -> None:
        data = post.text.encode()
        try:
            place = self._file.seek(0, 2)
            self._file.write(data)
        except OSError as error:
            message = f"{self._job.label} needs room for temporary files ({error.strerror})"
            raise CharloomError(message, "unwritable", path=self._job.label) from None
        self._waiting.append((post.date, place, len(data), post._replace(text="")))


def title_text(html: str) -> str:
    """Return a title, which may have markup or only look like it, on one line."""
    return one_line(fragment_text(html) if _TAG.search(html) else unescape(html))
