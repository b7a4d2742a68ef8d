import pytest

from charloom.data.readers.books.odt import KINDS
from expect import refused
from reading import damaged, matching, only_charloom_errors, packed, read

pytest.importorskip("lxml")

ODT, FLAT = KINDS
MIME = "application/vnd.oasis.opendocument.text"
NAMES = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in (
        ("office", "office"),
        ("text", "text"),
        ("table", "table"),
        ("style", "style"),
        ("draw", "drawing"),
        ("meta", "meta"),
    )
)
META = (
    "<office:meta><dc:title>A Title</dc:title><meta:initial-creator>Ann Example"
    "</meta:initial-creator><dc:creator>Bo Other</dc:creator><meta:creation-date>2020-01-02"
    "</meta:creation-date></office:meta>"
)
HIDING = (
    '<office:automatic-styles><style:style style:name="T9"><style:text-properties '
    'text:display="none"/></style:style></office:automatic-styles>'
)


def content(body: str, root: str = "document-content", more: str = "") -> str:
    return (
        f'<?xml version="1.0"?><office:{root} {NAMES} xmlns:dc="urn:dc" office:mimetype="{MIME}">'
        f"{more}{HIDING}<office:body><office:text>{body}</office:text></office:body>"
        f"</office:{root}>"
    )


def odt(body: str, **more: str) -> bytes:
    files = {"mimetype": MIME, "content.xml": content(body), "META-INF/manifest.xml": "<m/>"}
    return packed(files | {f"{name}.xml": text for name, text in more.items()})


def text_of(body: str) -> str:
    [found], _ = read(ODT, odt(body))
    return found.text


def p(inner: str = "") -> str:
    return f"<text:p>{inner}</text:p>"


def test_paragraphs_and_headings_are_lines() -> None:
    body = f"<text:h>Title</text:h>{p()}{p('One')}<text:section>{p('two')}</text:section>"
    assert text_of(body) == "Title\n\nOne\ntwo"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("a<text:line-break/>b", "a\nb"),
        ("a<text:tab/>b", "a\tb"),
        ('a<text:s text:c="3"/>b<text:s/>c', "a   b c"),
        ("  a \n\t b  <text:span> c</text:span> ", "a b c"),
        ("a <text:s/>b", "a  b"),
        ("<text:s/> a <text:tab/> b<text:line-break/> c", " a \tb\nc"),
        ("a<text:s/>", "a "),
        ("ex\u00adam\u00adple", "example"),
        ("<text:a><text:span>li</text:span>nk</text:a>", "link"),
        ("a<text:soft-page-break/>b", "ab"),
        ("<text:ruby><text:ruby-base>東</text:ruby-base></text:ruby>京", "東京"),
        ('a<text:s text:c="1000000000"/>b', "a b"),
    ],
)
def test_characters_of_a_paragraph(inner: str, text: str) -> None:
    assert text_of(p(inner) + p("end")) == f"{text}\nend"


@pytest.mark.parametrize(
    ("inner", "what"),
    [
        (f"<text:note><text:note-body>{p('gone')}</text:note-body></text:note>", "footnotes"),
        (f"<office:annotation>{p('gone')}</office:annotation>", "comments"),
        ("<text:ruby><text:ruby-text>gone</text:ruby-text></text:ruby>", "ruby readings"),
        ('<text:span text:style-name="T9">gone</text:span>', "hidden passages"),
        ("<text:hidden-text>gone</text:hidden-text>", "hidden passages"),
    ],
)
def test_what_is_not_text_is_left_out_and_counted(inner: str, what: str) -> None:
    [found], report = read(ODT, odt(p(f"a{inner}b")))
    assert found.text == "ab"
    assert report.left_out == {what: 1}


