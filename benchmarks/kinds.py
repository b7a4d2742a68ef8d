"""What loss is good: kinds of text, each guessed, counted and learned, scored on its last tenth.

Of each text the first million characters are taken. All figures are static, and depend on no clock:
the network, mixed with an n-gram model as a run with minutes is, takes a fixed number of steps.
docs/loss.md has what `--json docs/data/losses.json` keeps.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import charloom
from charloom.config import NgramConfig
from charloom.data.text import read_text
from charloom.errors import CharloomError
from charloom.evaluation import evaluate
from charloom.models.ngram import NgramModel
from common import Options, print_table, say

SOURCES = {
    "corpus:us-constitution": "law: the Constitution of the United States",
    "corpus:king-james-bible": "scripture: the King James Bible",
    "corpus:python-source": "source code: Python's library",
    "corpus:state-of-the-union": "speeches: the State of the Union",
    "corpus:python-manual": "a manual: Python's",
    "corpus:tiny-shakespeare": "plays: Shakespeare",
    "corpus:moby-dick": "a novel: Moby Dick",
}
CHARACTERS, STEPS, HIDDEN = 1_000_000, 1_000, 128


def show(options: Options) -> None:
    sources = ["corpus:us-constitution"] if options.tiny else [*SOURCES]
    if options.text:
        sources.append(options.text)
    rows = [row for source in sources if (row := measure(source, options.tiny))]
    columns = ("text", "characters", "different", "guessing", "frequencies", "n-grams", "network")
    cells = [[shown(row[name]) for name in columns] for row in rows]
    print_table("kinds: nats per character on the last tenth, static", columns, cells)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return value if isinstance(value, str) else f"{value:,}"


def measure(source: str, tiny: bool) -> dict[str, Any] | None:
    """Return the figures of one text; None, and a line, if it cannot be had."""
    try:
        content = read_text([source]).content[: 5_000 if tiny else CHARACTERS]
    except CharloomError as error:
        say(f"(without {source}: {error})")
        return None
    steps, hidden = (5, 8) if tiny else (STEPS, HIDDEN)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(content, "utf-8")
        run = charloom.train(
            path,
            out=Path(folder, "run"),
            model="lstm",
            iterations=steps,
            hidden=hidden,
            mixture=0.04,
        )
        data = run.dataset()
        assert data.validation is not None
        network = charloom.load(run).evaluate()
    V, vocabulary = len(run.vocabulary), run.vocabulary
    counted = {
        name: evaluate(
            NgramModel.fit(data.train, vocabulary, NgramConfig(order=order)), data.validation
        ).nats
        for name, order in (("frequencies", 1), ("n-grams", 8))
    }
    row = {
        "source": source,
        "text": SOURCES.get(source, source),
        "characters": len(content),
        "different": V,
        "guessing": math.log(V),
        **counted,
        "network": network.nats,
        "steps": steps,
        "hidden": hidden,
    }
    say(", ".join(f"{name} {shown(value)}" for name, value in row.items()))
    return row
