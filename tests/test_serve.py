"""The API of `charloom serve`: what is answered, and that it is the sampler's text."""

import asyncio
import json
import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from charloom.config import SampleConfig
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.sampling import generate, generate_many
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.serve import models
from charloom.serve.engine import Engine
from charloom.serve.groups import MANY, warm
from serving import PROMPT, TEXT, events, httpx, post, save, serving, text_of, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_run(folder / "verse")
    write_run(folder / "counts", "ngram")
    write_run(folder / "below" / "gru", "gru")
    write_run(folder / "several", documents=True)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def model(folder):
    return open_model(folder / "verse")


def test_models_are_listed_and_shown(server):
    told = server.http.get("/v1/models").json()
    names = [model["id"] for model in told["data"]]
    assert names == ["below/gru", "counts", "several", "verse"]
    for name in names:
        assert server.http.get(f"/v1/models/{name}").json()["id"] == name
    answer = server.http.get("/v1/models/nobody")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_completion_has_openais_form(server):
    told = post(server, {"max_tokens": 5, "seed": 1}).json()
    (choice,) = told["choices"]
    assert told["object"] == "text_completion"
    assert told["model"] == "verse"
    assert told["id"].startswith("cmpl-")
    assert told["system_fingerprint"].startswith("fp_")
    assert choice == {
        "index": 0,
        "text": choice["text"],
        "logprobs": None,
        "finish_reason": "length",
    }
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@pytest.mark.parametrize("name", ["verse", "counts", "below/gru"])
def test_a_text_is_that_of_the_sampler_with_the_same_seed(server, folder, name):
    model = open_model(folder / name)
    for seed in range(10):
        settings = {"temperature": 0.7, "top_p": 0.9, "seed": seed}
        text = "".join(generate(model, SampleConfig(**settings), PROMPT, 90))
        assert text_of(server, model=name, max_tokens=90, **settings) == text


@pytest.mark.parametrize("most", [2, 5, 20])
def test_a_text_within_a_copy_limit_is_that_of_the_sampler(server, folder, most):
    model, limit = open_model(folder / "counts"), CopyLimit(TEXT, most)
    texts = generate_many(model, SampleConfig(seed=1), PROMPT, 200, 3, limit)
    assert limit.redrawn > 1
    body = {"model": "counts", "max_tokens": 200, "seed": 1, "n": 3, "max_copy": most}
    assert texts_of(server, body) == texts


def test_texts_of_one_prompt_are_those_that_the_sampler_writes_side_by_side(server, model):
    told = post(server, {"n": 4, "max_tokens": 50, "seed": 7}).json()
    texts = generate_many(model, SampleConfig(seed=7), PROMPT, 50, 4)
    assert [choice["text"] for choice in told["choices"]] == texts
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]


def test_each_of_several_prompts_is_written_on_from_as_if_it_were_alone(server):
    prompts = ["Theirs", "", "to do"]
    told = post(server, {"prompt": prompts, "n": 2, "max_tokens": 30, "seed": 3}).json()
    texts = [choice["text"] for choice in told["choices"]]
    alone = [post(server, {"prompt": p, "n": 2, "max_tokens": 30, "seed": 3}) for p in prompts]
    assert texts == [c["text"] for answer in alone for c in answer.json()["choices"]]
    assert [choice["index"] for choice in told["choices"]] == [*range(6)]


def some_requests(number):
    """Requests of every kind, each with a seed."""
    rng = random.Random(5)
    for seed in range(number):
        body = {"seed": seed, "max_tokens": rng.randint(1, 150)}
        body["model"] = rng.choice(["verse", "counts"])
        body["temperature"] = rng.choice([0, 0.5, 1.0, 1.3])
        body["prompt"] = rng.choice([PROMPT, "", "Theirs but to do", "die.\n"])
        body |= rng.choice([{}, {"top_p": 0.8}, {"presence_penalty": 1.0}, {"logprobs": 2}])
        body |= rng.choice([{}, {"logit_bias": {"e": -5}}, {"stop": ["re", "\n"]}, {"n": 3}])
        body |= rng.choice([{}, {"max_copy": rng.choice([3, 9])}])
        yield body


def texts_of(server, body):
    return [choice["text"] for choice in post(server, body).json()["choices"]]


def test_the_same_seed_gives_the_same_text_whatever_the_load(server):
    bodies = [*some_requests(100)]
    alone = [texts_of(server, body) for body in bodies]
    with ThreadPoolExecutor(9) as pool:
        among = [*pool.map(lambda body: texts_of(server, body), bodies)]
        streams = [*pool.map(lambda body: streamed(server, body), bodies)]
    assert among == alone
    assert streams == alone


