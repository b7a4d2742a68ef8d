import html
import json
import math
import re
import shlex
from dataclasses import replace as changed
from functools import cache, partial
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
from charloom.analysis.inputs import generated
from charloom.analysis.novelty import copied
from charloom.cli import charloom
from charloom.cli.options import given
from charloom.cli.train import train as train_command
from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    SampleConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.data.text import read_text
from charloom.errors import CharloomError
from charloom.generation.sampling import generate
from charloom.models.engines import create_model
from charloom.presets import preset
from charloom.report import contents
from charloom.report.contents import Section, Writing, gather
from charloom.report.pages.report import (
    TITLES,
    _curves,
    _levels,
    _loss,
    _mark,
    _marked,
    _surprises,
    _tiles,
    report_page,
)
from charloom.report.reproduction import command, flags, meta_of
from charloom.runs.run import Run
from charloom.training.recipe import BASE, TRANSFORMER
from charloom.training.scoring import TEMPERATURE
from charloom.training.settings import configure
from expect import refused
from report_pages import EVIL, NAME, TEXT, report, runs
from small_runs import TRAIN, config_of, new_run, played, write_text

SOURCE = DataConfig(sources=("a text.txt",))
ENDED = replace(BASE, data=SOURCE, train=replace(BASE.train, iterations=7))
WARM = replace(BASE.watch, sample=replace(BASE.watch.sample, temperature=0.5))
OTHER = {  # than any default, for each setting
    "batch": 3, "length": 9, "optimizer": "rmsprop", "learning_rate": 0.123, "reduction": "sum",
    "clip_value": 2.5, "clip_norm": None, "weight_decay": 0.05, "beta1": 0.8, "beta2": 0.95,
    "decay": 0.9, "dropout": 0.3, "schedule": "step", "warmup": 5, "decay_factor": 0.25,
    "decay_every": 2.0, "decay_after": 3.0, "final_rate": 0.1, "patience": 4, "window": 50,
    "seed": 9, "batches": "windows", "precision": "bf16", "accumulate": 3, "compile": True,
    "minutes": 2.5, "epochs": 1.5, "mixture": 0.1,
}  # fmt: skip
READ = {
    "validation": 0.2, "test": 0.1, "split": "lines", "split_seed": 5, "encoding": "cp1252",
    "errors": "replace", "include": ("*.md", "a b"), "exclude": ("drafts/",),
    "columns": ("text", "title"), "keep_front_matter": True, "pages": True, "labels": True,
    "plain": True, "allow_private": True, "normalize": "NFC",
    "min_count": 10, "fix_mojibake": True,
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


@pytest.mark.parametrize("field", READ)
def test_how_a_text_is_read_is_spelled_out(field):
    config = replace(ENDED, data=replace(ENDED.data, **{field: READ[field]}))
    assert config != ENDED
    assert again(config) == config


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


def test_the_page_has_every_section_under_the_name_that_the_contents_have(page):
    text = page(NAME)
    assert re.findall(r'<section id="([a-z]+)">', text) == [*TITLES]
    headings = dict(re.findall(r'<section id="([a-z]+)">\s*<h2>(.*?)</h2>', text))
    (contents,) = re.findall(r'<nav class="contents".*?</nav>', text, re.DOTALL)
    assert dict(re.findall(r'<a href="#([a-z]+)">(.*?)</a>', contents)) == headings == TITLES
    assert text.count('role="img" aria-label="Training') >= 12  # losses on each axis, in two widths
    assert 'class="why"' not in text


def test_what_a_model_does_not_have_is_left_out(page):
    text = page("ngram")
    left = [name for name in TITLES if name not in ("curves", "neurons")]
    assert re.findall(r'<section id="([a-z]+)">', text) == left
    assert re.findall(r'<a href="#([a-z]+)">', text) == left
    both = page("ngram", NAME)
    assert re.findall(r'<section id="([a-z]+)">', both) == [*TITLES]
    (neurons,) = re.findall(r'<section id="neurons">.*', both, re.DOTALL)
    assert ">ngram</h3>" not in neurons.split('<section id="again">')[0]


@pytest.mark.parametrize("mixer", ["attention", "mingru"])
def test_a_transformer_has_no_neurons_to_look_at(mixer):
    found = report(NAME).subjects[0]
    config = TransformerConfig(mixer=mixer, layers=1, width=8, heads=1, context=16)
    with mock.patch.object(contents, "candidate", side_effect=CharloomError("x", "no-text")):
        run = Run.open(runs()[NAME])
        run.config = replace(run.config, model=config)
        cells = contents._subject(run, "gpt", None, lambda _: None).neurons
    assert found.neurons.found
    assert cells.found is None
    assert bool(cells.why) is (mixer == "mingru")  # its weights are not those of this run


def test_the_verdict_comes_first_with_what_to_do_next(page):
    found = report(*ALL)
    text = html.unescape(page(*ALL))
    (block,) = re.findall(r'<section id="verdict">.*?</section>', text, re.DOTALL)
    assert text.index("<section") == text.index(block)
    assert verdict(found.comparison.found) in block
    best = min((e for e in found.comparison.found.entries if e.kind == "run"), key=lambda e: e.nats)
    assert found.best.name == best.name
    first = found.best.findings.found[0]
    assert first.text in block
    assert first.advice in block


def test_a_run_that_held_out_nothing_is_named_and_the_others_are_compared(page):
    found = report(*ALL)
    assert {e.name for e in found.comparison.found.entries if e.kind == "run"} == {NAME, "ngram"}
    assert [*found.apart] == ["blind"]
    assert html.escape(found.apart["blind"], quote=False) in page(*ALL)
    alone = report("blind")
    assert alone.comparison.found is alone.best is None
    assert html.escape(alone.comparison.why) in page("blind")


def test_the_loss_of_a_run_is_one_figure_wherever_it_is_told(page):
    for name in (NAME, "ngram"):
        run, found = Run.open(runs()[name]), report(NAME, "ngram")
        nats = run.final().score.nats
        (entry,) = (e for e in found.comparison.found.entries if e.name == name)
        assert entry.nats == nats
        (subject,) = (s for s in found.subjects if s.name == name)
        assert subject.surprise.found.score.nats == pytest.approx(nats, rel=1e-12)
    one = html.unescape(page(NAME))
    nats = Run.open(runs()[NAME]).final().score.nats
    both = f"{nats:.3f} nats, {nats / math.log(2):.3f} bits"
    assert both in re.findall(r'<section id="verdict">.*?</section>', one, re.DOTALL)[0]
    assert f"{NAME}: {both}</span></label>" in one  # beside the curves
    assert f"<b>{nats:.3f}</b><span>nats per character</span>" in one
    assert one.count(f"<td>{nats:.3f}</td>") == 2  # in the comparison and above the surprise


def test_a_loss_says_what_was_scored_to_know_it():
    found = report(NAME)
    (subject,) = found.subjects
    characters = found.comparison.found.characters
    assert _loss(subject, found).of == f"all {characters} characters"
    elsewhere = changed(found, comparison=Section(changed(found.comparison.found, part=None)))
    assert _loss(subject, elsewhere) == _loss(subject, found)  # the run's own, at its end
    score = replace(subject.curve.final.score, nats=1.5, characters=20, whole=90, margin=0.1)
    part = replace(subject.curve.final, score=score)
    partly = changed(subject, curve=changed(subject.curve, final=part))
    assert _loss(partly, elsewhere) == (1.5, "20 of 90 characters")
    stopped = changed(subject, curve=changed(subject.curve, final=None))
    best = subject.curve.best
    assert _loss(stopped, elsewhere).nats == best.held_out
    assert str(best.step) in _loss(stopped, elsewhere).of
    blind = report("blind")
    assert _loss(blind.subjects[0], blind) is None
    nats = blind.subjects[0].curve.final.score.nats
    assert _tiles(blind.subjects[0], None)[0][0] == f"{nats:.3f}"


def test_a_colour_that_is_used_again_has_another_dot():
    marks = [_mark(k) for k in range(8)]
    assert [mark["again"] for mark in marks] == [False] * 6 + [True] * 2
    assert marks[6]["colour"] == marks[0]["colour"] != marks[1]["colour"]


def test_every_run_has_one_colour_on_the_page(page):
    text = html.unescape(page(*ALL))
    for k, name in enumerate(ALL):
        colours = {f"var(--series-{k})"}
        heading = rf'style="--run: ([^"]+)">{re.escape(name)}</h3>'
        row = rf'class="run" style="--run: ([^"]+)"><td[^>]*><span[^>]*>{re.escape(name)}(?: \*)?<'
        key = rf'style="--run: ([^"]+)"><span>{re.escape(name)}(?::|<)'
        assert {*re.findall(heading, text)} == colours
        assert {*re.findall(key, text)} == colours
        assert {*re.findall(row, text)} == (set() if name == "blind" else colours)


def test_samples_are_of_the_best_checkpoint_and_name_their_temperature(page):
    run = Run.open(runs()[NAME])
    (subject,) = report(NAME).subjects
    best = run.checkpoint("best").meta.step
    text = html.unescape(page(NAME))
    for writing in subject.writings.found:
        assert writing.step == best
        again = generated(run, len(writing.text), writing.seed, writing.temperature)
        assert writing.text == again
        assert f"temperature {writing.temperature} · step {best}, the best" in text
    assert {writing.temperature for writing in subject.writings.found} == {TEMPERATURE, 1.0}


def test_samples_are_not_of_the_last_checkpoint(tmp_path):
    train = replace(TRAIN, learning_rate=0.5, seed=2, dropout=0.0)
    run = played(tmp_path / "run", config_of(write_text(tmp_path), train=train))
    best, last = (run.checkpoint(which) for which in ("best", "latest"))
    assert best.meta.step < last.meta.step
    writings = contents._writings(run, None)
    assert {writing.step for writing in writings} == {best.meta.step}
    models = [create_model(run.config.model, c.weights, run.vocabulary) for c in (best, last)]
    sample = SampleConfig(seed=0, temperature=writings[0].temperature)
    one, other = ("".join(generate(model, sample, length=800)) for model in models)
    assert writings[0].text == one != other


def test_copied_passages_are_marked_with_where_they_come_from():
    source = "We the People of the United States,\nin Order to form a more perfect Union, and so on"
    text = "xx the People of the United States, yy a more perfect Union, zz to form a more perf"
    writing = Writing(text, 0.8, 0, 7, tuple(copied(text, source)))
    shown = _marked(writing, source)
    assert "".join(piece for piece, _ in shown["pieces"]) == text.rsplit(" ", 1)[0]
    marked = {number: piece for piece, number in shown["pieces"] if number}
    assert marked == {
        1: "the People of the United States,",
        2: "a more perfect Union,",
        3: "to form a more",
    }
    assert [one["found"].line for one in shown["copies"]] == [1, 2, 2]
    second = shown["copies"][1]
    assert second["before"] + second["found"].passage + second["after"] in source
    assert second["before"].startswith("We the People")
    assert shown["share"] == pytest.approx(sum(c.length for c in writing.copies) / len(text))


STAND_IN = "qzqzqz"


@cache
def page_of(name):
    """The page of a run that counts, if it is called so; its path is the same."""
    found = report("ngram")
    (subject,), comparison = found.subjects, found.comparison.found
    entries = (changed(e, name=name) if e.kind == "run" else e for e in comparison.entries)
    subject = changed(subject, name=name, path=name, curve=changed(subject.curve, name=name))
    comparison = Section(changed(comparison, entries=tuple(entries)))
    text = report_page(changed(found, subjects=(subject,), comparison=comparison))
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@settings(max_examples=settings().max_examples // 5)
@drawn(st.text(st.characters(categories="LNPSZ"), min_size=1, max_size=8))
@example(".")
@example("0")
@example("n")
@example("<b>")
@example("a.b")
@example("bits")
@example("{{ name }}")
@example("&amp;")
@example("'")
def test_a_name_is_a_value_that_no_other_words_are_made_of(name):
    written = pytest.importorskip("markupsafe").escape  # as Jinja does: ' has several references
    text = page_of(STAND_IN)
    assert text.count(STAND_IN) > 3
    assert page_of(name) == text.replace(STAND_IN, str(written(name)))


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
    whys = [part.why for part in (blind.read, blind.surprise, blind.neurons)]
    assert all(whys)
    assert "unmeasured" in {finding.name for finding in blind.findings.found}
    shown = html.unescape(text)
    assert all(words in shown for words in (*titles, *whys))
    assert len(re.findall(r'<p class="why">(.*?)</p>', text)) == 2
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bNone\b(?! of)", shown)


def test_several_runs_stand_side_by_side(page):
    text = page(*ALL)
    assert re.search("<title>.*3.*</title>", text)
    sections = ("diagnosis", "samples", "novelty", "keywords", "again")
    for name in sections:
        (block,) = re.findall(rf'<section id="{name}">.*?</section>', text, re.DOTALL)
        assert re.findall(r">([^<>]*)</h3>", block)[: len(ALL)] == [escape(n) for n in ALL]


def test_runs_that_read_the_same_share_a_view_and_two_are_set_against_one_another():
    found = report(*ALL).subjects
    marks = [{"colour": name} for name in ("red", "blue", "green")]
    first, second = found[0], found[2]
    assert first.surprise.found.text == second.surprise.found.text
    (one,) = _surprises([(first, marks[0]), (second, marks[2])])
    assert [run.name for run, _ in one["runs"]] == [NAME, "ngram"]
    assert one["view"]["difference"].mean < 0
    assert one["view"]["verdict"].startswith("ngram ")
    assert len(_surprises(zip(found, marks, strict=True))) == 2
    third = changed(second, name="third")
    (three,) = _surprises(zip((first, second, third), marks, strict=True))
    assert [run["name"] for run in three["view"]["data"]["runs"]] == [NAME, "ngram", "third"]
    assert three["view"]["difference"] is None


def test_a_model_that_counts_has_no_curve():
    assert _curves([curve(Run.open(runs()["ngram"]))], [], {}) is None


def test_levels_are_shown_only_if_every_curve_is_of_their_text():
    assert [level.name for level in _levels(report(NAME))][1:] == ["bz2"]
    assert _levels(report(NAME))[0].name.startswith("n-gram, order")
    assert [level.name for level in _levels(report(NAME, "ngram"))] == ["bz2"]  # a run is the line
    assert len(_levels(report(*ALL))) == 1  # the other has no validation loss
    found = report(NAME)
    other = changed(
        found.subjects[0], name="other", curve=changed(found.subjects[0].curve, name="other")
    )
    assert _levels(changed(found, subjects=(*found.subjects, other))) == []
    elsewhere = Section(changed(found.comparison.found, part=None))
    counted = found.subjects[0].curve.final.counted
    (level,) = _levels(changed(found, comparison=elsewhere))
    assert (level.name, level.nats) == (f"n-gram, order {counted.order}", counted.score.nats)


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
