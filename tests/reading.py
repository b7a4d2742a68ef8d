"""How tests read documents: from members in memory, or from bytes, with the report."""

import io
import random
import zipfile
from typing import Any

from charloom.data.readers import Bundle, Document, Head, Job, Kind, Options, Report
from charloom.data.readers.members import Zip
from charloom.errors import CharloomError


def packed(files: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def head_of(data: bytes, name: str = "a file") -> Head:
    """Return what a file is recognised by."""
    members: tuple[str, ...] = ()
    if data.startswith(b"PK"):
        try:
            members = Zip(io.BytesIO(data), name).names()
        except CharloomError:
            members = ()
    return Head(name, data[: 2**16], members)


def read(
    kind: Kind | Bundle, data: bytes, options: Options | None = None
) -> tuple[list[Document], Report]:
    """Return the documents in a file, and what is said about it."""
    job = Job("a file", options or Options(), Report())
    if isinstance(kind, Bundle):
        return list(kind.read(Zip(io.BytesIO(data), "a file"), job)), job.report
    return list(kind.read(io.BytesIO(data), job)), job.report


def matching(kinds: Any, data: bytes, name: str = "a file") -> list[str]:
    """Return the names of the kinds that a file is recognised as."""
    head = head_of(data, name)
    return [kind.name for kind in kinds if kind.matches(head)]


def damaged(data: bytes, number: int) -> list[bytes]:
    """Return copies of a file that are cut, or have bytes changed, doubled or removed."""
    rng, copies = random.Random(number), []
    for _ in range(number):
        copy = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 20))):
            place = rng.randrange(len(copy))
            end = place + rng.choice((1, 4, 60))
            match rng.randrange(5):
                case 0:
                    copy[place] = rng.randrange(256)
                case 1:
                    del copy[place:end]
                case 2:
                    copy[place:place] = copy[place:end]
                case 3:
                    copy[place:end] = bytes(end - place)
                case 4:
                    del copy[max(1, place) :]
            copy = copy or bytearray(b"P")
        copies.append(bytes(copy))
    return copies


def only_charloom_errors(kind: Kind | Bundle, copies: list[bytes]) -> int:
    """Read damaged files, which may only raise CharloomError; return how many could be read."""
    good = 0
    for copy in copies:
        try:
            read(kind, copy)
            good += 1
        except CharloomError:
            pass
    return good
