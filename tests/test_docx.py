import pytest

from charloom.data.readers.books.docx import KINDS
from expect import refused
from reading import damaged, matching, only_charloom_errors, packed, read

pytest.importorskip("lxml")

WORD, OLD = KINDS
MAIN = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"


STYLED = '<w:pStyle w:val="Inhalt1"/>'


def document(body: str, namespace: str = MAIN) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{namespace}" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
        f'xmlns:x="urn:x"><w:body>{body}</w:body></w:document>'
    )


def word(body: str, **more: str) -> bytes:
    files = {"[Content_Types].xml": "<Types/>", "word/document.xml": document(body)}
    return packed({**files, **{name.replace("__", "/") + ".xml": x for name, x in more.items()}})


def text_of(body: str) -> str:
    [found], _ = read(WORD, word(body))
    return found.text


def left_out(body: str) -> dict[str, int]:
    return dict(read(WORD, word(body + p(run("x"))))[1].left_out)


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"


def p(*inner: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(inner)}</w:p>"


def test_a_paragraph_is_a_line_and_an_empty_one_an_empty_line() -> None:
    assert text_of(p(run("One &amp; "), run("two")) + p() + p(run("three"))) == "One & two\n\nthree"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("<w:t>a</w:t><w:br/><w:t>b</w:t><w:cr/><w:t>c</w:t>", "a\nb\nc"),
        ("<w:t>a</w:t><w:tab/><w:t>b</w:t><w:ptab/><w:t>c</w:t>", "a\tb\tc"),
        ("<w:t>well</w:t><w:noBreakHyphen/><w:t>known</w:t>", "well\u2011known"),
        ("<w:t>ex</w:t><w:softHyphen/><w:t>am\u00adple</w:t>", "example"),
        ("<w:t>a\nb</w:t>", "a b"),
        ("<w:t>a</w:t><w:instrText>PAGE</w:instrText><w:t>b</w:t>", "ab"),
    ],
)
def test_characters_of_a_run(inner: str, text: str) -> None:
    assert text_of(p(f"<w:r>{inner}</w:r>")) == text


@pytest.mark.parametrize(
    "element", ["ins", "moveTo", "fldSimple", "smartTag", "hyperlink", "customXml", "bdo"]
)
def test_what_wraps_runs_is_read(element: str) -> None:
    assert text_of(p(run("a"), f"<w:{element}>{run('b')}</w:{element}>", run("c"))) == "abc"


def test_content_controls_and_formulas_are_read() -> None:
    control = f"<w:sdt><w:sdtPr/><w:sdtContent>{p(run('within'))}</w:sdtContent></w:sdt>"
    formula = "<m:oMath><m:r><m:t>x+1</m:t></m:r></m:oMath>"
    assert text_of(control + p(formula)) == "within\nx+1"


@pytest.mark.parametrize(
    ("inner", "what"),
    [
        (f"<w:del>{run('gone')}</w:del>", "deletions"),
        ("<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>", "deletions"),
        (f"<w:moveFrom>{run('gone')}</w:moveFrom>", "deletions"),
        (run("gone", "<w:vanish/>"), "hidden passages"),
        ("<w:r><w:footnoteReference/></w:r>", "footnotes"),
        ("<w:r><w:endnoteReference/></w:r>", "footnotes"),
        ("<w:r><w:commentReference/></w:r>", "comments"),
        ('<w:r><w:sym w:char="F0E0"/></w:r>', "symbols of pictorial fonts"),
        (f"<w:ruby><w:rt>{run('gone')}</w:rt></w:ruby>", "ruby readings"),
    ],
)
def test_what_is_not_text_is_left_out_and_counted(inner: str, what: str) -> None:
    [found], report = read(WORD, word(p(run("a"), inner, run("b"))))
    assert found.text == "ab"
    assert report.left_out == {what: 1}


def test_text_that_is_hidden_no_more_is_read() -> None:
    assert text_of(p(run("a", '<w:vanish w:val="0"/>'))) == "a"


def test_a_paragraph_whose_mark_is_deleted_goes_on_in_the_next() -> None:
    deleted = "<w:rPr><w:del/></w:rPr>"
    joined = p(run("one "), properties=deleted) + p(properties=deleted) + p(run("line"))
    assert text_of(joined) == "one line"
    assert text_of(p(run("end"), properties=deleted)) == "end"


@pytest.mark.parametrize("where", ["drop", "margin"])
def test_a_drop_cap_belongs_to_the_next_paragraph(where: str) -> None:
    cap = p(run("O"), properties=f'<w:framePr w:dropCap="{where}"/>')
    assert text_of(cap + p(run("nce upon"))) == "Once upon"


def test_lines_of_contents_are_known_by_the_name_of_their_style() -> None:
    styles = document('<w:style w:styleId="Inhalt1"><w:name w:val="toc 1"/></w:style>')
    line = p(run("Chapter 1"), "<w:r><w:tab/></w:r>", run("3"), properties=STYLED)
    [found], report = read(WORD, word(line + p(run("Chapter 1")), word__styles=styles))
    assert (found.text, report.left_out) == ("Chapter 1", {"lines of tables of contents": 1})
    [found], _ = read(WORD, word(line, word__styles="<w"))
    assert found.text == "Chapter 1\t3"


