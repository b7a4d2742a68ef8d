import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import ModelConfig, TransformerConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.engines import create_model
from charloom.models.weights import (
    check_weights,
    from_frequencies,
    initial_weights,
    parameter_count,
    state_shapes,
    weight_shapes,
    with_characters,
)
from expect import refused

configs = st.builds(
    ModelConfig,
    cell=st.sampled_from(["rnn", "lstm", "gru"]),
    layers=st.integers(1, 3),
    hidden=st.integers(1, 9),
    embedding=st.integers(0, 4),
)


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_names_and_shapes_are_those_of_the_contract(cell: str, gates: int) -> None:
    one_hot = weight_shapes(ModelConfig(cell=cell, layers=2, hidden=5), 7)
    assert list(one_hot.items()) == [
        ("layer0.Wx", (7, gates * 5)),
        ("layer0.Wh", (5, gates * 5)),
        ("layer0.b", (gates * 5,)),
        ("layer1.Wx", (5, gates * 5)),
        ("layer1.Wh", (5, gates * 5)),
        ("layer1.b", (gates * 5,)),
        ("head.W", (5, 7)),
        ("head.b", (7,)),
    ]
    embedded = weight_shapes(ModelConfig(cell=cell, layers=2, hidden=5, embedding=3), 7)
    assert next(iter(embedded.items())) == ("embedding", (7, 3))
    assert embedded["layer0.Wx"] == (3, gates * 5)
    assert {n: s for n, s in embedded.items() if n not in ("embedding", "layer0.Wx")} == {
        n: s for n, s in one_hot.items() if n != "layer0.Wx"
    }


def test_parameter_count_of_min_char_lstm_is_the_sum_by_hand() -> None:
    config = ModelConfig(cell="lstm", layers=1, hidden=100)
    assert parameter_count(config, 81) == 4 * 100 * (81 + 100 + 1) + 81 * 100 + 81


@given(configs, st.integers(2, 9), st.integers(0, 2**63 - 1))
def test_first_weights_fit_and_follow_from_the_seed_alone(
    config: ModelConfig, V: int, seed: int
) -> None:
    weights = initial_weights(config, V, seed)
    check_weights(weights, config, V)
    assert list(weights) == list(weight_shapes(config, V))
    again = initial_weights(config, V, seed)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert all(w.dtype == np.float64 for w in weights.values())
    other = initial_weights(config, V, seed + 1)
    assert not any(np.array_equal(w, other[name]) for name, w in weights.items() if w.ndim > 1)


@given(configs, st.integers(2, 9))
def test_biases_start_at_zero_but_for_the_forget_gate(config: ModelConfig, V: int) -> None:
    weights = initial_weights(config, V, 0)
    H = config.hidden
    for name, b in weights.items():
        if b.ndim > 1:
            continue
        if config.cell == "lstm" and name.startswith("layer"):
            assert (b[H : 2 * H] == config.forget_bias).all()
            b[H : 2 * H] = 0
        assert not b.any()


def test_weights_are_normal_with_the_width_asked_for() -> None:
    V, H = 90, 120
    historic = initial_weights(ModelConfig(hidden=H, init_std=0.01, forget_bias=0), V, 1)
    assert not any(w.any() for w in historic.values() if w.ndim == 1)
    fan_in = initial_weights(ModelConfig(hidden=H, embedding=30), V, 1)
    one_hot = initial_weights(ModelConfig(hidden=H), V, 1)
    widths = [(w, 0.01) for w in historic.values() if w.ndim > 1]
    widths += [
        (fan_in["embedding"], 1.0),
        (fan_in["layer0.Wx"], 30**-0.5),
        (fan_in["layer0.Wh"], H**-0.5),
        (fan_in["head.W"], H**-0.5),
        (one_hot["layer0.Wx"], H**-0.5),
    ]
    for w, std in widths:
        # Five standard errors of a mean and of a standard deviation.
        assert abs(w.mean()) < 5 * std / w.size**0.5
        assert abs(w.std() / std - 1) < 5 / (2 * w.size) ** 0.5


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    config = ModelConfig(hidden=4)
    weights = initial_weights(config, 6, 0)
    short = {name: w for name, w in weights.items() if name != "head.b"}
    with refused("bad-array", missing=["head.b"], unknown=[]):
        check_weights(short, config, 6)
    with refused("bad-array", missing=[], unknown=["extra"]):
        check_weights(weights | {"extra": weights["head.b"]}, config, 6)
    with refused("bad-array", name="head.b", found=(5,), needed=(6,)):
        check_weights(weights | {"head.b": np.zeros(5)}, config, 6)
    for value in (np.nan, np.inf):
        with refused("bad-array", name="layer0.Wh"):
            check_weights(weights | {"layer0.Wh": np.full((4, 16), value)}, config, 6)


