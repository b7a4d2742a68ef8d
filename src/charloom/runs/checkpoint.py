"""Checkpoints: one folder for each, which is whole or is not there.

    checkpoints/00012000/model.safetensors    weights alone
                         state.safetensors    optimiser, carried state, generators
                         meta.json            where the run stood: `Meta`
                         MANIFEST.json        each file's size and SHA-256, written last

A checkpoint is written into a temporary folder beside, file by file to the disk, and then
renamed; older ones go only when the new one has been read back. So a power cut at any moment
leaves the old or the new (the order that Pillai et al. 2014, "All File Systems Are Not Created
Equal", found missing in many programs). Reading believes no file before its size and SHA-256
are those of the manifest, and no array that the settings do not ask for; it opens only the
four names above, and runs nothing.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from charloom.errors import CharloomError
from charloom.files import plain_size, read_json, sync_folder, write_file
from charloom.models.weights import STATE_PREFIXES
from charloom.runs.meta import Count, Meta
from charloom.runs.tensors import Array, Expected, read_arrays, to_bytes

FILES = ("model.safetensors", "state.safetensors", "meta.json")
MANIFEST = "MANIFEST.json"
FORMAT = 1

_TEMPORARY = ".saving-"
_ASIDE = ".old"  # a checkpoint that gives way to one of the same step, until that is in place
_NAME = re.compile(r"([0-9]{8,18})(?:\.old)?")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read, is whole, and holds the arrays that were expected.

    `notes` are sentences on what was passed over to find it.
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


class _NewerFormatError(CharloomError):
    pass


def save(folder: Path, arrays: Mapping[str, Array], meta: Meta, keep: int) -> Path:
    """Write one checkpoint into `folder`, then remove all but the `keep` newest and the best.

    Damaged ones are removed too, and not counted. Returns its path. Raises CharloomError where
    it cannot be written: what was there before is then still there.
    """
    final = folder / f"{meta.step:08d}"
    temporary = folder / f"{_TEMPORARY}{final.name}"
    contents = _contents(arrays, meta)
    needed = sum(map(len, contents.values()))
    try:
        _prepare(folder, needed)
        temporary.mkdir()
        for name, content in contents.items():
            write_file(temporary / name, content)
        sync_folder(temporary)
        _publish(temporary, final)
        sync_folder(folder)
        verify(final)
    except OSError as error:
        raise CharloomError(_why_unsaved(final, error, needed)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _rotate(final, meta, keep)
    return final


def steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints in `folder`, whole or not, in ascending order."""
    return sorted({_step(path) for path in _checkpoints(folder)})


