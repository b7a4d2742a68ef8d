"""The last lines of training: what is said of each way to end, and the commands below."""

from dataclasses import replace
from pathlib import Path

import pytest

from charloom.cli.summary import summary
from charloom.training.advice import advise
from charloom.training.events import Finished, Started
from small_runs import config_of, play, write_text
from test_advice import SITUATIONS

SAMPLE = "We the People of the United States, in Order to form a more perfect Union,\n\nordain."


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Started, Finished]:
    from small_runs import new_run

    folder = tmp_path_factory.mktemp("ended")
    events = play(new_run(folder / "run", config_of(write_text(folder))))
    return events[0], replace(events[-1], path=Path("runs/novel"), sample=SAMPLE)


def commands(lines: list[str]) -> list[list[str]]:
    return [line.split("  ")[1].split() for line in lines if line.startswith("  charloom")]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_commands_do_not_contradict_the_advice(
    ended: tuple[Started, Finished], situation: str
) -> None:
    facts, name, _ = SITUATIONS[situation]
    reason = "done" if facts.finished else "interrupted"
    found = advise(facts)
    lines = summary(ended[0], replace(ended[1], advice=found, reason=reason))
    assert (str(found) in lines) is (name != "stopped")  # which the command says
    resumed = [line for line in commands(lines) if line[1] == "resume"]
    if name == "stopped":
        assert resumed == [["charloom", "resume", "runs/novel"]]
    else:
        minutes = [] if found.resume is None else [f"{found.resume:g}"]
        assert [line[4] for line in resumed] == minutes


def test_the_temperature_of_the_sample_is_that_of_the_command(
    ended: tuple[Started, Finished],
) -> None:
    lines = summary(*ended)
    sample, show = commands(lines)
    assert sample == ["charloom", "sample", "runs/novel", "--temperature", "0.7"]
    assert show == ["charloom", "runs", "show", "runs/novel"]
    assert any("temperature 0.7" in line for line in lines)


def test_a_sample_keeps_its_lines_and_its_indent(ended: tuple[Started, Finished]) -> None:
    for width, expected in ((None, 3), (100, 3), (50, 4)):
        lines = summary(*ended, width)
        start = next(i for i, line in enumerate(lines) if line.startswith("    We the"))
        block = lines[start : start + expected]
        assert "\n".join(block).split() == SAMPLE.split()
        assert all(line == "" or line.startswith("    ") for line in block)
        assert all(len(line) <= (width or 100) for line in block)
        assert lines[start + expected] == ""
