"""The command line in processes of its own: what is printed, exit statuses, and what stays."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charloom.runs.run import Run

TINY = ("--hidden", "8", "--layers", "1", "--batch", "4", "--length", "16", "--engine", "reference")


def charloom(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "charloom", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and two runs, which tests only read."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "novel.txt").write_text("It was a dark and stormy night;\n" * 60, "utf-8")
    made = charloom("train", "novel.txt", "--out", "run", "--iterations", "30", *TINY, cwd=folder)
    assert made.returncode == 0, made.stderr
    made = charloom("train", "novel.txt", "--out", "counts", "--model", "ngram", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "runs", "resume", "presets"])
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    result = charloom(command, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: ")


def test_training_says_what_it_found_and_what_to_do_next(place: Path) -> None:
    folder = place / "said"
    folder.mkdir()
    (folder / "novel.txt").write_bytes((place / "novel.txt").read_bytes())
    result = charloom("train", "novel.txt", "--iterations", "20", *TINY, cwd=folder)
    assert result.returncode == 0
    assert "1,920 characters" in result.stdout
    assert re.search(r"Held-out loss: \d\.\d{3} nats, \d\.\d{3} bits per character", result.stdout)
    assert "charloom sample runs/novel-lstm" in result.stdout
    again = charloom("train", "novel.txt", "--iterations", "20", *TINY, cwd=folder)
    assert "runs/novel-lstm-2" in again.stdout


def test_training_for_some_time_says_what_was_chosen_and_keeps_the_time(place: Path) -> None:
    began = time.monotonic()
    arguments = ("--minutes", "0.05", "--hidden", "384", "--engine", "reference", "--out", "timed")
    result = charloom("train", "novel.txt", *arguments, cwd=place)
    assert result.returncode == 0, result.stderr
    assert 3.0 * 0.9 < time.monotonic() - began < 20
    said = result.stdout
    assert re.search(r"^time   0\.05 minutes, [\d,]+ characters/s here: [\d.,]+ times", said, re.M)
    assert re.search(r"^drop   0(\.\d+)? of the units: ", said, re.M)
    assert "width" not in said  # it was given
    assert re.search(r"^step [\d,]+ of about [\d,]+: ", said, re.M)
    assert re.search(r"^Done: [\d,]+ steps in 0:0[2-9]\.$", said, re.M)
    asked = json.loads((place / "timed" / "config.json").read_bytes())
    assert (asked["train"]["minutes"], asked["model"]["hidden"]) == (0.05, 384)
    assert asked["train"]["iterations"] > 3
    again = charloom("resume", "timed", cwd=place)
    assert "This run has ended already" in again.stdout


@pytest.mark.parametrize(
    ("minutes", "step", "said"),
    [
        (None, 250, " 25%  step 250 of 1,000  2:15 left"),
        (3.0, 250, " 50%  1:30 of 3:00  step 250"),
        (3.0, 1000, "100%  step 1,000 of 1,000  1:30"),
    ],
)
def test_the_bar_goes_by_the_clock_where_that_ends_the_run(
    minutes: float | None, step: int, said: str
) -> None:
    from rich.console import Console

    from charloom.cli.live import _bar
    from charloom.training.events import Progress

    left = 0.0 if step == 1000 else 135.0
    progress = Progress(step, 1000, 1.0, 1, 1.0, 1.0, 0.1, 1.0, seconds=90.0, left=left)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(_bar(progress, 99, minutes))
    assert capture.get().rstrip().endswith(said)


def test_with_iterations_what_is_chosen_follows_from_the_text_alone(place: Path) -> None:
    for out in ("one", "two"):
        result = charloom("train", "novel.txt", "--iterations", "3", "--out", out, cwd=place)
        assert result.returncode == 0, result.stderr
        assert re.search(r"^width  \d+ units: ", result.stdout, re.M)
        assert "characters/s here" not in result.stdout
    ends = [place / run / "checkpoints" / "00000003" for run in ("one", "two")]
    first, second = ((end / "model.safetensors").read_bytes() for end in ends)
    assert first == second


BAD = {
    "an empty file": (b"", ["train", "it"], "empty"),
    "one character": (b"a", ["train", "it"], "nothing to learn"),
    "shorter than T + 2": (b"abc" * 5, ["train", "it", "--length", "64"], "needs 66"),
    "not UTF-8": (b"one\ntwo \xff", ["train", "it"], "line 2"),
    "a missing file": (b"x", ["train", "other"], "no file or folder other"),
    "an unknown corpus": (b"x", ["train", "corpus:other"], "us-constitution"),
    "an unknown preset": (b"ab", ["train", "it", "--preset", "other"], "min-char-lstm"),
    "a value out of range": (b"ab" * 99, ["train", "it", "--dropout", "2"], "dropout"),
    "another model's option": (b"ab", ["train", "it", "--model", "ngram", "--hidden", "4"], "rnn"),
    "width of an LSTM": (b"ab", ["train", "it", "--width", "4"], "transformer, mingru or minlstm"),
    "uneven heads": (b"ab", ["train", "it", "--model", "transformer", "--heads", "3"], "divisor"),
    "nothing to tune": (b"ab", ["train", "it", "--preset", "gpt2"], "needs --from"),
    "adapters of nothing": (b"ab", ["train", "it", "--lora", "4"], "--from FOLDER"),
    "two ends": (b"ab" * 99, ["train", "it", "--minutes", "1", "--epochs", "2"], "give one"),
    "minutes to count": (b"ab", ["train", "it", "--model", "ngram", "--minutes", "1"], "leave it"),
    "no time": (b"ab" * 99, ["train", "it", "--minutes", "0"], "minutes is 0.0"),
    "no run": (b"x", ["sample", "other"], "no run folder"),
}


@pytest.mark.parametrize(("content", "arguments", "said"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, content: bytes, arguments: list[str], said: str
) -> None:
    (tmp_path / "it").write_bytes(content)
    result = charloom(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("charloom: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    result = charloom("train", "folder", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "run", "--prompt", "Ω"], "U+03A9"),
        (["train", "corpus:us-constitution", "--out", "run"], "already holds a run"),
        (["train", "corpus:us-constitution", "--out", "."], "not empty"),
        (["evaluate", "run", "other"], "no file"),
        (["sample", "run", "--top-p", "3"], "top-p"),
        (["train", "corpus:us-constitution", "--from", "other"], "no run folder"),
        (["train", "corpus:us-constitution", "--from", "run", "--hidden", "9"], "out --hidden"),
        (["train", "corpus:us-constitution", "--from", "run"], "has never seen"),
    ],
)
def test_a_refusal_leaves_a_run_as_it_was(place: Path, arguments: list[str], said: str) -> None:
    before = fingerprint(place / "run")
    result = charloom(*arguments, cwd=place)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert fingerprint(place / "run") == before


def test_a_run_begins_with_the_weights_of_another(place: Path, tmp_path: Path) -> None:
    start = ("--from", str(place / "run"), "--iterations", "1", "--learning-rate", "0")
    result = charloom("train", str(place / "novel.txt"), *start, "--out", "taught", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^from   the weights of /.*/run$", result.stdout, re.M)
    both = (Run.open(path).load_weights() for path in (tmp_path / "taught", place / "run"))
    taught, run = ({name: w.tobytes() for name, w in weights.items()} for weights in both)
    assert taught == run


def test_a_damaged_run_is_named(place: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", place / "run", tmp_path / "run"], check=True)
    for file in (tmp_path / "run").rglob("model.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    for command in ("sample", "evaluate", "resume"):
        result = charloom(command, "run", cwd=tmp_path)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), command
        assert "damaged" in result.stderr


def test_sample_prints_the_text_alone_and_the_seed_decides_it(place: Path) -> None:
    options = ("--prompt", "It was", "--length", "40", "--seed", "3")
    first, second = (charloom("sample", "run", *options, cwd=place) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("It was")
    assert len(first.stdout) in (46, 47)
    assert first.stdout == second.stdout
    many = charloom("sample", "run", *options, "--count", "3", "--json", cwd=place)
    assert len(json.loads(many.stdout)["texts"]) == 3


def test_sample_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("Ä ö ü ß — ☃\n" * 50, "utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    made = charloom("train", "it", "--out", "r", "--model", "ngram", cwd=tmp_path, env=environment)
    assert made.returncode == 0
    result = subprocess.run(
        [sys.executable, "-m", "charloom", "sample", "r", "--length", "100", "--seed", "1"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env=environment,
    )
    assert "☃" in result.stdout.decode("utf-8")


def test_sampling_into_a_closed_pipe_is_quiet(place: Path) -> None:
    command = f"{sys.executable} -m charloom sample counts --length 200000 | head -c 10"
    result = subprocess.run(
        ["sh", "-c", command], cwd=place, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


def test_evaluate_agrees_with_itself(place: Path) -> None:
    shown = charloom("evaluate", "run", "--json", cwd=place)
    (score,) = json.loads(shown.stdout)["scores"]
    assert score["characters"] == 191
    assert score["bits"] == pytest.approx(score["nats"] / 0.6931471805599453, rel=1e-12)
    other = charloom("evaluate", "counts", "novel.txt", "--json", cwd=place)
    (score,) = json.loads(other.stdout)["scores"]
    assert score["characters"] == 1919


def test_runs_lists_and_shows(place: Path) -> None:
    listed = json.loads(charloom("runs", "list", ".", "--json", cwd=place).stdout)
    assert {Path(row["run"]).name for row in listed} >= {"run", "counts"}
    shown = charloom("runs", "show", "run", cwd=place)
    assert "held-out" in shown.stdout


LONG = ("train", "novel.txt", "--iterations", "1500", *TINY)


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The last checkpoint of a long run."""
    assert charloom(*LONG, "--out", "whole", cwd=place).returncode == 0
    return place / "whole" / "checkpoints" / "00001500"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_with_the_same_bits(
    place: Path, whole: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "novel.txt").write_bytes((place / "novel.txt").read_bytes())
    with subprocess.Popen(
        [sys.executable, "-m", "charloom", *LONG, "--out", "stopped"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        metrics = tmp_path / "stopped" / "metrics.jsonl"
        while not metrics.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert "charloom resume stopped" in said
    assert charloom("resume", "stopped", cwd=tmp_path).returncode == 0
    end = tmp_path / "stopped" / "checkpoints" / whole.name
    first, second = ((path / "model.safetensors").read_bytes() for path in (whole, end))
    assert first == second
