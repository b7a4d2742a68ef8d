"""Ghost's exports in, their published posts out."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.blogs.posts import Posts
from charloom.data.readers.dates import date_of_seconds, iso_date
from charloom.data.readers.objects import Object, begins, mapping, objects, parsed, string, whole
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.plain import one_line

_EXPORT = re.compile(
    rb'\{\s*("db"\s*:\s*\[\s*\{\s*)?("meta"\s*:\s*\{\s*"(exported_on|version)"'
    rb'|"data"\s*:\s*\{\s*"(posts|users|tags|roles|permissions|settings|migrations|actions'
    rb'|api_keys|benefits|custom_theme_settings|emails|integrations|labels|newsletters)\w*")'
)
_PUBLISHED = ("published", "sent")  # sent: by e-mail only
_STATUSES = {"draft": "drafts", "scheduled": "scheduled posts"}
_DEPTH = 100  # of nodes in one another
_CARDS = {"html": True, "markdown": False, "code": False, "calloutText": True, "caption": True}


def _is_export(head: Head) -> bool:
    return _EXPORT.match(begins(head)) is not None


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    export: Object = whole(file, job.label, dict)
    data = _data(export)
    names = {_id(user): string(user.get("name")) for user in objects(data.get("users"))}
    authors: dict[str, list[str]] = {}
    rows = objects(data.get("posts_authors"))
    for row in sorted(rows, key=lambda row: str(row.get("sort_order"))):
        authors.setdefault(_id(row, "post_id"), []).append(names.get(_id(row, "author_id"), ""))
    posts = Posts(job)
    for post in objects(data.get("posts")):
        if noun := _unwanted(post, job.options.pages):
            job.report.left_out[noun] += 1
            continue
        writers = authors.get(_id(post)) or [names.get(_id(post, "author_id"), "")]
        posts.add(_post(post, ", ".join(filter(None, writers))), _id(post))
    yield from posts.oldest_first()


def _data(export: Object) -> Object:
    """Return the tables, which are wrapped in more or less around them."""
    first, *_ = *objects(export.get("db")), export
    return mapping(first.get("data"))


def _id(row: Object, name: str = "id") -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _unwanted(post: Object, pages: bool) -> str:
    is_page = post.get("type") == "page" or post.get("page") in (1, True)
    status = string(post.get("status")) or "published"
    if is_page and not pages:
        return "pages"
    return "" if status in _PUBLISHED else _STATUSES.get(status, "unpublished posts")


def _post(post: Object, author: str) -> Document:
    return Document(
        text=_text(post),
        name=string(post.get("slug")) or _id(post),
        title=one_line(string(post.get("title"))),
        author=author,
        date=_date(post.get("published_at")) or _date(post.get("created_at")),
    )


def _date(value: object) -> str:
    """Return a date that is text, or milliseconds as in early exports."""
    if isinstance(value, int | float):
        return date_of_seconds(value / 1000)
    return iso_date(string(value))


def _text(post: Object) -> str:
    """Return a post's text: of its HTML, or if it has none of what its editor keeps."""
    if marked_up := string(post.get("html")):
        return fragment_text(marked_up)
    for name, read in (("lexical", _lexical), ("mobiledoc", _mobiledoc)):
        try:
            document = parsed(string(post.get(name)).encode("utf-8", "replace"), dict)
            return "\n\n".join(filter(None, (part.strip("\n") for part in read(document))))
        except ValueError:
            continue
    return string(post.get("markdown")) or string(post.get("plaintext"))


def _lexical(document: Object) -> Iterator[str]:
    """Yield the paragraphs of Ghost's editor of today."""
    root = document.get("root")
    for node in _children(root):
        if node.get("type") == "list":
            yield "\n".join(f"- {_inline(item, 0).strip()}" for item in _children(node))
        else:
            yield _inline(node, 0) + _card(node)


def _children(node: object) -> list[Object]:
    return objects(mapping(node).get("children"))


def _inline(node: Object, depth: int) -> str:
    if node.get("type") == "linebreak":
        return "\n"
    nested = _children(node) if depth < _DEPTH else []
    return string(node.get("text")) + "".join(_inline(child, depth + 1) for child in nested)


def _card(card: object) -> str:
    """Return the words of a card, a part of a post that is not a paragraph."""
    for name, is_html in _CARDS.items():
        if words := string(mapping(card).get(name)):
            return fragment_text(words) if is_html else words
    return ""


def _mobiledoc(document: Object) -> Iterator[str]:
    """Yield the paragraphs of Ghost's editor until 2023, where a number says what a part is."""
    for section in _list(document.get("sections")):
        match section:
            case [1, _, [*markers], *_]:
                yield _markers(markers, document)
            case [3, _, [*entries], *_]:
                yield "\n".join(f"- {_markers(entry, document)}" for entry in map(_list, entries))
            case [10, int(number), *_]:
                yield from (_card(card[1]) for card in _nth(document, "cards", number))


def _markers(markers: list[Any], document: Object) -> str:
    parts = []
    for marker in markers:
        match marker:
            case [0, _, _, str(text), *_]:
                parts.append(text)
            case [1, _, _, int(number), *_] if any(
                atom[0] == "soft-return" for atom in _nth(document, "atoms", number)
            ):
                parts.append("\n")
    return "".join(parts)


def _nth(document: Object, name: str, number: int) -> list[list[Any]]:
    """Return the atom or card of a number, in a list; an empty one if there is none."""
    found = _list(document.get(name))[number : number + 1]
    return [one for one in found if isinstance(one, list) and len(one) > 1]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


KINDS = (Kind("a Ghost export", _is_export, _read, "text", "posts"),)
