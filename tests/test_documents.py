"""Documents that cannot lie: examples and the README's commands are run."""

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.training import planning
from test_architecture import ORDER

ROOT = Path(__file__).parents[1]
CONSTITUTION = str(ROOT / "src" / "charloom" / "assets" / "us-constitution.txt")
EXAMPLES = {  # and their arguments; two want a file: test_export.py and test_arrays.py run these
    "custom_cell.py": ("corpus:us-constitution", "20"),
    "learner.py": (),
    "markov.py": (CONSTITUTION, "4"),
    "min_char_lstm.py": (CONSTITUTION, "30"),
    "min_char_rnn.py": (CONSTITUTION, "30"),
    "train_in_python.py": ("corpus:us-constitution", "0.05"),
}
SOURCE = ROOT / "src" / "charloom"
README = (ROOT / "README.md").read_text("utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text("utf-8")
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
    "train": ["--iterations", "2"],
    "replay": ["--iterations", "20"],
}


def readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("charloom ")]
    missing = {word for word, package in EXTRAS.items() if find_spec(package) is None}
    return [command for command in commands if not missing & {*command}]


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order_and_then_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning.Planner, "check_time", lambda *_: None)  # however slow it is
    for name in ("novel.txt", "more.txt", "chapter.txt"):
        (tmp_path / name).write_text("It was a dark and stormy night. " * 300, "utf-8")
    commands = readme_commands()
    assert len(commands) >= 8
    for command in commands:
        short = [] if "ngram" in command else SHORT.get(command[1], [])
        if command[1] in ("train", "resume") and "--minutes" in command:
            short = ["--minutes", "0.005"]
        result = CliRunner(capture="fd").invoke(cli.charloom, [*command[1:], *short])
        assert result.exit_code == 0, (command, result.output)
        assert result.stdout or capfd.readouterr().out
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "minutes=3" in block
    assert python("-c", block.replace("minutes=3", "minutes=0.05"), cwd=tmp_path)


def python(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run Python, and return what it printed."""
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (arguments, result.stderr)
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str) -> None:
    assert re.findall(r"\d\.\d{3}", python(ROOT / "examples" / name, *EXAMPLES[name]))


def test_every_example_is_run_here_or_there() -> None:
    names = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert names == {*EXAMPLES, "onnx_sample.py", "torch_sample.py"}


def test_the_files_that_the_readme_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_readme_has_each_package_in_the_order_of_use_with_its_first_sentence() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", README, re.M)
    packages = [name for name in ORDER if (SOURCE / name).is_dir()]
    rows = [row for row in rows if row[0] in packages]
    assert rows == [(name, sentence_of(SOURCE / name / "__init__.py")) for name in packages]


def sentence_of(module: Path) -> str:
    """The first sentence of a docstring, in one line and in the words of Markdown."""
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    assert docstring is not None, module
    return " ".join(docstring.split("\n\n")[0].split())


def test_each_term_of_the_glossary_is_there_once_with_a_name_that_is_in_the_code() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+\.? \| ([^|]*)\|$", GLOSSARY, re.M)[1:]
    terms = [term for term, _ in rows]
    assert len(terms) > 50
    assert terms == sorted({*terms}, key=str.lower)
    names = {name for _, cell in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert not {name for name in names if not (is_defined(name) or (SOURCE / name).is_file())}


@cache
def defined() -> dict[str, set[str]]:
    """All names that classes, functions, arguments and constants have, with those of members."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.ClassDef() | ast.FunctionDef():
                    found.setdefault(node.name, set()).update(members(node))
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    found.setdefault(name, set())
    return found


def members(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Fields and methods of a class, or arguments of a function."""
    if isinstance(node, ast.FunctionDef):
        return {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    found = set()
    for inner in ast.walk(node):
        match inner:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def is_defined(name: str) -> bool:
    """Whether there is such a name, or such a member of it: Class.field, function.argument."""
    owner, _, member = name.partition(".")
    return owner in defined() and (not member or member in defined()[owner])


def test_the_reading_of_names_finds_each_form() -> None:
    for name in ("TrainConfig.batch", "Cell", "check_cells", "evaluate.model", "LN2"):
        assert is_defined(name)
    for name in ("TrainConfig.no_such", "NoSuch", "evaluate.no_such"):
        assert not is_defined(name)