def find(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step, whole or not; raises CharloomError."""
    for path in _checkpoints(folder):
        if _step(path) == step:
            return path
    there = ", ".join(map(str, steps(folder)[-12:])) or "none"
    raise CharloomError(f"{folder} has no checkpoint {step}: it has {there}")


def read(path: Path, expected: Mapping[str, Expected]) -> Checkpoint:
    """Read one checkpoint; raises CharloomError, with what is wrong, unless it is whole.

    `expected` are the arrays that it must hold, those of `expected_arrays`.
    """
    verify(path)
    meta = read_json(path / "meta.json", Meta)
    if meta.step != _step(path):
        raise CharloomError(
            f"{path} is damaged: it holds step {meta.step}, so it was renamed or copied from "
            "elsewhere; give it back its name, or delete it"
        )
    state = {name: e for name, e in expected.items() if name.startswith(STATE_PREFIXES)}
    weights = {name: e for name, e in expected.items() if name not in state}
    return Checkpoint(
        path,
        meta,
        read_arrays(path / "model.safetensors", weights),
        read_arrays(path / "state.safetensors", state),
    )


def read_newest(folder: Path, expected: Mapping[str, Expected]) -> Checkpoint:
    """Read the newest whole checkpoint in `folder`, with a note on each damaged one before it.

    Raises CharloomError where there is none, and where a newer charloom wrote a newer one:
    to go on from an older would in the end remove it.
    """
    notes: list[str] = []
    for path in _checkpoints(folder):
        try:
            found = read(path, expected)
        except _NewerFormatError:
            raise
        except CharloomError as error:
            notes.append(str(error))
            continue
        return replace(found, notes=tuple(f"{note}; used {path.name} instead" for note in notes))
    if notes:
        raise CharloomError(f"no checkpoint in {folder} is whole: {notes[0]}")
    raise CharloomError(f"{folder} holds no checkpoint: the run has not saved one yet")


def verify(path: Path) -> None:
    """Raise CharloomError unless the folder's files are those of its manifest, to the byte."""
    if path.is_symlink() or not path.is_dir():
        raise CharloomError(f"{path} is no checkpoint folder: remove it")
    if (written := read_json(path / MANIFEST, _Format).format) != FORMAT:
        kind = _NewerFormatError if written > FORMAT else CharloomError
        raise kind(
            f"{path} has format {written}, but this charloom reads format {FORMAT}: "
            "use the version that wrote it, or move that folder away"
        )
    manifest = read_json(path / MANIFEST, _Manifest)
    if set(manifest.files) != set(FILES):
        raise CharloomError(
            f"{path / MANIFEST} is damaged: it must list {', '.join(FILES)} and nothing else; "
            "delete the checkpoint"
        )
    for name in FILES:
        _verify_file(path / name, manifest.files[name])


def _contents(arrays: Mapping[str, Array], meta: Meta) -> dict[str, bytes]:
    """File name -> content, the manifest last."""
    state = {name for name in arrays if name.startswith(STATE_PREFIXES)}
    files = {
        "model.safetensors": to_bytes({n: a for n, a in arrays.items() if n not in state}),
        "state.safetensors": to_bytes({n: a for n, a in arrays.items() if n in state}),
        "meta.json": msgspec.json.encode(meta),
    }
    listed = {n: _File(len(c), hashlib.sha256(c).hexdigest()) for n, c in files.items()}
    return files | {MANIFEST: msgspec.json.encode(_Manifest(FORMAT, listed))}


def _why_unsaved(path: Path, error: OSError, needed: int) -> str:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        free = 0
    return (
        f"cannot save {path} ({error.strerror or error}): {needed:,} bytes are needed and {free:,} "
        "are free; what was saved before is still there: mend that"
    )


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
    """Rename, so that a kill in between leaves a whole checkpoint under one name or the other."""
    aside = final.with_name(final.name + _ASIDE)
    old_is_whole = final.exists() and _is_whole(final)
    if old_is_whole:
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
    elif final.exists():
        shutil.rmtree(final)
    try:
        temporary.rename(final)
    except OSError:
        if old_is_whole:
            aside.rename(final)
        raise


def _rotate(final: Path, meta: Meta, keep: int) -> None:
    """Remove old checkpoints, and those after this step: they belong to another course of events.

    A damaged one keeps no place from one that is whole. What does not have a checkpoint's name
    is not touched.
    """
    folder, best = final.parent, meta.best.step if meta.best else -1
    kept = {meta.step}  # it has been read back
    try:
        for path in _checkpoints(folder):
            step = _step(path)
            wanted = step < meta.step and (len(kept) < keep or step == best)
            if wanted and step not in kept and _is_whole(path):
                kept.add(step)
            elif path != final:
                shutil.rmtree(path)
        sync_folder(folder)
    except OSError as error:
        raise CharloomError(
            f"{final} is saved, but an older checkpoint beside it cannot be removed "
            f"({error.strerror or error}): mend that"
        ) from error


def _checkpoints(folder: Path) -> list[Path]:
    """All folders with a checkpoint's name, newest first; one put aside after its successor."""
    try:
        if folder.is_symlink():
            raise CharloomError(f"{folder} is a link: put the folder itself in its place")
        if not folder.is_dir():
            return []
        with os.scandir(folder) as found:
            names = [e.name for e in found if _is_name(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise CharloomError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(map(folder.joinpath, names), key=lambda path: (-_step(path), path.name))


def _is_name(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match[1] == f"{int(match[1]):08d}"


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _is_whole(path: Path) -> bool:
    try:
        verify(path)
    except CharloomError:
        return False
    return True


def _verify_file(path: Path, expected: _File) -> None:
    size = plain_size(path)
    if size != expected.bytes:
        raise CharloomError(
            f"{path} is damaged: it has {size:,} bytes, but was saved with {expected.bytes:,}"
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CharloomError(f"{path} cannot be read: {error.strerror}") from None
    if digest != expected.sha256:
        raise CharloomError(f"{path} is damaged: its content is not what was saved")
