"""Programs: which units are called, one after the other, and with which integers.

What an update or a step takes depends on the network, and is written down once, in Python: a row
of integers for each call. To run it takes one call from Python, and no kernel for each network.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charloom.models.compiled.flushing import flush, restore
from charloom.models.compiled.units import Unit, address_of, call_at
from charloom.models.jit import inner_kernel, kernel


class Code(NamedTuple):
    """A program as kernels take it."""

    words: NDArray[np.int64]  # (n,) row after row: address, length, turn, integers
    failed: NDArray[np.int64]  # (1,) what a unit sets if it cannot go on: the program ends there


class Program:
    """Calls of units, in order; it keeps the arrays that they work in."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._zero = self._dtype.type(0)
        self._rows: list[int] = []
        self._arrays: list[NDArray[Any]] = []
        self._code: Code | None = None
        self.failed = np.zeros(1, np.int64)

    def add(self, unit: Unit, *arguments: NDArray[Any] | int, turn: int = 0) -> None:
        """Call a unit with these integers; of an array it gets the address.

        It begins at `turn` more than the program does.
        """
        integers = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                self._arrays.append(argument)
                argument = argument.__array_interface__["data"][0]
            integers.append(int(argument))
        address = unit.get_ready(self._dtype)
        self._rows += [address, len(integers) + 3, turn, *integers]
        self._code = None

    @property
    def code(self) -> Code:
        """What `run` takes; the program must be kept as long as that is in use."""
        if self._code is None:
            self._code = Code(np.array(self._rows, np.int64), self.failed)
        return self._code

    def __call__(self) -> None:
        """Run it. Raises IndexError if a unit fails: it has met an id that is none."""
        if not self.ends():
            raise IndexError

    def ends(self) -> bool:
        """Run it; return whether it went on to the end."""
        self.failed[0] = 0
        run_once(self.code, self._zero)
        return not self.failed[0]


@inner_kernel
def run(code: Any, zero: Any, turn: Any) -> None:
    """Call the units of a program; `turn` is how many time steps were read before.

    `product` alternates its direction with it.
    """
    before = flush()
    words, at = code.words, 0
    while at < words.size and not code.failed[0]:
        call_at(zero, words[at], address_of(words) + 8 * (at + 3), turn + words[at + 2])
        at += words[at + 1]
    restore(before)


@kernel
def run_once(code: Any, zero: Any) -> None:
    """Call the units of a program, from Python."""
    run(code, zero, np.int64(0))