@pytest.mark.parametrize(("mixer", "columns"), [("attention", 15), ("mingru", 10), ("minlstm", 15)])
def test_names_and_shapes_of_a_transformer_are_those_of_the_contract(mixer, columns) -> None:
    config = TransformerConfig(
        mixer=mixer, layers=2, width=5, heads=1, context=6, positions="learned"
    )
    block = [
        ("norm1", (5,)),
        ("Wx", (5, columns)),
        ("Wo", (5, 5)),
        ("norm2", (5,)),
        ("W1", (5, 20)),
        ("W2", (20, 5)),
    ]
    assert list(weight_shapes(config, 7).items()) == [
        ("embedding", (7, 5)),
        *([("position", (6, 5))] if mixer == "attention" else []),
        *((f"layer{n}.{name}", shape) for n in range(2) for name, shape in block),
        ("norm", (5,)),
    ]


def test_rotary_positions_are_no_weights() -> None:
    config = TransformerConfig(layers=1, width=4, heads=2, context=6, positions="rotary")
    assert "position" not in weight_shapes(config, 7)


def test_nanogpts_small_model_has_the_parameters_by_hand() -> None:
    D, V, C = 128, 65, 64
    by_hand = V * D + C * D + 4 * (12 * D * D + 2 * D) + D
    config = TransformerConfig(layers=4, heads=4, width=D, context=C, positions="learned")
    assert parameter_count(config, V) == by_hand


def test_a_transformer_starts_narrow_where_branches_end_and_its_norms_at_one() -> None:
    config = TransformerConfig(layers=8, width=64, heads=4, context=64, positions="learned")
    weights = initial_weights(config, 100, seed=0)
    for name, array in weights.items():
        if "norm" in name:
            assert (array == 1).all()
        else:
            std = 0.02 / 4 if name.endswith((".Wo", ".W2")) else 0.02
            assert np.std(array) == pytest.approx(std, rel=0.05), name


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (ModelConfig(cell="lstm", layers=2, hidden=3), ["layer0.h", "layer0.c"] * 2),
        (ModelConfig(cell="gru", layers=2, hidden=3), ["layer0.h"] * 2),
        (TransformerConfig(mixer="mingru", layers=2, width=3), ["layer0.h"] * 2),
        (TransformerConfig(layers=2, width=4, heads=2), []),
    ],
)
def test_what_is_carried_has_lanes_first(config, names) -> None:
    names = [name.replace("0", str(2 * n // len(names))) for n, name in enumerate(names)]
    assert state_shapes(config, 5) == dict.fromkeys(names, (5, 3))


OLD, NEW = (0, 2, 4, 6), (1, 3, 5)  # places of the old and of new characters


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(cell="rnn", hidden=5),
        ModelConfig(cell="lstm", layers=2, hidden=4),
        ModelConfig(cell="gru", hidden=4, embedding=3),
        ModelConfig(cell="lstm", hidden=4, embedding=4),  # sizes that are the same by chance
        TransformerConfig(layers=2, width=8, heads=2, context=8, init_std=0.5),
        TransformerConfig(width=4, heads=1, context=4, positions="learned", init_std=0.5),
    ],
    ids=repr,
)
def test_new_characters_change_no_odds_between_old_ones(config):
    rng = np.random.default_rng(1)
    few = {n: rng.normal(0, 1, w.shape) for n, w in initial_weights(config, 4, seed=0).items()}
    more = with_characters(config, few, np.array(OLD), 7)
    check_weights(more, config, 7)
    before = create_model(config, few, Vocabulary.from_text("aceh"), "reference")
    after = create_model(config, more, Vocabulary.from_text("abcdefh"), "reference")
    ids = rng.integers(0, 4, (2, 8))
    then, _ = before.log_probs(ids, before.start(2))
    now, _ = after.log_probs(np.array(OLD)[ids], after.start(2))
    old, new = now[..., OLD], now[..., NEW]
    share = np.exp(new).sum(-1)
    assert share.max() < 3 / 7 + 1e-9  # the logit of each is the mean: at most an equal share
    np.testing.assert_allclose(old, then + np.log1p(-share)[..., None], rtol=0, atol=1e-9)
    np.testing.assert_allclose(new, np.repeat(old.mean(-1, keepdims=True), 3, -1), atol=1e-9)
    assert {n: w.dtype for n, w in more.items()} == {n: w.dtype for n, w in few.items()}


def test_a_head_begins_with_how_often_each_id_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.models.weights._COUNTED", 2)
    arrays = initial_weights(ModelConfig(hidden=3), 4, 0)
    found = from_frequencies(arrays | {"optimizer.updates": np.zeros(1)}, np.array([0, 2, 2, 3, 2]))
    assert found is not None
    assert found.keys() == arrays.keys()
    np.testing.assert_allclose(np.exp(found.pop("head.b")), np.array([2, 1, 4, 2]) / 9)
    for name, array in found.items():
        assert np.array_equal(array, arrays[name])


def test_a_head_without_a_bias_begins_as_it_is() -> None:
    arrays = initial_weights(TransformerConfig(layers=1, width=4, heads=1), 4, 0)
    assert from_frequencies(arrays, np.array([0, 1])) is None
