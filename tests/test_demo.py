"""docs/demo.py, which draws the README's picture: what a terminal shows at the end."""

import runpy
from pathlib import Path

DEMO = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "demo.py"))
shown = DEMO["shown"]


def test_lines_are_written_over_and_wiped() -> None:
    assert shown("a\r\nb\r\n") == ["a", "b", ""]
    assert shown("a\nbb\nc\n\x1b[2Fd\x1b[K\n\x1b[J") == ["a", "d", ""]
    assert shown("a\n\x1b[1F\x1b[K\n\x1b[Jb") == ["", "b"]
    assert shown("\x1b[1ma\x1b[0m\n\x1b[2Kb") == ["\x1b[1ma\x1b[0m", "b"]


def test_the_demo_is_that_of_the_makefile() -> None:
    makefile = Path(__file__).parents[1] / "Makefile"
    assert DEMO["COMMAND"] in makefile.read_text()
