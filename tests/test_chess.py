import pytest

from charloom.data.readers import Document
from charloom.data.readers.books.chess import KINDS
from reading import damaged, matching, only_charloom_errors, read

[CHESS] = KINDS
TAGS = '[Event "A Match"]\n[Date "2020.01.??"]\n[White "Ann"]\n[Black "Bo"]\n[Result "1-0"]'
ONE = f"{TAGS}\n\n1. e4 {{[%clk 0:05:00]}} e5\n2. Qh5 1-0"
TWO = '[Event "?"]\n[White "?"]\n[Black "?"]\n[FEN "8/8"]\n\n12... Kd7 *'


def test_a_game_is_a_document_as_it_is_written() -> None:
    data = f"{ONE}\n\n{TWO}\n".encode()
    assert matching(KINDS, data) == [CHESS.name]
    found, report = read(CHESS, data)
    assert found == [
        Document(ONE, "game 1", "Ann - Bo", "", "2020-01"),
        Document(TWO, "game 2"),
    ]
    assert not report.left_out


@pytest.mark.parametrize(
    "game",
    ['[Variant "Antichess"]\n\n1. g3 Nh6', '[FEN "8/8"]\n\n12...O-O', f"{TAGS}\n\n*"],
)
def test_games_of_few_tags_or_no_moves_are_recognised(game: str) -> None:
    assert matching(KINDS, game.encode()) == [CHESS.name]


def test_games_may_follow_without_an_empty_line() -> None:
    found, _ = read(CHESS, f"{ONE}\n{TWO}\n{ONE}".encode())
    assert [game.text for game in found] == [ONE, TWO, ONE]


def test_a_tag_within_a_comment_begins_no_game() -> None:
    game = f'{TAGS}\n\n1. e4 {{as in\n[Site "Rome"]\nfor instance}} e5 *'
    found, _ = read(CHESS, f"{game}\n\n{ONE}".encode())
    assert [game.text for game in found] == [game, ONE]


def test_a_comment_that_is_not_closed_ends_with_its_game() -> None:
    game = f"{TAGS}\n\n1. e4 {{open *"
    found, _ = read(CHESS, f"{game}\n\n{ONE}\n\n{TWO}".encode())
    assert [game.text for game in found] == [game, ONE, TWO]


@pytest.mark.parametrize(
    "text",
    [
        '[Event "A Match"]\n\nA report in prose.\n',
        '[Desktop Entry]\nName="1. e4"\n',
        '[White "paint"]\n1. First, mix it.\n',
        '1. e4 e5 2. Nf3\n[Event "x"]\n',
        "[section]\nkey = 1\n",
        "",
    ],
)
def test_other_texts_are_not_recognised(text: str) -> None:
    assert matching(KINDS, text.encode()) == []


def test_damaged_files() -> None:
    assert only_charloom_errors(CHESS, damaged(f"{ONE}\n\n{TWO}".encode(), 100)) > 0
