"""`charloom.data.learned`: what runs and models leave behind is not taken for a text."""

from pathlib import Path

import pytest

from charloom.data.learned import kind_of_folder, refuse_learned
from expect import refused

RUN = (
    *("config.json", "vocabulary.json", "corpus.json", "metrics.jsonl", "final.json", "ids.npy"),
    *("samples/10.txt", "checkpoints/10/MANIFEST.json", "checkpoints/10/model.safetensors"),
)
MODEL = ("config.json", "tokenizer.json", "merges.txt", "model.safetensors", "README.md")


def fill(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "run", RUN)
    fill(tmp_path / "model", MODEL)
    return tmp_path


def test_a_run_and_a_model_are_told_by_their_files(here: Path) -> None:
    fill(here / "app", ("config.json", "checkpoints/notes.txt"))
    kinds = [kind_of_folder(Path(name)) for name in ("run", "model", "app", "nowhere")]
    assert kinds == ["a run", "a model", "", ""]


@pytest.mark.parametrize(
    "name", [*RUN[:6], "samples", "checkpoints", "checkpoints/10", *RUN[-2:], "../run/samples"]
)
def test_a_part_of_a_run_is_refused_and_the_run_is_named(here: Path, name: str) -> None:
    with refused("not-text", why="part of a run", path=f"run/{name}") as caught:
        refuse_learned(f"run/{name}")
    assert f"charloom resume {here / 'run'};" in str(caught.value)


@pytest.mark.parametrize("name", MODEL[:3])
def test_a_file_of_a_model_is_refused(here: Path, name: str) -> None:
    with refused("not-text", why="part of a model", path=f"model/{name}"):
        refuse_learned(f"model/{name}")


def test_a_link_to_a_part_of_a_run_is_refused(here: Path) -> None:
    Path("text.txt").symlink_to("run/metrics.jsonl")
    with refused("not-text", why="part of a run", path="text.txt"):
        refuse_learned("text.txt")


def test_what_is_beside_them_is_text(here: Path) -> None:
    """A sample that is named, what somebody has put there, a copy of the text, names elsewhere."""
    fill(
        here,
        (
            "run/my poem.txt",
            "run/corpus.txt",
            "talks/samples/1.txt",
            "talks/config.json",
            "checkpoints/a.txt",
        ),
    )
    own = ("run/samples/10.txt", "run/my poem.txt", "run/corpus.txt", "model/README.md")
    for name in (*own, "talks/samples", "talks/samples/1.txt", "talks/config.json", "checkpoints"):
        refuse_learned(name)
