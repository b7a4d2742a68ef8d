"""`charloom compare`: the table and what is said below it, and one of each kind on a budget."""

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from charloom import cli
from charloom.analysis import comparison as library
from charloom.config import NgramConfig, replace
from charloom.data.known_texts import load_corpus
from charloom.errors import CharloomError, Code
from charloom.runs.run import Run
from charloom.training import each_kind, planning
from charloom.training.events import Event, Finished
from expect import check, error_of
from small_runs import NEVER, config_of, played

CONTENT = load_corpus("us-constitution")[:4000]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and two runs, which tests only read."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "law.txt").write_text(CONTENT)
    settings = config_of(folder / "law.txt", watch=NEVER)
    played(folder / "runs" / "gru", config_of(folder / "law.txt", "gru", watch=NEVER))
    played(folder / "runs" / "ngram", replace(settings, model=NgramConfig(order=8)))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling is timed for a moment only, with the reference, which has nothing to compile."""
    monkeypatch.setattr(library.compare, "__defaults__", (None, library.say_nothing, 0.01, None))
    monkeypatch.setattr(library, "open_model", partial(library.open_model, engine="reference"))


def charloom(*arguments: str) -> Result:
    return CliRunner().invoke(cli.charloom, ["compare", *arguments])


def test_the_table_marks_baselines_and_a_sentence_says_who_is_ahead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    result = charloom("runs/gru", "runs/ngram")
    assert result.exit_code == 0, result.output
    about, where, _, title, header, *lines = result.stdout.splitlines()
    assert about.startswith("text  law.txt: 400 characters")
    assert "validation" in about
    assert where == "runs  in runs"
    titles = ["run", "model", "nats", "bits", "perplexity", "parameters", "trained", "chars/s"]
    assert header.split() == titles
    assert title.startswith("Static")
    rows, below = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert len(rows) == 2 + 10
    assert sum(" baseline " in row for row in rows) == 10
    assert below[0].startswith("Learning while reading")
    assert below[1].split() == titles[:5]
    learning, below = below[2 : below.index("")], below[below.index("") + 1 :]
    assert {row.split("  ")[0] for row in learning} >= {"context mixing", "gzip", "bz2", "xz"}
    (gru,) = (row for row in rows if row.startswith("gru "))
    assert re.fullmatch(r"gru +gru 2 x 4 +(\d+\.\d{3} +){2}\d+\.\d\d +[\d,]+ +0:\d\d +[\d,]+", gru)
    (best,) = (row for row in rows if row.startswith("ngram "))
    figures = [[float(x) for x in re.split("  +", row)[2:4]] for row in (best, gru)]
    found = [float(x) for x in re.findall(r"\d\.\d{3}", " ".join(below))]
    assert found[:2] == figures[0]
    ahead = [more - least for least, more in zip(*figures, strict=True)]
    assert found[2:4] == pytest.approx(ahead, abs=0.002)
    assert "runs/gru" in " ".join(below)


def test_json_has_all_of_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(CONTENT[:1000])
    runs = [str(home / "runs" / name) for name in ("gru", "ngram")]
    result = charloom(*runs, "--text", str(tmp_path / "text.txt"), "--json")
    document = json.loads(result.stdout)
    assert (document["text"], document["part"], document["characters"]) == ("text.txt", None, 1000)
    rows = {row["name"]: row for row in document["entries"]}
    gru = rows[runs[0]]
    assert gru["kind"] == "run"
    assert gru["bits"] == pytest.approx(gru["nats"] * 1.4426950408889634)
    assert gru["seen"] == 1.0
    assert set(gru) == {
        "name",
        "kind",
        "model",
        "nats",
        "bits",
        "perplexity",
        "parameters",
        "seconds",
        "speed",
        "seen",
        "learns",
    }
    assert [rows[name]["learns"] for name in ("xz", "unigram", runs[0])] == [True, False, False]
    assert rows["xz"]["kind"] == "baseline"
    assert document["notes"]
    assert document["verdict"].startswith(runs[1])


def test_what_was_learned_and_what_cannot_be_read_is_shown(home: Path, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("abc abd " * 40)
    (tmp_path / "text.txt").write_text(CONTENT[:1000])
    settings = replace(config_of(tmp_path / "small.txt", watch=NEVER), model=NgramConfig(order=2))
    small = played(tmp_path / "small", settings)
    run = str(home / "runs" / "ngram")
    result = charloom(run, str(small.path), "--text", str(tmp_path / "text.txt"))
    assert result.exit_code == 0
    assert re.search(r"runs/ngram \* +ngram 8 +\d", result.stdout, re.M)
    assert re.search(r"/small +ngram 2$", result.stdout, re.M)
    notes = " ".join(result.stdout.split()).split(" note ")
    unknown = Counter(c for c in CONTENT[:1000] if c not in "abc d").most_common(1)[0][0]
    assert any(str(small.path) in note and repr(unknown) in note for note in notes)
    assert any(run in note for note in notes)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("law.txt",), "not-found"),
        (("nothing",), "not-found"),
        (("runs/gru", "--budget", "1"), "bad-setting"),
        (("short.txt", "--budget", "1"), "no-text"),
        (("law.txt", "--budget", "0"), None),
    ],
)
def test_what_cannot_be_compared_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: Code | None
) -> None:
    monkeypatch.chdir(home)
    Path("short.txt").write_text(CONTENT[:100])
    result = charloom(*arguments)
    assert result.exit_code == 2
    if code is None:  # click's own
        assert "--budget" in result.stderr
    else:
        check(error_of(result), code)
    assert not Path("runs", "compare-law").exists()


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Networks of 4 units and 5 updates, whatever the minutes; returns what was to be planned."""
    asked: list[Any] = []

    def plan(
        config: Any, given: Any, text: Any, began: float, tell: Any, _vocabulary: Any
    ) -> planning.Plan:
        if isinstance(config.model, NgramConfig):
            return planning.Plan(config, (), began)
        asked.append((config, given))
        tell("measuring")
        train = replace(config.train, iterations=5, minutes=None, batch=2, length=20)
        small = replace(config.model, hidden=4, embedding=0)
        config = replace(config, model=small, train=train, engine="reference", dtype="float64")
        return planning.Plan(config, (), began)

    monkeypatch.setattr(planning, "plan", plan)
    monkeypatch.setattr(each_kind, "has_torch", lambda: False)
    return asked


