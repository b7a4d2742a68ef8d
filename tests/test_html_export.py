"""A run as one HTML file: what is in it, and what a real browser makes of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from axe import serious
from charloom.cli.export import export
from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    RunConfig,
    SampleConfig,
    TransformerConfig,
    replace,
)
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.formats.html import export as exporting
from charloom.formats.html.assembler import assemble
from charloom.formats.html.export import Precision, contents
from charloom.formats.html.page import asset, bundle
from charloom.formats.html.pruning import Pruner
from charloom.formats.html.weights import STEPS, quantized, restored
from charloom.generation.draw import draw
from charloom.models.engines import create_model
from charloom.models.mixture.gate import KNOTS
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel
from charloom.models.versions import versions
from charloom.models.weights import initial_weights
from charloom.report.plots.style import DARK, LIGHT
from charloom.runs.meta import Meta
from charloom.runs.run import Run
from every_cell import CELLS, recurrent
from expect import refused
from small_runs import config_of, played
from visiting import looks, visited

NAME = "<img src=x onerror=alert(1)>"
EVIL = "<script>alert(2)<script>"
TEXT = f'Half a league, half a league,\n"Forward, the {EVIL} Brigade!"\nRode the 600.\n' * 12
VOCABULARY = Vocabulary(tuple("\n abcdefg"))
V = len(VOCABULARY)
ROUNDING = 1e-3  # nats, and of a uniform number: float32 differs by some 1e-5 and 1e-6
SIZE = 1_000_000


def saved(folder: Path, model: ModelConfig) -> Run:
    """Return a run with random weights, the biases, too, so small that no rounding grows."""
    config = RunConfig(model=model, data=DataConfig(validation=0.0), dtype="float64")
    run = Run.create(folder, config, VOCABULARY, Text.from_string("abc defg\n" * 9, "text"))
    rng = np.random.default_rng(1)
    weights = initial_weights(model, V, 0)
    weights = {name: w + 0.1 * rng.normal(size=w.shape) for name, w in weights.items()}
    run.save(weights, Meta(step=1, seconds=0.0, best=None, versions=versions("reference")))
    return run


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that counts a text, both of which would like to be scripts."""
    folder = tmp_path_factory.mktemp("counts")
    source = folder / f"{EVIL}.txt"
    source.write_text(TEXT)
    return played(folder / NAME, replace(config_of(source), model=NgramConfig(order=4)))


def twin_of(run: Run, precision: Precision) -> LanguageModel:
    """Return the model of a page's weights in the reference engine."""
    weights = run.load_weights()
    held = restored(quantized(weights)) if precision == "int8" else weights
    return create_model(run.config.model, held, run.vocabulary, "reference", "float64")


# ------------------------------------------------------------------------------------ without one


@pytest.mark.parametrize("network", [False, True])
def test_the_file_needs_nothing_else_and_shows_names_as_text(
    tmp_path: Path, counts: Run, network: bool
) -> None:
    path = tmp_path / "page.html"
    run = saved(tmp_path / NAME, recurrent("gru", hidden=9)) if network else counts
    result = CliRunner().invoke(export, [str(run.path), "--html", "--out", str(path)])
    assert result.exit_code == 0, result.output
    text = path.read_text("utf-8")
    assert f"{path.stat().st_size:,} bytes" in result.output
    (packed,) = re.findall(r'<script type="application/octet-stream".*?>(.*?)</script>', text)
    text = text.replace(packed, "")
    outside = r"https?:|//[a-z]|@import|url\(|<(link|img|iframe)|<[a-z][^<>]*\b(src|href|action)="
    assert not re.search(outside, text)
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|EventSource|innerHTML|eval\(", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy
    assert text.count("<script") == 3
    assert NAME not in text
    assert EVIL not in text


def test_the_same_run_makes_the_same_file(counts: Run) -> None:
    first, second = (contents(counts, "int8", SIZE)[0] for _ in range(2))
    assert first == second


def test_modules_that_stand_in_one_have_no_names_in_common() -> None:
    declared = re.compile(
        r"^(?:async )?(?:const|let|class|function\*?) (\{.*?\}|\w+)", re.MULTILINE
    )
    names = [
        name for found in declared.findall(bundle("file.js")) for name in re.findall(r"\w+", found)
    ]
    assert len(names) > 30
    assert len({*names}) == len(names)


def test_pages_have_the_colours_of_plots() -> None:
    look = asset("look.css")
    for palette, text in zip((LIGHT, DARK), look.split("@media")[:2], strict=True):
        for field in ("paper", "ink", "faint", "line"):
            assert f"--{field}: {getattr(palette, field)};" in text
        for k, colour in enumerate(palette.series):
            assert f"--series-{k}: {colour};" in text


@pytest.mark.parametrize(
    "text",
    [
        '(module (import "page" "memory" (memory 1)) (func (f64.add)))',
        '(module (import "page" "memory" (memory 1)) (func (v128.const i32x4 1)))',
        '(module (import "page" "memory" (memory 1)) (func (i32.const 1))',
    ],
)
def test_the_assembler_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError):
        assemble(text)


