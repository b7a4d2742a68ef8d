"""Runs that go on where the disk is full, in a small file system of their own.

    unshare --map-root-user --mount python full_resume.py TEXT FOLDER

mounts a tmpfs at FOLDER, which only this process sees. There a run is stopped, the disk is filled,
and the run is resumed: it diverges at its first step, and some warnings later there is room again.
Prints what became of it as a JSON object.
"""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from charloom.models.reference import ReferenceLearner
from charloom.runs.metrics import Line
from charloom.training import loop as training
from charloom.training import writer
from charloom.training.events import Warned
from small_runs import config_of, outcome, play, stopped


def broken_once():
    """Let the loss of the first update be NaN."""
    update, calls = ReferenceLearner.update, []

    def update_or_break(self, *step):
        calls.append(step)
        return math.nan if len(calls) == 1 else update(self, *step)

    return patch.object(ReferenceLearner, "update", update_or_break)


def full(folder):
    """Fill the disk to the last byte; return the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


def main(text, folder):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    whole = stopped(folder / "whole", config_of(text), 11)
    run = folder / "run"
    shutil.copytree(whole.path, run)
    with broken_once():
        play(whole, resume=True)
    run = type(whole).open(run)
    run.append_metrics(Line(step=12))  # as if it had been killed a step on
    filler, warned = full(folder), []
    with broken_once(), patch.object(training, "RETRY_SECONDS", 0.01):
        for event in training.train(run, resume=True):
            if isinstance(event, Warned):
                warned.append(event.text)
                if len(warned) == 2:
                    filler.unlink()
    print(json.dumps({"warned": warned, "same": outcome(run) == outcome(whole)}))


if __name__ == "__main__":
    writer.RETRY_SECONDS = 0.0
    main(Path(sys.argv[1]), Path(sys.argv[2]))
