import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.analysis.surprise import surprise  # noqa: E402
from charloom.config import (  # noqa: E402
    DataConfig,
    ModelConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.data.vocabulary import Vocabulary  # noqa: E402
from charloom.evaluation import evaluate  # noqa: E402
from charloom.generation.sampling import generate_many  # noqa: E402
from charloom.models.engines import create_learner, create_model  # noqa: E402
from charloom.models.protocols import LanguageModel, Learner  # noqa: E402
from charloom.models.torchnet import new_network, transformer, window_model  # noqa: E402
from charloom.models.torchnet.network import Dropout  # noqa: E402
from charloom.models.weights import initial_weights, weight_shapes  # noqa: E402
from charloom.runs.checkpoint import steps  # noqa: E402
from charloom.runs.run import Run  # noqa: E402
from charloom.runs.tensors import expected_arrays  # noqa: E402
from expect import refused  # noqa: E402
from small_runs import NEVER, outcome, play, played, write_text  # noqa: E402

pytestmark = pytest.mark.torch
torch.set_num_threads(1)  # so little work is not shared out

V, B, T = 7, 3, 8
VOCABULARY = Vocabulary(tuple("abcdefg"))
SMALL = TransformerConfig(layers=2, width=12, heads=3, context=T, positions="learned")
MIXERS = {
    "learned": SMALL,
    "rotary": replace(SMALL, positions="rotary"),
    "mingru": replace(SMALL, mixer="mingru"),
    "minlstm": replace(SMALL, mixer="minlstm"),
}
ATTENTION = {
    "learned": SMALL,
    "rotary": MIXERS["rotary"],
    "odd": replace(SMALL, context=7),
    "two": replace(SMALL, context=2),
}
TRAIN = TrainConfig(batch=B, length=T, batches="windows", clip_norm=1.0, weight_decay=0.1)

each_mixer = pytest.mark.parametrize("config", MIXERS.values(), ids=MIXERS)
each_window = pytest.mark.parametrize("config", ATTENTION.values(), ids=ATTENTION)


def weights_of(config, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape) for name, shape in weight_shapes(config, V).items()}


def model_of(config, dtype="float64", engine="torch"):
    return create_model(config, weights_of(config), VOCABULARY, engine, dtype)


def batch(seed=0, lanes=B, length=T):
    return np.random.default_rng(seed).integers(0, V, (2, lanes, length))


def fresh(config, train=TRAIN, dtype="float64", seed=None):
    return create_learner(config, train, V, "torch", dtype, seed)


def trained(config, train=TRAIN, updates=4, **options):
    learner = fresh(config, train, **options)
    for seed in range(updates):
        learner.update(*batch(seed), 0.01)
    return learner


def assert_equal(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# The network and its learner.


def test_a_long_context_costs_memory_when_it_is_read(monkeypatch):
    config = replace(MIXERS["rotary"], context=2**16)  # 1 MB, if it were taken
    network = new_network(config, V, "float64")
    assert sum(buffer.nbytes for buffer in network.buffers()) < 2**18

    whole = fresh(MIXERS["rotary"])
    monkeypatch.setattr(transformer, "TURNS", 2)
    growing = fresh(MIXERS["rotary"])
    ids, losses = batch()[0], []
    for learner in (whole, growing):
        lent = learner.model(VOCABULARY)
        state = lent.start(B)
        for t in range(3):
            log_p, state = lent.step(ids[:, t], state)
        losses.append(
            [log_p.tolist(), learner.update(*batch(), 0.1), learner.update(*batch(), 0.1)]
        )
    assert losses[0] == losses[1]


@each_mixer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_learner_gives_the_arrays_that_are_expected_of_it(config, dtype):
    learner = trained(config, dtype=dtype)
    assert isinstance(learner, Learner)
    expected = expected_arrays(RunConfig(model=config, train=TRAIN, dtype=dtype), V)
    arrays = learner.arrays()
    assert arrays.keys() == expected.keys()
    for name, (dtypes, shape) in expected.items():
        assert arrays[name].dtype.name in dtypes, name
        assert arrays[name].shape == shape, name
        assert arrays[name].any() or name == "rng.seed", name


@each_mixer
def test_a_learner_begins_with_the_weights_of_the_contract(config):
    arrays = fresh(config, seed=5).arrays()
    for name, weight in initial_weights(config, V, 5).items():
        np.testing.assert_array_equal(arrays[name], weight)


@each_mixer
def test_gradients_are_those_of_differences(config):
    network = new_network(config, V, "float64")
    network.put(weights_of(config))
    rng = np.random.default_rng(1)
    state = tuple(torch.from_numpy(rng.normal(size=h.shape)) for h in network.start(B))
    ids, targets = map(torch.from_numpy, batch())

    def loss():
        logits, _ = network(ids, state)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    loss().backward()
    for name, layout in network.layout().items():
        parameter, gradient = layout.parameter, layout.parameter.grad
        for place in zip(*(rng.integers(0, n, 6) for n in parameter.shape), strict=True):
            with torch.no_grad():
                value = parameter[place].item()
                parameter[place] = value + 1e-5
                above = loss()
                parameter[place] = value - 1e-5
                slope = (above - loss()) / 2e-5
                parameter[place] = value
            assert gradient[place].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-9), name


