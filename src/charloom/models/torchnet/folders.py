"""Causal language models in folders of Hugging Face's format, read by `transformers`.

    config.json                     with a "model_type"
    model.safetensors               or the shards of model.safetensors.index.json, or, of old,
                                    pytorch_model.bin
    tokenizer.json                  or, of old, vocab.json and merges.txt

Nothing is ever downloaded, no code of a folder is run, and of pytorch_model.bin, which is a
pickle, only tensors are read (PyTorch's `weights_only`).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import nn

from charloom.data.subwords import Subwords
from charloom.errors import CharloomError, needs_extra
from charloom.files import one_line

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
LARGEST_JSON = 2**28  # bytes
ADVICE = "copy it from where the model came from"


T = TypeVar("T")


def transformers() -> Any:
    """Import the library, told to print nothing. Raises CharloomError if it is not installed."""
    with needs_extra("gpt2", "a pretrained model"):
        import transformers as library
    logging: Any = library.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return library


class _Index(msgspec.Struct):
    """What says which file each of the weights is in."""

    weight_map: dict[str, str]


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the weights, in the order of names; raises CharloomError."""
    _there(folder)
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = {Path(shard).name for shard in _read(index, _Index).weight_map.values()}
            return [_there(folder, shard or ".") for shard in sorted(shards or {""})]
    raise _lacks(folder, *WEIGHTS)


def digest(folder: Path) -> str:
    """Return the SHA-256 of the weights: of all their files, one after another."""
    files = [(path, path.stat()) for path in weight_files(folder)]
    return _digest(tuple((path, status.st_size, status.st_mtime_ns) for path, status in files))


@lru_cache(1)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    found = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            while chunk := file.read(2**22):
                found.update(chunk)
    return found.hexdigest()


def read_tokens(folder: str | Path) -> Subwords:
    """Read a folder's tokenizer; raises CharloomError."""
    folder = Path(folder)
    _there(folder)
    settings = folder / "tokenizer_config.json"
    names = _read(settings, dict[str, Any]) if settings.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        document = _text(folder / "tokenizer.json")
    elif (folder / "vocab.json").is_file():
        _there(folder, "merges.txt")
        with _opening(folder):
            loader = transformers().AutoTokenizer
            opened = loader.from_pretrained(folder, **LOCAL)
            document = opened.backend_tokenizer.to_str()
            names = {name: getattr(opened, name) for name in ("bos_token", "eos_token")}
    else:
        raise _lacks(folder, "tokenizer.json", "vocab.json with merges.txt")
    try:
        return Subwords.adapt(
            document, [*_firsts(names, _read(folder / "config.json", dict[str, Any]))]
        )
    except CharloomError as error:
        raise CharloomError(f"{folder}: {error}: {ADVICE}", error.code, path=str(folder)) from None


def _firsts(names: dict[str, Any], ids: dict[str, Any]) -> Iterator[Any]:
    """Yield what a text may begin after: the token for a beginning, or else for an end.

    It goes by the `names` of the tokenizer's settings, then by the `ids` of the model's.
    """
    for kind in ("bos", "eos"):
        name, place = names.get(f"{kind}_token"), ids.get(f"{kind}_token_id")
        yield name.get("content") if isinstance(name, dict) else name
        yield from place if isinstance(place, list) else [place]


@lru_cache(1)
def _load(folder: Path, _digest: str, dtype: str) -> nn.Module:
    """Read the model, and keep it until another is read."""
    library = transformers()
    with _opening(folder):
        model, report = library.AutoModelForCausalLM.from_pretrained(
            folder,
            config=library.AutoConfig.from_pretrained(folder, **LOCAL),
            dtype=getattr(torch, dtype),
            weights_only=True,
            output_loading_info=True,
            **LOCAL,
        )
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise CharloomError(
            f"{folder}: the weights lack {missing[0]}{more}: {ADVICE}",
            "damaged",
            path=str(folder),
            missing=missing,
        )
    model.eval().requires_grad_(False)
    with _opening(folder):
        _check_causal(model, folder)
    return model  # type: ignore[no-any-return]


def load(folder: Path, dtype: str = "float32") -> nn.Module:
    """Return a folder's model. It is shared, and not to be changed.

    Raises CharloomError if the folder holds none, or none that predicts from left to right.
    """
    _there(folder, "config.json")
    return _load(folder.absolute(), digest(folder), dtype)


def forget() -> None:
    """Let go of the model that was loaded last."""
    _load.cache_clear()


def skeleton(architecture: dict[str, Any], dtype: str) -> nn.Module:
    """Return a model of an architecture, a config.json, whose weights are anything."""
    library = transformers()
    from transformers.initialization import no_init_weights

    with _opening(Path("config.json")), no_init_weights():
        config = library.CONFIG_MAPPING[architecture["model_type"]].from_dict(architecture)
        model: Any = library.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    model.tie_weights()  # which is one of the things that are left out with the initialization
    bare: nn.Module = model.eval()
    return bare


@torch.no_grad()
def _check_causal(model: nn.Module, folder: Path) -> None:
    """Raise CharloomError if a prediction depends on what comes after."""
    first, other = model(torch.tensor([[0, 0], [0, 1]])).logits[:, 0]
    if not torch.allclose(first, other, rtol=1e-3, atol=1e-4, equal_nan=True):
        message = f"{folder}: its model looks ahead, so it cannot predict a text"
        raise CharloomError(message, "unsupported", path=str(folder))


def _there(folder: Path, name: str = "") -> Path:
    """Return the path of a file in the folder; raises CharloomError if one is not there."""
    if not folder.is_dir():
        raise CharloomError(
            f"there is no folder {folder} with a pretrained model: check the name",
            "not-found",
            path=str(folder),
        )
    if name and not (folder / name).is_file():  # a pipe would be waited for
        raise _lacks(folder, name)
    return folder / name


def _lacks(folder: Path, *names: str) -> CharloomError:
    message = f"{folder} has no {' nor '.join(names)}: {ADVICE}"
    return CharloomError(message, "not-found", path=str(folder), missing=names)


def _text(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_JSON:
            raise OSError(f"it is no file of at most {LARGEST_JSON:,} bytes")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({one_line(error)})"
        raise CharloomError(message, "unreadable", path=str(path)) from None


def _read(path: Path, kind: type[T]) -> T:
    """Return what a JSON file holds, of that type; raises CharloomError."""
    text = _text(path)
    try:
        return msgspec.convert(json.loads(text), kind)
    except (ValueError, RecursionError) as error:
        message = f"{path} is damaged ({one_line(error)}): {ADVICE}"
        raise CharloomError(message, "damaged", path=str(path)) from None


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Say in a line what the library found wrong with a folder."""
    try:
        yield
    except CharloomError:
        raise
    except Exception as error:  # it raises all kinds, by what it finds
        message = f"{folder} cannot be opened: {one_line(error)}"
        raise CharloomError(message, "unreadable", path=str(folder)) from None
