"""WordPress's exports (WXR) in, their published posts out, as the site shows them."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.blogs.posts import Posts, title_text
from charloom.data.readers.blogs.shortcodes import without_shortcodes
from charloom.data.readers.blogs.xml_items import fields, items, name_of, root_name, text_of
from charloom.data.readers.dates import iso_date
from charloom.data.readers.pages.markup import fragment_text
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
_BLOCK = (
    "address article aside blockquote body center col colgroup dd details div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr legend li main map menu nav ol "
    "option p pre section select summary table tbody td tfoot th thead tr ul"
)
_BLOCKS = frozenset(_BLOCK.split())
_VERBATIM = frozenset({"pre", "script", "style", "textarea"})
_TAG = re.compile(r"(<[^<>]*>)")
_NAME = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_BUTTON = re.compile(r"<a [^<>]*wp-block-file__button[^<>]*>[^<]*</a>")  # "Download"
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_LINE_END = re.compile(r"[ \t]*\n[ \t]*")


def post_html(content: str) -> str:
    """Return what a post's content is as HTML.

    Posts are stored as blocks, or as text whose blank lines are paragraphs and whose line ends are
    line breaks; both with shortcodes.
    """
    content = normalized(content)
    is_blocks = "<!-- wp:" in content
    content = without_shortcodes(_BUTTON.sub("", _without_comments(content)))
    return content if is_blocks else _with_paragraphs(content)


def _without_comments(text: str) -> str:
    """Return HTML without comments, of which <!--nextpage--> is where a paragraph ends."""
    parts, place = list[str](), 0
    while (begin := text.find("<!--", place)) >= 0 and (end := text.find("-->", begin + 4)) >= 0:
        parts.append(text[place:begin])
        place = end + 3
        if text[begin:place] == "<!--nextpage-->":
            parts.append("\n\n")
    return "".join([*parts, text[place:]])


def _with_paragraphs(text: str) -> str:
    """Return HTML with the paragraphs and line breaks that blank lines and line ends stand for."""
    parts, verbatim, is_after_block = ["<p>"], "", True
    pieces = _TAG.split(text)
    for number in range(0, len(pieces), 2):
        tag = pieces[number + 1] if number + 1 < len(pieces) else ""
        name, is_block = _tag(tag)
        if not verbatim:
            parts.append(_broken(pieces[number], is_after_block, is_block or not tag))
        else:
            parts.append(pieces[number])
        parts.append(tag)
        if name in _VERBATIM and not verbatim and not tag.startswith("</"):
            verbatim = name
        elif name == verbatim and tag.startswith("</"):
            verbatim = ""
        is_after_block = is_block or name == "br"
    return "".join(parts)


def _tag(tag: str) -> tuple[str, bool]:
    """Return the name of a tag, and whether it is of a block."""
    found = _NAME.match(tag)
    name = found[2].lower() if found else ""
    return name, name in _BLOCKS


def _broken(text: str, is_after_block: bool, is_before_block: bool) -> str:
    """Return the text between two tags with its line ends as tags; at blocks they mean nothing."""
    if "\n" not in text:
        return text
    if is_after_block:
        body = text.lstrip()
        is_apart = "\n\n" in text[: len(text) - len(body)].replace(" ", "").replace("\t", "")
        text = ("<p>" if is_apart else "") + body
    if is_before_block:
        text = text.rstrip()
    return _LINE_END.sub("<br>", _BLANK_LINE.sub("<p>", text))


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
        text=fragment_text(post_html(content)),
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
