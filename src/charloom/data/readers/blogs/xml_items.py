"""The items of a feed or export in XML, one after another: no entities, no trees in memory.

Exports are not always XML: control characters, which no parser takes, names of entities that only
HTML knows, and messages of a server before the first line are mended before they are parsed.
"""

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from html import escape, unescape
from html.entities import html5
from itertools import chain
from typing import BinaryIO

from charloom.data.readers import HEAD_BYTES, Job, Report
from charloom.data.readers.declared import xml_encoding
from charloom.data.readers.xml_tree import Element
from charloom.data.readers.xml_tree import name_of as local_name
from charloom.errors import CharloomError, needs_extra

ITEM = 2**26  # characters of one item, or between two, at most
_LONGEST = 40  # characters of a reference: &CounterClockwiseContourIntegral;

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udbff]\\Z")
_FIRST = re.compile(r"[&<\]]")
_TAG_NAME = re.compile(r"[a-zA-Z][\w-]*")
_MESSAGE = re.compile(  # of PHP
    r"\s*(<br ?/?>\s*)?(<b>)?(PHP )?(Warning|Notice|Deprecated|Strict Standards|\w+ error)\b"
)
_PROLOG = re.compile(
    r"(?:[\s\ufeff]|<\?.*?\?>|<!--.*?-->|(?P<type><!doctype[^\[>]*(?:\[.*?\]\s*)?>))*+",
    re.DOTALL | re.IGNORECASE,
)
_TOKEN = re.compile(
    r"<!\[CDATA\[|\]\]>|&(?!(?:lt|gt|amp|quot|apos);)"
    r"(?:#(?P<decimal>\d{1,9});|#[xX](?P<hex>[0-9a-fA-F]{1,8});|(?P<name>[a-zA-Z]\w{1,31});)?"
)
_ROOT = re.compile(r"<([^\s<>/!?]{1,80})[\s/>]")
_PREFIXES = {  # of the names that `name_of` gives; the namespaces differ by their versions
    "purl.org/rss/1.0/modules/content/": "content",
    "purl.org/dc/elements/1.1/": "dc",
    "www.w3.org/2005/Atom": "atom",
    "purl.org/atom/ns#": "atom",
    "purl.org/atom/app#": "app",
    "www.w3.org/2007/app": "app",
    "schemas.google.com/blogger/2018": "blogger",
    "www.w3.org/1999/xhtml": "xhtml",
    "www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "search.yahoo.com/mrss/": "media",
    "www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
}
_WORDPRESS = "wordpress.org/export/"


def root_name(start: bytes) -> str:
    """Return the name of the first element of a file that begins so; "" if it is not XML."""
    text = start.decode(xml_encoding(start), "replace")
    found = _ROOT.match(text, _prolog(text, _begin(text)).end())
    return found[1] if found else ""


def items(file: BinaryIO, job: Job, *names: str, recover: bool = False) -> Iterator[Element]:
    """Yield the elements of some names, which are emptied when the next is asked for.

    None of them is within another. With `recover` a file that is not well-formed is read as far
    as it goes. Raises CharloomError ("damaged", or "unsupported" if it declares entities or an
    item is too large).
    """
    with needs_extra("text", "reading feeds and exports"):
        from lxml import etree
    parser = etree.XMLPullParser(
        ("end",),
        tag=[f"{{*}}{name}" for name in names],
        encoding="utf-8",
        recover=True,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,  # a picture in a post may be 10 MB of text; `ITEM` is the limit
    )
    size = 0
    for text in chain(_repaired(file, job), [""]):
        if text:
            parser.feed(text.encode())
        else:
            with suppress(etree.XMLSyntaxError):  # which is in its log, too
                parser.close()
        size += len(text)
        for _, element in parser.read_events():
            if any(local_name(around) in names for around in element.iterancestors()):
                continue  # <author>, or an item in an item, which belongs to that
            yield element
            _forget(element)
            size = 0
        if size > ITEM:
            message = f"{job.label} has an item of more than {ITEM:,} characters: split it"
            raise CharloomError(message, "unsupported", why="too large", path=job.label)
    if errors := parser.feed_error_log.filter_from_fatals():
        if not recover:
            first = errors[0]
            reason, _, _ = first.message.partition("\n")
            reason = f"{reason}, line {first.line}, column {first.column}"
            message = f"{job.label} is damaged ({reason}): export it again"
            raise CharloomError(message, "damaged", why="damaged", path=job.label)
        job.report.mended["XML errors"] += len(errors)


def name_of(element: Element) -> str:
    """Return an element's name with the usual prefix of its namespace: content:encoded.

    There is none if the namespace is that of the element around it, whatever that is. Early
    exports use prefixes without declaring them; these are part of the name.
    """
    space, name = _split(element.tag)
    address = space.partition("://")[2]
    if address.startswith(_WORDPRESS):
        return f"excerpt:{name}" if address.endswith("excerpt/") else f"wp:{name}"
    if prefix := _PREFIXES.get(address):
        return f"{prefix}:{name}"
    parent = element.getparent()
    is_own = not space or (parent is not None and _split(parent.tag)[0] == space)
    return name if is_own else f"other:{name}"


