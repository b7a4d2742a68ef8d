from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.config import ModelConfig, SampleConfig, replace  # noqa: E402
from charloom.data.vocabulary import Vocabulary  # noqa: E402
from charloom.generation.sampling import generate_many  # noqa: E402
from charloom.models.engines import create_model  # noqa: E402
from charloom.models.protocols import LanguageModel  # noqa: E402
from charloom.models.reference import ReferenceModel  # noqa: E402
from charloom.models.torchnet.recurrent import RecurrentNetwork  # noqa: E402
from charloom.models.weights import initial_weights  # noqa: E402
from charloom.runs.open import open_model  # noqa: E402
from charloom.training import loop  # noqa: E402
from checkpoints import forge  # noqa: E402
from every_cell import CELLS, recurrent  # noqa: E402
from expect import refused  # noqa: E402
from small_runs import (  # noqa: E402
    config_of,
    new_run,
    outcome,
    play,
    stopped,
    write_text,
)

pytestmark = pytest.mark.torch

V, B, T = 7, 3, 5
ALPHABET = Vocabulary(tuple("abcdefg"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_it_predicts_what_the_reference_predicts_at_once_and_step_by_step(
    cell: str, dtype: str
) -> None:
    config = recurrent(cell, layers=2, hidden=6, embedding=2)
    weights = initial_weights(config, V, 0)
    plain = ReferenceModel(config, weights, ALPHABET)
    model = create_model(config, weights, ALPHABET, "torch", dtype)  # type: ignore[arg-type]
    assert isinstance(model, LanguageModel)
    ids = np.random.default_rng(0).integers(0, V, (B, T), dtype=np.uint8)
    expected, _ = plain.log_probs(ids, plain.start(B))
    found, end = model.log_probs(ids, model.start(B))
    assert (type(found), found.dtype, found.shape) == (np.ndarray, dtype, (B, T, V))
    bar = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found, expected, rtol=0, atol=bar)
    state = model.start(B)
    for t in range(T):
        before = [array.clone() for array in state]
        step, after = model.step(ids[:, t], state)
        np.testing.assert_allclose(step, expected[:, t], rtol=0, atol=bar)
        assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
        state = after
    for a, b in zip(state, end, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=bar)


def test_it_keeps_a_copy_of_the_weights() -> None:
    config = ModelConfig(hidden=6)
    weights = initial_weights(config, V, 0)
    model = create_model(config, weights, ALPHABET, "torch", "float64")
    ids = np.array([0, 1])
    before = model.step(ids, model.start(2))[0]
    for array in weights.values():
        array[...] = 0
    assert np.array_equal(model.step(ids, model.start(2))[0], before)


@pytest.mark.parametrize("bad", [-1, V])
def test_an_id_outside_the_vocabulary_is_refused(bad: int) -> None:
    config = ModelConfig(hidden=6)
    model = create_model(config, initial_weights(config, V, 0), ALPHABET, "torch")
    with refused("bad-array", vocabulary_size=7):
        model.step(np.array([0, bad]), model.start(2))


def test_weights_of_another_size_are_refused() -> None:
    config = ModelConfig(hidden=6)
    with refused("bad-array"):
        create_model(config, initial_weights(config, V + 1, 0), ALPHABET, "torch")


@pytest.mark.parametrize("cell", CELLS)
def test_what_it_trained_is_opened_by_any_engine_to_the_same_text(
    tmp_path: Path, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And losses that are tensors, as they are on a GPU, make the same run."""
    config = replace(config_of(write_text(tmp_path), cell, "torch"), dtype="float64")
    # In float32 one draw of a million falls on another id, depending on the processor.
    run = new_run(tmp_path / "run", config)
    play(run)
    texts = [
        generate_many(open_model(run, engine), SampleConfig(seed=5), "Theirs", 100, 2)  # type: ignore[arg-type]
        for engine in ("torch", "compiled", "reference")
    ]
    assert len(texts[0][0]) == 100
    assert texts[0] == texts[1] == texts[2]

    create = loop.create_learner

    def lazy(*arguments: Any) -> Any:
        learner: Any = create(*arguments)
        learner.lazy = True
        return learner

    monkeypatch.setattr(loop, "create_learner", lazy)
    late = new_run(tmp_path / "late", config)
    play(late)
    assert outcome(late) == outcome(run)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stopped_on(threads: int, path: Path) -> Any:
    """Return a run that was begun on so many threads, and stopped."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    run = stopped(path / "run", config_of(write_text(path), engine="torch"), 7)
    torch.set_num_threads(before)
    return run


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_on_as_many_threads_as_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = stopped_on(2, tmp_path), set[int]()
    forward = RecurrentNetwork.forward

    def noting(*arguments: Any) -> Any:
        seen.add(torch.get_num_threads())
        return forward(*arguments)

    monkeypatch.setattr(RecurrentNetwork, "forward", noting)
    first, *_ = play(run, resume=True)
    assert len(first.notes) == 1
    assert seen == {2}  # evaluations and samples, too
    assert torch.get_num_threads() == 1
    assert run.checkpoint("latest").meta.versions["threads"] == "2"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("threads", ["0", "1000000", "-2", "two", ""])
def test_a_number_of_threads_that_is_none_is_told_and_not_taken(
    tmp_path: Path, threads: str
) -> None:
    run = stopped_on(2, tmp_path)
    path = run.checkpoint("latest").path
    meta = (path / "meta.json").read_bytes()
    forge(path, "meta.json", meta.replace(b'"threads":"2"', f'"threads":"{threads}"'.encode()))
    first, *_ = play(run, resume=True)
    assert len(first.notes) == 1
    assert run.checkpoint("latest").meta.versions["threads"] == "1"


@pytest.mark.usefixtures("one_thread")
def test_where_the_bits_differ_anyway_a_run_goes_on_on_the_threads_that_there_are(
    tmp_path: Path,
) -> None:
    run = stopped_on(2, tmp_path)
    path = run.checkpoint("latest").path
    meta = msgspec.json.decode((path / "meta.json").read_bytes())
    meta["versions"] |= {"torch": "1.0", "device": "a GPU"}
    del meta["versions"]["processor"]  # as of old
    forge(path, "meta.json", msgspec.json.encode(meta))
    first, *_ = play(run, resume=True)
    assert len(first.notes) == 3
    assert run.checkpoint("latest").meta.versions["threads"] == "1"
