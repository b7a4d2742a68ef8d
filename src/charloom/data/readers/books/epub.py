"""EPUB books, 2 and 3: the chapters in the order of the spine, without what only a page shows.

Covers, tables of contents, footnotes and the numbers of a printed book's pages are left out.
"""

import posixpath
import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple
from urllib.parse import unquote

from charloom.data.readers import Bundle, Document, Head, Job, Report
from charloom.data.readers.books.layout import SOFT_HYPHEN
from charloom.data.readers.declared import xml_encoding
from charloom.data.readers.members import Members
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.plain import one_line
from charloom.data.readers.xml_tree import (
    Element,
    attribute,
    check_weight,
    first_text,
    name_of,
    named,
    parse,
)
from charloom.errors import CharloomError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_MIME = b"mimetypeapplication/epub+zip"
_FONTS = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}  # no secrets
_PAGES = {"application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/xml"}
BESIDE = {  # the text, by type, role or class
    "noteref": "footnote marks",
    "fnanchor": "footnote marks",
    "footnote": "footnotes",
    "endnote": "footnotes",
    "rearnote": "footnotes",
    "footnotes": "footnotes",
    "endnotes": "footnotes",
    "rearnotes": "footnotes",
    "pagebreak": "page numbers",
    "pagenum": "page numbers",
    "pageno": "page numbers",
}
_LEFT_OUT = {**BESIDE, "pg-boilerplate": "licences of Project Gutenberg"}
_ENTITY = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos);)([A-Za-z][A-Za-z0-9]{1,40};)")


class _Package(NamedTuple):
    """What the package file says: of each part its path, or "" if it is in no part of the book."""

    root: Element
    path: str  # of the file itself, which others are relative to
    names: dict[str, str]  # of the members, by their names in lower case
    items: dict[str, Element]  # of the manifest, by their ids

    def find(self, href: str, base: str = "") -> str:
        """Return the name of the member that a file, or else the package, refers to by `href`."""
        return _resolve(self.names, base or self.path, href)


def _is_epub(head: Head) -> bool:
    return _CONTAINER in head.members or _MIME in head.start[:100]


def _read(members: Members, job: Job) -> Iterator[Document]:
    package = _package(members, job.label)
    spine = [path for path in _spine(package, job.report) if path]
    _refuse_encrypted(members, package, spine, job.label)
    contents = list(_contents(members, package, job))
    titles, skipped = _titles(package, contents), _skipped(package, contents)
    if skipped.keys() >= set(spine):  # all of the book, which cannot be meant
        skipped = {}
    book, author, date = (first_text(package.root, name) for name in ("title", "creator", "date"))
    for path in spine:
        if what := skipped.get(path):
            job.report.left_out[what] += 1
            continue
        text = _chapter(members.read(path), f"{path} in {job.label}", job.report)
        if text.strip():
            yield Document(text, path, titles.get(path) or book, author, date)


def _package(members: Members, label: str) -> _Package:
    names = {name.casefold(): name for name in members.names()}
    path = ""
    if _CONTAINER in members.names():
        container = parse(members.read(_CONTAINER), label)
        paths = [attribute(file, "full-path") for file in named(container, "rootfile")]
        path = next(filter(None, (_resolve(names, "", path) for path in paths)), "")
    path = path or next((name for name in members.names() if name.endswith(".opf")), "")
    if not path:
        message = f"{label} is damaged (it does not name its parts): get another copy"
        raise CharloomError(message, "damaged", why="damaged", path=label)
    root = parse(members.read(path), label)
    items = {attribute(item, "id"): item for item in named(root, "item")}
    return _Package(root, path, names, items)


def _resolve(names: dict[str, str], base: str, href: str) -> str:
    """Return the member's name that one refers to by `href`; "" if there is none."""
    for path in (unquote(href.partition("#")[0]), href):
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
        if found := names.get(joined.removeprefix("/").casefold()):
            return found
    return ""


def _spine(package: _Package, report: Report) -> Iterator[str]:
    """Yield the paths of the book's parts in reading order, each once."""
    seen = set()
    for reference in named(package.root, "itemref"):
        item = package.items.get(attribute(reference, "idref"))
        path = "" if item is None else package.find(attribute(item, "href"))
        if attribute(reference, "linear") == "no":
            report.left_out["parts outside the reading order"] += 1
        elif not path or item is None:
            report.left_out["missing parts"] += 1
        elif attribute(item, "media-type") not in _PAGES:
            report.left_out["pictures"] += 1
        elif "nav" in attribute(item, "properties").split():
            report.left_out["tables of contents"] += 1
        elif path not in seen:
            seen.add(path)
            yield path


