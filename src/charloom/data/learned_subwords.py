"""A text in, the subwords that it is cut into out: by byte-pair encoding, or whole words.

Both know the 256 bytes, so that any text can be written in them. They are a tokenizer.json.
"""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from charloom.data.boundary import BOUNDARY
from charloom.data.subwords import Subwords, needs_tokenizers

LEARNED = 10_000_000  # characters that they are learned from, at most: ten seconds
FEWEST, MOST = 512, 8192  # entries of the vocabulary; fewer if the text has not that many
TIMES = 4  # that an entry must be seen, or else too little can be learned of it


def vocabulary_size(characters: int) -> int:
    """Return how many subwords to learn of a training text of so many characters: the root.

    docs/LOG.md has what was measured.
    """
    return max(FEWEST, min(MOST, math.isqrt(characters)))


def learn_subwords(
    pieces: Iterable[str], characters: int, unit: Literal["bpe", "word"], has_boundary: bool
) -> Subwords:
    """Learn the subwords of the first `characters` of a text, which comes in pieces.

    With "bpe" they are what the most frequent pairs are joined to, again and again (Sennrich et
    al. 2016), within words, as in GPT-2 (Radford et al. 2019). With "word" they are the most
    frequent words, each with the space before it; any other is spelled in bytes. The boundary
    between documents is one more. Raises CharloomError if `tokenizers` is not installed.
    """
    with needs_tokenizers():
        from tokenizers import AddedToken, Tokenizer, decoders, models, trainers
        from tokenizers.pre_tokenizers import ByteLevel

    def tokenizer(model: Any) -> Any:
        made = Tokenizer(model)
        made.pre_tokenizer = ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    texts = _first(pieces, min(characters, LEARNED))
    alphabet = sorted(ByteLevel.alphabet())
    size = vocabulary_size(characters)
    settings: dict[str, Any] = {"vocab_size": size, "min_frequency": TIMES, "show_progress": False}
    if unit == "bpe":
        found = tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **settings)
        found.train_from_iterator(texts, trainer)
    else:
        counted = tokenizer(models.WordLevel({}, unk_token=""))
        counted.train_from_iterator(texts, trainers.WordLevelTrainer(**settings))
        words = counted.get_vocab()
        entries = dict.fromkeys([*alphabet, *sorted(words, key=words.__getitem__)])
        numbered = {word: place for place, word in enumerate(islice(entries, size))}
        found = tokenizer(models.BPE(vocab=numbered, merges=[], ignore_merges=True))
    if has_boundary:
        found.add_tokens([AddedToken(BOUNDARY, normalized=False)])
    return Subwords(json.dumps(json.loads(found.to_str())))


def _first(pieces: Iterable[str], characters: int) -> Iterator[str]:
    """Yield the text of the first characters, without boundaries."""
    for piece in pieces:
        yield from filter(None, piece[:characters].split(BOUNDARY))
        characters -= len(piece)
        if characters <= 0:
            return
