import sys

import pytest

from charloom.data.readers.books.epub import KINDS
from expect import refused
from reading import damaged, matching, only_charloom_errors, packed, read

pytest.importorskip("lxml")

[EPUB] = KINDS
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
    'full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    "</container>"
)
XHTML = "application/xhtml+xml"
METADATA = (
    "<dc:title>A Book</dc:title><dc:creator>Ann Example</dc:creator><dc:date>1999-05</dc:date>"
)


def page(body: str, head: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html '
        'xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title/>{head}</head><body>{body}</body></html>"
    )


def package(items: str, spine: str, guide: str = "") -> str:
    return (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata>{METADATA}</metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine><guide>{guide}</guide></package>"
    )


def item(name: str, href: str, kind: str = XHTML, properties: str = "") -> str:
    return f'<item id="{name}" href="{href}" media-type="{kind}" properties="{properties}"/>'


def refer(*names: str) -> str:
    return "".join(f'<itemref idref="{name}"/>' for name in names)


def epub(opf: str, files: dict[str, str], container: str = CONTAINER) -> bytes:
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/content.opf": opf,
            **{f"OEBPS/{name}": text for name, text in files.items()},
        }
    )


def book(**chapters: str) -> bytes:
    items = "".join(item(name, f"{name}.xhtml") for name in sorted(chapters))
    pages = {f"{name}.xhtml": page(body) for name, body in chapters.items()}
    return epub(package(items, refer(*chapters)), pages)


def text_of(body: str) -> str:
    [found], _ = read(EPUB, book(a=body))
    return found.text


def test_chapters_are_in_the_order_of_the_spine() -> None:
    found, report = read(EPUB, book(c="<p>One</p><p>two</p>", b="<p> </p>", a="<p>three</p>"))
    assert [document.text for document in found] == ["One\n\ntwo", "three"]
    assert [document.name for document in found] == ["OEBPS/c.xhtml", "OEBPS/a.xhtml"]
    assert {document[2:] for document in found} == {("A Book", "Ann Example", "1999-05")}
    assert not report.left_out
    assert not report.mended


def test_words_stay_whole_and_verses_keep_their_lines() -> None:
    assert text_of('<p><span class="drop">O</span>nce <i>up</i>on</p>') == "Once upon"
    assert text_of("<p>a<br/>b</p>") == "a\nb"


def test_empty_elements_close_as_xhtml_says() -> None:
    assert text_of('<p>a<a id="x"/>b</p><script src="x"/><p>c</p>') == "ab\n\nc"


def test_a_prefix_that_is_not_declared_is_understood() -> None:
    body = '<p>a<a epub:type="noteref">1</a></p>'
    page_of = page(body).replace('xmlns:epub="http://www.idpf.org/2007/ops"', "")
    opf = package(item("a", "a.xhtml"), refer("a"))
    [found], report = read(EPUB, epub(opf, {"a.xhtml": page_of}))
    assert (found.text, report.left_out) == ("a", {"footnote marks": 1})
    assert not report.mended


def test_entities_of_html_are_known() -> None:
    assert text_of("<p>caf&eacute; &amp; &mdash; &lt;</p>") == "café & — <"


def test_soft_hyphens_are_counted() -> None:
    [found], report = read(EPUB, book(a="<p>ex\u00adam&shy;ple</p>"))
    assert (found.text, report.mended) == ("example", {"soft hyphens": 2})


@pytest.mark.parametrize(
    ("inner", "what"),
    [
        ('<a epub:type="noteref" href="#n">1</a>', "footnote marks"),
        ('<aside epub:type="footnote">gone</aside>', "footnotes"),
        ('<aside role="doc-endnote">gone</aside>', "footnotes"),
        ('<span epub:type="pagebreak" id="p7">7</span>', "page numbers"),
        ('<span class="pagenum">[Pg 7]</span>', "page numbers"),
        ('<span class="pg-boilerplate pgheader">gone</span>', "licences of Project Gutenberg"),
    ],
)
def test_what_is_not_text_is_left_out_and_counted(inner: str, what: str) -> None:
    [found], report = read(EPUB, book(a=f"<div>a{inner}b</div>"))
    assert found.text == "ab"
    assert report.left_out == {what: 1}


def test_parts_that_are_left_out_and_counted() -> None:
    items = (
        item("cover", "cover.xhtml")
        + item("nav", "nav.xhtml", properties="nav")
        + item("toc", "toc.xhtml")
        + item("ad", "ad.xhtml")
        + item("map", "map.svg", "image/svg+xml")
        + item("gone", "gone.xhtml")
        + item("a", "a.xhtml")
    )
    spine = refer("cover", "nav", "toc", "map", "gone", "a", "a", "none")
    spine += '<itemref idref="ad" linear="no"/>'
    guide = '<reference type="cover" href="cover.xhtml"/><reference type="toc" href="toc.xhtml"/>'
    guide += '<reference type="text" href="a.xhtml"/>'
    names = ("cover.xhtml", "nav.xhtml", "toc.xhtml", "ad.xhtml", "map.svg", "a.xhtml")
    files = {name: page(f"<p>{name}</p>") for name in names}
    found, report = read(EPUB, epub(package(items, spine, guide), files))
    assert [document.text for document in found] == ["a.xhtml"]
    assert report.left_out == {
        "covers": 1,
        "tables of contents": 2,
        "parts outside the reading order": 1,
        "pictures": 1,
        "missing parts": 2,
    }


