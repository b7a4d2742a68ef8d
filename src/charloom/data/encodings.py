"""What a file that is not UTF-8 may be instead: advice for whoever reads it, never a decision.

It may be UTF-8 that was cut within a character, or that has some bad bytes, or be in another
encoding: then a library guesses, and how a line reads in its guess is shown beside it.
"""

import codecs
import unicodedata
from typing import BinaryIO, Literal, NamedTuple

from charloom.data.utf8 import REPLACED, convert, quoted
from charloom.errors import CharloomError
from charloom.formatting import count

LOOKED_AT = 2**22  # bytes around the first that is wrong
SAMPLE = 2**14  # bytes of lines that are not ASCII, for the library to guess by
NEARLY = 4  # good characters beyond ASCII, at least, for each bad place in UTF-8
EXCERPT = 24  # characters, at most, that are shown of a line, on either side of the bad byte
FEW = 8  # bytes beyond ASCII, below which the library knows nothing
USUAL = "cp1252"  # of Western texts, which the library often takes for its neighbours
_ASCII = b"ABYZabyz 019.,\n"  # what encodings of files share, but for those of mainframes

Kind = Literal["cut", "nearly", "other", "binary"]


class Clue(NamedTuple):
    """What a file looks like: UTF-8 that was cut, or is `bad` in so many places, or `encodings`.

    Of these the best is first; there may be none. `line` is around the first bad byte, in bytes.
    """

    kind: Kind
    bad: int = 0
    encodings: tuple[str, ...] = ()
    line: bytes = b""

    def __str__(self) -> str:
        """Return what it looks like, and the option to read it with."""
        reads = "train and evaluate read it with"
        match self.kind:
            case "cut":
                cut = "is UTF-8 but for its last character, which is cut off"
                return f"{cut}: {reads} --errors replace"
            case "nearly":
                return f"is UTF-8 but for {count(self.bad, 'place')}: {reads} --errors replace"
            case _ if self.encodings == ("utf-8",):
                return "is UTF-8: leave out --encoding"
            case _ if self.encodings:
                names = " or ".join(name + self._reading(name) for name in self.encodings)
                return f"looks like {names}: {reads} --encoding {self.encodings[0]}"
        return f"is in an encoding that cannot be told: {reads} --encoding NAME"

    def _reading(self, encoding: str) -> str:
        """Return, in brackets, what the line says in an encoding."""
        text = self.line.decode(encoding, "replace").strip()
        middle = next((i for i, character in enumerate(text) if character > "\x7f"), 0)
        text = text[max(0, middle - EXCERPT) : middle + EXCERPT]
        text = "".join(character if character.isprintable() else "?" for character in text)
        return f" ('{text}')" if text else ""


def look(file: BinaryIO, error: CharloomError) -> Clue:
    """Look for the reason of an error of `decode` in the file that it came from."""
    offset = error.facts["offset"]
    assert isinstance(offset, int)
    begin = max(0, offset - LOOKED_AT // 2)
    file.seek(begin)
    data = file.read(LOOKED_AT)
    is_end = not file.read(1)
    if error.facts["byte"] == 0:
        return Clue("binary", encodings=_wide(data))
    while begin and data and 0x80 <= data[0] < 0xC0:  # the rest of a character
        data, begin = data[1:], begin + 1
    at = offset - begin
    line = data[max(data.rfind(b"\n", 0, at) + 1, at - SAMPLE) : at + 4 * EXCERPT].split(b"\n")[0]
    text, known = (
        codecs.getincrementaldecoder("utf-8")(errors).decode(data, is_end)
        for errors in ("replace", "ignore")
    )
    bad = text.count(REPLACED) - known.count(REPLACED)
    good = sum(character > "\x7f" for character in known)
    if good >= NEARLY * bad:
        cut = bad == 1 and is_end and _begins_character(data[at:])
        return Clue("cut" if cut else "nearly" if bad else "other", bad, () if bad else ("utf-8",))
    return Clue("other", bad, _guesses(data), line)


def advised(error: CharloomError, clue: Clue, label: str) -> CharloomError:
    """Return the error with what the file looks like, and what to do."""
    message = f"{error}; it {clue}"
    if clue.kind == "binary" and not clue.encodings:
        message = f"{error}; give a plain text file"
    elif clue.kind == "cut":
        message += f"; head -c {error.facts['offset']} {quoted(label)} > NEW takes that off"
    elif clue.kind == "nearly":
        message += ", or mend it"
    elif clue.encodings != ("utf-8",):
        name = clue.encodings[0].upper() if clue.encodings else "NAME"
        message += f", or {convert(name, label)}"
    facts = error.facts | {"looks": clue.kind, "encodings": clue.encodings, "bad": clue.bad}
    return CharloomError(message, error.code, **facts)


def _begins_character(rest: bytes) -> bool:
    """Whether a file's last bytes are the beginning of a character, and no more."""
    try:
        return codecs.utf_8_decode(rest, "strict", False) == ("", 0)
    except UnicodeDecodeError:
        return False


def _guesses(data: bytes) -> tuple[str, ...]:
    """Return what a library takes for the encoding, and the usual one if that is as likely."""
    from charset_normalizer import from_bytes

    sample = b"".join(line for line in data.splitlines(keepends=True) if not line.isascii())
    sample = sample[: sample.rfind(b"\n", 0, SAMPLE) + 1] or sample[:SAMPLE]
    names = (codecs.lookup(match.encoding).name for match in from_bytes(sample))
    readings = {
        name: sample.decode(name, "replace")
        for name in names
        if _ASCII.decode(name, "replace") == _ASCII.decode()
    }
    found, first = tuple(readings), next(iter(readings.values()), "")
    try:
        usual = sample.decode(USUAL)
    except UnicodeDecodeError:
        usual = ""
    if usual and (not first or first == usual):
        return (USUAL,)
    if usual and sum(byte > 0x7F for byte in sample) < FEW:
        return (USUAL, found[0])
    if usual and _is_latin(first):
        return (found[0], USUAL)
    several = len(first) < len(sample)  # bytes a character: the library mistakes some for others
    return found[: 2 if several else 1]


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c > "\x7f" and c.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(c, "") for c in letters) >= len(letters)


def _wide(data: bytes) -> tuple[str, ...]:
    """Return UTF-16 in the byte order in which it is text, if there is one."""
    found: dict[str, int] = {}
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(data[:SAMPLE], False)
        except UnicodeDecodeError:
            continue
        spaces = sum(map(text.count, " \n\u3000"))
        odd = sum(unicodedata.category(c) in ("Cc", "Cn", "Co") and c not in "\r\n\t" for c in text)
        if spaces and 100 * odd <= len(text):
            found[name] = spaces
    return (max(found, key=lambda name: found[name]),) if found else ()
