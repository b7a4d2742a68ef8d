"""The items of a feed or export in XML, one after another: no entities, no trees in memory.

Exports are not always XML: control characters, which no parser takes, names of entities that only
HTML knows, and messages of a server before the first line are mended before they are parsed.
"""

import codecs
import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5
from itertools import chain
from typing import Any, BinaryIO

from charloom.data.readers import HEAD_BYTES, Job, Report
from charloom.errors import CharloomError, needs_extra

ITEM = 2**26  # characters of one item, or between two, at most
_LONGEST = 40  # characters of a reference: &CounterClockwiseContourIntegral;

Element = Any  # of lxml, which is loaded on demand

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_HIGH = r"&#(?:5(?:529[6-9]|5[3-9]\d\d|6[0-2]\d\d|63[01]\d)|[xX][dD][89abAB][0-9a-fA-F]{2});"
_LOW = (
    r"&#(?:5(?:63[2-9]\d|6[4-9]\d\d|7[0-2]\d\d|73[0-3]\d|734[0-3])|[xX][dD][c-fC-F][0-9a-fA-F]{2});"
)
_FIRST = re.compile(r"[&<\]]")
_HALF = re.compile(f"{_HIGH}\\Z")
_TAG_NAME = re.compile(r"[a-zA-Z][\w-]*")
_MESSAGE = re.compile(  # of PHP
    r"\s*(<br ?/?>\s*)?(<b>)?(PHP )?(Warning|Notice|Deprecated|Strict Standards|\w+ error)\b"
)
_TYPE = re.compile(r"[^\[>]*(\[.*?\]\s*)?>", re.DOTALL)
_TOKEN = re.compile(
    rf"<!\[CDATA\[|\]\]>|(?P<pair>{_HIGH}{_LOW})|&(?!(?:lt|gt|amp|quot|apos);)"
    r"(?:#(?P<decimal>\d{1,9});|#[xX](?P<hex>[0-9a-fA-F]{1,8});|(?P<name>[a-zA-Z]\w{1,31});)?"
)
_ESCAPED = {"<": "&lt;", "&": "&amp;", '"': "&quot;"}
_DECLARED = re.compile(rb"<\?xml\b[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_ROOT_TAG = re.compile(r"(<[a-zA-Z][^\s<>/]*)([^<>]*)")
_ROOT = re.compile(r"<([^\s<>/!?]{1,80})[\s/>]")
_AS_BROWSERS = {"ascii": "utf-8", "iso8859-1": "cp1252"}
_NOT_OF_FILES = frozenset(
    ["idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"]
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
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
_USUAL = {prefix: f"http://{address}" for address, prefix in _PREFIXES.items()} | {
    "wp": f"http://{_WORDPRESS}1.0/",
    "excerpt": f"http://{_WORDPRESS}1.0/excerpt/",
    "wfw": "http://wellformedweb.org/CommentAPI/",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
    "slash": "http://purl.org/rss/1.0/modules/slash/",
    "thr": "http://purl.org/syndication/thread/1.0",
    "georss": "http://www.georss.org/georss",
}


def root_name(start: bytes) -> str:
    """Return the name of the first element of a file that begins so; "" if it is not XML."""
    text = start.decode(_encoding(start), "replace")
    text = text[_begin(text) :]
    text = text[_prolog(text)[1] :]
    found = _ROOT.match(text, _prolog(text)[0])
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
        recover=recover,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,  # a picture in a post may be 10 MB of text; `ITEM` is the limit
    )
    size = 0
    try:
        for text in chain(_repaired(file, job), [""]):
            if text:
                parser.feed(text.encode())
            else:
                parser.close()
            size += len(text)
            for _, element in parser.read_events():
                if any(_local(around) in names for around in element.iterancestors()):
                    continue  # <author>, or an item in an item, which belongs to that
                yield element
                _forget(element)
                size = 0
            if size > ITEM:
                message = f"{job.label} has an item of more than {ITEM:,} characters: split it"
                raise CharloomError(message, "unsupported", why="too large", path=job.label)
    except etree.XMLSyntaxError as error:
        if not recover:
            raise _damaged(job, str(error)) from None
    if recover:
        job.report.mended["XML errors"] += max(1, len(parser.error_log))


def name_of(element: Element) -> str:
    """Return an element's name with the usual prefix of its namespace: content:encoded.

    There is none if the namespace is that of the element around it, whatever that is.
    """
    if not isinstance(element.tag, str):
        return ""
    space, name = _split(element.tag)
    address = space.partition("://")[2]
    if address.startswith(_WORDPRESS):
        return f"excerpt:{name}" if address.endswith("excerpt/") else f"wp:{name}"
    if prefix := _PREFIXES.get(address):
        return f"{prefix}:{name}"
    parent = element.getparent()
    is_own = not space or (parent is not None and _split(parent.tag)[0] == space)
    return name if is_own else f"other:{name}"


def _local(element: Element) -> str:
    return _split(element.tag)[1]


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
        name = _local(node).rpartition(":")[2]
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
    head = _headless(next(pieces, ""), job)
    return _Mender(job.report).mended(chain([head], pieces))


def _headless(head: str, job: Job) -> str:
    """Return the beginning of a file without what comes before its first element."""
    begin = _begin(head)
    if head[:begin].strip():
        job.report.mended["lines of server messages"] += head.count("\n", 0, begin) + 1
    text = head[begin:]
    begin, end = _prolog(text)
    if end < 0 or "<!entity" in text[begin:end].lower():
        message = (
            f"{job.label} declares entities, which can unpack to anything: save it without its "
            "<!DOCTYPE ...>"
        )
        raise CharloomError(message, "unsupported", why="declares entities", path=job.label)
    return _ROOT_TAG.sub(_declaring, text[end:], count=1)


def _declaring(root: re.Match[str]) -> str:
    """Return the first tag with the usual prefixes: early exports use some without a word."""
    missing = [f' xmlns:{p}="{a}"' for p, a in _USUAL.items() if f"xmlns:{p}=" not in root[2]]
    return f"{root[1]}{''.join(missing)}{root[2]}"


def _begin(text: str) -> int:
    """Return where the XML begins: a server may have written messages before it."""
    return max(0, text.find("<?xml")) if _MESSAGE.match(text) else 0


def _prolog(text: str) -> tuple[int, int]:
    """Return where the declaration of a document's type is, both at the first element if nowhere.

    The second is -1 if it does not end within the text.
    """
    place = 0
    while True:
        while text[place : place + 1].isspace() or text.startswith("\ufeff", place):
            place += 1
        closing = "?>" if text.startswith("<?", place) else "-->"
        if not text.startswith(("<?", "<!--"), place):
            break
        end = text.find(closing, place)
        if end < 0:
            return place, -1
        place = end + len(closing)
    if text[place : place + 9].lower() != "<!doctype":
        return place, place
    closed = _TYPE.match(text, place)
    return place, closed.end() if closed else -1


def _decoded(file: BinaryIO, job: Job) -> Iterator[str]:
    data = file.read(HEAD_BYTES)
    decoder = codecs.getincrementaldecoder(_encoding(data))("replace")
    while data:
        text = decoder.decode(data)
        if bad := max(0, text.count("\ufffd") - data.count(b"\xef\xbf\xbd")):
            job.report.mended["undecodable places"] += bad
        yield text
        data = file.read(HEAD_BYTES)
    yield decoder.decode(b"", final=True)


def _encoding(start: bytes) -> str:
    """Return the encoding of XML that begins so: by its mark or its declaration, else UTF-8."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    declared = _DECLARED.search(start[:4096])
    try:
        name = codecs.lookup(declared[1].decode("ascii")).name if declared else "utf-8"
    except (LookupError, ValueError):
        return "utf-8"
    is_wide = name.startswith(("utf-16", "utf-32"))  # then this could not have been read
    return "utf-8" if is_wide or name in _NOT_OF_FILES else _AS_BROWSERS.get(name, name)


class _Mender:
    """Makes XML of what is nearly XML; knows whether it is in CDATA, where all is text."""

    def __init__(self, report: Report) -> None:
        self._mended = report.mended
        self._is_cdata = False

    def mended(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield text without what XML forbids, and with what only HTML has names for."""
        held = ""
        for piece in chain(pieces, [""]):
            text = held + piece
            cut = _cut(text) if piece else len(text)
            text, held = _TOKEN.sub(self._token, text[:cut]), text[cut:]
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
        if found["pair"]:
            return _paired(token)
        if name := found["name"]:
            value = html5.get(f"{name};", "")
            return _ESCAPED.get(value, value) or f"&amp;{name};"
        if found["decimal"] or found["hex"]:
            code = int(found["decimal"] or found["hex"], 10 if found["decimal"] else 16)
            if 0x80 <= code < 0xA0:  # of cp1252, as browsers read it
                return unescape(token)
            return "\0" if code > 0x10FFFF or _FORBIDDEN.match(chr(code)) else token
        return "&amp;"


def _cut(text: str) -> int:
    """Return where to cut a text so that no token is cut that may go on behind its end."""
    found = _FIRST.search(text, max(0, len(text) - _LONGEST))
    cut = found.start() if found else len(text)
    half = _HALF.search(text, max(0, cut - 9), cut)
    return half.start() if half else cut


def _paired(pair: str) -> str:
    """Return the character whose halves are referred to."""
    codes = pair.replace("&#", "").split(";")[:2]
    high, low = (int(code[1:], 16) if code[0] in "xX" else int(code) for code in codes)
    return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))


def _damaged(job: Job, reason: str) -> CharloomError:
    message = f"{job.label} is damaged ({reason.partition(' (')[0]}): export it again"
    return CharloomError(message, "damaged", why="damaged", path=job.label)
