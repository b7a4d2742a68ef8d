"""Feeds in, their entries out: RSS, Atom and what Blogger exports, JSON Feed."""

import html
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.blogs.posts import Posts, title_text
from charloom.data.readers.blogs.xml_items import (
    fields,
    inner_html,
    items,
    name_of,
    root_name,
    text_of,
)
from charloom.data.readers.dates import iso_date
from charloom.data.readers.objects import Object, begins, objects, string, whole
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.xml_tree import Element
from charloom.errors import CharloomError

_BODIES = (  # the whole of an entry first
    *("content:encoded", "atom:content", "content", "body", "xhtml:body", "fullitem"),
    *("description", "atom:summary", "summary", "dc:description", "itunes:summary"),
    "media:description",
)
_TITLES = ("atom:title", "title", "dc:title")
_IDS = ("atom:id", "guid", "id", "atom:link", "link")
_DATES = (
    *("atom:published", "atom:issued", "pubDate", "published", "dc:date", "atom:created"),
    *("atom:updated", "atom:modified", "updated"),
)
_AUTHORS = ("dc:creator", "atom:author", "author", "itunes:author")
_ADDRESS = re.compile(r"^\S+@\S+ \((.*)\)$")  # RSS: mary@example.com (Mary Miller)
_MARKUP = re.compile(r"<[a-zA-Z/!][^<>]*>")
_BINARY = re.compile(r"(?!text/|.*xml|.*html).*/")
_SURELY_MARKUP = re.compile(
    r"<(/(p|div|span|script|a|b|i|em|strong|li|ul|h[1-6])|br|br ?/)>", re.IGNORECASE
)
_KINDS = {
    "page": "pages",
    "comment": "comments",
    "settings": "settings",
    "template": "templates",
}
_OF_KIND = "schemas.google.com/g/2005#kind"
_CUT = ("[\u2026]", "[...]", "\u2026", "...", "[&hellip;]")


def is_sitemap(head: Head) -> bool:
    """Whether a file is a sitemap."""
    return root_name(head.start).rpartition(":")[2] in ("urlset", "sitemapindex")


def _refuse_sitemap(file: BinaryIO, job: Job) -> Iterator[Document]:
    message = (
        f"{job.label} is a sitemap, a list of addresses without a text: `charloom text URL` "
        "reads a site by its sitemap"
    )
    raise CharloomError(message, "not-text", why="a sitemap", path=job.label)


def _is_blogger(head: Head) -> bool:
    start = head.start.replace(b"\0", b"")
    is_known = b"blogger/2018" in start or b"g/2005#kind" in start
    return is_known and root_name(head.start) == "feed"


def is_feed(head: Head) -> bool:
    """Whether a file is RSS or Atom."""
    name = root_name(head.start).lower().rpartition(":")[2]
    if name == "rdf":
        return b"purl.org/rss/1.0" in head.start or b"netscape.com/rdf" in head.start
    return name in ("rss", "feed")


def _read_xml(file: BinaryIO, job: Job) -> Iterator[Document]:
    """Yield the entries of a feed, and of one that is not well-formed as far as it goes."""
    read = cut = 0
    posts = Posts(job)
    for item in items(file, job, "item", "entry", recover=True):
        if noun := _unwanted(item, job.options.pages):
            job.report.left_out[noun] += 1
            continue
        post, identity = _entry(item)
        posts.add(post, identity)
        read += 1
        cut += post.text.endswith(_CUT)
    if cut > read // 2:
        note = f"{cut:,} of {read:,} entries end in dots: this feed has only how its posts begin"
        job.report.notes.append(f"{note}; `charloom text URL` reads the pages themselves")
    yield from posts.oldest_first()


def _unwanted(entry: Element, pages: bool) -> str:
    """Return what an entry of Blogger is if it is no published post, in the plural."""
    known = fields(entry)
    kind = text_of(known.get("blogger:type")).lower() or _kind(entry)
    status = text_of(known.get("blogger:status")).upper()
    if kind == "post" or (kind == "page" and pages):
        if status == "DRAFT" or _is_draft(known.get("app:control")):
            return "drafts"
        return "" if status in ("", "LIVE") else "unpublished posts"
    return _KINDS.get(kind, "other entries") if kind else ""