def test_a_book_that_says_it_is_all_contents_is_read() -> None:
    opf = package(item("a", "a.xhtml"), refer("a"), '<reference type="toc" href="a.xhtml"/>')
    assert len(read(EPUB, epub(opf, {"a.xhtml": page("<p>x</p>")}))[0]) == 1


def test_titles_of_epub_3_and_its_cover() -> None:
    nav = page(
        '<nav epub:type="landmarks"><a epub:type="cover" href="../c.xhtml">Cover</a></nav>'
        '<nav epub:type="toc"><ol><li><a href="../text/a%20b.xhtml#s">One <b>and</b> only</a></li>'
        '<li><a href="../text/a%20b.xhtml#t">Not this</a></li></ol></nav>'
    )
    items = item("n", "x/nav.xhtml", properties="nav") + item("c", "c.xhtml")
    items += item("a", "./text/../text/a%20b.xhtml")
    files = {"x/nav.xhtml": nav, "text/a b.xhtml": page("<p>x</p>"), "c.xhtml": page("<p>C</p>")}
    [found], report = read(EPUB, epub(package(items, refer("c", "a")), files))
    assert (found.name, found.title) == ("OEBPS/text/a b.xhtml", "One and only")
    assert report.left_out == {"covers": 1}


def test_titles_of_epub_2() -> None:
    ncx = (
        "<!DOCTYPE ncx><ncx><docTitle><text>Not this</text></docTitle><navMap><navPoint>"
        '<navLabel><text>Chapter 1</text></navLabel><content src="a.xhtml#x"/></navPoint>'
        "</navMap></ncx>"
    )
    items = item("n", "toc.ncx", "application/x-dtbncx+xml") + item("a", "A.xhtml")
    opf = package(items, refer("a"))
    [found], _ = read(EPUB, epub(opf, {"toc.ncx": ncx, "a.xhtml": page("<p>x</p>")}))
    assert found.title == "Chapter 1"
    [found], report = read(EPUB, epub(opf, {"toc.ncx": "<n", "a.xhtml": page("<p>x</p>")}))
    assert (found.title, report.left_out) == ("A Book", {"damaged tables of contents": 1})


def test_paths_stay_in_the_archive() -> None:
    opf = package(item("a", "../../../../etc/passwd") + item("b", "/etc/passwd"), refer("a", "b"))
    found, report = read(EPUB, epub(opf, {}))
    assert (found, report.left_out) == ([], {"missing parts": 2})


def test_a_page_that_is_not_well_formed_is_read() -> None:
    opf = package(item("a", "a.xhtml") + item("b", "b.xhtml"), refer("a", "b"))
    files = {"a.xhtml": page("<p>a & b<p>c<br>d"), "b.xhtml": ""}
    [found], report = read(EPUB, epub(opf, files))
    assert found.text == "a & b\n\nc\nd"
    assert report.mended == {"ill-formed parts": 2}


def encryption(algorithm: str, uri: str) -> str:
    return (
        f'<encryption><EncryptedData><EncryptionMethod Algorithm="{algorithm}"/><CipherData>'
        f'<CipherReference URI="{uri}"/></CipherData></EncryptedData></encryption>'
    )


def test_a_protected_book_is_refused_but_not_one_with_hidden_fonts() -> None:
    aes, chapter = "http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/a.xhtml"
    opf = package(item("a", "a.xhtml"), refer("a"))

    def files(algorithm: str, uri: str) -> bytes:
        return packed(
            {
                "META-INF/container.xml": CONTAINER,
                "META-INF/encryption.xml": encryption(algorithm, uri),
                "OEBPS/content.opf": opf,
                "OEBPS/a.xhtml": page("<p>x</p>"),
            }
        )

    with refused("unreadable", why="encrypted"):
        read(EPUB, files(aes, chapter))
    for algorithm, uri in ((aes, "x.otf"), ("http://www.idpf.org/2008/embedding", chapter)):
        assert len(read(EPUB, files(algorithm, uri))[0]) == 1


@pytest.mark.parametrize("container", ["", "<c", "<c/>", '<c><rootfile full-path="../x"/></c>'])
def test_a_book_without_a_way_to_its_parts_is_damaged(container: str) -> None:
    with refused("damaged", why="damaged"):
        read(EPUB, packed({"META-INF/container.xml": container, "a.xhtml": "x"}))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    with refused("missing-library", library="lxml"):
        read(EPUB, book(a="x"))


def test_what_is_recognised() -> None:
    assert matching(KINDS, book(a="x")) == ["an EPUB book"]
    assert matching(KINDS, packed({"mimetype": "application/epub+zip"}, 0)) == ["an EPUB book"]
    assert matching(KINDS, packed({"content.xml": "x", "META-INF/manifest.xml": ""})) == []


def test_damaged_books() -> None:
    whole = book(**{f"c{n}": f"<p>Chapter {n}</p>" for n in range(5)})
    assert only_charloom_errors(EPUB, damaged(whole, 60)) < 60
    opf = package(item("a", "a.xhtml"), refer("a")).encode()
    text = page("<p>a &amp; b<i>c</i></p><!-- d --><![CDATA[e]]>").encode()
    for number, (broken_opf, broken_page) in enumerate(
        zip(damaged(opf, 60), damaged(text, 60), strict=True)
    ):
        files = {"OEBPS/content.opf": opf, "OEBPS/a.xhtml": broken_page}
        if number % 2:
            files["OEBPS/content.opf"] = broken_opf
        copy = packed({"META-INF/container.xml": CONTAINER, **files}, 0)
        only_charloom_errors(EPUB, [copy])
