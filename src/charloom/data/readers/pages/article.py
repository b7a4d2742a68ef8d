"""Where on a web page its text is: programs that make pages name the element that holds it.

Only if none is named is a library asked, and only for the place, for its own text loses lines.
"""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from charloom.data.readers.pages.asides import HEADINGS, is_aside, says_aside
from charloom.data.readers.pages.markup import classes, is_unseen
from charloom.data.readers.xml_tree import Element

LINKS = 0.5  # of a text in links, at least: then it is a list of them
REST = 0.25  # of the characters in links, that are none: less is no text beside a list
LISTED = 3  # headings that are links to other pages, at least: then they are a list
HELD = 0.9  # of what the library found, in the element that is taken for the body
LOOKED_AT = 2**19  # characters of a page that the library looks through, at most
FACT = 100  # characters of a date or an author, at most
_PIECE = 16  # characters at the ends of a passage that it is known by

_NAMES = (  # classes: a page's body has the first of these that is on the page
    *("e-content", "entry-content", "wp-block-post-content", "gh-content", "post-content"),
    *("post-body", "available-content", "mw-parser-output", "article-content", "article-body"),
    *("post-full-content", "post__content", "article__content", "article__body", "entry-body"),
    *("blog-post-content", "blog-item-content", "single-content", "story-body", "story-content"),
    *("asset-body", "section-content", "postbody", "post-text", "entrytext", "storycontent"),
    *("postcontent", "markdown-body"),
)
_LESS_SURE_NAMES = ("entry", "prose", "blog-post", "hentry", "post")
_FACTS = frozenset({"date", "author", "dateline", "timestamp", "published", "pubdate"})
_MENUS = ("div", "section", "td", "center")  # if they are links
_MORE = frozenset(
    {"more-link", "read-more", "readmore", "entry-link", "jump-link", "post-card-content-link"}
)
_EXCERPTS = frozenset({"entry-summary", "post-card", "summary", "excerpt", "post-excerpt"})
_CUT_SHORT = re.compile(r"(?:\u2026|\.\.\.)\W*$")
_GO_ON = re.compile(r"(?:continue reading|read more|read the rest|keep reading)\b", re.IGNORECASE)


Told = Literal["named", "article", "page"]  # how surely an element is told to hold a text


class Page(NamedTuple):
    """A page's tree, and how many characters, but spaces, each element shows, and in links.

    `is_post` is whether it says that there is one text on it.
    """

    tree: Element
    is_post: bool
    shown: dict[Element, int]
    linked: dict[Element, int]

    def is_links(self, element: Element) -> bool:
        """Whether an element is a list of links rather than a text."""
        return self.linked[element] >= LINKS * self.shown[element]


class Body(NamedTuple):
    """What holds a text; `scope` holds its heading and date, too.

    The text of a "named" body is all of it, that of an "article" but for its heading and the
    like, and a "page" has menus in it as well.
    """

    element: Element
    scope: Element
    kind: Told


def measured(tree: Element, is_post: bool = False) -> Page:
    """Return a page with its measures."""
    from lxml import etree

    page = Page(tree, is_post, {}, {})
    around: list[Element] = []
    links, unseen = 0, None
    walk = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, node in walk:
        text = node.tail
        if event == "start":
            around.append(node)
            page.shown[node] = page.linked[node] = 0
            links += node.tag == "a"
            text = node.text
            if is_unseen(node):
                unseen, text = node, None
                walk.skip_subtree()
        elif event == "end":
            around.pop()
            links -= node.tag == "a"
            if around and node is not unseen:
                page.shown[around[-1]] += page.shown[node]
                page.linked[around[-1]] += page.linked[node]
        if text and around:
            size = len("".join(text.split()))
            page.shown[around[-1]] += size
            page.linked[around[-1]] += size if links else 0
    return page


def bodies(page: Page) -> list[Body]:
    """Return what holds the text of a page, or its texts if there are several; none of a list.

    There may be several of a post, too, if its text is in pieces.
    """
    if named := _main(page, _named(page, _NAMES)):
        if len(named) == 1 and named[0].find(".//h1") is not None:  # then it holds more as well
            within = _body_within(page, named[0])
            return [Body(within, page.tree, "article" if within is named[0] else "named")]
        return _with_scopes(page, named, "named")
    articles = _main(page, _outermost(page, page.tree.iter("article")))
    if not articles:
        articles = _main(page, _named(page, _LESS_SURE_NAMES))
    if page.is_post and articles:  # others are cards of other posts
        articles = [max(articles, key=lambda element: page.shown[element])]
    if len(articles) == 1 and (elsewhere := _elsewhere(page, articles[0])) is not None:
        return [Body(elsewhere, page.tree, "page")]
    if articles:
        kept = [e for e in articles if e.find(".//h1") is not None or not page.is_links(e)]
        return _with_scopes(page, kept, "article")
    main = _main_element(page)
    if main is None:
        body = Body(_text_element(page), page.tree, "page")
    else:
        body = Body(main, page.tree, "article")
    return [] if not page.is_post and _is_list(page, body) else [body]


