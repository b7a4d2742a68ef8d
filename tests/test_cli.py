"""The command line: exit statuses, what is printed, and what stays on the disk."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from charloom import cli
from charloom.cli.options import OutputFile
from charloom.errors import Code
from charloom.runs.run import Run
from charloom.training import planning
from expect import check, error_of

PROGRAM = (sys.executable, "-m", "charloom")
TINY = ("--hidden", "8", "--layers", "1", "--batch", "4", "--length", "16", "--engine", "reference")
TEXT = "It was a dark and stormy night;\n" * 60


def charloom(*arguments: str, status: int = 0) -> Result:
    """Run a command in this process; training writes to this process's own descriptors."""
    result = CliRunner(capture="fd").invoke(cli.charloom, arguments)
    assert result.exit_code == status, result.output
    return result


def alone(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and two runs, which tests only read."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "novel.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        charloom("train", "novel.txt", "--out", "run", "--iterations", "30", *TINY)
        charloom("train", "novel.txt", "--out", "counts", "--model", "ngram")
        charloom("compress", "novel.txt", "--out", "novel.clm")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to `place`."""
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def label(printed: str, name: str) -> str:
    """The text beside a label."""
    (found,) = re.findall(rf"^{name} +(.*)$", printed, re.M)
    return str(found)


def test_help_loads_neither_numba_nor_torch_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys, charloom.cli\n"
        "try: charloom.cli.charloom(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'numba', 'torch', 'numpy', 'rich'} & {*sys.modules}, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stderr == "set()\n"
    assert result.stdout.index("train") < result.stdout.index("sample")


def test_training_prints_its_losses_and_what_to_do_next(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "novel.txt").write_text(TEXT)
    ask = ("train", "novel.txt", "--iterations", "20", *TINY)
    charloom(*ask)
    printed = capfd.readouterr().out
    assert label(printed, "text").startswith("novel.txt: 1,920 characters, 18 different")
    assert re.findall(r"\d[\d,]*", label(printed, "split")) == ["1,728", "192"]
    assert "3,650 parameters" in label(printed, "model")
    assert label(printed, "run") == "runs/novel-lstm"
    lines = printed.splitlines()
    loss = r": (\d\.\d{3}) nats, (\d\.\d{3}) bits per character, all 192 characters\."
    (nats, bits), *_ = re.findall(loss, printed)
    assert float(bits) == pytest.approx(float(nats) / 0.693147, abs=0.002)
    ended = next(i for i, line in enumerate(lines) if line.startswith("Done: 20 steps in 0:"))
    assert re.search(loss, lines[ended + 1])
    assert re.search(r" order \d, .* \d\.\d{3} nats on the same text: lower\.", lines[ended + 2])
    assert lines[ended + 3].startswith("All of the validation part is in the training part")
    best = Path("runs/novel-lstm/samples/best.txt").read_text()
    assert len(best) == 400
    assert [line.strip() for line in lines[ended + 7 : -5]] == [
        *map(str.strip, best.strip("\n").splitlines())
    ]
    assert lines[-4].endswith(" runs/novel-lstm")
    sample, show = (line.split("  ")[1] for line in lines[-2:])
    assert charloom(*sample.split()[1:], "--seed", "0", "--length", "400").stdout == best + "\n"
    assert best.rstrip() in charloom(*show.split()[1:]).stdout
    charloom(*ask)
    assert label(capfd.readouterr().out, "run") == "runs/novel-lstm-2"


def test_the_split_says_what_is_held_out(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "essays").mkdir()
    for n in (1, 2, 10):
        (folder / "essays" / f"{n}.txt").write_text(f"{n} {TEXT}")
    told = []
    for words in ("essays", "essays --split tail", "essays --split lines", "essays/1.txt"):
        charloom("train", *words.split(), "--model", "ngram")
        told.append(label(capfd.readouterr().out, "split").split(": ")[1])
    assert told[0] == "the end of each of 3 documents"
    assert told[1] == told[3] == "the end of the text"
    assert re.fullmatch(r"1\d of 180 lines, drawn at random", told[2])


def test_training_for_some_minutes_says_what_was_chosen(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.Planner, "check_time", lambda *_: None)  # however slow it is
    arguments = ("--minutes", "0.01", "--hidden", "24", "--engine", "reference", "--out", "timed")
    charloom("train", "novel.txt", *arguments)
    printed = capfd.readouterr().out
    asked = json.loads((here / "timed" / "config.json").read_bytes())
    assert (asked["train"]["minutes"], asked["model"]["hidden"]) == (0.01, 24)
    assert asked["train"]["iterations"] >= 1
    assert re.search(rf"^drop +dropout {asked['train']['dropout']:g}: ", printed, re.M)
    assert not re.search("^size ", printed, re.M)  # it was given
    assert re.search(r"^step [\d,]+ of about [\d,]+: ", printed, re.M)
    before = fingerprint(here / "timed")
    charloom("resume", "timed")
    assert fingerprint(here / "timed") == before  # it is complete
    capfd.readouterr()
    charloom("resume", "timed", "--minutes", "0.01")
    assert re.search(r"^note +0\.01 more minutes from step", capfd.readouterr().out, re.M)
    again = json.loads((here / "timed" / "config.json").read_bytes())
    assert (len(again["extended"]), again["train"]["epochs"]) == (1, None)
    assert again["train"]["minutes"] > 0.01
    charloom("resume", "timed", "--minutes", "-1", status=2)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_before_training_is_not_silent(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: type[BaseException],
) -> None:
    def interrupted(config: Any, given: Any, text: Any, began: float, tell: Any, *_: Any) -> None:
        tell("measuring")
        raise kind(130)

    monkeypatch.setattr(planning, "plan", interrupted)
    charloom("train", "novel.txt", "--out", "stopped", status=130)
    *_, measuring, last = capfd.readouterr().out.splitlines()
    assert measuring == "measuring ..."
    assert last
    assert not Path("stopped").exists()


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("jinja2", "report nowhere"),
        ("matplotlib", "report nowhere"),
        ("matplotlib", "plot nowhere"),
        ("jinja2", "study surprise nowhere --html page.html"),
        ("jinja2", "study neurons nowhere --html page.html"),
        ("yake", "study keywords nowhere --yake"),
        ("tensorboardX", "train nowhere --tensorboard"),
        ("torch", "train nowhere --model transformer"),
        ("torch", "train nowhere --accumulate 2"),
    ],
)
def test_a_missing_extra_is_told_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, library: str, arguments: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = CliRunner().invoke(cli.charloom, arguments.split())
    check(error_of(result), "missing-library", library=library)


@pytest.mark.parametrize("command", ["report", "plot"])
def test_json_needs_no_extra(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    for library in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, library, None)
    result = CliRunner().invoke(cli.charloom, [command, "nowhere", "--json"])
    check(error_of(result), "not-found")


@pytest.mark.parametrize(
    ("minutes", "step", "expected"),
    [
        (None, 250, " 25%  step 250 of 1,000  2:15 left"),
        (3.0, 250, " 50%  1:30 of 3:00  step 250"),
        (3.0, 1000, "100%  step 1,000 of 1,000  1:30"),
    ],
)
def test_the_bar_shows_time_if_that_ends_the_run(
    minutes: float | None, step: int, expected: str
) -> None:
    from rich.console import Console

    from charloom.cli.live import _bar
    from charloom.training.events import Progress

    left = 0.0 if step == 1000 else 135.0
    progress = Progress(step, 1000, 1.0, 1, 1.0, 1.0, 0.1, 1.0, seconds=90.0, left=left)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(_bar(progress, 99, minutes))
    assert capture.get().rstrip().endswith(expected)


def test_a_table_is_aligned_and_never_cut() -> None:
    from charloom.cli.text import table

    header, one, two = table(
        ("name", "kind", "figure"), [("日本", "[b]", "1"), ("x" * 300, "", "2,000")], left=2
    ).splitlines()
    assert header == f"name{'':298}kind  figure"
    assert one == f"日本{'':298}[b]        1"
    assert two == f"{'x' * 300}{'':9}2,000"


def test_with_iterations_what_is_chosen_follows_from_the_text_alone(here: Path) -> None:
    for out in ("one", "two"):
        charloom("train", "novel.txt", "--iterations", "3", "--engine", "reference", "--out", out)
    ends = [here / run / "checkpoints" / "00000003" for run in ("one", "two")]
    first, second = ((end / "model.safetensors").read_bytes() for end in ends)
    assert first == second


BAD: dict[str, tuple[bytes, str, Code]] = {
    "an empty file": (b"", "train it", "no-text"),
    "one character": (b"a", "train it", "no-text"),
    "shorter than T + 2": (b"abc" * 5, "train it --length 64", "no-text"),
    "not UTF-8": (b"one\ntwo \xff", "train it", "not-text"),
    "a missing file": (b"x", "train other", "not-found"),
    "an unknown corpus": (b"x", "train corpus:other", "not-found"),
    "an unknown preset": (b"ab", "train it --preset other", "bad-setting"),
    "a value out of range": (b"ab" * 99, "train it --dropout 2", "bad-setting"),
    "another model's option": (b"ab", "train it --model ngram --hidden 4", "bad-setting"),
    "width of an LSTM": (b"ab", "train it --width 4", "bad-setting"),
    "uneven heads": (b"ab", "train it --model transformer --heads 3", "bad-setting"),
    "nothing to tune": (b"ab", "train it --preset gpt2", "bad-setting"),
    "adapters of nothing": (b"ab", "train it --lora 4", "bad-setting"),
    "two ends": (b"ab" * 99, "train it --minutes 1 --epochs 2", "bad-setting"),
    "minutes to count": (b"ab", "train it --model ngram --minutes 1", "bad-setting"),
    "no time": (b"ab" * 99, "train it --minutes 0", "bad-setting"),
    "no run": (b"x", "sample other", "not-found"),
}


@pytest.mark.parametrize(("content", "arguments", "code"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(
    folder: Path, content: bytes, arguments: str, code: Code
) -> None:
    (folder / "it").write_bytes(content)
    result = charloom(*arguments.split(), status=2)
    check(error_of(result), code)
    assert result.stderr == f"charloom: {error_of(result)}\n"
    assert not (folder / "runs").exists()


def test_a_folder_without_text_is_refused(folder: Path) -> None:
    (folder / "folder").mkdir()
    check(error_of(charloom("train", "folder", status=2)), "no-text")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("sample run --prompt Ω", "unknown-character"),
        ("train corpus:us-constitution --iterations 1 --out run", "taken"),
        ("train corpus:us-constitution --iterations 1 --out .", "taken"),
        ("evaluate run other", "not-found"),
        ("sample run --top-p 3", "bad-setting"),
        ("train corpus:us-constitution --from other", "not-found"),
        ("train corpus:us-constitution --from run --hidden 9", "bad-setting"),
    ],
)
def test_a_refusal_leaves_a_run_as_it_was(here: Path, arguments: str, code: Code) -> None:
    before = fingerprint(here / "run")
    check(error_of(charloom(*arguments.split(), status=2)), code)
    assert fingerprint(here / "run") == before


def test_a_run_begins_with_the_weights_of_another(
    place: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = ("--from", str(place / "run"), "--iterations", "1", "--learning-rate", "0")
    charloom("train", str(place / "novel.txt"), *start, "--out", "taught")
    assert label(capfd.readouterr().out, "start").endswith(f" {place / 'run'}")
    both = (Run.open(path).load_weights() for path in (folder / "taught", place / "run"))
    taught, run = ({name: w.tobytes() for name, w in weights.items()} for weights in both)
    assert taught == run


def test_a_damaged_run_is_named(place: Path, folder: Path) -> None:
    shutil.copytree(place / "run", "run")
    for file in Path("run").rglob("model.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    for command in ("sample", "evaluate", "resume"):
        check(error_of(charloom(command, "run", status=2)), "damaged")


def test_sample_prints_the_text_alone_and_the_seed_decides_it(here: Path) -> None:
    options = ("--prompt", "It was", "--length", "40", "--seed", "3")
    first, second = (charloom("sample", "run", *options) for _ in range(2))
    assert first.stderr == ""
    assert first.stdout.startswith("It was")
    assert len(first.stdout) == 47
    assert first.stdout == second.stdout
    many = charloom("sample", "run", *options, "--count", "3", "--json")
    assert len(json.loads(many.stdout)["texts"]) == 3


def test_a_prompt_comes_from_a_file_or_standard_input_too(here: Path, tmp_path: Path) -> None:
    options = ("sample", "counts", "--length", "40", "--seed", "3")
    plain = charloom(*options, "--prompt", "It was\na").stdout
    file = tmp_path / "prompt.txt"
    for content in (b"It was\na", b"\xef\xbb\xbfIt was\r\na\r\n"):  # the last line end is not of it
        file.write_bytes(content)
        assert charloom(*options, "--prompt-file", str(file)).stdout == plain
        with file.open() as piped:
            assert alone(*options, "--prompt", "-", stdin=piped).stdout.decode() == plain
    asked = charloom(*options, "--prompt", "It was\r\na", "--json")
    document = json.loads(asked.stdout)
    assert (document["prompt"], document["texts"][0] + "\n") == ("It was\na", plain)
    for said in (asked, charloom(*options, "--prompt-file", str(file))):  # what was changed
        assert "CRLF" in said.stderr
    file.write_bytes(b"")
    check(error_of(charloom(*options, "--prompt-file", str(file), status=2)), "no-text")
    both = charloom(*options, "--prompt-file", str(file), "--prompt", "It", status=2)
    check(error_of(both), "bad-setting", field="prompt_file")


def test_what_makes_no_difference_to_greedy_text_is_told(here: Path) -> None:
    greedy = ("sample", "counts", "--length", "9", "--greedy")
    refused = charloom(*greedy, "--temperature", "0.5", status=2)
    check(error_of(refused), "bad-setting", field="greedy")
    assert charloom(*greedy, "--temperature", "0").stderr == charloom(*greedy).stderr == ""
    for idle in ("--top-k", "--seed", "--count"):
        assert idle in charloom(*greedy, idle, "3").stderr
    assert "--top-p" in charloom(*greedy[:-1], "--temperature", "0", "--top-p", "0.5").stderr


@pytest.mark.filterwarnings("default")
def test_a_stop_string_that_a_run_cannot_write_is_told(here: Path) -> None:
    result = charloom("sample", "counts", "--length", "9", "--stop", "#", "--stop", ";")
    assert "U+0023" in result.stderr
    assert result.stderr.count("charloom: ") == 1


def test_characters_that_a_run_has_never_seen_are_refused_or_skipped_and_told(
    here: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_text("It was é\na dark é ☃ night", "utf-8")
    refused = charloom("evaluate", "counts", str(odd), status=2)
    check(error_of(refused), "unknown-character", line=1, position=7, counts={"é": 2, "☃": 1})
    assert "U+2603 SNOWMAN" in refused.stderr
    told = charloom("evaluate", "counts", str(odd), "--unknown", "skip", "--json")
    assert "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) 2 times" in told.stderr
    (skipped,) = json.loads(told.stdout)["scores"]
    assert skipped.pop("skipped") == {"é": 2, "☃": 1}
    odd.write_text("It was \na dark   night")
    (even,) = json.loads(charloom("evaluate", "counts", str(odd), "--json").stdout)["scores"]
    assert even.pop("skipped") == {}
    assert skipped == even
    options = ("sample", "counts", "--length", "9", "--seed", "1", "--prompt")
    refused = charloom(*options, "Ité", status=2)
    check(error_of(refused), "unknown-character", counts={"é": 1})
    skipping = charloom(*options, "Ité", "--unknown", "skip")
    assert skipping.stdout == charloom(*options, "It").stdout
    assert "'é'" in skipping.stderr


def test_a_text_in_another_encoding_is_read_in_the_one_that_is_named(folder: Path) -> None:
    content = "Größe und Übermut tun selten gut;\n" * 30
    Path("wide.txt").write_text(content, "utf-16")
    Path("narrow.txt").write_text(content, "cp1252")
    Path("plain.txt").write_text(content, "utf-8")
    Path("bad.txt").write_bytes(content.encode() + b"caf\xe9\n")
    ngram = ("--model", "ngram", "--out")
    for name, encoding in (("wide", "UTF16"), ("narrow", "windows-1252")):
        check(error_of(charloom("train", f"{name}.txt", *ngram, name, status=2)), "not-text")
        charloom("train", f"{name}.txt", "--encoding", encoding, *ngram, name)
        assert Run.open(name).corpus.sha256 == hashlib.sha256(content.encode()).hexdigest()
    Path("narrow/ids.npy").unlink()  # made anew from the text, in its encoding
    plain = json.loads(charloom("evaluate", "narrow", "plain.txt", "--json").stdout)["scores"][0]
    named = charloom("evaluate", "narrow", "wide.txt", "--encoding", "utf-16", "--json")
    assert "read as utf-16" in named.stderr
    assert json.loads(named.stdout)["scores"][0] == plain | {"text": "wide.txt"}
    Run.open("narrow").dataset()
    with_errors = ("evaluate", "narrow", "bad.txt", "--errors", "replace")
    check(error_of(charloom(*with_errors, status=2)), "unknown-character", character="c")
    told = charloom(*with_errors, "--unknown", "skip").stderr
    assert "U+FFFD in 1 place " in told
    check(
        error_of(charloom("evaluate", "narrow", "bad.txt", "--encoding", "x", status=2)),
        "bad-setting",
    )


def test_sample_is_utf8_whatever_the_locale(folder: Path) -> None:
    Path("it").write_text("Ä ö ü ß — ☃\n" * 50, "utf-8")
    charloom("train", "it", "--out", "r", "--model", "ngram")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = alone("sample", "r", "--length", "100", "--seed", "1", env=environment)
    assert "☃" in result.stdout.decode("utf-8")


def test_sampling_into_a_closed_pipe_is_quiet(here: Path) -> None:
    command = f"{sys.executable} -m charloom sample counts --length 200000 | head -c 10"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (len(result.stdout), result.stderr) == (10, "")


def test_no_speed_is_shown_before_it_is_known(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    charloom("train", "novel.txt", "--iterations", "1", "--evaluate-every", "1", *TINY)
    printed = capfd.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("step 1 of 1: "))
    assert "characters/s" not in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["--help", "presets", "train --help", "sample counts"])
def test_output_to_a_full_disk_ends_in_a_line(here: Path, command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        arguments = [*PROGRAM, *command.split()]
        result = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
    said = "charloom: cannot write the output (No space left on device): free some space\n"
    assert (result.returncode, result.stderr.decode()) == (2, said)


def test_evaluate_agrees_with_itself(here: Path) -> None:
    (score,) = json.loads(charloom("evaluate", "run", "--json").stdout)["scores"]
    assert score["characters"] == 192
    assert score["bits"] == pytest.approx(score["nats"] / 0.6931471805599453, rel=1e-12)
    figures = [f"{score['nats']:.4f}", f"{score['bits']:.4f}", f"{score['perplexity']:.3f}", "192"]
    assert charloom("evaluate", "run").stdout.splitlines()[1].split() == ["validation", *figures]
    other = charloom("evaluate", "counts", "novel.txt", "--json")
    (score,) = json.loads(other.stdout)["scores"]
    assert score["characters"] == 1920


def test_evaluate_tells_static_and_learning_figures_apart(here: Path) -> None:
    (plain,) = json.loads(charloom("evaluate", "run", "--json").stdout)["scores"]
    (both,) = json.loads(charloom("evaluate", "run", "--adapt", "--json").stdout)["scores"]
    learning = both.pop("learning")
    assert both == plain
    assert learning["nats"] < learning["network_nats"] < plain["nats"]
    header, row = charloom("evaluate", "run", "--adapt").stdout.splitlines()
    static, learned = header.index("static"), header.index("learning while reading")
    assert static < learned
    figures = [f"{s[name]:.4f}" for s in (plain, learning) for name in ("nats", "bits")]
    assert row.split() == ["validation", *figures, "192"]
    (counts,) = json.loads(charloom("evaluate", "counts", "--adapt", "--json").stdout)["scores"]
    assert counts["learning"]["network_nats"] is None


def test_a_text_is_learned_before_another_is_written_and_the_run_stays(
    here: Path, tmp_path: Path
) -> None:
    before = fingerprint(here / "run")
    new = tmp_path / "new.txt"
    new.write_text("night " * 1000)
    ask = ("sample", "run", "--seed", "1", "--length", "60", "--prompt", "night n")
    plain = charloom(*ask).stdout
    adapted = charloom(*ask, "--adapt", str(new))
    assert adapted.stdout.count("night") > plain.count("night")
    document = json.loads(charloom(*ask, "--adapt", str(new), "--json").stdout)
    assert document["texts"] == [adapted.stdout[:-1]]
    assert document["adapt"] == str(new)
    assert fingerprint(here / "run") == before
    refused = charloom("sample", "counts", "--adapt", str(new), status=2)
    check(error_of(refused), "unsupported", path="counts")
    new.write_text("night, né")
    check(error_of(charloom(*ask, "--adapt", str(new), status=2)), "unknown-character")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "command",
    [
        "evaluate mine",
        "compare mine",
        "study novelty mine",
        "sample mine --max-copy 9 --length 9",
        "resume mine",
    ],
)
def test_a_text_that_has_grown_is_told_and_what_was_learned_is_gone_on_with(
    place: Path, folder: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "counts", "mine")
    Path("novel.txt").write_text(TEXT + "And more.\n")
    corpus = Path("mine/corpus.json")
    corpus.write_text(
        corpus.read_text().replace(str(place / "novel.txt"), str(folder / "novel.txt"))
    )
    result = charloom(*command.split())
    told = (result.stderr + capfd.readouterr().out).count(
        "novel.txt is not the text that was learned"
    )
    assert told == 1


def test_runs_lists_and_shows(here: Path) -> None:
    listed = json.loads(charloom("runs", "list", ".", "--json").stdout)
    rows = {Path(row["run"]).name: row for row in listed}
    assert rows.keys() >= {"run", "counts"}
    assert rows["run"]["steps"] == 30
    line = charloom("runs", "run").stdout.splitlines()[1]
    assert f" 30 {rows['run']['validation']:.4f} " in re.sub(" +", " ", line)
    shown = charloom("runs", "show", "run").stdout
    assert "3,650 parameters" in label(shown, "model")
    assert f"{rows['run']['validation']:.3f} nats" in label(shown, "validation")
    advice = json.loads(charloom("runs", "show", "run", "--json").stdout)["advice"]
    assert advice["text"] in shown


def test_runs_are_sorted_matched_renamed_and_deleted(folder: Path, place: Path) -> None:
    for name in ("run", "counts"):
        shutil.copytree(place / name, folder / name)

    def names(*options: str) -> list[str]:
        return [row["run"] for row in json.loads(charloom("runs", ".", "--json", *options).stdout)]

    rows = json.loads(charloom("runs", ".", "--json").stdout)
    best = min(rows, key=lambda row: row["validation"])["run"]
    assert names("--sort", "loss")[0] == best
    assert names("--sort", "steps")[0] == "run"
    assert names("--match", "NGRAM") == ["counts"]
    assert names("--match", "nothing like it") == []
    (folder / "counts" / "config.json").write_text("{")
    for sort in ("loss", "steps", "time"):
        assert names("--sort", sort) == ["run", "counts"]
    charloom("runs", "mv", "run", "new")
    assert names() == ["counts", "new"]
    kept = CliRunner().invoke(cli.charloom, ["runs", "rm", "new"], input="n\n")
    assert kept.exit_code == 0
    assert names() == ["counts", "new"]
    charloom("runs", "rm", "--yes", "new", "counts")
    assert names() == []


def test_the_list_tells_the_steps_that_are_saved(here: Path, folder: Path) -> None:
    shutil.copytree(here / "run", folder / "run")
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "run" / "metrics.jsonl").write_text("".join(lines[:-1]))
    (row,) = json.loads(charloom("runs", ".", "--json").stdout)
    assert row["steps"] == 30


def test_a_dry_run_shows_the_plan_and_leaves_nothing(folder: Path) -> None:
    (folder / "novel.txt").write_text(TEXT)
    printed = charloom("train", "novel.txt", "--iterations", "20", "--dry-run", *TINY).stdout
    assert label(printed, "text").startswith("novel.txt: 1,920 characters, 18 different")
    assert "3,650 parameters" in label(printed, "model")
    assert [path.name for path in folder.iterdir()] == ["novel.txt"]
    ask = ("train", "novel.txt", "--dry-run", "--json", "--iterations", "20", *TINY)
    assert json.loads(charloom(*ask).stdout)["config"]["model"]["hidden"] == 8
    taken = charloom(*ask, "-o", str(folder), status=2)
    check(error_of(taken), "taken", path=folder)


def test_train_prints_one_document_if_asked(folder: Path) -> None:
    (folder / "novel.txt").write_text(TEXT)
    ask = ("train", "novel.txt", "--iterations", "20", "--json", "-o", "run", *TINY)
    document = json.loads(charloom(*ask).stdout)
    (row,) = json.loads(charloom("runs", ".", "--json").stdout)
    assert document == document | row
    assert document["ended"] == "done"
    assert document["advice"]["text"]


def test_a_preset_is_shown_by_name(here: Path) -> None:
    shown = charloom("presets", "char-rnn").stdout
    assert "hidden 128" in label(shown, " +model")
    (document,) = json.loads(charloom("presets", "char-rnn", "--json").stdout)
    assert document["config"]["model"]["hidden"] == 128
    check(error_of(charloom("presets", "char", status=2)), "bad-setting", field="preset")


LONG = ("train", "novel.txt", "--iterations", "300", *TINY)
STOPPED = """
import os, sys
from charloom.cli import main
from charloom.training.state import TrainState

number, count = int(sys.argv.pop(1)), TrainState.count

def counted(self, losses):
    count(self, losses)
    if self.step >= 100:
        os.kill(os.getpid(), number)

TrainState.count = counted
main()
"""


@pytest.fixture(scope="module")
def whole(place: Path) -> bytes:
    """The last weights of a run that nothing stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        charloom(*LONG, "--out", "whole")
    return last_weights(place / "whole")


def last_weights(run: Path) -> bytes:
    return (run / "checkpoints" / "00000300" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_with_the_same_bits(
    folder: Path, whole: bytes, number: signal.Signals, status: int
) -> None:
    Path("novel.txt").write_text(TEXT)
    words = [sys.executable, "-c", STOPPED, f"{number:d}", *LONG, "--out", "stopped"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status
    assert "charloom resume stopped" in done.stdout
    assert 100 <= Run.open("stopped").checkpoint("latest").meta.step < 300
    charloom("resume", "stopped")
    assert last_weights(Path("stopped")) == whole


def test_a_damaged_run_hides_no_other(place: Path, folder: Path) -> None:
    names = {"config": "config.json", "metrics": "metrics.jsonl", "text": "corpus.json"}
    for name in ("whole", "lost", *names):
        shutil.copytree(place / "run", f"runs/{name}")
    for name, file in names.items():
        Path("runs", name, file).write_text('{"step": 1, "loss": "low"}\n' * 2)
    Path("runs/lost/vocabulary.json").unlink()
    Path("runs/whole/samples/1x.txt").write_text("mine")
    result = charloom("runs")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if "runs/" in line}
    assert lines.keys() == {f"runs/{name}" for name in ("whole", "lost", *names)}
    assert " 30 " in lines["runs/whole"]
    told = result.stderr.splitlines()
    for name, file in (*names.items(), ("lost", "vocabulary.json")):
        assert lines[f"runs/{name}"].split()[1] == ("not-found" if name == "lost" else "damaged")
        assert [line for line in told if f"runs/{name}/{file} " in line]
    rows = {row["run"]: row for row in json.loads(charloom("runs", "--json").stdout)}
    assert rows["runs/whole"]["steps"] == 30
    assert (rows["runs/text"]["code"], rows["runs/lost"]["code"]) == ("damaged", "not-found")
    assert charloom("runs", "show", "runs/whole").stdout.count("\nsample ") == 1


WRITERS = {  # an option that names a file: what it wants, a command, and how the file begins
    ("plot", "--out"): ("matplotlib", "plot run --out {}", b"\x89png"),
    ("report", "--out"): ("matplotlib", "report counts --out {}", b"<!doctype html>"),
    ("export", "--out"): ("onnxruntime", "export run --onnx --out {}", b"\x08"),
    ("study surprise", "--html"): ("jinja2", "study surprise run --html {}", b"<!doctype html>"),
    ("study neurons", "--html"): ("jinja2", "study neurons run --html {}", b"<!doctype html>"),
    ("check", "--html"): ("jinja2", "check novel.txt --html {}", b"<!doctype html>"),
    ("text", "--out"): ("click", "text novel.txt --out {}", b"it was a dark"),
    ("compress", "--out"): ("numba", "compress novel.txt --out {}", b"\xc7lm"),
    ("decompress", "--out"): ("numba", "decompress novel.clm --out {}", b"it was a dark"),
}
SLOW_WRITERS = {("replay", "--out"): "replay --all --out {}"}  # their own tests say what they write
RUN_FOLDERS = {("train", "--out"), ("import", "--out")}


def all_commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from all_commands(command, f"{before}{name} ")
            else:
                yield f"{before}{name}", command


def test_every_option_that_names_a_file_to_write_is_of_one_kind() -> None:
    options = [(name, p) for name, c in all_commands(cli.charloom) for p in c.params]
    of_kind = {(name, p.opts[0]) for name, p in options if isinstance(p.type, OutputFile)}
    assert of_kind == WRITERS.keys() | SLOW_WRITERS.keys()
    valued = [(name, p) for name, p in options if not getattr(p, "is_flag", False)]
    named = {(name, p.opts[0]) for name, p in valued if {"--out", "--html"} & {*p.opts}}
    assert named == of_kind | RUN_FOLDERS


@pytest.mark.parametrize("writer", WRITERS, ids=" ".join)
def test_a_file_that_is_named_is_replaced_where_a_link_leads(
    here: Path, tmp_path: Path, writer: tuple[str, str]
) -> None:
    library, command, head = WRITERS[writer]
    pytest.importorskip(library)
    (tmp_path / "kept").write_text("old")
    link = tmp_path / "link.png"
    link.symlink_to("kept")
    charloom(*command.format(link).split())
    assert (tmp_path / "kept").read_bytes().lower().startswith(head)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "link.png"}
    assert link.is_symlink()


@pytest.mark.parametrize("writer", [*WRITERS, *SLOW_WRITERS], ids=" ".join)
def test_what_cannot_be_written_is_refused_before_any_work(
    folder: Path, writer: tuple[str, str]
) -> None:
    (folder / "pages").mkdir()
    command = SLOW_WRITERS[writer] if writer in SLOW_WRITERS else WRITERS[writer][1]
    for place in ("pages", "missing/page.png"):
        result = charloom(*command.format(place).split(), status=2)
        check(error_of(result), "unwritable", path=place)  # not that there is no run
    assert {path.name for path in folder.iterdir()} == {"pages"}


@pytest.mark.parametrize("writer", [*WRITERS][:3], ids=" ".join)
def test_a_name_that_nobody_chose_is_a_free_one(
    place: Path, folder: Path, writer: tuple[str, str]
) -> None:
    library, command, head = WRITERS[writer]
    pytest.importorskip(library)
    name, run, *rest = command.removesuffix(" --out {}").split()
    for _ in range(2):
        charloom(name, str(place / run), *rest)
    first, second = sorted(folder.iterdir(), key=lambda path: len(path.name))
    assert second.name == f"{first.stem}-2{first.suffix}"
    assert all(path.read_bytes().lower().startswith(head) for path in (first, second))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc/self/fd")
@pytest.mark.parametrize(
    "writer",
    [w for w in WRITERS if w[0] != "plot"],  # whose suffix says what it is
    ids=" ".join,
)
def test_standard_output_can_be_the_file(here: Path, writer: tuple[str, str]) -> None:
    library, command, head = WRITERS[writer]
    pytest.importorskip(library)
    written = charloom(*command.format("/dev/stdout").split()).stdout_bytes
    assert written.lower().startswith(head)
    assert written.endswith(b"</html>") == (head == b"<!doctype html>")
    assert b"/dev/stdout" not in written


EVIL = "\x1b[31mred\x07\x9b2J\u202e\x7f<script>alert(1)</script>&\u2028"
SAID_OF_EVIL = (
    "runs .",
    "runs . --json",
    "runs show {}",
    "runs show {} --json",
    "evaluate {} {}.txt",
    "compare {} counts",
    "plot {} --json",
    "study novelty {} --length 40",
    "study keywords {} --length 40",
    "study surprise {} --against counts --length 40",
    "study neurons {} {}.txt",
    "sample {} --length 9 --json",
    "train {}.txt --from {} --iterations 1 --out {}-2",
    "resume {}",
    "runs show {}-3",
)


@pytest.fixture(scope="module")
def evil(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and a text, whose names and texts would command a terminal."""
    folder = tmp_path_factory.mktemp("evil")
    name = EVIL.replace("/", "\u2215") + "\nrun"
    run = shutil.copytree(place / "run", folder / name)
    shutil.copytree(place / "counts", folder / "counts")
    corpus = json.loads((run / "corpus.json").read_text()) | {"name": EVIL}
    (run / "corpus.json").write_text(json.dumps(corpus))
    for sample in (run / "samples").iterdir():
        sample.write_text(EVIL)
    (folder / f"{name}.txt").write_text(TEXT)
    shutil.copytree(run, folder / f"{name}-3")
    (folder / f"{name}-3" / "metrics.jsonl").write_text("{}\n" * 9)
    return run


def obeyed(shown: str) -> set[str]:
    """What a terminal would obey."""
    return {c for c in shown if not c.isprintable()} - {"\n"}


@pytest.mark.parametrize("command", SAID_OF_EVIL)
def test_a_run_commands_no_terminal(
    evil: Path, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(evil.parent)
    words = [word.format(evil.name, evil.name) for word in command.split(" ")]
    result = CliRunner(capture="fd").invoke(cli.charloom, words)
    told = "".join((result.stdout, result.stderr, *capfd.readouterr()))
    assert result.exit_code == (2 if command == "runs show {}-3" else 0), result.output
    if command.endswith("--json"):
        json.loads(result.stdout)
    assert "red" in told  # the name is there
    assert obeyed(told) == set()


def test_json_says_what_a_terminal_would_obey_as_numbers(evil: Path) -> None:
    shown = charloom("runs", "show", str(evil), "--json").stdout
    assert json.loads(shown)["corpus"]["name"] == EVIL
    other = charloom("runs", str(evil.parent), "--json").stdout
    assert str(evil) in {row["run"] for row in json.loads(other)}


def test_a_page_holds_no_markup_of_a_run(evil: Path, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    command = ("study", "surprise", str(evil), "--length", "60", "--html", "surprise.html")
    charloom(*command)
    charloom("report", str(evil), "--out", "report.html")
    charloom("plot", str(evil), "--out", "curves.svg")
    for path in folder.iterdir():
        page = path.read_text("utf-8")
        assert "red" in page
        assert "<script>alert" not in page
        assert obeyed(page) <= {"\t", "\u2212"}, path


def test_what_a_model_wrote_is_exact_but_on_a_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote = ["one\x1b[31m", "\ttwo\u202e\n"]
    monkeypatch.setattr("charloom.generation.sampling.generate", lambda *_, **__: iter(wrote))
    assert charloom("sample", "run").stdout == "".join(wrote) + "\n"
    monkeypatch.setattr("charloom.cli.text.is_terminal", lambda: True)
    assert charloom("sample", "run").stdout == "one·[31m\ttwo·\n\n"


def test_a_run_whose_name_is_in_another_encoding_is_listed(place: Path, folder: Path) -> None:
    name = os.fsdecode(b"r\xe9sum\xe9")
    try:
        shutil.copytree(place / "counts", folder / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    assert "r·sum·" in charloom("runs", ".").stdout
    (row,) = json.loads(charloom("runs", ".", "--json").stdout)
    assert row["run"] == "r?sum?"
