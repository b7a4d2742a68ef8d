"""Two models compared: by what they generate, and by what they predict."""

from typing import NamedTuple

import numpy as np

from charloom.config import SampleConfig
from charloom.generation.sampling import generate_many
from charloom.models.protocols import LanguageModel

LENGTH = 200  # characters of each text
TOLERANCE = 1e-3  # nats: rounding to float32 changes log-probabilities by some 1e-5


class Comparison(NamedTuple):
    """How many characters were generated, and how many are equal before the first that is not.

    `difference`, in nats, is the largest between the log-probabilities of the two models.
    """

    characters: int
    same: int
    difference: float

    @property
    def passed(self) -> bool:
        """Whether all is the same except for rounding; NaN is not."""
        return self.same == self.characters and self.difference <= TOLERANCE


def compare(model: LanguageModel, own: LanguageModel) -> Comparison:
    """Generate one text greedily and two side by side with a seed; read all three with both."""
    wanted, text = _generate(own), _generate(model)
    pairs = zip(text, wanted, strict=True)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(wanted))
    ids = own.vocabulary.encode(wanted).reshape(-1, LENGTH)
    log_p, own_log_p = (m.log_probs(ids, m.start(len(ids)))[0] for m in (model, own))
    return Comparison(len(wanted), same, float(np.abs(log_p - own_log_p).max()))


def _generate(model: LanguageModel) -> str:
    greedy = generate_many(model, SampleConfig(temperature=0), length=LENGTH)
    drawn = generate_many(model, SampleConfig(seed=0), length=LENGTH, count=2)
    return "".join(greedy + drawn)
