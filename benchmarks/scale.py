"""Characters a second of the programs that want a GPU, and their share of the machine's own rate.

The torch engine on the device that is there: in float32, and with products in bf16. The rate is
that of one large matrix product of the same type, measured in between; an update costs six
operations for each weight of a matrix and character, and attention twelve for each layer, number
of its width and character looked back at, half of which causality spares.
"""

from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

from charloom.config import RunConfig, TransformerConfig, replace
from charloom.data.batches import open_batches
from charloom.errors import CharloomError
from charloom.models.engines import create_learner, load_torchnet
from charloom.models.weights import weight_shapes
from charloom.presets import preset
from common import (
    VOCABULARY,
    Options,
    has_torch,
    print_table,
    say_torch_is_missing,
    spread,
    taking_turns,
    use_threads,
)

PROGRAMS = ("torch-rnn-1024", "nanogpt-char")
SECONDS = 1.0  # of updates in a turn, at least one
CHARACTERS = 2**21


def show(options: Options) -> None:
    if not has_torch():
        return say_torch_is_missing()
    use_threads(options.threads)
    device = load_torchnet().pick_device()
    import torch

    torch.set_num_threads(options.threads)
    cells = []
    for name in PROGRAMS:
        for precision in ("full", "bf16"):
            config = preset(name)
            config = replace(config, train=replace(config.train, precision=precision))
            cells.append(row(_tiny(config) if options.tiny else config, options))
    columns = ["", "products", "characters/s", "Tflop/s", "a matrix product's", "share"]
    title = f"training on {_named(device)}, {options.turns} turns; median (lowest to highest)"
    print_table(title, columns, cells)
    return None


def row(config: RunConfig, options: Options) -> list[str]:
    train = config.train
    name, kind = config.preset or "", "float32" if train.precision == "full" else train.precision
    try:
        learner = create_learner(config.model, train, len(VOCABULARY), "torch", "float32", 0)
    except CharloomError:  # a processor without bf16
        return [name, kind, *["-"] * 4]
    ids = np.random.default_rng(0).integers(len(VOCABULARY), size=CHARACTERS, dtype=np.uint8)
    batches = open_batches(ids, train)

    def updates(count: int) -> float:
        for _ in range(count):
            inputs, targets, fresh = batches.next()
            if fresh:
                learner.reset()
            loss = learner.update(inputs, targets, train.learning_rate)
        return float(loss)  # waits for a GPU

    updates(2)
    began = perf_counter()
    updates(1)
    count = 1 if options.tiny else max(1, round(SECONDS / (perf_counter() - began)))
    product = MatrixProduct(train.precision, 64 if options.tiny else None)
    seconds, products = taking_turns([partial(updates, count), product], options.turns)
    characters = [count * train.batch * train.length / s for s in seconds]
    speeds = [operations(config) * c / 1e12 for c in characters]
    rates = [product.operations / s / 1e12 for s in products]
    share = median(speeds) / median(rates)
    return [name, kind, spread(characters), spread(speeds), spread(rates), f"{share:.1%}"]


class MatrixProduct:
    """Ten products of two square matrices, in the type that such updates multiply in."""

    def __init__(self, precision: str, size: int | None) -> None:
        import torch

        device = load_torchnet().pick_device()
        size = size or (8192 if device.type == "cuda" else 1024)
        kind = torch.float32 if precision == "full" else torch.bfloat16
        self._matrix = torch.randn(size, size, device=device, dtype=kind)
        self.operations = 10 * 2 * size**3

    def __call__(self) -> None:
        """Multiply, and wait for it."""
        for _ in range(10):
            result = self._matrix @ self._matrix
        float(result[0, 0])


def operations(config: RunConfig) -> int:
    """Return how many an update takes for each character."""
    model = config.model
    shapes = weight_shapes(model, len(VOCABULARY))
    matrices = sum(s[0] * s[1] for n, s in shapes.items() if len(s) == 2 and n != "position")
    if not isinstance(model, TransformerConfig):
        return 6 * matrices
    return 6 * matrices + 12 * model.layers * model.width * model.context // 2


def _tiny(config: RunConfig) -> RunConfig:
    model, train = config.model, replace(config.train, batch=2, length=8)
    if isinstance(model, TransformerConfig):
        return replace(config, train=train, model=replace(model, width=12, layers=1, context=8))
    return replace(config, train=train, model=replace(model, hidden=16))


def _named(device: object) -> str:
    import torch

    if getattr(device, "type", "") == "cuda":
        return torch.cuda.get_device_name()
    return f"the processor, {torch.get_num_threads()} threads"
