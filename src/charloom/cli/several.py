"""A command that torchrun started several times: rank 0 runs it, the others help it train."""

import sys
from collections.abc import Callable, Collection
from pathlib import Path

from charloom.cli.text import echo_note
from charloom.config import RunConfig, differences
from charloom.distributed import Place, end_with_parent
from charloom.errors import CharloomError
from charloom.formatting import listed
from charloom.models.engines import load_torchnet
from charloom.runs.run import Run
from charloom.training.recipe import CHOSEN

TRAINING = ("train", "resume")


def run(command: Callable[[], None], here: Place, arguments: Collection[str]) -> None:
    """Run the command on rank 0; the others help it if it trains, and else end."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    if name not in TRAINING:
        if here.rank == 0:
            command()
        return
    end_with_parent(here.rank)
    try:
        torchnet = load_torchnet()
    except CharloomError as error:
        if here.rank == 0:
            echo_note(error)
        sys.exit(error.status)
    torchnet.run_on_ranks(command, here.rank)


def begun(out: Path | None, asked: RunConfig, given: Collection[str]) -> Run | None:
    """Return the run that this very command began before torchrun started it again.

    None if there is none. What had been chosen for the run stays. Raises CharloomError if a
    command with other settings began it.
    """
    if out is None:
        message = "under torchrun give --out RUN: a restart must find the run again"
        raise CharloomError(message, field="out")
    if not (out / "config.json").exists():
        return None
    run = Run.open(out)
    free = {
        name.replace("_", "-") for name in {*CHOSEN, "split", "iterations", "epochs"} - {*given}
    }
    changed = [line for line in differences(run.config, asked) if line.split()[0] not in free]
    if run.config.data.sources != asked.data.sources:
        changed.append(f"text was {listed(run.config.data.sources)}")
    if changed:
        raise CharloomError(
            f"{out} holds a run with other settings: {'; '.join(changed)}; choose another folder",
            "other-settings",
            path=str(out),
            changed=[line.split()[0] for line in changed],
        )
    return run