def _kind(entry: Element) -> str:
    """Return the kind that Blogger's older exports give an entry among its categories."""
    for child in entry:
        if name_of(child) == "atom:category" and _OF_KIND in (child.get("scheme") or ""):
            return str(child.get("term") or "").rpartition("#")[2].lower()
    return ""


def _is_draft(control: Element | None) -> bool:
    return control is not None and text_of(fields(control).get("app:draft")).lower() == "yes"


def _entry(item: Element) -> tuple[Document, str]:
    known = fields(item)
    identity = _first(known, _IDS, _identity)
    return Document(
        text=_first(known, _BODIES, _body),
        name=identity,
        title=_first(known, _TITLES, _title),
        author=_first(known, _AUTHORS, _author),
        date=_first(known, _DATES, lambda element: iso_date(text_of(element))),
    ), identity


def _first(
    known: dict[str, Element], names: tuple[str, ...], read: Callable[[Element], str]
) -> str:
    """Return the first text that is not empty of the fields of some names."""
    return next(filter(None, (read(known[name]) for name in names if name in known)), "")


def _identity(element: Element) -> str:
    return text_of(element) or str(element.get("href") or "")


def _title(element: Element) -> str:
    is_plain = name_of(element) == "atom:title" and element.get("type") in (None, "text")
    return title_text(text_of(element) if not is_plain else html.escape(text_of(element)))


def _author(element: Element) -> str:
    names = [text_of(child) for child in element if name_of(child).endswith("name")]
    author = names[0] if names else text_of(element)
    found = _ADDRESS.match(author)
    return found[1] if found else author


def _body(element: Element) -> str:
    """Return the text of what may be HTML, XHTML or plain, whatever it says it is."""
    kind = (element.get("type") or "").lower()
    if element.get("mode") == "base64" or _BINARY.match(kind):
        return ""
    body, is_said_plain = inner_html(element), kind in ("text", "text/plain")
    if len(element) or (_SURELY_MARKUP if is_said_plain else _MARKUP).search(body):
        return fragment_text(body)
    return _plain(body if is_said_plain else html.unescape(body))


def _plain(text: str) -> str:
    """Return plain text without the indentation that a feed may have."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _is_json_feed(head: Head) -> bool:
    start = begins(head)
    return start.startswith(b"{") and re.search(rb"jsonfeed\.org\\?/version", start) is not None


def _read_json(file: BinaryIO, job: Job) -> Iterator[Document]:
    feed: Object = whole(file, job.label, dict)
    posts = Posts(job)
    for entry in objects(feed.get("items")):
        identity = string(entry.get("id")) or string(entry.get("url"))
        posts.add(_json_entry(entry, identity), identity)
    yield from posts.oldest_first()


def _json_entry(entry: Object, identity: str) -> Document:
    marked_up = string(entry.get("content_html"))
    plain = string(entry.get("content_text")) or string(entry.get("summary"))
    authors = objects(entry.get("authors") or [entry.get("author")])
    names = [string(author.get("name")) for author in authors]
    dates = (iso_date(string(entry.get(name))) for name in ("date_published", "date_modified"))
    return Document(
        text=fragment_text(marked_up) if marked_up else _plain(plain),
        name=identity,
        title=title_text(html.escape(string(entry.get("title")))),
        author=", ".join(filter(None, names)),
        date=next(filter(None, dates), ""),
    )


KINDS = (
    Kind("a sitemap", is_sitemap, _refuse_sitemap, "text", "pages"),
    Kind("a Blogger export", _is_blogger, _read_xml, "text", "posts"),
    Kind("a feed", is_feed, _read_xml, "text", "posts"),
    Kind("a JSON feed", _is_json_feed, _read_json, "text", "posts"),
)