def streamed(server, body):
    texts = {}
    for event in events(server, **body):
        for choice in event["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


def test_a_text_ends_before_a_stop_string_even_if_it_came_in_pieces(server):
    whole = text_of(server, seed=2, max_tokens=200)
    for begin, length in [(10, 1), (40, 3), (100, 7), (150, 20)]:
        stop = whole[begin : begin + length]
        body = {"seed": 2, "max_tokens": 200, "stop": [stop, "\0"]}
        told = post(server, body).json()
        assert told["choices"][0]["text"] == whole[: whole.index(stop)]
        assert told["choices"][0]["finish_reason"] == "stop"
        assert told["usage"]["completion_tokens"] == whole.index(stop)
        assert streamed(server, body) == [whole[: whole.index(stop)]]


def test_log_probabilities_are_the_models_own(server, model):
    body = {"seed": 1, "max_tokens": 20, "logprobs": 3, "temperature": 0.5, "echo": True}
    told = post(server, body).json()["choices"][0]
    shown, text = told["logprobs"], told["text"]
    assert text.startswith(PROMPT)
    assert "".join(shown["tokens"]) == text
    assert shown["text_offset"] == [*range(27)]
    log_probs, _ = model.log_probs(model.vocabulary.encode(text)[None], model.start(1))
    ids = model.vocabulary.encode(text)
    assert (shown["token_logprobs"][0], shown["top_logprobs"][0]) == (None, None)
    for t in range(1, len(ids)):
        row = log_probs[0, t - 1]
        assert math.isclose(shown["token_logprobs"][t], row[ids[t]], rel_tol=1e-4)
        best = [model.vocabulary.decode([i]) for i in np.argsort(-row, kind="stable")[:3]]
        assert [*shown["top_logprobs"][t]] == best


def test_what_a_stream_tells_together_is_what_is_answered_whole(server):
    body = {"seed": 4, "max_tokens": 120, "logprobs": 2, "echo": True, "n": 2, "stop": "die"}
    whole = post(server, body).json()["choices"]
    told = events(server, stream_options={"include_usage": True}, **body)
    *pieces, usage = told
    assert usage["choices"] == []
    assert usage["usage"] == post(server, body).json()["usage"]
    for choice in whole:
        own = [c for e in pieces for c in e["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        assert all(c["finish_reason"] is None for c in own[:-1])
        for name, values in choice["logprobs"].items():
            assert [one for c in own for one in c["logprobs"][name]] == values


def test_nothing_is_written_for_no_tokens_but_the_prompt_is_told(server):
    told = post(server, {"max_tokens": 0, "echo": True, "logprobs": 0}).json()
    (choice,) = told["choices"]
    assert (choice["text"], choice["finish_reason"]) == (PROMPT, "length")
    assert len(choice["logprobs"]["token_logprobs"]) == len(PROMPT)
    assert choice["logprobs"]["top_logprobs"] is None


def test_the_best_of_several_are_answered(server):
    body = {"seed": 9, "max_tokens": 25, "logprobs": 0}
    told = post(server, body | {"n": 2, "best_of": 6}).json()
    every = post(server, body | {"n": 6}).json()["choices"]
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in every]
    best = np.argsort(-np.array(means), kind="stable")[:2]
    assert [choice["text"] for choice in told["choices"]] == [every[i]["text"] for i in best]
    assert told["usage"]["completion_tokens"] == 150


def test_a_biased_character_never_or_always_comes(server):
    assert "e" not in text_of(server, logit_bias={"e": -100}, max_tokens=300, seed=1)
    assert {*text_of(server, logit_bias={"e": 100}, max_tokens=20, seed=1)} == {"e"}
    answer = post(server, {"logit_bias": {"th": 1}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logit_bias")


def test_penalties_make_repetition_rarer(server):
    plain = text_of(server, seed=1, max_tokens=200, temperature=0)
    varied = text_of(server, seed=1, max_tokens=200, temperature=0, frequency_penalty=2)
    assert len({*varied}) > len({*plain})


def test_a_document_ends_where_the_model_ends_it_if_asked(server, folder):
    model = open_model(folder / "several")
    text = "".join(generate(model, SampleConfig(seed=0), PROMPT, 2000))
    at = text_of(server, model="several", seed=0, max_tokens=2000, stop="<|endoftext|>")
    told = post(server, {"model": "several", "seed": 0, "max_tokens": 2000, "logprobs": 0}).json()
    end = told["choices"][0]["logprobs"]["tokens"].index("<|endoftext|>")
    assert at == text[:end].removesuffix("\n")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"logprobs": 6}, "logprobs"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"seed": 2**64}, "seed"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "§"}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "x" * 100_001}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"wrong": 1}, "wrong"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"e": 101}}, "logit_bias"),
        ({"n": 20, "max_tokens": 100_000}, "max_tokens"),
        ({"stream_options": {"other": 1}}, "other"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(server, body, param):
    answer = post(server, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param), error
    assert error["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"model": "verse", "model": "verse"}',
        b'{"model": "verse", "temperature": NaN}',
        b'{"model": "verse", "temperature": 1e999}',
        b'{"model": "verse", "prompt": "\\ud83d"}',
        b'{"model": "verse", "prompt": "\xff"}',
        b'{"model": "verse", "seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_of_a_request_is_refused(server, content):
    headers = {"content-type": "application/json"}
    answer = server.http.post("/v1/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_whole_number_may_have_a_point(server):
    assert text_of(server, max_tokens=5.0, seed=1.0) == text_of(server, max_tokens=5, seed=1)


@pytest.mark.parametrize("name", ["../verse", "/etc/passwd", "verse/", "v\0", "x" * 1000, "VERSE"])
def test_a_name_that_is_not_in_the_table_is_no_model(server, name):
    answer = post(server, {"model": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_chats_and_other_routes_are_refused_in_openais_form(server):
    answer = server.http.post("/v1/chat/completions", json={"messages": []})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unsupported_endpoint")
    answer = server.http.get("/v2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    answer = server.http.get("/v1/completions")
    assert (answer.status_code, answer.json()["error"]["type"]) == (405, "invalid_request_error")


def test_health_metrics_and_description(server):
    assert server.http.get("/healthz").json()["status"] == "ok"
    figures = server.http.get("/metrics").text
    assert "# TYPE charloom_characters_written_total counter\n" in figures
    paths = server.http.get("/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/completions", "/v1/chat/completions", "/healthz"} < {*paths}


def test_every_route_is_described(server):
    from starlette.routing import Mount

    paths = server.http.get("/openapi.json").json()["paths"]
    served = {}
    for route in server.config.app._app.routes:
        path = route.path.replace(":path}", "}")
        path += "/{file}" if isinstance(route, Mount) else ""
        methods = {method.lower() for method in getattr(route, "methods", {"GET"})}
        served[path] = served.get(path, set()) | methods
    for path, methods in served.items():
        assert {*paths[path]} - {"parameters"} == methods - {"head"}, path


def test_it_is_ready_once_its_runs_are_open(folder, monkeypatch):
    from charloom.serve.api import Api

    gate, opened = threading.Event(), models._opened
    monkeypatch.setattr(models, "_opened", lambda *run: gate.wait() and opened(*run))
    table = models.Models([folder / "verse"])
    engine = Engine(slots=1, queue=1)

    async def ask():
        opening = asyncio.create_task(table.prepare())
        transport = httpx.ASGITransport(Api(table, engine).app())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            early = await http.get("/healthz")
            gate.set()
            await opening
            return early, await http.get("/healthz")

    early, late = asyncio.run(ask())
    engine.close()
    assert (early.status_code, early.json()["error"]["code"]) == (503, "starting")
    assert (late.status_code, late.json()["status"]) == (200, "ok")


def test_a_run_that_cannot_be_opened_keeps_no_other_from_it(tmp_path, capfd):
    for name in ("damaged", "whole"):
        write_run(tmp_path / name)
    (weights,) = tmp_path.glob("damaged/checkpoints/*/model.safetensors")
    weights.write_bytes(b"")
    table = models.Models([tmp_path / "damaged", tmp_path / "whole"])
    asyncio.run(table.prepare())
    assert table.ready
    assert [entry.served is not None for entry in table._entries.values()] == [False, True]
    assert capfd.readouterr().err.startswith("charloom: ")


def test_a_model_is_read_and_written_with_before_it_is_asked_for(folder):
    """Alone and beside others, as requests do."""
    calls = []

    class Told(type(open_model(folder / "verse"))):
        def log_probs(self, ids, state):
            calls.append(("read", len(ids)))
            return super().log_probs(ids, state)

        def write(self, ids, state, uniforms, rules, log_probs=None):
            calls.append(("write", len(ids)))
            return super().write(ids, state, uniforms, rules, log_probs)

    opened = open_model(folder / "verse")
    opened.__class__ = Told
    warm(opened)
    assert {*calls} == {("read", 1), ("write", 1), ("write", MANY)}


def test_a_newer_checkpoint_is_used_for_later_requests(tmp_path):
    run = write_run(tmp_path / "verse")
    with serving(run.path) as server:
        first = post(server, {"seed": 1}).json()
        save(Run.open(run.path), seed=8, step=2)
        expected = "".join(generate(open_model(run.path), SampleConfig(seed=1), PROMPT, 16))
        for _ in range(500):
            told = post(server, {"seed": 1}).json()
            if told["system_fingerprint"] != first["system_fingerprint"]:
                break
        assert told["choices"][0]["text"] == expected
        assert expected != first["choices"][0]["text"]


def test_the_openai_client_completes_and_streams(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        assert "verse" in [model.id for model in client.models.list()]
        body = {"model": "verse", "prompt": PROMPT, "max_tokens": 60, "seed": 5}
        whole = client.completions.create(**body).choices[0].text
        assert whole == text_of(server, max_tokens=60, seed=5)
        pieces = client.completions.create(stream=True, **body)
        assert "".join(piece.choices[0].text for piece in pieces) == whole
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="nobody", prompt="")
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**(body | {"temperature": 9}))
        assert caught.value.param == "temperature"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="verse", messages=[])


def test_events_are_json_lines_of_server_sent_events(server):
    answer = post(server, {"stream": True, "max_tokens": 3})
    assert answer.headers["content-type"] == "text/event-stream"
    for line in answer.text.split("\n\n")[:-2]:
        assert json.loads(line.removeprefix("data: "))["object"] == "text_completion"
