"""Of a run with several networks, the first: for what shows or writes one network."""

import dataclasses
from typing import Self

from charloom.config import EnsembleConfig, replace
from charloom.models.weights import part_of
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.run import Run, Which


class _First(Run):
    """A run of several networks, read as if it had the first of them alone."""

    _whole: Run

    @classmethod
    def of(cls, run: Run, model: EnsembleConfig) -> Self:
        config = replace(run.config, model=model.network)
        first = cls(run.path, config, run.vocabulary, run.corpus)
        first._whole = run
        return first

    def checkpoint(self, which: Which = "best", weights_only: bool = False) -> Checkpoint:
        found = self._whole.checkpoint(which, weights_only)
        parts = part_of(found.weights, 0), part_of(found.state, 0)
        return dataclasses.replace(found, weights=parts[0], state=parts[1])


def one_network(run: Run) -> Run:
    """Return a run with one network: of several the first, which is to be read and not trained.

    It predicts a little worse than all do together, so whoever shows it should say so.
    """
    model = run.config.model
    return _First.of(run, model) if isinstance(model, EnsembleConfig) else run
