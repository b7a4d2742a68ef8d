import html
import json
import re
import shlex
from dataclasses import replace as changed
from functools import partial
from html import escape
from unittest import mock

import pytest
from click.testing import CliRunner
from hypothesis import example, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

import report_pages
from charloom.analysis.comparison import compare, verdict
from charloom.analysis.curves import curve
from charloom.cli import charloom
from charloom.cli.options import given
from charloom.cli.train import train as train_command
from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.data.text import read_text
from charloom.presets import preset
from charloom.report import gather, report_page
from charloom.report.contents import Section
from charloom.report.pages.report import _curves, _surprises
from charloom.report.reproduction import command, flags, meta_of
from charloom.runs.run import Run
from charloom.training.planning import new_run
from charloom.training.recipe import BASE, TRANSFORMER
from charloom.training.settings import configure
from expect import refused
from report_pages import EVIL, NAME, TEXT, report, runs
from small_runs import TRAIN, config_of, write_text

SOURCE = DataConfig(sources=("a text.txt",))
ENDED = replace(BASE, data=SOURCE, train=replace(BASE.train, iterations=7))
WARM = replace(BASE.watch, sample=replace(BASE.watch.sample, temperature=0.5))
OTHER = {  # than any default, for each setting
    "batch": 3, "length": 9, "optimizer": "rmsprop", "learning_rate": 0.123, "reduction": "sum",
    "clip_value": 2.5, "clip_norm": None, "weight_decay": 0.05, "beta1": 0.8, "beta2": 0.95,
    "decay": 0.9, "dropout": 0.3, "schedule": "step", "warmup": 5, "decay_factor": 0.25,
    "decay_every": 2.0, "decay_after": 3.0, "final_rate": 0.1, "patience": 4, "window": 50,
    "seed": 9, "batches": "windows", "precision": "bf16", "accumulate": 3, "compile": True,
    "minutes": 2.5, "epochs": 1.5,
}  # fmt: skip
WATCHED = {
    "evaluate_every": 5, "checkpoint_every": 0, "sample_every": 9, "sample_at_best": True,
    "sample_below": 0.5, "write_below": 0.4, "sample_length": 77, "keep": 5,
}  # fmt: skip


def asked(words):
    """The settings that `charloom train` makes of words on the command line."""
    with train_command.make_context("train", [*words]) as context:
        values = given(context)
        values.pop("out", None)
        del values["sources"]
        values.pop("out", None)
        return configure(context.params["sources"], values)


def again(config):
    return asked([*config.data.sources, *flags(config)])


def settled(config):
    """Of a run with minutes, the steps are planned anew."""
    if config.train.minutes is None:
        return config
    return replace(config, train=replace(config.train, iterations=None, epochs=None))


@pytest.mark.parametrize("field", OTHER)
def test_every_setting_of_training_is_spelled_out(field):
    config = replace(ENDED, train=replace(ENDED.train, **{field: OTHER[field]}))
    assert getattr(config.train, field) != getattr(ENDED.train, field)
    assert settled(again(config)) == settled(config)


@pytest.mark.parametrize("field", WATCHED)
def test_what_is_looked_at_is_spelled_out(field):
    config = replace(ENDED, watch=replace(ENDED.watch, **{field: WATCHED[field]}))
    assert config != ENDED
    assert again(config) == config


def test_no_setting_is_forgotten_in_these_tests():
    assert {*OTHER, "iterations"} == {*TRAIN.__struct_fields__}
    assert {*WATCHED, "sample"} == {*WatchConfig.__struct_fields__}