def test_the_assembler_writes_the_bytes_of_the_specification() -> None:
    module = (
        '(module (import "page" "memory" (memory 200)) ;; a note\n'
        '(func $twice (export "twice") (param $x i32) (result i32)'
        " (i32.add (local.get $x) (i32.add (local.get $x) (i32.const -130)))))"
    )
    assert assemble(module) == (
        b"\0asm\x01\0\0\0"
        b"\x01\x06\x01\x60\x01\x7f\x01\x7f"  # one type
        b"\x02\x11\x01\x04page\x06memory\x02\x00\xc8\x01"
        b"\x03\x02\x01\x00"
        b"\x07\x09\x01\x05twice\x00\x00"
        b"\x0a\x0d\x01\x0b\x00\x20\x00\x20\x00\x41\xfe\x7e\x6a\x6a\x0b"
    )


def test_weights_in_8_bits_are_off_by_half_a_step_of_their_column() -> None:
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(50, 7)) * [1e-3, 1, 1, 1, 1e3, 1, 0], "b": rng.normal(size=7)}
    found = restored(quantized(weights))
    steps = np.abs(weights["W"]).max(axis=0) / STEPS
    assert (np.abs(found["W"] - weights["W"]) <= 0.5001 * steps).all()
    assert (found["W"][:, 6] == 0).all()
    assert (found["b"] == weights["b"].astype(np.float32)).all()
    assert all(array.dtype == np.float32 for array in found.values())


def counted(order: int = 6) -> NgramModel:
    vocabulary = Vocabulary.from_text(TEXT)
    return NgramModel.fit(vocabulary.encode(TEXT), vocabulary, NgramConfig(order=order))


def test_a_pruned_model_has_what_tells_most_and_is_one_still() -> None:
    model = counted()
    ids, losses = model.vocabulary.encode(TEXT), []
    pruner, whole = Pruner(model), model.parameter_count
    for most in (0, whole // 20, whole // 5, whole // 2):
        kept = pruner.keep(most)
        assert kept.parameter_count == most
        assert (kept.trie.suffix >= 0).all()
        p = np.exp(kept.log_probs(ids[None, :200], kept.start(1))[0])
        assert np.allclose(p.sum(axis=-1), 1, atol=1e-12)
        losses.append(evaluate(kept, ids).nats)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(len(model.vocabulary)))
    assert pruner.keep(whole) is model
    every = pruner.keep(whole - 1)
    assert evaluate(every, ids).nats == pytest.approx(evaluate(model, ids).nats, abs=0.02)


def test_n_grams_are_pruned_until_the_page_fits(
    monkeypatch: pytest.MonkeyPatch, counts: Run
) -> None:
    run = counts
    content, twin = contents(run, "int8", SIZE)
    assert isinstance(twin.model, NgramModel)
    assert twin.model is twin.own
    base = len(exporting._page(run, {"characters": run.vocabulary.characters}, {}, None))
    monkeypatch.setattr(exporting, "FOR_COUNTS", 0)
    small, twin = contents(run, "int8", base + 500)
    assert isinstance(twin.model, NgramModel)
    assert isinstance(twin.own, NgramModel)
    assert 0 < twin.model.parameter_count < twin.own.parameter_count
    assert base < len(small) <= base + 500 < len(content)


