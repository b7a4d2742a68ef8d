"""How the files of a text are read: which of them, in what encoding, as what."""

from typing import Literal, NamedTuple, Self

from charloom.config import DataConfig, Errors
from charloom.data.readers import Options

# How texts were read when a run began: "plain" read every file as it is, and nothing that was
# packed; "sorted" had the files of a folder in the order of their characters, too.
Era = Literal["now", "plain", "sorted"]


class Reading(NamedTuple):
    """What a user may ask: an encoding, and whether what is none of it becomes U+FFFD."""

    encoding: str = "utf-8"
    errors: Errors = "strict"
    options: Options = Options()
    era: Era = "now"

    @classmethod
    def of(cls, config: DataConfig) -> Self:
        """Return how the files of a run are read."""
        return cls(config.encoding, config.errors)

    @property
    def recognises(self) -> bool:
        """Whether what is text is looked at for what kind of text it is."""
        return self.era == "now"


UTF8 = Reading()