@each_mixer
def test_the_loss_is_that_of_the_references_predictions(config):
    learner = trained(config)
    inputs, targets = batch(9)
    model = create_model(config, learner.arrays(), VOCABULARY, "reference")
    learner.reset()
    log_p, _ = model.log_probs(inputs, model.start(B))
    nats = -np.take_along_axis(log_p, targets[:, :, None], 2)
    assert learner.loss(inputs, targets) == pytest.approx(nats.mean(), rel=1e-12)


@pytest.mark.parametrize("mixer", ["mingru", "minlstm"])
def test_the_state_of_a_recurrent_mixer_is_carried_from_step_to_step(mixer):
    learner = fresh(MIXERS[mixer])
    (first, first_targets), (second, second_targets) = batch(0), batch(1)
    both = np.hstack([first, second]), np.hstack([first_targets, second_targets])
    whole = learner.loss(*both)
    parts = learner.update(first, first_targets, 0.0), learner.loss(second, second_targets)
    assert np.mean(parts) == pytest.approx(whole, rel=1e-13)


def test_a_step_longer_than_the_context_is_refused():
    ids = batch(length=T + 1)
    with refused("bad-setting", field="length", needed=T, found=T + 1):
        fresh(SMALL).update(*ids, 0.1)
    assert fresh(MIXERS["mingru"]).update(*ids, 0.1) < 3


@each_mixer
def test_a_repeated_text_is_learned(config):
    learner = fresh(config, dtype="float32")
    start = learner.loss(*batch())
    for _ in range(120):
        learner.reset()
        learner.update(*batch(), 0.01)
    learner.reset()
    assert learner.loss(*batch()) < start / 10


@each_mixer
def test_float32_follows_float64(config):
    single, double = (fresh(config, dtype=dtype) for dtype in ("float32", "float64"))
    for seed in range(10):
        a, b = (learner.update(*batch(seed), 0.01) for learner in (single, double))
        assert a == pytest.approx(b, rel=1e-4)


@each_mixer
def test_half_precision_is_close(config, monkeypatch):
    monkeypatch.setattr(
        "charloom.models.torchnet.devices._multiplies_bf16", lambda: True
    )  # if slowly
    plain, half = (
        fresh(config, dtype="float32"),
        fresh(config, replace(TRAIN, precision="bf16"), "float32"),
    )
    for seed in range(5):
        a, b = (learner.update(*batch(seed), 0.01) for learner in (plain, half))
        assert a != b
        assert a == pytest.approx(b, rel=0.02)
    arrays = half.arrays()
    assert {a.dtype.name for a in arrays.values()} == {"float32", "int64"}
    if config.mixer != "attention":  # what is kept of a state may be as little as 1 / 256 a step
        h = torch.from_numpy(arrays["state.layer0.h"])
        assert not torch.equal(h, h.bfloat16().float())


