"""What a file that is not UTF-8 may be instead: advice, or what it is read as, with a note.

It may be UTF-8 that was cut within a character, or that has some bad bytes, or be in another
encoding: then a library guesses, and how a line reads in its guess is shown beside it.
"""

import codecs
import re
import unicodedata
from collections import Counter
from functools import partial
from typing import BinaryIO, Literal, NamedTuple

from charloom.data.readers import Guess
from charloom.data.reading import UTF8, Reading
from charloom.data.utf8 import REPLACED, convert, decode, quoted
from charloom.errors import CharloomError
from charloom.formatting import count

LOOKED_AT = 2**22  # bytes around the first that is wrong
SAMPLE = 2**16  # bytes that the library guesses by: of more, it gets lines that are not ASCII
TIED = 0.99  # of the best score, from which on a guess is as likely: see docs/LOG.md
FEW = 4  # bytes beyond ASCII, below which no guess is sure
USUAL = "cp1252"  # of Western texts
NEARLY = 4  # good characters beyond ASCII, at least, for each bad place in UTF-8
LONGEST = 2**14  # bytes of a line before the first that is wrong
EXCERPT = 24  # characters, at most, that are shown of a line, on either side of the bad byte
# What files are in. Of those that read a text alike, the first is told: it has most characters.
COMMON = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp932", "gb18030", "cp949", "big5hkscs", "cp874", "euc_jis_2004", "iso2022_jp_2"),
    *("shift_jis_2004", "koi8-r", "koi8-u", "iso8859-15", "iso8859-1", "iso8859-2", "iso8859-5"),
    *("iso8859-7", "iso8859-8", "iso8859-9", "iso8859-13", "tis-620", "cp866", "cp850", "cp852"),
    *("cp858", "cp855", "cp857", "cp437", "mac-roman"),
)
_PYTHONS_OWN = {name for name in COMMON if "mac" in name or "_2" in name}  # iconv has other names
_CONTROL = re.compile("[\x80-\x9f]")  # which are in no text

Kind = Literal["cut", "nearly", "other", "binary"]


