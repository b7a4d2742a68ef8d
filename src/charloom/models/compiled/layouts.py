"""How matrices are laid out for products.py: by panels, or as their transpose by panels."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from charloom.models.compiled.vectors import BYTES, SIZE, Writer, new_function


def _write_copy(write: Writer, arguments: Any) -> None:
    """Copy the first `step` columns of a, row after row without a gap; zeros beyond its end."""
    a, a_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def copy_row(k: Any, _: list[Any]) -> list[Any]:
        def copy_register(c: Any, _: list[Any]) -> list[Any]:
            mask = write.mask(builder.sub(columns, c), 0)
            value = write.load_masked(mask, a, (k, a_row), (c, item))
            write.store(value, to, (builder.add(builder.mul(k, step), c), item))
            return []

        return write.loop(count, step, [], copy_register)

    write.loop(1, rows, [], copy_row)
    builder.ret_void()


def _write_transpose(write: Writer, arguments: Any) -> None:
    """A register's count of rows of a become columns of rows that are `step` numbers apart.

    By blocks of as many columns: round after round, rows a bit apart change the places
    where their numbers' bits differ.
    """
    a, a_row, rows, columns, to, step = arguments
    builder, item, count = write.builder, write.itemsize, write.vector.count

    def block(k: Any, _: list[Any]) -> list[Any]:
        left = builder.sub(columns, k)
        mask = write.mask(left, 0)
        lines = []
        for r in range(count):
            there = write.splat(builder.icmp_signed("<", ir.Constant(SIZE, r), rows))
            both = builder.and_(mask, there)
            lines.append(write.load_masked(both, a, (r, a_row), (k, item)))
        bit = 1
        while bit < count:
            low = [p if not p & bit else (p ^ bit) + count for p in range(count)]
            high = [p + count if p & bit else p ^ bit for p in range(count)]
            for r in range(count):
                if not r & bit:
                    x, y = lines[r], lines[r | bit]
                    lines[r], lines[r | bit] = write.shuffle(x, y, low), write.shuffle(x, y, high)
            bit *= 2
        for c, line in enumerate(lines):
            there = write.splat(builder.icmp_signed("<", ir.Constant(SIZE, c), left))
            place = builder.mul(builder.add(k, ir.Constant(SIZE, c)), step)
            write.store_masked(line, there, to, (place, item))
        return []

    write.loop(count, columns, [], block)
    builder.ret_void()


def _packer(write_body: Callable[[Writer, Any], None]) -> Callable[..., None]:
    """Make the intrinsic of a way to lay out a[row:, column:] from packed[to] on."""

    def function(module: ir.Module, bits: int) -> ir.Function:
        name = f"charloom{write_body.__name__}_f{bits}"
        if name in module.globals:
            return module.globals[name]
        new = new_function(module, name, [BYTES, SIZE, SIZE, SIZE, BYTES, SIZE])
        write_body(Writer(new, bits), new.args)
        return new

    @intrinsic
    def lay_out(_: Any, a: Any, packed: Any, row: Any, column: Any, to: Any, step: Any) -> Any:
        signature = types.void(a, packed, *[types.intp] * 4)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            row, column, to, step = args[2:]
            kinds = zip(sig.args[:2], args[:2], strict=True)
            source, target = [context.make_array(k)(context, builder, value) for k, value in kinds]
            a_row, a_column = cgutils.unpack_tuple(builder, source.strides)
            rows, columns = cgutils.unpack_tuple(builder, source.shape)
            (item,) = cgutils.unpack_tuple(builder, target.strides)
            at = builder.bitcast(source.data, BYTES)
            at = builder.gep(at, [builder.mul(row, a_row)])
            at = builder.gep(at, [builder.mul(column, a_column)])
            there = builder.gep(builder.bitcast(target.data, BYTES), [builder.mul(to, item)])
            left = [builder.sub(rows, row), builder.sub(columns, column)]
            callee = function(builder.module, sig.args[0].dtype.bitwidth)
            builder.call(callee, [at, a_row, *left, there, step])
            return context.get_dummy_value()

        return signature, emit

    return lay_out  # type: ignore[no-any-return]


copy_columns = _packer(_write_copy)
transpose_rows = _packer(_write_transpose)
