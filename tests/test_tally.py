"""How many of what was left out, in words."""

from collections import Counter

import pytest

from charloom.data.readers import Report
from charloom.data.tally import Tally


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("drafts", "1 draft"),
        ("messages without text", "1 message without text"),
        ("bytes that could not be decoded", "1 byte that could not be decoded"),
        ("entries on other sites", "1 entry on other sites"),
        ("tables of contents", "1 table of contents"),
        ("lines at page edges", "1 line at page edges"),
        ("text boxes", "1 text box"),
    ],
)
def test_one_is_said_in_the_singular(plural: str, one: str) -> None:
    tally = Tally()
    tally.left_out(Report(left_out=Counter({plural: 1})))
    assert tally.notes() == (f"left out {one}",)