class Clue(NamedTuple):
    """What a file looks like: UTF-8 that was cut, or is `bad` in so many places, or `encodings`.

    Of these the best is first, and a second one is as likely; there may be none. `line` is around
    the first bad byte, in bytes.
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
                return f"{self.looks}: {reads} --encoding {' or '.join(self.encodings)}"
        return f"is in an encoding that cannot be told: {reads} --encoding NAME"

    @property
    def looks(self) -> str:
        """What it looks like, with how a line reads so."""
        texts = [self.line.decode(name, "replace").lstrip() for name in self.encodings]
        texts = [text.partition("\n")[0].rstrip() for text in texts]
        differ = [c > "\x7f" for c in texts[0]]
        if len(texts) > 1:
            differ = [a != b for a, b in zip(*texts, strict=False)]
        place = differ.index(True) if True in differ else 0
        shown = zip(self.encodings, texts, strict=True)
        return f"looks like {' or '.join(name + _excerpt(text, place) for name, text in shown)}"


def detect(file: BinaryIO, label: str, declared: str = "") -> tuple[Reading, Guess | None]:
    """Return how to read a file: as UTF-8, by its byte-order mark, as `declared`, or by a guess.

    It is read to its end, or to the first byte that is not UTF-8. Raises CharloomError if it is no
    text, or looks like nothing.
    """
    try:
        for _ in decode(file, label, Counter()):
            pass
    except CharloomError as error:
        if isinstance(marked := error.facts.get("encoding"), str):  # by a byte-order mark
            return Reading(marked, "replace"), None
        if error.code != "not-text" or "byte" not in error.facts:
            raise
        if declared:
            return Reading(declared, "replace"), None
        clue = look(file, error)
        if clue.kind in ("cut", "nearly"):
            return Reading(errors="replace"), None
        if not clue.encodings:
            raise advised(error, clue, label) from None
        return Reading(clue.encodings[0], "replace"), Guess(label, clue.looks, clue.encodings)
    return UTF8, None


def look(file: BinaryIO, error: CharloomError) -> Clue:
    """Look for the reason of an error of `decode` in the file that it came from."""
    offset = error.facts["offset"]
    assert isinstance(offset, int)
    begin = max(0, offset - LOOKED_AT // 2)
    file.seek(begin)
    data = file.read(LOOKED_AT)
    is_end = not file.read(1)
    if error.facts["byte"] == 0:
        return Clue("binary", 0, _wide(data), data[: 8 * EXCERPT])
    while begin and data and 0x80 <= data[0] < 0xC0:  # the rest of a character
        data, begin = data[1:], begin + 1
    at = offset - begin
    text, known = (
        codecs.getincrementaldecoder("utf-8")(errors).decode(data, is_end)
        for errors in ("replace", "ignore")
    )
    bad = text.count(REPLACED) - known.count(REPLACED)
    good = sum(character > "\x7f" for character in known)
    if good >= NEARLY * bad:
        cut = bad == 1 and is_end and _begins_character(data[at:])
        return Clue("cut" if cut else "nearly" if bad else "other", bad, () if bad else ("utf-8",))
    encodings = guesses(data)
    line = _line_at(data, at)
    if len(encodings) > 1:
        line = next(filter(partial(_differs, encodings), data.splitlines()), line)
    return Clue("other", bad, encodings, line)


def _excerpt(text: str, place: int) -> str:
    """Return, in brackets, what a line says around a place."""
    text = text[max(0, place - EXCERPT) : place + EXCERPT]
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f" ('{text}')" if text else ""


def _line_at(data: bytes, at: int) -> bytes:
    begin = max(data.rfind(b"\n", 0, at) + 1, at - LONGEST)
    return data[begin : at + 4 * EXCERPT].split(b"\n")[0]


def _differs(encodings: tuple[str, ...], line: bytes) -> bool:
    """Whether a line reads differently in two encodings."""
    one, two = (line.decode(encoding, "replace") for encoding in encodings)
    return one != two


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
        name = clue.encodings[0] if clue.encodings else "NAME"
        if name not in _PYTHONS_OWN and len(clue.encodings) < 2:
            message += f", or {convert(name.upper(), label)}"
    facts = error.facts | {"looks": clue.kind, "encodings": clue.encodings, "bad": clue.bad}
    return CharloomError(message, error.code, **facts)


def guesses(data: bytes) -> tuple[str, ...]:
    """Return the likeliest encoding of a text, and one that reads it otherwise and is as likely.

    There may be none. If only one is returned, it is the right one in 99 texts of 100.
    """
    import chardet

    sample = data
    if len(data) > SAMPLE:
        sample = b"".join(line for line in data.splitlines(keepends=True) if not line.isascii())
        sample = sample[: sample.rfind(b"\n", 0, SAMPLE) + 1] or sample[:SAMPLE]
    readings, scores = dict[str, list[str]](), dict[str, float]()
    for found in chardet.detect_all(
        sample, ignore_threshold=True, prefer_superset=False, include_encodings=COMMON
    ):
        if name := found["encoding"]:
            text = sample.decode(name, "replace")
            if not _CONTROL.search(text):
                readings.setdefault(text, []).append(codecs.lookup(name).name)
                scores.setdefault(text, found["confidence"])
    best = TIED * max(scores.values(), default=0.0)
    names = {text: min(some, key=_rank) for text, some in readings.items()}
    likely = [names[text] for text in names if scores[text] >= best]
    if USUAL in names.values() and sum(byte > 0x7F for byte in sample) < FEW:
        likely.insert(1, USUAL)
    return tuple(dict.fromkeys(likely))[:2]


def _begins_character(rest: bytes) -> bool:
    """Whether a file's last bytes are the beginning of a character, and no more."""
    try:
        return codecs.utf_8_decode(rest, "strict", False) == ("", 0)
    except UnicodeDecodeError:
        return False


def _rank(encoding: str) -> int:
    return COMMON.index(encoding) if encoding in COMMON else len(COMMON)


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
