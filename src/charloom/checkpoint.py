"""Checkpoints: one folder for each, which is whole or is not there.

    checkpoints/00012000/model.safetensors    weights alone
                         state.safetensors    optimiser, carried state, generators
                         meta.json            where the run stood: `Meta`
                         MANIFEST.json        each file's size and SHA-256, written last

A checkpoint is written into a temporary folder beside, file by file to the disk, and then
renamed; older ones go only when the new one has been read back. So a power cut at any moment
leaves the old or the new (the order that Pillai et al. 2014, "All File Systems Are Not Created
Equal", found missing in many programs). Reading believes no file before its size and SHA-256
are those of the manifest, opens only the four names above, and runs nothing.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from charloom.config import RunConfig
from charloom.errors import CharloomError
from charloom.files import plain_size, read_json, sync_folder, write_file
from charloom.weights import STATE_PREFIXES

FILES = ("model.safetensors", "state.safetensors", "meta.json")
MANIFEST = "MANIFEST.json"
FORMAT = 1

_TEMPORARY = ".saving-"
_ASIDE = ".old"  # a checkpoint that gives way to one of the same step, until that is in place
_NAME = re.compile(r"(\d{8,})(?:\.old)?")
_LARGEST_HEADER = 2**20  # bytes: a hostile one would burn memory before anything is checked
_DTYPES = {"F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"}

Array = NDArray[Any]


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest loss so far, in nats per character, and the step it was seen at."""

    step: int
    loss: float | None  # None where it is infinite: JSON has no such number


