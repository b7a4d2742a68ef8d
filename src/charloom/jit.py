"""How every kernel is compiled, and where the machine code is kept.

`error_model="numpy"` drops the check for a zero divisor, without which no division is
vectorised. `fastmath` leaves out nnan and ninf, so that a NaN still shows as one. Kernels
work in arrays that were made beforehand: without numba's reference counting (`_nrt`) they
are smaller, faster, and take half as long to compile.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

_FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}


def kernel(function: F) -> F:
    """Compile `function` on its first call for each set of types; it runs without the GIL."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or _cache_folder(Path(function.__code__.co_filename).parent)
    try:
        compiled: F = numba.njit(
            function,
            cache=True,
            nogil=True,
            error_model="numpy",
            fastmath=_FASTMATH,
            _nrt=False,
        )
    finally:
        numba.config.CACHE_DIR = before
    return compiled


@cache
def _cache_folder(source: Path) -> str:
    """A folder named by the hash of a package's source.

    numba itself looks only at the file that holds the compiled function: machine code that
    has another file's function inlined would survive a change there.
    """
    digest = hashlib.sha256()
    for path in sorted(source.glob("*.py")):
        digest.update(path.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(base) / "charloom" / f"kernels-{digest.hexdigest()[:16]}")
