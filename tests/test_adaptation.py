"""Learning while reading: the same numbers as by hand, and nothing learned before it is scored."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from charloom.config import NgramConfig, TransformerConfig, replace
from charloom.evaluation import evaluate as evaluate_static
from charloom.models.mixing import InOrder
from charloom.models.optimizers import rmsprop
from charloom.models.reference import network
from charloom.models.reference.operations import cross_entropy
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training import adaptation
from charloom.training.adaptation import Adaptation, evaluate
from expect import refused
from small_runs import NEVER, TEXT, config_of, new_run, played, write_text

NEW = "Cannon to right of them, Cannon to left of them, Cannon in front of them " * 6
LOOKS, RATE = 30, 0.02  # fewer and more than those that are chosen, for a network of 4 units


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    source = folder / "text.txt"
    source.write_text(TEXT + "".join(sorted({*NEW} - {*TEXT})) + TEXT[:200])
    return played(folder / "lstm", config_of(source, watch=NEVER))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = replace(adaptation.RULE, learning_rate=RATE)
    monkeypatch.setattr(adaptation, "LOOKS", LOOKS)
    monkeypatch.setattr(adaptation, "RULE", rule)


def ids_of(run: Run, text: str = NEW) -> np.ndarray:
    return np.asarray(run.vocabulary.whole(text))


def by_hand(run: Run, ids: np.ndarray) -> np.ndarray:
    """Segment by segment, in float64, from the formulas of the reference: (N - 1, V)."""
    config = run.config.model
    weights = {name: w.astype(np.float64) for name, w in run.load_weights().items()}
    squares = {name: np.zeros_like(w) for name, w in weights.items()}

    def segment(inputs: np.ndarray, targets: np.ndarray, states, rate: float):
        logits, states, cache = network.forward(config, weights, inputs[:, None], states)
        _, dlogits = cross_entropy(logits, targets[:, None])
        gradients = network.backward(config, weights, dlogits / len(inputs), cache)
        shifted = logits[:, 0] - logits[:, 0].max(axis=1, keepdims=True)
        for name, w in weights.items():
            rmsprop(w, gradients[name], squares[name], rate, 0.999)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), states

    start = network.zero_states(config, 1, "float64")
    train, at, states = np.asarray(run.parts().train), 0, start
    for _ in range(LOOKS):
        if at + 51 >= len(train):  # as `Streams` has it
            at, states = 0, start
        _, states = segment(train[at : at + 50], train[at + 1 : at + 51], states, 0.0)
        at += 50
    found, states = [], start
    for at in range(0, len(ids) - 1, 50):
        targets = ids[at + 1 : at + 51]
        log_probs, states = segment(ids[at : at + len(targets)], targets, states, RATE)
        found.append(log_probs)
    return np.concatenate(found)


def test_it_computes_what_the_formulas_say(run: Run) -> None:
    ids = ids_of(run)
    assert len(ids) % 50 > 1  # the last segment is a short one
    found = np.concatenate(list(Adaptation(run, "reference").read(ids)))
    np.testing.assert_allclose(found, by_hand(run, ids), rtol=1e-9)


def test_the_compiled_engine_computes_the_same(folder: Path, run: Run) -> None:
    source = run.config.data.sources[0]
    fast = played(folder / "fast", config_of(source, engine="compiled", watch=NEVER))
    ids = ids_of(fast)
    found = np.concatenate(list(Adaptation(fast).read(ids)))
    assert found.dtype == np.float32
    exact, places = by_hand(fast, ids), np.arange(len(ids) - 1)
    np.testing.assert_allclose(found, exact, atol=2e-3)
    losses = [-table[places, ids[1:]].mean(dtype=np.float64) for table in (found, exact)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_loss_is_that_of_network_and_contexts_mixed(run: Run) -> None:
    ids = ids_of(run)
    log_probs = by_hand(run, ids)
    found = evaluate(run, ids, engine="reference")
    assert found.alone is not None
    alone = -math.fsum(log_probs[np.arange(len(ids) - 1), ids[1:]]) / (len(ids) - 1)
    assert found.alone.nats == pytest.approx(alone, rel=1e-9)
    train = run.parts().train
    counts = np.bincount(train, minlength=len(run.vocabulary)) + 1
    mixer = InOrder(run.vocabulary.characters, counts.tolist(), len(train) + len(ids))
    mixer.score(np.concatenate([train, ids[:1]]))
    assert found.score.nats == pytest.approx(mixer.score(ids[1:], log_probs).mean(), rel=1e-6)
    assert found.score.characters == found.alone.characters == len(ids)


class Cheating(Adaptation):
    """Learns each segment before it says what it would have predicted."""

    def read(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        self._learner.reset()
        state = self.model.start(1)
        for begin in range(0, len(ids) - 1, 50):
            targets = ids[None, begin + 1 : begin + 51]
            inputs = ids[None, begin : begin + targets.shape[1]]
            for _ in range(20):
                self._learner.update(inputs, targets, RATE)
            log_probs, state = self.model.log_probs(inputs, state)
            yield log_probs[0]


def looks_ahead(reader: type[Adaptation], run: Run) -> bool:
    """Whether a prediction changes when only what comes after it does."""
    ids = ids_of(run)[:130]

    def read(ids: np.ndarray) -> np.ndarray:
        return np.concatenate(list(reader(run, "reference").read(ids)))

    found = read(ids)
    for cut in (49, 50, 80):  # ids up to there are the same: segments end at 50, 100 and 129
        other = np.append(ids[: cut + 1], ids[cut + 1 :][::-1])
        if not np.array_equal(read(other)[: cut + 1], found[: cut + 1]):
            return True
    return False


def test_nothing_is_learned_before_it_is_scored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(adaptation, "LOOKS", 2)
        assert not looks_ahead(Adaptation, run)
        assert looks_ahead(Cheating, run)
    honest = evaluate(run, ids_of(run), engine="reference")
    monkeypatch.setattr(adaptation, "Adaptation", Cheating)
    cheated = evaluate(run, ids_of(run), engine="reference")
    assert honest.alone is not None
    assert cheated.alone is not None
    assert cheated.alone.nats < honest.alone.nats - 0.3
    assert cheated.score.nats < honest.score.nats


def test_it_learns_what_it_reads_and_the_run_stays_as_it_was(run: Run) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    ids = ids_of(run)
    static = evaluate_static(open_model(run, "reference"), ids).nats
    found = evaluate(run, ids, engine="reference")
    assert found.alone is not None
    assert found.score.nats < found.alone.nats < static
    reader = Adaptation(run, "reference")
    for _ in reader.read(ids):
        pass
    assert evaluate_static(reader.model, ids).nats < static
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_without_a_network_contexts_are_all_there_is(run: Run, folder: Path) -> None:
    settings = replace(run.config, model=NgramConfig(order=3))
    counts = played(folder / "ngram", settings)
    ids = ids_of(counts)
    found = evaluate(counts, ids)
    assert found.alone is None
    assert found.score.nats < evaluate_static(open_model(counts), ids).nats
    with refused("unsupported", path=str(counts.path)):
        Adaptation(counts)
    attention = replace(run.config, model=TransformerConfig(layers=1, width=8, heads=2))
    with refused("unsupported", path=str(folder / "attention")):
        evaluate(new_run(folder / "attention", attention), ids)
    with refused("no-text", characters=1):
        evaluate(counts, ids[:1])


def test_bytes_have_contexts_too_and_losses_are_per_character(tmp_path: Path) -> None:
    source = write_text(tmp_path)
    source.write_text("Größe über alles, süße Mühe. " * 20, encoding="utf-8")
    settings = config_of(source, watch=NEVER)
    data = replace(settings.data, unit="byte")
    run = played(tmp_path / "run", replace(settings, data=data))
    text = "süße Größe, " * 30
    found = evaluate(run, ids_of(run, text), engine="reference")
    assert found.alone is not None
    assert found.score.characters == len(text)
    assert found.score.nats < found.alone.nats
    log_probs = by_hand(run, ids_of(run, text))
    lost = -log_probs[np.arange(len(log_probs)), ids_of(run, text)[1:]].sum()
    assert found.alone.nats == pytest.approx(lost / (len(text) - 1), rel=1e-9)


def test_tokens_are_read_by_the_network_alone(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    source = write_text(tmp_path)
    settings = config_of(source, watch=NEVER)
    run = played(tmp_path / "run", replace(settings, data=replace(settings.data, unit="bpe")))
    found = evaluate(run, ids_of(run, TEXT[:300]), engine="reference")
    assert found.alone == found.score
