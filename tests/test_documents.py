"""Documents that cannot lie: examples and the README's commands are run."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ["learner.py"]  # onnx_sample.py wants a file: tests/test_export.py runs it
README = (ROOT / "README.md").read_text("utf-8")
EXTRAS = {  # what needs which
    "transformer": "torch",
    "mingru": "torch",
    "--onnx": "onnxruntime",
    "--html": "jinja2",
    "plot": "matplotlib",
    "report": "matplotlib",
    "runs/gpt": "torch",
}
SHORT = {  # what a command gets here, so that it ends soon
    "train": ["--minutes", "0.02"],
    "replay": ["--iterations", "20"],
}


def readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("charloom ")]
    missing = {word for word, package in EXTRAS.items() if find_spec(package) is None}
    return [command for command in commands if not missing & {*command}]


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    for name in ("novel.txt", "more.txt"):
        (tmp_path / name).write_text("It was a dark and stormy night. " * 300, "utf-8")
    commands = readme_commands()
    assert len(commands) >= 8
    for command in commands:
        short = [] if "ngram" in command else SHORT.get(command[1], [])
        short = ["--iterations", "2"] if "--iterations" in command else short
        result = subprocess.run(
            [sys.executable, "-m", "charloom", *command[1:], *short],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, (command, result.stderr)
        assert result.stdout, command


@pytest.mark.slow
def test_the_readmes_python_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str) -> None:
    path = ROOT / "examples" / name
    result = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "held-out" in result.stdout


def test_every_example_is_run_here_or_there() -> None:
    names = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert names == {*EXAMPLES, "onnx_sample.py"}


def test_the_files_that_the_readme_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
