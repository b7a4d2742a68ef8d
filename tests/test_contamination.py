from pathlib import Path

import msgspec
import pytest

from charloom.analysis.contamination import training_texts
from charloom.config import replace
from charloom.runs.run import Run
from small_runs import TEXT, config_of, new_run, write_text


@pytest.mark.parametrize("starts", [("one",), ("two", "one"), ("two", "three", "two")])
def test_a_run_that_began_with_its_own_weights_is_damaged(
    tmp_path: Path, starts: tuple[str, ...]
) -> None:
    source = write_text(tmp_path)
    first = config_of(source)
    for name in ("one", "two", "three"):
        new_run(tmp_path / name, first)
    for name, start in zip(("one", "two", "three"), starts, strict=False):
        settings = msgspec.json.encode(replace(first, start=str(tmp_path / start)))
        (tmp_path / name / "config.json").write_bytes(settings)
    texts, (note,) = training_texts({Run.open(tmp_path / "one"): "one"}, TEXT)
    assert [text.names for text in texts] == [["one"]]
    assert "config.json" in note
