"""Characters a second written in one lane: against a PyTorch step loop and the reference.

charloom's side is `charloom.generation.sampling.generate`, which is what `charloom sample` calls,
on one thread; PyTorch's, with one thread and with two, is nn.LSTM or nn.GRU a step at a time in
inference mode, Linear, softmax, multinomial.
"""

from collections.abc import Callable
from itertools import product

from charloom.config import ModelConfig
from common import (
    VOCABULARY,
    Options,
    Row,
    by_rate,
    fresh_model,
    has_torch,
    print_rows,
    rates,
    say_torch_is_missing,
    taking_turns,
    use_threads,
    writer,
)
from training import CELLS

HIDDEN = (256, 512)
COMPILED, TORCH, REFERENCE = 20_000, 2_000, 1_000  # characters a turn at 256 units


def show(options: Options) -> None:
    use_threads(1)
    if not has_torch():
        say_torch_is_missing()
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
    seconds = taking_turns([side for side, _ in sides.values()], options.turns)
    speeds = {
        name: rates(length, times)
        for (name, (_, length)), times in zip(sides.items(), seconds, strict=True)
    }
    ours = speeds.pop("compiled")
    what = f"{config.cell.upper()} {config.hidden}"
    return [by_rate(what, ours, other, theirs) for other, theirs in speeds.items()]


def torch_sides(config: ModelConfig, length: int) -> dict[str, tuple[Callable[[], str], int]]:
    from pytorch import Network, write

    network = Network(config, len(VOCABULARY))
    return {
        "PyTorch, 1 thread": (lambda: write(network, VOCABULARY, length, threads=1), length),
        "PyTorch, 2 threads": (lambda: write(network, VOCABULARY, length, threads=2), length),
    }
