import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import EnsembleConfig, ModelConfig, TransformerConfig, replace
from charloom.data.dataset import fewest_characters
from charloom.models.weights import parameter_count
from charloom.training import recipe
from charloom.training.mixture import share_for
from charloom.training.recipe import (
    BASE,
    BATCHES,
    CHOSEN,
    DROPOUT,
    FEWEST_STEPS,
    MOST_EPOCHS,
    MOST_NETWORKS,
    PARAMETERS_PER_CHARACTER,
    PARAMETERS_PER_STEP,
    RATES,
    SEVERAL_EPOCHS,
    SHORTEST,
    TRANSFORMER,
    Size,
    choose,
    dropout,
    speed,
)

NOVEL = Size(1_000_000, 80, 1_000_000)


def hidden(config: Any) -> int:
    assert isinstance(config.model, ModelConfig)
    return config.model.hidden


def parameters(units: int, size: Size = NOVEL) -> int:
    assert isinstance(BASE.model, ModelConfig)
    return parameter_count(replace(BASE.model, hidden=units), size.different)


@given(
    characters=st.integers(3, 20_000_000),
    different=st.integers(1, 5_000),
    seconds=st.floats(0.1, 3600),
    pace=st.floats(100, 10**7),
)
def test_whatever_the_text_and_the_time_a_step_fits_the_text(
    characters: int, different: int, seconds: float, pace: float
) -> None:
    size = Size(characters, different, characters)
    choice = choose(BASE, (), size, seconds, {parameters(128, size): pace})
    train = choice.config.train
    assert fewest_characters(choice.config) <= characters
    assert hidden(choice.config) in {*RATES}
    assert DROPOUT[0][1] <= train.dropout <= DROPOUT[-1][1]
    assert choice.characters > 0
    assert train.mixture == share_for(characters)
    mix = {"mix"} if train.mixture else set()
    assert {what for what, _ in choice.reasons} == {"cell", "size", "drop", "batch", "rate"} | mix


def test_nothing_is_mixed_by_what_other_weights_may_have_learned() -> None:
    assert choose(BASE, (), NOVEL, 60).config.train.mixture > 0
    assert choose(replace(BASE, start="runs/other"), (), NOVEL, 60).config.train.mixture == 0


def test_the_largest_is_taken_whose_parameters_get_enough_to_read() -> None:
    for seconds in (1, 30, 180, 1800):
        choice = choose(BASE, (), NOVEL, seconds, {parameters(128): 100_000.0})
        found = hidden(choice.config)
        wider = [hidden for hidden in RATES if hidden > found][:1]
        read = choice.characters
        assert PARAMETERS_PER_STEP * read / 2048 >= parameters(found) or found == min(RATES)
        for units in wider:
            pace = speed(parameters(units), {parameters(128): 100_000.0})
            assert PARAMETERS_PER_STEP * pace * seconds / 2048 < parameters(units)


def test_more_time_and_a_faster_machine_never_choose_a_narrower_model() -> None:
    by_time = [hidden(choose(BASE, (), NOVEL, s).config) for s in (6, 60, 180, 600, 3600)]
    by_pace = [
        hidden(choose(BASE, (), NOVEL, 180, {parameters(128): p}).config)
        for p in (1e3, 1e4, 1e5, 1e6)
    ]
    for found in (by_time, by_pace):
        assert found == sorted(found)
        assert found[0] < found[-1]


def test_a_smaller_text_is_read_in_smaller_steps() -> None:
    """Of tuned sizes: the Constitution, and texts of a fifth and of four times its size."""
    chosen = {
        N: choose(BASE, (), Size(N, 75, N), 3600, {parameters(128): 1e6}).config
        for N in (7_500, 17_600, 36_600, 130_000, 1_000_000)
    }
    steps = [(one.train.batch, one.train.length) for one in chosen.values()]
    assert steps == [(4, 32), (8, 32), (16, 32), (16, 32), (32, 64)]
    sizes = [hidden(one) for one in chosen.values()]
    assert sizes[:3] == [64, 128, 192]
    assert sizes == sorted(sizes)
    for N, one in chosen.items():
        found = parameter_count(one.model, 75)
        assert found <= PARAMETERS_PER_CHARACTER * N
        assert one.train.dropout == DROPOUT[-1][1] or N == 1_000_000


def test_a_small_text_gets_no_large_model_however_long_the_time() -> None:
    small = choose(BASE, (), Size(2_000, 50, 2_000), 3600, {parameters(128): 1e6})
    assert hidden(small.config) == min(RATES)
    assert small.config.train.batch * small.config.train.length < 500


