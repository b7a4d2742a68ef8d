import csv
import io
import json
from collections.abc import Iterable
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers import Options
from charloom.data.readers.tables import kinds as tables
from charloom.data.readers.tables.columns import called, is_prose, text_column
from expect import refused
from readers import read_file, recognised, survive

KINDS = tables.KINDS
SONGS = [
    ("Ada Byrne", "The Ferry", 'Row, row,\nall night\n\nto the "other" side', "2021-05-01"),
    ("Tom Finn", "Rain", "Rain; again, rain", "2022"),
    ("Tom Finn", "Nothing", "", "2023"),
]
COLUMNS = ("artist", "song", "lyrics", "date")


def written(rows: Iterable[Iterable[str]], delimiter: str = ",", end: str = "\r\n") -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end).writerows(rows)
    return file.getvalue().encode()


def json_rows() -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, song, strict=True)) for song in SONGS]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimited_rows(delimiter: str, encoding: str) -> None:
    data = written([COLUMNS, *SONGS], delimiter).decode().encode(encoding)
    documents, report = read_file(KINDS, data, "songs.csv")
    ferry, rain = documents
    assert ferry.text == SONGS[0][2]
    assert (ferry.title, ferry.author, ferry.date) == ("The Ferry", "Ada Byrne", "2021-05-01")
    assert (rain.text, rain.name, rain.date) == (SONGS[1][2], "row 2", "2022")
    assert report.left_out == {"rows without text": 1}
    [note] = report.notes
    assert "lyrics of artist, song, lyrics, date" in note


@pytest.mark.parametrize("form", ["lines", "array", "lines with NaN"])
def test_rows_in_json(form: str) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in json_rows()]
    if form == "lines with NaN":
        rows[2]["lyrics"] = float("nan")
    data = json.dumps(rows) if form == "array" else "\n".join(map(json.dumps, rows)) + "\n"
    documents, report = read_file(KINDS, data.encode(), "songs")
    assert [d.text for d in documents] == [SONGS[0][2], SONGS[1][2]]
    assert (documents[0].title, documents[0].author) == ("The Ferry", "Ada Byrne")
    assert report.left_out == {"rows without text": 1}


@pytest.mark.parametrize(("header", "column"), [("id,text\n", "text"), ("1,A first line\n", "2")])
def test_a_quotation_mark_that_is_never_closed_is_told(header: str, column: str) -> None:
    def read(row: str) -> tuple[str, list[str]]:
        rows = "".join(f"{n},Line {n} of it\n" for n in range(2, 30))
        data = f"{header}{row}\n{rows}".encode()
        documents, report = read_file(KINDS, data, "a.csv", Options(columns=(column,)))
        return documents[-1].text, report.notes

    text, notes = read('1,"open')
    assert text.endswith("Line 29 of it")
    assert any("29" in note for note in notes)
    for row in ('1,"open\nand closed"', '1,5" wide', '1,"""said"""'):
        assert read(row) == ("Line 29 of it", [])


def parquet(rows: list[dict[str, object]], **options: object) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, **options)
    return file.getvalue()


def test_rows_of_parquet() -> None:
    rows: list[dict[str, object]] = [
        {"id": n, "text": f"poem {n}", "written": datetime(2020, 1, 1 + n), "cover": b"\xff\xd8"}
        for n in range(9)
    ]
    documents, report = read_file(KINDS, parquet(rows, row_group_size=2), "poems")
    assert [d.text for d in documents] == [f"poem {n}" for n in range(9)]
    assert len(report.notes) == 1
    rows = [{"text": "a poem of some length", "date": date(2020, 1, 2)}]
    [document], _ = read_file(KINDS, parquet(rows), "poems")
    assert document.date == "2020-01-02"


def test_columns_that_are_asked_for() -> None:
    options = Options(columns=("song", "lyrics"))
    documents, report = read_file(KINDS, written([COLUMNS, *SONGS]), "songs.csv", options)
    assert documents[1].text == "Rain\n\nRain; again, rain"
    assert [documents[2].text, documents[2].title] == ["Nothing", ""]
    assert not report.notes
    nested = b'{"user": {"name": "Ada"}, "post": {"plain": "Hello there"}}\n' * 3
    documents, _ = read_file(KINDS, nested, "posts", Options(columns=("post.plain",)))
    assert documents[0].text == "Hello there"


@pytest.mark.parametrize("name", ["songs.csv", "songs.jsonl"])
def test_a_column_that_is_not_there(name: str) -> None:
    lines = "\n".join(map(json.dumps, json_rows())).encode()
    data = written([COLUMNS, *SONGS]) if name.endswith("csv") else lines
    with refused("bad-setting", field="column", columns=COLUMNS) as caught:
        read_file(KINDS, data, name, Options(columns=("lyric",)))
    assert all(column in str(caught.value) for column in COLUMNS)


def test_a_table_in_which_no_column_is_text() -> None:
    with refused("not-text", why="no column", columns=("x", "y")):
        read_file(KINDS, b"x,y\n1,2\n3,4\n", "points.csv")


def test_a_table_without_names() -> None:
    rows = [("0", "ada", "I like this, all of it"), ("4", "tom", "so do I, and then some more")]
    documents, report = read_file(KINDS, written(rows), "tweets.csv")
    assert [d.text for d in documents] == [row[2] for row in rows]
    assert "column 3 of 1, 2, 3" in report.notes[0]


