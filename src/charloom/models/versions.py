"""What the last bits of training depend on, beside the text and the settings."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from charloom import __version__
from charloom.models.engines import load_torchnet

_VECTORS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "sve2")


def versions(engine: str) -> dict[str, str]:
    """Return, by name, the versions and the machine that an engine computes with.

    Threads are told of the reference engine alone, which leaves products to NumPy's BLAS: the
    compiled engine's bits do not depend on them, and a learner of PyTorch's knows its own.
    """
    numerics = {name: version(name) for name in ("numpy", "numba")}
    found = {"charloom": __version__, "python": platform.python_version()} | numerics
    found |= {"engine": engine, "processor": processor(Path("/proc/cpuinfo"))}
    if engine == "torch":
        found |= load_torchnet().versions()
    if engine == "reference":
        found["threads"] = _blas_threads()
    return found


def processor(cpuinfo: Path) -> str:
    """Return the name of the processor and the vector instructions that libraries choose by."""
    try:
        content = cpuinfo.read_text("ascii", "replace")
    except OSError:  # not Linux
        content = ""
    pairs = (line.partition(":") for line in content.splitlines())
    known = {name.strip(): value.strip() for name, _, value in pairs}
    flags = (known.get("flags") or known.get("Features") or "").split()
    name = (known.get("model name") or platform.machine())[:50]
    words = [*name.split(), *(vectors for vectors in _VECTORS if vectors in flags)]
    return re.sub("[^ -~]", "?", " ".join(words))


def _blas_threads() -> str:
    """Return how many threads OpenBLAS was asked for, or takes of itself."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if re.fullmatch("[1-9][0-9]{0,3}", asked := os.environ.get(name, "")):
            return asked
    return str(os.cpu_count())