def test_one_sequence_of_one_character_is_said_so() -> None:
    tiny = choose(BASE, (), Size(3, 2, 3), 60)
    assert (tiny.config.train.batch, tiny.config.train.length) == (1, 1)
    assert dict(tiny.reasons)["batch"] == "1 sequence of 1 character in each step"


def test_of_tokens_fewer_steps_read_as_much() -> None:
    tokens = Size(1_000_000, 80, 250_000, per_id=4.0, unit="token")
    asked = replace(BASE, train=replace(BASE.train, iterations=1000))
    read = [choose(asked, ("batch", "length"), size).characters for size in (NOVEL, tokens)]
    assert read == [1000 * 32 * 64, 4 * 1000 * 32 * 64]
    told = dict(choose(BASE, (), tokens, 60).reasons)["batch"]
    assert "64 tokens" in told
    assert "256 characters" in told


@pytest.mark.parametrize(("epochs", "share"), [(0.1, 0.0), *DROPOUT, (10_000, DROPOUT[-1][1])])
def test_dropout_is_that_of_the_table(epochs: float, share: float) -> None:
    assert dropout(epochs) == share


def test_dropout_rises_between_the_rows() -> None:
    shares = [dropout(epochs) for epochs in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    assert shares == sorted(shares)
    for (low, low_share), (high, high_share) in pairwise(DROPOUT):
        middle = dropout(math.sqrt(low * high))
        assert middle == pytest.approx((low_share + high_share) / 2, abs=0.0051)


def test_a_transformer_learns_from_a_short_text_in_smaller_steps() -> None:
    config = replace(
        BASE, model=TransformerConfig(context=64), train=replace(TRANSFORMER, iterations=50)
    )
    assert fewest_characters(config) > 450
    for characters, batch, length in ((450, 6, 64), (60, 1, 58), (3, 1, 1)):
        found = choose(config, (), Size(characters, 20, characters)).config
        assert (found.train.batch, found.train.length) == (batch, length)
        assert found.model.context == max(2, length)
        assert fewest_characters(found) <= characters
    asked = choose(config, {"batch", "length", "context"}, Size(450, 20, 450)).config
    assert (asked.train.batch, asked.train.length) == (TRANSFORMER.batch, TRANSFORMER.length)
    assert asked.model == config.model


def test_in_a_short_time_a_step_is_small_enough_to_take_ten() -> None:
    config = replace(BASE, model=TransformerConfig(context=64), train=TRANSFORMER)
    slow = {parameter_count(config.model, NOVEL.different): 1000.0}
    for seconds, length in ((5, 64), (0.3, 30), (0.01, SHORTEST)):
        train = choose(config, (), NOVEL, seconds, slow).config.train
        assert train.length == length
        assert train.batch * length * FEWEST_STEPS <= 1000 * seconds or length == SHORTEST
        rows = choose(config, (), NOVEL._replace(rows=4), seconds, slow).config.train.batch
        assert rows == max(4, train.batch)
    asked = choose(config, {"width"}, NOVEL, 0.3, slow).config.train
    assert (asked.batch, asked.length) == (TRANSFORMER.batch, TRANSFORMER.length)


def test_what_is_given_is_kept_and_decides_the_rest() -> None:
    config = replace(
        BASE,
        model=replace(BASE.model, hidden=700),
        train=replace(BASE.train, batch=7, length=11, dropout=0.9, learning_rate=1.0, warmup=3),
    )
    ended = replace(config, train=replace(config.train, epochs=float(MOST_EPOCHS)))
    assert choose(config, CHOSEN, NOVEL, 60).config == ended
    assert choose(config, {*CHOSEN, "model"}, NOVEL, 60).reasons == ()
    free = choose(config, {"hidden"}, NOVEL, 60).config
    assert hidden(free) == 700
    assert (free.train.batch, free.train.learning_rate) == (
        BATCHES[max(BATCHES)][0],
        RATES[max(RATES)],
    )
    one = choose(config, {"length"}, Size(100, 20, 100), 60).config.train
    assert (one.length, one.batch) == (11, 1)


def test_with_iterations_or_epochs_no_clock_is_needed() -> None:
    for train in (replace(BASE.train, epochs=30.0), replace(BASE.train, iterations=20_000)):
        config = replace(BASE, train=train)
        choice = choose(config, (), NOVEL)
        assert choice == choose(config, (), NOVEL, None, {parameters(128): 5.0})
        assert hidden(choice.config) > min(RATES)
    assert choose(replace(BASE, train=train), (), NOVEL).characters == 20_000 * 32 * 64


def test_speed_is_drawn_through_what_was_measured() -> None:
    assert speed(100, {100: 7.0}) == 7.0
    assert speed(200, {100: 8.0}) == pytest.approx(4.0)
    both = {100: 80.0, 400: 40.0}
    assert speed(200, both) == pytest.approx(80 / math.sqrt(2))
    assert speed(400 * 16, both) == pytest.approx(10)
    assert speed(50, {100: 10.0, 200: 1.0}) == pytest.approx(20)  # no steeper than proportion
    assert speed(50, {100: 10.0, 200: 11.0}) == 10.0  # noise: a larger one is no faster
    assert speed(1000, {}) > speed(2000, {})


def test_warm_up_is_a_small_part_of_a_short_run() -> None:
    most, share = recipe.WARMUP_STEPS, recipe.WARMUP_SHARE
    short = choose(replace(BASE, train=replace(BASE.train, iterations=40)), (), NOVEL)
    assert short.config.train.warmup == int(40 * share)
    long = choose(replace(BASE, train=replace(BASE.train, iterations=10**6)), (), NOVEL)
    assert long.config.train.warmup == most


POSTS = Size(40_000, 70, 40_000)


def team(size: Size, seconds: float, pace: float, given=(), most=MOST_NETWORKS, gain=1.0):
    """The hidden size and how many networks there are, with the choice."""
    speeds = {parameters(128, size): pace}
    choice = choose(BASE, given, size, seconds, speeds, most, gain)
    model, networks = recipe.alone(choice.config.model)
    return model.hidden, networks, choice


def test_in_time_that_one_network_cannot_use_there_are_several() -> None:
    alone = [team(POSTS, seconds, 150_000.0, most=1)[:2] for seconds in (2, 15, 600)]
    assert [networks for _, networks in alone] == [1, 1, 1]
    found = [team(POSTS, seconds, 150_000.0)[:2] for seconds in (2, 15, 60, 600)]
    assert found[0] == alone[0]
    counts = [networks for _, networks in found]
    assert counts == sorted(counts)
    assert counts[1] >= 2
    assert found[-1] == (alone[-1][0], MOST_NETWORKS)


@given(
    characters=st.integers(500, 2_000_000),
    seconds=st.floats(1, 20_000),
    pace=st.floats(10_000, 10**6),
    gain=st.floats(1, 2),
)
def test_each_of_several_reads_the_text_often_enough(characters, seconds, pace, gain) -> None:
    size = Size(characters, 70, characters)
    hidden, networks, choice = team(size, seconds, pace, gain=gain)
    largest, _, one = team(size, seconds, pace, most=1)
    if networks == 1:
        assert choice == one
        return
    assert isinstance(choice.config.model, EnsembleConfig)
    assert choice.characters >= SEVERAL_EPOCHS * characters
    assert one.characters >= SEVERAL_EPOCHS * characters
    sizes = [*RATES]
    assert sizes.index(largest) - 1 <= sizes.index(hidden) <= sizes.index(largest)
    took = (
        networks
        * choice.characters
        / speed(parameters(hidden, size), {parameters(128, size): pace})
    )
    assert took <= gain * seconds * (1 + 1e-9)
    reasons = dict(choice.reasons)
    assert reasons["nets"].startswith(f"{networks} networks")


def test_networks_or_a_size_that_are_given_are_kept() -> None:
    assert team(POSTS, 600, 150_000.0, ("networks",))[1] == 1
    assert team(POSTS, 600, 150_000.0, ("hidden",))[1] == 1
    three = recipe.several(BASE, 3)
    choice = choose(three, ("networks",), POSTS, 600, {parameters(128, POSTS): 150_000.0})
    assert recipe.alone(choice.config.model)[1] == 3
    assert "nets" not in dict(choice.reasons)


@pytest.mark.parametrize(("cell", "share"), [("lstm", 1.0), ("gru", 0.5), ("rnn", 0.5)])
def test_cells_that_go_astray_sooner_learn_at_half_the_rate(cell: str, share: float) -> None:
    base = replace(BASE, model=replace(BASE.model, cell=cell))
    for named in ((), ("hidden",)):
        found = choose(base, named, NOVEL, 60, {parameters(128): 100_000.0}).config
        assert found.train.learning_rate == share * RATES[hidden(found)]
    kept = choose(base, ("learning_rate",), NOVEL, 60).config
    assert kept.train.learning_rate == BASE.train.learning_rate
