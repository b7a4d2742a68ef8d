"""Section C: gradients, the two engines, numbers that are not finite, determinism, the sampler."""

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.config import ModelConfig, SampleConfig, TrainConfig, replace
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.generation.draw import draw
from charloom.generation.sampling import generate_many
from charloom.models.compiled import CompiledLearner, CompiledModel
from charloom.models.compiled.arrays import named_views
from charloom.models.draw_kernel import draw as fast_draw
from charloom.models.draw_kernel import filters
from charloom.models.engines import create_learner
from charloom.models.optimizers import SLOTS
from charloom.models.reference import ReferenceLearner
from charloom.models.reference import learner as reference_learner
from charloom.models.reference.gradcheck import check_gradients, relative_error
from charloom.models.weights import weight_shapes
from expect import refused
from rounding import within_rounding
from test_reference_maths import MinCharRnn

CELLS = ("rnn", "lstm", "gru")
ENGINES = (ReferenceLearner, CompiledLearner)


def sample_of(items, count):
    """`count` of the items, spread evenly over them, so that a small sample sees all sides."""
    return [items[k * len(items) // count] for k in range(count)]


def drawn_start(learner, rng, deviation=0.5):
    """All of a learner's arrays, with weights and carried state from N(0, deviation^2)."""
    arrays = {name: array.copy() for name, array in learner.arrays().items()}
    for name, array in arrays.items():
        if not name.startswith(("optimizer.", "rng.")):
            array[...] = rng.normal(0, deviation, array.shape)
    return arrays


def weights_of(learner, model, V):
    return {name: learner.arrays()[name].copy() for name in weight_shapes(model, V)}


# C1: gradients

NETWORKS = list(itertools.product(CELLS, (1, 2, 3), range(1, 6), (1, 2, 3), (0, 3), (0.0, 0.4)))


@pytest.mark.reliability("C1", "gradients are slopes of the loss: cells, layers, T, B, dropout")
def test_gradients_of_both_engines_are_the_slope_of_the_loss(trials):
    V, worst = 5, {"reference": 0.0, "compiled": 0.0}
    number = trials.of(12, len(NETWORKS))
    for cell, layers, T, B, embedding, dropout in sample_of(NETWORKS, number):
        model = ModelConfig(cell=cell, layers=layers, hidden=3, embedding=embedding)
        errors = check_gradients(model, V, B, T, dropout=dropout)
        worst["reference"] = max(worst["reference"], *errors.values())
        # One step of plain SGD at rate 1 moves each weight by its gradient.
        train = TrainConfig(batch=B, length=T, optimizer="sgd", dropout=dropout)
        learners = [kind(model, train, V, "float64") for kind in ENGINES]
        rng = np.random.default_rng(0)
        start, ids = drawn_start(learners[0], rng), rng.integers(0, V, (B, T + 1))
        for learner in learners:
            learner.load(start)
            learner.update(ids[:, :-1], ids[:, 1:], 1.0)
        expected, found = (weights_of(learner, model, V) for learner in learners)
        for name, w in expected.items():
            error = relative_error(start[name] - found[name], start[name] - w)
            worst["compiled"] = max(worst["compiled"], error)
    trials.result(
        f"worst relative error {worst['reference']:.1e} against differences of the loss, "
        f"{worst['compiled']:.1e} between the engines"
    )
    assert worst["reference"] <= 1e-6
    assert worst["compiled"] <= 1e-10


@pytest.mark.reliability("C1", "each update is that of an independent min-char-rnn, relative 1e-6")
def test_updates_of_both_engines_are_those_of_min_char_rnn(trials):
    model = ModelConfig(cell="rnn", hidden=100, init_std=0.01)
    train = TrainConfig(
        optimizer="adagrad", reduction="sum", clip_value=5.0, batch=1, length=25, learning_rate=0.1
    )
    V, worst = 40, 0.0
    text = np.random.default_rng(0).zipf(1.3, 25 * 200 + 1) % V
    updates = trials.of(20, 200)
    for kind in ENGINES:
        learner = kind(model, train, V, "float64", seed=1)
        for p in range(0, 25 * updates, 25):
            historic = MinCharRnn(learner.arrays())
            summed = historic.update(text[p : p + 25], text[p + 1 : p + 26])
            loss = learner.update(text[None, p : p + 25], text[None, p + 1 : p + 26], 0.1)
            now = MinCharRnn(learner.arrays())
            pairs = zip(
                [np.array(25 * loss), now.h, *now.parameters, *now.memories],
                [np.array(summed), historic.h, *historic.parameters, *historic.memories],
                strict=True,
            )
            worst = max(worst, *(relative_error(ours, theirs) for ours, theirs in pairs))
    trials.result(f"worst relative error {worst:.1e}, both engines")
    assert worst <= 1e-6


# C2: the fast engine against the plain one

ENGINE_BARS = {"float32": 1e-5, "float64": 1e-12}
# A first step of the others divides the gradient by its own size: where that is next to 0, its
# rounding shows, and in float32 it is all there is. So they are compared in float64, and told.
DIVIDING = tuple(name for name in SLOTS if name != "sgd")
DIVIDING_BAR = 1e-10


def random_settings(rng):
    def whole(low, high):
        return int(rng.integers(low, high + 1))

    model = ModelConfig(
        cell=str(rng.choice(CELLS)),
        layers=whole(1, 3),
        hidden=whole(1, 40),
        embedding=whole(0, 1) * whole(1, 20),
    )
    train = TrainConfig(
        batch=whole(1, 40),
        length=whole(1, 20),
        optimizer="sgd",
        learning_rate=0.1,
        dropout=float(rng.choice([0, 0.3])),
        reduction=str(rng.choice(["mean", "sum"])),
        weight_decay=0.1,
        clip_value=[None, 5.0][whole(0, 1)],
        clip_norm=[None, 1.0][whole(0, 1)],
    )
    return model, train, whole(2, 60)


def engines_apart(model, train, V, dtype, seed):
    """The largest difference after one update: of loss, weights and carried state."""
    rng = np.random.default_rng(seed)
    plain = ReferenceLearner(model, train, V, "float64", seed=seed)
    fast = CompiledLearner(model, train, V, dtype, seed=seed)
    ids, start = rng.integers(0, V, (train.batch, train.length + 1)), drawn_start(plain, rng, 0.2)
    start = {  # both begin with what `dtype` can hold
        name: array.astype(dtype) if array.dtype == np.float64 else array
        for name, array in start.items()
    }
    found = []
    for learner in (plain, fast):
        learner.load(start)
        loss = learner.update(ids[:, :-1], ids[:, 1:], train.learning_rate)
        kept = {n: a for n, a in learner.arrays().items() if not n.startswith("optimizer.")}
        found.append({"loss": np.array(loss), **kept})
    return float(max(np.abs(found[1][name] - array).max() for name, array in found[0].items()))


@pytest.mark.reliability("C2", "compiled against reference: loss, moved weights, carried state")
def test_the_compiled_engine_gives_the_reference_s_numbers(trials):
    worst = dict.fromkeys([*ENGINE_BARS, "dividing"], 0.0)
    for seed in range(trials.of(15, 200)):
        model, train, V = random_settings(np.random.default_rng(seed))
        for dtype in ENGINE_BARS:
            worst[dtype] = max(worst[dtype], engines_apart(model, train, V, dtype, seed))
        other = replace(train, optimizer=DIVIDING[seed % len(DIVIDING)], learning_rate=0.01)
        apart = engines_apart(model, other, V, "float64", seed)
        worst["dividing"] = max(worst["dividing"], apart)
    trials.result(
        f"largest difference {worst['float32']:.1e} in float32, {worst['float64']:.1e} in float64; "
        f"{worst['dividing']:.1e} there after adagrad, rmsprop, adam, adamw"
    )
    for dtype, bar in ENGINE_BARS.items():
        assert worst[dtype] <= bar
    assert worst["dividing"] <= DIVIDING_BAR


# C3: numbers that are not finite

BAD = (math.nan, math.inf, -math.inf)


class Bench:
    """A learner of an engine in training, and the ways to spoil its next update."""

    def __init__(self, engine, seed, patch):
        self.engine, self.patch, self.V = engine, patch, 12
        self.rng = rng = np.random.default_rng(seed)
        self.model = ModelConfig(
            cell=CELLS[seed % 3], layers=1 + seed % 2, hidden=6, embedding=4 * (seed // 2 % 2)
        )
        self.train = TrainConfig(
            batch=(3, 18)[seed // 3 % 2],
            length=4,
            optimizer=[*SLOTS][seed % 5],
            clip_norm=(None, 1.0)[seed // 2 % 2],
            clip_value=(None, 5.0)[seed // 4 % 2],
            dropout=(0.0, 0.2)[seed // 5 % 2],
        )
        self.learner = create_learner(self.model, self.train, self.V, engine, "float32", seed)
        self.shapes = weight_shapes(self.model, self.V)
        self.ids = rng.integers(0, self.V, (self.train.batch, self.train.length + 1))

    def update(self):
        return float(self.learner.update(self.ids[:, :-1], self.ids[:, 1:], 0.01))

    def advance(self, updates):
        for _ in range(updates):
            assert math.isfinite(self.update())
            self.ids = self.rng.integers(0, self.V, self.ids.shape)

    def digest(self):
        """A hash of weights, slots and the count of updates: of all but the carried state."""
        digest = hashlib.sha256()
        for name, array in self.learner.arrays().items():
            if not name.startswith("state."):
                digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    def place(self, names, lanes=slice(None)):
        """A random number, of a weight among `names`, that this update reads: (name, place)."""
        name = str(self.rng.choice(names))
        place = [int(self.rng.integers(size)) for size in self.shapes[name]]
        if name == ("embedding" if self.model.embedding else "layer0.Wx"):
            place[0] = int(self.rng.choice(self.ids[lanes, :-1].ravel()))
        return name, tuple(place)

    def spoil_loss(self, value):
        if self.engine == "compiled":
            right = self.learner._run_workers

            def wrong(*arguments, **options):
                right(*arguments, **options)
                return value

            self.patch.setattr(self.learner, "_run_workers", wrong)
        else:
            right = reference_learner.cross_entropy
            wrong = lambda *arguments: (value, right(*arguments)[1])  # noqa: E731
            self.patch.setattr(reference_learner, "cross_entropy", wrong)

    def spoil_gradient(self, value):
        """Write into the gradient after it is made and before it moves anything."""
        if self.engine == "compiled":
            right = self.learner._run_workers

            def wrong(*arguments, **options):
                loss = right(*arguments, **options)
                worker = self.learner._workers[self.rng.integers(len(self.learner._workers))]
                name, place = self.place([*self.shapes], worker.lanes)
                named_views(worker.flat_gradient, self.model, self.V)[name][place] = value
                return loss

            self.patch.setattr(self.learner, "_run_workers", wrong)
        else:
            right = reference_learner.network.backward
            name, place = self.place([*self.shapes])

            def wrong(*arguments):
                gradients = right(*arguments)
                gradients[name][place] = value
                return gradients

            self.patch.setattr(reference_learner.network, "backward", wrong)

    def spoil_weight(self, value):
        """Infinity only where it is multiplied: in a bias it is a unit that is always full."""
        names = [*self.shapes]
        if not math.isnan(value):
            one_hot = [] if self.model.embedding else ["layer0.Wx"]
            names = [name for name in names if not name.endswith(".b") and name not in one_hot]
        name, place = self.place(names)
        self.learner.arrays()[name][place] = value


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.reliability("C3", "NaN or infinity in loss, gradient, weight: seen before the step")
def test_what_is_not_finite_is_seen_in_the_same_update_and_moves_nothing(engine, trials):
    seen = Counter()
    number = trials.of(10, 100)
    for trial in range(number):
        for what in ("loss", "gradient", "weight"):
            with pytest.MonkeyPatch.context() as patch:
                bench = Bench(engine, trial, patch)
                bench.advance(int(bench.rng.integers(1, 20)))
                value = BAD[bench.rng.integers(3)]
                getattr(bench, f"spoil_{what}")(value)
                before = bench.digest()
                loss = bench.update()
                np.testing.assert_equal(math.isfinite(loss), False, f"{what} {trial}")
                if what != "weight":
                    told = abs(value) if what == "loss" else math.nan
                    np.testing.assert_equal(abs(loss), told)
                seen[what] += bench.digest() == before
    told = ", ".join(f"{what} {seen[what]}/{number}" for what in seen)
    trials.result(f"seen, and nothing moved: {told} ({engine})")
    assert seen == {"loss": number, "gradient": number, "weight": number}


# C5: determinism

TRAINING = """
import hashlib, sys
import numpy as np
from charloom.models.compiled import CompiledLearner
from charloom.config import ModelConfig, TrainConfig
for seed in range(int(sys.argv[1])):
    rng = np.random.default_rng(seed)
    model = ModelConfig(cell=("lstm", "gru", "rnn")[seed % 3], layers=1 + seed % 2, hidden=24)
    train = TrainConfig(batch=40, length=9, dropout=0.1, clip_norm=1.0)
    dtype = ("float32", "float64")[seed // 3 % 2]
    learner = CompiledLearner(model, train, 70, dtype, seed)
    digest = hashlib.sha256()
    for _ in range(40):
        ids = rng.integers(0, 70, (40, 10))
        digest.update(np.float64(learner.update(ids[:, :-1], ids[:, 1:], 0.01)).tobytes())
    for name, array in learner.arrays().items():
        digest.update(name.encode() + array.tobytes())
    print(digest.hexdigest())
"""


@pytest.mark.reliability("C5", "the same bits in each process, with 1 thread and with 2")
def test_processes_and_threads_change_no_bit(trials, tmp_path):
    runs = trials.of(3, 10)
    found = {}
    for threads, process in itertools.product("12", range(3 if trials.full else 1)):
        command = [sys.executable, "-c", TRAINING, str(runs)]
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        if trials.full:  # the first process compiles, the others load what it compiled
            environment["XDG_CACHE_HOME"] = str(tmp_path)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[threads, process] = done.stdout.split()
    first = found["1", 0]
    assert len(set(first)) == runs
    same = sum(len({hashes[k] for hashes in found.values()}) == 1 for k in range(runs))
    trials.result(f"{same}/{runs} runs bit-identical in {len(found)} processes, half on 2 threads")
    assert same == runs


# C6: the sampler

SETTINGS = [
    {"temperature": t, "top_k": k, "top_p": p, "min_p": m}
    for t, k, p, m in itertools.product(
        (0.0, 1e-300, 1e-10, 1.0, 1e10, 1e300),
        (0, 1, 5, 10**9),
        (0.0, 1e-9, 0.9, 1.0),
        (0.0, 0.1, 1.0),
    )
]
EDGES = (math.inf, -math.inf, math.nan, 1e38, -1e38, 1e308, 0.0, -0.0, 5e-324, 1.0, -1.0)


def slow_and_fast(scores, settings, u):
    """What both samplers draw, None where they refuse; float64, and nothing may be written to."""
    config, found = SampleConfig(**settings), []
    before = scores.copy()
    for way in (
        lambda: draw(scores, config, u),
        lambda: fast_draw(scores, filters(config), u, np.empty((2, len(scores)))),
    ):
        try:
            found.append(way())
        except (CharloomError, ValueError):
            found.append(None)
    np.testing.assert_array_equal(scores, before)
    return found


@pytest.mark.reliability("C6", "any logits, any settings: an id in range or refused, both samplers")
def test_any_logits_give_an_id_in_range_or_are_refused(trials):
    rng, refused = np.random.default_rng(0), 0
    number = trials.of(1000, 10_000)
    for trial in range(number):
        V = int(rng.integers(1, 40))
        scores = rng.normal(0, 10.0 ** rng.integers(-3, 4), V)
        if trial % 2:
            edges = rng.random(V) < rng.random()
            scores[edges] = rng.choice(EDGES, edges.sum())
        u = float(rng.choice([0.0, rng.random(), 1 - 2**-53]))
        settings = SETTINGS[rng.integers(len(SETTINGS))]
        slow, fast = slow_and_fast(scores, settings, u)
        highest = scores.max()
        if fast != slow:
            near = within_rounding(scores, SampleConfig(**settings), u)
            assert fast in near, (scores, settings, u)
        assert (slow is None) == (not math.isfinite(highest)), (scores, settings, u)
        if slow is None:
            refused += 1
            continue
        assert 0 <= slow < V
        assert scores[slow] > -math.inf
        if settings["temperature"] == 0 or settings["top_k"] == 1:
            assert slow == scores.argmax()  # of equals the first
    trials.result(f"0 ids out of range, both alike; {refused:,} refused, rightly")


@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_settings_that_mean_nothing_are_refused(field, value):
    with refused("bad-setting", field=field):
        SampleConfig(**{field: value})


class Fixed:
    """The same prediction (V,) whatever it read."""

    def __init__(self, log_probs):
        self.log_p = np.asarray(log_probs, float)
        self.vocabulary = Vocabulary(tuple(map(chr, range(97, 97 + len(self.log_p)))))

    def start(self, lanes):
        return None

    def step(self, ids, state):
        return np.tile(self.log_p, (len(ids), 1)), state

    def log_probs(self, ids, state):
        return np.tile(self.log_p, (*ids.shape, 1)), state


def compiled_fixed(log_probs):
    """The same as a network of the compiled engine: its one weight that counts is head.b."""
    log_probs, config = np.asarray(log_probs, float), ModelConfig(cell="rnn", hidden=1)
    V = len(log_probs)
    weights = {n: np.zeros(s) for n, s in weight_shapes(config, V).items()}
    weights["head.b"] = np.where(np.isfinite(log_probs), log_probs, 0)
    model = CompiledModel(config, weights, Fixed(log_probs).vocabulary, np.float64)
    model._parameters.head_b[0] = log_probs
    return model


@pytest.mark.parametrize("make", [Fixed, compiled_fixed])
@pytest.mark.parametrize("log_probs", [[math.nan] * 3, [0.0, math.nan, 0.0], [0.0, math.inf, 0.0]])
def test_a_model_that_predicts_no_number_is_refused(make, log_probs):
    for settings in SETTINGS:
        with refused("bad-model"):
            generate_many(make(log_probs), SampleConfig(**settings), "a", 5)


@pytest.mark.parametrize("make", [Fixed, compiled_fixed])
def test_a_vocabulary_of_one_character_is_written_over_and_over(make):
    for settings in SETTINGS:
        assert generate_many(make([0.0]), SampleConfig(**settings), "", 5) == ["aaaaa"]


def chi_square_p(counts, probs):
    """P of a chi-square at least this large: of characters that come 5 times or more."""
    torch = pytest.importorskip("torch")
    expected = probs * counts.sum()
    many = expected >= 5
    counts, expected = (
        np.append(x[many], x[~many].sum()) if not many.all() else x for x in (counts, expected)
    )
    chi = float(((counts - expected) ** 2 / np.where(expected > 0, expected, 1)).sum())
    half = torch.tensor([(len(counts) - 1) / 2, chi / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


@pytest.mark.torch
@pytest.mark.reliability("C6", "chi-square of what is drawn against the softmax, p > 0.001")
def test_characters_come_as_often_as_they_should(trials):
    cases, draws = trials.of(2, 20), 1_000_000 if trials.full else 100_000
    least = 1.0
    for case in range(cases):
        rng = np.random.default_rng(case)
        V, temperature = int(rng.integers(2, 60)), float(rng.choice([0.5, 1.0, 1.5]))
        top_k = int(rng.choice([0, 20]))
        log_probs = np.log(rng.dirichlet(np.ones(V)))
        probs = np.exp((log_probs - log_probs.max()) / temperature)
        if 0 < top_k < V:
            probs[np.argsort(-log_probs)[top_k:]] = 0
        probs /= probs.sum()
        config = SampleConfig(temperature=temperature, top_k=top_k, seed=case)
        make = (compiled_fixed, Fixed)[case % 2]
        length = draws if make is compiled_fixed else draws // 10
        text = generate_many(make(log_probs), config, "a", length)[0]
        ids = np.frombuffer(text.encode("utf-32-le"), "<u4") - 97
        counts = np.bincount(ids, minlength=V)
        assert not counts[probs == 0].any()
        least = min(least, chi_square_p(counts, probs))
    trials.result(f"the smallest p is {least:.3f}; {draws:,} draws each, a tenth in plain Python")
    assert least > 0.001


# C7: the loss that is told


def read_safetensors(path):
    """The format as it is written down: 8 bytes of length, a JSON header, then the numbers."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    kinds = {"F32": "<f4", "F64": "<f8"}
    return {
        name: np.frombuffer(
            data[8 + size + entry["data_offsets"][0] : 8 + size + entry["data_offsets"][1]],
            kinds[entry["dtype"]],
        ).reshape(entry["shape"]).astype(np.float64)
        for name, entry in header.items()
    }  # fmt: skip


def lstm_nats(w, ids):
    """Mean nats per character of ids (N,), read from the first on by one LSTM layer."""
    H = w["layer0.Wh"].shape[0]
    h, c, total = np.zeros(H), np.zeros(H), 0.0
    for now, following in itertools.pairwise(ids):
        i, f, o, g = np.split(w["layer0.Wx"][now] + h @ w["layer0.Wh"] + w["layer0.b"], 4)
        i, f, o = (1 / (1 + np.exp(-x)) for x in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        logits = h @ w["head.W"] + w["head.b"]
        total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following]
    return total / (len(ids) - 1)


@pytest.mark.reliability("C7", "evaluate's loss = one worked out from the exported weights")
def test_the_loss_that_evaluate_tells_is_that_of_the_exported_weights(trials, tmp_path):
    worst = 0.0
    texts = trials.of(1, 5)
    for seed in range(texts):
        rng = np.random.default_rng(seed)
        text = "".join(rng.choice([*"the sea, the sky\n"], 3000))
        source, run = tmp_path / f"{seed}.txt", tmp_path / f"run{seed}"
        source.write_text(text)
        settings = ["--iterations", "30", "--hidden", "24", "--seed", str(seed), "--model", "lstm"]
        charloom("train", str(source), "--out", str(run), *settings, "--embedding", "0")
        told = json.loads(charloom("evaluate", str(run), "--json"))["scores"][0]
        weights = read_safetensors(best_checkpoint(run) / "model.safetensors")
        characters = sorted(set(text))
        ids = [characters.index(c) for c in text[-300:]]
        assert told["characters"] == 300
        nats = lstm_nats(weights, ids)
        figures = {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats)}
        worst = max(worst, *(abs(told[name] / value - 1) for name, value in figures.items()))
    trials.result(f"worst relative error {worst:.1e}, weights in float32")
    assert worst <= 1e-6


def charloom(*arguments):
    done = CliRunner(capture="fd").invoke(cli.charloom, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def best_checkpoint(run):
    """The folder of the checkpoint whose held-out loss is lowest: `evaluate` opens that one."""
    paths = run.glob("checkpoints/*/meta.json")
    best = json.loads(max(paths, key=lambda path: int(path.parent.name)).read_text())["best"]
    return next(p for p in run.glob("checkpoints/*") if int(p.name) == best["step"])
