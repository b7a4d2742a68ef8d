"""A file or folder of an older program in, what it holds out: its contents say what it is."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from charloom.errors import CharloomError
from charloom.files import damaged, unreadable
from charloom.formats.old import keras_files, tensorflow
from charloom.formats.old.char_rnn import from_char_rnn, is_char_rnn
from charloom.formats.old.found import Found, MalformedError, RefusedError
from charloom.formats.old.keras import from_keras
from charloom.formats.old.min_char_rnn import from_min_char_rnn, read_npz, read_pickled
from charloom.formats.old.pytorch import is_legacy, opened_zip, read_torch
from charloom.formats.old.pytorch_models import from_pytorch
from charloom.formats.old.tensorflow_rnn import from_tensorflow
from charloom.formats.old.torch7 import read_torch7
from charloom.formats.old.torch_rnn import from_torch_rnn, is_torch_rnn
from charloom.formatting import listed, printable

MOST_BYTES = 2**32  # of a file that is read whole
_MOST_FILES = 10_000  # of a folder that are looked at
_LFS = b"version https://git-lfs"


def recognise(path: Path) -> Found:
    """Return the model in a file, or in the only such file of a folder; raises CharloomError."""
    path = _the_file(path)
    head, tail = _ends(path)
    with reading(path):
        kind = _kind(head, tail)
        if kind is None:
            raise RefusedError(_unknown(path, head))
        return kind(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise CharloomError that names a file for what is wrong with what is in it.

    Numbers that overflow become infinite without a warning: whoever takes them refuses that.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except MalformedError as error:
        raise damaged(path, printable(str(error))) from None
    except RefusedError as error:
        raise CharloomError(f"{path}: {error}", "unsupported", path=str(path)) from None
    except MemoryError:
        message = f"{path} does not fit into the free memory: free some"
        raise CharloomError(message, "unreadable", path=str(path)) from None


def _kind(head: bytes, tail: bytes) -> Callable[[Path], Found] | None:
    """Return what reads a file that begins and ends so; None if nothing does."""
    if head[:4] in (b"\x03\0\0\0", b"\x04\0\0\0"):  # a table, an object
        return _torch7
    if tail.endswith(tensorflow.MAGIC):
        return _tensorflow
    if head.startswith(b"PK\x03\x04"):
        return _zip
    if is_legacy(head):
        return _torch
    if head.startswith(keras_files.MAGIC):
        return from_keras
    if head[:1] == b"\x80" and tail.endswith(b"."):
        return _pickle
    return None


def _torch7(path: Path) -> Found:
    root = read_torch7(whole_file(path))
    if is_torch_rnn(root):
        return from_torch_rnn(root)
    if is_char_rnn(root):
        return from_char_rnn(root)
    raise RefusedError("it is a file of Torch7, but no checkpoint of torch-rnn or char-rnn")


def _tensorflow(path: Path) -> Found:
    size = path.stat().st_size
    if size > tensorflow.MOST_BYTES:
        raise RefusedError(
            "it is a checkpoint of TensorFlow's first format, in one file, which is not read: "
            "save it once more with TensorFlow 1"
        )
    step = path.name.removesuffix(".index").rpartition("-")[2]
    number = int(step) if step.isascii() and step.isdecimal() and len(step) < 12 else 0
    return from_tensorflow(tensorflow.Bundle(path, whole_file(path)), number)


def _zip(path: Path) -> Found:
    content = whole_file(path)
    with opened_zip(content) as archive:
        names = archive.namelist()
    if keras_files.IN_ARCHIVE in names:
        return from_keras(path)
    if any(name.endswith("data.pkl") for name in names):
        return from_pytorch(read_torch(content))
    return from_min_char_rnn(read_npz(content))


def _pickle(path: Path) -> Found:
    return from_min_char_rnn(read_pickled(whole_file(path)))


def _torch(path: Path) -> Found:
    return from_pytorch(read_torch(whole_file(path)))


def _unknown(path: Path, head: bytes) -> str:
    if head.startswith(_LFS):
        return "it is a pointer of Git LFS, not the file itself: get that with `git lfs pull`"
    if head.startswith(b"{") and path.with_suffix(".t7").exists():
        return f"it is what torch-rnn writes beside a checkpoint: name {path.with_suffix('.t7')}"
    return (
        "it is no checkpoint that is known: of torch-rnn or char-rnn (.t7), of TensorFlow 1 "
        "(.index), of PyTorch, of Keras (.h5, .keras), or weights of min-char-rnn (.npz, pickle)"
    )


def whole_file(path: Path) -> bytes:
    """Return the contents of a plain file, which a link may lead to; raises CharloomError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            message = f"{path} is a pipe, a socket or a device, not a file"
            raise CharloomError(message, "unreadable", path=str(path))
        if status.st_size > MOST_BYTES:
            message = f"{path} has more than {MOST_BYTES:,} bytes: no such model is known"
            raise CharloomError(message, "unsupported", path=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        message = f"there is no file or folder {path}: check the name"
        raise CharloomError(message, "not-found", path=str(path)) from None
    except OSError as error:
        raise unreadable(path, error) from None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of a file; raises CharloomError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            message = f"{path} is a pipe, a socket or a device, not a file"
            raise CharloomError(message, "unreadable", path=str(path))
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8))
            return head, file.read(8)
    except OSError as error:
        raise unreadable(path, error) from None


def _the_file(path: Path) -> Path:
    """Return the file to read of what a user named: a file, a folder, or TensorFlow's NAME."""
    try:
        if path.is_dir():
            return _only(path)
        stem = path.name.rpartition(".data-")[0]
        index = path.with_name(f"{stem or path.name}.index")
        if index.is_file() and (stem or not path.exists()):
            return index
        if path.exists():
            return path
    except OSError as error:
        raise unreadable(path, error) from None
    message = f"there is no file or folder {path}: check the name"
    raise CharloomError(message, "not-found", path=str(path))


def _only(folder: Path) -> Path:
    """Return the one checkpoint in a folder; raises CharloomError if there are none or several."""
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())[:_MOST_FILES]
    except OSError as error:
        raise unreadable(folder, error) from None
    kinds = {path: kind for path in files if (kind := _kind(*_ends(path))) is not None}
    # A pickle may be the vocabulary of what stands beside it.
    found = [path for path, kind in kinds.items() if kind is not _pickle] or [*kinds]
    if len(found) == 1:
        return found[0]
    if found:
        several = listed([path.name for path in found])
        message = f"{folder} holds {len(found)} checkpoints: name one of {several}"
        raise CharloomError(message, "unsupported", path=str(folder))
    message = f"{folder} holds no checkpoint of an older program: name the file"
    raise CharloomError(message, "not-found", path=str(folder))
