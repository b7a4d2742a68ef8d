"""How much of a test text is in a training text: what a model remembers it need not predict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from charloom.analysis.inputs import decode
from charloom.config import PretrainedConfig
from charloom.data.dataset import split_of
from charloom.data.overlap import code_points, overlap
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.files import damaged
from charloom.runs.run import Run

REPORTED_SHARE = 0.01  # of a text in the training text, from which on it is reported
# Share from which on a loss measures memory more than prediction. Human texts repeat some
# formulas: 7% of the end of the Constitution is in what comes before.
CONTAMINATED_SHARE = 0.2
DECODED_IDS = 2**20  # at once


@dataclass
class TrainingText:
    """A training text as ids (N,), and the `names` of the runs that were trained on it.

    `overlap` is the share of the text to score that is in it.
    """

    tokenizer: Tokenizer
    ids: Ids
    names: list[str]
    overlap: float = 0.0

    def pieces(self) -> Iterator[str]:
        """Yield all of it, a piece at a time."""
        for start in range(0, len(self.ids), DECODED_IDS):
            yield decode(self.tokenizer, self.ids[start : start + DECODED_IDS])


def training_texts(
    called: Mapping[Run | Path, str], text: str
) -> tuple[list[TrainingText], list[str]]:
    """Return what runs, and those that they began with, were trained on, and how much is `text`.

    Those of the first run come first; each run is `called` by its name. Also returns sentences on
    what cannot be known.
    """
    found: dict[tuple[str, int], TrainingText] = {}
    notes: list[str] = []
    for run, name in called.items():
        try:
            for one in _lineage(run):
                key = one.corpus.sha256, split_of(one.corpus, one.config).train.stop
                if key not in found:
                    found[key] = TrainingText(one.vocabulary, one.parts().train, [])
                if name not in found[key].names:  # it may go on with the text of the one before
                    found[key].names.append(name)
        except CharloomError as error:
            notes.append(f"part of the training text of {name} cannot be read: {error}")
        if not isinstance(run, Run) or isinstance(run.config.model, PretrainedConfig):
            notes.append(f"the text that {name} was pretrained on is not known")
    for training in found.values():
        training.overlap = overlap(code_points(text), map(code_points, training.pieces()))
    return [*found.values()], notes


def warning(training: TrainingText, runs: int) -> str:
    """Return that the text to score was trained on, of so many `runs`; empty if it was not."""
    if training.overlap < REPORTED_SHARE:
        return ""
    share = "all" if training.overlap > 0.9995 else f"{100 * training.overlap:.0f}%"
    whose = "these runs" if 1 < runs == len(training.names) else " and ".join(training.names)
    if training.overlap < CONTAMINATED_SHARE:
        effect = "that share may be memorised rather than predicted"
    else:
        effect = "figures marked * measure memory more than prediction"
    return f"{share} of this text appears word for word in the training text of {whose}: {effect}"


def _lineage(run: Run | Path) -> Iterator[Run]:
    """Yield the run, the one whose weights it began with, and so on; raises CharloomError."""
    seen: set[Path] = set()
    while isinstance(run, Run):
        yield run
        seen.add(run.path.resolve())
        if (start := run.config.start) is None:
            return
        run = Run.open(start)
        if run.path.resolve() in seen:
            reason = f"it says that the run began with its own weights, those of {start}"
            raise damaged(run.path / "config.json", reason)
