"""An n-gram model as an ARPA file: read again as the format says, it predicts the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from charloom.cli.export import export
from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.formats.arpa import export_arpa, name_of
from charloom.models.ngram import NgramModel
from charloom.models.versions import versions
from charloom.runs.meta import Meta
from charloom.runs.run import Run
from expect import refused

TEXT = "the cat sat on the mat.\n\nthat hat, the cat, and\tthe dog sat é.\n" * 3
OTHER = "a dog, and the hat sat on that cat.\n#the mat é"
VOCABULARY = Vocabulary.from_text(TEXT + OTHER)  # "#" was never counted


def counted(folder: Path, config: NgramConfig) -> tuple[Run, NgramModel]:
    settings = RunConfig(model=config, data=DataConfig(validation=0.0))
    run = Run.create(folder, settings, VOCABULARY, Text.from_string(TEXT, "text"))
    model = NgramModel.fit(VOCABULARY.encode(TEXT), VOCABULARY, config)
    run.save(model.arrays(), Meta(step=1, seconds=0.0, best=None, versions=versions("reference")))
    return run, model


def read(path: Path) -> tuple[list[int], dict[tuple[str, ...], tuple[float, float]]]:
    """Return how many n-grams of each length a file promises, and log10 of P and of the backoff."""
    head, *sections = path.read_text().split("\n\n")
    assert head.startswith("\\data\\\n")
    sizes = [int(line.split("=")[1]) for line in head.splitlines()[1:]]
    assert sections.pop() == "\\end\\\n"
    found: dict[tuple[str, ...], tuple[float, float]] = {}
    for n, section in enumerate(sections, 1):
        title, *lines = section.splitlines()
        assert title == f"\\{n}-grams:"
        assert len(lines) == sizes[n - 1]
        for line in lines:
            log, words, *backoff = line.split("\t")
            gram = tuple(words.split(" "))
            assert len(gram) == n
            assert float(log) <= 0
            assert n == 1 or gram[:-1] in found
            found[gram] = float(log), float(backoff[0]) if backoff else 0.0
    return sizes, found


def score(grams: Any, context: tuple[str, ...], word: str) -> float:
    """log10 P(word | context), backing off as the format says."""
    if (*context, word) in grams:
        found: float = grams[*context, word][0]
        return found
    backoff = grams[context][1] if context in grams else 0.0
    return backoff + score(grams, context[1:], word)


@pytest.mark.parametrize("smoothing", ["held-out", "kneser-ney", "witten-bell"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_it_predicts_what_charloom_does(tmp_path: Path, order: int, smoothing: Any) -> None:
    run, model = counted(tmp_path / "run", NgramConfig(order=order, smoothing=smoothing))
    path, grams = export_arpa(run, tmp_path / "a.arpa")
    sizes, found = read(path)
    assert len(sizes) == order
    assert sum(sizes) >= grams
    for special in ("<s>", "</s>", "<unk>"):
        assert (special,) in found
    ids = VOCABULARY.encode(OTHER)
    ours = model.log_probs(ids[None, :-1], model.start(1))[0][0]
    words = tuple(map(name_of, OTHER))
    for t in range(order, len(OTHER)):
        theirs = score(found, words[t - order + 1 : t], words[t])
        assert theirs * np.log(10) == pytest.approx(ours[t - 1, ids[t]], abs=1e-5)


def test_no_name_has_white_space_or_is_another_s() -> None:
    names = [*map(name_of, VOCABULARY.characters)]
    assert not any(character.isspace() for name in names for character in name)
    assert len({*names}) == len(names)
    assert name_of(" ") == "<U+0020>"


def test_others_are_refused(tmp_path: Path) -> None:
    run, _ = counted(tmp_path / "run", NgramConfig(smoothing="none"))
    with refused("unsupported"):
        export_arpa(run, tmp_path / "a.arpa")
    config = RunConfig(model=ModelConfig(hidden=2), data=DataConfig(validation=0.0))
    network = Run.create(tmp_path / "net", config, VOCABULARY, Text.from_string(TEXT, "text"))
    with refused("unsupported"):
        export_arpa(network, tmp_path / "a.arpa")
    assert not (tmp_path / "a.arpa").exists()


def test_the_command_says_what_kenlm_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counted(tmp_path / "run", NgramConfig(order=8))
    result = CliRunner().invoke(export, ["run", "--arpa"])
    assert result.exit_code == 0, result.output
    assert "2 to 6" in result.output
    assert Path("run.arpa").exists()
