"""Models in folders of Hugging Face's format, read; test_fine_tuning.py trains them."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from charloom.analysis.surprise import surprise  # noqa: E402
from charloom.config import SampleConfig, replace  # noqa: E402
from charloom.evaluation import evaluate  # noqa: E402
from charloom.generation.sampling import generate, generate_many  # noqa: E402
from charloom.models.torchnet import config_of, folders, pretrained  # noqa: E402
from charloom.models.torchnet.pretrained import (  # noqa: E402
    PretrainedModel,
    PretrainedNetwork,
)
from charloom.runs.open import open_model  # noqa: E402
from expect import refused  # noqa: E402
from pretrained_folders import (  # noqa: E402
    CONTEXT,
    END,
    SIZES,
    TEXT,
    write_gpt2,
    write_llama,
    write_old_gpt2,
)

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

KINDS = {"gpt2": write_gpt2, "llama": write_llama}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def gpt2(home):
    """Return a folder in the new layout, and the model that was written there."""
    return home / "gpt2", write_gpt2(home / "gpt2")


@pytest.fixture(scope="module", params=KINDS)
def either(request, home):
    folder = home / f"either-{request.param}"
    return folder, KINDS[request.param](folder)


def texts(model, lanes=2, length=3 * CONTEXT):
    """Return ids (B, T) of different texts."""
    ids = np.random.default_rng(3).integers(1, len(model.vocabulary), (lanes, length))
    return ids.astype(np.int32)


@torch.no_grad()
def theirs(model, ids):
    """Return log-probabilities (B, T, V) of transformers' own forward pass."""
    return model(torch.tensor(ids, dtype=torch.int64)).logits.log_softmax(-1).numpy()


def test_log_probabilities_are_those_of_transformers(either):
    folder, written = either
    model = open_model(folder)
    ids = texts(model)[:, :CONTEXT]
    log_p, _ = model.log_probs(ids, model.start(2))
    assert log_p.shape == (2, CONTEXT, len(model.vocabulary))
    np.testing.assert_allclose(log_p, theirs(written, ids), atol=1e-5, rtol=0)


def test_pieces_and_steps_give_what_one_reading_gives(either):
    model = open_model(either[0])
    ids = texts(model)
    whole, _ = model.log_probs(ids, model.start(2))
    for sizes in ([1] * ids.shape[1], [5, 40, 1, 30, 20]):
        state, at, parts = model.start(2), 0, []
        for size in sizes:
            part = ids[:, at : at + size]
            if size == 1:
                log_p, state = model.step(part[:, 0], state)
                parts.append(log_p[:, None])
            else:
                log_p, state = model.log_probs(part, state)
                parts.append(log_p)
            at += size
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5, rtol=0)


def test_where_the_window_is_full_its_last_half_is_read_again(either):
    folder, written = either
    model = open_model(folder)
    ids, C, half = texts(model), CONTEXT, CONTEXT // 2
    log_p, _ = model.log_probs(ids, model.start(2))
    np.testing.assert_allclose(log_p[:, :C], theirs(written, ids[:, :C]), atol=1e-5, rtol=0)
    for start in range(half, ids.shape[1] - half, half):
        expected = theirs(written, ids[:, start : start + C])[:, half:]
        found = log_p[:, start + half : start + C]
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def sliding(tokenizer_folder, folder):
    """Write a model whose cache forgets what is far back."""
    shutil.copy(tokenizer_folder / "tokenizer.json", folder / "tokenizer.json")
    V = len(open_model(tokenizer_folder).vocabulary)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    settings = SIZES | heads | {"max_position_embeddings": CONTEXT, "bos_token_id": 0}
    torch.manual_seed(5)
    config = transformers.MistralConfig(vocab_size=V, sliding_window=8, **settings)
    model = transformers.MistralForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


def recurrent(tokenizer_folder, folder):
    """Write a model half of whose layers carry a state that they change in place."""
    shutil.copy(tokenizer_folder / "tokenizer.json", folder / "tokenizer.json")
    V = len(open_model(tokenizer_folder).vocabulary)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 0, "head_dim": 8}
    linear = {"linear_num_value_heads": 2, "linear_num_key_heads": 2}
    linear |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    kinds = {"layer_types": ["linear_attention", "full_attention"], "mlp_only_layers": [0, 1]}
    settings = SIZES | heads | linear | kinds | {"max_position_embeddings": CONTEXT}
    torch.manual_seed(6)
    config = transformers.Qwen3NextConfig(vocab_size=V, bos_token_id=0, **settings)
    model = transformers.Qwen3NextForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("write", [sliding, recurrent])