def test_a_budget_trains_one_of_each_kind_and_compares_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("law.txt").write_text(CONTENT)
    result = charloom("law.txt", "--budget", "2")
    assert result.exit_code == 0, result.output
    told = result.stderr
    assert "pip install 'charloom[torch]'" in told
    assert "6:00" in told
    assert "runs/compare-law" in told
    assert [config.model.cell for config, _ in timed] == ["rnn", "lstm", "gru"]
    assert all(config.train.minutes == 2 for config, _ in timed)
    for kind in ("ngram", "rnn", "lstm", "gru"):
        assert re.search(rf"^{kind} +0:\d\d, .* \d\.\d\d\d nats, ", told, re.M)
        assert re.search(rf"^{kind} .* \d\.\d{{3}} ", result.stdout, re.M)
    assert "runs  in runs/compare-law" in result.stdout
    before = sorted(Path("runs/compare-law").rglob("*"))
    again = json.loads(charloom("law.txt", "--budget", "2", "--json").stdout)
    assert {str(Path(row["name"]).parent) for row in again["entries"] if row["kind"] == "run"} == {
        "runs/compare-law-2"
    }
    assert sorted(Path("runs/compare-law").rglob("*")) == before


def test_a_signal_ends_it_and_a_broken_network_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("law.txt").write_text(CONTENT)
    real = each_kind.train

    def train(run: Run, **more: Any) -> Iterator[Event]:
        if run.path.name == "rnn":
            raise CharloomError("loss is NaN", "diverged")
        for event in real(run, **more):
            if isinstance(event, Finished) and run.path.name == "lstm":
                event = Finished("interrupted", signal.SIGTERM, 1, 5, 1.0, None, None, run.path, 1)
            yield event

    monkeypatch.setattr(each_kind, "train", train)
    result = charloom("law.txt", "--budget", "1")
    assert result.exit_code == 128 + signal.SIGTERM
    assert re.search("^rnn .*loss is NaN$", result.stderr, re.M)
    assert "`charloom resume runs/compare-law/lstm`" in result.stderr
    assert "`charloom compare runs/compare-law/*`" in result.stderr
    assert not Path("runs/compare-law/gru").exists()
    assert result.stdout == ""


