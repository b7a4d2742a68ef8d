import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig
from charloom.data.batches import Streams, Windows, open_batches
from charloom.errors import CharloomError
from expect import refused

sizes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 60)).map(
    lambda size: (size[0], size[1], size[0] * (size[1] + 2) + size[2])
)


def numbers(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def historic_walk(count: int, length: int, steps: int):
    """The starts and resets of min-char-rnn's loop, from its description."""
    p = 0
    for n in range(steps):
        reset = n == 0 or p + length + 1 >= count
        if reset:
            p = 0
        yield p, reset
        p += length


@given(st.integers(1, 9), st.integers(0, 60))
def test_one_stream_is_the_walk_of_min_char_rnn(length, extra):
    count = length + 2 + extra
    lanes = Streams(numbers(count), batch=1, length=length)
    for start, reset in historic_walk(count, length, 3 * count):
        inputs, targets, fresh = lanes.next()
        np.testing.assert_array_equal(inputs, [range(start, start + length)])
        np.testing.assert_array_equal(targets, [range(start + 1, start + 1 + length)])
        assert fresh is reset


@given(sizes)
def test_every_stream_is_walked_so(size):
    batch, length, count = size
    stream = count // batch
    lanes = Streams(numbers(count), batch, length)
    for start, reset in historic_walk(stream, length, 3 * stream):
        inputs, targets, fresh = lanes.next()
        assert inputs.shape == targets.shape == (batch, length)
        expected = np.arange(batch)[:, None] * stream + start + np.arange(length)
        np.testing.assert_array_equal(inputs, expected)
        np.testing.assert_array_equal(targets, expected + 1)
        assert fresh is reset


@given(sizes)
def test_an_epoch_is_steps_per_epoch_steps(size):
    batch, length, count = size
    lanes = Streams(numbers(count), batch, length)
    assert lanes.steps_per_epoch >= 1
    epochs = []
    for _ in range(4 * lanes.steps_per_epoch):
        lanes.next()
        epochs.append(lanes.epoch)
    assert epochs == [epoch for epoch in range(4) for _ in range(lanes.steps_per_epoch)]


@pytest.mark.parametrize(("count", "steps"), [(45_106, 2819), (45_121, 2819), (45_122, 2820)])
def test_the_published_run_goes_round_every_2819_steps_of_16(count, steps):
    assert Streams(numbers(count), batch=1, length=16).steps_per_epoch == steps


@given(sizes, st.data())
def test_a_walk_goes_on_from_its_cursor(size, data):
    batch, length, count = size
    lanes = Streams(numbers(count), batch, length)
    for _ in range(data.draw(st.integers(0, 3 * lanes.steps_per_epoch))):
        lanes.next()
    other = Streams(numbers(count), batch, length)
    other.seek(lanes.cursor())
    for _ in range(2 * lanes.steps_per_epoch):
        for one, two in zip(lanes.next(), other.next(), strict=True):
            np.testing.assert_array_equal(one, two)
        assert lanes.cursor() == other.cursor()


def test_steps_are_views_of_the_one_array_of_ids():
    ids = numbers(100)
    inputs, targets, _ = Streams(ids, batch=3, length=4).next()
    assert inputs.dtype == targets.dtype == np.int32
    assert np.shares_memory(inputs, ids)
    assert np.shares_memory(targets, ids)


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"position": 4},
        {"epoch": 0},
        {"position": -1, "epoch": 0},
        {"position": 34, "epoch": 0},
        {"position": 0, "epoch": -1},
    ],
)
def test_a_cursor_outside_the_text_is_refused_and_changes_nothing(cursor):
    lanes = Streams(numbers(100), batch=3, length=4)
    lanes.next()
    with refused("damaged", cursor=cursor):
        lanes.seek(cursor)
    assert lanes.cursor() == {"position": 4, "epoch": 0}