# Dropout.


def test_dropout_acts_where_nanogpts_does(monkeypatch):
    found = []
    functional = torch.nn.functional
    drop, attend = functional.dropout, functional.scaled_dot_product_attention

    def dropout(x, p):
        found.append(("branch", tuple(x.shape), p))
        return drop(x, p)

    def attention(q, k, v, *, is_causal, dropout_p):
        found.append(("weights", is_causal, dropout_p))
        return attend(q, k, v, is_causal=is_causal, dropout_p=dropout_p)

    monkeypatch.setattr(functional, "dropout", dropout)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    fresh(SMALL, replace(TRAIN, dropout=0.25)).update(*batch(), 0.1)
    branch = ("branch", (B, T, 12), 0.25)
    assert found == [branch, *[("weights", True, 0.25), branch, branch] * 2]


@each_mixer
def test_dropout_drops_as_much_as_it_is_told(config):
    network = new_network(replace(config, layers=1), 50, "float32")
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
    torch.nn.init.zeros_(network.blocks[0].Wo)
    torch.nn.init.zeros_(network.blocks[0].W2)
    ids = torch.zeros(64, T, dtype=torch.int64)
    seen = []
    handle = network.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with network.dropping(Dropout(0.25, 3, 0, 64, slice(0, 64))) as masks:
        network(ids, network.start(64), masks)
    handle.remove()
    values, counts = torch.cat(seen).unique(return_counts=True)
    whole = 2.0 if network.learned else 1.0
    assert values.tolist() == pytest.approx([0, whole / 0.75])
    assert counts[0] / counts.sum() == pytest.approx(0.25, abs=0.02)


@each_mixer
def test_dropout_follows_from_seed_update_and_rows_alone(config):
    network = new_network(config, V, "float64")
    network.put(weights_of(config))
    ids = torch.from_numpy(batch()[0])

    def logits(seed=3, update=4, first=0):
        torch.rand(5)  # whatever else is drawn
        with network.dropping(Dropout(0.5, seed, update, B, slice(first, first + B))) as masks:
            return network(ids, network.start(B), masks)[0]

    assert torch.equal(logits(), logits())
    for other in (logits(seed=4), logits(update=5), logits(first=3)):
        assert not torch.equal(logits(), other)


@each_mixer
def test_loss_has_no_dropout_and_changes_nothing(config):
    train = replace(TRAIN, dropout=0.5)
    learner, plain = trained(config, train), fresh(config)
    before = learner.arrays()
    plain.load(before)
    assert learner.loss(*batch(9)) == plain.loss(*batch(9))
    assert_equal(learner.arrays(), before)
    assert learner.update(*batch(9), 0.1) != plain.update(*batch(9), 0.1)


@each_mixer
@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_a_saved_learner_goes_on_to_the_last_bit(config, optimizer):
    train = replace(TRAIN, dropout=0.3, optimizer=optimizer, batches="lanes")
    learner = trained(config, train, dtype="float32", seed=5)
    other = fresh(config, train, "float32", seed=6)
    other.update(*batch(7), 0.01)
    other.load(learner.arrays())
    for seed in range(10, 15):
        torch.rand(3)  # whatever else is drawn
        assert other.update(*batch(seed), 0.01) == learner.update(*batch(seed), 0.01)
    assert_equal(other.arrays(), learner.arrays())


@each_mixer
def test_an_update_leaves_the_users_own_generator_as_it_was(config):
    learner = fresh(config, replace(TRAIN, dropout=0.5))
    torch.manual_seed(77)
    state = torch.random.get_rng_state()
    learner.update(*batch(), 0.1)
    assert torch.equal(torch.random.get_rng_state(), state)


# The language model.


