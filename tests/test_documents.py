"""Documents that cannot lie: examples and the README's commands are run."""

import ast
import doctest
import json
import pickle
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import blog_site
import old_files
from axe import serious
from charloom import cli, train
from charloom.training import planning
from test_architecture import ORDER
from visiting import DESKTOP, PHONE, visited

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


# What a page takes for granted, and what its commands get in place of what would take minutes.
PAGES = ("index", "blog", "lstm", "how_it_works", "loss", "copying", "presets", "faq")
NOVEL = "It was a dark and stormy night. This summer, we sat by the sea. " * 150
IN_PAGES = {"--minutes": ("--iterations", "2"), "--iterations": ("--iterations", "2")}


def commands_of(document: str) -> list[list[str]]:
    """The commands of the blocks marked sh; those of what is not installed are left out."""
    blocks = re.findall(r"^ *```sh\n(.*?)```", document, re.DOTALL | re.M)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert {command[0] for command in commands if command} <= {"charloom", "python"}
    missing = {word for word, package in EXTRAS.items() if find_spec(package) is None}
    return [command for command in commands if command and not missing & {*command}]


def short(command: list[str]) -> list[str]:
    """What the README's commands get."""
    more = [] if "ngram" in command else SHORT.get(command[1], [])
    if command[1] in ("train", "resume") and "--minutes" in command:
        more = ["--minutes", "0.005"]
    return [*command[1:], *more]


def shorter(command: list[str]) -> list[str]:
    """What those of pages get: 2 steps for any number of minutes or iterations."""
    if command[1] == "resume" and "--minutes" in command:
        return short(command)
    words, taken = command[1:], []
    while words:
        taken += IN_PAGES.get(words[0], (words[0],))
        words = words[2 if words[0] in IN_PAGES else 1 :]
    if command[1] == "replay" or (command[1] == "train" and not {*taken} & {*IN_PAGES}):
        taken += ["--iterations", "2"]
    if "--prompt" in taken and "--unknown" not in taken:  # these texts have few characters
        taken += ["--unknown", "skip"]
    return taken


def run_commands(
    commands: list[list[str]], shorten: Callable[[list[str]], list[str]], told: Callable[[], str]
) -> None:
    for command in commands:
        result = CliRunner(capture="fd").invoke(cli.charloom, shorten(command))
        assert result.exit_code == 0, (command, result.output)
        assert result.stdout or told()


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order_and_then_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning.Planner, "check_time", lambda *_: None)  # however slow it is
    for name in ("novel.txt", "more.txt", "chapter.txt"):
        (tmp_path / name).write_text("It was a dark and stormy night. " * 300, "utf-8")
    commands = commands_of(README)
    assert len(commands) >= 8
    run_commands(commands, short, lambda: capfd.readouterr().out)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "minutes=3" in block
    assert python("-c", block.replace("minutes=3", "minutes=0.05"), cwd=tmp_path)


