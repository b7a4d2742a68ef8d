"""What is meant by a command or an option that charloom does not have, but others do."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

import click

COMMANDS = {
    **dict.fromkeys(("generate", "gen", "write"), "sample"),
    **dict.fromkeys(("eval", "test", "score", "perplexity"), "evaluate"),
    **dict.fromkeys(("continue", "restart"), "resume"),
    **dict.fromkeys(("list", "ls", "show", "rm", "mv"), "runs"),
    **dict.fromkeys(("learn", "fit", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("texts", "datasets", "data"), "corpora"),
    **dict.fromkeys(("convert", "onnx"), "export"),
    **dict.fromkeys(("extract", "prepare", "preprocess", "scrape"), "text"),
}
OPTIONS = {  # of char-rnn, torch-rnn, nanoGPT, textgenrnn, Hugging Face and others
    **dict.fromkeys(("rnn-size", "hidden-size", "num-units", "units", "n-hidden"), "hidden"),
    **dict.fromkeys(("num-layers", "n-layer", "n-layers", "rnn-layers", "depth"), "layers"),
    **dict.fromkeys(("batch-size", "bs"), "batch"),
    **dict.fromkeys(("seq-length", "sequence-length", "seq-len", "max-length"), "length"),
    **dict.fromkeys(("max-new-tokens", "num-chars", "n-chars", "max-gen-length"), "length"),
    **dict.fromkeys(("start-text", "primetext", "prime", "prefix", "start", "seed-text"), "prompt"),
    **dict.fromkeys(("num-samples", "num", "samples", "n"), "count"),
    **dict.fromkeys(("max-epochs", "num-epochs", "num-train-epochs"), "epochs"),
    **dict.fromkeys(("steps", "max-iters", "max-steps", "iters", "num-steps"), "iterations"),
    **dict.fromkeys(("time", "duration"), "minutes"),
    **dict.fromkeys(("block-size", "n-ctx"), "context"),
    **dict.fromkeys(("n-embd", "dim", "d-model"), "width"),
    **dict.fromkeys(("n-head", "num-heads"), "heads"),
    **dict.fromkeys(("wordvec-size", "embedding-size"), "embedding"),
    **dict.fromkeys(("grad-clip", "clip", "max-grad-norm"), "clip-norm"),
    **dict.fromkeys(("val-frac", "val-split", "held-out", "valid"), "validation"),
    **dict.fromkeys(("init-from", "checkpoint", "resume-from", "pretrained"), "from"),
    **dict.fromkeys(("save-dir", "output", "output-dir", "out-dir", "checkpoint-dir"), "out"),
    **dict.fromkeys(("device", "gpu", "gpuid", "gpu-backend", "backend"), "engine"),
    **dict.fromkeys(("model-type", "cell", "rnn-type", "arch"), "model"),
    **dict.fromkeys(("tokenizer", "word-level", "level"), "unit"),
    **dict.fromkeys(("warmup-iters", "warmup-steps"), "warmup"),
    **dict.fromkeys(("eval-interval", "eval-every", "eval-val-every"), "evaluate-every"),
    **dict.fromkeys(("random-seed", "manual-seed"), "seed"),
    **dict.fromkeys(("topk",), "top-k"),
    **dict.fromkeys(("topp",), "top-p"),
}
_LIKE_LUA = re.compile(r"-[a-z][a-z_]{2,}")  # -rnn_size: an option with one dash, as in torch-rnn


def of_option(error: click.UsageError, words: Sequence[str]) -> click.UsageError:
    """Return the error with the option that is meant, if there is one; `words` were typed."""
    typed = next(filter(_LIKE_LUA.fullmatch, words), None)
    if isinstance(error, click.NoSuchOption) and error.option_name.startswith("--"):
        typed = error.option_name
    if typed is None or error.ctx is None:
        return error
    known = [name for param in error.ctx.command.params for name in param.opts if len(name) > 2]
    name = typed.strip("-").replace("_", "-").lower()
    found = [option for option in (f"--{name}", f"--{OPTIONS.get(name)}") if option in known]
    found = found or get_close_matches(f"--{name}", known, n=3, cutoff=0.7)
    if not found:
        return error
    meant = " or ".join(found[:1] if f"--{OPTIONS.get(name)}" in found else found)
    return click.NoSuchOption(
        typed, f"No such option {typed}. Did you mean {meant}?", ctx=error.ctx
    )