@pytest.mark.parametrize(
    "config",
    [
        ENDED,
        replace(ENDED, model=ModelConfig(cell="rnn", layers=3, hidden=7, init_std=0.1)),
        replace(ENDED, model=NgramConfig(order=5, smoothing="none"), train=BASE.train),
        replace(ENDED, data=replace(SOURCE, validation=0.2, test=0.05)),
        replace(ENDED, data=replace(SOURCE, encoding="gb18030", errors="replace")),
        replace(ENDED, engine="reference", dtype="float64"),
        replace(
            ENDED, watch=replace(BASE.watch, sample=replace(BASE.watch.sample, temperature=0.5))
        ),
        replace(
            ENDED,
            model=TransformerConfig(mixer="attention", layers=2, context=32, positions="learned"),
            train=replace(TRANSFORMER, iterations=5, length=16),
        ),
        replace(
            ENDED, model=TransformerConfig(mixer="minlstm"), train=replace(TRANSFORMER, epochs=2.0)
        ),
    ],
    ids=[
        "lstm",
        "rnn",
        "ngram",
        "parts",
        "encoding",
        "engine",
        "temperature",
        "transformer",
        "minlstm",
    ],
)
def test_the_command_gives_the_same_settings(config):
    assert again(config) == config


@pytest.mark.parametrize("name", ["min-char-rnn", "markov", "torch-rnn-1024", "nanogpt-char-cpu"])
def test_a_preset_is_named_and_not_spelled_out(name):
    config = replace(preset(name), data=replace(preset(name).data, sources=("x",)))
    assert again(config) == config
    assert flags(config)[:2] == ["--preset", name]
    if not isinstance(config.model, NgramConfig):
        changed = replace(config, train=replace(config.train, seed=3))
        assert again(changed) == changed


def test_a_run_that_began_with_another_names_it():
    start = str(runs()["blind"])
    model = Run.open(start).config.model
    config = replace(ENDED, start=start, model=model, dtype="float64")
    assert again(config) == config


def test_the_command_can_be_pasted(tmp_path):
    source = write_text(tmp_path)
    run = new_run(tmp_path / "a run", config_of(source))
    words = shlex.split(command(run))
    assert words[:5] == ["charloom", "train", str(source), "--out", "a run"]
    assert asked(words[2:]) == run.config
    assert meta_of(run) is None


def test_a_checkpoint_says_with_which_versions_it_was_made():
    meta = meta_of(Run.open(runs()[NAME]))
    assert {"charloom", "python", "numpy", "numba"} <= meta.versions.keys()


ALL = (NAME, "blind", "ngram")


