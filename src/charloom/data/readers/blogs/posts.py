"""The posts of a blog, each once and oldest first, however many there are."""

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape

from charloom.data.readers import Document, Job
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.plain import one_line
from charloom.data.spool import Kept, Shelf
from charloom.errors import CharloomError

_TAG = re.compile("</?[a-zA-Z][^<>]*>")


class Posts:
    """Posts that wait until the last has been read, for the file may have them in any order."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._shelf = Shelf(bounded=True)  # which takes nothing out of them
        self._waiting = list[tuple[Document, Kept]]()  # what is known of each post, and its text
        self._known: set[str] = set()

    def add(self, post: Document, identity: str = "") -> None:
        """Keep a post, unless it has no text or its identity is known already."""
        left_out = self._job.report.left_out
        if not post.text.strip():
            left_out["empty posts"] += 1
        elif identity and identity in self._known:
            left_out["repeated posts"] += 1
        else:
            self._known.add(identity)
            [text] = self._shelf.put([(post.name, [post.text])])
            self._waiting.append((post._replace(text=""), text))

    def oldest_first(self) -> Iterator[Document]:
        """Yield the posts by their dates, those without one first; raises if there are none."""
        if not self._waiting:
            left_out = [f"{noun} {n:,}" for noun, n in self._job.report.left_out.items()]
            reason = f"left out: {', '.join(left_out)}" if left_out else "it is empty"
            message = f"{self._job.label} has no published post ({reason}): check what was exported"
            raise CharloomError(message, "not-text", why="no posts", path=self._job.label)
        for post, text in sorted(self._waiting, key=lambda waiting: waiting[0].date):
            yield post._replace(text="".join(piece for piece, _ in text.pieces(Counter())))


def title_text(html: str) -> str:
    """Return a title, which may have markup or only look like it, on one line."""
    return one_line(fragment_text(html) if _TAG.search(html) else unescape(html))
