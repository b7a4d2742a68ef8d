"""What a power cut can leave of a save, after Pillai et al. 2014 ("ALICE").

A save is recorded as the changes that it makes to files and folders. The disk may then have done,
of the changes of a file's content or of a folder's names that no fsync of that file or folder has
confirmed, any and none: all subsets are made, the writes among them also torn and as zeros.
A rename within a folder is one change: file systems promise that.
"""

import io
import itertools
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch


class Change(NamedTuple):
    """One recorded call: `kind` is make, create, write, rename, remove or fsync."""

    kind: str
    path: Path
    content: bytes = b""
    to: Path | None = None


class Recorder:
    """Records, while it is entered, what is done to the disk; it is done as well."""

    def __init__(self):
        self.changes = []

    def __enter__(self):
        self._stack = ExitStack()
        calls = {"fsync": self._fsync, "mkdir": self._mkdir, "rename": self._rename}
        for name, call in (calls | {"unlink": self._remove, "rmdir": self._remove}).items():
            original = getattr(os, name)
            replacement = self._wrapped(call, original)
            self._stack.enter_context(patch.object(os, name, replacement))
        self._stack.enter_context(patch.object(io, "open", self._open(io.open)))
        self._stack.enter_context(patch.object(shutil, "_use_fd_functions", False))
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _wrapped(self, call, original):
        def wrapped(*arguments, **keywords):
            result = original(*arguments, **keywords)
            self.changes.append(call(*arguments))
            return result

        return wrapped

    def _fsync(self, descriptor):
        return Change("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())

    def _mkdir(self, path, *_):
        return Change("make", Path(path))

    def _rename(self, old, new):
        return Change("rename", Path(old), to=Path(new))

    def _remove(self, path):
        return Change("remove", Path(path))

    def _open(self, original):
        def opened(path, mode="r", *arguments, **keywords):
            if not set("xwa+") & set(mode):
                return original(path, mode, *arguments, **keywords)
            assert mode == "xb", "only new files are written"
            self.changes.append(Change("create", Path(path)))
            return io.BufferedWriter(_File(path, self.changes))

        return opened


class _File(io.FileIO):
    def __init__(self, path, changes):
        super().__init__(path, "x")
        self._path, self._changes = Path(path), changes

    def write(self, content):
        written = super().write(content)
        self._changes.append(Change("write", self._path, bytes(content[:written])))
        return written


class Disk:
    """Folders as dicts of names, files as lists of confirmed and pending content."""

    def __init__(self, root):
        """Take the folder `root` as it is: all in it is confirmed."""
        self.root = root
        self.top = self._load(root)

    def _load(self, path):
        node = _Node(path.is_dir())
        if node.folder:
            node.names = {child.name: self._load(child) for child in path.iterdir()}
            node.now = dict(node.names)
        else:
            node.content = path.read_bytes()
        return node

    def _find(self, path):
        node = self.top
        for part in path.relative_to(self.root).parts:
            node = node.now[part]
        return node

    def do(self, change):
        """Make a change: it is seen by the program, and pending until an fsync."""
        node = self._find(change.path if change.kind == "fsync" else change.path.parent)
        name = change.path.name
        match change.kind:
            case "fsync" if node.folder:
                node.names, node.pending = dict(node.now), []
            case "fsync":
                node.content, node.pending = b"".join([node.content, *node.pending]), []
            case "write":
                node.now[name].pending.append(change.content)
            case "make" | "create":
                node.change({name: _Node(change.kind == "make")})
            case "rename":
                assert change.to.parent == change.path.parent
                node.change({change.to.name: node.now[name], name: None})
            case "remove":
                node.change({name: None})

    def states(self, cuts, most=4096):
        """All that can be there after a power cut now, as {path: content, or None for a folder}.

        Pending writes are cut at each of `cuts`, shares of their length.
        """
        nodes = list(_walk(self.top, set()))
        choices = [node.choices(cuts) for node in nodes]
        for chosen in itertools.islice(itertools.product(*choices), most):
            state = {}
            _lay_out(self.top, dict(zip(map(id, nodes), chosen, strict=True)), Path(), state)
            yield state


class _Node:
    def __init__(self, folder):
        self.folder = folder
        self.names, self.now, self.content = {}, {}, b""  # names: confirmed; now: as seen
        self.pending = []

    def change(self, names):
        self.pending.append(names)
        for name, node in names.items():
            self.now[name] = node
            if node is None:
                del self.now[name]

    def choices(self, cuts):
        """Confirmed names or content, with each subset of what is pending."""
        if self.folder:
            subsets = itertools.product((False, True), repeat=len(self.pending))
            return [_with(self.names, itertools.compress(self.pending, kept)) for kept in subsets]
        found = [self.content]
        for number, write in enumerate(self.pending):
            before = b"".join([self.content, *self.pending[:number]])
            found += [before + write[: int(cut * len(write))] for cut in cuts]
            found += [before + bytes(len(write)), before + write]
        return list(dict.fromkeys(found))


def _with(names, changes):
    names = dict(names)
    for change in changes:
        names |= change
    return {name: node for name, node in names.items() if node is not None}


def _walk(node, seen):
    """Every file and folder that any choice can make visible, once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    for names in [node.names, *(node.pending if node.folder else [])]:
        for child in names.values():
            if child is not None:
                yield from _walk(child, seen)


def _lay_out(node, chosen, path, state):
    value = chosen[id(node)]
    if not node.folder:
        state[path] = value
        return
    state[path] = None
    for name, child in value.items():
        _lay_out(child, chosen, path / name, state)


def put(state, root):
    """Make a folder of a state."""
    for path, content in sorted(state.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