@pytest.fixture
def page():
    """The page of some runs; skips where a page cannot be made."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    return report_pages.page


def test_the_page_has_every_section(page):
    text = page(NAME)
    sections = re.findall(r'<section id="([a-z]+)">', text)
    assert sections == [
        *("diagnosis", "curves", "comparison", "samples"),
        *("novelty", "keywords", "surprise", "neurons", "again"),
    ]
    assert {*re.findall(r'<a href="#([a-z]+)">', text)} == {*sections}
    assert (
        text.count('role="img" aria-label="Training') >= 12
    )  # losses on each axis, and what follows, in two widths
    assert 'class="why"' not in text


STAND_IN = "qzqzqz"


def page_of(name):
    """The page of a run that counts, if it is called so; its path is the same."""
    found = report("ngram")
    (subject,), comparison = found.subjects, found.comparison.found
    entries = (changed(e, name=name) if e.kind == "run" else e for e in comparison.entries)
    subject = changed(subject, name=name, path=name, curve=changed(subject.curve, name=name))
    comparison = Section(changed(comparison, entries=tuple(entries)))
    text = report_page(changed(found, subjects=(subject,), comparison=comparison))
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@settings(max_examples=30)
@drawn(st.text(st.characters(categories="LNPSZ"), min_size=1, max_size=8))
@example(".")
@example("0")
@example("n")
@example("<b>")
@example("a.b")
@example("bits")
@example("{{ name }}")
@example("&amp;")
def test_a_name_is_a_value_that_no_other_words_are_made_of(name):
    pytest.importorskip("jinja2")
    text = page_of(STAND_IN)
    assert text.count(STAND_IN) > 3
    assert page_of(name) == text.replace(STAND_IN, str(escape(name)))


def test_a_report_on_the_folder_one_is_in_says_what_one_from_outside_does(monkeypatch):
    outside = report("ngram")
    monkeypatch.chdir(runs()["ngram"])
    with mock.patch("charloom.report.contents.compare", partial(compare, sampling_seconds=0)):
        inside = gather([Run.open("."), Run.open(runs()["ngram"])])
    (subject,) = inside.subjects  # under two paths it is one run
    assert subject.name == "ngram"
    assert "--out ngram" in subject.origin.command
    one, other = (verdict(found.comparison.found) for found in (outside, inside))
    assert one == other


def test_the_page_needs_nothing_else(page):
    text = page(NAME)
    outside = re.findall(r'(?:src|href|action|data)="(?!#)([^"]*)"', text)
    assert not [address for address in outside if not address.startswith("#")]
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert {*re.findall(r"https?://[^\s\"<]+", text)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_what_a_name_a_text_or_a_sample_says_is_shown_and_not_done(page):
    text = page(*ALL)
    assert "alert(1)" in text
    assert "alert(2)" in text
    tags = re.findall(r"<(?:script|img)\b[^>]*>", text)
    assert not [tag for tag in tags if tag not in ("<script>", SCRIPT_DATA)]
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert not [content for content in scripts if "alert(2)" in content and EVIL in content]
    assert "&lt;/pre&gt;&lt;script&gt;alert(2)&lt;/script&gt; &amp; more" in text
    assert "<script>alert" not in text


SCRIPT_DATA = '<script type="application/json" class="data">'


def test_what_cannot_be_had_says_why(page):
    text = page(*ALL)
    found = report(*ALL)
    titles = [finding.title for run in found.subjects for finding in run.findings.found]
    blind = found.subjects[1]
    whys = [part.why for part in (found.comparison, blind.read, blind.surprise, blind.neurons)]
    assert all(whys)
    assert "unmeasured" in {finding.name for finding in blind.findings.found}
    shown = html.unescape(text)
    assert all(words in shown for words in (*titles, *whys))
    reasons = re.findall(r'<p class="why">(.*?)</p>', text)
    assert len(reasons) >= 4
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bNone\b(?! of)", shown)


def test_several_runs_stand_side_by_side(page):
    text = page(*ALL)
    assert re.search("<title>.*3.*</title>", text)
    assert text.count(">ngram</h3>") >= 7
    assert text.count(">blind</h3>") >= 7


def test_two_runs_that_read_the_same_are_set_against_one_another():
    found = report(*ALL).subjects
    first, second = found[0], found[2]
    assert first.surprise.found.text == second.surprise.found.text
    (one,) = _surprises([first, second], ["red", "blue"])
    assert one["name"] == f"{NAME} and ngram"
    assert one["view"]["difference"].mean < 0
    assert one["view"]["verdict"].startswith("ngram ")
    assert len(_surprises(found, ["red", "blue", "green"])) == 3


def test_a_model_that_counts_has_no_curve():
    assert _curves([curve(Run.open(runs()["ngram"]))]).keys() == {"why"}


def test_the_document_is_plain(tmp_path):
    done = CliRunner().invoke(charloom, ["report", str(runs()["blind"]), "--json"])
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)["runs"]
    assert row["origin"]["sha256"] == Run.open(runs()["blind"]).corpus.sha256
    assert row["findings"][0]["name"] == "unmeasured"
    assert row["surprise"]["found"] is row["neurons"]["found"] is None
    assert row["surprise"]["why"]
    assert [sample["step"] for sample in row["samples"]] == [7, 14, 21, 24]


def test_the_command_writes_a_page_about_a_text(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text(TEXT[:400])
    words = ["report", str(runs()["ngram"]), "--text", "other.txt"]
    done = CliRunner().invoke(charloom, words)
    assert done.exit_code == 0
    assert "report.html" in done.stdout
    text = (tmp_path / "report.html").read_text()
    assert "other.txt: 400 characters" in text
    learned = read_text(["."])
    assert (learned.content, len(learned.notes)) == (TEXT[:400], 2)  # the page is skipped, and told
    with refused("not-text", why="by charloom"):
        read_text(["report.html"])


def test_a_report_needs_a_run():
    with refused("bad-setting", field="runs"):
        gather([])
