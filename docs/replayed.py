"""Take what `charloom replay --all` came to into docs/data: figures, samples and curves.

python docs/replayed.py [FOLDER]

FOLDER is runs/replay, where the command leaves it; its page is not needed. docs/make.py fills
docs/presets.md and the README from docs/data/replay.json and curves.json, which this writes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from charloom.analysis.curves import Curve, curve
from charloom.runs.run import Run
from charloom.training.replay import CURVES, FIGURES

DATA = Path(__file__).parent / "data"
POINTS = 10  # of a curve in a table


def main(folder: Path) -> None:
    """Write both files of what is in a folder."""
    figures = json.loads((folder / FIGURES).read_text("utf-8"))
    write("replay", figures)
    runs = [folder / name for name in CURVES if (folder / name).exists()]
    write("curves", [told(curve(Run.open(run))) for run in runs])


def told(found: Curve) -> dict[str, Any]:
    """Return some points of a curve, the first and the last among them, and the last sample."""
    scored = [point for point in found.points if point.held_out is not None]
    scored = scored or [*found.points]
    every = max(1, (len(scored) - 1) // (POINTS - 1))
    chosen = scored[::-every][::-1]
    best = found.best
    return {
        "name": found.name,
        "model": found.model,
        "ended": found.final is not None,
        "best": None if best is None else {"step": best.step, "validation": best.held_out},
        "points": [[point.step, point.training, point.held_out] for point in chosen],
        "sample": found.samples[-1].text if found.samples else None,
    }


def write(name: str, document: Any) -> None:
    """Write a document as a file of docs/data."""
    content = json.dumps(document, indent=1, ensure_ascii=False)
    (DATA / f"{name}.json").write_text(content + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/replay"))