def _split(tag: str) -> tuple[str, str]:
    space, _, name = tag.removeprefix("{").rpartition("}")
    return space, name


def fields(item: Element) -> dict[str, Element]:
    """Return the children of an item by name; of several, the first that is not empty."""
    found: dict[str, Element] = {}
    for child in item:
        name = name_of(child)
        if name not in found or not (len(found[name]) or found[name].text):
            found[name] = child
    return found


def text_of(element: Element | None) -> str:
    """Return the characters in an element without white space around; "" if there is none."""
    return "" if element is None else "".join(element.itertext()).strip()


def inner_html(element: Element) -> str:
    """Return what is in an element as HTML: it may be text that is HTML, or elements of XHTML."""
    from lxml import etree

    if not len(element):
        return text_of(element)
    for node in element.iter(etree.Element):
        name = local_name(node)
        node.tag = name if _TAG_NAME.fullmatch(name) else "span"
    parts = (etree.tostring(child, encoding="unicode", method="html") for child in element)
    return (element.text or "") + "".join(parts)


def _forget(element: Element) -> None:
    element.clear()
    parent = element.getparent()
    while parent is not None and (before := element.getprevious()) is not None:
        parent.remove(before)


def _repaired(file: BinaryIO, job: Job) -> Iterator[str]:
    """Yield the text of a file without its declarations of encoding and type."""
    pieces = _decoded(file, job)
    head = _headless(next(pieces), job)
    return _Mender(job.report).mended(chain([head], pieces))


def _headless(head: str, job: Job) -> str:
    """Return the beginning of a file without what comes before its first element."""
    begin = _begin(head)
    if head[:begin].strip():
        job.report.left_out["lines of server messages"] += head.count("\n", 0, begin) + 1
    prolog = _prolog(head, begin)
    if "<!entity" in (prolog["type"] or "").lower() or head.startswith("<!", prolog.end()):
        message = (
            f"{job.label} declares entities, which can unpack to anything: save it without its "
            "<!DOCTYPE ...>"
        )
        raise CharloomError(message, "unsupported", why="declares entities", path=job.label)
    return head[prolog.end() :]


def _begin(text: str) -> int:
    """Return where the XML begins: a server may have written messages before it."""
    return max(0, text.find("<?xml")) if _MESSAGE.match(text) else 0


def _prolog(text: str, begin: int) -> re.Match[str]:
    """Find what may come before the first element; a type that goes on behind the text is none."""
    found = _PROLOG.match(text, begin)
    assert found is not None  # it may be empty
    return found


def _decoded(file: BinaryIO, job: Job) -> Iterator[str]:
    data = file.read(HEAD_BYTES)
    decoder = codecs.getincrementaldecoder(xml_encoding(data))("replace")
    while data:
        text = decoder.decode(data)
        if bad := max(0, text.count("\ufffd") - data.count(b"\xef\xbf\xbd")):
            job.report.mended["bytes that could not be decoded"] += bad
        yield text
        data = file.read(HEAD_BYTES)
    yield decoder.decode(b"", final=True)


class _Mender:
    """Makes XML of what is nearly XML; knows whether it is in CDATA, where all is text."""

    def __init__(self, report: Report) -> None:
        self._mended = report.mended
        self._is_cdata = False

    def mended(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield text without what XML forbids, and with what only HTML has names for."""
        held, half = "", ""  # of a token; of a character whose halves are referred to one by one
        for piece in chain(pieces, [""]):
            text = held + piece
            cut = _cut(text) if piece else len(text)
            text, held = half + _TOKEN.sub(self._token, text[:cut]), text[cut:]
            half = text[-1:] if piece and _HALF.search(text) else ""
            text = _PAIR.sub(_joined, text.removesuffix(half))
            text, number = _FORBIDDEN.subn("", text)
            if number:
                self._mended["control characters"] += number
            if text:
                yield text

    def _token(self, found: re.Match[str]) -> str:
        token = found[0]
        if self._is_cdata:
            self._is_cdata = token != "]]>"
            return token
        if token == "<![CDATA[":
            self._is_cdata = True
            return token
        if token == "]]>":
            return "]]&gt;"
        if name := found["name"]:
            return escape(html5.get(f"{name};", "")) or f"&amp;{name};"
        if found["decimal"] or found["hex"]:
            code = int(found["decimal"] or found["hex"], 10 if found["decimal"] else 16)
            if 0x80 <= code < 0xA0:  # of cp1252, as browsers read it
                return unescape(token)
            character = chr(code) if code <= 0x10FFFF else "\0"
            return character if _FORBIDDEN.match(character) else token
        return "&amp;"


def _cut(text: str) -> int:
    """Return where to cut a text so that no token is cut that may go on behind its end."""
    found = _FIRST.search(text, max(0, len(text) - _LONGEST))
    return found.start() if found else len(text)


def _joined(halves: re.Match[str]) -> str:
    return halves[0].encode("utf-16", "surrogatepass").decode("utf-16")
