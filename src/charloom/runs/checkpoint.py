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
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from charloom.errors import CharloomError, Code
from charloom.files import (
    Block,
    damaged,
    plain_size,
    read_json,
    refuse_link,
    sync_folder,
    unreadable,
    unwritable,
    write_file,
)
from charloom.models.weights import STATE_PREFIXES
from charloom.runs.meta import Count, Meta
from charloom.runs.tensors import Array, Expected, read_arrays, to_blocks

FILES = MODEL, STATE, META = "model.safetensors", "state.safetensors", "meta.json"
MANIFEST = "MANIFEST.json"
FORMAT = 1

T = TypeVar("T")

_TEMPORARY = ".saving-"
_ASIDE = ".old"  # a checkpoint that gives way to one of the same step, until that is in place
_NAME = re.compile(r"([0-9]{8,18})(?:\.old)?")
_CURE = "delete the checkpoint"

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
            "still there: solve that",
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
    verify(path, (MODEL, META) if weights_only else FILES)
    meta = _meta(path)
    weights, state = _split(expected)
    found = read_arrays(path / MODEL, weights)
    return Checkpoint(path, meta, found, {} if weights_only else read_arrays(path / STATE, state))


def read_newest(
    folder: Path, expected: Mapping[str, Expected], weights_only: bool = False, best: bool = False
) -> Checkpoint:
    """Read the newest complete checkpoint in `folder`, or the `best`, which its meta.json names.

    A note tells of each damaged one that was passed over, for the one before it; instead of the
    best that is the best before it, or the newest. Raises CharloomError if there is none, and if
    a newer charloom wrote a newer one: to go on from an older would in the end remove it.
    """
    passed: dict[Path, CharloomError] = {}
    for path in _best_first(folder) if best else _checkpoints(folder):
        if path in passed:
            continue
        try:
            found = read(path, expected, weights_only)
        except CharloomError as error:
            if error.code == "newer-format":
                raise
            passed[path] = error
            continue
        notes = (f"{problem}; used {path.name} instead" for problem in passed.values())
        return replace(found, notes=tuple(notes))
    for first in passed.values():
        message = f"no checkpoint in {folder} is complete: {first}"
        raise CharloomError(message, first.code, **first.facts)
    message = f"{folder} holds no checkpoint: the run has not saved one yet"
    raise CharloomError(message, "not-found", path=str(folder))


def verify(path: Path, names: Collection[str] = FILES) -> None:
    """Raise CharloomError unless these files are what the manifest says, to the byte."""
    if path.is_symlink() or not path.is_dir():
        raise CharloomError(f"{path} is no checkpoint folder: remove it", "damaged", path=str(path))
    if (written := read_json(path / MANIFEST, _Format).format) != FORMAT:
        code: Code = "newer-format" if written > FORMAT else "damaged"
        message = (
            f"{path} has format {written}, but this charloom reads format {FORMAT}: "
            "use the version that wrote it, or move that folder away"
        )
        raise CharloomError(message, code, path=str(path), found=written)
    manifest = read_json(path / MANIFEST, _Manifest)
    if set(manifest.files) != set(FILES):
        raise damaged(path / MANIFEST, f"it must list {', '.join(FILES)} and no other", _CURE)
    for name in names:
        _verify_file(path / name, manifest.files[name])


def _split(arrays: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Return the weights, and what belongs to the training state."""
    state = {name: a for name, a in arrays.items() if name.startswith(STATE_PREFIXES)}
    return {name: a for name, a in arrays.items() if name not in state}, state


def _meta(path: Path) -> Meta:
    """Read a checkpoint's meta.json, which has been verified."""
    meta = read_json(path / META, Meta)
    if meta.step != _step(path):
        reason = f"it holds step {meta.step}, so it was renamed or copied from elsewhere"
        raise damaged(path, reason, "give it back its name, or delete it")
    return meta


def _best_first(folder: Path) -> Iterator[Path]:
    """Yield the best checkpoint, as the newest says, as the one before says ...; then all."""
    paths = _checkpoints(folder)
    for path in paths:
        try:
            verify(path, (META,))
            best = _meta(path).best
            yield path if best is None else find(folder, best.step)
        except CharloomError:
            yield path  # for who reads it to say what is wrong
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
    try:
        for path in _checkpoints(folder):
            step = _step(path)
            wanted = step < meta.step and (len(kept) < keep or step == best)
            if wanted and step not in kept and _is_complete(path):
                kept.add(step)
            elif path != final:
                shutil.rmtree(path)
                _verified.pop(path, None)
        sync_folder(folder)
    except OSError as error:
        cure = f"solve that; {final.name} is saved, but older checkpoints are still there"
        raise unwritable(folder, error, cure) from error


def _checkpoints(folder: Path) -> list[Path]:
    """All folders with a checkpoint's name, newest first; one put aside after its successor."""
    refuse_link(folder)
    try:
        with os.scandir(folder) as found:
            paths = [Path(entry) for entry in found if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from None
    named = [path for path in paths if _step(path) >= 0]
    return sorted(named, key=lambda path: (-_step(path), path.name))


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


def _verify_file(path: Path, expected: _File) -> None:
    size = plain_size(path)
    if size != expected.bytes:
        raise damaged(path, f"it has {size:,} bytes, but was saved with {expected.bytes:,}", _CURE)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
    if digest != expected.sha256:
        raise damaged(path, "its content is not what was saved", _CURE)
