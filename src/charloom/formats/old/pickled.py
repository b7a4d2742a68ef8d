"""A pickle's data, without what a pickle can do: no name in it is ever looked up or called.

`pickletools` tells the instructions apart; here is what those do that make containers, texts and
numbers. A class or a function that a pickle names stays a `Name`; what it would make of it is a
`Made`, inert. Raises MalformedError for a name that is not allowed, and for any other instruction.
"""

import io
import pickletools
import warnings
from collections.abc import Callable, Collection
from typing import Any

from charloom.formats.old.found import MalformedError, RefusedError

MOST_STEPS = 2_000_000
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    "BYTEARRAY8",
}
_MARK = object()


class Name:
    """A class or function that a pickle names: nothing but its name."""

    def __init__(self, module: str, name: str) -> None:
        self.name = f"{module}.{name}"


class Made:
    """What a pickle would make of a class or function and arguments; `state` is set on it later.

    `items` are set or appended to it, if it is a container.
    """

    def __init__(self, name: str, arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.items: list[Any] = []


def read_pickle(content: bytes, allowed: Callable[[str], bool] = lambda _: False) -> Any:
    """Return what a pickle holds, with names as `allowed`.

    Raises MalformedError and RefusedError.
    """
    return read_pickles(content, allowed, 1)[0][0]


def read_pickles(
    content: bytes,
    allowed: Callable[[str], bool],
    count: int,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[list[Any], int]:
    """Return what so many pickles, one after another, hold, and where the last of them ends.

    `persistent` gives what a persistent id stands for.
    """
    stream = io.BytesIO(content)
    with warnings.catch_warnings(action="ignore"):  # of texts with strange escapes
        found = [_Machine(allowed, persistent).run(stream) for _ in range(count)]
    return found, stream.tell()


class _Machine:
    def __init__(
        self, allowed: Callable[[str], bool], persistent: Callable[[Any], Any] | None
    ) -> None:
        self._allowed, self._persistent = allowed, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """Read one pickle; raises MalformedError and RefusedError."""
        try:
            for number, (code, argument, _) in enumerate(pickletools.genops(stream)):
                if number > MOST_STEPS:
                    raise MalformedError(f"its pickle has more than {MOST_STEPS:,} instructions")
                self._do(code.name, argument)
            value = self._stack.pop()
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
            raise MalformedError("its pickle is damaged") from None
        if value is _MARK or self._stack:
            raise MalformedError("its pickle is damaged")
        return value

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self._marked()
            stack.append(
                dict(_pairs(items))
                if name == "DICT"
                else (tuple if name == "TUPLE" else list)(items)
            )
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(name[-1])
            items = [stack.pop() for _ in range(size)][::-1]
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            self._add(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._marked()
            self._set(_pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(), stack.pop()][::-1]
            stack.append(self._named(*parts))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(Made(function.name, arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = _object(stack[-1], state)
        elif name == "BINPERSID" and self._persistent is not None:
            stack.append(self._persistent(stack.pop()))
        else:
            raise MalformedError(f"its pickle has the instruction {name}, which no model needs")

    def _named(self, module: str, name: str) -> Name:
        found = Name(module, name)
        if not self._allowed(found.name):
            raise RefusedError(
                f"it names {found.name[:80]!r}, which no model needs; nothing of it was executed"
            )
        return found

    def _marked(self) -> list[Any]:
        found = []
        while (value := self._stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def _add(self, items: Collection[Any]) -> None:
        target = self._stack[-1]
        (target.items if isinstance(target, Made) else target).extend(items)

    def _set(self, pairs: list[tuple[Any, Any]]) -> None:
        target = self._stack[-1]
        if isinstance(target, Made):
            target.items.extend(pairs)
        else:
            target.update(pairs)


def _object(made: Any, state: Any) -> Any:
    if not isinstance(made, Made):
        raise MalformedError("its pickle is damaged")
    return state


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    """Return keys with their values; a key that holds others could take for ever to be hashed."""
    if len(items) % 2 or not all(isinstance(key, str | int | bytes) for key in items[::2]):
        raise MalformedError("its pickle is damaged")
    return [*zip(items[::2], items[1::2], strict=True)]
