"""`plugins/llm-charloom`, in the llm that is installed: skipped where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charloom.config import SampleConfig
from charloom.generation.sampling import generate
from charloom.runs.open import open_model
from serving import PROMPT, write_run

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours
PLUGIN = Path(__file__).parents[1] / "plugins" / "llm-charloom"
SCRIPT = """import sys; sys.path = {path!r}
import llm_charloom; from llm.plugins import pm; pm.register(llm_charloom, "charloom")
from llm.cli import cli; cli()"""


@pytest.fixture(scope="module")
def plugin():
    pytest.importorskip("llm")
    sys.path.insert(0, str(PLUGIN))
    import llm_charloom

    sys.path.remove(str(PLUGIN))
    return llm_charloom


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugged")
    write_run(folder / "verse")
    write_run(folder / "below" / "several", documents=True)
    return folder


@pytest.fixture(scope="module")
def model(plugin, folder):
    return plugin.Charloom("verse", folder / "verse")


def written(folder, seed, length=60, **settings):
    """What charloom's own sampler writes after the prompt."""
    model = open_model(folder / "verse")
    return "".join(generate(model, SampleConfig(seed=seed, **settings), PROMPT, length))


def test_runs_are_those_below_the_folders_that_are_named(plugin, folder, monkeypatch, tmp_path):
    monkeypatch.setenv(plugin.FOLDERS, os.pathsep.join([str(tmp_path / "none"), str(folder)]))
    assert {*plugin.runs()} == {"verse", "below/several"}
    monkeypatch.setenv(plugin.FOLDERS, str(folder / "verse"))
    assert plugin.runs() == {"verse": folder / "verse"}
    monkeypatch.delenv(plugin.FOLDERS)
    monkeypatch.chdir(tmp_path)
    assert plugin.runs() == {}
    write_run(tmp_path / "runs" / "own")
    assert {*plugin.runs()} == {"own"}


def test_models_are_registered_by_the_names_of_runs(plugin, folder, monkeypatch):
    monkeypatch.setenv(plugin.FOLDERS, str(folder))
    found = []
    plugin.register_models(found.append)
    assert [one.model_id for one in found] == ["charloom/below/several", "charloom/verse"]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5, "top_p": 0.9}, {"top_k": 3}, {"min_p": 0.1}]
)
def test_the_text_is_that_of_the_sampler_with_the_same_seed(model, folder, settings):
    response = model.prompt(PROMPT, max_tokens=60, seed=5, **settings)
    pieces = [*response]
    assert "".join(pieces) == written(folder, 5, **settings)
    assert len(pieces) > 1
    assert (response.usage().input, response.usage().output) == (len(PROMPT), 60)


def test_a_text_ends_before_the_stop_string_and_where_a_document_does(plugin, model, folder):
    whole = written(folder, 5)
    assert (
        model.prompt(PROMPT, max_tokens=60, seed=5, stop=whole[20:23]).text()
        == (whole[: whole.index(whole[20:23])])
    )
    several = plugin.Charloom("several", folder / "below" / "several")
    texts = [several.prompt("", max_tokens=500, seed=n, document=True).text() for n in range(9)]
    assert min(map(len, texts)) < 500


def test_a_conversation_goes_on_with_its_text(model, folder):
    talk = model.conversation()
    first = talk.prompt(PROMPT, max_tokens=20, seed=1).text()
    second = talk.prompt(" do", max_tokens=20, seed=2).text()
    text = f"{PROMPT}{first} do"
    network, config = open_model(folder / "verse"), SampleConfig(seed=2)
    assert second == "".join(generate(network, config, text, 20))


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"prompt": "Was ist ∞?"}, "∞"), ({"prompt": PROMPT, "system": "Be brief."}, "roles")],
)
def test_what_the_model_cannot_read_is_refused(model, asked, told):
    import llm

    with pytest.raises(llm.ModelError, match=told) as caught:
        model.prompt(**asked).text()
    assert "--" not in str(caught.value)


def test_a_run_that_cannot_be_opened_is_named(plugin, tmp_path):
    import llm

    with pytest.raises(llm.ModelError, match="gone"):
        plugin.Charloom("gone", tmp_path / "gone").prompt("a").text()


@pytest.mark.slow
def test_the_command_writes_or_says_why_not(plugin, folder, tmp_path):
    def run(*arguments):
        script = SCRIPT.format(path=[str(PLUGIN), *sys.path])
        own = {"LLM_USER_PATH": str(tmp_path), plugin.FOLDERS: str(folder)}
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, *arguments],
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
        )

    options = ["-o", "seed", "5", "-o", "max_tokens", "60"]
    done = run("-m", "charloom/verse", PROMPT, *options, "--no-log")
    assert done.stdout == written(folder, 5) + "\n", done.stderr
    refused = run("-m", "charloom/verse", "∞", "--no-log")
    assert refused.returncode
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr
