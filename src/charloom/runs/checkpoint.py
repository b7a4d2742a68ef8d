"""Checkpoints: one folder for each, which is complete or absent.

    checkpoints/00012000/model.safetensors    weights alone
                         state.safetensors    optimizer, carried state, generators
                         meta.json            what else the next step follows from: `Meta`
                         MANIFEST.json        each file's size and SHA-256, written last

A checkpoint is written into a temporary folder beside the others, file by file to the disk, read
back, and then renamed; only then are older ones removed. So a power cut at any moment leaves the
old or the new (the order that Pillai et al. 2014, "All File Systems Are Not Created Equal", found
missing in many programs). Reading believes no file before its size and SHA-256 are those of the
manifest, and no array that the settings do not ask for; it opens only the four names above, and
runs nothing.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from charloom.errors import CharloomError, Code
from charloom.files import (
    LARGEST_JSON,
    Block,
    damaged,
    decode_json,
    open_plain,
    read_bytes,
    read_open,
    refuse_link,
    sync_folder,
    unreadable,
    write_file,
    writing,
)
from charloom.models.weights import STATE_PREFIXES
from charloom.runs.meta import Count, Meta
from charloom.runs.tensors import CURE, Array, Expected, read_arrays, to_blocks

FILES = MODEL, STATE, META = "model.safetensors", "state.safetensors", "meta.json"
MANIFEST = "MANIFEST.json"
FORMAT = 1
LOOKS = 20  # at checkpoints that are rotated away before they are opened

T = TypeVar("T")

_TEMPORARY = ".saving-"
_ASIDE = ".old"  # a checkpoint that gives way to one of the same step, until that is in place
_NAME = re.compile(r"([0-9]{8,18})(?:\.old)?")

_encode = msgspec.json.encode
_verified: dict[Path, list[tuple[int, int]]] = {}  # by this process: sizes and times of files


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read, is complete, and holds the arrays that were expected.

    `state` is empty if weights alone were asked for. `notes` are sentences on those that were
    passed over to find it.
    """

    path: Path
    meta: Meta
    weights: dict[str, Array]
    state: dict[str, Array] = field(repr=False)
    notes: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: Count
    sha256: str


class _Format(msgspec.Struct, frozen=True):
    format: Count


class _Manifest(_Format, frozen=True):
    files: dict[str, _File] = {}


