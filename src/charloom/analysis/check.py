"""A text in, what a person would know of it before training on it out: plain rows and advice."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

from charloom.analysis.baselines import Baseline, ngrams
from charloom.config import DataConfig, replace
from charloom.data.boundary import visible
from charloom.data.duplicates import Pair
from charloom.data.inspection import Inspection, across, inspect, sentences
from charloom.data.rare import without_rare
from charloom.data.reading import Reading
from charloom.data.split import Split, arrange, held_out_words, split_text, usual_split
from charloom.data.text import Text, read_text
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.formatting import LN2, count, duration, percent, printable
from charloom.progress import Tell, say_nothing
from charloom.training.planning import plan
from charloom.training.settings import configure

COUNTED, SCORED = 1_000_000, 200_000  # characters of the training and the held-out part, at most
PREDICTED = 2**28  # probabilities that are computed, at most: one for each of V at each character
TOLD_BY = 2_000  # characters of a document that its language is told by
DOCUMENTS_TOLD = 2_000  # at most, evenly spread
RARE_SHOWN = 10  # characters
PARTS_SHOWN = 4  # scripts and languages
LEAST_SHARE = 0.001  # of a script or language that is shown
SURE, NO_LANGUAGE = 0.9, "zxx"  # the least probability; the code of what is in none


class Check(NamedTuple):
    """What is known of a text before training.

    `held_out` says what is held out if nobody asks for anything else; `across` are the pairs of
    documents, by number, of which one is held out and the other learned. `counted` is the n-gram
    model that predicts best what is held out. `languages` has characters by ISO 639 code, and is
    None without the extra `text`. `pace` is how many characters a second the model learns that
    would be chosen for 3 minutes here, None if nothing can be trained, for the reason `too_small`.
    """

    text: Text
    found: Inspection
    held_out: str
    across: list[Pair]
    counted: Baseline | None
    languages: Counter[str] | None
    pace: float | None
    too_small: str


def check(data: DataConfig, tell: Tell = say_nothing) -> Check:
    """Read the text that `data` names and check it; raises CharloomError if it cannot be read.

    It is checked as it is learned, without what `data` leaves out: what stands between lines
    <|endoftext|> is a document.
    """
    tell("reading the text")
    text = read_text(data.sources, tell, Reading.of(data)._replace(boundaries=True))
    text = without_rare(text, data.min_count, tell)
    tell("looking for what is there twice")
    found = inspect(text)
    data = replace(data, boundaries=text.has_boundaries, split=usual_split(text))
    config = replace(configure(data.sources, {}), data=data)
    arranged = arrange(text, config.data, tell)
    split = split_text(arranged.characters, config.data, 1, arranged.layout)
    pace, too_small = None, ""
    try:
        pace = plan(config, set(), arranged, perf_counter(), tell).pace
    except CharloomError as error:
        too_small = str(error)
    return Check(
        text,
        found,
        held_out_words(config.data, arranged.layout),
        across(found, text, arranged, arranged.characters - split.train.stop),
        _counted(arranged, split),
        _languages(text),
        pace,
        too_small,
    )


def _counted(arranged: Text, split: Split) -> Baseline | None:
    held = split.validation or split.test
    if held is None or len(arranged.alphabet) < 2:
        return None
    learned, scored, place = list[str](), list[str](), 0
    most = min(SCORED, max(2, PREDICTED // len(arranged.alphabet)))
    train, held = slice(0, min(split.train.stop, COUNTED)), slice(held.start, held.start + most)
    for piece in arranged.pieces():
        for part, kept in ((train, learned), (held, scored)):
            kept.append(piece[max(0, part.start - place) : max(0, part.stop - place)])
        place += len(piece)
    vocabulary = Vocabulary.from_alphabet(arranged.alphabet, arranged.characters)
    ids = [vocabulary.encode("".join(kept)) for kept in (learned, scored)]
    if min(map(len, ids)) < 2:
        return None
    return min(ngrams(ids[0], ids[1], vocabulary), key=lambda baseline: baseline.nats)


def _languages(text: Text) -> Counter[str] | None:
    """Return how many characters there are in each language, as far as documents are looked at."""
    with suppress(ImportError):
        identifier = _identifier()
        found = Counter[str]()
        every = -(-len(text.parts) // DOCUMENTS_TOLD)
        for part in text.parts[::every]:
            head, length = "", 0
            for piece, _ in part.pieces(Counter()):
                head, length = head + piece[: TOLD_BY - len(head)], length + len(piece)
            language, sure = identifier.classify(visible(head))
            found[language if sure >= SURE and language != NO_LANGUAGE else ""] += length
        return found
    return None


@cache
def _identifier() -> Any:
    """Return what tells languages apart: half a second to unpack, so once. Raises ImportError."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def figures(check: Check) -> Iterator[tuple[str, str]]:
    """Yield what there is in a text, each figure with its name."""
    found = check.found
    sizes, several = sorted(found.lengths), len(found.lengths) > 1
    of = f" in {count(len(sizes), 'document')}" if several else ""
    yield "text", f"{check.text.name}: {count(found.characters, 'character')}{of}"
    if several:
        middle = sizes[len(sizes) // 2]
        yield "documents", f"{sizes[0]:,} to {sizes[-1]:,} characters, half up to {middle:,}"
    yield "lines", f"{found.lines:,}, the longest {count(found.longest.length, 'character')}"
    rare = "".join(printable(c) for c, _ in found.rare[:RARE_SHOWN])
    some = f"; rarest: {rare}" if rare.strip() else ""
    yield "vocabulary", f"{len(found.times):,} different characters{some}"
    if found.scripts:
        yield "scripts", _shares(found.scripts)
    if check.languages:
        yield "languages", _shares(check.languages)
    yield "held out", check.held_out
    if check.counted is not None:
        nats = check.counted.nats
        loss = f"{nats:.3f} nats ({nats / LN2:.3f} bits) per character"
        yield "n-gram model", f"{loss} on what is held out ({check.counted.name})"
    if check.pace is not None:
        seconds = found.characters / check.pace
        shown = duration(seconds) if seconds >= 1 else f"{seconds:.1f} s"
        yield "an epoch", f"about {shown} on this machine, with the model for 3 minutes"
    for note in check.text.notes:
        yield "reading", note


def _shares(times: Counter[str]) -> str:
    total = times.total()
    shown = [
        f"{name or 'other'} {percent(number / total, 1)}"
        for name, number in times.most_common(PARTS_SHOWN)
        if number >= LEAST_SHARE * total
    ]
    return ", ".join(shown)


def advice(check: Check) -> list[str]:
    """Return what to do about a text before training on it, in a sentence each."""
    said = sentences(check.found, check.across)
    if check.too_small:
        said.append(check.too_small)
    return said


def document(check: Check) -> dict[str, Any]:
    """Return a check as plain values for JSON."""
    found, counted = check.found, check.counted
    labels, longest = found.labels, found.longest
    pairs = {"equal": found.equal, "near": found.near, "across": check.across}
    return {
        "text": check.text.name,
        "characters": found.characters,
        "documents": len(labels),
        "lines": found.lines,
        "vocabulary": len(found.times),
        "rare": [{"character": c, "times": n} for c, n in found.rare],
        "controls": dict(found.controls),
        "scripts": dict(found.scripts.most_common()),
        "languages": None if check.languages is None else dict(check.languages.most_common()),
        "long_lines": found.long_lines,
        "longest_line": longest._asdict()
        | {"document": labels[longest.document] if labels else None},
        "boilerplate": [line._asdict() for line in found.boilerplate],
        "passages": [passage._asdict() for passage in found.passages],
        "repeated": found.repeated,
        **{name: [_named(pair, labels) for pair in some] for name, some in pairs.items()},
        "held_out": check.held_out,
        "ngram": None if counted is None else {"name": counted.name, "nats": counted.nats},
        "characters_a_second": check.pace,
        "notes": list(check.text.notes),
        "figures": [*figures(check)],
        "advice": advice(check),
    }


def _named(pair: Pair, labels: Sequence[str]) -> dict[str, Any]:
    first, second, alike = pair
    return {"first": labels[first], "second": labels[second], "likeness": alike}
