"""How the files of a text are read: which of them, in what encoding, and as what."""

from collections.abc import Collection
from typing import Literal, NamedTuple, Self

from charloom.config import DETECT, DataConfig, Errors, Normalize
from charloom.data.readers import Options

# How texts were read when a run began: "plain" read every file as it is, and nothing that was
# packed; "sorted" had the files of a folder in the order of their characters, too.
Era = Literal["now", "plain", "sorted"]
EARLY: tuple[Era, ...] = ("plain", "sorted")


class Reading(NamedTuple):
    """What a user may ask: see `DataConfig`."""

    encoding: str = "utf-8"
    errors: Errors = "strict"
    options: Options = Options()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    plain: bool = False
    allow_private: bool = False
    boundaries: bool = False
    raw: bool = False
    normalize: Normalize = "none"
    dedupe: bool = False
    drop_boilerplate: bool = False
    era: Era = "now"

    @classmethod
    def of(cls, config: DataConfig) -> Self:
        """Return how the files of a run are read."""
        options = Options(
            config.columns,
            config.keep_front_matter,
            config.pages,
            config.labels,
            config.encoding,
            config.normalize,
            config.fix_mojibake,
        )
        return cls(
            config.encoding,
            config.errors,
            options,
            config.include,
            config.exclude,
            config.plain,
            config.allow_private,
            config.boundaries,
            config.raw,
            config.normalize,
            config.dedupe,
            config.drop_boilerplate,
        )

    @classmethod
    def like(cls, configs: Collection[DataConfig]) -> Self:
        """Return how another text is read for runs: as theirs, if they agree.

        It is in UTF-8, whatever theirs were in, unless they had that detected.
        """
        bounded = all(config.boundaries for config in configs)
        found = {cls.of(config)._of_another()._replace(boundaries=bounded) for config in configs}
        return found.pop() if len(found) == 1 else cls()

    def _of_another(self) -> Self:
        encoding = DETECT if self.encoding == DETECT else "utf-8"
        options = self.options._replace(encoding=encoding)
        return self._replace(encoding=encoding, errors="strict", options=options)

    @property
    def recognises(self) -> bool:
        """Whether what is text is looked at for what kind of text it is."""
        return self.era == "now" and not self.plain and not self.raw

    @property
    def selects(self) -> bool:
        """Whether some documents, or lines of them, are left out for what others say."""
        return (self.dedupe or self.drop_boilerplate) and not self.raw


UTF8 = Reading()
