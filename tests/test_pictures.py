"""docs/pictures.py, which makes the pictures of documents from what the program shows."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
PICTURES = ROOT / "docs" / "pictures"
shown = MADE["shown"]


def test_lines_are_written_over_and_wiped() -> None:
    assert shown("a\r\nb\r\n") == ["a", "b", ""]
    assert shown("a\nbb\nc\n\x1b[2Fd\x1b[K\n\x1b[J") == ["a", "d", ""]
    assert shown("a\n\x1b[1F\x1b[K\n\x1b[Jb") == ["", "b"]
    assert shown("\x1b[1ma\x1b[0m\n\x1b[2Kb") == ["\x1b[1ma\x1b[0m", "b"]


def test_the_demo_is_that_of_the_makefile() -> None:
    makefile = ROOT / "Makefile"
    assert MADE["COMMAND"] in makefile.read_text()


def test_each_picture_is_small_and_shown_light_and_dark() -> None:
    there = {path.name for path in PICTURES.iterdir()}
    names = {re.sub(r"(-light|-dark)?\.(svg|png)$", "", name) for name in there}
    assert names == {*MADE["PICTURES"]}
    assert all((PICTURES / name).stat().st_size <= MADE["LARGEST"] for name in there)
    both = {name.replace("-light", "-dark") for name in there if "-light" in name}
    assert both == {name for name in there if "-dark" in name}
    pages = [(ROOT / "README.md").read_text("utf-8")]
    pages += [path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")]
    assert [name for name in there if not any(f"pictures/{name}" in page for page in pages)] == []
