import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.analysis.curves import Curve, Point, Rollback, curve, names, spread
from charloom.cli import charloom
from charloom.config import NgramConfig, replace
from charloom.data.text import read_text
from charloom.report.plots.smoothing import BUCKETS, Line, smooth, thin
from charloom.report.plots.style import DARK, LIGHT, Level, Look
from charloom.runs.run import Run
from charloom.training.events import Sampled
from expect import refused
from small_runs import OFTEN, STEPS, config_of, new_run, played, write_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of networks and one that counts."""
    path = tmp_path_factory.mktemp("runs")
    source = write_text(path)
    config = config_of(source)
    played(path / "lstm", config)
    played(path / "gru", config_of(source, cell="gru"))
    played(path / "ngram", replace(config, model=NgramConfig(order=3)))
    return path


def point(step, training=2.0, held_out=None, seconds=None, rate=0.1):
    return Point(step, 10.0 * step, seconds, training, held_out, rate, None)


def curve_of(points, samples=(), setbacks=(), name="run"):
    return Curve(name, "lstm", "text", tuple(points), tuple(samples), tuple(setbacks))


def texts(path):
    """What stands in an SVG, as it is read."""
    return ["".join(element.itertext()).strip() for element in ET.parse(path).iter(f"{SVG}text")]


def test_a_curve_holds_what_the_metrics_say(folder):
    run = Run.open(folder / "lstm")
    found = curve(run)
    assert [p.step for p in found.points] == [line.step for line in run.metrics()]
    assert [p.training for p in found.points] == [line.loss for line in run.metrics()]
    held_out = {m.step: m.validation for m in run.metrics() if m.validation_loss is not None}
    assert {p.step: p.held_out for p in found.points if p.held_out is not None} == held_out
    assert found.best.step == min(held_out, key=held_out.get)
    assert [s.step for s in found.samples] == [7, 14, 21, STEPS]
    assert all(len(s.text) == OFTEN.sample_length for s in found.samples)


def test_lines_of_metrics_that_lack_something_are_read(tmp_path):
    config = config_of(write_text(tmp_path))
    run = new_run(tmp_path / "run", config)
    lines = [
        {"step": 1},
        {"step": 2, "loss": None, "validation": None, "tokens": "of the future"},
        {"step": 3, "loss": 2.5, "setbacks": [{"at": 9, "to": 3, "why": "?"}]},
        {"step": 4, "loss": 2.0, "validation": 2.25, "characters": 80},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "run/metrics.jsonl").write_text(text)
    found = curve(run)
    assert found.points[0] == found.points[1].__class__(1, *[None] * 6)
    assert found.points[1] == Point(2, *[None] * 6)
    assert (found.points[2].training, found.points[2].characters) == (2.5, None)
    assert found.best == found.points[3]
    assert found.setbacks == (Rollback(9, 3),)
    assert found.series("characters", "training") == ([80.0], [2.0])
    assert found.series("steps", "training") == ([3, 4], [2.5, 2.0])
    assert b"<svg" in drawn(tmp_path / "old.svg", found, axis="steps")


def drawn(path, *curves, **look):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.images import write_plot

    write_plot(path, curves, Look(**look))
    return path.read_bytes()


def test_a_place_on_an_axis_lies_between_the_points_around_it():
    found = curve_of([point(2, seconds=10.0), point(4, seconds=30.0)])
    assert [found.place("seconds", step) for step in (1, 2, 3, 4, 5)] == [5, 10, 20, 30, None]
    assert found.place("steps", 9) == 9.0
    assert curve_of([point(2)]).place("seconds", 2) is None


@given(st.lists(st.floats(0, 9), min_size=1, max_size=300))
def test_smoothing_keeps_the_first_point_and_stays_between_the_extremes(values):
    even = smooth(Line(np.arange(len(values)), np.array(values))).y
    assert even[0] == pytest.approx(values[0])
    assert min(values) - 1e-9 <= min(even)
    assert max(even) <= max(values) + 1e-9


def test_smoothing_is_a_mean_over_as_many_points_on_either_side_but_at_the_end():
    values = np.arange(400) % 7.0
    even = smooth(Line(np.arange(400), values)).y
    assert even[200] == pytest.approx(values[195:206].mean())
    assert even[398] == pytest.approx(values[393:].mean())


@settings(max_examples=20)
@given(st.integers(1, 3000), st.booleans(), st.integers(0, 9))
def test_a_thin_line_keeps_ends_and_extremes(n, log, seed):
    line = Line(np.arange(1.0, n + 1), np.random.default_rng(seed).random(n))
    kept = thin(line, log)
    assert len(kept.x) <= 2 * BUCKETS + 4
    assert {*zip(*kept, strict=True)} <= {*zip(*line, strict=True)}
    assert (kept.x[0], kept.x[-1]) == (line.x[0], line.x[-1])
    assert (kept.y.min(), kept.y.max()) == (line.y.min(), line.y.max())


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=60), st.integers(2, 9))
def test_samples_are_spread_from_the_first_to_the_last(steps, most):
    samples = [Sampled(step, "") for step in sorted(steps)]
    kept = spread(samples, most)
    assert len(kept) == min(len(samples), most)
    assert kept == sorted(kept, key=lambda sample: sample.step)
    assert kept[:1] == samples[:1]
    assert kept[-1:] == samples[-1:]


def test_samples_lie_closer_together_at_the_beginning():
    kept = spread([Sampled(step, "") for step in range(100, 10_001, 100)], 5)
    assert [sample.step for sample in kept] == [100, 300, 1000, 3200, 10_000]


def test_names_are_as_short_as_tells_runs_apart(tmp_path):
    def named(*paths):
        return names([SimpleNamespace(path=tmp_path / path) for path in paths])

    assert named("a/x", "a/y") == ["x", "y"]
    assert named("a/x", "b/x") == ["a/x", "b/x"]
    assert named("a/x", "a/x") == ["x", "x"]
    assert named() == []


@pytest.mark.parametrize(
    ("axis", "log"), [("characters", False), ("seconds", True), ("steps", False)]
)
def test_runs_are_drawn_over_one_another(folder, tmp_path, axis, log):
    curves = [curve(Run.open(folder / name)) for name in ("lstm", "gru", "ngram")]
    drawn(tmp_path / "a.svg", *curves, axis=axis, log=log, log_y=log, values=("loss", "rate"))
    shown = texts(tmp_path / "a.svg")
    for one in curves:
        nats = one.best.held_out
        assert f"{one.name}: {nats:.3f} nats, {nats / math.log(2):.3f} bits" in shown
    assert {"nats per character", "bits per character", "learning rate"} <= {*shown}
    assert not [text for text in shown if "mathdefault" in text]


@pytest.mark.parametrize("log_y", [False, True])
def test_bits_stand_beside_nats_at_the_same_height(log_y):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.figure import draw

    points = [point(k + 1, held_out=2.0 - k / 100) for k in range(101)]
    figure = draw([curve_of(points)], Look(log_y=log_y))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (bits,) = axes.child_axes
    low, high = axes.get_ylim()
    assert 0 < low < 1 < 2 < high
    assert bits.get_ylim() == pytest.approx((low / math.log(2), high / math.log(2)))


def test_the_first_losses_do_not_press_the_rest_together():
    pytest.importorskip("matplotlib")
    from charloom.report.plots.figure import draw

    points = [point(k, training=1 + 9 / k) for k in range(1, 401)]
    (axes,) = draw([curve_of(points)], Look()).axes
    assert 2 < axes.get_ylim()[1] < 3
    (axes,) = draw([curve_of(points)], Look(log=True)).axes
    assert axes.get_ylim()[1] > 9


def test_the_same_rows_make_the_same_png_and_a_large_one(folder, tmp_path):
    found = curve(Run.open(folder / "lstm"))
    first = drawn(tmp_path / "a.png", found, samples=True)
    assert first == drawn(tmp_path / "b.png", found, samples=True)
    assert first.startswith(b"\x89PNG")
    width = int.from_bytes(first[16:20], "big")
    assert width == 9 * 160
    assert first != drawn(tmp_path / "c.png", found, samples=False)


def test_the_same_rows_make_the_same_svg(folder, tmp_path):
    found = curve(Run.open(folder / "lstm"))
    assert drawn(tmp_path / "a.svg", found) == drawn(tmp_path / "b.svg", found)


def test_a_plot_is_no_text_to_learn(folder, tmp_path):
    assert b"<svg" in drawn(tmp_path / "plot.svg", curve(Run.open(folder / "lstm")))
    with refused("not-text", why="by charloom"):
        read_text([str(tmp_path / "plot.svg")])


def test_what_a_model_or_a_name_says_is_drawn_as_it_is(tmp_path):
    samples = [Sampled(1, "costs $1 or $2^ <script>alert(1)</script> \x07\x1b[2J 漢字")]
    points = [point(1, held_out=2.0), point(2, held_out=1.5)]
    found = curve_of(points, samples, name="_$x$ </text><script>")
    drawn(tmp_path / "a.png", found, samples=True)
    drawn(tmp_path / "a.svg", found, samples=True)
    shown = texts(tmp_path / "a.svg")
    assert "costs $1 or $2^ <script>alert(1)</script> ··[2J 漢字" in shown
    assert any(text.startswith("_$x$ </text><script>: lstm") for text in shown)
    assert not [*ET.parse(tmp_path / "a.svg").iter(f"{SVG}script")]
    drawn(tmp_path / "b.svg", found, curve_of(points, name="other"))
    assert "_$x$ </text><script>: 1.500 nats, 2.164 bits" in texts(tmp_path / "b.svg")


def test_a_rollback_is_marked(tmp_path):
    points = [point(k, held_out=2.0) for k in range(1, 9)]
    plain = drawn(tmp_path / "a.svg", curve_of(points))
    assert plain != drawn(tmp_path / "b.svg", curve_of(points, setbacks=[Rollback(6, 4)]))


SIGHT = {  # Machado, Oliveira & Fernandes 2009, severity 1: what linear RGB is seen as
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.052)),
    "no green": ((0.3673, 0.8606, -0.2279), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
    "no blue": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
}
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))


def linear(colour):
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB: a distance of 2 is just seen."""
    share = np.array(TO_XYZ) @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089)
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_of_runs_can_be_told_apart_from_one_another_and_from_the_paper(palette, sight):
    seen = [lab(np.array(SIGHT[sight]) @ linear(colour)) for colour in palette.series]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 10
    light = [np.dot(TO_XYZ[1], linear(colour)) + 0.05 for colour in palette.series]
    paper = np.dot(TO_XYZ[1], linear(palette.paper)) + 0.05
    assert min(max(one, paper) / min(one, paper) for one in light) > 3  # WCAG 2.1, 1.4.11


