"""Which key words and phrases of its source a text kept, which it lost, which words it invented."""

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from charloom.analysis.word_counts import (
    LONGEST_PHRASE,
    Frequencies,
    common_english,
    keyness,
    phrases,
    togetherness,
    words,
)
from charloom.errors import CharloomError

SURE = 6.63  # of a G2: p < 0.01
KEY = 15.13  # p < 0.0001
CANDIDATES = 100  # key words, and key phrases, that are looked for
FEWEST = 3  # times that a key word comes
GRAMMAR = 100  # commonest words, with which no phrase begins or ends
ENGLISH = 0.25  # of a text's words among those, or it is hardly English
NEAR = 0.8  # difflib's ratio

Phrases = Counter[tuple[str, ...]]


@dataclass(frozen=True)
class Keyword:
    """A key word or phrase, how often it comes, and its G2.

    `keyness` is that against the general list; of a phrase, that of its words standing together;
    by YAKE, what YAKE gives, and less is more. `change` is that of the text against the source:
    below 0 where the text has less of it.
    """

    word: str
    text: int
    source: int
    keyness: float
    change: float


@dataclass(frozen=True)
class Invented:
    """A word that is not in the source; `listed` where the general list has it.

    `near` is the word of the source that is most like it; "" where none is.
    """

    word: str
    text: int
    listed: bool
    near: str


@dataclass(frozen=True)
class Keywords:
    """The key words of a text beside those of its source.

    `kept` and `lost` are of the source's key words, and `unsure` counts those that the text is too
    short to have lost; the same of phrases. `new_share` of the text's words are in no source,
    `real_share` in the source or on the general list, `human_new_share` is of text by people
    (None without). `common_share` of the source's words are among the 100 commonest of the list.
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


def keywords(
    text: str,
    source: str,
    against: Frequencies | None = None,
    top: int = 20,
    human: str | None = None,
    yake: bool = False,
) -> Keywords:
    """Compare the words of `text` with those of `source`; each list has `top` rows at most.

    Key words are those of which the source has more than `against`, by default common English
    (`common_english`), with G2 >= 15.13 (p < 0.0001). A key word is lost where the text has less
    of it than the source with G2 >= 6.63 (p < 0.01); kept where it comes and is not lost. Key
    phrases are two or three words; with `yake` those that YAKE finds (Campos et al. 2020), which
    knows English. Raises CharloomError where a text has no words, or `yake` is not installed.
    """
    against = against or common_english()
    here, there = phrases(text), phrases(source)
    own, origin = Counter(words(text)), Counter(words(source))
    for name, counts in (("text", own), ("source", origin)):
        if not counts:
            raise CharloomError(f"the {name} has no words: there is nothing to compare")
    sizes = n, N = own.total(), origin.total()
    grammar = _commonest(against)
    of_source = _key_words(origin, own, origin, sizes, against)
    kept, lost, unsure = _split(of_source)
    found = _by_yake(source) if yake else _by_togetherness(there, N, grammar)
    key_phrases = _phrase_rows(found, here, there, sizes)
    kept_phrases, lost_phrases, unsure_phrases = _split(key_phrases)
    new = Counter({word: count for word, count in own.items() if word not in origin})
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
        invented=_invented(new, origin, against, top),
        invented_words=len(new),
        new_share=new.total() / n,
        real_share=real / n,
        human_new_share=_new_share(human, origin),
        common_share=sum(origin[word] for word in grammar) / N,
    )


def _commonest(against: Frequencies) -> set[str]:
    return set(sorted(against.counts, key=lambda word: -against.counts[word])[:GRAMMAR])


def _key_words(
    ranked: Counter[str],
    own: Counter[str],
    origin: Counter[str],
    sizes: tuple[int, int],
    against: Frequencies,
) -> tuple[Keyword, ...]:
    """The words of `ranked`, which is one of the other two, that are more than elsewhere."""
    total = ranked.total()
    key = {
        word: keyness(count, total, against.count(word), against.total)
        for word, count in ranked.items()
        if count >= FEWEST
    }
    first = sorted((w for w in key if key[w] >= KEY), key=lambda w: (-key[w], w))[:CANDIDATES]
    return tuple(_row(w, own[w], origin[w], key[w], sizes) for w in first)


def _row(word: str, text: int, source: int, key: float, sizes: tuple[int, int]) -> Keyword:
    return Keyword(word, text, source, key, keyness(text, sizes[0], source, sizes[1]))


def _split(
    rows: tuple[Keyword, ...],
) -> tuple[tuple[Keyword, ...], tuple[Keyword, ...], int]:
    """What was kept, what was lost, most of it first, and how many are neither."""
    kept = tuple(row for row in rows if row.text and row.change > -SURE)
    lost = sorted((row for row in rows if row.change <= -SURE), key=lambda row: row.change)
    return kept, tuple(lost), len(rows) - len(kept) - len(lost)


def _by_togetherness(
    counts: Phrases, total: int, grammar: set[str]
) -> list[tuple[tuple[str, ...], float]]:
    """The phrases whose words stand together most; none that is but a part of another."""
    key = {
        phrase: togetherness(phrase, counts, total)
        for phrase, count in counts.items()
        if len(phrase) > 1 and count >= FEWEST and not {phrase[0], phrase[-1]} & grammar
    }
    parts = {
        part
        for phrase in key
        if len(phrase) == LONGEST_PHRASE
        for part in (phrase[1:], phrase[:-1])
        if counts[part] == counts[phrase]
    }
    found = [p for p in key if key[p] >= KEY and p not in parts]
    return [(p, key[p]) for p in sorted(found, key=lambda p: (-key[p], p))[:CANDIDATES]]


def _by_yake(source: str) -> list[tuple[tuple[str, ...], float]]:
    try:
        from yake import KeywordExtractor
    except ImportError:
        raise CharloomError(
            "YAKE is not installed: leave out --yake, or pip install 'charloom[analysis]'"
        ) from None
    extractor = KeywordExtractor(lan="en", n=LONGEST_PHRASE, top=3 * CANDIDATES)
    found = ((tuple(words(phrase)), score) for phrase, score in extractor.extract_keywords(source))
    return [(p, score) for p, score in found if 1 < len(p) <= LONGEST_PHRASE][:CANDIDATES]


def _phrase_rows(
    found: Iterable[tuple[tuple[str, ...], float]],
    here: Phrases,
    there: Phrases,
    sizes: tuple[int, int],
) -> tuple[Keyword, ...]:
    return tuple(_row(" ".join(p), here[p], there[p], score, sizes) for p, score in found)


def _invented(
    new: Counter[str], origin: Counter[str], against: Frequencies, top: int
) -> tuple[Invented, ...]:
    first = sorted(new, key=lambda word: (-new[word], word))[:top]
    return tuple(Invented(w, new[w], w in against.counts, _near(w, origin)) for w in first)


def _near(word: str, known: Iterable[str]) -> str:
    """Return the word that is most like this one, if any is like it."""
    candidates = [other for other in known if abs(len(other) - len(word)) <= 2]
    return next(iter(difflib.get_close_matches(word, candidates, 1, NEAR)), "")


def _new_share(human: str | None, origin: Counter[str]) -> float | None:
    found = words(human or "")
    return sum(word not in origin for word in found) / len(found) if found else None
