"""A causal language model that somebody else trained: trained further, and read with."""

import copy
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from charloom.config import PretrainedConfig, replace
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError, needs_extra
from charloom.files import damaged
from charloom.models.torchnet import folders
from charloom.models.torchnet.devices import on_own_threads, pick_device, seeded, send_ids
from charloom.models.torchnet.network import Dropout, Layout, Masks, Network, State
from charloom.models.torchnet.window_model import Window
from charloom.models.weights import Array, check_shapes

CONTEXT = 1024  # tokens that are looked back over, at most: they cost memory and time
LORA_ALPHA = 32  # adapters are scaled by this over their rank (Schulman et al. 2025)
_REPLACING = ("DynamicLayer", "DynamicSlidingWindowLayer")  # kinds of layers of a cache
_DROPOUT = ("_pdrop", "dropout", "_dropout_prob")  # how architectures end their names for it


class PretrainedNetwork(Network):
    """A model of `transformers`: all its weights are trained, or, with LoRA, adapters alone.

    Weights have the library's names; adapters those that peft gives them in a file.
    """

    config: PretrainedConfig

    def __init__(
        self,
        config: PretrainedConfig,
        vocabulary_size: int,
        dtype: str,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Make the network of a config: weights of 0, or with LoRA the folder's, and new adapters.

        Raises CharloomError if the config contradicts itself or the folder is not as it was.
        """
        super().__init__()
        self.config, self.vocabulary_size = config, vocabulary_size
        parameters: Any = _trained(_described(config), config.lora)
        check_shapes(parameters, config.shapes, "the model of config.json")
        self.model = _new_model(config, dtype, dropout, seed).to(pick_device())

    def forward(self, ids: Tensor, state: State, masks: Masks = ()) -> tuple[Tensor, State]:
        """Read ids (B, T), each sequence from nothing: logits (B, T, W); W may exceed V."""
        return self.model(ids, use_cache=False).logits, ()

    @contextmanager
    def dropping(self, dropout: Dropout) -> Iterator[Masks]:
        """Let the library draw its own masks, which several ranks do not draw as one does."""
        with seeded(dropout.torch_seed >> 1, self.device()):
            self.model.train()
            try:
                yield ()
            finally:
                self.model.eval()

    def layout(self) -> dict[str, Layout]:
        """Return, by its name, where each weight is that is trained."""
        trained = _trained(self.model, self.config.lora)
        return {name: Layout(parameter) for name, parameter in trained.items()}


def _trained(model: nn.Module, lora: int) -> dict[str, nn.Parameter]:
    parameters = dict(model.named_parameters())
    if not lora:
        return parameters
    adapters = {name: p for name, p in parameters.items() if ".lora_" in name}
    return {f"base_model.model.{name.replace('.default', '')}": p for name, p in adapters.items()}


def config_of(folder: str | Path, lora: int = 0) -> PretrainedConfig:
    """Return what a run keeps of the model that it trains, or trains adapters of that rank to.

    Raises CharloomError if the folder lacks something, or the model has more than weights.
    """
    folder = Path(folder).absolute()
    folders.read_tokens(folder)
    model = folders.load(folder)
    weights = dict(model.named_parameters(remove_duplicate=False))
    if not lora and (others := [name for name in model.state_dict() if name not in weights]):
        raise CharloomError(
            f"{folder}: {others[0]} of its model is not a weight and would be lost: use --lora",
            "unsupported",
            path=str(folder),
            name=others[0],
        )
    hf: Any = model.config
    architecture = json.loads(hf.to_json_string(use_diff=False))
    architecture.pop("_name_or_path", None)
    config = PretrainedConfig(
        source=str(folder),
        architecture=architecture,
        shapes={},
        sha256=folders.digest(folder),
        context=_context(hf, folder),
        lora=lora,
    )
    trained = _trained(_described(config), lora)
    return replace(config, shapes={name: tuple(p.shape) for name, p in trained.items()})


def _context(hf: Any, where: Path) -> int:
    most: int = getattr(hf, "max_position_embeddings", None) or CONTEXT
    if most < 2:  # half of a window must be something
        raise damaged(where, f"max_position_embeddings is {most:,}", folders.ADVICE)
    return min(most, CONTEXT)


def source_weights(config: PretrainedConfig) -> dict[str, Array]:
    """Return the weights that full fine-tuning begins with; raises as `config_of` does."""
    base = _base(config, "float32")
    folders.forget()
    return {name: parameter.cpu().numpy() for name, parameter in base.named_parameters()}


def _described(config: PretrainedConfig) -> nn.Module:
    """Return the model that a config trains, with its adapters, on the meta device."""
    where, weights = Path("config.json"), config.shapes
    if config.lora or not weights:
        where = _source(config)
        weights = folders.shapes(where)
    model = folders.describe(config.architecture, weights, where)
    if config.context > (most := _context(model.config, where)):
        message = f"{where}: the context is {config.context:,}, but its model has only {most:,}"
        raise CharloomError(message, "damaged", path=str(where), needed=config.context, found=most)
    if config.lora:
        with torch.device("meta"):
            _add_adapters(model, config.lora, 0)
    return model


def _new_model(config: PretrainedConfig, dtype: str, dropout: float, seed: int) -> nn.Module:
    asked, rates = config.architecture, (int, float)
    drops = [n for n, rate in asked.items() if n.endswith(_DROPOUT) and isinstance(rate, rates)]
    model = folders.skeleton(asked | dict.fromkeys(drops, dropout), dtype)
    if config.lora:
        model.load_state_dict(_base(config, dtype).state_dict(), assign=True)
        _add_adapters(model, config.lora, seed)
    else:
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    return model


def _source(config: PretrainedConfig) -> Path:
    """Return the folder that the config was made from; raises CharloomError."""
    folder = Path(config.source)
    if not folder.is_dir():
        raise CharloomError(
            f"{folder}, the folder with the model that this run trains, is missing: put it back, "
            "or write its new place into the run's config.json",
            "not-found",
            path=str(folder),
        )
    return folder


def _base(config: PretrainedConfig, dtype: str) -> nn.Module:
    """Return the model in the folder that the config was made from; raises CharloomError."""
    folder = _source(config)
    model = folders.load(folder, dtype).to(pick_device())
    if folders.digest(folder) != config.sha256:
        raise CharloomError(
            f"the weights in {folder} are not those that this run began with (SHA-256 "
            f"{config.sha256[:8]}): put those back, or start a new run",
            "other-settings",
            path=str(folder),
        )
    return model


def _add_adapters(model: nn.Module, rank: int, seed: int) -> None:
    """Put adapters of LoRA (Hu et al. 2021) beside all linear layers but the head."""
    with needs_extra("gpt2", "LoRA"):
        from peft import LoraConfig, inject_adapter_in_model
    turned = any(type(module).__name__ == "Conv1D" for module in model.modules())  # GPT-2's
    settings = LoraConfig(
        r=rank, lora_alpha=LORA_ALPHA, target_modules="all-linear", fan_in_fan_out=turned
    )
    with seeded(seed, torch.device("cpu")):
        inject_adapter_in_model(settings, model)


class PretrainedModel:
    """The `LanguageModel` protocol over a model of `transformers`.

    It reads on until its window holds the C tokens of the context; then the last C // 2 of them
    are read again, and it goes on from there, as charloom's own transformers do.
    """

    threads: int | None = None  # that compute, if that is said

    def __init__(self, model: nn.Module, vocabulary: Tokenizer, context: int) -> None:
        self.vocabulary, self.context = vocabulary, context
        self._model = model
        self._device = next(model.parameters()).device
        rows: Any = model.get_input_embeddings()  # type: ignore[operator]
        self._ids = min(len(vocabulary), len(rows.weight))
        known = inspect.signature(self._model.forward).parameters
        self._keeps = "logits_to_keep" in known
        self._cache = "cache" if "cache" in known else "past_key_values"  # until transformers 5.23

    @property
    def parameter_count(self) -> int:
        """How many parameters it has."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def start(self, lanes: int) -> Window:
        """Return the state before any token, for `lanes` independent texts."""
        return Window(np.empty((lanes, 0), np.int64), None)

    def step(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B,): log-probabilities (B, V) of the next token, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    @torch.inference_mode()
    @on_own_threads
    def log_probs(self, ids: Ids, state: Window) -> tuple[Array, Window]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1].

        Ids that the model has and the vocabulary has not are possible, and so the others do not
        quite add up to 1. Raises CharloomError if an id is not in [0, V).
        """
        V = len(self.vocabulary)
        parts, C = [], self.context
        known, cache = state
        at = 0
        while at < ids.shape[1]:
            if known.shape[1] == C:
                known, cache = known[:, -(C // 2) :], None
            new = ids[:, at : at + C - known.shape[1]]
            known = np.concatenate([known, new], axis=1)
            logits, cache = self._read(known if cache is None else new, cache, new.shape[1])
            parts.append(logits.log_softmax(-1)[..., :V].cpu().numpy())
            at += new.shape[1]
        return np.concatenate(parts, axis=1), Window(known, cache)

    def _read(self, ids: Ids, cache: Any, last: int) -> tuple[Tensor, Any]:
        """Read ids (B, T) after a cache, which stays as it is; return logits (B, last, W)."""
        asked = {"logits_to_keep": last} if self._keeps else {}
        asked |= {self._cache: _copied(cache), "use_cache": True}
        out = self._model(send_ids(ids, self._ids, self._device), **asked)
        return out.logits[:, -last:], out[self._cache]


def _copied(cache: Any) -> Any:
    """Return a cache to read on with: layers that only replace tensors share the old ones."""
    if cache is None:
        return None
    if any(type(layer).__name__ not in _REPLACING for layer in cache.layers):
        return copy.deepcopy(cache)
    again = copy.copy(cache)
    again.layers = [copy.copy(layer) for layer in cache.layers]
    return again


def open_folder(folder: Path) -> PretrainedModel:
    """Open the model in a folder of Hugging Face's format; raises CharloomError."""
    tokens, model = folders.read_tokens(folder), folders.load(folder)
    return PretrainedModel(model.to(pick_device()), tokens, _context(model.config, folder))