def test_tables() -> None:
    def cell(*paragraphs: str) -> str:
        return f"<w:tc>{''.join(p(run(text)) for text in paragraphs)}</w:tc>"

    def table(*rows: str) -> str:
        return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"

    small = cell("a") + f"<w:sdt><w:sdtContent>{cell('b')}</w:sdtContent></w:sdt>"
    gone = f"<w:trPr><w:del/></w:trPr>{cell('gone')}"
    inner = f"<w:tc>{table(cell('x') + cell('y'))}</w:tc>"
    body = table(small, gone, cell("c", "d") + cell("e"), inner)
    assert text_of(body) == "a\tb\nc\nd\ne\nx\ty"
    assert left_out(body) == {"deletions": 1}


def test_a_text_box_is_read_once_behind_its_paragraph() -> None:
    box = f"<x:box><w:txbxContent>{p(run('boxed'))}</w:txbxContent></x:box>"
    choices = (
        f"<mc:AlternateContent><mc:Choice><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent>"
    )
    assert text_of(p(run("a"), f"<w:r>{choices}</w:r>", run("b")) + p(run("c"))) == "ab\nboxed\nc"
    assert text_of(p(f"<w:r><w:pict>{box}</w:pict></w:r>")) == "boxed"


def test_lists_and_contents_and_heads_are_counted() -> None:
    contents = (
        "<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery "
        f'w:val="Table of Contents"/></w:docPartObj></w:sdtPr>{p(run("Chapter 1 ... 3"))}</w:sdt>'
    )
    body = contents + p(run("item"), properties="<w:numPr/>")
    head = document(p(run("Page 1")))
    [found], report = read(WORD, word(body, word__header1=head, word__header2=document(p())))
    assert found.text == "item"
    assert report.left_out == {"tables of contents": 1, "list markers": 1, "running heads": 1}


def test_title_author_and_date() -> None:
    core = (
        '<c:core xmlns:c="urn:c" xmlns:dc="urn:dc"><dc:title>A\n Title</dc:title>'
        "<dc:creator>Ann Example</dc:creator><c:created>2020-01-02T03:04:05Z</c:created></c:core>"
    )
    [found], _ = read(WORD, word(p(run("x")), docProps__core=core))
    assert found[2:] == ("A Title", "Ann Example", "2020-01-02T03:04:05Z")
    [found], report = read(WORD, word(p(run("x")), docProps__core="<c"))
    assert found.title == ""
    assert report.left_out == {"damaged properties": 1}


def test_the_main_part_has_any_name_and_either_namespace() -> None:
    relations = f'<R><Relationship Type="{RELATION}" Target="/word/document2.xml"/></R>'
    strict = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations,
        "word/document2.xml": document(p(run("found")), strict),
    }
    [found], _ = read(WORD, packed(files))
    assert found.text == "found"


def test_what_has_no_text_yields_nothing() -> None:
    assert read(WORD, word(p() + p()))[0] == []


def test_what_is_recognised() -> None:
    assert matching(KINDS, word(p())) == ["a Word document"]
    assert matching(KINDS, packed({"a.txt": "x"})) == []
    assert matching(KINDS, b"PK is how this prose begins") == []
    assert matching(KINDS, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)) == [OLD.name]


def test_other_office_files_are_refused() -> None:
    sheet = packed({"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>"})
    with refused("not-text", why="no text"):
        read(WORD, sheet)
    with refused("not-text", why="old Office file"):
        read(OLD, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


@pytest.mark.parametrize(
    "part",
    [
        "",
        "<w:document",
        "<a>" * 300 + "</a>" * 300,
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;",
    ],
    ids=["empty", "cut", "deep", "entity"],
)
def test_a_damaged_part_is_said(part: str) -> None:
    with refused("damaged", why="damaged"):
        read(WORD, packed({"[Content_Types].xml": "", "word/document.xml": part}))


def test_entities_are_not_read() -> None:
    outer = document(p(run("a&b;c"))).partition("?>")[2]
    entity = f"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>{outer}"
    [found], _ = read(WORD, packed({"[Content_Types].xml": "", "word/document.xml": entity}))
    assert found.text == "a"


def test_a_tree_that_would_fill_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.data.readers.xml_tree.PARTS", 1000)
    with refused("unsupported", why="too large"):
        read(WORD, word("<w:p/>" * 5000))


def test_damaged_files() -> None:
    body = "".join(p(run(f"Paragraph {n}"), f"<w:del>{run('gone')}</w:del>") for n in range(9))
    files: dict[str, str | bytes] = {"[Content_Types].xml": "", "word/document.xml": document(body)}
    assert only_charloom_errors(WORD, damaged(packed(files), 60)) < 60
    parts = damaged(document(body).encode(), 100)
    copies = [packed({**files, "word/document.xml": part}, 0) for part in parts]
    assert 0 < only_charloom_errors(WORD, copies) < 100
