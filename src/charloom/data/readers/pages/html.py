"""Saved web pages in, the text that each was made for out: no menus, comments or lists of posts."""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import HEAD_BYTES, Document, Head, Job, Kind
from charloom.data.readers.declared import codec
from charloom.data.readers.pages.article import Body, Page, bodies, is_excerpt, left_out, measured
from charloom.data.readers.pages.markup import element_text, parse
from charloom.data.readers.pages.page_facts import Facts, facts_near, facts_of_page
from charloom.data.readers.plain import LONGEST, head_text, one_line, read_whole, whole_text
from charloom.data.utf8 import REPLACED
from charloom.errors import CharloomError

_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_PART = re.compile(r"\s*(?:<!--.*?-->\s*)*+<[a-z][a-z0-9]*[\s/>]", re.IGNORECASE | re.DOTALL)
_CONTENT = re.compile(r"<(?:body|main|article|h1|p)\b", re.IGNORECASE)
_SCRIPT = re.compile(r"<(script|style)\b.*?</\1>", re.IGNORECASE | re.DOTALL)
_TEMPLATE = re.compile(r"\{\{|\{%|<%|<\?(?:php|=)")  # source code from which pages are made
_SUFFIXES = (".html", ".htm", ".xhtml", ".shtml")
_DECLARED = re.compile(
    rb"""<(?:\?xml[^>]*?\bencoding|meta\b[^>]*?\bcharset)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_page(head: Head) -> bool:
    """Whether a file is a web page and no template of one, or is named so and begins with a tag."""
    text = head_text(head)
    if _PAGE.match(text):
        return not _TEMPLATE.search(_SCRIPT.sub("", _CONTENT.split(text, maxsplit=1)[0]))
    return head.name.lower().endswith(_SUFFIXES) and _PART.match(text) is not None


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    tree = parse(decoded_page(file, job))
    facts = facts_of_page(tree)
    for unseen in [*tree.iter("script", "style", "noscript", "template")]:
        unseen.clear(keep_tail=True)
    page = measured(tree, facts.is_post)
    found = [(body, _text(page, body)) for body in bodies(page)]
    found = [(body, text) for body, text in found if text]
    pieces = [text for body, text in found if not page.is_links(body.element)]
    if len(found) == 1:
        ((body, text),) = found
        yield _document(text, facts_near(body.scope, body.element, facts))
    elif facts.is_post and pieces:
        yield _document("\n\n".join(pieces), facts_near(tree, found[0][0].element, facts))
    else:
        yield from _several(page, found, facts, job)


def _several(
    page: Page, found: list[tuple[Body, str]], facts: Facts, job: Job
) -> Iterator[Document]:
    """Yield the texts that are whole; raises CharloomError if they are not half of those there."""
    whole = [(body, text) for body, text in found if not is_excerpt(page, body, text)]
    if not found or 2 * len(whole) < len(found):
        what = "a list of other pages" if page.shown[page.tree] else "a page without text"
        message = f"{job.label} is {what}: give the pages with the texts"
        raise CharloomError(message, "not-text", why=what.removeprefix("a "), path=job.label)
    if excerpts := len(found) - len(whole):
        job.report.left_out["excerpts"] += excerpts
    common = Facts(site=facts.site, author=facts.author)
    for body, text in whole:
        yield _document(text, facts_near(body.scope, body.element, common))


def _text(page: Page, body: Body) -> str:
    return element_text(body.element, left_out=left_out(page, body))


def _document(text: str, facts: Facts) -> Document:
    first, _, rest = text.partition("\n")
    if rest and one_line(first) == facts.title:  # Document has it
        text = rest.lstrip("\n")
    return Document(text, "", facts.title, facts.author, facts.date)


def decoded_page(file: BinaryIO, job: Job) -> str:
    """Return a page as it says that it is encoded, unless it is UTF-8 whatever it says."""
    encoding = _declared_encoding(file.read(HEAD_BYTES))
    file.seek(0)
    if not encoding:
        return whole_text(file, job)
    data = read_whole(file, job.label, LONGEST, "split it")
    if not data.isascii():
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    text = data.decode(encoding, "replace")
    if bad := text.count(REPLACED):
        job.report.mended["bytes that could not be decoded"] += bad
    return text


def _declared_encoding(start: bytes) -> str:
    """Return the encoding that a page says it is in, as a browser understands it.

    It is "" if it says none, or UTF-8, or has a byte-order mark, which means more.
    """
    found = _DECLARED.search(start)
    if found is None or start.startswith(_MARKS):
        return ""
    name = codec(found[1].decode("ascii", "replace"))
    return "" if name.startswith("utf") else name


KINDS = (Kind("a web page", is_page, _read, "text", "texts"),)