class Losses(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is remembered of the losses of a run's updates, in nats per character.

    `smooth` is min-char-rnn's; `sum` is over the `count` updates since the last line of metrics;
    `sampled` is `smooth` at the last sample that was drawn for its being the lowest.
    """

    smooth: float
    sum: float = 0.0
    count: int = 0
    sampled: float | None = None


class Setback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A return from step `at`, where the network broke, to the checkpoint of step `to`.

    `loss` is what showed it, as text: JSON has no NaN. From `to` on the learning rate is half.
    """

    at: int
    to: int
    loss: str


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a run stood: all that the next update and the next line of metrics follow from.

    `seconds` were spent in training, by the `versions` of what computes. `cursor` and `schedule`
    are those of Lanes and Schedule; an n-gram model has neither, nor losses. `due` says that what
    is looked at after this step is still to be looked at. `config` is that of the run.
    """

    step: int
    seconds: float
    best: Best | None
    versions: dict[str, str]
    cursor: dict[str, int] = {}
    schedule: dict[str, float] = {}
    losses: Losses | None = None
    due: bool = False
    setbacks: list[Setback] = []
    config: RunConfig | None = None  # in checkpoints from before there was none


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and is whole.

    Names, shapes and values of the arrays are for the model to check. `notes` are sentences
    on what was passed over to find it.
    """

    path: Path
    meta: Meta
    weights: dict[str, Array]
    state: dict[str, Array] = field(repr=False)
    notes: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    files: dict[str, _File] = {}


def save(folder: Path, arrays: Mapping[str, Array], meta: Meta, keep: int) -> Path:
    """Write one checkpoint into `folder`, then remove all but the `keep` newest and the best.

    Returns its path. Raises CharloomError where it cannot be written: what was there before
    is then still there.
    """
    final = folder / f"{meta.step:08d}"
    temporary = folder / f"{_TEMPORARY}{final.name}"
    contents = _contents(arrays, meta)
    try:
        if not folder.exists():
            folder.mkdir()
            sync_folder(folder.parent)
        for left_over in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left_over)
        temporary.mkdir()
        for name, content in contents.items():
            write_file(temporary / name, content)
        sync_folder(temporary)
        _publish(temporary, final)
        sync_folder(folder)
        verify(final)
        _rotate(folder, meta, keep)
    except OSError as error:
        raise CharloomError(_why_unsaved(final, error, sum(map(len, contents.values())))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints in `folder`, whole or not, in ascending order."""
    return sorted({_step(path) for path in _checkpoints(folder)})


def read(path: Path) -> Checkpoint:
    """Read one checkpoint; raises CharloomError, with what is wrong, unless it is whole."""
    verify(path)
    meta = read_json(path / "meta.json", Meta)
    if meta.step != _step(path):
        raise CharloomError(
            f"{path} is damaged: it holds step {meta.step}, so it was renamed or copied from "
            "elsewhere; give it back its name, or delete it"
        )
    weights, state = (_read_arrays(path / name) for name in FILES[:2])
    return Checkpoint(path, meta, weights, state)


def read_newest(folder: Path) -> Checkpoint:
    """Read the newest whole checkpoint in `folder`, with a note on each damaged one before it.

    Raises CharloomError where there is none.
    """
    notes: list[str] = []
    for path in _checkpoints(folder):
        try:
            found = read(path)
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
    manifest = read_json(path / MANIFEST, _Manifest)
    if manifest.format != FORMAT:
        raise CharloomError(
            f"{path} has format {manifest.format}, but this charloom reads format {FORMAT}: "
            "use the version that wrote it"
        )
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
    # safetensors copies memory as it lies: what is no C-ordered block would be saved scrambled.
    blocks = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    files = {
        "model.safetensors": to_safetensors({n: a for n, a in blocks.items() if n not in state}),
        "state.safetensors": to_safetensors({n: a for n, a in blocks.items() if n in state}),
        "meta.json": msgspec.json.encode(meta),
    }
    listed = {n: _File(len(c), hashlib.sha256(c).hexdigest()) for n, c in files.items()}
    return files | {MANIFEST: msgspec.json.encode(_Manifest(FORMAT, listed))}


def _why_unsaved(path: Path, error: OSError, needed: int) -> str:
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
    return (
        f"cannot save {path} ({error.strerror or error}): {needed:,} bytes are needed and {free:,} "
        "are free; what was saved before is still there: mend that, then resume"
    )


def _publish(temporary: Path, final: Path) -> None:
    """Rename, so that a kill in between leaves a whole checkpoint under one name or the other."""
    if final.exists():
        aside = final.with_name(final.name + _ASIDE)
        try:
            verify(final)
        except CharloomError:
            shutil.rmtree(final)
        else:
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
    temporary.rename(final)


def _rotate(folder: Path, meta: Meta, keep: int) -> None:
    """Remove old checkpoints, and those after this step: they belong to another course of events.

    What does not have a checkpoint's name is not touched.
    """
    until_now = [step for step in steps(folder) if step <= meta.step]
    kept = {f"{step:08d}" for step in until_now[-keep:]}
    if meta.best is not None and meta.best.step <= meta.step:
        kept.add(f"{meta.best.step:08d}")
    for path in _checkpoints(folder):
        if path.name not in kept:
            shutil.rmtree(path)
    sync_folder(folder)


def _checkpoints(folder: Path) -> list[Path]:
    """All folders with a checkpoint's name, newest first; one put aside after its successor."""
    if folder.is_symlink():
        raise CharloomError(f"{folder} is a link: put the folder itself in its place")
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _has_name(path) and not path.is_symlink()]
    return sorted(found, key=lambda path: (-_step(path), path.name))


def _has_name(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    return match is not None and match[1] == f"{int(match[1]):08d}" and path.is_dir()


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


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


def _read_arrays(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _LARGEST_HEADER:
        raise CharloomError(f"{path} is damaged: its header claims {header:,} bytes")
    arrays: dict[str, Array] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 -- it is no dict
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _DTYPES:
                    raise CharloomError(f"{path}: {name} is of type {dtype}, which no model has")
                arrays[name] = file.get_tensor(name)
    except (SafetensorError, OSError, OverflowError, MemoryError) as error:
        raise CharloomError(f"{path} is damaged: {error}") from None
    return arrays
