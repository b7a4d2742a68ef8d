"""Programs of units: what they call, in which order, and where they end."""

import numpy as np
import pytest

from charloom.models.compiled.program import Program
from charloom.models.compiled.units import Unit, bytes_of, integers_at
from charloom.models.jit import array_at


def _append_unit(zero, place, turn):
    out, known, number = integers_at(place, 3)
    count = array_at(turn, known, (1,))
    array_at(zero, out + count[0] * bytes_of(zero), (2,))[:] = number
    array_at(zero, out + (count[0] + 1) * bytes_of(zero), (1,))[0] = turn
    count[0] += 2


def _fail_unit(zero, place, turn):
    (failed,) = integers_at(place, 1)
    array_at(turn, failed, (1,))[0] = 1


APPEND, FAIL = Unit(_append_unit), Unit(_fail_unit)


def _twice_unit(zero, place, turn):
    out, known, number = integers_at(place, 3)
    for k in range(2):
        _append(zero, (out, known, number + k), turn + 10 * k)


_append = APPEND.call
TWICE = Unit(_twice_unit, APPEND)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_units_are_called_in_order_with_their_integers(dtype):
    out, known = np.zeros(20, dtype), np.zeros(1, np.int64)
    program = Program(dtype)
    program.add(APPEND, out, known, 7)
    program.add(TWICE, out, known, 5, turn=3)
    program.add(APPEND, out, known, -(2**20), turn=-1)
    program()
    np.testing.assert_array_equal(out[: known[0]], [7, 0, 5, 3, 6, 13, -(2**20), -1])


def test_a_program_ends_where_a_unit_fails_and_may_be_run_again():
    out, known = np.zeros(20, np.float32), np.zeros(1, np.int64)
    program = Program("float32")
    program.add(APPEND, out, known, 1)
    program.add(FAIL, program.failed)
    program.add(APPEND, out, known, 2)
    for k in range(2):
        with pytest.raises(IndexError):
            program()
        assert known[0] == 2 * k + 2
    assert 2 not in out


def test_it_keeps_the_arrays_that_it_works_in():
    program, known = Program("float32"), np.zeros(1, np.int64)
    for number in range(50):
        program.add(APPEND, np.zeros(1000, np.float32), np.zeros(1, np.int64), number)
    kept = np.zeros(20, np.float32)
    program.add(APPEND, kept, known, 3)
    others = [np.full(1000, 9, np.float32) for _ in range(50)]
    program()
    assert all((other == 9).all() for other in others)
    assert kept[0] == 3


def test_a_unit_is_compiled_once_for_each_type():
    first = APPEND.get_ready("float32")
    assert APPEND.get_ready("float32") == first
    assert APPEND.get_ready("float64") != first
