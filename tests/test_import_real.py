"""Models that the programs themselves have written, small ones: the loss is what they say it is."""

import json
from pathlib import Path

import pytest

from charloom.config import SampleConfig
from charloom.evaluation import evaluate
from charloom.formats.old.importing import import_run
from charloom.generation.sampling import generate
from charloom.runs.open import open_model

REAL = Path(__file__).parent / "data" / "old"
LOSSES = json.loads((REAL / "losses.json").read_bytes())


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_program_s_own(tmp_path: Path, name: str) -> None:
    if name.endswith(("5", ".keras")):
        pytest.importorskip("h5py")
    found, given = LOSSES[name], None
    if "characters" in found:
        given = tmp_path / "characters.json"
        given.write_text(json.dumps([*found["characters"]]))
    run, _ = import_run(REAL / name, tmp_path / "run", given)
    model = open_model(run, "reference")
    text = model.vocabulary.whole(found["text"])
    total = evaluate(model, text, lanes=1).nats * (len(found["text"]) - 1)
    ids = model.vocabulary.encode(found["text"])  # theirs is a mean over bytes if it knows these
    assert total / (len(ids) - 1) == pytest.approx(found["loss"], abs=1e-6)
    if "likeliest" in found:
        length = len(found["likeliest"])
        pieces = generate(model, SampleConfig(temperature=0), found["prompt"], length)
        assert "".join(pieces) == found["likeliest"]


def test_none_of_them_is_large() -> None:
    assert max(path.stat().st_size for path in REAL.iterdir()) < 60_000