def left_out(page: Page, body: Body) -> set[Element]:
    """Return the elements of a body that are not of its text: menus, buttons, its heading."""
    from lxml import etree

    found = set[Element]()
    walk = etree.iterwalk(body.element, events=("start",))
    for _, node in walk:
        if node is body.element:
            continue
        if node not in page.shown or node.tag in (
            "pre",
            "blockquote",
            "code",
        ):  # unseen, or with classes of their own
            walk.skip_subtree()
        elif _is_beside(page, body, node):
            found.add(node)
            walk.skip_subtree()
    if sum(page.shown[node] for node in found) >= page.shown[body.element] and body.kind != "page":
        return set()  # its classes mean something else
    return found


def is_excerpt(page: Page, body: Body, text: str) -> bool:
    """Whether one of several texts on a page is only the beginning of a text elsewhere."""
    if _CUT_SHORT.search(text) or page.is_links(body.element):
        return True
    if any(_EXCERPTS.intersection(classes(node)) for node in (body.element, body.scope)):
        return True
    return any(
        _MORE.intersection(classes(link)) or _GO_ON.match("".join(link.itertext()).strip())
        for link in body.scope.iter("a")
    )


def _is_beside(page: Page, body: Body, node: Element) -> bool:
    if body.kind == "named":
        return says_aside(node) or (node.tag in ("nav", "form", "dialog", "footer"))
    if is_aside(node) or node.tag == "h1":
        return True
    if node.tag in _MENUS and _is_menu(page, node):
        return True
    if node.tag == "header":
        has_facts = any(node.find(f".//{tag}") is not None for tag in ("h1", "time"))
        return has_facts or node.getparent() is body.element
    if page.shown[node] <= FACT and _FACTS.intersection(classes(node)):
        return True
    return any(page.shown.get(time) == page.shown[node] for time in node.iter("time"))


def _is_menu(page: Page, element: Element) -> bool:
    """Whether an element is several links and little else, and has not the page's heading."""
    if not page.shown.get(element) or not page.is_links(element):
        return False
    return element.find(".//h1") is None and sum(1 for _ in element.iter("a")) > 1


def _named(page: Page, names: Iterable[str]) -> list[Element]:
    """Return the elements that have the first of some classes that the page has.

    If they are several and a later class has but one, that has it if it holds more text.
    """

    def words(elements: list[Element]) -> int:
        return sum(page.shown[e] - page.linked[e] for e in elements)

    found: dict[str, list[Element]] = {}
    for node in page.tree.iter("*"):
        own = classes(node)
        if "articleBody" in (node.get("itemprop") or ""):
            own.append(_NAMES[0])
        for name in own:
            found.setdefault(name, []).append(node)
    first = list[Element]()
    for name in names:
        elements = _outermost(page, found.get(name, []))
        if not first or (len(elements) == 1 < len(first) and words(elements) > words(first)):
            first = elements
    return first


def _body_within(page: Page, element: Element) -> Element:
    """Return the element with the name of a body and most of the text in another, or that one."""
    for node in element.iter("div", "section"):
        is_named = node is not element and set(_NAMES).intersection(classes(node))
        holds_most = 2 * page.shown.get(node, 0) > page.shown[element]
        if is_named and holds_most and node.find(".//h1") is None:
            return node
    return element


def _outermost(page: Page, elements: Iterable[Element]) -> list[Element]:
    """Return those elements with text that are in no other of them, in document order.

    Those that are beside the text of the page are left out.
    """
    shown = _outer({e for e in elements if page.shown.get(e)})
    outer = [e for e in page.tree.iter("*") if e in shown]
    large = {e for h in page.tree.iter("h1") if page.shown.get(h) for e in h.iterancestors()}
    large |= {*page.tree.iter("html", "body", "form")}  # whatever they are called: all is in them
    beside = [any(is_aside(a) for a in (e, *e.iterancestors()) if a not in large) for e in outer]
    return [e for e, is_beside in zip(outer, beside, strict=True) if not is_beside]