def test_a_hard_sigmoid_is_refused(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", ModelConfig(cell="lstm", hidden=4, gate="hard-sigmoid-1/5"))
    with refused("unsupported", path=run.path):
        exporting.export_html(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_what_no_page_can_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = RunConfig(model=TransformerConfig(layers=1, width=8, heads=2, context=4))
    text = Text.from_string("abc defg\n" * 9, "text")
    run = Run.create(tmp_path / "run", config, VOCABULARY, text)
    with refused("unsupported", path=run.path):
        exporting.export_html(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# ---------------------------------------------------------------------------------- in a browser


@contextmanager
def opened(browser: Any, content: bytes, folder: Path, **more: Any) -> Iterator[Any]:
    path = folder / "page.html"
    path.write_bytes(content)
    with visited(browser, path.as_uri(), **more) as view:
        if more.get("java_script_enabled", True):
            view.locator(".tree button").wait_for()
        yield view


def predicted(view: Any, text: str) -> np.ndarray:
    """Return the page's log-probabilities (N, V) after each character of a text."""
    script = """async text => {
      const found = [], all = Array.from(text);
      for (let n = 1; n <= all.length; n++)
        found.push(Array.from(await charloom.predict(all.slice(0, n))));
      return found.map(row => row.map(value => value === -Infinity ? null : value));
    }"""
    rows = view.evaluate(script, text)
    return np.array([[-np.inf if x is None else x for x in row] for row in rows])


def check_predictions(view: Any, model: LanguageModel, text: str) -> None:
    ids = model.vocabulary.encode(text)
    wanted = model.log_probs(ids[None], model.start(1))[0][0]
    found = predicted(view, text)
    assert (np.isneginf(found) == np.isneginf(wanted)).all()
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def written(view: Any, prompt: str, **settings: Any) -> str:
    script = """async ([prompt, settings]) => {
      let text = "";
      for await (const piece of charloom.write(Array.from(prompt), settings)) text += piece.text;
      return text;
    }"""
    asked = {"length": 150, "temperature": 1, "topP": 1, "seed": "0"} | settings
    text: str = view.evaluate(script, [prompt, asked])
    assert len(text) == asked["length"]
    return text


def check_writing(view: Any, model: LanguageModel, prompt: str) -> None:
    """Check each character that the page writes: it is what is drawn with NumPy's numbers."""
    for config in (SampleConfig(temperature=0, seed=0), SampleConfig(0.8, top_p=0.9, seed=2**40)):
        asked = {"temperature": config.temperature, "topP": config.top_p, "seed": str(config.seed)}
        text = written(view, prompt, **asked)
        ids = model.vocabulary.encode(prompt + text)
        log_probs = model.log_probs(ids[None], model.start(1))[0][0][len(prompt) - 1 :]
        (rng,) = np.random.default_rng(config.seed).spawn(1)
        for id, row, u in zip(ids[len(prompt) :], log_probs, rng.random(len(text)), strict=False):
            if config.temperature == 0:
                assert row[id] >= row.max() - ROUNDING
                continue
            around = [(u + du, p) for du in (-ROUNDING, 0, ROUNDING) for p in (0.899, 0.9, 0.901)]
            assert id in {
                draw(row, replace(config, top_p=p), min(max(x, 0), 0.999)) for x, p in around
            }


@pytest.mark.browser
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("precision", "embedding"), [("int8", 0), ("float32", 5)])
def test_the_page_predicts_and_writes_what_the_network_does(
    browser: Any, tmp_path: Path, cell: str, precision: Precision, embedding: int
) -> None:
    run = saved(tmp_path / "run", recurrent(cell, layers=2, hidden=37, embedding=embedding))
    content, _ = contents(run, precision, SIZE)
    twin, text = twin_of(run, precision), "a bad cab\n" * 3
    with opened(browser, content, tmp_path) as view:
        check_predictions(view, twin, text)
        check_writing(view, twin, "a fad")
        kernels = "charloom.model.kernels.product.toString()"
        assert "native code" in view.evaluate(kernels)
    refuse = "WebAssembly.instantiate = () => Promise.reject(new Error('no'))"
    with opened(browser, content, tmp_path, before=refuse) as view:
        assert "native code" not in view.evaluate(kernels)
        check_predictions(view, twin, text)


@pytest.mark.browser
@pytest.mark.parametrize("smoothing", ["held-out", "kneser-ney", "none"])
@pytest.mark.parametrize("room", [SIZE, 500])
def test_the_page_predicts_and_writes_what_the_n_gram_model_does(
    browser: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    counts: Run,
    smoothing: str,
    room: int,
) -> None:
    vocabulary = Vocabulary.from_text(TEXT)
    config = NgramConfig(order=5, smoothing=smoothing)
    model = NgramModel.fit(vocabulary.encode(TEXT), vocabulary, config)
    monkeypatch.setattr(exporting, "open_model", lambda _: model)
    monkeypatch.setattr(exporting, "FOR_COUNTS", 0)
    base = len(exporting._page(counts, {"characters": vocabulary.characters}, {}, None))
    content, twin = contents(counts, "int8", base + room)
    assert (twin.model is model) == (room == SIZE)
    with opened(browser, content, tmp_path) as view:
        check_predictions(view, twin.model, TEXT[:150])
        check_writing(view, twin.model, TEXT[:7])


@pytest.mark.browser
def test_the_page_mixes_as_the_run_does(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved(tmp_path / "run", recurrent("lstm", layers=1, hidden=20))
    ids = np.random.default_rng(0).integers(0, V, 3000)
    grams = NgramModel.fit(ids, VOCABULARY, NgramConfig(order=4))
    shares = np.random.default_rng(1).random((KNOTS, KNOTS))
    mixed = mixture_of(twin_of(run, "float32"), grams, shares)
    monkeypatch.setattr(exporting, "open_model", lambda _: mixed)
    content, twin = contents(run, "float32", SIZE)
    with opened(browser, content, tmp_path) as view:
        check_predictions(view, twin.model, "a bad cab\n" * 5)
        check_writing(view, twin.model, "a bad")


@pytest.fixture(scope="module")
def page(counts: Run) -> bytes:
    """Return the page of an n-gram model."""
    return contents(counts, "int8", SIZE)[0]


def done(view: Any) -> None:
    """Wait until nothing is written any more."""
    view.locator(".go:not(.busy)").wait_for()
    view.locator(".state", has_text="seed").wait_for()


@pytest.mark.browser
def test_one_writes_goes_on_undoes_and_branches(browser: Any, tmp_path: Path, page: bytes) -> None:
    with opened(browser, page, tmp_path) as view:
        area, branches = view.locator("textarea"), view.locator(".tree button")
        area.press_sequentially("Half a ")
        view.locator(".length").fill("40")
        view.locator(".seed").fill("7")
        area.press("Control+Enter")
        done(view)
        first = area.input_value()
        assert first.startswith("Half a ")
        assert len(first) == 47
        assert branches.count() == 3  # the beginning, what was typed, and what came
        view.get_by_role("button", name="Undo").click()
        assert area.input_value() == "Half a "
        view.locator(".go").click()
        done(view)
        assert area.input_value() == first  # of the same seed
        view.locator(".seed").fill("8")
        view.get_by_role("button", name="Another").click()
        done(view)
        assert area.input_value() != first
        # An alternative: what came before it stays, and another branch goes on from it.
        area.evaluate("e => { e.focus(); e.setSelectionRange(10, 10); }")
        view.locator(".likely .came").wait_for()
        other = view.locator(".likely li:visible button:not(.came)").first
        before, count = area.input_value(), branches.count()
        other.click()
        done(view)
        assert area.input_value()[:10] == before[:10]
        assert area.input_value()[10] != before[10]
        assert branches.count() == count + 1
        branches.nth(2).click()
        assert area.input_value() == first
        # In the middle of a text, the rest stays behind what is written.
        area.evaluate("e => { e.focus(); e.setSelectionRange(7, 7); }")
        view.locator(".length").fill("5")
        view.locator(".go").click()
        done(view)
        assert len(area.input_value()) == 52
        assert area.input_value().endswith(first[7:])
        assert view.locator("img").count() == 0


@pytest.mark.browser
def test_writing_stops_when_one_says_so(browser: Any, tmp_path: Path, page: bytes) -> None:
    seldom = "window.requestAnimationFrame = call => setTimeout(call, 100)"  # a key comes between
    with opened(browser, page, tmp_path, before=seldom) as view:
        view.locator(".length").fill("100000")
        view.locator(".go").click()
        view.locator(".paint i").nth(50).wait_for()
        view.keyboard.press("Escape")
        view.locator(".go:not(.busy)").wait_for()
        length = len(view.locator("textarea").input_value())
        assert 50 < length < 100_000
        view.locator("textarea").press_sequentially("!")
        assert len(view.locator("textarea").input_value()) == length + 1


@pytest.mark.browser
def test_each_character_has_the_colour_of_its_surprise(
    browser: Any, tmp_path: Path, page: bytes, counts: Run
) -> None:
    text = "Half a league, half é league"
    model = exporting.open_model(counts)
    with opened(browser, page, tmp_path) as view:
        view.locator("textarea").fill(text)
        view.locator(".state", has_text="é").wait_for()
        cells = view.locator(".paint i")
        shares = cells.evaluate_all("all => all.map(e => +e.style.getPropertyValue('--a'))")
        cold = cells.evaluate_all("all => all.map(e => e.classList.contains('cold'))")
        assert view.locator(".paint i.unknown").all_inner_texts() == ["é"]
        before, place = text[: text.index("é")], text.index("é")
        ids = model.vocabulary.encode(text.replace("é", ""))
        log_probs = model.log_probs(ids[None], model.start(1))[0][0]
        nats = -log_probs[np.arange(len(ids) - 1), ids[1:]]
        away = (nats - nats.mean()) / nats.std()
        wanted = np.clip(np.abs(away), 0, 2.5) / 2.5
        found = np.array(shares[1:place] + shares[place + 1 :])
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        assert cold[1 : len(before)] == (away < 0).tolist()[: len(before) - 1]


@pytest.mark.browser
def test_bars_follow_the_temperature(
    browser: Any, tmp_path: Path, page: bytes, counts: Run
) -> None:
    with opened(browser, page, tmp_path) as view:
        view.locator("textarea").fill("Half a leagu")
        view.locator(".place", has_text="leagu").wait_for()
        bars = view.locator(".likely li:visible u")
        widths = "all => all.map(e => parseFloat(e.style.width))"
        slider, seen = view.locator("input.temperature"), []
        for temperature in ("0.5", "1", "2"):
            slider.fill(temperature)
            seen.append(bars.evaluate_all(widths))
        model = exporting.open_model(counts)
        ids = model.vocabulary.encode("Half a leagu")
        p = np.sort(np.exp(model.log_probs(ids[None], model.start(1))[0][0][-1]))[::-1]
        for widths_at, power in zip(seen, (2, 1, 0.5), strict=True):
            np.testing.assert_allclose(widths_at, 100 * (p**power / (p**power).sum())[:5], atol=0.1)
        slider.fill("0")
        assert bars.evaluate_all(widths)[0] == 100


@pytest.mark.browser
def test_several_temperatures_stand_side_by_side(browser: Any, tmp_path: Path, page: bytes) -> None:
    with opened(browser, page, tmp_path) as view:
        view.locator("textarea").fill("Half ")
        view.locator(".length").fill("30")
        view.get_by_role("button", name="Compare").click()
        texts = view.locator(".columns pre")
        for n in range(3):
            texts.nth(n).locator("i").nth(29).wait_for()
        chosen = texts.nth(1).text_content()
        view.get_by_role("button", name="Take it").nth(1).click()
        assert view.locator("textarea").input_value() == f"Half {chosen}"
        assert texts.count() == 0


@pytest.mark.browser
def test_the_page_fits_and_everybody_can_use_it(browser: Any, tmp_path: Path, page: bytes) -> None:
    with opened(browser, page, tmp_path) as view:
        view.locator("textarea").fill("Half a league, half a league,\n" * 3)
        view.locator(".mean", has_text="nats").wait_for()
        view.locator(".length").fill("60")
        view.get_by_role("button", name="Compare").click()
        view.locator(".columns figure").nth(2).wait_for()
        for width in looks(view):
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(view) == []


@pytest.mark.browser
def test_without_scripts_the_page_says_what_to_do(
    browser: Any, tmp_path: Path, page: bytes
) -> None:
    with opened(browser, page, tmp_path, java_script_enabled=False) as view:
        assert view.locator("noscript p", has=view.locator("code")).is_visible()
