import errno
import json
import math
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from charloom.runs import metrics
from charloom.runs.metrics import Line, Setback
from expect import refused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


LOSS = st.floats(allow_nan=False, allow_infinity=False)
LINES = st.builds(
    Line,
    step=st.integers(0, 10**18 - 1),
    characters=st.none() | st.integers(0, 10**18 - 1),
    loss=st.none() | LOSS,
    validation=st.just(UNSET) | st.none() | LOSS,
    setbacks=st.just(()) | st.builds(lambda at: (Setback(at, 0, "nan"),), st.integers(0, 99)),
)


@settings(max_examples=50)
@given(given=st.lists(LINES, max_size=4), cut=st.integers(0, 60))
def test_a_line_cut_short_is_ignored_and_all_before_it_are_read(tmp_path_factory, given, cut):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    for line in given:
        metrics.append(path, line)
    content = path.read_bytes() if given else b""
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)
    assert metrics.lines(path) == given[: kept.count(b"\n")]


def test_infinities_are_null_and_what_is_unknown_is_left_out(path):
    metrics.append(path, Line(step=1, validation=math.inf, loss=math.nan))
    metrics.append(path, Line(step=2))
    assert path.read_text() == '{"step":1,"loss":null,"validation":null}\n{"step":2}\n'
    assert [line.validation_loss for line in metrics.lines(path)] == [math.inf, None]


def test_lines_of_other_versions_are_read(path):
    old = {"step": 1, "characters": 167, "seconds": 7.5, "validation": 0.5}
    new = {"step": 2, "loss": 1.5, "seen": {"a": [1]}, "setbacks": [{"at": 9, "to": 3, "by": 1}]}
    path.write_text(f"{json.dumps(old)}\n{json.dumps(new)}\n")
    assert metrics.lines(path) == [
        Line(step=1, characters=167, seconds=7.5, validation=0.5),
        Line(step=2, loss=1.5, setbacks=(Setback(9, 3),)),
    ]


def damaged(line):
    """A line of metrics with one of its fields of another type, or none that is needed."""
    return json.dumps({"step": 2, "loss": 1.0} | line).encode()


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"[1]", b"{}", b"null", b"7", b"[" * 99_999, b"\xff", b'{"loss":1}'),
        *(damaged({"step": step}) for step in ("1", -1, 1.5, 10**400, None, True)),
        *(damaged({name: "high"}) for name in Line.__struct_fields__),
        *(damaged({name: True}) for name in Line.__struct_fields__),
        *(damaged({name: [{}]}) for name in Line.__struct_fields__),
        b'{"step":2,"loss":1e999}',
        damaged({"setbacks": [{"at": 9, "to": 3, "loss": "\u001b[31m"}]}),
    ],
)
def test_a_damaged_line_is_named(path, line):
    metrics.append(path, Line(step=1))
    with path.open("ab") as file:
        file.write(line + b"\n")
    metrics.append(path, Line(step=3))
    before = path.read_bytes()
    with refused("damaged", path=path, line=2):
        metrics.lines(path)
    with refused("damaged", path=path, line=2):
        metrics.truncate(path, 1)
    assert path.read_bytes() == before


def test_thinning_keeps_what_it_does_not_understand(path, monkeypatch):
    monkeypatch.setattr(metrics, "LARGEST_BYTES", 200)
    monkeypatch.setattr(metrics, "NEWEST_LINES", 1)
    monkeypatch.setattr(metrics, "STRETCHES", 9)
    odd = [b'{"step":1,"loss":"low"}', b"[", b'{"step":1,"loss":9,"future":1}', b'{"loss":1}']
    odd.append(b'{"step":1,"setbacks":[{"at":1,"to":0}]}')
    path.write_bytes(b"\n".join([*odd, *(b'{"step":%d,"loss":2}' % n for n in range(99)), b""]))
    metrics.append(path, Line(step=100))
    kept = path.read_bytes().split(b"\n")
    assert kept[: len(odd)] == odd
    assert len(kept) < 99


def test_truncating_keeps_the_lines_up_to_the_step_as_they_are(path):
    for step in (1, 5, 10, 15):
        metrics.append(path, Line(step=step, loss=1 / 3))
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(b'{"step": 1')
    metrics.truncate(path, 10)
    assert path.read_bytes() == b"".join(lines[:3])


def test_truncating_needs_no_room_on_the_disk(path):
    for step in (1, 5):
        metrics.append(path, Line(step=step))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # Python ignores SIGXFSZ
    try:
        metrics.truncate(path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b'{"step":1}\n'


def test_a_file_that_is_not_there_has_no_lines(path):
    metrics.truncate(path, 0)
    assert metrics.lines(path) == []
    assert not path.exists()


def test_a_write_that_ends_early_is_a_full_disk_and_leaves_nothing(path):
    metrics.append(path, Line(step=1))
    content = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 5, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            metrics.append(path, Line(step=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == content


@settings(max_examples=50)
@given(given=st.lists(LINES, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=3))
def test_a_file_that_grows_is_read_once(tmp_path_factory, given, cuts):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    for line in given:
        metrics.append(path, line)
    content = path.read_bytes() if given else b""
    tail, found = metrics.Tail(path), []
    for end in [*sorted(cuts), len(content)]:
        path.write_bytes(content[:end])
        lines, anew = tail.read()
        found += lines
        assert not anew
    assert found == given


def test_a_file_in_which_training_went_back_is_read_anew(path):
    tail = metrics.Tail(path)
    assert tail.read() == ([], False)
    for step in (1, 2, 3):
        metrics.append(path, Line(step=step, loss=1.0))
    assert len(tail.read()[0]) == 3
    metrics.truncate(path, 1)
    for step in (2, 3, 4):  # it is longer than it was
        metrics.append(path, Line(step=step, loss=0.5))
    assert tail.read() == (metrics.lines(path), True)
    path.unlink()
    assert tail.read() == ([], True)


def test_a_damaged_line_of_a_file_that_grows_is_refused(path):
    path.write_bytes(b'{"step":1}\n{"step":"one"}\n')
    with refused("damaged", path=path):
        metrics.Tail(path).read()