def _refuse_encrypted(members: Members, package: _Package, spine: list[str], label: str) -> None:
    if _ENCRYPTION not in members.names():
        return
    for entry in named(parse(members.read(_ENCRYPTION), label), "EncryptedData"):
        method = next(named(entry, "EncryptionMethod"), None)
        uri = next(named(entry, "CipherReference"), None)
        if method is None or uri is None or attribute(method, "Algorithm") in _FONTS:
            continue
        if package.find(attribute(uri, "URI"), "./") in spine:
            message = (
                f"{label} is protected against copying (DRM): give a copy that is not, which "
                "its shop or author may offer"
            )
            raise CharloomError(message, "unreadable", why="encrypted", path=label)


def _contents(members: Members, package: _Package, job: Job) -> Iterator[tuple[str, Element]]:
    """Yield the path and tree of the navigation page and of the older table of contents."""
    for item in package.items.values():
        is_nav = "nav" in attribute(item, "properties").split()
        if is_nav or attribute(item, "media-type") == "application/x-dtbncx+xml":
            path = package.find(attribute(item, "href"))
            try:
                if path:
                    yield path, parse(_with_known_entities(members.read(path)), job.label)
            except CharloomError:  # the book can be read without
                job.report.left_out["damaged tables of contents"] += 1


def _titles(package: _Package, contents: list[tuple[str, Element]]) -> dict[str, str]:
    """Return the first title for each part that the tables of contents have, by its path."""
    titles: dict[str, str] = {}
    for base, tree in contents:
        for nav in named(tree, "nav"):
            if attribute(nav, "type") in ("toc", ""):
                for link in named(nav, "a"):
                    label = one_line("".join(link.itertext()))
                    titles.setdefault(package.find(attribute(link, "href"), base), label)
        for point in named(tree, "navPoint"):
            target = next(named(point, "content"), None)
            if target is not None:
                path = package.find(attribute(target, "src"), base)
                titles.setdefault(path, first_text(point, "text"))
    return titles


def _skipped(package: _Package, contents: list[tuple[str, Element]]) -> dict[str, str]:
    """Return what the parts are that the book itself calls its cover or its contents, by path."""
    nouns = {"cover": "covers", "toc": "tables of contents"}
    found = {}
    for reference in named(package.root, "reference"):  # of the guide of EPUB 2
        kind, href = attribute(reference, "type"), attribute(reference, "href")
        if kind in nouns and "#" not in href:
            found[package.find(href)] = nouns[kind]
    for base, tree in contents:
        for link in named(tree, "a"):  # of the landmarks of EPUB 3
            if attribute(link, "type") == "cover":
                found[package.find(attribute(link, "href"), base)] = "covers"
    return found


def _chapter(data: bytes, label: str, report: Report) -> str:
    """Return the text of a page of a book: XHTML, or what was meant to be that."""
    check_weight(data, label)
    try:
        root = parse(_with_known_entities(data), label)
    except CharloomError:
        report.mended["ill-formed parts"] += 1
        html = data.decode(xml_encoding(data), "replace")
    else:
        html = _html(root, report)
    if found := html.count(SOFT_HYPHEN) + html.count("&shy;"):
        report.mended["soft hyphens"] += found
    return fragment_text(html)


def _html(root: Element, report: Report) -> str:
    """Return the body of a page as HTML without what is no running text."""
    from lxml import etree

    body = next(named(root, "body"), root)
    for element in list(body.iter(etree.Element)):
        kinds = " ".join(attribute(element, name) for name in ("type", "role", "class"))
        kinds = kinds.replace("doc-", "")
        if what := next((_LEFT_OUT[kind] for kind in kinds.split() if kind in _LEFT_OUT), ""):
            report.left_out[what] += 1
            if element is body:
                return ""
            element.clear(keep_tail=True)
            element.tag = "span"
        element.tag = name_of(element)
    return str(etree.tostring(body, encoding="unicode", method="html", with_tail=False))


def _with_known_entities(data: bytes) -> bytes:
    """Return XHTML with numbers for the characters that only HTML has names for."""
    return _ENTITY.sub(_numbered, data)


def _numbered(found: re.Match[bytes]) -> bytes:
    characters = html5.get(found[1].decode("ascii"), "")
    return "".join(f"&#{ord(c)};" for c in characters).encode() if characters else found[0]


KINDS = (Bundle("an EPUB book", _is_epub, _read, "text", "chapters"),)
