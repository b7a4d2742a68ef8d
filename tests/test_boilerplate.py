from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from charloom.data.boilerplate import LONGEST, Boilerplate, Line, without

LINES = st.sampled_from(["", "out", " out\t", "in", "out in", "out" + " " * LONGEST, "x" * LONGEST])


@given(st.lists(LINES, min_size=1), st.lists(st.integers(1, 9)))
def test_lines_are_left_out_wherever_pieces_end(lines, sizes):
    text, pieces, start = "\n".join(lines), list[str](), 0
    for size in [*sizes, len(text)]:
        if piece := text[start : start + size]:
            pieces.append(piece)
        start += size
    dropped = Counter[str]()
    left = [*without(pieces, {"out"}, dropped)]
    assert all(left)
    kept = [line for line in text.splitlines(keepends=True) if line.strip() != "out"]
    assert "".join(left) == "".join(kept)
    assert dropped["out"] == len(text.splitlines()) - len(kept)


def test_nothing_is_changed_if_no_line_is_left_out():
    assert [*without(["a\n", "b"], set(), Counter())] == ["a\n", "b"]


def test_a_line_is_counted_once_for_a_document():
    boilerplate = Boilerplate()
    for n in range(5):
        boilerplate.add(f"{n}\nlicence of all\n" * 2)
    assert boilerplate.lines() == [Line("licence of all", 5)]
