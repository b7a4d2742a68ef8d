"""How products.py lays out a matrix, or its transpose, in panels (see there)."""

from typing import Any

from llvmlite import ir

from charloom.models.compiled.units import WORD as SIZE
from charloom.models.compiled.vectors import Writer, Written

AHEAD = 16  # rows that are asked for before they are copied: they may be a page apart


def _write_copy(write: Writer, arguments: list[Any]) -> None:
    """Copy the first `step` columns of B, row after row without a gap; zeros beyond its end."""
    B, B_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def copy_row(k: Any, _: list[Any]) -> list[Any]:
        later = builder.add(k, ir.Constant(SIZE, AHEAD))
        for line in range(2):
            write.prefetch(1, B, (later, B_row), (line, 64))

        def copy_register(c: Any, _: list[Any]) -> list[Any]:
            mask = write.mask(builder.sub(columns, c), 0)
            value = write.load_masked(mask, B, (k, B_row), (c, item))
            write.store(value, to, (builder.add(builder.mul(k, step), c), item))
            return []

        return write.loop(count, step, [], copy_register)

    write.loop(1, rows, [], copy_row)


def _write_transpose(write: Writer, arguments: list[Any]) -> None:
    """A register's count of rows of B become columns of rows that are `step` numbers apart."""
    B, B_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def block(k: Any, _: list[Any]) -> list[Any]:
        left = builder.sub(columns, k)
        mask = write.mask(left, 0)
        lines = []
        for r in range(count):
            there = write.splat(builder.icmp_signed("<", ir.Constant(SIZE, r), rows))
            lines.append(write.load_masked(builder.and_(mask, there), B, (r, B_row), (k, item)))
        for c, line in enumerate(write.transpose(lines)):
            there = write.splat(builder.icmp_signed("<", ir.Constant(SIZE, c), left))
            place = builder.mul(builder.add(k, ir.Constant(SIZE, c)), step)
            write.store_masked(line, there, to, (place, item))
        return []

    write.loop(count, columns, [], block)


COPY, TRANSPOSE = range(2)
# layout(zero, COPY or TRANSPOSE, (B, row step, rows left, columns left, to, step)): addresses of
# the first number of each, B's row step in bytes, `step` in numbers.
LAYOUTS = Written("layout", 6, {COPY: _write_copy, TRANSPOSE: _write_transpose})
layout = LAYOUTS.call
