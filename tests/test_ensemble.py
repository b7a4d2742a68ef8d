"""Several networks: their mean, their training, and what a run of theirs can do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import (
    EnsembleConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    replace,
)
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.generation.sampling import generate_ids, generate_many
from charloom.models.compiled import ensemble as compiled_ensemble
from charloom.models.engines import create_learner, create_model, pick_engine
from charloom.models.ensemble import mean_of, seed_of
from charloom.models.weights import name_in, parameter_count, part_of, weight_shapes
from charloom.runs.one_network import one_network
from charloom.runs.open import open_alone, open_model
from charloom.training import adaptation
from charloom.training.settings import configure
from expect import refused
from small_runs import TEXT, config_of, new_run, outcome, play, stopped

V, K = 7, 3
ONE = ModelConfig(cell="gru", layers=2, hidden=5, embedding=4)
SEVERAL = EnsembleConfig(network=ONE, networks=K)
STEPS = TrainConfig(batch=2, length=6, iterations=5, dropout=0.25, seed=11, clip_norm=1.0)
ENGINES = pytest.mark.parametrize("engine", ["reference", "compiled"])

log_p = st.lists(st.lists(st.floats(-200, 0), min_size=4, max_size=4), min_size=1, max_size=5)


def batches(count: int):
    rng = np.random.default_rng(5)
    text = rng.integers(0, V, (2, 6 * count + 1)).astype(np.int32)
    for at in range(0, 6 * count, 6):
        yield text[:, at : at + 6], text[:, at + 1 : at + 7]


def learner(engine: str, model=SEVERAL, seed: int | None = None):
    return create_learner(model, STEPS, V, engine, "float64", seed)


@given(log_p)
def test_the_mean_is_that_of_the_probabilities(rows) -> None:
    exact = [
        math.log(math.fsum(math.exp(row[v] - max(r[v] for r in rows)) for row in rows) / len(rows))
        + max(r[v] for r in rows)
        for v in range(4)
    ]
    np.testing.assert_allclose(mean_of([np.array(row) for row in rows]), exact, rtol=1e-12)


def test_of_probabilities_too_small_for_a_float_the_mean_has_a_logarithm() -> None:
    assert np.isfinite(
        mean_of([np.full(2, -1000, np.float32), np.full(2, -2000, np.float32)])
    ).all()


@ENGINES
def test_each_network_learns_as_it_would_alone(engine: str) -> None:
    together = learner(engine)
    apart = [learner(engine, ONE, seed_of(STEPS.seed, k)) for k in range(K)]
    for inputs, targets in batches(STEPS.iterations):
        loss = together.update(inputs, targets, 0.01)
        assert loss == pytest.approx(
            sum(one.update(inputs, targets, 0.01) for one in apart) / K, rel=1e-15
        )
        assert together.gradient_norm == pytest.approx(
            math.hypot(*(one.gradient_norm for one in apart))
        )
    for k, one in enumerate(apart):
        own = part_of(together.arrays(), k)
        assert own.keys() == one.arrays().keys()
        for name, array in one.arrays().items():
            np.testing.assert_array_equal(own[name], array)


@ENGINES
def test_what_was_saved_goes_on_to_the_same_bits(engine: str) -> None:
    whole, first, then = learner(engine), learner(engine), learner(engine, seed=99)
    steps = [*batches(4)]
    for step in steps:
        whole.update(*step, 0.01)
    for step in steps[:2]:
        first.update(*step, 0.01)
    then.load({name: array.copy() for name, array in first.arrays().items()})
    assert then.loss(*steps[2]) == first.loss(*steps[2])
    for step in steps[2:]:
        then.update(*step, 0.01)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(then.arrays()[name], array)


def test_weights_that_do_not_fit_change_nothing() -> None:
    one = learner("compiled")
    before = {name: array.copy() for name, array in one.arrays().items()}
    wrong = {name: array + 1 for name, array in before.items()}
    wrong[name_in(K - 1, "head.b")] = np.zeros(V + 1)
    with refused("bad-array"):
        one.load(wrong)
    for name, array in before.items():
        np.testing.assert_array_equal(one.arrays()[name], array)


def test_networks_begin_with_weights_of_their_own_and_the_first_with_the_seed() -> None:
    arrays = learner("compiled").arrays()
    first, *others = (part_of(arrays, k)["layer0.Wh"] for k in range(K))
    np.testing.assert_array_equal(first, learner("compiled", ONE).arrays()["layer0.Wh"])
    assert all((first != other).all() for other in others)
    seeds = [seed_of(seed, k) for seed in (0, 1, 2**63 - 1) for k in range(64)]
    assert len({*seeds}) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


@ENGINES
def test_a_model_predicts_the_mean_of_its_networks_in_steps_and_at_once(engine: str) -> None:
    vocabulary = Vocabulary(tuple("abcdefg"))
    arrays = learner(engine).arrays()
    model = create_model(SEVERAL, arrays, vocabulary, engine, "float64")
    ids = np.array([[1, 2, 3, 0], [6, 5, 4, 4]], np.int32)
    found, _ = model.log_probs(ids, model.start(2))
    own = [create_model(ONE, part_of(arrays, k), vocabulary, engine, "float64") for k in range(K)]
    mean = np.mean([np.exp(one.log_probs(ids, one.start(2))[0]) for one in own], axis=0)
    np.testing.assert_allclose(np.exp(found), mean, rtol=1e-12)
    state = model.start(2)
    for t in range(4):
        step, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(step, found[:, t], rtol=1e-9)


def test_names_and_shapes_are_those_of_each() -> None:
    shapes = weight_shapes(SEVERAL, V)
    assert len(shapes) == K * len(weight_shapes(ONE, V))
    assert shapes["network2.layer1.Wh"] == (5, 15)
    assert parameter_count(SEVERAL, V) == K * parameter_count(ONE, V)
    assert name_in(1, "optimizer.m.head.b") == "optimizer.network1.m.head.b"
    assert part_of({"optimizer.network1.m.head.b": 3, "network0.head.b": 4}, 1) == {
        "optimizer.m.head.b": 3
    }


def test_threads_change_no_bit(monkeypatch) -> None:
    arrays, drawn = [], []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setattr(compiled_ensemble, "WORTH_A_THREAD", 0)
        one = learner("compiled")
        for step in batches(3):
            one.update(*step, 0.01)
        arrays.append({name: array.tobytes() for name, array in one.arrays().items()})
        model, uniforms = one.model(Vocabulary(tuple("abcdefg"))), np.full((2, 30), 0.4)
        ids = np.array([1, 5])
        drawn.append(generate_ids(model, ids, model.start(2), uniforms, SampleConfig())[0].tolist())
    assert arrays[0] == arrays[1] == arrays[2]
    assert drawn[0] == drawn[1] == drawn[2]


def test_the_torch_engine_is_not_for_several() -> None:
    assert pick_engine("auto", SEVERAL, STEPS) == "compiled"
    for engine, train in (("torch", STEPS), ("auto", replace(STEPS, accumulate=2))):
        with refused("unsupported", field="networks"):
            pick_engine(engine, SEVERAL, train)


def test_settings_name_them() -> None:
    found = configure(["x.txt"], {"networks": 3, "hidden": 9}).model
    assert isinstance(found, EnsembleConfig)
    assert (found.networks, found.network.hidden) == (3, 9)
    assert isinstance(configure(["x.txt"], {"networks": 1}).model, ModelConfig)
    for wrong in ({"networks": 0}, {"networks": 2, "model": "ngram"}):
        with refused("bad-setting", field="networks"):
            configure(["x.txt"], wrong)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    source = tmp_path_factory.mktemp("text") / "brigade.txt"
    source.write_text(TEXT)
    alone = config_of(source, engine="compiled")
    return replace(alone, model=EnsembleConfig(network=alone.model, networks=2))


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("run") / "run", settings)
    play(run)
    return run


def test_a_run_that_was_stopped_ends_with_the_same_bits(settings, run, tmp_path) -> None:
    other = stopped(tmp_path / "run", settings, 10)
    play(other, resume=True)
    assert outcome(other) == outcome(run)


def test_a_run_is_read_like_any_other(run) -> None:
    model = open_model(run)
    ids = run.dataset().validation
    assert evaluate(model, ids).nats == pytest.approx(run.final().score.nats)
    assert len(generate_many(model, SampleConfig(seed=1), length=20)[0]) == 20
    assert run.parameters == 2 * one_network(run).parameters


def test_all_together_are_no_worse_than_they_are_on_average(run) -> None:
    ids, weights = run.dataset().validation, run.load_weights()
    model = run.config.model.network
    alone = [
        evaluate(create_model(model, part_of(weights, k), run.vocabulary), ids).nats
        for k in range(2)
    ]
    assert evaluate(open_model(run), ids).nats <= np.mean(alone)  # Jensen's inequality


def test_of_several_the_first_can_be_had_alone(run) -> None:
    first = one_network(run)
    assert first.config.model == run.config.model.network
    np.testing.assert_array_equal(
        first.load_weights()["head.W"], run.load_weights()["network0.head.W"]
    )
    ids = run.dataset().validation
    assert evaluate(open_alone(first), ids).nats != evaluate(open_alone(run), ids).nats
    assert one_network(first) is first


def test_all_learn_while_they_read(run) -> None:
    ids = np.tile(run.dataset().validation, 8)
    found = adaptation.evaluate(run, ids)
    assert found.alone is not None
    assert found.alone.nats < evaluate(open_model(run), ids).nats
