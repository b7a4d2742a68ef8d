import errno
import io
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.runs import metrics
from expect import refused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def records(path):
    return [record for _, record in metrics.lines(path)]


JSON_VALUES = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())


@settings(max_examples=50)
@given(
    values=st.lists(st.dictionaries(st.text(min_size=1), JSON_VALUES, max_size=3), max_size=4),
    cut=st.integers(0, 60),
)
def test_a_line_cut_short_is_ignored_and_all_before_it_are_read(tmp_path_factory, values, cut):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    given = [value | {"step": step} for step, value in enumerate(values)]
    for record in given:
        metrics.append(path, record)
    content = path.read_bytes() if given else b""
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)
    whole = given[: kept.count(b"\n")]
    assert records(path) == [json.loads(msgspec.json.encode(record)) for record in whole]


def test_infinities_are_null(path):
    metrics.append(path, {"step": 1, "validation": float("inf"), "loss": float("nan")})
    assert records(path) == [{"step": 1, "validation": None, "loss": None}]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"{}", b'{"step": "1"}', b"[" * 99_999, b"\xff"])
def test_a_damaged_line_is_named(path, line):
    metrics.append(path, {"step": 1})
    with path.open("ab") as file:
        file.write(line + b"\n")
    metrics.append(path, {"step": 3})
    with refused("damaged", path=path, line=2):
        metrics.lines(path)


def test_truncating_keeps_the_lines_up_to_the_step_as_they_are(path):
    for step in (1, 5, 10, 15):
        metrics.append(path, {"step": step, "loss": 1 / 3})
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(b'{"step": 1')
    metrics.truncate(path, 10)
    assert path.read_bytes() == b"".join(lines[:3])


def test_a_file_that_is_not_there_has_no_lines(path):
    metrics.truncate(path, 0)
    assert metrics.lines(path) == []
    assert not path.exists()


def test_a_write_that_ends_early_is_a_full_disk(path, monkeypatch):
    class Full(io.RawIOBase):
        def seek(self, *_):
            return 0

        def write(self, data):
            return len(data) - 1

    monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
    with pytest.raises(OSError) as caught:
        metrics.append(path, {"step": 1})
    assert caught.value.errno == errno.ENOSPC
