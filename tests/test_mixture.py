"""A network and an n-gram model mixed: the table, the model, and a run that ends in one."""

import math
import random

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from charloom.cli.export import export
from charloom.config import ModelConfig, NgramConfig, SampleConfig, TrainConfig, replace
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import WARM_UP, evaluate
from charloom.generation import lanes
from charloom.generation.sampling import generate_ids
from charloom.models.compiled import CompiledModel
from charloom.models.engines import create_model
from charloom.models.lanes import Rules, WritesLanes
from charloom.models.mixture.gate import (
    KNOTS,
    Predicted,
    learn_shares,
    losses,
    predicted,
)
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.models.weights import initial_weights
from charloom.runs.open import open_alone, open_model
from charloom.runs.run import Run
from charloom.training import loop, mixture
from expect import refused
from small_runs import config_of, copied, new_run, outcome, play, stopped
from toy_models import Script

VERSE = "the cat sat on the mat; the rat sat on the hat, and the cat saw that. "
SHARES = np.random.default_rng(0).random((KNOTS, KNOTS))


def words(characters: int, seed: int = 1) -> str:
    """A text in which much can be learned, and nothing is all there is to know."""
    rng = random.Random(seed)
    written = " ".join(rng.choice(VERSE.split()) for _ in range(characters // 3))
    return written[:characters]


def share_at(shares: np.ndarray, network: float, counts: float) -> float:
    """Bilinear interpolation as one would write it down."""

    def hat(k: int, x: float) -> float:
        return max(0.0, 1 - abs((KNOTS - 1) * x - k))

    return sum(
        hat(i, network) * hat(j, counts) * shares[i, j] for i in range(KNOTS) for j in range(KNOTS)
    )


def network(vocabulary: Vocabulary, engine: str, dtype: str = "float32"):
    config = ModelConfig(cell="lstm", hidden=8)
    weights = initial_weights(replace(config, init_std=1.0), len(vocabulary), 3)
    return create_model(config, weights, vocabulary, engine, dtype)


def small_mixture(engine: str = "compiled", dtype: str = "float32"):
    vocabulary = Vocabulary(tuple(sorted(set(VERSE))))
    counts = NgramModel.fit(vocabulary.encode(VERSE), vocabulary, NgramConfig(order=4))
    return mixture_of(network(vocabulary, engine, dtype), counts, SHARES)


sure = st.floats(0, 1)
p = st.floats(1e-6, 1)


@given(st.lists(st.tuples(sure, sure, p, p), min_size=1, max_size=50))
def test_losses_are_those_of_the_table_read_between_its_knots(rows) -> None:
    a, b, ours, theirs = np.array(rows).T
    seen = Predicted(np.array([a, b]), np.array([ours, theirs]))
    shares = [share_at(SHARES, *pair) for pair in zip(a, b, strict=True)]
    expected = [
        -math.log(s * x + (1 - s) * y) for s, x, y in zip(shares, ours, theirs, strict=True)
    ]
    assert losses(seen, SHARES) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.tuples(sure, sure, p, p), min_size=1, max_size=50))
def test_a_table_is_likelier_than_one_share_for_all(rows) -> None:
    a, b, ours, theirs = np.array(rows).T
    seen = Predicted(np.array([a, b]), np.array([ours, theirs]))
    shares = learn_shares(seen)
    assert ((shares > 0) & (shares < 1)).all()

    one = 0.5
    for _ in range(100):
        one = sum(one * x / (one * x + (1 - one) * y) for x, y in seen.p.T) / len(rows)
    one = min(max(one, 0.001), 0.999)

    def posterior(table: np.ndarray) -> float:  # with one character at each entry
        prior = one * np.log(table).sum() + (1 - one) * np.log(1 - table).sum()
        return float(prior - losses(seen, table).sum())

    assert posterior(shares) >= posterior(np.full((KNOTS, KNOTS), one)) - 1e-9


