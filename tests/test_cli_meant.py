"""What is meant by the names of other programs."""

import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.cli import meant


def told(arguments: str) -> str:
    result = CliRunner().invoke(cli.charloom, arguments.split())
    assert result.exit_code == 2
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("train x --rnn-size 3", "--hidden"),
        ("train x --rnn_size=3", "--hidden"),
        ("train x -rnn_size 3", "--hidden"),
        ("train x -num_layers 3", "--layers"),
        ("train x --batch_size 3", "--batch"),
        ("train x --learning_rate 3", "--learning-rate"),
        ("train x --learnin-rate 3", "--learning-rate"),
        ("train x --max-iters 3", "--iterations"),
        ("train x --resume-from y", "--from"),
        ("sample x --max_new_tokens 3", "--length"),
        ("sample x --start_text y", "--prompt"),
        ("sample x -temperature 1", "--temperature"),
        ("sample x --num-samples 3", "--count"),
        ("report x --output y", "--out"),
        ("study neurons x --htm y", "--html"),
    ],
)
def test_an_option_of_another_program_names_the_one_meant(typed: str, option: str) -> None:
    assert told(typed).endswith(f"Did you mean {option}?")


def test_an_option_that_resembles_none_is_not_guessed_at() -> None:
    assert "mean" not in told("train x --zzz 3")
    assert "mean" not in told("presets --rnn-size 3")  # which has no such option


@pytest.mark.parametrize(("typed", "command"), [("generate x", "sample"), ("eval x", "evaluate")])
def test_a_command_of_another_program_names_the_one_meant(typed: str, command: str) -> None:
    assert told(typed).endswith(f"Did you mean `charloom {command}`?")


def test_what_is_meant_exists() -> None:
    known = {name for section in cli.SECTIONS.values() for name in section}
    assert {*meant.COMMANDS.values()} <= known
    context = cli.charloom.make_context("charloom", ["--help"], resilient_parsing=True)
    options = {
        option
        for name in ("train", "sample")
        if (command := cli.charloom.get_command(context, name))
        for param in command.params
        for option in param.opts
    }
    assert {f"--{name}" for name in meant.OPTIONS.values()} <= options
    assert not {f"--{name}" for name in meant.OPTIONS} & options - {"--start", "--checkpoint"}


@pytest.mark.parametrize("name", [name for known in cli.SECTIONS.values() for name in known])
def test_the_examples_of_a_command_can_be_typed(name: str) -> None:
    import shlex

    context = cli.charloom.make_context("charloom", ["--help"], resilient_parsing=True)
    command = cli.charloom.get_command(context, name)
    assert command is not None
    lines = [line.strip() for line in (command.epilog or "").splitlines()]
    for line in lines:
        program, *words = shlex.split(line) or [""]
        if program == "charloom" and words[0] == name:
            command.make_context(name, words[1:])
    assert lines or name in ("study", "runs", "presets")
