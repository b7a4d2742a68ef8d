"""What a web page says of its text: title, author, date."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, NamedTuple

from charloom.data.readers.dates import iso_date
from charloom.data.readers.objects import Object, objects, parsed, string
from charloom.data.readers.pages.markup import classes, element_text
from charloom.data.readers.plain import one_line
from charloom.data.readers.xml_tree import Element

_POSTS = ("BlogPosting", "Article", "NewsArticle", "SocialMediaPosting", "TechArticle", "Report")
_TITLES = (
    "entry-title",
    "wp-block-post-title",
    "post-title",
    "p-name",
    "article-title",
    "headline",
)
_TITLE_KEYS = ("og:title", "twitter:title", "dc.title")
_AUTHORS = ("p-author", "author", "byline-author", "author-name", "post-author", "fn")
_AUTHOR_KEYS = ("author", "article:author", "dc.creator", "parsely-author")
_DATE_KEYS = (
    *("article:published_time", "datepublished", "date", "dc.date", "dc.date.issued"),
    *("dcterms.created", "citation_publication_date", "pubdate", "parsely-pub-date"),
)
_DATES = ("dt-published", "published", "entry-date", "post-date", "wp-block-post-date")
_BETWEEN = re.compile(r"\s+[|\u2013\u2014\u00b7\u2022\u00ab\u00bb~:-]+\s+")  # title and site
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")


class Facts(NamedTuple):
    """What is known of a text; each may be empty.

    `head` is what the page's head calls it, and `is_post` is whether it says that it is one text.
    """

    title: str = ""
    author: str = ""
    date: str = ""
    head: str = ""
    site: str = ""
    is_post: bool = False


def facts_of_page(tree: Element) -> Facts:
    """Return what the head of a page says of the text on it."""
    posting, meta = _posting(tree), _meta(tree)
    author: object = posting.get("author")
    author = author[0] if isinstance(author, list) and author else author
    author = author.get("name") if isinstance(author, dict) else author
    authors = [string(author), *(meta.get(key, "") for key in _AUTHOR_KEYS)]
    dates = [string(posting.get("datePublished")), *(meta.get(key, "") for key in _DATE_KEYS)]
    title = tree.find(".//title")
    heads = [*(meta.get(key, "") for key in _TITLE_KEYS)]
    heads += [] if title is None else ["".join(title.itertext())]
    return Facts(
        one_line(unescape(string(posting.get("headline")))),
        next((one_line(a) for a in authors if a.strip() and "://" not in a), ""),
        next(filter(None, map(iso_date, dates)), ""),
        next(filter(None, map(one_line, heads)), ""),
        one_line(meta.get("og:site_name", "")),
        bool(posting) or meta.get("og:type") == "article",
    )


def facts_near(scope: Element, body: Element, facts: Facts) -> Facts:
    """Return facts with what the elements around a body, or at its beginning, add to them."""
    title = facts.title or next((t for e in _classed(scope, _TITLES) if (t := _text(e))), "")
    inside = set(body.iter("h2", "h3"))
    headings = [e for e in scope.iter("h1", "h2", "h3") if e not in inside]
    title = title or _title(facts, [t for e in headings if (t := _text(e))])
    by_link = (e for e in scope.iter("a") if "author" in (e.get("rel") or "").split())
    people = (*by_link, *_classed(scope, _AUTHORS))
    author = facts.author or next((t for e in people if (t := _text(e))), "")
    return facts._replace(title=title, author=author, date=facts.date or _date(scope))


def _title(facts: Facts, headings: list[str]) -> str:
    """Return what the head of a page calls it, but for the name of the site."""
    parts = [one_line(part) for part in _BETWEEN.split(facts.head)]
    for heading in headings:
        if heading == facts.head or heading in parts[: max(1, len(parts) - 1)]:
            return heading
    if facts.head and facts.site:
        return one_line(facts.head.removesuffix(facts.site)).rstrip(" |\u2013\u2014\u00b7-:")
    return facts.head or next(iter(headings), "")


def _text(element: Element) -> str:
    return one_line(element_text(element))


def _classed(scope: Element, names: tuple[str, ...]) -> Iterator[Element]:
    """Yield the elements that have one of some classes, those of the first class first."""
    found: dict[str, list[Element]] = {name: [] for name in names}
    for element in scope.iter("*"):
        for name in found.keys() & set(classes(element)):
            found[name].append(element)
    for elements in found.values():
        yield from elements


def _date(scope: Element) -> str:
    places = [e for e in scope.iter("*") if e.get("itemprop") == "datePublished"]
    places += [*_classed(scope, _DATES), *scope.iter("time")]
    places += [e for e in scope.iter("span") if e.get("title")]
    for element in places:
        for node in (element, *element.iter("time", "abbr")):
            for key in ("datetime", "content", "title"):
                text = node.get(key) or ""
                if date := iso_date(text) or ((day := _DAY.match(text)) and iso_date(day[0])):
                    return str(date)
    return ""


def _meta(tree: Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in tree.iter("meta"):
        key = element.get("property") or element.get("name") or element.get("itemprop") or ""
        found.setdefault(key.lower(), element.get("content") or "")
    return found


def _posting(tree: Element) -> Object:
    """Return what a page says of its article in JSON-LD."""
    for script in tree.iter("script"):
        if (script.get("type") or "").strip().lower() != "application/ld+json":
            continue
        try:
            data = parsed((script.text or "").strip().encode("utf-8", "replace"), Any)
        except ValueError:
            continue
        for thing in _things(data):
            kinds = thing.get("@type")
            if any(kind in _POSTS for kind in (kinds if isinstance(kinds, list) else [kinds])):
                return thing
    return {}


def _things(data: object) -> Iterator[Object]:
    for thing in objects(data if isinstance(data, list) else [data]):
        yield thing
        yield from objects(thing.get("@graph"))