@pytest.mark.parametrize("header", ["", "text\n"])
def test_one_column(header: str) -> None:
    lines = ["Hello, you", "It rained all day, and all night", "short", "a, b, c and more"]
    documents, report = read_file(KINDS, (header + "\n".join(lines)).encode(), "notes.csv")
    assert [d.text for d in documents] == lines
    assert not report.notes


def test_quotation_marks_in_tsv_are_often_only_that() -> None:
    data = b'id\ttext\n1\t"Stop, he said\n2\tand "left"\n3\t"\n'
    documents, _ = read_file(KINDS, data, "lines.tsv")
    assert [d.text for d in documents] == ['"Stop, he said', 'and "left"', '"']
    data = b'id\ttext\n1\t"one\ntwo"\n2\t"and ""three"""\n'
    documents, _ = read_file(KINDS, b'id\ttext\n1\t"one"\n2\t"and ""three"""\n', "lines.tsv")
    assert [d.text for d in documents] == ["one", 'and "three"']


def test_what_excel_writes() -> None:
    data = "sep=;\r\nname;text\r\nAda;Grüße, alle miteinander\r\n".encode("cp1252") * 1
    [document], report = read_file(KINDS, data, "table.csv")
    assert document.text == "Grüße, alle miteinander"
    assert [guess.encodings[0] for guess in report.guesses] == ["cp1252"]


def test_cells_beyond_the_last_column_are_kept() -> None:
    data = b"id,text\n1,one line\n2,one, two, and three\n3,another one\n4,and one\n"
    documents, report = read_file(KINDS, data, "lines.csv")
    assert documents[1].text == "one, two, and three"
    assert report.mended == {"rows with more cells than columns": 1}


def test_a_quotation_mark_that_is_never_closed() -> None:
    rest = "a line of some text\n" * 900_000
    with refused("damaged", why="damaged"):
        read_file(KINDS, f'id,text\n1,"never closed\n{rest}'.encode(), "lines.csv")


def test_rows_that_are_no_objects() -> None:
    data = b'{"text": "one"}\n{"text": \n[1]\n\n{"text": "half \\ud83d"}\n'
    documents, report = read_file(KINDS, data, "rows.jsonl")
    assert [d.text for d in documents] == ["one", "half \ufffd"]
    assert report.left_out == {"damaged rows": 2}


@pytest.mark.parametrize(
    ("date", "iso"),
    [
        ("2021-03-04 05:06:07", "2021-03-04T05:06:07"),
        ("Wed Oct 10 20:19:24 +0000 2018", "2018-10-10T20:19:24+00:00"),
        ("1518000000", "2018-02-07T10:40:00Z"),
        ("03/04/2021", ""),
        ("yesterday at 3:40", ""),
        ("", ""),
    ],
)
def test_dates(date: str, iso: str) -> None:
    row = json.dumps({"text": "some text", "created_at": date}).encode()
    [document], _ = read_file(KINDS, row, "rows.jsonl")
    assert document.date == iso


PACKAGE = {"name": "charloom", "description": "Trains small models", "files": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "Eggs, milk, flour\nand sugar, too\n"),
        ("package.json", json.dumps(PACKAGE, indent=2)),
        ("package.json", json.dumps(PACKAGE)),
        ("numbers.json", "[1, 2, 3]"),
        ("points.json", json.dumps([{"x": 1, "y": 2}] * 9)),
        ("fixtures.json", json.dumps([{"id": "a1", "name": "red", "text": "ok"}] * 9)),
        ("urls.json", json.dumps([{"url": "https://example.com/" + "a" * 90}] * 9)),
        ("code.js", "{\n  let x = 1\n}\n"),
        ("empty.json", ""),
    ],
)
def test_what_is_no_table(name: str, text: str) -> None:
    assert recognised(KINDS, text.encode(), name) is None


def test_the_first_object_may_be_long() -> None:
    long = [{"id": 1, "text": "It went on and on. " * 9000}]
    [document], _ = read_file(KINDS, json.dumps(long).encode(), "stories.json")
    assert document.text == long[0]["text"].strip()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        (("id", "Text"), "Text"),
        (("review_title", "review_text"), "review_text"),
        (("reviewTitle", "reviewBody"), "reviewBody"),
        (("note", "content"), "content"),
        (("tweet.id", "tweet.full_text"), "tweet.full_text"),
        (("a", "b"), ""),
    ],
)
def test_names_of_columns(columns: tuple[str, ...], column: str) -> None:
    assert called(columns, ("text", "content", "body", "full_text", "note")) == column


def test_the_longest_prose_is_the_text_if_no_name_says_so() -> None:
    rows = [{"a": "red", "b": "a line of words, long enough", "c": "x" * 99, "d": 5}] * 3
    assert text_column(rows) == "b"
    assert not is_prose(rows)
    assert text_column([{"a": "red"}]) == "a"
    assert text_column([{"a": "red", "b": "blue"}]) == ""


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=9))
def test_csv_is_read_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    data = written([("id", "text"), *rows])
    documents, report = read_file(KINDS, data, "a.csv", Options(columns=("text",)))
    texts = [text.strip() for _, text in rows]
    assert [d.text.strip() for d in documents] == [text for text in texts if text]
    assert report.left_out["rows without text"] == texts.count("")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_damaged_tables(name: str) -> None:
    rows = [dict(row) for row in json_rows()]
    data = {
        "a.csv": lambda: written([COLUMNS, *SONGS]),
        "a.jsonl": lambda: "\n".join(map(json.dumps, rows)).encode(),
        "a.json": lambda: json.dumps(rows).encode(),
        "a.parquet": lambda: parquet([{**row} for row in rows]),
    }[name]()
    survive(KINDS, data, name)
