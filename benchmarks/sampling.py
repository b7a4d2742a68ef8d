"""Characters a second written in one lane: against PyTorch, JAX and the reference.

charloom's side is `charloom.generation.sampling.generate`, which is what `charloom sample` calls,
on one thread; PyTorch's, with one thread and with two, is nn.LSTM or nn.GRU a step at a time in
inference mode, Linear, softmax, multinomial. JAX's, where it is installed, is one compiled scan of
the same weights, on one thread. On a processor with AMX charloom also multiplies in bf16.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import product

from charloom.config import ModelConfig
from charloom.models.engines import create_model, has_amx
from charloom.models.weights import initial_weights
from common import (
    VOCABULARY,
    Options,
    Row,
    by_rate,
    fresh_model,
    has_torch,
    print_rows,
    rates,
    say,
    say_torch_is_missing,
    taking_turns,
    use_threads,
    writer,
)
from training import CELLS

HIDDEN = (256, 384, 512)
# Characters a turn at 256 units.
COMPILED, TORCH, JAX, REFERENCE = 20_000, 2_000, 10_000, 1_000


def show(options: Options) -> None:
    use_threads(1)
    if not has_torch():
        say_torch_is_missing()
    if find_spec("jax") is None:
        say("(JAX is not installed, so nothing is measured against it: pip install jax)")
    if not has_amx():
        say("(this processor has no AMX, so nothing is measured in bf16)")
    sizes = product(CELLS, (16,) if options.tiny else HIDDEN)
    configs = [ModelConfig(cell=c, layers=1, hidden=H, embedding=64) for c, H in sizes]
    title = "sampling, characters/s: one layer, one lane, embedding 64, 65 characters, 1 thread"
    print_rows(f"{title}, {options.turns} turns", [r for c in configs for r in rows(c, options)])


def rows(config: ModelConfig, options: Options) -> list[Row]:
    share = 0.02 if options.tiny else (256 / config.hidden) ** 2
    sides: dict[str, tuple[Callable[[], str], int]] = {}
    for name, length in (("compiled", COMPILED), ("reference", REFERENCE)):
        length = int(share * length)
        sides[name] = writer(fresh_model(config, VOCABULARY, name), length), length
    if has_torch():
        sides |= torch_sides(config, int(share * TORCH))
    if find_spec("jax") is not None:
        sides["JAX scan"] = jax_side(config, int(share * JAX)), int(share * JAX)
    if has_amx():
        weights = initial_weights(config, len(VOCABULARY), 0)
        halves = create_model(config, weights, VOCABULARY, "compiled", precision="bf16")
        sides["compiled, bf16"] = writer(halves, int(share * COMPILED)), int(share * COMPILED)
    seconds = taking_turns([side for side, _ in sides.values()], options.turns)
    speeds = {
        name: rates(length, times)
        for (name, (_, length)), times in zip(sides.items(), seconds, strict=True)
    }
    ours = speeds.pop("compiled")
    what, halves = f"{config.cell.upper()} {config.hidden}", speeds.pop("compiled, bf16", None)
    found = [by_rate(what, ours, other, theirs) for other, theirs in speeds.items()]
    if halves is not None:
        found.append(by_rate(f"{what}, bf16", halves, "float32", ours))
    return found


def jax_side(config: ModelConfig, length: int) -> Callable[[], str]:
    from jax_scan import weights_of, write

    return partial(write, config, weights_of(config, VOCABULARY), VOCABULARY, length)


def torch_sides(config: ModelConfig, length: int) -> dict[str, tuple[Callable[[], str], int]]:
    from pytorch import Network, write

    network = Network(config, len(VOCABULARY))
    return {
        "PyTorch, 1 thread": (lambda: write(network, VOCABULARY, length, threads=1), length),
        "PyTorch, 2 threads": (lambda: write(network, VOCABULARY, length, threads=2), length),
    }