def test_other_kinds_of_memory_are_carried_as_well(write, gpt2, tmp_path):
    written = write(gpt2[0], tmp_path)
    model = open_model(tmp_path)
    ids = texts(model)[:, :CONTEXT]
    expected, state, parts = theirs(written, ids), model.start(2), []
    for at in (0, 20, 21, 24):
        before = state
        log_p, state = model.log_probs(
            ids[:, at : {0: 20, 20: 21, 21: 24, 24: CONTEXT}[at]], before
        )
        model.log_probs(ids[:, :3], before)  # another way on from there
        parts.append(log_p)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5, rtol=0)


def test_a_state_can_be_gone_back_to(either):
    model = open_model(either[0])
    ids = texts(model)
    for length in (10, CONTEXT - 1, CONTEXT):
        _, state = model.log_probs(ids[:, :length], model.start(2))
        first, after = model.step(ids[:, length], state)
        model.log_probs(ids[:, length:], after)
        model.step(ids[:, 0], state)
        again, _ = model.step(ids[:, length], state)
        np.testing.assert_array_equal(again, first)


def test_nothing_but_ids_of_the_vocabulary_is_read(gpt2):
    model = open_model(gpt2[0])
    for ids in ([[-1]], [[len(model.vocabulary)]]):
        with refused("bad-array", vocabulary_size=len(model.vocabulary)):
            model.log_probs(np.array(ids), model.start(1))