def _outer(elements: set[Element]) -> set[Element]:
    return {e for e in elements if elements.isdisjoint(e.iterancestors())}


def _main(page: Page, elements: list[Element]) -> list[Element]:
    """Return the only one of some elements that belongs to the page's only <h1>, or else all."""
    headings = [h for h in page.tree.iter("h1") if page.shown.get(h)]
    if len(headings) == 1:
        for scope in headings[0].iterancestors():
            if within := [e for e in elements if e is scope or scope in e.iterancestors()]:
                return within if len(within) == 1 else elements
    return elements


def _with_scopes(page: Page, elements: list[Element], kind: Told) -> list[Body]:
    if len(elements) == 1:
        return [Body(elements[0], page.tree, kind)]
    holds: dict[Element, int] = {}
    for element in elements:
        for scope in (element, *element.iterancestors()):
            holds[scope] = holds.get(scope, 0) + 1
    scopes = [
        [s for s in (element, *element.iterancestors()) if holds[s] == 1][-1]
        for element in elements
    ]
    return [Body(e, s, kind) for e, s in zip(elements, scopes, strict=True)]


def _elsewhere(page: Page, article: Element) -> Element | None:
    """Return where the text is if it is not in an <article> that has no heading of the page."""
    headings = [h for h in page.tree.iter("h1") if page.shown.get(h)]
    if any(article in h.iterancestors() for h in headings) or not (headings or page.is_post):
        return None
    found = _by_library(page, page.tree)
    within = found is None or found is article or article in found.iterancestors()
    if within or 2 * page.shown[article] > page.shown[found]:
        return None
    return found


def _main_element(page: Page) -> Element | None:
    """Return the element with the main part of a page, if one is called that."""
    for main in page.tree.iter("main", "div", "section"):
        if (main.tag == "main" or main.get("role") == "main") and page.shown.get(main):
            return main
    return None


def _text_element(page: Page) -> Element:
    """Return the element with the text of a page on which none has a name for it."""
    body = page.tree.find(".//body")
    body = page.tree if body is None else body
    found = _by_library(page, body)
    return body if found is None else found


def _by_library(page: Page, body: Element) -> Element | None:
    """Return the smallest element with nearly all of what a library takes for the text."""
    from lxml import etree

    source = etree.tostring(page.tree, encoding="unicode", method="html")
    if len(source) > LOOKED_AT:
        return None
    text = "".join(_found_by_library(source).split())
    pieces = {text[i : i + _PIECE] for i in range(len(text) - _PIECE + 1)}
    held = dict.fromkeys(page.shown, 0)
    for node in [*page.shown][::-1]:  # children before parents
        parent = node.getparent()
        own = "".join((node.text or "").split()) if page.shown[node] else ""
        held[node] += len(own) if own[:_PIECE] in pieces and own[-_PIECE:] in pieces else 0
        if parent is not None and parent in held:
            held[parent] += held[node]
    found = body
    while held[body]:
        smaller = [e for e in found if e in held and held[e] >= HELD * held[body]]
        if not smaller or smaller[0].tag in ("p", "li", "span", "pre", "blockquote", "table", "a"):
            return found
        found = smaller[0]
    return None


def _found_by_library(source: str) -> str:
    from charloom.errors import needs_extra

    with needs_extra("text", "reading web pages"):
        from trafilatura import bare_extraction
    try:
        found = bare_extraction(source, fast=True, include_comments=False)
    except Exception:  # it was not made for whatever is called a page
        return ""
    return "" if found is None or isinstance(found, dict) else found.text or ""


def _is_list(page: Page, body: Body) -> bool:
    """Whether there is little but links, or headings that lead to other pages."""
    element = body.element
    headings = [h for h in element.iter(*HEADINGS) if page.shown.get(h)]
    if page.is_links(element):
        beside = left_out(page, body._replace(kind="page")).union(headings)
        beside |= {e for e in element.iter("ul", "ol", "p") if _is_menu(page, e)}
        rest = page.shown[element] - sum(page.shown[e] for e in _outer(beside))
        return rest < REST * page.linked[element]
    headings = [h for h in headings if h.tag != "h1"]
    leading = [h for h in headings if page.is_links(h) and any(map(_leads_away, h.iter("a")))]
    return len(leading) >= LISTED and 2 * len(leading) > len(headings)


def _leads_away(link: Element) -> bool:
    return bool((link.get("href") or "#").partition("#")[0]) and bool("".join(link.itertext()))
