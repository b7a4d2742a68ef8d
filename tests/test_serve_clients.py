"""Programs of others against `charloom serve`; large ones only where they are installed."""

import asyncio
import json
import shutil
import subprocess
import sys

import pytest

from serving import PROMPT, post, serving, text_of, write_run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = write_run(tmp_path_factory.mktemp("clients") / "verse").path
    with serving(path) as server:
        yield server


@pytest.fixture
def body():
    return {"model": "verse", "prompt": PROMPT, "max_tokens": 60, "seed": 5}


@pytest.fixture(params=[False, True], ids=["loose", "strict"])
def client(server, request):
    openai = pytest.importorskip("openai")
    more = {"_strict_response_validation": request.param, "max_retries": 0}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", **more) as client:
        yield client


def test_openai_takes_everything_it_may_ask_for(server, client, body):
    answer = client.completions.create(
        **body | {"prompt": [PROMPT, ""]},
        n=2,
        best_of=3,
        echo=not client._strict_response_validation,  # which takes no null for the first character
        frequency_penalty=-2,
        presence_penalty=-2,
        logit_bias={"e": 0},
        logprobs=0,
        stop="\n",
        stream=False,
        stream_options={"include_obfuscation": True, "include_usage": True},
        temperature=1,
        top_p=1,
        user="user-1234",
    )
    assert len(answer.choices) == 4
    assert answer.usage.prompt_tokens == len(PROMPT)
    told = answer.choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) > 0


def test_openai_streams_with_usage_and_log_probabilities(server, client, body):
    if client._strict_response_validation:
        pytest.skip("it takes no null for finish_reason, which every stream of OpenAI's has")
    pieces = [
        *client.completions.create(
            **body, stream=True, logprobs=2, stream_options={"include_usage": True}
        )
    ]
    assert "".join(p.choices[0].text for p in pieces[:-1]) == text_of(server, **body)
    assert pieces[-1].usage.completion_tokens == 60
    assert all(len(p.choices[0].logprobs.tokens) > 0 for p in pieces[:-1])


def test_openai_asks_many_things_at_once(server, body):
    openai = pytest.importorskip("openai")

    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            asked = [client.completions.create(**body | {"seed": n}) for n in range(20)]
            return [answer.choices[0].text for answer in await asyncio.gather(*asked)]

    texts = asyncio.run(ask())
    assert texts == [text_of(server, **body | {"seed": n}) for n in range(20)]


def test_openai_is_told_of_models_that_are_not_there(client):
    openai = pytest.importorskip("openai")
    assert client.models.retrieve("verse").owned_by == "charloom"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.APIStatusError):
        client.models.delete("verse")


def test_curl_streams(server, body):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    asked = json.dumps(body | {"stream": True})
    command = [curl, "-sN", "-H", "content-type: application/json", "-d", asked]
    told = subprocess.run(
        [*command, f"{server.url}/v1/completions"], capture_output=True, text=True, check=True
    ).stdout
    *pieces, done, _ = told.split("\n\n")
    assert done == "data: [DONE]"
    texts = [json.loads(p.removeprefix("data: "))["choices"][0]["text"] for p in pieces]
    assert "".join(texts) == text_of(server, **body)


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore")  # of a library that is not ours
def test_litellm_completes_and_streams(server, body):
    litellm = pytest.importorskip("litellm")
    body = body | {"model": "text-completion-openai/verse"}
    more = {"api_base": f"{server.url}/v1", "api_key": "none"}
    expected = text_of(server, max_tokens=60, seed=5)
    assert litellm.text_completion(**body, **more).choices[0].text == expected
    pieces = litellm.text_completion(**body, **more, stream=True)
    assert "".join(piece.choices[0].text or "" for piece in pieces) == expected


@pytest.mark.torture
def test_llm_completes_and_streams(server, tmp_path):
    pytest.importorskip("llm")
    model = {
        "model_id": "verse",
        "model_name": "verse",
        "api_base": f"{server.url}/v1",
        "completion": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    script = f"import sys; sys.path = {sys.path!r}; from llm.cli import cli; cli()"
    options = ["-o", "seed", "5", "-o", "max_tokens", "60", "--key", "none", "--no-log"]
    for more in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "-m", "verse", PROMPT, *options, *more],
            env={"LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.removesuffix("\n") == text_of(server, max_tokens=60, seed=5), done.stderr


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore")  # of a library that is not ours
def test_schemathesis_finds_no_answer_that_is_not_documented(server):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    document = server.http.get("/openapi.json").json()
    for name in ("Completion", "Next"):  # of a model that is there, and so short that it is quick
        document["components"]["schemas"][name]["properties"]["model"] = {"const": "verse"}
    short = {"type": "integer", "minimum": 0, "maximum": 50}
    document["components"]["schemas"]["Completion"]["properties"]["max_tokens"] = short
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    for operation in operations:
        # No schema says that best_of is at least n, or how long all prompts are together.
        @given(case=operation.as_strategy())
        @settings(max_examples=1000, suppress_health_check=[*HealthCheck], deadline=None)
        def check(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
    assert len(operations) >= 10
    assert post(server, {}).status_code == 200
