"""Which keywords and key phrases of its source a text keeps, loses, and which words it invents."""

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from charloom.analysis.word_counts import (
    LONGEST_PHRASE,
    Frequencies,
    cohesion_g2,
    common_english,
    keyness,
    phrases,
    words,
)
from charloom.data.likeness import REPEATED, repeated
from charloom.data.overlap import code_points
from charloom.errors import CharloomError, needs_extra
from charloom.formatting import printable

LOST_G2 = 6.63  # p < 0.01
KEY_G2 = 15.13  # p < 0.0001
MAX_KEYWORDS = 100  # and as many key phrases
FEWEST = 3  # occurrences of a keyword
STOP_WORDS = 100  # commonest words, with which no phrase begins or ends
ENGLISH_SHARE = 0.25  # of a text's words that are stop words; below, it is hardly English
SIMILARITY = 0.8  # difflib's ratio


@dataclass(frozen=True)
class Keyword:
    """A keyword or key phrase, how often the text and the source have it, and its G2.

    `keyness` is the G2 of a word against general text, that of a phrase for its words standing
    together, or YAKE's score, of which less is better. `change` is the G2 of the text against the
    source: below 0 if the text has relatively less of it.
    """

    word: str
    text: int
    source: int
    keyness: float
    change: float


@dataclass(frozen=True)
class Invented:
    """A word that is not in the source; `listed` if general text has it.

    `near` is the most similar word of the source; "" if none is similar.
    """

    word: str
    text: int
    listed: bool
    near: str


@dataclass(frozen=True)
class Keywords:
    """The keywords of a text beside those of its source.

    `kept` and `lost` are keywords of the source; `unsure` counts those that the text lacks, but
    is too short to have lost; the same for phrases. `new_share` of the text's words are not in
    the source, `real_share` are in the source or in general text; `human_new_share` is of text
    by people (None without, or if that is in the source). `common_share` of the source's words are
    among the 100 commonest.
    """

    text_words: int
    source_words: int
    against: str
    of_text: tuple[Keyword, ...]
    of_source: tuple[Keyword, ...]
    kept: tuple[Keyword, ...]
    lost: tuple[Keyword, ...]
    unsure: int
    kept_phrases: tuple[Keyword, ...]
    lost_phrases: tuple[Keyword, ...]
    unsure_phrases: int
    invented: tuple[Invented, ...]
    invented_words: int
    new_share: float
    real_share: float
    human_new_share: float | None
    common_share: float

    @property
    def is_english(self) -> bool:
        """Whether the source has as many of the commonest words as English has."""
        return self.common_share >= ENGLISH_SHARE


def keywords(
    text: str,
    source: str,
    against: Frequencies | None = None,
    top: int = 20,
    human: str | None = None,
    yake: bool = False,
    names: tuple[str, str] = ("the text", "the source"),
) -> Keywords:
    """Compare the words of `text` with those of `source`; each list has `top` rows at most.

    A keyword is more frequent in the source than in `against`, by default common English
    (`common_english`), with G2 >= 15.13 (p < 0.0001). It is lost if it is less frequent in the
    text than in the source with G2 >= 6.63 (p < 0.01); kept if the text has it and it is not
    lost. Key phrases have two or three words; with `yake` they are those that YAKE finds (Campos
    et al. 2020), which knows English. Raises CharloomError if a text, of these `names`, has no
    words, or YAKE is not installed.
    """
    against = against or common_english()
    here, there = phrases(text), phrases(source)
    own, origin = Counter(words(text)), Counter(words(source))
    for field, name, counts in zip(("text", "source"), names, (own, origin), strict=True):
        if not counts:
            message = f"{printable(name)} has no words to compare: give a text that has some"
            raise CharloomError(message, "no-text", field=field)
    sizes = n, N = own.total(), origin.total()
    stop_words = {*sorted(against.counts, key=lambda w: -against.counts[w])[:STOP_WORDS]}
    of_source = _key_words(origin, own, origin, sizes, against)
    kept, lost, unsure = _split(of_source)
    found = _by_yake(source) if yake else _collocations(there, N, stop_words)
    key_phrases = tuple(_row(" ".join(p), here[p], there[p], g2, sizes) for p, g2 in found)
    kept_phrases, lost_phrases, unsure_phrases = _split(key_phrases)
    new = Counter({word: count for word, count in own.items() if word not in origin})
    people = words(human or "")
    if human and repeated(code_points(source), code_points(human)) >= REPEATED:
        people = []  # they are no new text
    real = n - sum(count for word, count in new.items() if word not in against.counts)
    return Keywords(
        text_words=n,
        source_words=N,
        against=against.name,
        of_text=_key_words(own, own, origin, sizes, against)[:top],
        of_source=of_source[:top],
        kept=kept[:top],
        lost=lost[:top],
        unsure=unsure,
        kept_phrases=kept_phrases[:top],
        lost_phrases=lost_phrases[:top],
        unsure_phrases=unsure_phrases,
        invented=tuple(
            Invented(word, new[word], word in against.counts, _near(word, origin))
            for word in sorted(new, key=lambda word: (-new[word], word))[:top]
        ),
        invented_words=len(new),
        new_share=new.total() / n,
        real_share=real / n,
        human_new_share=sum(w not in origin for w in people) / len(people) if people else None,
        common_share=sum(origin[word] for word in stop_words) / N,
    )


