"""Products in bf16 for products.py: numbers rounded to 16 bits, sums in float32.

A bf16 is the upper half of a float32: 8 bits of exponent, 7 of fraction, rounded to the nearest
and of two that are as near to the even one. What is multiplied lies in tiles of 1 KB, 16 rows of
16 pairs of numbers, as Intel's AMX takes them:

    left[m, p] = A[m, 2p], A[m, 2p + 1]          right[p, n] = B[2p, n], B[2p + 1, n]

    for each tile of C, 16 x 16, and each k of 32 rows of B:
        even, odd = 0, 0
        for p in range(16):                           left.even is the first of each pair
            even = fma(left.even[:, p], right.even[p, :], even)
            odd = fma(left.odd[:, p], right.odd[p, :], odd)
        C += even + odd

One instruction of AMX does that for one k, 8,192 multiplications. On machines without it, vector
registers do the same in the same order, and so to the same bits, but slower than float32. (Of
numbers below 1e-38 that is only true if they are flushed to 0, as kernels do: flushing.py.)
"""

import ctypes
import platform
import sys
from functools import cache, partial
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir

from charloom.models.compiled.units import WORD as SIZE
from charloom.models.compiled.vectors import Writer, Written
from charloom.models.weights import Array

FULL, VECTORS, AMX = range(
    3
)  # how a product is computed: in float32, or in bf16 in one of two ways
SIDE, DEEP, TILE = 16, 32, 1024  # rows or columns of a tile; k's in it; its bytes
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _TILE_DATA = 158, 0x1023, 18  # of Linux on x86-64
_FLOATS = ir.VectorType(ir.FloatType(), SIDE)
_WORDS = ir.VectorType(ir.IntType(32), SIDE)
_HALVES = ir.VectorType(ir.IntType(16), 2 * SIDE)
ON_X86 = platform.machine() in ("x86_64", "AMD64")


def _has(feature: str) -> bool:
    """Whether numba compiles for a processor that has these instructions: for this one, or less."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES is not None:
        return False
    return bool(llvmlite.binding.get_host_cpu_features().get(feature))


# By an instruction; LLVM 15, which numba 0.61 has, knows it with other types.
_ROUNDS = _has("avx512bf16") and llvmlite.binding.llvm_version_info[0] > 15
_MULTIPLIES = ON_X86 and _has("amx-bf16")


@cache
def fastest_bf16() -> int:
    """Return AMX if the processor has it and the system lets this process use it, else VECTORS."""
    if sys.platform != "linux" or not _MULTIPLIES:
        return VECTORS
    refused = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _TILE_DATA)
    return VECTORS if refused else AMX


def rounded(x: Array) -> Array:
    """Round float32 numbers to bf16: what kernels do, in NumPy."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    halves = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
    tiny = bits & 0x7F800000 == 0
    near = np.where(tiny, bits & 0x80000000, halves).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(x), x, near)