def test_the_table_learns_where_each_is_right() -> None:
    rng = np.random.default_rng(2)
    where = rng.random((2, 5000))
    right = where[0] > 0.5  # the network, if it is sure
    seen = Predicted(where, np.where([right, ~right], 0.9, 0.1))
    shares = learn_shares(seen)
    assert (shares[4] > 0.9).all()
    assert (shares[0] < 0.1).all()


@pytest.mark.parametrize(
    ("engine", "dtype"),
    [("compiled", "float32"), ("compiled", "float64"), ("reference", "float64")],
)
def test_a_mixture_predicts_what_the_formula_says(engine: str, dtype: str) -> None:
    model = small_mixture(engine, dtype)
    ids = np.array([model.vocabulary.encode(VERSE), model.vocabulary.encode(VERSE[::-1])])
    found, _ = model.log_probs(ids, model.start(2))
    alone, _ = model.network.log_probs(ids, model.network.start(2))
    counted, _ = model.counts.log_probs(ids, model.counts.start(2))
    a, b = np.exp(alone, dtype=np.float64), np.exp(counted)
    for place in np.ndindex(ids.shape):
        s = share_at(SHARES, (a[place] ** 2).sum(), (b[place] ** 2).sum())
        expected = s * a[place] + (1 - s) * b[place]
        assert np.exp(found[place], dtype=np.float64) == pytest.approx(expected, rel=1e-4)
    assert np.exp(found, dtype=np.float64).sum(axis=2) == pytest.approx(1, rel=1e-5)
    seen = predicted(alone[0, :-1], counted[0, :-1], ids[0, 1:])
    expected = -found[0, np.arange(ids.shape[1] - 1), ids[0, 1:]]
    assert losses(seen, SHARES) == pytest.approx(expected, rel=1e-4)


