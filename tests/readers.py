"""What the tests of readers share: files in memory, and damage."""

import random
from contextlib import suppress
from io import BytesIO

from charloom.data.readers import HEAD_BYTES, Bundle, Document, Head, Job, Kind, Options, Report
from charloom.errors import CharloomError


class InMemory:
    """The members of an archive that is not on disk."""

    def __init__(self, files: dict[str, bytes], label: str) -> None:
        self.label, self._files = label, files

    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def read(self, name: str) -> bytes:
        return self._files[name]


def head(data: bytes, name: str = "file") -> Head:
    return Head(name, data[:HEAD_BYTES])


def recognised(kinds: tuple[Kind | Bundle, ...], data: bytes, name: str = "file") -> Kind | None:
    """The kind of a file among these."""
    files = (kind for kind in kinds if isinstance(kind, Kind))
    return next((kind for kind in files if kind.matches(head(data, name))), None)


def read_file(
    kinds: tuple[Kind | Bundle, ...],
    data: bytes,
    name: str = "file",
    options: Options | None = None,
) -> tuple[list[Document], Report]:
    """The documents of a file of one of these kinds, and the report."""
    kind, report = recognised(kinds, data, name), Report()
    assert kind is not None
    job = Job(name, options or Options(), report)
    return list(kind.read(BytesIO(data), job)), report


def read_bundle(
    kinds: tuple[Kind | Bundle, ...], files: dict[str, bytes], label: str = "export.zip"
) -> tuple[list[Document], Report]:
    """The documents of an archive of one of these kinds, and the report."""
    bundles = (kind for kind in kinds if isinstance(kind, Bundle))
    bundle = next(b for b in bundles if b.matches(Head(label, members=tuple(files))))
    report = Report()
    return list(bundle.read(InMemory(files, label), Job(label, Options(), report))), report


def damaged(data: bytes, seed: int) -> bytes:
    """A file with some bytes changed, or cut, or with a piece of it twice or somewhere else."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randrange(len(out) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0:
                out[a : a + 1] = rng.randbytes(1)
            case 1:
                out[a:a] = rng.choice(
                    [b"\0", b"\xff", b'"', b"{", b"]", b"\r", b"\\", b"=?", b"\n"]
                )
            case 2:
                del out[a : min(b, a + 50)]
            case 3:
                del out[a:]
            case 4:
                out[a:a] = out[a : min(b, a + 200)]
            case 5:
                digits = [i for i in range(len(out)) if chr(out[i]).isdigit()]
                if digits:
                    out[rng.choice(digits)] = rng.choice(b"0123456789-")
    return bytes(out)


def survive(
    kinds: tuple[Kind | Bundle, ...], data: bytes, name: str = "file", times: int = 60
) -> None:
    """Damaged files are read, or refused with a CharloomError."""
    usual = recognised(kinds, data, name)
    assert usual is not None
    for seed in range(times):
        bad = damaged(data, seed)
        kind = recognised(kinds, bad, name) or usual
        documents = []
        with suppress(CharloomError):
            documents = list(kind.read(BytesIO(bad), Job(name, Options(), Report())))
        assert all(document.text.strip() and document.text.encode() for document in documents)
