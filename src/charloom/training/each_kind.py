"""One run of each kind of model on one text, for `compare --budget` to put side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charloom.config import replace
from charloom.data.learned import kind_of_folder
from charloom.data.reading import Reading
from charloom.data.split import arrange, split_text, usual_split
from charloom.data.text import Text, read_text
from charloom.errors import CharloomError
from charloom.files import unwritable
from charloom.formatting import count
from charloom.models.engines import has_torch
from charloom.progress import Tell, say_nothing
from charloom.training.events import Event, Finished
from charloom.training.loop import train
from charloom.training.planning import prepare
from charloom.training.settings import configure, folders

KINDS = ("ngram", "rnn", "lstm", "gru")
WITH_TORCH = ("transformer",)


class Series(NamedTuple):
    """Runs to train, in folders of `home` named after their `kinds`; minutes are for each.

    `given` are settings of all of them.
    """

    sources: tuple[str, ...]
    text: Text
    kinds: tuple[str, ...]
    minutes: float
    home: Path
    given: Mapping[str, Any]


class LeftOut(NamedTuple):
    """A kind without a model to compare: its folder, and why."""

    path: Path
    error: CharloomError


def plan_each_kind(
    sources: Sequence[str], minutes: float, given: Mapping[str, Any], tell: Tell = say_nothing
) -> Series:
    """Return the runs to train on a text; raises CharloomError if it is too short to compare on.

    `given` are settings of how the text is read.
    """
    for name in sources:
        if kind := kind_of_folder(Path(name)):
            message = f"{name} is {kind}, and --budget is for a text: leave it out"
            raise CharloomError(message, "bad-setting", path=name)
    data = configure(sources, given).data
    text = read_text(sources, tell, Reading.of(data)._replace(boundaries=True))
    data = replace(data, split=usual_split(text))
    text = arrange(text, data, tell)
    if split_text(text.characters, data, 1, text.layout).validation is None:
        message = (
            f"{text.name} has {count(text.characters, 'character')}, too few for a validation "
            "part: give more"
        )
        raise CharloomError(message, "no-text", found=text.characters)
    kinds = KINDS + (WITH_TORCH if has_torch() else ())
    return Series(tuple(sources), text, kinds, minutes, _new_home(sources), given)


def _new_home(sources: Sequence[str]) -> Path:
    """Make a folder for the runs, which no other process has."""
    for home in folders(sources, "compare-{text}"):
        try:
            home.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(home, error) from error
        return home
    raise AssertionError("there is no last name")


def train_each_kind(
    series: Series, tell: Tell = say_nothing
) -> Iterator[tuple[str, Event | LeftOut]]:
    """Train the runs one after the other, and pass on each kind's events.

    A signal ends the run at hand and the series. A kind that cannot be trained is left out: what
    others have learned is not lost.
    """
    for kind in series.kinds:
        for event in _train(series, kind, tell):
            yield kind, event
        if isinstance(event, Finished) and event.signal is not None:
            return


def _train(series: Series, kind: str, tell: Tell) -> Iterator[Event | LeftOut]:
    def tell_of_kind(text: str) -> None:
        tell(f"{kind}: {text}")

    given = {**series.given, "model": kind} | (
        {} if kind == "ngram" else {"minutes": series.minutes}
    )
    folder, text = series.home / kind, series.text
    try:
        run, _, began = prepare(series.sources, given, folder, text=text, tell=tell_of_kind)
        yield from train(run, began=began)
    except CharloomError as error:
        yield LeftOut(folder, error)
