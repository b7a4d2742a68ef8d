"""*Learn* of the page of `charloom serve`: its routes, and the page in a real browser."""

from contextlib import contextmanager

import numpy as np
import pytest

from axe import serious
from charloom.analysis.inputs import training_text
from charloom.config import (
    EnsembleConfig,
    ModelConfig,
    NgramConfig,
    RunConfig,
    SampleConfig,
    TransformerConfig,
    replace,
)
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.sampling import generate
from charloom.models.mixture.gate import KNOTS
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.runs.open import open_alone, open_model
from charloom.runs.run import Run
from serving import TEXT, serving, text_of, write_run
from small_runs import TRAIN, config_of, played
from visiting import FIRST_PAINT, looks, visited

KEY = "secret"
ROUTES = ("learn", "cells", "step", "copies")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network that learned a little, one that did not, counts, a mixture, and two others."""
    folder = tmp_path_factory.mktemp("learning")
    source = folder / "brigade.txt"
    source.write_text(TEXT)
    config = config_of(source, train=replace(TRAIN, iterations=24))
    played(folder / "runs" / "verse", replace(config, data=replace(config.data, validation=0.2)))
    write_run(folder / "runs" / "gru", "gru")
    write_run(folder / "runs" / "counts", "ngram")
    vocabulary = Vocabulary.from_text(TEXT)
    config = RunConfig(model=TransformerConfig(layers=1, width=8, heads=2, context=8))
    Run.create(folder / "runs" / "attention", config, vocabulary, Text.from_string(TEXT, "text"))
    config = RunConfig(model=ModelConfig(hidden=4), imported="char-rnn")
    Run.create(folder / "runs" / "imported", config, vocabulary, None)
    return folder / "runs"


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


def asked(server, route, **body):
    answer = server.http.post(f"/v1/charloom/{route}", json={"model": "verse"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --------------------------------------------------------------------------- what was recorded


def test_samples_are_told_with_the_losses_that_were_known_then(server, folder):
    run = Run.open(folder / "verse")
    told = asked(server, "learn")
    *along, best = told["samples"]
    assert [one["step"] for one in along] == [step for step, _ in run.samples()]
    assert [one["text"] for one in along] == [path.read_text() for _, path in run.samples()]
    assert (best["best"], best["step"]) == (True, run.final().best)
    assert best["text"] == run.best_sample()
    assert best["held_out"] == pytest.approx(run.final().score.nats)
    lines = run.metrics()
    for one in along:
        before = [line for line in lines if line.step <= one["step"]]
        training = [line.loss for line in before if line.loss is not None]
        assert one["training"] == training[-1]
        held_out = [x for line in before if (x := line.validation_loss) is not None]
        assert one["held_out"] == (held_out[-1] if held_out else None)
    assert (told["cells"], told["maths"]) == (None, None)
    assert told["excerpt"]["text"] in TEXT


def test_what_a_model_does_not_have_is_said_in_a_sentence(server):
    counts = asked(server, "learn", model="counts")
    assert "has no cells" in counts["cells"]
    assert counts["maths"] is None
    attention = asked(server, "learn", model="attention")
    assert "has no cells" in attention["cells"]
    assert "transformer" in attention["maths"]
    imported = asked(server, "learn", model="imported")
    assert imported["samples"] == []
    assert imported["excerpt"] is None


# ------------------------------------------------------------------------------ cells, and a step


def test_cells_of_a_span_have_the_values_that_the_network_has(server, folder):
    text = TEXT[:120]
    told = asked(server, "cells", text=text, start=40, end=46)
    model = open_alone(Run.open(folder / "verse"), "reference")
    _, state = model.log_probs(model.vocabulary.encode(text)[None], model.start(1))
    assert (told["text"], told["shows"], told["of"]) == (text, "tanh(c)", 8)
    for cell in told["cells"]:
        layer, unit = map(int, cell["name"].split(":"))
        assert cell["values"][-1] == pytest.approx(np.tanh(state[layer][1][0, unit]), abs=0.02)
        assert len(cell["values"]) == len(text)
        assert cell["value"] == pytest.approx(np.mean(cell["values"][40:46]), abs=0.02)
        for place in cell["places"]:
            assert place["text"] in TEXT
    for place in told["alike"]:
        assert place["text"] in TEXT


def test_a_span_is_counted_in_characters_as_the_model_reads_them(server):
    for text in (TEXT[:60], TEXT[:60].replace("\n", "\r\n")):
        start = text.index("Theirs", 10)
        told = asked(server, "cells", text=text, start=start, end=start + 6)
        assert told["text"] == TEXT[:60]
        for cell in told["cells"]:
            assert cell["value"] == pytest.approx(np.mean(cell["values"][26:32]), abs=0.01)


def test_a_run_without_text_tells_of_the_text_that_is_sent(folder, tmp_path):
    run = write_run(tmp_path / "verse")
    (run.path / "corpus.json").write_bytes((folder / "imported" / "corpus.json").read_bytes())
    with serving(tmp_path) as server:
        told = asked(server, "cells", text=TEXT[:200], start=0, end=5)
        assert told["usual"] == 200
        again = asked(server, "cells", text=TEXT[:150], start=0, end=5)
        assert again["usual"] == 150


@pytest.mark.parametrize("name", ["verse", "gru", "counts"])
@pytest.mark.parametrize("length", [1, 130, 200])
def test_a_step_ends_in_what_the_model_predicts(server, folder, name, length):
    text = (TEXT * 2)[:length]
    told = asked(server, "step", model=name, text=text)
    model = open_model(folder / name)
    ids = model.vocabulary.encode(text)
    log_probs = model.log_probs(ids[None], model.start(1))[0][0][-1]
    best = np.argsort(-log_probs, kind="stable")[:5]
    assert (told["read"], told["id"]) == (text[-1], ids[-1])
    assert [letter for letter, _ in told["likeliest"]] == [
        model.vocabulary.decode([i]) for i in best
    ]
    p = [p for _, p in told["likeliest"]]
    np.testing.assert_allclose(p, np.exp(log_probs[best]), atol=1e-5)
    assert told["characters"] == len(model.vocabulary)


def test_a_step_tells_of_the_cells_that_were_asked_for(server):
    told = asked(server, "step", text="Theirs", cells=["1:3", "0:2"])
    layers = [part["columns"] for part in told["parts"] if part["kind"] == "cells"]
    assert [layer[0] for layer in layers] == ["0:2", "1:3"]


def test_a_mixture_has_a_step_and_the_cells_of_its_network(folder, monkeypatch):
    run = Run.open(folder / "gru")
    ids = run.vocabulary.encode(TEXT)
    counts = NgramModel.fit(ids, run.vocabulary, NgramConfig(order=4))
    shares = np.random.default_rng(1).random((KNOTS, KNOTS))
    model = mixture_of(open_alone(run), counts, shares)
    monkeypatch.setattr("charloom.serve.models.open_model", lambda *_, **__: model)
    with serving(folder) as server:
        told = asked(server, "step", model="gru", text=TEXT[:30])
        assert asked(server, "cells", model="gru", text=TEXT[:30], start=3, end=8)["of"] == 12
    assert told["parts"][-1]["title"] == "mixture"
    log_probs = model.log_probs(ids[None, :30], model.start(1))[0][0][-1]
    p = [p for _, p in told["likeliest"]]
    np.testing.assert_allclose(p, np.sort(np.exp(log_probs))[::-1][:5], atol=1e-5)


def test_of_several_networks_the_first_is_told_of_and_what_all_predict(tmp_path):
    source = tmp_path / "brigade.txt"
    source.write_text(TEXT)
    config = config_of(source, train=replace(TRAIN, iterations=3))
    several = EnsembleConfig(network=config.model, networks=2)
    run = played(tmp_path / "runs" / "verse", replace(config, model=several))
    model = open_model(run)
    with serving(tmp_path / "runs") as server:
        assert asked(server, "learn")["networks"] == 2
        told = asked(server, "step", text=TEXT[:30])
        assert asked(server, "cells", text=TEXT[:30], start=3, end=8)["of"] == 8
    log_probs = model.log_probs(run.vocabulary.encode(TEXT[:30])[None], model.start(1))[0][0][-1]
    p = [p for _, p in told["likeliest"]]
    np.testing.assert_allclose(p, np.sort(np.exp(log_probs))[::-1][:5], atol=1e-5)
    assert told["parts"][-1]["title"] == "average"


# -------------------------------------------------------------------------------- what is copied


def test_copies_are_told_with_their_place_in_the_training_text(server, folder):
    source = training_text(Run.open(folder / "gru"))
    text = f"Theirs{source[30:75]}!!{source[80:95]}"
    (copy,) = asked(server, "copies", model="gru", text=text)["copies"]
    assert (copy["start"], copy["length"]) == (6, 45)
    assert copy["passage"] == source[30:75]
    place = source.index(copy["passage"])
    assert copy["line"] == source[:place].count("\n") + 1
    assert copy["before"] + copy["passage"] + copy["after"] in source


def test_a_text_keeps_to_a_copy_limit_and_is_that_of_the_sampler(server, folder):
    for name in ("counts", "gru"):
        run = Run.open(folder / name)
        source, model = training_text(run), open_model(run)
        for most in (5, 9):
            asking = {"model": name, "max_tokens": 120, "seed": 4, "temperature": 0.7}
            text = text_of(server, **asking, max_copy=most)
            config = SampleConfig(0.7, seed=4)
            limit = CopyLimit(source, most)
            assert text == "".join(generate(model, config, "Theirs ", 120, limit))
            whole = "Theirs " + text
            ends = range(8, len(whole) + 1)
            assert not any(whole[max(0, n - most - 1) : n] in source for n in ends if n > most)
        assert (limit.redrawn > 0) == (name == "counts")
        free = text_of(server, model=name, max_tokens=120, seed=4, temperature=0.7)
        assert (free != text) == (name == "counts")


def test_a_copy_limit_goes_with_penalties_and_log_probabilities(server):
    asking = {"model": "counts", "max_tokens": 60, "seed": 1, "max_copy": 6, "logprobs": 0}
    answer = server.http.post(
        "/v1/completions", json=asking | {"prompt": "Theirs ", "frequency_penalty": 1.0}
    ).json()
    (choice,) = answer["choices"]
    assert len(choice["logprobs"]["tokens"]) == len(choice["text"]) == 60
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


def test_a_text_ends_where_a_copy_limit_leaves_nothing_to_draw(server):
    prompt = "Theirs not to reason why"
    asking = {"model": "counts", "prompt": prompt, "temperature": 0, "max_tokens": 50}
    body = asking | {"max_copy": 1, "logit_bias": {}, "top_k": 1}
    (choice,) = server.http.post("/v1/completions", json=body).json()["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    assert len(choice["text"]) <= 50


# ------------------------------------------------------------------------------ what is refused


def bodies(route):
    """A request that is right, and fields that are wrong."""
    right = {"model": "verse"}
    wrong = [{"model": 1}, {"model": ""}, {"more": 1}]
    if route in ("cells", "step", "copies"):
        right |= {"text": "Theirs"}
        wrong += [{"text": 1}, {"text": "T" * 20_001}, {"text": None}]
    if route in ("cells", "step"):
        wrong += [{"text": ""}, {"text": "Theirs é"}, {"text": "T" * 5_001}]
    if route == "cells":
        right |= {"start": 1, "end": 4}
        wrong += [{"start": -1}, {"end": "4"}, {"start": 4}, {"start": 5, "end": 2}, {"end": 1}]
        wrong += [{"model": "counts"}, {"model": "attention"}]
    if route == "step":
        wrong += [{"cells": ["0"]}, {"cells": "0:1"}, {"cells": ["9:1"]}, {"cells": ["0:99"]}]
        wrong += [{"cells": ["0:1"] * 13}, {"model": "attention"}]
    return right, wrong


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_no_such_request_is_refused(server, route):
    right, wrong = bodies(route)
    for body in wrong:
        answer = server.http.post(f"/v1/charloom/{route}", json=right | body)
        assert answer.status_code == (404 if body == {"model": "attention"} else 400), body
        error = answer.json()["error"]
        assert error["message"]
        assert error["code"]
    for content in (b"", b"{", b"[]", b"\xff", b'{"model": "verse", "text": "\\ud800"}'):
        headers = {"content-type": "application/json"}
        answer = server.http.post(f"/v1/charloom/{route}", content=content, headers=headers)
        assert answer.status_code == 400, content


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["nobody", "../verse", "verse/", "/etc"])
def test_a_name_that_is_not_in_the_table_is_no_run(server, route, name):
    right, _ = bodies(route)
    answer = server.http.post(f"/v1/charloom/{route}", json=right | {"model": name})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("route", ROUTES)
def test_other_sites_and_others_without_the_key_get_nothing(server, folder, route):
    right, _ = bodies(route)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = server.http.post(f"/v1/charloom/{route}", json=right, headers=headers)
        assert answer.status_code == 403
    with serving(folder, key=KEY) as keyed:
        assert keyed.http.post(f"/v1/charloom/{route}", json=right).status_code == 401


def test_what_is_damaged_is_told_in_the_log_and_not_to_clients(tmp_path, capfd):
    run = write_run(tmp_path / "verse")
    (run.path / "metrics.jsonl").write_text("nonsense\n{}\n")
    with serving(tmp_path) as server:
        answer = server.http.post("/v1/charloom/learn", json={"model": "verse"})
    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text
    assert "metrics.jsonl is damaged" in capfd.readouterr().err


# --------------------------------------------------------------------------------- in a browser


@contextmanager
def opened(browser, server, model="verse", **more):
    """Open *Learn*, and wait until the first step is told."""
    with visited(browser, f"{server.url}/learn?model={model}", **more) as view:
        view.locator(".after li").first.wait_for()
        yield view


@pytest.mark.browser
def test_one_scrubs_through_the_training(browser, server, folder):
    run = Run.open(folder / "verse")
    samples, lines = [*run.samples()], run.metrics()
    with opened(browser, server) as view:
        slider, sample, when = (view.locator(name) for name in (".moment", ".sample", ".when"))
        view.locator(".plot path").first.wait_for()
        assert sample.text_content() == run.best_sample()
        assert "Best checkpoint" in when.inner_text()
        slider.focus()
        view.keyboard.press("Home")
        for step, path in samples:
            assert sample.text_content() == path.read_text()
            assert f"Step {step} " in when.inner_text()
            (loss,) = (line.loss for line in lines if line.step == step)
            assert (
                f"training loss {loss:.3f} nats ({loss / np.log(2):.3f} bits)" in when.inner_text()
            )
            assert f"Step {step}" in slider.get_attribute("aria-valuetext")
            view.keyboard.press("ArrowRight")
        assert sample.text_content() == run.best_sample()
        view.get_by_role("button", name="Earlier").click()
        assert sample.text_content() == samples[-1][1].read_text()
        box = view.locator(".plot > svg").bounding_box()
        view.mouse.click(box["x"] + 45, box["y"] + box["height"] / 2)  # near the first step
        assert sample.text_content() == samples[0][1].read_text()


@pytest.mark.browser
def test_one_selects_a_span_and_sees_which_cells_are_on_there(browser, server):
    with opened(browser, server) as view:
        area, cells = view.locator("textarea"), view.locator(".standing button")
        text = area.input_value()
        start = text.index("Theirs", 20)
        area.focus()
        area.evaluate(f"e => e.setSelectionRange({start}, {start})")
        for _ in range(6):
            view.keyboard.press("Shift+ArrowRight")
        view.locator(".of-span", has_text="In “Theirs”").wait_for()
        told = asked(server, "cells", text=text, start=start, end=start + 6)
        names = cells.locator("b").all_inner_texts()
        assert names == [cell["name"] for cell in told["cells"]]
        assert view.locator(".paint i.inside").all_inner_texts() == [*"Theirs"]
        assert cells.first.get_attribute("aria-pressed") == "true"
        places = view.locator(".alike li code").all_inner_texts()
        assert places == [place["text"].replace("\n", "↵") for place in told["alike"]]
        third = told["cells"][2]
        cells.nth(2).click()
        assert third["name"] in view.locator(".drives-title").inner_text()
        shares = view.locator(".paint i").evaluate_all(
            "all => all.map(e => +e.style.getPropertyValue('--a'))"
        )
        away = (np.array(third["values"]) - third["mean"]) / max(third["deviation"], 0.02)
        np.testing.assert_allclose(shares, np.clip(np.abs(away) / 3, 0, 1), atol=2e-3)
        view.locator(".numbers dt", has_text=third["name"]).first.wait_for()  # in the maths, too


@pytest.mark.browser
@pytest.mark.parametrize("name", ["verse", "gru", "counts"])
def test_one_steps_through_a_text_and_sees_the_numbers(browser, server, name):
    with opened(browser, server, name) as view:
        text = view.locator("textarea").input_value()
        place = int(view.locator(".where").inner_text().split("(character ")[1].split()[0])
        for by, button in ((1, "Next"), (1, "Next"), (-1, "Back")):
            place += by
            view.locator(".walk").get_by_role("button", name=button).click()
            view.locator(".where", has_text=f"(character {place} of").wait_for()
            assert view.locator(".paint i.read").all_inner_texts() == [text[place - 1]]
        chosen = view.locator(".standing button[aria-pressed=true] b")
        cells = [chosen.inner_text()] if chosen.count() else []
        told = asked(server, "step", model=name, text=text[:place], cells=cells)
        shown = view.locator(".parts dd").evaluate_all("all => all.map(e => e.textContent)")
        numbers = [
            "".join(f"{gate}{one}" for gate, one in zip(line["gates"] or [""], told, strict=True))
            for part in told["parts"]
            for line in part["lines"]
            for told in (line["told"][:1] if shared(line) else line["told"])
        ]
        assert shown == numbers
        sources = view.locator(".parts .source").evaluate_all("all => all.map(e => e.textContent)")
        assert sources == [f"{x['number']}{x['source']}" for p in told["parts"] for x in p["lines"]]


def shared(line):
    return len(line["told"]) > 1 and all(one == line["told"][0] for one in line["told"])


@pytest.mark.browser
def test_one_reads_a_text_of_ones_own(browser, server):
    with visited(browser, f"{server.url}/learn?model=verse", refused=400) as view:
        view.locator(".after li").first.wait_for()
        area = view.locator("textarea")
        area.fill("Theirs but to ask")
        view.locator(".where", has_text="(character 17 of 17)").wait_for()
        assert "Select a span" in view.locator(".of-span").inner_text()
        area.fill("Theirs é")
        view.locator(".told", has_text="é").wait_for()
        area.fill("Theirs")
        view.locator(".where", has_text="(character 6 of 6)").wait_for()
        assert view.locator(".told").inner_text() == ""


@pytest.mark.browser
def test_what_a_model_does_not_have_is_said_on_the_page(browser, server):
    with visited(browser, f"{server.url}/learn?model=counts") as view:
        view.locator(".after li").first.wait_for()
        assert "has no cells" in view.locator(".no-cells").inner_text()
        assert not view.locator(".with-cells").is_visible()
        view.locator(".models").select_option("imported")
        view.locator(".about", has_text="lstm 1 x 4").wait_for()
        assert not view.locator(".moment").is_visible()


@pytest.mark.browser
def test_learn_fits_and_everybody_can_use_it(browser, server):
    with opened(browser, server) as view:
        view.locator(".standing button").first.wait_for()
        view.locator(".plot path").first.wait_for()
        assert sum(len(one.body()) for one in view.loaded) <= FIRST_PAINT
        for width in looks(view):
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(view) == []


@pytest.mark.browser
def test_without_scripts_learn_says_what_to_do(browser, server):
    with visited(browser, f"{server.url}/learn", java_script_enabled=False) as view:
        assert "charloom study neurons" in view.locator("noscript p").inner_text()