@pytest.mark.parametrize(
    ("count", "batch", "length", "fits"),
    [
        (0, 1, 1, {"batch": 0, "length": 0}),
        (2, 1, 1, {"batch": 0, "length": 0}),
        (26, 1, 25, {"batch": 0, "length": 24}),
        (1000, 32, 64, {"batch": 15, "length": 29}),
        (70, 32, 64, {"batch": 1, "length": 0}),
        (40, 32, 64, {"batch": 0, "length": 0}),
    ],
)
def test_too_little_text_for_a_step_says_what_would_fit(count, batch, length, fits):
    with refused("no-text", found=count, needed=batch * (length + 2), **fits):
        Streams(numbers(count), batch, length)


@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 20))
def test_what_the_error_says_fits_does_and_one_more_would_not(count, batch, length):
    try:
        Streams(numbers(count), batch, length)
    except CharloomError as error:
        for name in ("batch", "length"):
            size = {"batch": batch, "length": length, name: error.facts[name]}
            if size[name]:
                assert Streams(numbers(count), **size).steps_per_epoch >= 1
            with refused("no-text"):
                Streams(numbers(count), **(size | {name: size[name] + 1}))


@given(sizes, st.integers(0, 2**63 - 1))
def test_windows_lie_in_the_text_and_targets_are_one_character_on(size, seed):
    batch, length, count = size
    windows = Windows(numbers(count), batch, length, seed)
    for _ in range(5):
        inputs, targets, fresh = windows.next()
        assert fresh is True
        assert inputs.shape == targets.shape == (batch, length)
        np.testing.assert_array_equal(targets, inputs + 1)
        np.testing.assert_array_equal(np.diff(inputs, axis=1), 1)
        assert inputs.min() >= 0
        assert targets.max() < count


def test_windows_begin_at_every_place_equally_often():
    windows = Windows(numbers(12), batch=1, length=4, seed=0)
    starts = [int(windows.next()[0][0, 0]) for _ in range(8000)]
    counts = np.bincount(starts, minlength=8)
    assert len(counts) == 8  # of 12 characters, 4 to read and one more to predict
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


@given(sizes, st.integers(0, 9), st.integers(0, 9))
def test_windows_follow_from_seed_and_step_alone(size, before, seed):
    batch, length, count = size
    windows = Windows(numbers(count), batch, length, seed)
    for _ in range(before):
        windows.next()
    again = Windows(numbers(count), batch, length, seed)
    again.seek(windows.cursor())
    assert again.epoch == windows.epoch == before // max(1, count // (batch * length))
    for _ in range(3):
        np.testing.assert_array_equal(again.next()[0], windows.next()[0])


def test_two_seeds_and_two_steps_give_other_windows():
    first, second = (Windows(numbers(10_000), 8, 4, seed) for seed in (0, 1))
    starts = [first.next()[0], first.next()[0], second.next()[0]]
    assert not np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])


@pytest.mark.parametrize("cursor", [{}, {"position": -1}, {"drawn": -1}])
def test_windows_refuse_a_cursor_that_names_no_step(cursor):
    with refused("damaged", cursor=cursor):
        Windows(numbers(20), 1, 4, 0).seek(cursor)


def test_windows_of_an_early_run_go_on_as_they_were_drawn_then():
    windows = Windows(numbers(1000), 4, 8, seed=3)
    windows.seek({"position": 5})
    for step in (5, 6):
        early = np.random.Generator(np.random.Philox(key=(3, step)))
        starts = early.integers(0, 1000 - 8, 4)
        np.testing.assert_array_equal(windows.next()[0][:, 0], starts)
    assert windows.cursor() == {"position": 7}  # and so it stays, however often it is resumed


@pytest.mark.parametrize(("batches", "kind"), [("lanes", Streams), ("windows", Windows)])
def test_the_settings_say_which_batches(batches, kind):
    train = TrainConfig(batch=2, length=3, batches=batches)
    opened = open_batches(numbers(50), train)
    assert type(opened) is kind
    assert opened.next()[0].shape == (2, 3)
    with refused("no-text", found=9, needed=10):
        open_batches(numbers(9), train)