@pytest.mark.parametrize("config", [*MIXERS.values(), ModelConfig(layers=2, hidden=6)], ids=str)
def test_a_lent_model_predicts_as_a_copy_does_and_reading_changes_nothing(config):
    train = replace(TRAIN, dropout=0.5, batches="lanes")
    learner, twin = (trained(config, train, dtype="float32") for _ in range(2))
    lent = learner.model(VOCABULARY)
    copy = create_model(config, learner.arrays(), VOCABULARY, "torch", "float32")
    ids = batch(length=30)[0]
    for model in (lent, copy):
        model.step(ids[:, 0], model.start(B))
    found, expected = (model.log_probs(ids, model.start(B))[0] for model in (lent, copy))
    np.testing.assert_array_equal(found, expected)
    assert_equal(learner.arrays(), twin.arrays())
    for seed in (8, 9):
        assert learner.update(*batch(seed), 0.01) == twin.update(*batch(seed), 0.01)
    assert_equal(learner.arrays(), twin.arrays())
    assert not np.array_equal(lent.log_probs(ids, lent.start(B))[0], found)


@pytest.mark.parametrize(
    "config", [*MIXERS.values(), *ATTENTION.values()], ids=[*MIXERS, *ATTENTION]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_it_reads_as_the_reference_does_at_once_in_pieces_and_step_by_step(
    config, dtype, tolerance
):
    model, reference = model_of(config, dtype), model_of(config, engine="reference")
    assert isinstance(model, LanguageModel)
    ids = batch(lanes=B, length=50)[0]
    expected, _ = reference.log_probs(ids, reference.start(B))
    whole, _ = model.log_probs(ids, model.start(B))
    assert whole.dtype == dtype
    np.testing.assert_allclose(whole, expected, rtol=0, atol=tolerance)
    state, found = model.start(B), []
    for begin, end in ((0, 3), (3, 4), (4, 9), (9, 35), (35, 36), (36, 50)):
        part, state = model.log_probs(ids[:, begin:end], state)
        found.append(part)
    np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=0, atol=tolerance)
    state = model.start(B)
    for t in range(50):
        log_p, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(log_p, expected[:, t], rtol=0, atol=tolerance)


@each_window
def test_windows_are_read_alike_however_many_at_once(config, monkeypatch):
    model, ids = model_of(config), batch(length=100)[0]
    whole, state = model.log_probs(ids, model.start(B))
    for piece in (1, 3 * B * config.context * 48):
        monkeypatch.setattr(window_model, "PIECE", piece)
        parts, after = model.log_probs(ids, model.start(B))
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(after.ids, state.ids)


@each_window
def test_a_long_text_has_the_same_loss_however_it_is_read(config, monkeypatch):
    monkeypatch.setattr("charloom.evaluation.LANE_LENGTH", 300)
    ids = batch(lanes=1, length=1000)[0, 0]
    model, reference = model_of(config), model_of(config, engine="reference")
    state, losses = model.start(1), []
    for before, after in pairwise(ids):
        log_p, state = model.step(np.array([before]), state)
        losses.append(-log_p[0, after])
    for one in (model, reference):
        assert evaluate(one, ids).nats == pytest.approx(np.mean(losses), rel=1e-10)
        assert surprise(one, ids).nats == pytest.approx(losses, rel=1e-8)


@each_mixer
def test_an_older_state_can_be_gone_back_to(config):
    model, (ids, others) = model_of(config), batch(length=20)
    expected, _ = model.log_probs(ids, model.start(B))
    states = [model.start(B)]
    for t in range(20):
        states.append(model.step(ids[:, t], states[-1])[1])
    for t in (0, 3, 8, 9, 15, 19):  # off the path and back, from each of them, twice
        for _ in range(2):
            model.step(others[:, t], states[t])
            log_p, _ = model.step(ids[:, t], states[t])
            np.testing.assert_allclose(log_p, expected[:, t], rtol=0, atol=1e-13)
    for t in (2, 11):  # two futures, side by side
        left = right = states[t]
        for k in range(t, 20):
            log_p, left = model.step(ids[:, k], left)
            _, right = model.step(others[:, k], right)
            np.testing.assert_allclose(log_p, expected[:, k], rtol=0, atol=1e-13)