@pytest.mark.parametrize("code", ["diverged", "no-text", "bad-setting", "missing-library"])
def test_a_kind_that_cannot_be_trained_has_a_row_and_what_others_learned_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[Any], code: Code
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("law.txt").write_text(CONTENT)
    real = each_kind.train

    def train(run: Run, **more: Any) -> Iterator[Event]:
        if run.path.name == "lstm":
            raise CharloomError("the units are on strike", code)
        return real(run, **more)

    monkeypatch.setattr(each_kind, "train", train)
    result = charloom("law.txt", "--budget", "1")
    assert result.exit_code == 0, result.output
    for kind in ("ngram", "rnn", "gru"):
        assert re.search(rf"^{kind} .* \d\.\d{{3}} ", result.stdout, re.M)
    assert re.search("^lstm +lstm$", result.stdout, re.M)
    assert "runs/compare-law/lstm" in result.stdout.split("\nnote ", 1)[1]
    assert "the units are on strike" in " ".join(result.stdout.split())
    unread = json.loads(charloom("law.txt", "--budget", "1", "--json").stdout)["unread"]
    assert unread == [
        {"name": "runs/compare-law-2/lstm", "model": "lstm", "why": "the units are on strike"}
    ]


def test_if_no_kind_can_be_trained_the_first_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[Any]
) -> None:
    def train(run: Run, **_: Any) -> Iterator[Event]:
        raise CharloomError(run.path.name, "diverged", kind=run.path.name)

    monkeypatch.chdir(tmp_path)
    Path("law.txt").write_text(CONTENT)
    monkeypatch.setattr(each_kind, "train", train)
    result = charloom("law.txt", "--budget", "1")
    assert result.exit_code == 3
    check(error_of(result), "diverged", kind="ngram")


def test_an_interruption_between_two_runs_says_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[Any]
) -> None:
    def measuring(config: Any, *rest: Any) -> planning.Plan:
        if not isinstance(config.model, NgramConfig):
            raise KeyboardInterrupt
        return planning.Plan(config, (), rest[2])

    monkeypatch.chdir(tmp_path)
    Path("law.txt").write_text(CONTENT)
    monkeypatch.setattr(planning, "plan", measuring)
    result = charloom("law.txt", "--budget", "1")
    assert result.exit_code == 128 + signal.SIGINT
    assert "`charloom compare runs/compare-law/*`" in result.stderr


@pytest.mark.torch
@pytest.mark.parametrize("characters", [200, 500, 900])
def test_sizes_fit_a_short_text_so_that_every_kind_holds_out_the_same(
    tmp_path: Path, characters: int
) -> None:
    source = tmp_path / "law.txt"
    source.write_text(CONTENT[:characters])
    parts = set()
    for kind in each_kind.KINDS + each_kind.WITH_TORCH:
        given = {"model": kind} | ({} if kind == "ngram" else {"iterations": 1})
        run = planning.prepare([str(source)], given, tmp_path / kind).run
        validation = run.dataset().validation
        assert validation is not None
        parts.add((len(run.dataset().train), len(validation)))
    assert len(parts) == 1


def test_runs_on_a_budget_read_their_text_as_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(each_kind, "KINDS", ("ngram",))
    monkeypatch.setattr(each_kind, "WITH_TORCH", ())
    Path("posts").mkdir()
    for number in range(0, len(CONTENT), 200):
        post = CONTENT[number : number + 200]
        Path(f"posts/{number}.txt").write_bytes(f"{post}\nGrüße".encode("cp1252"))
    check(error_of(charloom("posts", "--drop-boilerplate")), "bad-setting")
    result = charloom(
        *("posts", "--budget", "1", "--drop-boilerplate", "--dedupe", "--encoding", "cp1252")
    )
    assert result.exit_code == 0, result.output
    run = Run.open("runs/compare-posts/ngram")
    assert (run.config.data.dedupe, run.config.data.encoding) == (True, "cp1252")
    assert "Grüße" not in run.read_text().content
