import os
import shutil
import subprocess
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.data.patterns import Chosen, Ignored
from charloom.data.reading import Reading
from charloom.data.text import read_text
from expect import refused

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
WORDS = st.sampled_from(["a", "b", "a.txt", "b.md"])
PATHS = st.lists(st.lists(WORDS, min_size=1, max_size=3).map("/".join), max_size=8)
LINES = (
    *("a", "b", "/a", "a/", "*.txt", "!a.txt", "**/b", "b/**", "a/b", "!b/", "a/*/b.md"),
    *("#", "[ab]", "?.md", "\\!a", "*.txt/", "!*.md"),
)
RULES = st.lists(st.sampled_from(LINES), max_size=4)


def write(name, data="text"):
    path = Path(name)
    if any(parent.is_file() for parent in path.parents) or path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)


def git(folder, *arguments):
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        ["git", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **quiet},
    ).stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    git(folder, "init", "-q")
    return folder


@needs_git
@settings(max_examples=40, deadline=None)
@given(paths=PATHS, rules=RULES, inner=RULES, excluded=RULES)
def test_what_git_ignores_is_left_out(tree, paths, rules, inner, excluded):
    for path in tree.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in ["z", *paths]:
        write(tree / path)
    write(tree / ".gitignore", "\n".join(rules))
    if (tree / "a").is_dir():
        write(tree / "a" / ".gitignore", "\n".join(inner))
    (tree / ".git" / "info" / "exclude").write_text("\n".join(excluded))
    listed = git(tree, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    expected = {name for name in listed if name and ".gitignore" not in name}
    text = read_text([str(tree)])
    found = {Path(path).relative_to(tree).as_posix() for path, *_ in text.files}
    assert found == expected


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_git_is_not_needed_and_what_it_ignores_is_told(here):
    (here / "tree/.git").mkdir(parents=True)
    write("tree/.gitignore", "build/\n*.log\n")
    for name in ("build/a", "x.log", "src/main.py", "src/y.log"):
        write(f"tree/{name}", name)
    text = read_text(["tree"])
    assert text.content == "src/main.py"
    assert text.notes[1:] == (
        "skipped 1 folder (ignored by git): build",
        "skipped 2 files (ignored by git): x.log, src/y.log",
    )
    assert read_text(["tree"], reading=Reading(era="plain")).characters > text.characters


def test_a_folder_that_is_named_is_read_though_it_is_ignored(here):
    (here / ".git").mkdir()
    write(".gitignore", "data/\n*.txt\n")
    write("data/texts/a.txt", "one")
    write("data/texts/.gitignore", "b.txt")
    write("data/texts/b.txt", "two")
    assert read_text(["data"]).content == "one"
    assert read_text(["data/texts"]).content == "one"
    assert read_text(["data/texts/b.txt"]).content == "two"
    with refused("no-text"):
        write("notes/a.txt")
        read_text(["notes"])


def test_a_folder_outside_of_work_trees_has_no_rules(here):
    write("texts/.gitignore", "*")
    assert not Ignored(here / "texts").ignores(PurePath("a"), False)


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ((), (), ["a.md", "b.txt", "drafts/a.md", "x/drafts/b.md"]),
        (("*.md",), (), ["a.md", "drafts/a.md", "x/drafts/b.md"]),
        (("*.md",), ("drafts/",), ["a.md"]),
        ((), ("/drafts",), ["a.md", "b.txt", "x/drafts/b.md"]),
        (("x/", "*.txt"), (), ["b.txt", "x/drafts/b.md"]),
    ],
)
def test_patterns_choose_the_files_of_folders_and_archives(here, include, exclude, left):
    from archives import zipped

    names = ["a.md", "b.txt", "drafts/a.md", "x/drafts/b.md"]
    for name in names:
        write(f"texts/{name}", name)
    Path("texts.zip").write_bytes(zipped({name: name.encode() for name in names}))
    chosen = Chosen(include, exclude)
    assert [name for name in names if not chosen.why_not(PurePath(name))] == left
    reading = Reading(include=include, exclude=exclude)
    for source in ("texts", "texts.zip"):
        text = read_text([source], reading=reading)
        assert sorted(text.content.split("\n")) == left
        skipped = sum("cluded" in note for note in text.notes)
        assert bool(skipped) == (left != names)


def test_a_pattern_that_is_none_is_refused(here):
    write("texts/a")
    for field in ("include", "exclude"):
        with refused("bad-setting", field=field):
            read_text(["texts"], reading=Reading(**{field: ("\\",)}))
