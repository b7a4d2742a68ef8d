"""Is the state of an LSTM better zeroed at the boundaries between documents, or carried on?

Run by hand: `python benchmarks/boundaries.py FILE [SEEDS]`; FILE is Karpathy's Tiny Shakespeare.
The same network reads the same batches without boundaries, with them and the state carried over,
and with the state zeroed at each. Nats are all that it pays for held-out documents, boundaries
too, for each visible character.
"""

import random
import statistics
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charloom.config import DataConfig
from charloom.data.boundary import BOUNDARY, MARK
from charloom.data.reading import UTF8
from charloom.data.split import arrange
from charloom.data.text import read_text
from charloom.data.vocabulary import Vocabulary

HIDDEN, BATCH, LENGTH, STEPS, RATE, CLIP = 96, 64, 32, 600, 0.01, 1.0
WARM_UP = 50  # steps
WAYS = ("no boundaries", "state carried", "state zeroed")


def texts(shakespeare: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of a text and its documents."""
    yield "topics of Python's manual", [topics[name] for name in sorted(topics)]
    yield "speeches of Tiny Shakespeare", shakespeare.read_text("utf-8").strip().split("\n\n")
    names = [unicodedata.name(chr(code), "") for code in range(0x20, 0x20000)]
    names = [name for name in names if name and not name.startswith(("CJK", "HANGUL"))]
    yield "names of Unicode's characters", random.Random(0).sample(names, 20_000)


def parts(documents: list[str], seed: int) -> tuple[str, str]:
    """Return what is learned and what is held out, with boundaries, as charloom draws it."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"\n{MARK}\n".join(documents))
        file.flush()
        config = DataConfig(split="documents", split_seed=seed)
        text = arrange(read_text([file.name], reading=UTF8._replace(boundaries=True)), config)
        content = text.content
    assert text.layout is not None
    cut = len(content) - text.layout.validation
    return content[:cut], content[cut:]


class Lstm(nn.Module):
    """One layer, whose state is zeroed before each id `zeroed` that it reads."""

    def __init__(self, V: int, zeroed: int) -> None:
        super().__init__()
        self.inputs = nn.Embedding(V, 4 * HIDDEN)
        self.recurrent = nn.Parameter(torch.randn(HIDDEN, 4 * HIDDEN) * HIDDEN**-0.5)
        self.head, self.zeroed = nn.Linear(HIDDEN, V), zeroed
        nn.init.normal_(self.inputs.weight, std=HIDDEN**-0.5)
        with torch.no_grad():
            self.inputs.weight[:, HIDDEN : 2 * HIDDEN] += 1  # the forget gate

    def forward(self, ids: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read ids (B, T) from the state h, c (B, H): logits (B, T, V), and the state after."""
        x, kept, seen = self.inputs(ids), (ids != self.zeroed).float()[:, :, None], []
        for t in range(ids.shape[1]):
            h, c = h * kept[:, t], c * kept[:, t]  # a boundary is read from a zero state
            i, f, g, o = (x[:, t] + h @ self.recurrent).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            seen.append(h)
        return self.head(torch.stack(seen, 1)), h, c


def lanes(ids: NDArray[np.int32], count: int) -> Tensor:
    """Cut ids (N,) into `count` streams (count, N // count)."""
    return torch.from_numpy(ids[: len(ids) // count * count].reshape(count, -1).astype(np.int64))


def held_out(train: str, held: str, way: str, seed: int) -> float:
    """Train a network and return its nats on held-out text, for each visible character."""
    if way == "no boundaries":
        train, held = train.replace(BOUNDARY, ""), held.replace(BOUNDARY, "")
    vocabulary = Vocabulary.from_text(train + held)
    torch.manual_seed(seed)
    model = Lstm(len(vocabulary), 0 if way == "state zeroed" else -1)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=STEPS, pct_start=WARM_UP / STEPS
    )
    streams, at = lanes(vocabulary.encode(train), BATCH), 0
    h = c = torch.zeros(BATCH, HIDDEN)
    for _ in range(STEPS):
        if at + LENGTH >= streams.shape[1]:
            h, c, at = torch.zeros_like(h), torch.zeros_like(c), 0
        piece = streams[:, at : at + LENGTH + 1]
        logits, h, c = model(piece[:, :-1], h.detach(), c.detach())
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), piece[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        at += LENGTH
    return scored(model, lanes(vocabulary.encode(held), 8), vocabulary)


@torch.no_grad()
def scored(model: Lstm, streams: Tensor, vocabulary: Vocabulary) -> float:
    """Return all nats of ids (B, N) for each of them that people see."""
    h = c = torch.zeros(len(streams), HIDDEN)
    logits, _, _ = model(streams[:, :-1], h, c)
    targets = streams[:, 1:].flatten()
    nats = nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
    unseen = -1 if vocabulary.boundary is None else vocabulary.boundary
    return float(nats) / int((targets != unseen).sum())


def main(shakespeare: Path, seeds: int) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    for name, documents in texts(shakespeare):
        found = dict.fromkeys(WAYS, ())
        for seed in range(seeds):
            train, held = parts(documents, seed)
            for way in WAYS:
                found[way] += (held_out(train, held, way, seed),)
                print(f"{name}, seed {seed}, {way}: {found[way][-1]:.4f}", flush=True)
        half = statistics.median(map(len, documents))
        print(f"\n{name}: {len(documents):,} documents, half up to {half:,.0f} characters")
        for way, nats in found.items():
            gains = [a - b for a, b in zip(nats, found["state carried"], strict=True)]
            print(
                f"  {way:14} {statistics.mean(nats):.4f} ± {statistics.pstdev(nats):.4f}, "
                f"to carried {statistics.mean(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f})"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
