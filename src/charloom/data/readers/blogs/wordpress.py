"""WordPress's exports (WXR) in, their published posts out, as the site shows them."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.blogs.posts import Posts, title_text
from charloom.data.readers.blogs.shortcodes import without_shortcodes
from charloom.data.readers.blogs.xml_items import fields, items, name_of, root_name, text_of
from charloom.data.readers.dates import iso_date
from charloom.data.readers.pages.markup import Spaces, element_text, parse
from charloom.data.readers.xml_tree import Element
from charloom.data.utf8 import normalized

_TYPES = {
    "page": "pages",
    "attachment": "attachments",
    "nav_menu_item": "menu items",
    "revision": "revisions",
}
_STATUSES = {
    "draft": "drafts",
    "auto-draft": "drafts",
    "private": "private posts",
    "pending": "pending posts",
    "future": "scheduled posts",
    "trash": "trashed posts",
}
_BUTTON = re.compile(r"<a [^<>]*wp-block-file__button[^<>]*>[^<]*</a>")  # "Download"


def post_text(content: str) -> str:
    """Return the text of a post's content.

    Posts are stored as blocks, or as text whose blank lines are paragraphs and whose line ends are
    line breaks; both with shortcodes.
    """
    html = _BUTTON.sub("", normalized(content).replace("<!--nextpage-->", "\n\n"))
    spaces: Spaces = "collapse" if "<!-- wp:" in html else "lines"
    return element_text(parse(without_shortcodes(html)), spaces)


def _is_export(head: Head) -> bool:
    start = head.start.replace(b"\0", b"")
    return b"wordpress.org/export/" in start and root_name(head.start).lower() == "rss"


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    authors: dict[str, str] = {}
    posts = Posts(job)
    for item in items(file, job, "item", "author", "wp:author"):
        known = fields(item)
        if name_of(item) == "wp:author":
            login = text_of(known.get("wp:author_login"))
            authors[login] = text_of(known.get("wp:author_display_name"))
        elif name_of(item) == "item" and _is_wanted(known, item, job):
            posts.add(_post(known, authors), _identity(known))
    yield from posts.oldest_first()


def _is_wanted(known: dict[str, Element], item: Element, job: Job) -> bool:
    left_out = job.report.left_out
    if comments := sum(name_of(child) == "wp:comment" for child in item):
        left_out["comments"] += comments
    kind = text_of(known.get("wp:post_type")) or "post"
    status = text_of(known.get("wp:status")) or "publish"
    if kind != "post" and not (kind == "page" and job.options.pages):
        left_out[_TYPES.get(kind, "other items")] += 1
    elif status != "publish":
        left_out[_STATUSES.get(status, "unpublished posts")] += 1
    elif text_of(known.get("wp:post_password")):
        left_out["protected posts"] += 1
    else:
        return True
    return False


def _post(known: dict[str, Element], authors: dict[str, str]) -> Document:
    content = text_of(known.get("content:encoded")) or text_of(known.get("excerpt:encoded"))
    login = text_of(known.get("dc:creator"))
    return Document(
        text=post_text(content),
        name=text_of(known.get("wp:post_name")) or text_of(known.get("wp:post_id")),
        title=title_text(text_of(known.get("title"))),
        author=authors.get(login) or login,
        date=_date(known),
    )


def _date(known: dict[str, Element]) -> str:
    """Return when a post was published; WordPress's dates have no zone in them."""
    if universal := iso_date(text_of(known.get("wp:post_date_gmt"))):
        return f"{universal}Z"
    dates = (iso_date(text_of(known.get(name))) for name in ("pubDate", "wp:post_date"))
    return next(filter(None, dates), "")


def _identity(known: dict[str, Element]) -> str:
    return text_of(known.get("wp:post_id")) or text_of(known.get("guid"))


KINDS = (Kind("a WordPress export", _is_export, _read, "text", "posts"),)
