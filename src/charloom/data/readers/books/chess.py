"""Games of chess in PGN as they are written, each a document: tags and moves are the text."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.plain import head_text, lines

_TAG = re.compile(r'\[(\w{1,255})\s+"(.*)"\s*\]\s*')
_ROSTER = ("Event", "White", "Black", "Result")  # of which a game has two at least
_MOVE = re.compile(r"(?:^|\s)\d+\.+\s*(?:[KQRBNP]?[a-h1-8]{0,2}x?[a-h][1-8]|[O0]-[O0])")
_RESULT = re.compile(r"(?:^|\s)(?:1-0|0-1|1/2-1/2|\*)(?:\s|$)|^\{")  # or a comment


def _is_pgn(head: Head) -> bool:
    """Whether a file begins with tags, and moves are behind them."""
    found = [line for line in head_text(head).split("\n") if line and line[0] not in "%;"]
    tags = set[str]()
    for line in found:
        tag = _TAG.fullmatch(line)
        if not tag:
            is_game = len(tags.intersection(_ROSTER)) > 1 and _RESULT.search(line)
            return bool(tags and (is_game or _MOVE.search(line)))
        tags.add(tag[1])
    return False


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    game: list[str] = []
    has_moves = in_comment = False
    number = 1
    for line in lines(file, job):
        tag = _TAG.fullmatch(line)
        is_tag = tag is not None and (not in_comment or tag[1] == "Event")
        if is_tag and has_moves:
            yield _document(game, number)
            game, has_moves, in_comment, number = [], False, False, number + 1
        game.append(line)
        if not is_tag and line.strip():
            has_moves = True
            in_comment = _ends_in_comment(line, in_comment)
    yield _document(game, number)


def _ends_in_comment(line: str, in_comment: bool) -> bool:
    """Whether a comment in braces goes on behind a line."""
    begin, end = line.rfind("{"), line.rfind("}")
    return in_comment if begin == end else begin > end


def _document(game: list[str], number: int) -> Document:
    tags = {tag[1]: tag[2] for line in game if (tag := _TAG.fullmatch(line))}
    players = [tags.get(name, "?") for name in ("White", "Black")]
    title = "" if players == ["?", "?"] else " - ".join(players)
    day = re.match(r"\d{4}(?:\.\d\d(?:\.\d\d)?)?", tags.get("Date", ""))
    date = day[0].replace(".", "-") if day else ""
    return Document("\n".join(game).strip("\n"), f"game {number}", title, "", date)


KINDS = (Kind("games of chess", _is_pgn, _read, noun="games"),)
