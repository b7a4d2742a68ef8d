"""The texts known by name: one embedded, two of every Python, one to download."""

import os
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charloom.errors import CharloomError, Code


@dataclass(frozen=True)
class KnownText:
    """A text known by name.

    `source` says where it comes from. `characters` is None if that depends on the Python that
    runs. `url` and `sha256` (hexadecimal, of the file's bytes) are those of a download.
    """

    name: str
    title: str
    licence: str
    source: str
    characters: int | None = None
    url: str = ""
    sha256: str = ""


KNOWN_TEXTS = (
    KnownText(
        name="us-constitution",
        title="The Constitution of the United States with its 27 amendments",
        licence="public domain (law)",
        source="part of charloom",
        characters=45_224,
    ),
    KnownText(
        name="python-manual",
        title="The language reference of Python, as shown by help()",
        licence="PSF-2.0",
        source="pydoc_data.topics of the Python that runs",
    ),
    KnownText(
        name="python-source",
        title="The source of Python's standard library, without its tests",
        licence="PSF-2.0",
        source="the .py files of the Python that runs",
    ),
    KnownText(
        name="tiny-shakespeare",
        title="Tiny Shakespeare: 40,000 lines of his plays, chosen by Karpathy",
        licence="public domain",
        source="karpathy/char-rnn, data/tinyshakespeare/input.txt",
        characters=1_115_394,
        url="https://raw.githubusercontent.com/karpathy/char-rnn/"
        "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
)


def load_corpus(name: str, known: Sequence[KnownText] = KNOWN_TEXTS) -> str:
    """Return the text of that name, with LF line ends.

    A download is kept in the user's cache folder (or the one in the environment variable
    ``CHARLOOM_CACHE``) and its hash is checked at every use. Raises CharloomError if the name is
    unknown or the text cannot be had.
    """
    text = next((text for text in known if text.name == name), None)
    if text is None:
        names = ", ".join(text.name for text in known)
        message = f"there is no text named {name!r}: choose one of {names}"
        raise CharloomError(message, "not-found", name=name)
    if text.url:
        return _download(text)
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


def _download(text: KnownText) -> str:
    import pooch  # brings requests: only now

    pooch.get_logger().setLevel("WARNING")
    folder = os.environ.get("CHARLOOM_CACHE") or pooch.os_cache("charloom")
    path = Path(folder, f"{text.name}.txt")
    try:
        pooch.retrieve(text.url, f"sha256:{text.sha256}", fname=path.name, path=path.parent)
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise _failed(text, error, path) from None


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
