import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from click.testing import CliRunner

from charloom import Vocabulary, create_learner
from charloom.cli.replay import replay as command
from charloom.config import ModelConfig
from charloom.data.known_texts import load_corpus
from charloom.presets import preset
from charloom.runs.run import Run
from charloom.training import replay
from charloom.training.events import Started
from charloom.training.replay import Figure, Finished, Printed, Speed, measure_speed
from expect import refused

V, N = 70, 45_224  # of the Constitution


class Constant:
    """A learner whose loss is always one nat per character; it notes what it is asked."""

    made: ClassVar[list["Constant"]] = []

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.calls: list[str] = []
        Constant.made.append(self)

    def update(self, inputs: Any, targets: Any, learning_rate: float) -> float:
        assert learning_rate == 0.1
        self.calls.append("update")
        return 1.0

    def reset(self) -> None:
        self.calls.append("reset")


def a_speed(name: str) -> Speed:
    return Speed(name, (3000.0, 2000.0, 4000.0), (100.0, 100.0, 100.0))


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> list[Constant]:
    Constant.made.clear()
    monkeypatch.setattr("charloom.training.replay.create_learner", Constant)
    monkeypatch.setattr("charloom.training.replay.measure_speed", a_speed)
    return Constant.made


def smoothed(T: int, iteration: int) -> float:
    """What `Constant` prints: from log(V) T towards T, by a thousandth each time."""
    left: float = 0.999 ** (iteration + 1)
    return T + (math.log(V) - 1) * T * left


def finished(**options: Any) -> list[Finished]:
    return [event for event in replay.replay(**options) if isinstance(event, Finished)]


def test_the_published_figures_are_those_of_the_post() -> None:
    assert replay.PUBLISHED == {
        "min-char-rnn": {99_900: 34.083777},
        "min-char-lstm": {99_800: 9.844710, 999_800: 5.165326, 10_096_200: 2.487097},
    }


def test_every_hundredth_iteration_is_printed_with_its_own_loss_counted(
    constant: list[Constant],
) -> None:
    events = [event for event in replay.replay(1001) if isinstance(event, Printed)]
    assert [event.iteration for event in events] == [*range(0, 1001, 100)] * 2
    for T, printed in ((25, events[:11]), (16, events[11:])):
        for event in printed:
            assert event.smooth_sum == pytest.approx(smoothed(T, event.iteration), rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 100, 101, 5000])
def test_each_program_makes_as_many_updates_as_asked(
    constant: list[Constant], iterations: int
) -> None:
    finished(iterations=iterations)
    assert [learner.calls.count("update") for learner in constant] == [iterations] * 2


def test_state_is_forgotten_at_the_start_and_where_the_text_begins_again(
    constant: list[Constant],
) -> None:
    finished(iterations=6000)
    for learner, T in zip(constant, (25, 16), strict=True):
        expected, p = [], N
        for _ in range(6000):
            if p + T + 1 >= N:
                p = 0
                expected.append("reset")
            expected.append("update")
            p += T
        assert learner.calls == expected
        assert expected.count("reset") > 2


