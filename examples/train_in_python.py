"""Train a model, open it again, score it and generate: what the command line does, in Python.

python examples/train_in_python.py [SOURCE] [MINUTES]
"""

import sys
import tempfile
from pathlib import Path

import charloom
from charloom.training.events import Evaluated


def show(event):
    """Print each validation loss as it is measured; every other event is passed over."""
    if isinstance(event, Evaluated):
        print(f"step {event.step:,}: validation {event.score.nats:.3f} nats per character")


source = sys.argv[1] if len(sys.argv) > 1 else "corpus:us-constitution"
minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1

with tempfile.TemporaryDirectory() as folder:
    run = charloom.train(source, minutes=minutes, out=Path(folder, "run"), on_event=show)
    model = charloom.load(run)
    print(model)
    print(f"{model.evaluate().bits:.3f} bits per character of its validation text")
    for piece in model.stream("We ", length=300, temperature=0.7, seed=1):
        print(piece, end="", flush=True)
    print()
