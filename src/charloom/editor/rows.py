"""A text in, the rows in which a window shows it out: wrapped at spaces."""

from bisect import bisect_right
from collections.abc import Callable


class Rows:
    """Where each row of a text begins and ends; `ends` leave line ends and nothing else out.

    `cells` is how wide a character is. A row has less than `width` cells, so that there is room for
    the cursor behind it, but for a space at its end, or if no character is narrow enough.
    """

    def __init__(self, text: str, width: int, cells: Callable[[str], int]) -> None:
        self.starts, self.ends = [0], list[int]()
        room, word, used = max(1, width - 1), 0, 0  # where the last word begins; cells of the row
        for place, character in enumerate(text):
            if character == "\n":
                self._end(place, place + 1)
                word, used = place + 1, 0
                continue
            wide = cells(character)
            if used + wide > room + (character == " ") and place > self.starts[-1]:
                cut = word if word > self.starts[-1] else place
                self._end(cut, cut)
                word, used = cut, sum(map(cells, text[cut:place]))
            used += wide
            if character == " ":
                word = place + 1
        self.ends.append(len(text))

    def _end(self, end: int, start: int) -> None:
        self.ends.append(end)
        self.starts.append(start)

    def __len__(self) -> int:
        return len(self.starts)

    def find(self, place: int) -> tuple[int, int]:
        """Return the row and the column, in characters, of a place of the text."""
        row = bisect_right(self.starts, place) - 1
        return row, place - self.starts[row]

    def place(self, row: int, column: int) -> int:
        """Return the place of the text in that row, at that column or before it."""
        row = max(0, min(row, len(self) - 1))
        last = self.ends[row]
        if row + 1 < len(self) and last == self.starts[row + 1]:
            last -= 1  # there the next row begins
        return min(self.starts[row] + column, max(last, self.starts[row]))