LAYOUTS = {
    "pytorch_model.bin": lambda folder: write_old_gpt2(folder, "bin"),
    "unprefixed safetensors": lambda folder: write_old_gpt2(folder, "safetensors"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_old_layout_is_the_same_model(layout, gpt2, tmp_path):
    LAYOUTS[layout](tmp_path)
    new, old = open_model(gpt2[0]), open_model(tmp_path)
    ids = new.vocabulary.whole(TEXT)
    np.testing.assert_array_equal(old.vocabulary.whole(TEXT), ids)
    assert len(old.vocabulary) == len(new.vocabulary)
    ids = ids[None, :CONTEXT]
    a, b = (model.log_probs(ids, model.start(1))[0] for model in (new, old))
    np.testing.assert_array_equal(a, b)


def test_the_old_layout_need_not_say_what_a_text_begins_after(tmp_path):
    write_old_gpt2(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["bos_token_id"], config["eos_token_id"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert folders.read_tokens(tmp_path).begin.tolist() == [0]


def test_weights_in_several_files_are_the_same_model(gpt2, tmp_path):
    folder, written = gpt2
    sharded = tmp_path / "sharded"
    written.save_pretrained(sharded, max_shard_size="60kB")
    shutil.copy(folder / "tokenizer.json", sharded)
    assert len(folders.weight_files(sharded)) > 2
    ids = texts(open_model(folder))[:, :CONTEXT]
    model = open_model(sharded)
    np.testing.assert_allclose(
        model.log_probs(ids, model.start(2))[0], theirs(written, ids), atol=1e-5, rtol=0
    )
    assert folders.digest(sharded) != folders.digest(folder)


def test_tokens_are_those_of_transformers_own_tokenizer(either, tmp_path):
    folder, _ = either
    tokens = open_model(folder).vocabulary
    own = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if "llama" not in folder.name:  # which puts a space before the first word
        assert tokens.encode(TEXT).tolist() == own.encode(TEXT, add_special_tokens=False)
    assert own.decode(tokens.encode(TEXT)) == TEXT
    assert tokens.begin.tolist() == [0]


@pytest.mark.parametrize(
    ("settings", "config", "begin"),
    [
        ({"bos_token": END}, {}, 0),
        ({"bos_token": {"content": END}}, {}, 0),
        ({"bos_token": None, "eos_token": END}, {}, 0),
        ({}, {"bos_token_id": 0}, 0),
        ({}, {"bos_token_id": None, "eos_token_id": [0, 5]}, 0),
        ({}, {"bos_token_id": 7}, None),  # which is a letter
        ({}, {"bos_token_id": 50256}, None),
        ({"bos_token": "<s>"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_token_that_a_text_begins_after(settings, config, begin, gpt2, tmp_path):
    shutil.copy(gpt2[0] / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"} | config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokens = folders.read_tokens(tmp_path)
    assert tokens.begin.tolist() == ([] if begin is None else [begin])


def test_bits_per_character_worked_out_from_transformers_logits(either):
    folder, written = either
    model = open_model(folder)
    text = TEXT[:70]
    ids = model.vocabulary.whole(text)
    assert 10 < len(ids) <= CONTEXT
    assert len(ids) != len(text)
    with torch.no_grad():
        logits = written(torch.tensor(ids[None].astype(np.int64))).logits[0].double()
    p = torch.softmax(logits, -1)
    bits = sum(-math.log2(float(p[t, ids[t + 1]])) for t in range(len(ids) - 1))
    score = evaluate(model, ids)
    assert score.characters == len(text)
    assert score.bits == pytest.approx(bits / len(text), abs=1e-6)


def test_a_long_text_has_the_same_loss_however_it_is_read(either, monkeypatch):
    monkeypatch.setattr("charloom.evaluation.LANE_LENGTH", 300)
    model = open_model(either[0])
    ids = model.vocabulary.whole(TEXT * 30)
    assert len(ids) > 600
    log_p, _ = model.log_probs(ids[None, :-1], model.start(1))
    total = -np.take_along_axis(log_p[0].astype(float), ids[1:, None].astype(int), 1).sum()
    score, found = evaluate(model, ids), surprise(model, ids)
    assert score.nats * score.characters == pytest.approx(total, rel=1e-6)
    assert found.score.nats == pytest.approx(score.nats, rel=1e-12)
    assert found.score.characters == score.characters


def test_without_a_first_token_the_first_of_the_text_is_not_scored(gpt2, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(gpt2[0], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"bos_token_id": None, "eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(config))
    model = open_model(folder)
    ids = model.vocabulary.whole(TEXT)
    log_p, _ = model.log_probs(ids[None, :-1], model.start(1))
    total = -np.take_along_axis(log_p[0].astype(float), ids[1:, None].astype(int), 1).sum()
    predicted = len(TEXT) - model.vocabulary.lengths[ids[0]]
    assert evaluate(model, ids).nats == pytest.approx(total / predicted, rel=1e-6)


def test_a_sample_has_as_many_characters_as_are_asked_for(either):
    model = open_model(either[0])
    for length in (1, 2, 37, 150):
        assert len("".join(generate(model, SampleConfig(temperature=0), "Half", length))) == length
    assert generate_many(model, SampleConfig(seed=1), "Half", 150, 3)[0] == "".join(
        generate(model, SampleConfig(seed=1), "Half", 150)
    )


class Scripted:
    """Writes what it is told to, a token at a time."""

    def __init__(self, vocabulary, ids):
        self.vocabulary, self.ids = vocabulary, ids

    def start(self, lanes):
        return -1

    def step(self, ids, state):
        log_p = np.full((len(ids), len(self.vocabulary)), -np.inf)
        log_p[:, self.ids[min(state + 1, len(self.ids) - 1)]] = 0
        return log_p, state + 1

    def log_probs(self, ids, state):
        raise AssertionError("a prompt of one token is not read")


def test_a_text_is_cut_between_the_characters_of_a_token_and_ends_where_the_model_says(gpt2):
    tokens = open_model(gpt2[0]).vocabulary
    ids = [*tokens.encode("Half a league"), 0, *tokens.encode("onward")]
    for length, stop, expected in (
        (3, (), "Hal"),
        (13, (), "Half a league"),
        (14, (), "Half a league"),
        (100, (), "Half a league"),
        (100, ("a l",), "Half "),
        (100, ("league!",), "Half a league"),  # which it held back
    ):
        model = Scripted(tokens, ids)
        assert "".join(generate(model, SampleConfig(stop=stop, seed=0), "", length)) == expected


def test_a_character_of_several_tokens_comes_whole(gpt2):
    tokens = open_model(gpt2[0]).vocabulary
    ids = [*tokens.encode("馬é"), 0]
    assert len(ids) > 4
    pieces = list(generate(Scripted(tokens, ids), SampleConfig(seed=0), "", 50))
    assert "".join(pieces) == "馬é"


def test_ids_that_only_the_model_has_are_never_drawn_and_cost_what_they_weigh(tmp_path):
    written = write_gpt2(tmp_path, vocab_size=400)
    model = open_model(tmp_path)
    assert len(model.vocabulary) < 400
    ids = texts(model)[:, :5]
    log_p, _ = model.log_probs(ids, model.start(2))
    np.testing.assert_allclose(
        log_p, theirs(written, ids)[..., : log_p.shape[2]], atol=1e-5, rtol=0
    )
    assert np.exp(log_p).sum(-1).max() < 0.99


def test_the_context_is_the_model_s_and_1024_at_most(gpt2, tmp_path):
    assert config_of(gpt2[0]).context == CONTEXT
    write_llama(tmp_path, max_position_embeddings=5000)
    assert config_of(tmp_path).context == 1024
    assert isinstance(open_model(tmp_path), PretrainedModel)


@pytest.mark.parametrize("context", [1, -3])
def test_a_context_of_less_than_two_tokens_is_refused(context, tmp_path):
    write_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["max_position_embeddings"] = context
    (tmp_path / "config.json").write_text(json.dumps(config))
    for read in (open_model, config_of):
        with refused("damaged"):
            read(tmp_path)


def harm(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_text(content)


def lose_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"], weights["transformer.ln_f.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def lose_a_shard(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors"}, "metadata": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def index(weight_map, name="model.safetensors"):
    """Weights in files that an index names."""

    def arrange(folder):
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return arrange


def pipe(name):
    def arrange(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return arrange


def pickle_code(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": Path("x")}, folder / "pytorch_model.bin")


def lose_merges(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")


LOST = ["transformer.h.1.mlp.c_fc.weight", "transformer.ln_f.bias"]
HARMS = {
    "no weights": (harm("model.safetensors"), "not-found", {"missing": folders.WEIGHTS}),
    "no tokenizer": (harm("tokenizer.json"), "not-found", {}),
    "no merges": (lose_merges, "not-found", {"missing": ("merges.txt",)}),
    "a weight is missing": (lose_a_weight, "damaged", {"missing": LOST}),
    "a shard is missing": (lose_a_shard, "not-found", {"missing": ("model-1.safetensors",)}),
    "an index that is a list": (index(["model-1.safetensors"]), "damaged", {}),
    "an index of numbers": (index({"a": 1}), "damaged", {}),
    "an index of nothing": (index({}), "not-found", {}),
    "an index of no name": (index({"a": ""}), "not-found", {}),
    "an index of a folder": (index({"a": ".."}), "not-found", {}),
    "an index that is a text": (index("model-1.safetensors"), "damaged", {}),
    "a tokenizer that is a pipe": (pipe("tokenizer.json"), "not-found", {}),
    "weights that are a pipe": (pipe("model.safetensors"), "not-found", {}),
    "weights cut short": (write("model.safetensors", "{"), "unreadable", {}),
    "a pickle with code": (pickle_code, "unreadable", {}),
    "no such architecture": (write("config.json", '{"model_type": "no"}'), "unreadable", {}),
    "code of its own": (
        write("config.json", '{"model_type": "no", "auto_map": {"AutoConfig": "a--b.C"}}'),
        "unreadable",
        {},
    ),
    "a translator": (write("config.json", '{"model_type": "t5"}'), "unreadable", {}),
    "a broken tokenizer": (write("tokenizer.json", "{}"), "damaged", {}),
    "broken settings": (write("tokenizer_config.json", "["), "damaged", {}),
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_missing_or_broken_is_named_in_a_line(name, gpt2, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(gpt2[0], folder)
    harmed, code, facts = HARMS[name]
    harmed(folder)
    for use in (open_model, config_of):
        with refused(code, **facts) as caught:
            use(folder)
        assert str(folder) in caught.value.facts["path"]
        assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with refused("not-found", path=tmp_path / "no"):
        config_of(tmp_path / "no")


def test_a_model_that_looks_ahead_is_refused(gpt2, tmp_path):
    shutil.copy(gpt2[0] / "tokenizer.json", tmp_path)
    config = transformers.BertConfig(vocab_size=400, num_attention_heads=2, **SIZES)
    model = transformers.BertLMHeadModel(config)
    model.save_pretrained(tmp_path)
    with refused("unsupported", path=tmp_path):
        open_model(tmp_path)


@pytest.fixture
def copied(gpt2, tmp_path):
    """Return a folder to harm, and its config.json."""
    shutil.copytree(gpt2[0], tmp_path / "model")
    return tmp_path / "model", json.loads((tmp_path / "model" / "config.json").read_text())


def taken(*_, **__):
    raise AssertionError("memory is taken for a model")


@pytest.fixture
def nothing_is_read(monkeypatch):
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", taken)
    monkeypatch.setattr(pretrained, "_new_model", taken)


SIZED = [  # of some megabytes, if they were taken
    {"n_embd": 256},
    {"n_layer": 100},
    {"vocab_size": 40_000},
    {"n_positions": 40_000},
    {"n_inner": 10_000},
    {"n_ctx": 2**24 + 1},
    {"eos_token_id": [2**24 + 1]},
    {"text_config": {"num_hidden_layers": 100}},
    {"decoder_layers": 100},
    {"num_local_experts": 1_000},
]


@pytest.mark.parametrize("changes", SIZED, ids=str)
@pytest.mark.usefixtures("nothing_is_read")
def test_sizes_that_the_weights_do_not_have_are_refused_before_memory_is_taken(changes, copied):
    folder, config = copied
    (folder / "config.json").write_text(json.dumps(config | changes))
    for use in (open_model, config_of):
        with refused("damaged", path=folder) as caught:
            use(folder)
        assert caught.value.facts["needed"] > 28  # the tensors that there are
        assert caught.value.facts["found"] < 100_000


@pytest.mark.usefixtures("nothing_is_read")
def test_weights_of_which_the_model_is_a_small_part_are_refused(copied, monkeypatch):
    folder, config = copied
    monkeypatch.setattr(folders, "ROOM", 0)
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 1}))
    more = load_file(folder / "model.safetensors") | {"mask": torch.ones(1000, 1000)}
    save_file(more, folder / "model.safetensors", {"format": "pt"})
    with refused("damaged", path=folder):
        open_model(folder)


def test_a_model_that_is_described_takes_no_memory(copied):
    folder, config = copied
    model = folders.describe(config, folders.shapes(folder), folder)
    parts = [*model.parameters(), *model.buffers()]
    assert {part.device.type for part in parts} == {"meta"}
    assert sum(part.numel() for part in model.parameters()) > 30_000


@pytest.mark.parametrize("name", ["rope_theta", "max_window_layers"])
def test_numbers_that_are_no_sizes_may_be_large(name, copied):
    folder, config = copied
    large = 10**9 if name == "rope_theta" else 100
    (folder / "config.json").write_text(json.dumps(config | {name: large}))
    open_model(folder)


def test_what_is_of_no_use_to_a_predictor_is_not_read(copied):
    folder, config = copied
    labels = {f"{n}": "a" for n in range(100_000)}
    odd = {"num_labels": 100_000, "id2label": labels, "transformers_weights": "../other.bin"}
    (folder / "config.json").write_text(json.dumps(config | odd | {"attn_implementation": "a/b"}))
    assert len(folders.load(folder).config.id2label) == 2
    open_model(folder)


def test_settings_that_changed_are_read_again(copied):
    folder, config = copied
    assert folders.load(folder).config.layer_norm_epsilon == 1e-5
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.5}))
    assert folders.load(folder).config.layer_norm_epsilon == 0.5


@pytest.mark.usefixtures("nothing_is_read")
def test_a_tensor_that_claims_more_than_its_file_is_refused(copied):
    folder, _ = copied
    (folder / "model.safetensors").unlink()
    claims = {"transformer.wte.weight": torch.zeros(1).expand(1000, 1000)}
    torch.save(claims, folder / "pytorch_model.bin")
    with refused("damaged", path=folder / "pytorch_model.bin"):
        open_model(folder)


@pytest.mark.usefixtures("nothing_is_read")
def test_an_adapter_leads_to_no_other_folder(copied, tmp_path):
    folder, _ = copied
    elsewhere = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path)}
    (folder / "adapter_config.json").write_text(json.dumps(elsewhere))
    with refused("unsupported", path=folder):
        open_model(folder)


def test_an_id_that_the_model_does_not_have_is_refused(copied):
    folder, config = copied
    write_gpt2(folder, vocab_size=config["vocab_size"] - 50)
    model = open_model(folder)
    with refused("bad-array"):
        model.step(np.array([config["vocab_size"] - 1]), model.start(1))


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("changes", [SIZED[0], SIZED[1], SIZED[3]], ids=str)
def test_nor_is_a_run_of_tokens_believed(lora, changes, copied, monkeypatch):
    folder, _ = copied
    config = config_of(folder, lora)
    monkeypatch.setattr(pretrained, "_new_model", taken)
    hostile = replace(config, architecture=config.architecture | changes)
    with refused("damaged"):
        PretrainedNetwork(hostile, 384, "float32")
    with refused("damaged", needed=CONTEXT + 1, found=CONTEXT):
        PretrainedNetwork(replace(config, context=CONTEXT + 1), 384, "float32")
    name, shape = next(iter(config.shapes.items()))
    wider = replace(config, shapes=config.shapes | {name: (shape[0] * 500, *shape[1:])})
    with refused("bad-array", name=name):
        PretrainedNetwork(wider, 384, "float32")
    if lora:
        with refused("bad-array"):
            PretrainedNetwork(replace(config, lora=4000), 384, "float32")
