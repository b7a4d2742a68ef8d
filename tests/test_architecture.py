import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import charloom

ROOT = Path(charloom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# The order of use: each may import those before it and itself.
ORDER = (
    *("errors", "files", "progress", "distributed", "signals", "config", "formatting", "presets"),
    *("data", "models", "evaluation", "runs", "generation", "training", "api", "analysis"),
    *("report", "formats", "compression", "serve", "editor", "cli", "__main__"),
)
MOST_AT_THE_TOP = 14  # modules beside the packages
SIBLINGS = [
    {"report", "formats", "compression", "serve", "editor"},
    {"models.reference", "models.compiled", "models.torchnet", "models.ngram", "models.mixing"},
]
PICKLING = {"pickle", "_pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}


def module(path: Path) -> str:
    """The name of a module below charloom, empty for charloom itself."""
    return (
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").strip(".")
    )


MODULES = {module(path): path for path in FILES}
each_module = pytest.mark.parametrize("name", MODULES)


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere; of `from a import b`, a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST) -> set[str]:
    """The modules below charloom that are imported anywhere in one, inside functions too."""
    found = set()
    for name in imported(tree):
        first, *below = name.split(".")
        if first == "charloom":
            if len(below) == 1 and below[0] in charloom._PUBLIC:
                below = charloom._PUBLIC[below[0]].split(".")
            while ".".join(below) not in MODULES:
                below.pop()
            found.add(".".join(below))
    return found


IMPORTS = {name: own_imports(read(path)) - {name} for name, path in MODULES.items()}


def package(name: str) -> str:
    return name.split(".")[0]


def test_the_table_names_what_is_there() -> None:
    packages = {package(name) for name in MODULES if name}
    assert packages == set(ORDER)
    assert sum(ROOT.joinpath(f"{name}.py").is_file() for name in packages) < MOST_AT_THE_TOP


@each_module
def test_imports_flow_down(name: str) -> None:
    if name:
        below = {*ORDER[: ORDER.index(package(name)) + 1], ""}
        assert not {found for found in IMPORTS[name] if package(found) not in below}


@each_module
def test_siblings_do_not_import_one_another(name: str) -> None:
    def within(found: str, family: set[str]) -> set[str]:
        return {one for one in family if f"{found}.".startswith(f"{one}.")}

    for family in SIBLINGS:
        if own := within(name, family):
            assert all(within(found, family) <= own for found in IMPORTS[name])


def test_no_imports_go_in_a_circle() -> None:
    left = dict(IMPORTS)
    while free := [name for name, found in left.items() if not found & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_the_reading_of_imports_finds_each_form() -> None:
    tree = ast.parse(
        "import charloom.runs.run\n"
        "from charloom import __version__, open_model\n"
        "def f():\n    from charloom.models.compiled.learner import CompiledLearner\n"
        "import numpy\n"
    )
    assert own_imports(tree) == {"runs.run", "", "runs.open", "models.compiled.learner"}


@each_module
def test_nothing_is_pickled(name: str) -> None:
    tree = read(MODULES[name])
    assert not {name.split(".")[0] for name in imported(tree)} & PICKLING
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert "allow_pickle" not in keywords


@pytest.mark.parametrize(
    "code",
    [
        "import charloom",
        "import charloom.cli, sys; sys.argv[1:] = ['--help']; charloom.cli.main()",
    ],
    ids=["import charloom", "charloom --help"],
)
def test_neither_numba_nor_torch_is_loaded(code: str) -> None:
    script = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *sorted({{"numba", "torch"}} & sys.modules.keys())))
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_all_that_commands_print_goes_through_one_place() -> None:
    """Through `cli.text.echo` and its like, so that no name of a run commands a terminal."""
    printing = re.compile(r"\bclick\.s?echo|\bclick\.style|\bprint\(|\bstdout\.write")
    texts = {name: path.read_text("utf-8") for name, path in MODULES.items()}
    found = {
        name for name, text in texts.items() if name.startswith("cli") and printing.search(text)
    }
    assert found == {"cli.text", "cli.live"}