def test_a_state_can_be_returned_to_and_a_text_be_cut_anywhere() -> None:
    model = small_mixture()
    ids = model.vocabulary.encode(VERSE)[None]
    whole, _ = model.log_probs(ids, model.start(1))
    _, state = model.log_probs(ids[:, :20], model.start(1))
    for _ in range(2):
        rest, _ = model.log_probs(ids[:, 20:], state)
        assert rest == pytest.approx(whole[:, 20:], abs=1e-5)
    step, _ = model.step(ids[:, 20], state)
    assert step == pytest.approx(whole[:, 20], abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_many_characters_are_drawn_as_one_by_one(temperature: float) -> None:
    model = small_mixture()
    config = SampleConfig(temperature=temperature, top_k=9)
    rules = Rules.same(config, len(model.vocabulary), 3)
    ids, uniforms = model.vocabulary.encode("tch"), np.random.default_rng(4).random((3, 200))
    state = model.start(3)
    expected, after = lanes.write(model, ids, state, uniforms, rules)
    found, fast_after = model.write(ids, state, uniforms, rules)
    assert found.tolist() == expected.tolist()
    assert fast_after.counts.tolist() == after.counts.tolist()
    again, _ = model.write(found[:, -1], fast_after, uniforms, rules)
    expected, _ = lanes.write(model, expected[:, -1], after, uniforms, rules)
    assert again.tolist() == expected.tolist()


def test_only_a_compiled_network_draws_many_in_one_call() -> None:
    assert isinstance(small_mixture().network, CompiledModel)
    assert isinstance(small_mixture(), WritesLanes)
    assert not isinstance(small_mixture("reference", "float64"), WritesLanes)


def test_wrong_weights_are_refused_in_drawing() -> None:
    model = small_mixture()
    model.network._parameters.head_b[:] = np.nan
    with refused("bad-model"):
        generate_ids(model, np.zeros(1, int), model.start(1), np.ones((1, 3)) / 2, SampleConfig())


@given(st.integers(1, 200_000), st.floats(0, 0.5))
def test_what_is_kept_lies_spread_in_the_text_and_the_rest_is_learned(N: int, share: float) -> None:
    pieces = mixture.kept(N, share)
    lengths = {piece.stop - piece.start for piece in pieces}
    assert len(lengths) <= 1
    assert sum(lengths) * len(pieces) <= N * share + 1e-6
    ends = [0, *(place for piece in pieces for place in (piece.start, piece.stop)), N]
    assert ends == sorted(ends)
    if pieces:
        assert len(pieces) == mixture.PIECES
        assert pieces[0].start > WARM_UP
    ids = np.arange(N)
    found = mixture.learned(ids, share)
    left_out = {place for piece in pieces for place in range(piece.start, piece.stop)}
    assert len(found) == N - len(left_out)
    assert left_out.isdisjoint(found.tolist())


def test_a_short_text_and_a_very_long_one_are_not_mixed_for() -> None:
    assert mixture.share_for(24_999) == mixture.share_for(2**23 + 1) == 0
    assert mixture.share_for(25_000) == mixture.SHARE
    assert mixture.share_for(4_000_000) == 0.01  # 40,000 tell enough
    assert mixture.counted(TrainConfig(minutes=0.5, iterations=9), 5_000_000) == 1_200_000
    assert mixture.counted(TrainConfig(iterations=9), 5_000_000) == 5_000_000


def test_a_network_that_needs_no_help_is_left_alone() -> None:
    text = VERSE * 300
    knows = Script(VERSE)
    knows.table = np.log(np.full((1, len(knows.vocabulary)), 1e-9))
    ids = knows.vocabulary.encode(text)
    train = TrainConfig(iterations=1, mixture=0.1)
    assert mixture.find(_Periodic(), ids, train, knows.vocabulary) is None
    other = network(knows.vocabulary, "compiled")
    found = mixture.find(other, ids, train, knows.vocabulary)
    assert found is not None
    assert found.after < 0.1 * found.before


class _Periodic(Script):
    """Knows how VERSE goes on after its last 20 characters: nearly all of the probability."""

    def __init__(self) -> None:
        super().__init__(VERSE)
        self._next = {}
        twice = VERSE * 2
        for at in range(len(VERSE)):
            self._next[twice[at : at + 20]] = twice[at + 20]

    def start(self, lanes):
        return [""] * lanes

    def step(self, ids, state):
        characters = self.vocabulary.decode(np.asarray(ids))
        state = [(text + c)[-20:] for text, c in zip(state, characters, strict=True)]
        V = len(self.vocabulary)
        out = np.full((len(state), V), math.log(1e-12))
        for lane, text in enumerate(state):
            if text in self._next:
                out[lane, self.vocabulary.encode(self._next[text])[0]] = math.log1p(-1e-12 * V)
        return out, state


TRAIN = TrainConfig(batch=2, length=20, iterations=24, learning_rate=0.01, mixture=0.05, seed=3)
HELD_OUT = 0.1


def mixed_config(folder, text: str | None = None, **train):
    source = folder / "words.txt"
    source.write_text(words(20_000) if text is None else text)
    return config_of(source, train=replace(TRAIN, **train))


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that has ended in a mixture."""
    folder = tmp_path_factory.mktemp("mixed")
    run = new_run(folder / "run", mixed_config(folder))
    play(run)
    return run


def test_a_run_ends_in_a_mixture_and_says_so(ended) -> None:
    final = ended.final()
    assert final.mixture.after < final.mixture.before
    assert final.score.nats < final.mixture.alone.nats
    assert ended.kind == "lstm 2 x 4 + n-gram"
    validation = ended.dataset().validation
    assert evaluate(open_model(ended), validation).nats == final.score.nats
    assert evaluate(open_alone(ended), validation).nats == final.mixture.alone.nats


def test_neither_model_sees_what_is_kept_before_it_is_scored_nor_what_is_held_out(
    tmp_path, monkeypatch
) -> None:
    """Each place of the text is told by its id, so that what is read shows where it is from."""
    seen = {"learned": [], "counted": []}
    open_state, fit = loop.TrainState, NgramModel.fit

    def state(config, learner, vocabulary, ids):
        seen["learned"].append(ids.copy())
        return open_state(config, learner, vocabulary, ids)

    def counting(ids, vocabulary, config):
        seen["counted"].append(ids.copy())
        return fit(ids, vocabulary, config)

    monkeypatch.setattr(loop, "TrainState", state)
    monkeypatch.setattr(NgramModel, "fit", counting)
    run = new_run(tmp_path / "run", mixed_config(tmp_path))
    play(run)
    train = run.dataset().train
    without = np.delete(train, np.r_[*mixture.kept(len(train), TRAIN.mixture)])
    assert len(without) < len(train)
    (learned,) = seen["learned"]
    assert learned.tolist() == without.tolist()
    first, second, *_ = seen["counted"]
    assert (first.tolist(), second.tolist()) == (without.tolist(), train.tolist())


def test_a_leak_of_held_out_text_would_show(tmp_path) -> None:
    """Random letters are held out: whoever has read them before knows them, and nobody else."""
    rng = random.Random(7)
    secret = "".join(rng.choice("abcdefgh ") for _ in range(2_000))
    text = words(18_000) + secret
    config = mixed_config(tmp_path, text)
    run = new_run(tmp_path / "run", config)
    play(run)
    parts, mixed = run.dataset(), run.final().mixture
    assert run.vocabulary.decode(parts.validation) == secret
    honest = evaluate(open_model(run), parts.validation).nats
    everything = np.concatenate([parts.train, parts.validation])
    leaky = NgramModel.fit(everything, run.vocabulary, mixed.counts)
    told = mixture_of(open_alone(run), leaky, np.array(mixed.shares))
    assert honest > math.log(9)
    assert evaluate(told, parts.validation).nats < 0.5 * honest


def test_a_run_that_was_stopped_ends_in_the_same_mixture(tmp_path, ended) -> None:
    run = stopped(tmp_path / "run", mixed_config(tmp_path), step=11)
    assert run.final() is None
    assert run.kind == "lstm 2 x 4"
    play(run, resume=True)
    assert run.final() == ended.final()
    assert outcome(run)["arrays"] == outcome(ended)["arrays"]
    assert run.best_sample() == ended.best_sample()


def test_an_end_that_was_lost_is_found_again(tmp_path, ended) -> None:
    run = copied(ended, tmp_path / "again")
    (run.path / "final.json").unlink()
    assert run.kind == "lstm 2 x 4"
    play(run, resume=True)
    assert Run.open(run.path).final() == ended.final()


@pytest.mark.parametrize(
    "change", [('"shares": [', '"shares": [[],'), ('"order": 12', '"order": 99')]
)
def test_a_damaged_mixture_is_refused(tmp_path, ended, change) -> None:
    run = copied(ended, tmp_path / "damaged")
    path = run.path / "final.json"
    path.write_text(path.read_text().replace(*change))
    with refused("damaged"):
        open_model(run)


def test_without_text_that_is_kept_nothing_is_mixed(tmp_path) -> None:
    run = new_run(tmp_path / "run", mixed_config(tmp_path, mixture=0.0))
    play(run)
    assert run.final().mixture is None
    assert isinstance(open_model(run), type(open_alone(run)))


def test_the_network_alone_is_exported_which_is_said(tmp_path, ended) -> None:
    pytest.importorskip("onnxruntime")
    for run, notes in (
        (ended, 1),
        (new_run(tmp_path / "run", mixed_config(tmp_path, mixture=0.0)), 0),
    ):
        if not notes:
            play(run)
        out = str(tmp_path / f"{notes}.onnx")
        result = CliRunner().invoke(export, [str(run.path), "--onnx", "-o", out])
        assert result.exit_code == 0
        assert sum(line.startswith("note") for line in result.output.splitlines()) == notes
