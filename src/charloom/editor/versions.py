"""A text that a person and a model write: its versions, each with the one that it came from."""

import secrets
from collections.abc import Iterator
from typing import Literal, NamedTuple

from charloom.config import SampleConfig, replace
from charloom.editor.reader import Reader
from charloom.generation.sampling import generate

COLDEST, HOTTEST, DEGREE = 0.0, 2.0, 0.05  # of the temperature: bounds, and a step
How = Literal["begun", "typed", "written"]


class Version(NamedTuple):
    """A text with the place of the cursor; its own part, `start` to `end`, is new."""

    text: str
    cursor: int
    how: How = "begun"
    start: int = 0
    end: int = 0
    seed: int | None = None  # of what was written


class Draft:
    """The versions of a text, one of which is `now`: typed in, gone on with, undone and redone.

    `seed` is that of the first continuation, and one more for each after it; None is any.
    """

    def __init__(
        self, reader: Reader, text: str, config: SampleConfig, length: int, seed: int | None
    ) -> None:
        self.reader, self.config, self.length = reader, config, length
        self._versions, self._at = [Version(text, len(text))], 0
        self._seed = seed
        self._written: dict[tuple[str, str], list[Version]] = {}  # by the text before and after
        self.saved = text

    @property
    def now(self) -> Version:
        """The version that is shown."""
        return self._versions[self._at]

    def _replace(self, version: Version) -> None:
        self._versions[self._at] = version

    def _add(self, version: Version) -> None:
        self._versions[self._at + 1 :] = [version]
        self._at += 1

    def move(self, place: int) -> None:
        """Put the cursor at a place of the text."""
        now = self.now
        place = max(0, min(place, len(now.text)))
        self._replace(now._replace(cursor=place))

    def type(self, characters: str) -> None:
        """Put in what is typed where the cursor is; each word is a version."""
        now, at = self.now, self.now.cursor
        text = now.text[:at] + characters + now.text[at:]
        end = at + len(characters)
        begins = not characters.isspace() and now.text[at - 1 : at].isspace()
        if now.how == "typed" and now.end == at and now.start < at and not begins:
            self._replace(Version(text, end, "typed", now.start, end))
            del self._versions[self._at + 1 :]
        else:
            self._add(Version(text, end, "typed", at, end))

    def delete(self, count: int) -> None:
        """Take out characters before the cursor, or -count behind it: in a row, one version."""
        now, at = self.now, self.now.cursor
        start, end = max(0, at - max(count, 0)), min(len(now.text), at + max(-count, 0))
        if start == end:
            return
        version = Version(now.text[:start] + now.text[end:], start, "typed", start, start)
        if now.how == "typed" and now.start == now.end == at and self._at:
            self._replace(version)
            del self._versions[self._at + 1 :]
        else:
            self._add(version)

    def go_on(self) -> Iterator[str]:
        """Begin a version that goes on at the cursor; yield pieces, which `add` is to be given."""
        now = self.now
        return self._write(now.text, now.cursor)

    def can_write_another(self) -> bool:
        """Whether what is shown was written last, so that there can be another."""
        return self.now.how == "written"

    def another(self) -> Iterator[str]:
        """Do what `go_on` does in the place of what was written last, which undo brings back."""
        now = self.now
        return self._write(now.text[: now.start] + now.text[now.end :], now.start)

    def _write(self, text: str, at: int) -> Iterator[str]:
        seed = secrets.randbits(32) if self._seed is None else self._seed
        if self._seed is not None:
            self._seed += 1
        self._add(Version(text, at, "written", at, at, seed))
        config = replace(self.config, seed=seed)
        reader = self.reader
        return generate(reader.model, config, reader.known(text[:at]), self.length)

    def add(self, piece: str) -> None:
        """Put a piece at the end of what is written."""
        now, end = self.now, self.now.end + len(piece)
        text = now.text[: now.end] + piece + now.text[now.end :]
        new = now._replace(text=text, cursor=end, end=end)
        self._replace(new)
        known = self._alternatives
        if known and known[-1].seed == now.seed:
            known.pop()
        known.append(new)

    @property
    def _alternatives(self) -> list[Version]:
        """All that was ever written in the place of what is shown, which was written, too."""
        now = self.now
        return self._written.setdefault((now.text[: now.start], now.text[now.end :]), [])

    @property
    def alternative(self) -> tuple[int, int]:
        """Which of the continuations of one text is shown, from 1, and how many there are.

        0, 0 if what is shown was not written last.
        """
        if self.now.how != "written":
            return 0, 0
        seeds = [version.seed for version in self._alternatives]
        return seeds.index(self.now.seed) + 1 if self.now.seed in seeds else 0, len(seeds)

    def turn(self, number: int) -> bool:
        """Show the continuation so many places on, around the last; return whether there is one."""
        place, count = self.alternative
        if count < 2:
            return False
        new = self._alternatives[(place - 1 + number) % count]
        self._add(new._replace(cursor=new.end))
        return True

    def undo(self) -> bool:
        """Go back to the version before; return whether there is one."""
        self._at -= (can := self._at > 0)
        return can

    def redo(self) -> bool:
        """Go on to the version that was undone last; return whether there is one."""
        self._at += (can := self._at + 1 < len(self._versions))
        return can

    def heat(self, degrees: int) -> None:
        """Make the temperature so many steps higher."""
        value = round(self.config.temperature / DEGREE + degrees) * DEGREE
        value = round(max(COLDEST, min(value, HOTTEST)), 2)
        self.config = replace(self.config, temperature=value)

    @property
    def is_saved(self) -> bool:
        """Whether the text is as it was when it was last saved."""
        return self.now.text == self.saved