@pytest.fixture(scope="module")
def a_novel_and_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages of docs/ take for granted: a text, a blog's export, posts, a run."""
    folder = tmp_path_factory.mktemp("documents")
    posts = blog_site.site(1, 25)
    (folder / "blog.xml").write_bytes(blog_site.wxr(posts, Random(1)))
    (folder / "posts").mkdir()
    for post in posts:
        (folder / "posts" / f"{post.number}.txt").write_text(post.text, "utf-8")
    for name in ("novel.txt", "more.txt", "other.txt"):
        (folder / name).write_text(NOVEL, "utf-8")
    out = folder / "runs" / "novel"
    train(folder / "novel.txt", iterations=2, hidden=8, model="lstm", mixture=0.0, out=out)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_run_in_their_order(
    name: str,
    a_novel_and_runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    commands = commands_of((ROOT / "docs" / f"{name}.md").read_text("utf-8"))
    shutil.copytree(a_novel_and_runs, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    monkeypatch.setattr(planning.Planner, "check_time", lambda *_: None)
    for command in commands:
        if command[0] == "python":  # test_an_example_runs runs these, with fewer steps
            assert Path(command[1]).name in EXAMPLES
        if command[-2:] == ["--out", "runs/novel"]:
            shutil.rmtree("runs/novel")
    # What the README has, too, is run with the README, but for what makes the runs of this page.
    known = [c for c in commands_of(README) if c[1] not in ("train", "resume")]
    ours = [c for c in commands if c[0] == "charloom" and c not in known]
    assert commands
    run_commands(ours, shorter, lambda: capfd.readouterr().out)


OLD = ROOT / "docs" / "old-models.md"
WITH_TORCH_OR_HDF5 = {"char-rnn.pytorch, Udacity's course", "nanoGPT", "Keras"}  # test_import_*.py
WITH_TORCH_OR_HDF5.add("textgenrnn")


def write_old_files(folder: Path) -> None:
    """Write a file for each program of docs/old-models.md whose format needs no package."""
    for name in ("cv", "out", "save", "saved", "runs"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "tests" / "data" / "old" / "makemore_gru.pt", folder / "out" / "model.pt")
    (folder / "names.txt").write_text("abcef\nghilm\nnoprs\ntuvyz\n" * 20)
    (folder / "other-names.txt").write_text("emma\nolivia\nava\n" * 20)
    for name in ("novel", "more", "other", "shakespeare"):
        (folder / f"{name}.txt").write_text(old_files.TEXT * 20, "utf-8")
    dump = old_files.T7().dump
    (folder / "cv" / "checkpoint_8450.t7").write_bytes(dump(old_files.torch_rnn()[0]))
    (folder / "cv" / "lm_lstm_epoch50.00_1.2345.t7").write_bytes(
        old_files.T7().dump(old_files.char_rnn()[0])
    )
    old_files.bundle(folder / "save" / "model.ckpt-70", old_files.tensorflow()[0])
    tokens = pickle.dumps((tuple(old_files.TOKENS), {}), protocol=2)
    (folder / "save" / "chars_vocab.pkl").write_bytes(tokens)
    old_files.bundle(folder / "saved" / "model.ckpt", old_files.tensorflow(embedding=False)[0])
    V, H = old_files.V, old_files.H
    names = ("Wxh", "Whh", "Why", "bh", "by")
    arrays = old_files.numbers((H, V), (H, H), (V, H), (H, 1), (V, 1))
    chars = np.array(old_files.TOKENS)
    np.savez(folder / "model.npz", **dict(zip(names, arrays, strict=True)), chars=chars)


@pytest.mark.slow
def test_the_commands_for_old_models_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_old_files(tmp_path)
    train("more.txt", model="ngram", order=3, out="runs/ngram")
    sections = re.split(r"^## ", OLD.read_text("utf-8"), flags=re.M)
    run = 0
    for section in sections:
        title, commands = section.partition("\n")[0], commands_of(section)
        if title in WITH_TORCH_OR_HDF5 or not commands:
            continue
        if "runs/old" in commands[0] and "import" in commands[0]:
            shutil.rmtree("runs/old", ignore_errors=True)
        run_commands(commands, shorter, lambda: capfd.readouterr().out)
        run += 1
    assert run == 7


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
    for target in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(
        r'(?:src|srcset)="([^"]+)"', README
    ):
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


DOCS = ROOT / "docs"


def quotes() -> list[tuple[str, str, list[str]]]:
    """The file and function that docs/how_it_works.md names, and the lines it quotes of them."""
    text = (DOCS / "how_it_works.md").read_text("utf-8")
    found = re.findall(
        r"`([\w/]+\.py)`, in\s+`(\w+)`:\n\n *```python\n(.*?)\n *```", text, re.DOTALL
    )
    assert len(found) == text.count("```python")
    return [
        (path, name, [line.strip() for line in lines.splitlines() if line.strip() != "..."])
        for path, name, lines in found
    ]


@pytest.mark.parametrize("quote", quotes(), ids=lambda quote: "-".join(quote[:2]))
def test_how_it_works_quotes_lines_that_are_there_in_that_order(
    quote: tuple[str, str, list[str]],
) -> None:
    path, name, lines = quote
    content = ((ROOT if "examples" in path else SOURCE) / path).read_text("utf-8")
    functions = [
        node
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    (function,) = functions
    source = map(str.strip, content.splitlines()[function.lineno - 1 : function.end_lineno])
    assert lines
    assert [line for line in lines if line not in source] == []  # `in` goes on from the last


def test_it_walks_from_the_command_to_a_gradient_in_five_files() -> None:
    walk = quotes()[:5]
    assert [path for path, _, _ in walk] == [
        "cli/train.py",
        "training/loop.py",
        "models/reference/learner.py",
        "models/reference/network.py",
        "models/reference/rnn.py",
    ]


def test_the_example_by_hand_is_right() -> None:
    results = doctest.testfile(str(DOCS / "how_it_works.md"), module_relative=False)
    assert results.attempted >= 8
    assert results.failed == 0


def made(script: str) -> dict[str, Any]:
    return runpy.run_path(str(DOCS / f"{script}.py"))


def test_pages_and_figures_are_what_is_made_of_the_code_and_the_measured_figures() -> None:
    program = (  # in a process of its own: a command that a test has called alone has another help
        f"import json, runpy; made = runpy.run_path({str(DOCS / 'make.py')!r})['pages']()\n"
        "print(json.dumps({str(path): text for path, text in made.items()}))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    pages = {Path(path): text for path, text in json.loads(told.stdout).items()}
    old = [p for p, text in pages.items() if not p.is_file() or p.read_text("utf-8") != text]
    figures = made("figures")["figures"]()
    old += [
        path
        for name, drawn in figures.items()
        if not (path := DOCS / "figures" / f"{name}.svg").is_file() or path.read_text() != drawn
    ]
    assert old == [], "run `python docs/make.py` and `python docs/figures.py`"
    assert {*(DOCS / "cli").glob("*.md")} <= pages.keys()


def test_figures_of_a_page_are_those_of_the_measured_file() -> None:
    walk = json.loads((DOCS / "data" / "walk.json").read_text("utf-8"))
    page = (DOCS / "lstm.md").read_text("utf-8")
    for name, step in walk["steps"].items():
        if step["nats"] is not None:
            assert page.count(f"{step['nats']:.3f}") >= 2, name  # in the table and at its place
        assert step.get("sample", "") in page
    assert f"{walk['zero']['share']:.1%}" in page
    (losses,) = json.loads((DOCS / "data" / "losses.json").read_text("utf-8"))["tables"]
    page = (DOCS / "loss.md").read_text("utf-8")
    assert len(losses["rows"]) >= 7
    for *_, counted, network in losses["rows"]:
        assert f"| {float(counted):.2f} | {float(network):.2f} |" in page


FIGURE = re.compile(r"\d+(?:,\d{3})+|\d+\.\d+")  # what is measured: not a year, nor a size


@pytest.mark.parametrize(
    "page", ["README.md", "docs/loss.md", "docs/copying.md", "docs/presets.md"]
)
def test_a_figure_of_a_table_is_made_of_a_measured_file_or_stands_in_the_lab_book(
    page: str,
) -> None:
    made_blocks = re.compile(r"<!-- made: [\w-]+ -->\n.*?<!-- end -->", re.DOTALL)
    text = made_blocks.sub("", (ROOT / page).read_text("utf-8"))
    book = {*FIGURE.findall((DOCS / "LOG.md").read_text("utf-8"))}
    losses = [Decimal(figure) for figure in book if "." in figure]
    for row in re.findall(r"^\|.*\|$", text, re.M):
        for figure in FIGURE.findall(row):
            # A loss or a ratio may have more digits in the book.
            unit = Decimal(1).scaleb(int(Decimal(figure.replace(",", "")).as_tuple().exponent))
            rounded = [n for n in losses if "." in figure and abs(n - Decimal(figure)) <= unit / 2]
            assert figure in book or rounded, (figure, row)


def test_pictures_of_the_documents_are_there_and_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:")[2]
    for path in DOCS.rglob("*.md"):
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text("utf-8")):
            file = target.removesuffix("#only-light").removesuffix("#only-dark")
            assert (path.parent / file).is_file(), (path, target)
        if path.parent == DOCS:  # pages of commands are below cli/index.md
            assert path.name in menu


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents as a site, built strictly; skips without zensical."""
    if find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    build = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", "mkdocs.yml"]
    result = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_site_has_every_page_none_is_large_and_none_asks_the_network(site: Path) -> None:
    for path in DOCS.rglob("*.md"):
        page = site / path.relative_to(DOCS).with_suffix(".html")
        assert page.stat().st_size < 300_000
        asked = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:[^\" >]+)", page.read_text()
        )
        assert [address for address in asked if "canonical" not in address] == []


@pytest.mark.browser
@pytest.mark.parametrize("page", ["index", "lstm", "how_it_works", "loss", "cli/train", "python"])
def test_the_site_fits_in_light_and_dark(browser: Any, site: Path, page: str) -> None:
    scheme = "dark" if page in ("lstm", "cli/train") else "light"
    with looked_at(browser, site, page, scheme=scheme) as view:
        for width in (DESKTOP, PHONE):
            view.set_viewport_size({"width": width, "height": 800})
            assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.locator("h1").count() == 1
        assert view.locator("main img:not([alt])").count() == 0
        assert serious(view) == []
        paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) > 127) == (scheme == "light")


@pytest.mark.browser
def test_the_site_is_searched_without_a_network(browser: Any, site: Path) -> None:
    with looked_at(browser, site, "python") as view:
        view.keyboard.press("Control+k")
        view.get_by_role("combobox").or_(view.get_by_role("textbox")).first.fill("temperature")
        view.get_by_text(re.compile(r"\d+ results")).first.wait_for()


def looked_at(browser: Any, site: Path, page: str, **more: Any) -> Any:
    return visited(browser, (site / f"{page}.html").as_uri(), site=site.as_uri(), **more)


SHOWN = re.compile(r"^ {4,}((?:charloom|make|python|pip|torchrun|\.venv/bin/)[ \w].*)$", re.M)
RUN_ELSEWHERE = {  # commands that are shown in a page and not run with it: where they are
    "make demo": "test_pictures.py, by its command",
    "make test": "this is it",
    "make bench": "test_benchmarks.py, in tiny sizes",
    "make torture": "by hand",
    "make browser": "by hand",
    "make docs": "below, by its steps",
    "make pictures": "by hand",
    ".venv/bin/charloom sample runs/us-constitution-lstm": "test_cli_runs.py, by its kind",
    ".venv/bin/python benchmarks/run.py": "test_benchmarks.py, in tiny sizes",
    "python benchmarks/run.py": "test_benchmarks.py, in tiny sizes",
    "charloom serve": "test_serve_load.py, in a process of its own",
    "pip install '.[serve]'": "by hand",
    "pip install '.[text,report]'": "by hand",
    "python3 -m venv .venv": "by hand",
    "torchrun": "test_launch.py",
    "charloom evaluate FOLDER": "test_torchnet_pretrained.py",
    "charloom train novel.txt --from FOLDER": "test_torchnet_pretrained.py",
    "charloom import FILE|FOLDER": "the form of a command",
}


def test_commands_that_are_shown_and_not_run_with_a_page_run_elsewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    shown = {
        line for page in pages if page.name != "LOG.md" for line in SHOWN.findall(page.read_text())
    }
    assert len(shown) > 10
    assert {line for line in shown if not line.startswith((*RUN_ELSEWHERE,))} == set()
    for place in RUN_ELSEWHERE.values():
        file = re.match(r"test_\w+\.py", place)
        assert file is None or (Path(__file__).parent / file[0]).is_file()