def tiled_size(K: int, N: int) -> int:
    """Return how many float32 numbers the tiles of a matrix (K, N) take, with K in pairs."""
    return -(-K // DEEP) * -(-N // SIDE) * (TILE // 4)


class _Bfloat(ir.Type):  # type: ignore[misc]
    """LLVM's type of a bf16, which llvmlite does not have."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


def _halves(write: Writer, low: Any, high: Any) -> Any:
    """Round two registers of 16 float32 to bf16, side by side in one; what is below 1e-38 to 0."""
    if _ROUNDS:
        name, result = "llvm.x86.avx512bf16.cvtne2ps2bf16.512", ir.VectorType(_Bfloat(), 2 * SIDE)
        return write.builder.bitcast(write.call(name, result, high, low), _HALVES)
    half = ir.VectorType(ir.IntType(16), SIDE)
    parts = [write.builder.trunc(_rounded(write, x), half) for x in (low, high)]
    return write.shuffle(parts[0], parts[1], list(range(2 * SIDE)))


def _rounded(write: Writer, x: Any) -> Any:
    """Round 16 float32 to bf16, in the lower halves of 16 words."""
    builder, word = write.builder, _words
    bits = builder.bitcast(x, _WORDS)
    upper = builder.lshr(bits, word(16))
    near = builder.add(builder.add(bits, word(0x7FFF)), builder.and_(upper, word(1)))
    near = builder.lshr(near, word(16))
    tiny = builder.icmp_unsigned("==", builder.and_(bits, word(0x7F800000)), word(0))
    near = builder.select(tiny, builder.and_(upper, word(0x8000)), near)
    nan = builder.icmp_unsigned(">", builder.and_(bits, word(0x7FFFFFFF)), word(0x7F800000))
    return builder.select(nan, builder.or_(upper, word(0x40)), near)


def _words(number: int) -> Any:
    return ir.Constant(_WORDS, [number] * SIDE)


def _read(write: Writer, address: Any, left: Any, *steps: tuple[Any, Any]) -> Any:
    """Load 16 numbers of a row that has so many `left`, 0 beyond."""
    places = ir.Constant(ir.VectorType(SIZE, SIDE), list(range(SIDE)))
    mask = write.builder.icmp_signed("<", places, _splat(write, left))
    pointer, zero = write.pointer(address, _FLOATS, *steps), ir.Constant(_FLOATS, [0.0] * SIDE)
    align = ir.Constant(ir.IntType(32), 4)
    return write.call("llvm.masked.load.v16f32.p0v16f32", _FLOATS, pointer, align, mask, zero)


def _splat(write: Writer, value: Any) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, SIDE), ir.Undefined)
    first = write.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return write.shuffle(first, undefined, [0] * SIDE)


def _left(write: Writer, end: Any, begin: Any, at: int) -> Any:
    """Return how many are left of `end` from begin + at on."""
    return write.builder.sub(write.builder.sub(end, begin), ir.Constant(SIZE, at))


def _write_tiles(upright: bool, turned: bool, write: Writer, arguments: list[Any]) -> None:
    """Round a strip of a matrix into tiles, along k, zeros beyond its end.

    The strip has 16 columns and k runs down if it is `upright`; else 16 rows, and k runs along
    them. Row r of a tile is its column or row r if that is what `turned` says.
    """
    if write.itemsize != 4:
        return
    X, X_row, rows, columns, to = arguments
    builder = write.builder

    def above(k: Any) -> list[Any]:
        """Pair rows k + 2p and k + 2p + 1: 16 words of 16 columns."""
        lines = []
        for r in range(DEEP):
            exists = builder.icmp_signed(">", _left(write, rows, k, r), ir.Constant(SIZE, 0))
            count = builder.select(exists, columns, ir.Constant(SIZE, 0))
            lines.append(_read(write, X, count, (k, X_row), (r, X_row)))
        pairs = [place for p in range(SIDE) for place in (p, SIDE + p)]
        words = []
        for p in range(0, DEEP, 2):
            halves = _halves(write, lines[p], lines[p + 1])
            words.append(builder.bitcast(write.shuffle(halves, halves, pairs), _WORDS))
        return words

    def beside(k: Any) -> list[Any]:
        """Pair columns k + 2p and k + 2p + 1 of each of 16 rows."""
        words = []
        for r in range(SIDE):
            exists = builder.icmp_signed("<", ir.Constant(SIZE, r), rows)
            numbers = []
            for c in (0, SIDE):
                count = builder.select(exists, _left(write, columns, k, c), ir.Constant(SIZE, 0))
                numbers.append(_read(write, X, count, (r, X_row), (k, 4), (c, 4)))
            words.append(builder.bitcast(_halves(write, *numbers), _WORDS))
        return words

    def tile(k: Any, _: list[Any]) -> list[Any]:
        words = above(k) if upright else beside(k)
        if turned:
            words = write.transpose(words)
        for r, word in enumerate(words):
            write.store(word, to, (k, TILE // DEEP), (r, 64))
        return []

    write.loop(DEEP, rows if upright else columns, [], tile)


# tiles(zero, which, (X, row step, rows, columns, to)): a strip of a matrix in tiles, for the left
# or the right side of a product; OF_TRANSPOSE if it is the transpose that is multiplied.
LEFT, RIGHT, LEFT_OF_TRANSPOSE, RIGHT_OF_TRANSPOSE = range(4)
TILES = Written(
    "bf16_tiles",
    5,
    {
        LEFT: partial(_write_tiles, False, False),
        RIGHT: partial(_write_tiles, True, False),
        LEFT_OF_TRANSPOSE: partial(_write_tiles, True, True),
        RIGHT_OF_TRANSPOSE: partial(_write_tiles, False, True),
    },
)
tiles = TILES.call


def _write_amx(high: int, wide: int, write: Writer, arguments: list[Any]) -> None:
    """C = base + A B, `high` x `wide` tiles of C at a time, their sums in AMX's registers.

    Registers 0 to 3 are sums, from 4 on left tiles, from 5 or 6 on right ones; the last left and
    the last right tile, which may have fewer rows or columns, have registers of their own.
    """
    if write.itemsize != 4 or not _MULTIPLIES:
        return
    C, C_row, base, base_row, A, B, depth, groups, step, rows, columns = arguments
    builder, byte = write.builder, ir.IntType(8)
    lefts = [4 + r for r in range(high)]
    rights = [7 if v == wide - 1 else 5 + v % 2 if high == 1 else 6 for v in range(wide)]
    sums = [(r, v) for r in range(high) for v in range(wide)]

    def register(number: int) -> Any:
        return ir.Constant(byte, number)

    def instruct(name: str, *operands: Any) -> None:
        write.call(f"llvm.x86.{name}", ir.VoidType(), *operands)

    def load(number: int, address: Any, row: Any, *steps: tuple[Any, Any]) -> None:
        instruct("tileloadd64", register(number), write.pointer(address, byte, *steps), row)

    shape = builder.alloca(ir.ArrayType(byte, 64))
    shape.align = 64
    builder.store(ir.Constant(ir.ArrayType(byte, 64), [1] + [0] * 63), shape)
    at = builder.ptrtoint(shape, SIZE)
    whole, row_bytes = ir.Constant(SIZE, SIDE), builder.mul(columns, ir.Constant(SIZE, 4))
    described = [
        (n, rows if r == high - 1 else whole, ir.Constant(SIZE, 64)) for r, n in enumerate(lefts)
    ]
    for v, n in enumerate(rights):
        described.append((n, whole, row_bytes if v == wide - 1 else ir.Constant(SIZE, 64)))
    for number, (r, v) in enumerate(sums):
        bytes_ = row_bytes if v == wide - 1 else ir.Constant(SIZE, 64)
        described.append((number, rows if r == high - 1 else whole, bytes_))
    for number, height, width in described:
        for value, kind, place in (
            (width, ir.IntType(16), 16 + 2 * number),
            (height, byte, 48 + number),
        ):
            builder.store(builder.trunc(value, kind), write.pointer(at, kind, (1, place)))
    instruct("ldtilecfg", write.pointer(at, byte))
    line = ir.Constant(SIZE, 64)

    def group(count: Any, _: list[Any]) -> list[Any]:
        g = builder.mul(count, step)
        for number, (r, v) in enumerate(sums):
            load(number, base, base_row, (g, wide * 64), (v, 64), (r * SIDE, base_row))

        def multiply(k: Any, _: list[Any]) -> list[Any]:
            for r, n in enumerate(lefts):
                load(n, A, line, (k, TILE), (builder.mul(ir.Constant(SIZE, r), depth), TILE))
            for v, n in enumerate(rights):
                place = builder.add(builder.mul(g, ir.Constant(SIZE, wide)), ir.Constant(SIZE, v))
                load(n, B, line, (k, TILE), (builder.mul(place, depth), TILE))
                for r, left in enumerate(lefts):
                    total = register(r * wide + v)
                    instruct("tdpbf16ps", total, register(left), register(n))
            return []

        write.loop(1, depth, [], multiply)
        for number, (r, v) in enumerate(sums):
            to = write.pointer(C, byte, (g, wide * 64), (v, 64), (r * SIDE, C_row))
            instruct("tilestored64", register(number), to, C_row)
        return []

    write.loop(1, groups, [], group)
    instruct("tilerelease")


def _write_vectors(write: Writer, arguments: list[Any]) -> None:
    """A tile of C = base + A B, to the same bits as `_write_amx`."""
    if write.itemsize != 4:
        return
    C, C_row, base, base_row, A, B, depth, rows, columns = arguments
    builder = write.builder
    # Kernels let LLVM take sums in any order; so here are none, but x 1 + y, with a 0 and a 1
    # that it does not know.
    zeros, ones = (_unknown(write, number) for number in (0.0, 1.0))
    places = ir.Constant(ir.VectorType(SIZE, SIDE), list(range(SIDE)))
    mask = builder.icmp_signed("<", places, _splat(write, columns))

    def fma(x: Any, y: Any, total: Any) -> Any:
        return write.call("llvm.fma.v16f32", _FLOATS, x, y, total)

    def both(words: Any) -> tuple[Any, Any]:
        """Return the first and the second numbers of 16 pairs."""
        even = builder.shl(words, _words(16))
        odd = builder.and_(words, _words(-65536))
        return builder.bitcast(even, _FLOATS), builder.bitcast(odd, _FLOATS)

    def row(i: Any, _: list[Any]) -> list[Any]:
        def multiply(k: Any, total: list[Any]) -> list[Any]:
            def add_pair(p: Any, sums: list[Any]) -> list[Any]:
                a = write.load(A, ir.IntType(32), (k, TILE), (i, 64), (p, 4))
                b = write.load(B, _WORDS, (k, TILE), (p, 64))
                (a_even, a_odd), (b_even, b_odd) = both(_splat(write, a)), both(b)
                return [fma(a_even, b_even, sums[0]), fma(a_odd, b_odd, sums[1])]

            even, odd = write.loop(1, ir.Constant(SIZE, SIDE), [zeros, zeros], add_pair)
            return [fma(fma(even, ones, odd), ones, total[0])]

        begin = _read(write, base, columns, (i, base_row))
        (total,) = write.loop(1, depth, [begin], multiply)
        to, align = write.pointer(C, _FLOATS, (i, C_row)), ir.Constant(ir.IntType(32), 4)
        name = "llvm.masked.store.v16f32.p0v16f32"
        write.call(name, ir.VoidType(), total, to, align, mask)
        return []

    write.loop(1, rows, [], row)


def _unknown(write: Writer, number: float) -> Any:
    """Return 16 times a number that LLVM does not know."""
    word = ir.IntType(32)
    bits = ir.Constant(word, int(np.float32(number).view(np.uint32)))
    hidden = ir.InlineAsm(ir.FunctionType(word, [word]), "", "=r,0")
    same = write.builder.call(hidden, [bits])
    return write.builder.bitcast(_splat(write, same), _FLOATS)


_SHAPES = [(1, wide) for wide in (1, 2, 3, 4)] + [(2, wide) for wide in (1, 2)]
# by_amx(zero, 8 * high + wide, (C, its row step, base, its row step, A, B, depth, groups, step,
# rows, columns)): `high` tiles of A, one below the other, times `wide` of B, side by side, each
# `depth` tiles deep; of B `groups` such, 1 or -1 apart; rows of the last of A's, columns of B's.
_PRODUCTS = {8 * high + wide: partial(_write_amx, high, wide) for high, wide in _SHAPES}
BY_AMX = Written("bf16_amx", 11, _PRODUCTS)
by_amx = BY_AMX.call
# by_vectors(zero, 0, (C, its row step, base, its row step, A, B, depth, rows, columns)): one tile.
BY_VECTORS = Written("bf16_vectors", 9, {0: _write_vectors})
by_vectors = BY_VECTORS.call