def test_a_published_figure_counts_as_reached_once_its_iteration_was_run(
    constant: list[Constant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PUBLISHED", {"min-char-lstm": {200: 5.0, 300: 4.0}})
    before, (run,) = finished(iterations=200)[0], finished(iterations=201)
    assert [figure.printed for figure in before.figures] == [None, None]
    reached, beyond = run.figures
    assert reached.printed is not None
    assert (reached.iteration, reached.printed.iteration, reached.published) == (200, 200, 5.0)
    assert reached.printed.seconds <= run.seconds
    assert beyond == Figure(300, 4.0, None)


@pytest.mark.parametrize(("engine", "dtype"), [("auto", "float32"), ("reference", "float64")])
def test_a_program_learns_the_whole_text_with_the_preset_s_settings(
    constant: list[Constant], engine: Any, dtype: str
) -> None:
    runs = finished(iterations=1, engine=engine, seed=7)
    for run, learner in zip(runs, constant, strict=True):
        config, program = preset(run.program.preset), run.program
        assert (program.N, program.V, program.T) == (N, V, config.train.length)
        assert learner.arguments == (config.model, config.train, V, engine, dtype, 7)
        assert program.dtype == dtype


def test_the_loss_is_the_learner_s_summed_over_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.training.replay.measure_speed", a_speed)
    events = [event for event in replay.replay(1, seed=3) if isinstance(event, Printed)]
    text = load_corpus("us-constitution")
    ids = Vocabulary.from_text(text).encode(text)[None]
    for name, event in zip(replay.PUBLISHED, events, strict=True):
        model, train = preset(name).model, preset(name).train
        assert isinstance(model, ModelConfig)
        T, learner = train.length, create_learner(model, train, V, seed=3)
        loss = T * learner.update(ids[:, :T], ids[:, 1 : T + 1], 0.0)
        expected = 0.999 * math.log(V) * T + 0.001 * loss
        assert event.smooth_sum == pytest.approx(expected, rel=1e-9)


def test_no_iterations_are_an_error() -> None:
    with refused("bad-setting", field="iterations"):
        next(replay.replay(0))


def test_engines_are_timed_in_turns_and_the_ratio_is_the_median_of_the_turns() -> None:
    speed = measure_speed("min-char-rnn", turns=2)
    assert len(speed.reference) == len(speed.compiled) == 2
    assert all(r > c > 0 for r, c in zip(speed.reference, speed.compiled, strict=True))
    assert a_speed("").ratios == (30.0, 20.0, 40.0)
    assert a_speed("").ratio == 30.0


@pytest.fixture
def soon(constant: list[Constant], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two figures of one program, early on."""
    monkeypatch.setattr(replay, "PUBLISHED", {"min-char-lstm": {100: 64.125, 1000: 5.165326}})


@pytest.mark.usefixtures("soon")
def test_the_command_shows_figures_beside_the_published_and_progress_apart() -> None:
    result = CliRunner().invoke(command, ["--iterations", "901", "--seed", "4"])
    assert result.exit_code == 0
    reached, beyond, times = (
        line.split() for line in result.stdout.splitlines() if "min-char-lstm" in line
    )
    assert reached[:4] == ["min-char-lstm", "100", "64.1250", f"{smoothed(16, 100):.4f}"]
    assert beyond == ["min-char-lstm", "1,000", "5.1653", "not", "reached"]
    assert times == ["min-char-lstm", "3,000", "100", "30.0"]
    told = " ".join(result.stdout.split())
    assert "the loss summed over the 16 characters of a step" in told
    assert "45,224, 70 of them different" in told
    assert "seed 4" in told
    line = f"min-char-lstm iteration 900 of 901: summed loss {smoothed(16, 900):.2f}, "
    assert line in result.stderr


@pytest.mark.usefixtures("soon")
def test_the_command_gives_the_same_as_json() -> None:
    result = CliRunner().invoke(command, ["--iterations", "901", "--json"])
    document = msgspec.json.decode(result.stdout)
    (run,) = document["runs"]
    assert run["program"]["preset"] == "min-char-lstm"
    reached, beyond = run["figures"]
    assert reached["printed"]["smooth_sum"] == pytest.approx(smoothed(16, 100), rel=1e-12)
    assert beyond == {"iteration": 1000, "published": 5.165326, "printed": None}
    assert document["speeds"][0]["ratio"] == 30.0


@pytest.mark.slow
def test_both_programs_learn_as_they_do_with_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.training.replay.measure_speed", a_speed)
    events = [event for event in replay.replay(9_901) if isinstance(event, Printed)]
    rnn, lstm = [event for event in events if event.iteration == 9_900]
    assert 38 < rnn.smooth_sum < 54  # 41 to 50 with seeds 0 to 4
    assert 18 < lstm.smooth_sum < 19.6  # 18.5 to 19.1


@pytest.mark.torture
def test_the_published_figures_are_met_within_the_spread_of_seeds() -> None:
    rnn, lstm = finished(iterations=99_901)
    assert rnn.figures[0].printed is not None
    assert lstm.figures[0].printed is not None
    assert 28 < rnn.figures[0].printed.smooth_sum < 42
    assert 7 < lstm.figures[0].printed.smooth_sum < 12


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two programs with figures early on, and one run of a few steps, in an empty folder."""
    for package in ("jinja2", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    figures = {"min-char-rnn": {100: 80.5}, "min-char-lstm": {100: 64.125, 1000: 5.165326}}
    monkeypatch.setattr(replay, "PUBLISHED", figures)
    small = {"hidden": 4, "layers": 1, "batch": 4, "length": 16}
    monkeypatch.setattr(replay, "CURVES", {"char-rnn": small})
    return tmp_path


def test_the_whole_replay_writes_a_page_with_figures_samples_and_curves(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charloom.cli.replay.TOLD_SECONDS", 0.0)
    arguments = ["--all", "--iterations", "101", "--out", "page.html"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    for name in ("min-char-rnn iteration 100 of 101", "min-char-lstm iteration 100 of 101"):
        assert name in result.stderr
    page = (whole / "page.html").read_text("utf-8")
    assert "<td>80.5000</td>" in page
    assert "<td>64.1250</td>" in page
    assert page.count("not reached") == 1
    assert page.count("writes at its end") == 2
    assert page.count("<svg") == 2 * 2  # the programs, and the run
    run = Run.open(whole / "runs" / "replay" / "char-rnn")
    assert run.checkpoint("latest").meta.step == 101
    ((again, events),) = replay.replay_curves(Path("runs", "replay"))
    first, *_ = events
    assert isinstance(first, Started)
    assert (again.path, first.step) == (Path("runs", "replay", "char-rnn"), 101)


def test_each_program_of_the_whole_goes_as_far_as_its_last_figure(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        event for event in replay.replay_whole(whole) if isinstance(event, Printed | Finished)
    ]
    ends = [event for event in events if isinstance(event, Finished)]
    assert [[figure.printed is not None for figure in run.figures] for run in ends] == [
        [True],
        [True, True],
    ]
    last = [
        before.iteration
        for before, event in pairwise(events)
        if isinstance(event, Finished) and isinstance(before, Printed)
    ]
    assert last == [100, 1000]
    assert all(run.sample is not None and len(run.sample) == 200 for run in ends)


def test_what_has_ended_is_not_run_again_unless_other_things_are_asked_for(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [event for event in replay.replay_whole(whole, 101) if isinstance(event, Finished)]
    printed = {run.program.preset: [Printed(100, 80.0, 1.0)] for run in first}
    walks = replay.Walks(0, 101, "auto", tuple(first), printed)
    folder = Path("runs", "replay")
    assert replay.kept_walks(folder, 101, "auto", 0) is None
    replay.keep_walks(folder, walks)
    assert replay.kept_walks(folder, 101, "auto", 0) == walks
    for asked in ((102, "auto", 0), (None, "auto", 0), (101, "compiled", 0), (101, "auto", 1)):
        assert replay.kept_walks(folder, *asked) is None
    figures = msgspec.json.decode((folder / "figures.json").read_bytes())
    assert figures["runs"] == msgspec.json.decode(msgspec.json.encode(walks.runs))
    monkeypatch.setattr(replay, "replay_whole", None)
    monkeypatch.setattr(replay, "CURVES", {})
    assert CliRunner().invoke(command, ["--all", "--iterations", "101"]).exit_code == 0
    assert "<td>80.5000</td>" in (whole / "replay.html").read_text("utf-8")


def seen(events: Any) -> list[Any]:
    """What was printed and reached, without the seconds."""
    told = []
    for event in events:
        if isinstance(event, Printed):
            told.append((event.iteration, event.smooth_sum))
        elif isinstance(event, Finished):
            figures = [(f.iteration, f.printed and f.printed.smooth_sum) for f in event.figures]
            told.append((event.program, figures, event.sample))
    return told


@pytest.mark.parametrize("damage", [False, True])
def test_a_program_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool
) -> None:
    monkeypatch.setattr(replay, "PUBLISHED", {"min-char-lstm": {100: 64.125, 500: 5.165326}})
    monkeypatch.setattr(replay, "SAVE_SECONDS", 0.0)
    whole = seen(replay.replay_whole(tmp_path / "whole", engine="reference"))
    monkeypatch.setattr(replay, "POINTS", 2)  # 0, 200 and 400
    folder = tmp_path / "stopped"
    events = replay.replay_whole(folder, engine="reference")
    for event in events:
        if isinstance(event, Printed) and event.iteration == 300:
            break
    events.close()  # type: ignore[attr-defined]
    saved = sorted(folder.glob("walks/*/0*"))
    assert [path.name for path in saved] == ["00000201", "00000301"]
    if damage:  # the one before it serves
        (saved[1] / "state.safetensors").write_bytes(b"")
    made: list[Any] = []
    step = replay._Walk.advance
    monkeypatch.setattr(replay._Walk, "advance", lambda walk, n: (made.append(n), step(walk, n))[1])
    assert seen(replay.replay_whole(folder, engine="reference")) == whole
    assert sum(made) == (300 if damage else 200)


def test_a_program_goes_on_only_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PUBLISHED", {"min-char-lstm": {100: 64.125}})
    monkeypatch.setattr(replay, "SAVE_SECONDS", 0.0)
    ends = [
        seen(replay.replay_whole(tmp_path, engine="reference", **asked))
        for asked in ({}, {"seed": 1}, {"iterations": 1}, {})
    ]
    assert ends[0] == ends[3]
    assert ends[0][1] != ends[1][1]
    assert len(ends[2]) == 2


def test_a_signal_in_a_run_writes_the_page_of_what_there_is(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charloom.cli import replay as module

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_follow", stopped)
    result = CliRunner().invoke(command, ["--all", "--iterations", "101"])
    assert result.exit_code == 1  # in a test; `main` makes it 130
    page = (whole / "replay.html").read_text("utf-8")
    assert "<td>80.5000</td>" in page
    assert "not at its end" in page


@pytest.mark.parametrize("wrong", [["--all", "--json"], ["--out", "page.html"]])
def test_options_of_the_whole_go_with_it(wrong: list[str]) -> None:
    assert CliRunner().invoke(command, wrong).exit_code == 2


def test_a_signal_ends_the_whole(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charloom.cli import replay as module
    from charloom.training import events

    end = events.Finished("interrupted", 2, 1, 2, None, None, None, whole, 0.0)
    with pytest.raises(KeyboardInterrupt):
        module._follow("char-rnn", iter([end]), lambda _: None)