def _key_words(
    ranked: Counter[str],
    own: Counter[str],
    origin: Counter[str],
    sizes: tuple[int, int],
    against: Frequencies,
) -> tuple[Keyword, ...]:
    """Return the keywords of `ranked`, which is one of the other two."""
    total = ranked.total()
    key = {
        word: keyness(count, total, against.count(word), against.total)
        for word, count in ranked.items()
        if count >= FEWEST
    }
    first = sorted((w for w in key if key[w] >= KEY_G2), key=lambda w: (-key[w], w))[:MAX_KEYWORDS]
    return tuple(_row(w, own[w], origin[w], key[w], sizes) for w in first)


def _row(word: str, text: int, source: int, key: float, sizes: tuple[int, int]) -> Keyword:
    return Keyword(word, text, source, key, keyness(text, sizes[0], source, sizes[1]))


def _split(
    rows: tuple[Keyword, ...],
) -> tuple[tuple[Keyword, ...], tuple[Keyword, ...], int]:
    """Return what was kept, what was lost (the most first), and how many are neither."""
    kept = tuple(row for row in rows if row.text and row.change > -LOST_G2)
    lost = sorted((row for row in rows if row.change <= -LOST_G2), key=lambda row: row.change)
    return kept, tuple(lost), len(rows) - len(kept) - len(lost)


def _collocations(
    counts: Counter[tuple[str, ...]], total: int, stop_words: set[str]
) -> list[tuple[tuple[str, ...], float]]:
    """Return the phrases with the highest G2, without those that occur only inside another."""
    key = {
        phrase: cohesion_g2(phrase, counts, total)
        for phrase, count in counts.items()
        if len(phrase) > 1 and count >= FEWEST and not {phrase[0], phrase[-1]} & stop_words
    }
    parts = {
        part
        for phrase in key
        if len(phrase) == LONGEST_PHRASE
        for part in (phrase[1:], phrase[:-1])
        if counts[part] == counts[phrase]
    }
    found = [p for p in key if key[p] >= KEY_G2 and p not in parts]
    return [(p, key[p]) for p in sorted(found, key=lambda p: (-key[p], p))[:MAX_KEYWORDS]]


def check_yake() -> None:
    """Raise CharloomError if yake is not installed."""
    with needs_extra("analysis", "--yake"):
        import yake  # noqa: F401


def _by_yake(source: str) -> list[tuple[tuple[str, ...], float]]:
    check_yake()
    from yake import KeywordExtractor

    extractor = KeywordExtractor(lan="en", n=LONGEST_PHRASE, top=3 * MAX_KEYWORDS)
    found = ((tuple(words(phrase)), score) for phrase, score in extractor.extract_keywords(source))
    return [(p, score) for p, score in found if 1 < len(p) <= LONGEST_PHRASE][:MAX_KEYWORDS]


def _near(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most similar to this one; "" if none is similar."""
    candidates = [other for other in known if abs(len(other) - len(word)) <= 2]
    return next(iter(difflib.get_close_matches(word, candidates, 1, SIMILARITY)), "")