def test_svg_for_a_page_has_its_colours_and_no_others(folder):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.images import inline_svg

    found = [curve(Run.open(folder / name)) for name in ("lstm", "gru")]
    levels = [Level("n-gram, order 8", 1.5), Level("bz2", 2.5)]
    text = inline_svg(found, Look(), "here", 'loss of "<x>" & y', levels)
    root = ET.fromstring(text)
    assert root.get("aria-label") == 'loss of "<x>" & y'
    assert not [colour for colour in LIGHT if isinstance(colour, str) and colour in text]
    assert {"var(--faint)", "var(--line)", "var(--series-0)", "var(--series-1)"} <= {
        part.split(")")[0] + ")" for part in text.split(": ") if part.startswith("var(")
    }
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(name.startswith("here-") for name in ids)
    used = {part.split(")")[0] for part in text.split("url(#")[1:]}
    used |= {part.split('"')[0] for part in text.split('href="#')[1:]}
    assert used <= {*ids}
    assert "<style" not in text
    assert root.get("width") is None
    shown = ["".join(element.itertext()) for element in root.iter("text")]
    assert {"n-gram, order 8", "bz2", "nats per character"} <= {*shown}
    assert not [words for words in shown if "lstm" in words]  # a page has a legend of its own


@pytest.mark.parametrize("values", [("loss",), ("rate", "gradient-norm")])
def test_a_run_has_one_colour_in_every_panel_whatever_is_beside_it(folder, values):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.images import inline_svg

    found = [curve(Run.open(folder / name)) for name in ("lstm", "ngram", "gru")]
    root = ET.fromstring(inline_svg(found, Look("steps", values), "here", "curves"))
    for k in range(3):
        parts = [g for g in root.iter("g") if g.get("class") == f"run-{k}"]
        used = {*re.findall(r"var\(--series-\d\)", b"".join(map(ET.tostring, parts)).decode())}
        assert used == ({f"var(--series-{k})"} if parts else set())
        assert bool(parts) is (k != 1 or values == ("loss",))


