"""The one place that picks an engine, to make a model or a learner: see protocols.py for these."""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charloom.config import (
    AttentiveConfig,
    Cell,
    Dtype,
    Engine,
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    Precision,
    RunConfig,
    TrainConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Tokenizer
from charloom.distributed import place
from charloom.errors import CharloomError, check_at_least, needs_extra
from charloom.models.protocols import LanguageModel, Learner
from charloom.models.weights import STATE_PREFIXES, check_weights, part_of


def pick_engine(
    engine: Engine, model: NetworkConfig | NgramConfig, train: TrainConfig | None = None
) -> Engine:
    """Return the engine to use, "auto" resolved; `train` is None for a model that only predicts.

    The compiled engine computes recurrent networks, and the torch engine all else. The torch
    engine also trains recurrent networks if it finds a GPU, if `train` asks for what it alone
    can do, or for bf16 on a processor without AMX. The reference engine predicts with
    transformers if PyTorch is not installed, and alone computes cells that `add_cell` made known.
    Several networks are computed by the engine of one, but not by the torch engine.
    Raises CharloomError if no engine has that name, or if it cannot do what is asked.
    """
    RunConfig(engine=engine)  # raises if there is no such engine
    if isinstance(model, EnsembleConfig):
        return _of_several(engine, model, train)
    predicts = isinstance(model, TransformerConfig) and train is None
    without_torch = isinstance(model, ModelConfig | NgramConfig)
    torch_only = _needs_torch(train, engine) if without_torch else "this model"
    if isinstance(model, AttentiveConfig):
        return _of_attentive(engine, train)
    if isinstance(model, ModelConfig) and model.cell not in get_args(Cell):
        return _of_own_cell(model.cell, engine, _needs_torch(train, "reference"))
    if engine == "auto":
        if predicts and not has_torch():
            return "reference"
        return "torch" if torch_only or (train and _torch_is_faster(train)) else "compiled"
    if engine == "torch" or not torch_only or (engine == "reference" and predicts):
        return engine
    raise CharloomError(
        f"the {engine} engine cannot do {torch_only}: leave out --engine, or choose torch",
        "unsupported",
        engine=engine,
        asked=torch_only,
    )


def _of_several(engine: Engine, model: EnsembleConfig, train: TrainConfig | None) -> Engine:
    """Return the engine of each of several networks."""
    if engine == "auto" and not _needs_torch(train, "compiled"):
        return pick_engine("auto", model.network)  # a GPU, which is left alone, would say torch
    found = pick_engine(engine, model.network, train)
    if found == "torch":
        message = "the torch engine trains one network at a time: give --networks 1"
        raise CharloomError(message, "unsupported", engine=engine, field="networks")
    return found


def _of_attentive(engine: Engine, train: TrainConfig | None) -> Engine:
    """Return the engine that reads a model of textgenrnn, which none trains."""
    if train is None and engine != "torch":
        return "compiled" if engine == "auto" else engine
    message = "a model of textgenrnn is not read by the torch engine: leave out --engine"
    if train is not None:
        message = "a model of textgenrnn is read and not trained: train another kind"
    raise CharloomError(message, "unsupported", engine=engine)


def _of_own_cell(cell: str, engine: Engine, torch_only: str) -> Engine:
    """Return the reference engine, which alone computes a cell of one's own."""
    other = torch_only if engine in ("auto", "reference") else f"--engine {engine}"
    if other:
        raise CharloomError(
            f"the cell {cell} is computed by the reference engine alone: leave out {other}",
            "unsupported",
            asked=other,
        )
    return "reference"


def _torch_is_faster(train: TrainConfig) -> bool:
    """Whether PyTorch is installed and trains recurrent networks faster here."""
    return has_gpu() or (train.precision == "bf16" and has_torch() and not has_amx())


def _needs_torch(train: TrainConfig | None, engine: Engine) -> str:
    """Return the first setting that only PyTorch supports; "" if there is none."""
    if train is None:
        return ""
    halves = ("full",) if engine == "reference" else ("full", "bf16")
    asked = {
        "several processes": place() is not None,  # even if only one of them is left
        f"--precision {train.precision}": train.precision not in halves,
        "--accumulate": train.accumulate > 1,
        "--compile": train.compile,
    }
    return next((name for name, given in asked.items() if given), "")


def has_torch() -> bool:
    """Whether PyTorch is installed, found out without loading it."""
    return find_spec("torch") is not None


def has_gpu() -> bool:
    """Whether PyTorch is installed and finds a GPU."""
    if not any(Path("/proc/driver").glob("nvidia*")):  # PyTorch takes a second to load
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def has_amx() -> bool:
    """Whether the compiled engine may use AMX, which multiplies bf16 (it is loaded to see)."""
    from charloom.models.compiled.bf16 import AMX, fastest_bf16

    return fastest_bf16() == AMX


def create_learner(
    model: NetworkConfig,
    train: TrainConfig,
    vocabulary_size: int,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
    seed: int | None = None,
    characters: NDArray[np.integer] | None = None,
) -> Learner:
    """Return a fresh learner; `seed`, by default `train.seed`, draws weights and dropout.

    `characters` (V,) is how many each id stands for; None is one each. The losses that it returns
    are per character, while the gradient is that of the mean per id. The weights of a pretrained
    model are 0 until they are loaded (with LoRA, what the adapters add is 0).
    Raises CharloomError if a setting is out of range, or if the engine is not installed or cannot
    do what is asked.
    """
    RunConfig(dtype=dtype)  # raises if weights cannot have this dtype
    check_at_least(1, vocabulary_size=vocabulary_size)
    match pick_engine(engine, model, train), model:
        case own, EnsembleConfig():
            return _learner_of_several(model, train, vocabulary_size, own, dtype, seed, characters)
        case "reference", ModelConfig():
            from charloom.models.reference import ReferenceLearner

            return ReferenceLearner(model, train, vocabulary_size, dtype, seed, characters)
        case "compiled", ModelConfig():
            from charloom.models.compiled import CompiledLearner

            return CompiledLearner(model, train, vocabulary_size, dtype, seed, characters)
        case _:
            settings = train, model, vocabulary_size, dtype, seed, characters
            learner: Learner = load_torchnet().create_learner(*settings)
            return learner


def _learner_of_several(
    model: EnsembleConfig,
    train: TrainConfig,
    vocabulary_size: int,
    engine: Engine,
    dtype: Dtype,
    seed: int | None,
    characters: NDArray[np.integer] | None,
) -> Learner:
    """Return a learner of the compiled or the reference engine; see `create_learner`.

    On the compiled engine as many learn at a time as there are threads, each on one; each of what
    is left over has all of them.
    """
    from charloom.models.ensemble import EnsembleLearner, seed_of

    first, K = train.seed if seed is None else seed, model.networks
    seeds = [seed_of(first, k) for k in range(K)]
    if engine == "reference":
        own = model.network, train, vocabulary_size, engine, dtype
        learners = [create_learner(*own, seed, characters) for seed in seeds]
        return EnsembleLearner(model, train, vocabulary_size, learners)
    from charloom.models.compiled import CompiledEnsemble, CompiledLearner
    from charloom.models.compiled.threads import available_threads, share_out

    threads = min(available_threads(), K)
    alone = [1 if k < K // threads * threads else None for k in range(K)]
    size = model.network, train, vocabulary_size, dtype
    pairs = zip(seeds, alone, strict=True)
    return EnsembleLearner(
        model,
        train,
        vocabulary_size,
        [CompiledLearner(*size, seed, characters, one) for seed, one in pairs],
        CompiledEnsemble,
        partial(share_out, threads=threads),
        sum(one is not None for one in alone),
    )


def create_model(
    config: NetworkConfig | NgramConfig,
    arrays: Mapping[str, NDArray[Any]],
    vocabulary: Tokenizer,
    engine: Engine = "auto",
    dtype: Dtype = "float32",
    precision: Precision = "full",
) -> LanguageModel:
    """Return a model that predicts with a copy of these weights (or an n-gram's counts).

    `arrays` may be all that a learner's `arrays` gave: the weights are taken. With `precision`
    "bf16" a recurrent network keeps them and multiplies in bf16, which is faster where they are
    larger than a cache: predictions differ a little. Raises CharloomError if weights do not fit
    the config, the engine is not installed, or it does not predict in that precision here.
    """
    _check_predicts_in(precision, pick_engine(engine, config), config, dtype)
    weights = {name: a for name, a in arrays.items() if not name.startswith(STATE_PREFIXES)}
    match pick_engine(engine, config), config:
        case _, NgramConfig():
            from charloom.models.ngram import NgramModel

            return NgramModel.from_arrays(config, vocabulary, weights)
        case own, EnsembleConfig():
            return _model_of_several(config, weights, vocabulary, own, dtype, precision)
        case "reference", ModelConfig():
            from charloom.models.reference import ReferenceModel

            return ReferenceModel(config, weights, vocabulary)
        case "reference", AttentiveConfig():
            from charloom.models import attentive, reference

            layers = reference.WindowLayers
            return attentive.AttentiveModel(config, weights, vocabulary, layers)
        case _, AttentiveConfig():
            from charloom.models import attentive, compiled

            return attentive.AttentiveModel(config, weights, vocabulary, compiled.WindowLayers)
        case "reference", TransformerConfig():
            from charloom.models.reference import ReferenceTransformer

            return ReferenceTransformer(config, weights, vocabulary)
        case "compiled", ModelConfig():
            from charloom.models.compiled import CompiledModel

            return CompiledModel(config, weights, vocabulary, dtype, precision)
        case _:
            model: LanguageModel = load_torchnet().create_model(config, weights, vocabulary, dtype)
            return model


def _model_of_several(
    config: EnsembleConfig,
    weights: Mapping[str, NDArray[Any]],
    vocabulary: Tokenizer,
    engine: Engine,
    dtype: Dtype,
    precision: Precision,
) -> LanguageModel:
    """Return a model of the compiled or the reference engine; see `create_model`."""
    check_weights(weights, config, len(vocabulary))
    parts = [part_of(weights, k) for k in range(config.networks)]
    if engine == "compiled":
        from charloom.models.compiled import CompiledEnsemble, CompiledModel

        size = vocabulary, dtype, precision
        return CompiledEnsemble([CompiledModel(config.network, part, *size) for part in parts])
    from charloom.models.ensemble import Ensemble

    own = vocabulary, engine, dtype
    return Ensemble([create_model(config.network, part, *own) for part in parts])


def _check_predicts_in(
    precision: Precision, engine: Engine, config: NetworkConfig | NgramConfig, dtype: Dtype
) -> None:
    if precision == "full":
        return
    recurrent = isinstance(config, ModelConfig | EnsembleConfig)
    if precision != "bf16" or not recurrent or engine != "compiled":
        problem = "is for recurrent networks on the compiled engine, in bf16"
    elif dtype != "float32":
        problem = f"works with float32, and these weights are {dtype}"
    elif not has_amx():
        problem = "gains nothing on this processor, which has no AMX"
    else:
        return
    message = f"--precision {precision} {problem}: leave it out"
    raise CharloomError(message, "unsupported", field="precision")


def load_torchnet() -> ModuleType:
    """Load the torch engine; raises CharloomError if PyTorch is not installed."""
    with needs_extra("torch", "this"):
        import torch  # noqa: F401
    from charloom.models import torchnet

    return torchnet
