"""WebAssembly as text in; its bytes out.

As much of the text format as charloom's kernels need: functions of i32 and v128 whose instructions
are folded, `(f32x4.add a b)`, one imported memory, and loops with br_if. Source: the WebAssembly
core specification 2.0, chapters 5 (binary format) and 6 (text format).
"""

import re
import struct
from collections.abc import Iterator
from typing import Any

Expression = Any  # a word, or a list of expressions

_TYPES = {"i32": 0x7F, "v128": 0x7B}
_PLAIN = {
    "i32.lt_u": 0x49,
    "i32.add": 0x6A,
    "i32.sub": 0x6B,
    "i32.shl": 0x74,
}
_VECTOR = {
    "f32x4.add": 228,
    "f32x4.sub": 229,
    "f32x4.mul": 230,
    "f32x4.div": 231,
    "f32x4.min": 232,
    "f32x4.max": 233,
}
_MEMORY = {"v128.load": (0, 4), "v128.load32_splat": (9, 2), "v128.store": (11, 4)}  # and alignment
_LOCALS = {"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}


def assemble(text: str) -> bytes:
    """Return a module's bytes; raises ValueError for what is not known here."""
    (module,) = _parsed(text)
    fields: dict[str, list[Expression]] = {"import": [], "func": []}
    for field in module[1:]:
        fields[field[0]].append(field)
    ((_, space, name, (_, pages)),) = fields["import"]
    functions = [_Function(field[1:]) for field in fields["func"]]
    numbers = {function.name: number for number, function in enumerate(functions)}
    types = [function.type for function in functions]
    exports = [
        _name(function.exported) + b"\x00" + _unsigned(number)
        for number, function in enumerate(functions)
        if function.exported
    ]
    memory = _name(_unquoted(space)) + _name(_unquoted(name)) + b"\x02\x00" + _unsigned(int(pages))
    sections = {
        1: types,
        2: [memory],
        3: [_unsigned(number) for number in range(len(functions))],
        7: exports,
        10: [function.code(numbers) for function in functions],
    }
    written = [bytes([n]) + _sized(_vector(items)) for n, items in sections.items()]
    return b"\0asm\x01\0\0\0" + b"".join(written)


class _Function:
    """A function: its type, what it is exported as, and its instructions."""

    def __init__(self, parts: list[Expression]) -> None:
        self.name = parts.pop(0) if isinstance(parts[0], str) else ""
        self.exported = ""
        self._places: dict[str, int] = {}
        kinds: dict[str, list[str]] = {"param": [], "local": [], "result": []}
        while parts and parts[0][0] in ("export", "param", "local", "result"):
            what, *words = parts.pop(0)
            if what == "export":
                self.exported = _unquoted(words[0])
                continue
            kinds[what].append(words[-1])
            if what != "result":
                self._places[words[0]] = len(self._places)
        parameters, results = (
            _vector([bytes([_TYPES[kind]]) for kind in kinds[k]]) for k in ("param", "result")
        )
        self.type = b"\x60" + parameters + results
        self._locals = kinds["local"]
        self._body = parts

    def code(self, numbers: dict[str, int]) -> bytes:
        """Return its entry in the code section; `numbers` are those of all functions."""
        declared = _vector([b"\x01" + bytes([_TYPES[kind]]) for kind in self._locals])
        body = b"".join(self._instruction(part, numbers, []) for part in self._body)
        return _sized(declared + body + b"\x0b")

    def _instruction(
        self, part: list[Expression], numbers: dict[str, int], labels: list[str]
    ) -> bytes:
        """Return an instruction behind those it is folded around; `labels` are the loops around."""
        name, *rest = part
        if name == "loop":
            label, *body = rest
            inner = [self._instruction(one, numbers, [label, *labels]) for one in body]
            return b"\x03\x40" + b"".join(inner) + b"\x0b"
        words = [word for word in rest if isinstance(word, str)]
        operands = b"".join(
            self._instruction(one, numbers, labels) for one in rest if not isinstance(one, str)
        )
        if name in _LOCALS:
            return operands + bytes([_LOCALS[name]]) + _unsigned(self._places[words[0]])
        if name in _PLAIN:
            return operands + bytes([_PLAIN[name]])
        if name in _VECTOR:
            return operands + b"\xfd" + _unsigned(_VECTOR[name])
        if name in _MEMORY:
            opcode, alignment = _MEMORY[name]
            offset = int(words[0].removeprefix("offset=")) if words else 0
            return operands + b"\xfd" + _unsigned(opcode) + bytes([alignment]) + _unsigned(offset)
        match name, words:
            case "i32.const", [number]:
                return b"\x41" + _signed(int(number))
            case "v128.const", ["f32x4", number]:  # of four equal numbers
                return b"\xfd" + _unsigned(12) + 4 * struct.pack("<f", float(number))
            case "call", [function]:
                return operands + b"\x10" + _unsigned(numbers[function])
            case "br_if", [label]:
                return operands + b"\x0d" + _unsigned(labels.index(label))
        raise ValueError(f"{name} {' '.join(words)} is not known to this assembler")


def _parsed(text: str) -> list[Expression]:
    stack: list[list[Expression]] = [[]]
    for token in _tokens(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) != 1:
        raise ValueError("the brackets of the module do not match")
    return stack[0]


def _tokens(text: str) -> Iterator[str]:
    return iter(re.findall(r'[()]|"[^"]*"|[^\s()]+', re.sub(r";;.*", "", text)))


def _unquoted(word: str) -> str:
    return word.strip('"')


def _name(word: str) -> bytes:
    return _sized(word.encode())


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _vector(items: list[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _unsigned(number: int) -> bytes:
    """Return LEB128: 7 bits a byte, the lowest first, bit 7 set in all but the last."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _signed(number: int) -> bytes:
    found = bytearray()
    while not -0x40 <= number < 0x40:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number & 0x7F])
