"""What a report asks the studies of one run: what it writes, and how it reads a text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from charloom.analysis.keywords import Keywords, keywords
from charloom.analysis.neurons import Neurons, neurons
from charloom.analysis.novelty import Novelty, novelty
from charloom.analysis.surprise import Surprise, surprise
from charloom.analysis.texts import Material, held_out_text
from charloom.analysis.texts import gather as material_of
from charloom.data.text import Text
from charloom.errors import CharloomError
from charloom.formatting import extent
from charloom.progress import Tell
from charloom.runs.open import open_model
from charloom.runs.run import Run

T = TypeVar("T")
READ = 4_000  # characters that surprise and neurons are shown on
WORDS = 12  # in each list of words


@dataclass(frozen=True)
class Part(Generic[T]):
    """What a section shows, or, where that is None, `why` it shows nothing."""

    found: T | None
    why: str = ""


@dataclass(frozen=True)
class Studies:
    """What the studies found of one run; `source` says in few words which text it read."""

    material: Part[Material]
    novelty: Part[Novelty]
    keywords: Part[Keywords]
    source: str
    surprise: Part[Surprise]
    neurons: Part[Neurons]


def attempt(look: Callable[[], T]) -> Part[T]:
    """Return what a look finds, or why it finds nothing."""
    try:
        return Part(look())
    except CharloomError as error:
        return Part(None, str(error))


def study(run: Run, name: str, text: Text | None, tell: Tell) -> Studies:
    """Let a run write, and read `text` with it, or, without one, the beginning of what it held out.

    What a study cannot do says why.
    """
    tell(f"{name}: letting it write, and looking for copies")
    written = attempt(lambda: material_of(str(run.path)))
    own, held_out = written.found, attempt(lambda: held_out_text(run)).found or ""
    content = held_out[:READ] if text is None else text.head(READ)
    whole = len(held_out) if text is None else text.characters
    tell(f"{name}: reading with it, character by character")
    return Studies(
        material=written,
        novelty=_of(own, written.why, lambda m: novelty(m.text, m.source, m.human or None)),
        keywords=_of(own, written.why, lambda m: keywords(m.text, m.source, top=WORDS)),
        source=extent("held-out text" if text is None else text.name, len(content), whole),
        surprise=_reading(run, content, lambda: surprise(open_model(run), content)),
        neurons=_reading(run, content, lambda: neurons(run, content)),
    )


def _of(material: Material | None, why: str, look: Callable[[Material], T]) -> Part[T]:
    return Part(None, why) if material is None else attempt(lambda: look(material))


def _reading(run: Run, content: str, look: Callable[[], T]) -> Part[T]:
    if not content:
        why = f"{run.path} held no text out of training to read: name one with --text."
        return Part(None, why)
    return attempt(look)