def test_memory_stays_the_same_however_much_is_read():
    model = model_of(SMALL)
    state = model.log_probs(batch(length=5000)[0], model.start(B))[1]
    assert state.ids.shape[1] <= T
    assert state.ids.base is None
    for t in range(40):
        state = model.step(batch(t)[0][:, 0], state)[1]
        assert state.ids.shape[1] <= T
        assert state.cache.keys.shape == (2, B, 3, T, 4)


@each_mixer
def test_ids_outside_the_vocabulary_are_refused(config):
    model = model_of(config)
    for bad in (-1, V):
        with refused("bad-array", vocabulary_size=V):
            model.step(np.array([0, bad]), model.start(2))
        with refused("bad-array", vocabulary_size=V):
            model.log_probs(np.array([[0, 1, bad]]), model.start(1))


@each_mixer
def test_it_writes_what_the_reference_writes(config):
    sample = SampleConfig(seed=1, temperature=0.8, top_p=0.95)
    expected = generate_many(model_of(config, engine="reference"), sample, "abcdefgabcdefg", 60, 2)
    assert generate_many(model_of(config), sample, "abcdefgabcdefg", 60, 2) == expected
    assert len(set(expected)) == 2


# A run.


def resumed(run: Run, path: Path, step: int) -> Run:
    """Return a copy of a finished run that went on from an earlier checkpoint."""
    shutil.copytree(run.path, path)
    copy = Run.open(path)
    for later in steps(copy.checkpoints):
        if later > step:
            shutil.rmtree(copy.checkpoints / f"{later:08d}")
    play(copy, resume=True)
    return copy


@pytest.mark.parametrize(
    ("mixer", "batches"), [("learned", "windows"), ("rotary", "windows"), ("mingru", "lanes")]
)
def test_a_run_stops_and_goes_on_to_the_same_bits(tmp_path, mixer, batches):
    train = replace(TRAIN, iterations=12, batches=batches, dropout=0.2, learning_rate=0.01)
    watch = WatchConfig(evaluate_every=4, sample_every=6, checkpoint_every=3, keep=9)
    data = DataConfig(sources=(str(write_text(tmp_path)),))
    config = RunConfig(model=MIXERS[mixer], train=train, watch=watch, data=data)
    run = played(tmp_path / "whole", config)
    assert steps(run.checkpoints)[-1] == 12
    expected = outcome(run)
    for step in (3, 9):
        assert outcome(resumed(run, tmp_path / f"from-{step}", step)) == expected
    unwatched = played(tmp_path / "unwatched", replace(config, watch=NEVER))
    assert outcome(unwatched)["arrays"] == expected["arrays"]


# Held to another's.


@pytest.mark.slow
def test_it_is_gpt2_without_biases():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=V,
            n_positions=T,
            n_embd=12,
            n_layer=2,
            n_head=3,
            activation_function="gelu",
            bos_token_id=0,
            eos_token_id=0,
        )
    ).double()
    theirs.eval()
    weights = {name: torch.from_numpy(w) for name, w in weights_of(SMALL).items()}
    names = {"embedding": "wte.weight", "position": "wpe.weight", "norm": "ln_f.weight"}
    for layer in range(2):
        parts = {"norm1": "ln_1", "Wx": "attn.c_attn", "Wo": "attn.c_proj"}
        parts |= {"norm2": "ln_2", "W1": "mlp.c_fc", "W2": "mlp.c_proj"}
        names |= {
            f"layer{layer}.{ours}": f"h.{layer}.{name}.weight" for ours, name in parts.items()
        }
    with torch.no_grad():
        for name, parameter in theirs.transformer.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
            else:
                ours = next(ours for ours, other in names.items() if other == name)
                parameter.copy_(weights[ours])
        expected = theirs(torch.from_numpy(batch()[0])).logits.log_softmax(-1)
    found, _ = model_of(SMALL).log_probs(batch()[0], model_of(SMALL).start(B))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