def test_blocks_that_are_left_out_and_counted() -> None:
    region = (
        f"<text:changed-region><text:deletion>{p('gone')}</text:deletion></text:changed-region>"
    )
    body = (
        f"<text:tracked-changes>{region}{region}</text:tracked-changes>"
        f"<text:table-of-content><text:index-body>{p('gone')}</text:index-body>"
        f"</text:table-of-content>"
        f"<text:section text:display='none'>{p('gone')}</text:section>"
        f"<text:p text:style-name='T9'>gone</text:p>"
        f"<text:list><text:list-item>{p('a')}</text:list-item></text:list>"
    )
    [found], report = read(ODT, odt(body))
    assert found.text == "a"
    assert report.left_out == {
        "deletions": 2,
        "tables of contents": 1,
        "hidden passages": 2,
        "list markers": 1,
    }


def test_tables() -> None:
    def cell(*texts: str) -> str:
        return f"<table:table-cell>{''.join(map(p, texts))}</table:table-cell>"

    def row(*cells: str) -> str:
        return f"<table:table-row>{''.join(cells)}</table:table-row>"

    head = f"<table:table-header-rows>{row(cell('a'), cell('b'))}</table:table-header-rows>"
    body = f"<table:table>{head}{row(cell('c', 'd'), cell('e'))}</table:table>"
    assert text_of(body) == "a\tb\nc\nd\ne"


@pytest.mark.parametrize("shape", ["frame", "custom-shape"])
def test_a_text_box_is_read_behind_its_paragraph(shape: str) -> None:
    box = f"<draw:{shape}><draw:text-box>{p('boxed')}</draw:text-box></draw:{shape}>"
    assert text_of(p(f"a{box}b") + p("c")) == "ab\nboxed\nc"


def test_title_author_and_date() -> None:
    meta = f"<office:document-meta {NAMES} xmlns:dc='urn:dc'>{META}</office:document-meta>"
    [found], _ = read(ODT, odt(p("x"), meta=meta))
    assert found[2:] == ("A Title", "Ann Example", "2020-01-02")
    [found], report = read(ODT, odt(p("x"), meta="<m"))
    assert (found.title, report.left_out) == ("", {"damaged properties": 1})


def test_a_flat_file() -> None:
    [found], _ = read(FLAT, content(p("x") + p("y"), "document", META).encode())
    assert found == ("x\ny", "", "A Title", "Ann Example", "2020-01-02")


def test_what_is_recognised() -> None:
    assert matching(KINDS, odt(p("x"))) == [ODT.name]
    assert matching(KINDS, content(p("x"), "document").encode()) == [FLAT.name]
    assert matching(KINDS, packed({"content.xml": "<a/>"})) == []
    assert matching(KINDS, b"<office:document is how an XML file begins") == []


def test_ids_that_are_there_twice_do_no_harm() -> None:
    body = '<text:p xml:id="1">a</text:p><text:p xml:id="1" odd:x="">b</text:p>'
    assert text_of(body) == "a\nb"


def test_what_has_no_text_yields_nothing() -> None:
    assert read(ODT, odt(p()))[0] == []


def test_other_open_documents_are_refused() -> None:
    sheet = content("").replace("office:text>", "office:spreadsheet>")
    with refused("not-text", why="no text"):
        read(ODT, packed({"content.xml": sheet, "META-INF/manifest.xml": ""}))


@pytest.mark.parametrize(
    "files",
    [
        {"content.xml": "x", "META-INF/manifest.xml": "<a><m:encryption-data/></a>"},
        {"encrypted-package": "x", "META-INF/manifest.xml": "<a/>"},
    ],
)
def test_a_password_is_said(files: dict[str, str | bytes]) -> None:
    with refused("unreadable", why="encrypted"):
        read(ODT, packed(files))


def test_damaged_files() -> None:
    body = "".join(p(f"Paragraph {n}<text:note>{p('x')}</text:note>") for n in range(9))
    assert only_charloom_errors(ODT, damaged(odt(body), 60)) < 60
    flat = content(body, "document").encode()
    assert 0 < only_charloom_errors(FLAT, damaged(flat, 100)) < 100
