"""Tiny models in Hugging Face's format, as transformers writes them now and as it once did."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXT = (
    "Half a league, half a league,\nHalf a league onward,\nAll in the valley of Death\n"
    "Rode the six hundred. Dämmerung, 東京, naïve, €5 \U0001f600.\n"
)
END = "<|endoftext|>"
CONTEXT = 32
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def quiet_transformers():
    """Import the library where it is needed: it takes seconds, and more for each of its models."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def byte_level(size=384):
    """Return a tokenizer of GPT-2's kind, trained on TEXT."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(tokenizer, trainers.BpeTrainer, vocab_size=size, initial_alphabet=alphabet)
    return tokenizer


def sentence_piece(size=400):
    """Return a tokenizer of Llama's kind: a space before the text, bytes for what is unknown."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    _train(tokenizer, trainers.BpeTrainer, vocab_size=size, special_tokens=["<s>", *fallback])
    document = json.loads(tokenizer.to_str())
    document |= {"added_tokens": document["added_tokens"][:1], "pre_tokenizer": None}
    return Tokenizer.from_str(json.dumps(document))


def _train(tokenizer, trainer, special_tokens=(END,), **settings):
    shown = trainer(special_tokens=[*special_tokens], show_progress=False, **settings)
    tokenizer.train_from_iterator([TEXT] * 20, shown)


def gpt2_model(tokenizer, seed=0, **changes):
    end = tokenizer.token_to_id(END)
    settings = {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
    settings |= {"vocab_size": tokenizer.get_vocab_size(), "bos_token_id": end, "eos_token_id": end}
    torch.manual_seed(seed)
    transformers = quiet_transformers()
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**(settings | changes))).eval()


def write_gpt2(folder, **changes):
    """Write a folder in the new layout and return its model."""
    tokenizer = byte_level()
    model = gpt2_model(tokenizer, **changes)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


def write_old_gpt2(folder, kind="bin"):
    """Write the same model as OpenAI's weights were first laid out, and return it."""
    tokenizer = byte_level()
    model = gpt2_model(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(old_config(model.config)))
    tokenizer.model.save(str(folder))  # vocab.json, merges.txt
    weights = {
        name.removeprefix("transformer."): weight.clone()
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"
    }
    for layer in range(model.config.n_layer):
        mask = torch.ones(CONTEXT, CONTEXT).tril().view(1, 1, CONTEXT, CONTEXT)
        weights[f"h.{layer}.attn.bias"] = mask
    if kind == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    return model


def old_config(config):
    """What stood in GPT-2's own config.json, with this model's sizes."""
    names = ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"]
    sizes = {name: getattr(config, name) for name in [*names, "bos_token_id", "eos_token_id"]}
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": CONTEXT} | sizes


def write_llama(folder, **changes):
    """Write a model with rotary positions and a tokenizer of SentencePiece's kind."""
    tokenizer = sentence_piece()
    torch.manual_seed(1)
    settings = SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0}
    settings |= {"eos_token_id": None, "pad_token_id": None, "max_position_embeddings": CONTEXT}
    transformers = quiet_transformers()
    config = transformers.LlamaConfig(vocab_size=tokenizer.get_vocab_size(), **(settings | changes))
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model