def save(folder: Path, arrays: Mapping[str, Array], meta: Meta, keep: int) -> Path:
    """Write one checkpoint into `folder`, then remove all but the `keep` newest and the best.

    Damaged ones are removed too, and not counted. Returns its path. Raises CharloomError if it
    cannot be written: what was there before is then still there.
    """
    final = folder / f"{meta.step:08d}"
    temporary = folder / f"{_TEMPORARY}{final.name}"
    weights, state = map(to_blocks, _split(arrays))
    files: dict[str, list[Block]] = {MODEL: [*weights], STATE: [*state], META: [_encode(meta)]}
    needed = sum(len(block) for blocks in files.values() for block in blocks)
    try:
        _prepare(folder, needed)
        temporary.mkdir()
        listed = {name: _File(*write_file(temporary / name, files[name])) for name in FILES}
        files[MANIFEST] = [_encode(_Manifest(FORMAT, listed))]
        write_file(temporary / MANIFEST, files[MANIFEST])
        sync_folder(temporary)
        for name, blocks in files.items():
            _read_back(temporary / name, blocks)
        _publish(temporary, final)
        sync_folder(folder)
        _verified[final] = _stamps(final)
    except OSError as error:
        free = shutil.disk_usage(folder).free if folder.is_dir() else None
        space = f"{needed:,} bytes are needed" + ("" if free is None else f" and {free:,} are free")
        raise CharloomError(
            f"cannot save {final} ({error.strerror or error}): {space}; earlier checkpoints are "
            "still there: fix that",
            "unwritable",
            path=str(final),
            needed=needed,
            free=free,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _rotate(final, meta, keep)
    return final


def steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints in `folder`, complete or not, in ascending order."""
    return sorted({_step(path) for path in _checkpoints(folder)})


def find(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step, complete or not; raises CharloomError."""
    for path in _checkpoints(folder):
        if _step(path) == step:
            return path
    there = steps(folder)
    listed = ", ".join(map(str, there[-12:])) or "none"
    message = f"{folder} has no checkpoint {step}: it has {listed}"
    raise CharloomError(message, "not-found", step=step, found=there)


def read(path: Path, expected: Mapping[str, Expected], weights_only: bool = False) -> Checkpoint:
    """Read one checkpoint; raises CharloomError, with what is wrong, unless it is complete.

    `expected` are the arrays that it must hold, those of `expected_arrays`. With `weights_only`
    the training state is not looked at, so it may be damaged.
    """
    parts = dict(zip((MODEL, STATE), _split(expected), strict=True))
    if weights_only:
        del parts[STATE]
    with _opened(path, (*parts, META)) as files:
        meta = _meta(path, files[META])
        arrays = [read_arrays(path / name, files[name], part) for name, part in parts.items()]
    return Checkpoint(path, meta, arrays[0], {} if weights_only else arrays[1])


def read_newest(
    folder: Path, expected: Mapping[str, Expected], weights_only: bool = False, best: bool = False
) -> Checkpoint:
    """Read the newest complete checkpoint in `folder`, or the `best`, which its meta.json names.

    A note tells of each damaged one that was passed over, for the one before it; instead of the
    best that is the best before it, or the newest. If the run is being trained, one may be rotated
    away before it is opened: then those that are there now are looked at. Raises CharloomError if
    there is none, and if a newer charloom wrote a newer one: to go on from an older would in the
    end remove it.
    """
    for _ in range(LOOKS):
        there = _checkpoints(folder)
        found, passed = _first_complete(
            _best_first(there) if best else there, expected, weights_only
        )
        if not passed or there == _checkpoints(folder):
            break
    if found is not None:
        notes = (f"{problem}; used {found.path.name} instead" for problem in passed.values())
        return replace(found, notes=tuple(notes))
    for first in passed.values():
        message = f"no checkpoint in {folder} is complete: {first}"
        raise CharloomError(message, first.code, **first.facts)
    message = f"{folder} holds no checkpoint: the run has not saved one yet"
    raise CharloomError(message, "not-found", path=str(folder))


def verify(path: Path) -> None:
    """Raise CharloomError unless all files are what the manifest says, to the byte."""
    with _opened(path, FILES):
        pass


@contextmanager
def _opened(path: Path, names: Iterable[str]) -> Iterator[dict[str, BinaryIO]]:
    """Open files of a checkpoint that are what its manifest says, to the byte; else CharloomError.

    They can be read to the end even if the checkpoint is rotated away meanwhile, or gives way to
    another of the same step.
    """
    if path.is_symlink() or not path.is_dir():
        raise CharloomError(
            f"{path} is not a checkpoint folder: remove it", "damaged", path=str(path)
        )
    manifest = _manifest(path)
    with ExitStack() as stack:
        files = {name: stack.enter_context(open_plain(path / name)) for name in names}
        for name, file in files.items():
            _verify_file(path / name, file, manifest.files[name])
        yield files


def _manifest(path: Path) -> _Manifest:
    content = read_bytes(path / MANIFEST, LARGEST_JSON)
    if (written := decode_json(path / MANIFEST, content, _Format).format) != FORMAT:
        code: Code = "newer-format" if written > FORMAT else "damaged"
        message = (
            f"{path} has format {written}, but this charloom reads format {FORMAT}: "
            "use the version that wrote it, or move that folder away"
        )
        raise CharloomError(message, code, path=str(path), found=written)
    manifest = decode_json(path / MANIFEST, content, _Manifest)
    if set(manifest.files) != set(FILES):
        raise damaged(path / MANIFEST, f"it must list {', '.join(FILES)} and no other", CURE)
    return manifest


def _first_complete(
    paths: Iterable[Path], expected: Mapping[str, Expected], weights_only: bool
) -> tuple[Checkpoint | None, dict[Path, CharloomError]]:
    """Read the first complete checkpoint; also return what is wrong with those before it."""
    passed: dict[Path, CharloomError] = {}
    for path in paths:
        if path in passed:
            continue
        try:
            return read(path, expected, weights_only), passed
        except CharloomError as error:
            if error.code == "newer-format":
                raise
            passed[path] = error
    return None, passed


def _split(arrays: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Return the weights, and what belongs to the training state."""
    state = {name: a for name, a in arrays.items() if name.startswith(STATE_PREFIXES)}
    return {name: a for name, a in arrays.items() if name not in state}, state


def _meta(path: Path, file: BinaryIO) -> Meta:
    """Read a checkpoint's meta.json, which has been verified."""
    meta = decode_json(path / META, read_open(path / META, file, LARGEST_JSON), Meta)
    if meta.step != _step(path):
        reason = f"it holds step {meta.step}, so it was renamed or copied from elsewhere"
        raise damaged(path, reason, f"give it back its name, or {CURE}")
    return meta


def _best_first(paths: dict[Path, int]) -> Iterator[Path]:
    """Yield the best checkpoint, as the newest says, as the one before says ...; then all."""
    of_step = {_step(path): path for path in reversed(paths)}
    for path in paths:
        best = None
        with suppress(CharloomError), _opened(path, (META,)) as files:
            best = _meta(path, files[META]).best
        yield path if best is None else of_step.get(best.step, path)
    yield from paths


def _read_back(path: Path, blocks: Iterable[Block]) -> None:
    """Raise OSError unless a file holds what was just written."""
    with path.open("rb") as file:
        if not all(file.read(len(block)) == bytes(block) for block in blocks) or file.read(1):
            raise OSError(errno.EIO, "it cannot be read back as it was written")


def _prepare(folder: Path, needed: int) -> None:
    """Make the folder, clear away what a kill left, and see that `needed` bytes are free."""
    if not folder.exists():
        folder.mkdir()
        sync_folder(folder.parent)
    for path in _checkpoints(folder):
        if path.suffix == _ASIDE and not path.with_suffix("").exists():
            path.rename(path.with_suffix(""))
    for left_over in folder.glob(f"{_TEMPORARY}*"):
        if _NAME.fullmatch(left_over.name.removeprefix(_TEMPORARY)):
            shutil.rmtree(left_over)
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < needed:  # some network disks have no size
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _publish(temporary: Path, final: Path) -> None:
    """Rename, so that a kill in between leaves a complete checkpoint under one of both names."""
    aside = final.with_name(final.name + _ASIDE)
    put_aside = final.exists() and _is_complete(final)
    if put_aside:
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
    elif final.exists():
        shutil.rmtree(final)
    try:
        temporary.rename(final)
    except OSError:
        if put_aside:
            aside.rename(final)
        raise


def _rotate(final: Path, meta: Meta, keep: int) -> None:
    """Remove old checkpoints, and those after this step: training has gone back before them.

    A damaged one takes no place from one that is complete. What does not have a checkpoint's
    name is not touched.
    """
    folder, best = final.parent, meta.best.step if meta.best else -1
    kept = {meta.step}  # it has been read back
    cure = f"{final.name} is saved, but older checkpoints are still there: fix that"
    with writing(folder, cure):
        for path in _checkpoints(folder):
            step = _step(path)
            wanted = step < meta.step and (len(kept) < keep or step == best)
            if wanted and step not in kept and _is_complete(path):
                kept.add(step)
            elif path != final:
                shutil.rmtree(path)
                _verified.pop(path, None)
        sync_folder(folder)


def _checkpoints(folder: Path) -> dict[Path, int]:
    """All folders with a checkpoint's name, newest first; one put aside after its successor.

    Each with its inode, which tells it from one that takes its place.
    """
    refuse_link(folder)
    try:
        with os.scandir(folder) as found:
            folders = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise unreadable(folder, error) from None
    inodes = {Path(entry): entry.inode() for entry in folders}
    named = [path for path in inodes if _step(path) >= 0]
    return {path: inodes[path] for path in sorted(named, key=lambda p: (-_step(p), p.name))}


def _step(path: Path) -> int:
    """Return the step that a checkpoint's name says; -1 for any other name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match and match[1] == f"{int(match[1]):08d}" else -1


def _is_complete(path: Path) -> bool:
    """Whether a checkpoint is undamaged; one that this process has verified is not hashed again."""
    try:
        stamps = _stamps(path)
        if _verified.get(path) != stamps:
            verify(path)
            _verified[path] = stamps
    except (CharloomError, OSError):
        return False
    return True


def _stamps(path: Path) -> list[tuple[int, int]]:
    """Return the size and the time of last change of each file. Raises OSError."""
    found = [(path / name).lstat() for name in (*FILES, MANIFEST)]
    return [(status.st_size, status.st_mtime_ns) for status in found]


def _verify_file(path: Path, file: BinaryIO, expected: _File) -> None:
    try:
        size = os.fstat(file.fileno()).st_size
        if size != expected.bytes:
            sizes = f"it has {size:,} bytes, but was saved with {expected.bytes:,}"
            raise damaged(path, sizes, CURE)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise unreadable(path, error) from None
    if digest != expected.sha256:
        raise damaged(path, "its content is not what was saved", CURE)