def test_a_page_is_told_where_values_are_on_a_picture(folder):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.images import inline_svg

    points = [point(k, held_out=3.0 - k / 10) for k in range(1, 11)]
    root = ET.fromstring(inline_svg([curve_of(points)], Look("steps"), "here", "losses"))
    (panel,) = json.loads(root.get("data-panels"))
    left, top, width, height = panel["box"]
    marks = [g for g in root.iter("g") if g.get("class") == "run-0" and [*g.iter("use")]]
    places = [(float(u.get("x")), float(u.get("y"))) for g in marks for u in g.iter("use")]
    (low, high), (bottom, up) = panel["x"], panel["y"]
    for p in points[1:]:  # the first is above the picture
        x = left + width * (p.step - low) / (high - low)
        y = top + height * (up - p.held_out) / (up - bottom)
        assert min(abs(x - a) + abs(y - b) for a, b in places) < 0.1, p


def test_levels_stand_beside_the_curves_and_within_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.figure import draw

    points = [point(k, held_out=2.0 - k / 100) for k in range(1, 9)]
    levels = [Level("n-gram, order 8", 1.2), Level("bz2", 2.4)]
    (axes,) = draw([curve_of(points)], Look(), levels).axes
    low, high = axes.get_ylim()
    assert low < 1.2 < 2.4 < high
    assert {"n-gram, order 8", "bz2"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("name", [".", "0", "#f00001", 'id="x', 'href="#m1', "url(#p)", "<b>&amp;"])
def test_the_name_of_a_run_is_no_part_of_an_svg_for_a_page(name):
    pytest.importorskip("matplotlib")
    from charloom.report.plots.images import inline_svg

    found = curve_of([point(1, held_out=2.0)])
    root = ET.fromstring(inline_svg([found], Look(), "here", name, [Level(name, 1.5)]))
    assert root.get("aria-label") == name
    assert name in ["".join(element.itertext()) for element in root.iter("text")]


@pytest.mark.parametrize(
    ("name", "look", "code"),
    [
        ("a.pdf", {}, "unsupported"),
        ("no/a.png", {}, "unwritable"),
        ("a.png", {"values": ("gradient-norm",)}, "unsupported"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, name, look, code):
    with refused(code):
        drawn(tmp_path / name, curve_of([point(1, held_out=2.0)]), **look)


def test_a_model_that_counts_has_no_curve_of_its_own(folder, tmp_path):
    with refused("unsupported", field="loss"):
        drawn(tmp_path / "a.png", curve(Run.open(folder / "ngram")))


def test_the_command_writes_a_file_that_is_new(folder, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "curves.png").touch()
    done = CliRunner().invoke(charloom, ["plot", str(folder / "lstm")])
    assert done.exit_code == 0
    assert "curves-2.png" in done.output
    assert (tmp_path / "curves-2.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_gives_the_rows(folder, tmp_path):
    out = tmp_path / "a.svg"
    runs = [str(folder / "lstm"), str(folder / "ngram")]
    done = CliRunner().invoke(charloom, ["plot", *runs, "--json"])
    rows = json.loads(done.stdout)
    assert [row["run"] for row in rows] == ["lstm", "ngram"]
    assert [p["step"] for p in rows[0]["points"]][-1] == STEPS
    pytest.importorskip("matplotlib")
    again = CliRunner().invoke(charloom, ["plot", *runs, "--json", "--out", str(out), "--log"])
    assert json.loads(again.stdout) == rows
    assert out.exists()


def test_rows_need_no_matplotlib(folder):
    script = f"""
import sys
sys.modules["matplotlib"] = None
sys.argv[1:] = ["plot", {str(folder / "lstm")!r}, *sys.argv[1:]]
import charloom.cli
charloom.cli.main()
"""
    for more, status, words in ((["--json"], 0, ""), ([], 2, "'charloom[report]'")):
        done = subprocess.run([sys.executable, "-c", script, *more], capture_output=True, text=True)
        assert done.returncode == status
        assert words in done.stderr
