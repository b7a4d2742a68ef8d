import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import charloom

ROOT = Path(charloom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FLOORS = {
    0: "__init__ batches config corpora deadline decoding drawing dropout errors files intervals "
    "jit launch meta outlook presets progress signals sources suffixes text tokens vocabulary "
    "wording",
    1: "arrays compiled ids ngram optimizers recipe reference schedules torchnet weights",
    2: "checkpoint copying corpus evaluation events fitting keeping metrics model planning replay "
    "run sampling stability standing training watch",
    3: "export pages plots report study tensorboard",
    4: "__main__ cli server",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
SIBLINGS = {"reference", "compiled", "torchnet", "ngram"}
PICKLING = {"pickle", "_pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}


def part(path: Path) -> str:
    """The module or package right below charloom that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


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
    """The modules and packages right below charloom that are imported."""
    found = set()
    for name in imported(tree):
        if name.split(".")[0] == "charloom":
            below = [*name.split("."), "__init__"][1]
            module = charloom._PUBLIC.get(below, below)
            found.add(module if module in FLOOR or is_module(module) else "__init__")
    return found


def is_module(name: str) -> bool:
    return (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()


def test_every_module_has_a_floor() -> None:
    assert {part(path) for path in FILES} <= FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_to_the_same_floor_or_a_lower_one(path: Path) -> None:
    own = part(path)
    upward = {name for name in own_imports(read(path)) if FLOOR[name] > FLOOR[own]}
    assert not upward


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_siblings_do_not_import_one_another(path: Path) -> None:
    if part(path) in SIBLINGS:
        assert not own_imports(read(path)) & (SIBLINGS - {part(path)})


def test_the_reading_of_imports_finds_each_form() -> None:
    tree = ast.parse(
        "import charloom.run\n"
        "from charloom import __version__, checkpoint, open_model\n"
        "def f():\n    from charloom.compiled.learner import CompiledLearner\n"
        "import numpy\n"
    )
    assert own_imports(tree) == {"run", "__init__", "checkpoint", "model", "compiled"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_pickled(path: Path) -> None:
    tree = read(path)
    assert not {name.split(".")[0] for name in imported(tree)} & PICKLING
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert "allow_pickle" not in keywords


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= 350
    functions = (
        node
        for node in ast.walk(read(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    assert not {name: length for name, length in lengths.items() if length > 50}


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
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
