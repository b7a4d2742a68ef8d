"""Causal language models in folders of Hugging Face's format, read by `transformers`.

    config.json                     with a "model_type"
    model.safetensors               or the shards of model.safetensors.index.json, or, of old,
                                    pytorch_model.bin
    tokenizer.json                  or, of old, vocab.json and merges.txt

Nothing is ever downloaded, no code of a folder is run, and of pytorch_model.bin, which is a
pickle, only tensors are read (PyTorch's `weights_only`). No sizes of a config.json are believed:
its model is first made on PyTorch's meta device, where arrays have no memory, and held to the
headers of the weights.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from safetensors import safe_open
from torch import nn

from charloom.data.subwords import Subwords
from charloom.errors import CharloomError, needs_extra
from charloom.files import damaged, one_line

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
LARGEST_JSON = 2**26  # bytes: the largest tokenizers have half as many
ADVICE = "copy it from where the model came from"
LARGEST_NUMBER = 2**24  # of a config.json: no context is longer
ROOM = 2**26  # numbers that a model may have beside its weights: masks over long contexts
_NOT_READ = {  # of a config.json: what a predictor has no use for, and what leads elsewhere
    *("num_labels", "id2label", "label2id"),
    *("transformers_weights", "auto_map", "attn_implementation", "experts_implementation"),
}
_BASES = {"rope_theta", "rope_local_base_freq"}  # of powers, not sizes
_LAYERS = re.compile(r"(n|num|decoder|encoder)_(\w+_)?(layer|block)s?")
_EXPERTS = re.compile(r"\w*experts?")

States = tuple[tuple[Path, int, int], ...]
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
    return _digest(_states(folder))


def _states(folder: Path) -> States:
    """Return the path, the size and the time of last change of each file with weights."""
    files = [(path, path.stat()) for path in weight_files(folder)]
    return tuple((path, status.st_size, status.st_mtime_ns) for path, status in files)


@lru_cache(1)
def _digest(files: States) -> str:
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
        for name in ("vocab.json", "merges.txt"):
            _text(_there(folder, name))
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


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a folder's weights, by name; no tensor is read."""
    found: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        with _opening(folder):
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as file:
                    names = file.keys()
                    here = {name: (*file.get_slice(name).get_shape(),) for name in names}
            else:
                tensors = torch.load(path, map_location="meta", weights_only=True)
                here = {name: (*tensor.shape,) for name, tensor in tensors.items()}
        if sum(map(math.prod, here.values())) > path.stat().st_size:  # one number, told often
            raise damaged(path, "its tensors would be larger than the file", ADVICE)
        found |= here
    return found


def describe(
    architecture: Mapping[str, Any], weights: Mapping[str, tuple[int, ...]], where: Path
) -> nn.Module:
    """Return the model of an architecture, a config.json, on the meta device: without memory.

    Raises CharloomError if it has far more numbers than `weights` of these shapes, or far fewer, or
    more layers.
    """
    held, tensors = sum(map(math.prod, weights.values())), len(weights)
    longest = max([tensors, *(size for shape in weights.values() for size in shape)])
    for name, value in _numbers(architecture):  # of these modules are made, one by one
        most = tensors if _LAYERS.fullmatch(name) else LARGEST_NUMBER
        most = longest if _EXPERTS.fullmatch(name) else most
        if value > most and name not in _BASES:
            raise _too_large(where, f"{name} {value:,}", value, weights)
    with torch.device("meta"):
        model = skeleton(architecture, "float32", where)
    needed = sum(parameter.numel() for parameter in model.parameters())
    beside = sum(buffer.numel() for buffer in model.buffers())
    # What is a bit more is then missed by its name; of old, masks were kept with the weights.
    if needed > 2 * held + ROOM // 64 or beside > held + ROOM or held > 16 * needed + ROOM:
        raise _too_large(where, f"{needed + beside:,} numbers", needed + beside, weights)
    return model


def _too_large(
    where: Path, what: str, needed: int, weights: Mapping[str, tuple[int, ...]]
) -> CharloomError:
    held = sum(map(math.prod, weights.values()))
    message = (
        f"{where} describes a model with {what}, but its weights are {held:,} numbers in "
        f"{len(weights):,} tensors: {ADVICE}"
    )
    return CharloomError(message, "damaged", path=str(where), needed=needed, found=held)


def _numbers(document: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of a JSON document, each with the name that it has there."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from _numbers(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from _numbers(value, name)
    elif isinstance(document, int):
        yield name, document


@lru_cache(1)
def _load(folder: Path, _states: States, config: str, dtype: str) -> nn.Module:
    """Read the model, and keep it until another is read."""
    library = transformers()
    describe(json.loads(config), shapes(folder), folder)
    with _opening(folder):
        model, report = library.AutoModelForCausalLM.from_pretrained(
            folder,
            config=_config(json.loads(config)),
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
    config = json.dumps(_read(_there(folder, "config.json"), dict[str, Any]))
    if (folder / "adapter_config.json").exists():  # the library would look for its model elsewhere
        message = f"{folder} holds an adapter, not a whole model: merge it into its model first"
        raise CharloomError(message, "unsupported", path=str(folder))
    folder = folder.absolute()
    return _load(folder, _states(folder), config, dtype)


def forget() -> None:
    """Let go of the model that was loaded last."""
    _load.cache_clear()


def skeleton(
    architecture: Mapping[str, Any], dtype: str, where: Path = Path("config.json")
) -> nn.Module:
    """Return a model of an architecture, a config.json, whose weights are anything.

    Raises CharloomError if there is none.
    """
    library = transformers()
    from transformers.initialization import no_init_weights

    with _opening(where), no_init_weights():
        model: Any = library.AutoModelForCausalLM.from_config(
            _config(architecture), dtype=getattr(torch, dtype), trust_remote_code=False
        )
    model.tie_weights()  # which is one of the things that are left out with the initialization
    bare: nn.Module = model.eval()
    return bare


def _config(architecture: Mapping[str, Any]) -> Any:
    """Return the library's own settings of an architecture; raises all kinds of errors."""
    kind: Any = transformers().CONFIG_MAPPING[architecture["model_type"]]
    return kind.from_dict({n: v for n, v in architecture.items() if n not in _NOT_READ})


@torch.no_grad()
def _check_causal(model: nn.Module, folder: Path) -> None:
    """Raise CharloomError if a prediction depends on what comes after."""
    first, other = model(torch.tensor([[0, 0], [0, 1]])).logits[:, 0]
    if not torch.allclose(first, other, rtol=1e-3, atol=1e-4, equal_nan=True):
        message = f"{folder}: its model looks at later tokens, so it cannot predict a text"
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
    message = f"{folder} has no {' or '.join(names)}: {ADVICE}"
    return CharloomError(message, "not-found", path=str(folder), missing=names)


def _text(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_JSON:
            raise OSError(f"it is not a file of at most {LARGEST_JSON:,} bytes")
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
