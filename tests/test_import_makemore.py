"""makemore's models: its RNN, its GRU and its bigrams, as it computes them, and what is refused."""

import pickle
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.config import SampleConfig
from charloom.formats.old.importing import import_run
from charloom.formats.old.recognition import recognise
from charloom.generation.sampling import generate
from charloom.runs.open import open_model
from expect import error_of, refused
from old_files import log_softmax

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LINES = ["emma", "olivia", "ava", "isabella", "sophia", "quinn", "z"]
LETTERS = "".join(sorted({*"".join(LINES)}))
D, H = 5, 7


def state_dict(kind: str, letters: str = LETTERS) -> dict[str, Any]:
    V, rng = len(letters) + 1, np.random.default_rng(4)
    shapes = {"start": (1, H), "wte.weight": (V, D)}
    for gate in {"rnn": ["xh_to_h"], "gru": ["xh_to_z", "xh_to_r", "xh_to_hbar"]}.get(kind, []):
        shapes |= {f"cell.{gate}.weight": (H, D + H), f"cell.{gate}.bias": (H,)}
    shapes |= {"lm_head.weight": (V, H), "lm_head.bias": (V,)}
    if kind == "bigram":
        shapes = {"logits": (V, V)}
    return {name: torch.tensor(rng.normal(0, 0.7, shape)) for name, shape in shapes.items()}


def by_hand(weights: dict[str, Any], line: str, letters: str = LETTERS) -> Any:
    """Return what makemore's formulas give a line and its end: log-probabilities (N + 1, V)."""
    w = {name: array.numpy().astype(np.float64) for name, array in weights.items()}

    def linear(name: str, *x: Any) -> Any:
        return w[f"{name}.weight"] @ np.concatenate(x) + w[f"{name}.bias"]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    h, rows = w["start"][0] if "start" in w else None, []
    for id_ in [0, *(letters.index(character) + 1 for character in line)]:
        if "logits" in w:
            rows.append(w["logits"][id_])
            continue
        x = w["wte.weight"][id_]
        if "cell.xh_to_h.weight" in w:
            h = np.tanh(linear("cell.xh_to_h", x, h))
        else:
            r, z = sigmoid(linear("cell.xh_to_r", x, h)), sigmoid(linear("cell.xh_to_z", x, h))
            h = (1 - z) * h + z * np.tanh(linear("cell.xh_to_hbar", x, r * h))
        rows.append(linear("lm_head", h))
    return log_softmax(np.array(rows))


def save(path: Path, weights: dict[str, Any]) -> Path:
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "gru that begins beyond 1", "bigram"])
def test_it_predicts_what_makemore_does(tmp_path: Path, kind: str, engine: Any) -> None:
    """However many lines were read before, and though `start` is no state of ours."""
    weights = state_dict(kind.partition(" ")[0])
    if "beyond" in kind:
        weights["start"] *= torch.tensor([[1, 2, 4, 8, 1, 1, 1]])
    (tmp_path / "names.txt").write_text("\n".join(LINES) + "\n")
    path = save(tmp_path / "model.pt", weights)
    run, of_file = import_run(path, tmp_path / "run", text=str(tmp_path / "names.txt"))
    assert (of_file.program, run.vocabulary.characters) == ("makemore", ("\n", *LETTERS))
    model = open_model(run, engine)
    ids = model.vocabulary.encode("\n" + "".join(f"{line}\n" for line in LINES))
    found = model.log_probs(ids[np.newaxis, :-1], model.start(1))[0][0]
    theirs = np.concatenate([by_hand(weights, line) for line in LINES])
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5)


def test_a_line_is_written_from_its_beginning(tmp_path: Path) -> None:
    """An empty prompt is a new line: the first character is drawn as makemore draws it."""
    weights = state_dict("gru")
    (tmp_path / "letters.pkl").write_bytes(pickle.dumps([*LETTERS]))
    path = save(tmp_path / "model.pt", weights)
    run, _ = import_run(path, tmp_path / "run", tmp_path / "letters.pkl")
    first = "".join(generate(open_model(run), SampleConfig(temperature=0), length=1))
    assert first == ("\n" + LETTERS)[by_hand(weights, "")[0].argmax()]


def test_26_letters_are_those_of_names(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pt", state_dict("rnn", string.ascii_lowercase))
    result = CliRunner().invoke(cli.charloom, ["import", str(path), "-o", str(tmp_path / "run")])
    assert error_of(result) is None, result.output
    assert "a to z" in result.output
    with refused("unsupported", characters=len(LETTERS) + 1):
        import_run(save(tmp_path / "other.pt", state_dict("rnn")), tmp_path / "other")


@pytest.mark.parametrize("kind", ["transformer", "bow", "mlp"])
def test_what_begins_anew_at_each_line_or_carries_nothing_is_refused(
    tmp_path: Path, kind: str
) -> None:
    names = {
        "transformer": ["transformer.wte.weight", "transformer.h.0.ln_1.bias", "lm_head.weight"],
        "bow": ["wte.weight", "wpe.weight", "context_block.mlp.c_fc.weight", "lm_head.weight"],
        "mlp": ["wte.weight", "mlp.0.weight", "mlp.2.weight"],
    }
    weights = {name: torch.ones(4, 4) for name in names[kind]}
    with refused("unsupported"):
        recognise(save(tmp_path / "model.pt", weights))


@pytest.mark.parametrize("what", ["another array", "a shape", "a state beyond 1", "no table"])
def test_what_is_no_such_model_is_refused(tmp_path: Path, what: str) -> None:
    weights, code = state_dict("gru"), "damaged"
    if what == "another array":
        weights["cell.more.weight"], code = torch.ones(3), "unsupported"
    if what == "a shape":
        weights["cell.xh_to_r.bias"] = torch.ones(3)
    if what == "a state beyond 1":
        weights["start"], code = 1000 * torch.ones(1, H), "unsupported"
        weights["cell.xh_to_z.bias"] = -90 * torch.ones(H)
    if what == "no table":
        weights = {"logits": torch.ones(3, 4)}
    with refused(code):  # type: ignore[arg-type]
        recognise(save(tmp_path / "model.pt", weights))
