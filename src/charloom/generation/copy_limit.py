"""A limit to copying, for the sampler: at most so many characters in a row from a source."""

import numpy as np

from charloom.config import SampleConfig
from charloom.data.suffix_array import Continuations
from charloom.data.tokenizer import Tokenizer
from charloom.errors import check_at_least
from charloom.generation.draw import draw, filter_weights
from charloom.models.weights import Array


class CopyLimit:
    """At most `most` characters in a row from `source`.

    A character that would make it more is drawn again, with the same settings, from those that
    would not. So up to there a text is the same as without the limit. The text before counts, the
    prompt too: the prompt itself is not changed, but a passage that began in it is not continued
    beyond the limit. If no character is left to draw, the text ends. `redrawn` counts characters
    that were drawn again, and `ended` the texts that ended so.
    `index` is one of the source of the depth `most`, if it was made before. Raises CharloomError if
    `most` < 1 or the source is too long.
    """

    def __init__(self, source: str, most: int, index: Continuations | None = None) -> None:
        check_at_least(1, max_copy=most)
        self.most, self.redrawn, self.ended = most, 0, 0
        self._continuations = index or Continuations(source, most)

    def within(self, written: str, piece: str) -> int:
        """Return how many characters of `piece` may stand after `written`."""
        most = self.most
        text = written[-most:] + piece
        begin = len(text) - len(piece)
        for end in range(max(begin, most), len(text)):
            if self._continuations.holds(text[end - most : end + 1]):
                return end - begin
        return len(piece)

    def redraw(
        self,
        vocabulary: Tokenizer,
        written: str,
        log_probs: Array,
        config: SampleConfig,
        u: float,
        drawn: int,
    ) -> int:
        """Return `drawn`, or, if it may not stand after `written`, another id; -1 if none may.

        `u` is what it was drawn with. Raises what `charloom.generation.draw.draw` raises.
        """
        if self.within(written, vocabulary.decode([drawn])):
            return drawn
        after = self._continuations.after(written[-self.most :])
        copied = [vocabulary.characters.index(c) for c in after if c in vocabulary.characters]
        if vocabulary.boundary is not None and "\n" in after:  # as which it is seen
            copied.append(vocabulary.boundary)
        left = np.array(log_probs, np.float64)
        left[copied] = -np.inf
        if left.max() == -np.inf:
            self.ended += 1
            return -1
        self.redrawn += 1
        return draw(left, config, _rest(log_probs, config, u, drawn))


def _rest(log_probs: Array, config: SampleConfig, u: float, drawn: int) -> float:
    """Return where u is within the share of the id that was drawn with it, from 0 to 1.

    All that is known of u is that it led to this id, so this is uniform, too. A model that drew
    it may have rounded otherwise, so that here the filters leave the id no share: then it is u.
    """
    sums = np.cumsum(filter_weights(log_probs, config))
    below = sums[drawn - 1] if drawn else 0.0
    share = sums[drawn] - below
    rest = (u * sums[-1] - below) / share if share else u
    return float(min(max(rest, 0.0), 1 - 2**-53))
