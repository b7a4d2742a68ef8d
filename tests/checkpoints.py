"""Small checkpoints to save, harm and read: shared by the tests of checkpoints."""

import hashlib
import json

import numpy as np

from charloom.runs import checkpoint
from charloom.runs.checkpoint import MANIFEST, save
from charloom.runs.meta import Best, Meta
from charloom.runs.tensors import Expected


def arrays_of(step):
    return {
        "layer0.Wx": np.arange(12, dtype=np.float32).reshape(3, 4) + step,
        "head.b": np.array([step, -0.0, 1e-45], np.float32),
        "optimizer.updates": np.array([step], np.int64),
        "state.layer0.h": np.full((2, 3), step / 3, np.float32),
        "rng.seed": np.array([7], np.int64),
    }


def expected_of(arrays):
    return {name: Expected((str(a.dtype),), a.shape) for name, a in arrays.items()}


def read(path, arrays=None, **how):
    arrays = arrays_of(0) if arrays is None else arrays
    return checkpoint.read(path, expected_of(arrays), **how)


def read_newest(folder, arrays=None):
    return checkpoint.read_newest(folder, expected_of(arrays_of(0) if arrays is None else arrays))


def read_best(folder):
    return checkpoint.read_newest(folder, expected_of(arrays_of(0)), best=True)


def meta_of(step, best=None):
    best = Best(best, 1.5) if best is not None else None
    return Meta(step=step, seconds=0.5, best=best, versions={"numpy": "2"}, cursor={"position": 3})


def save_step(folder, step, best=None, keep=2):
    return save(folder, arrays_of(step), meta_of(step, best), keep)


def same_arrays(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


def is_step(found, step):
    return found.meta.step == step and same_arrays(found.weights | found.state, arrays_of(step))


def forge(path, name, content):
    """Put `content` in place and make the manifest agree, as an attacker would."""
    (path / name).write_bytes(content)
    manifest = json.loads((path / MANIFEST).read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    (path / MANIFEST).write_text(json.dumps(manifest))
