"""Which pages a site has: by its sitemap, or by its feed, as far as its robots.txt allows."""

import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urljoin

from charloom.data.readers import Report
from charloom.data.web.fetching import (
    PAGE_BYTES,
    Fetcher,
    Page,
    check,
    shown,
    urlsplit_safely,
    without_fragment,
)
from charloom.errors import CharloomError
from charloom.formatting import count
from charloom.progress import Tell

AGENT = "charloom"
MOST_PAGES = 10_000
MOST_SITEMAPS = 200
MOST_BYTES = 2**30  # of all pages together
LONGEST_PAUSE = 30.0  # seconds that a robots.txt may ask for
SITEMAPS = ("/sitemap.xml", "/sitemap_index.xml", "/wp-sitemap.xml")
FEED_PAGES = 1000
_XML = ("<?xml", "<rss", "<feed", "<urlset", "<sitemapindex")


class _Listed(NamedTuple):
    """What a sitemap or feed says of a page."""

    url: str
    whole: bool = False  # its text is in the feed


def read_site(url: str, fetcher: Fetcher, report: Report, tell: Tell) -> Iterator[Page]:
    """Yield the pages of a site, or what an address gives if it is no page of one.

    A page stands for what its site's sitemap has at and below it: the first page for all of them.
    Without a sitemap the first page's feed does. A feed stands for its entries: for itself if
    their text is in it, else for their pages. Anything else, such as a book, is the one thing to
    read. What cannot be read or is forbidden is counted in `report`. Raises CharloomError if the
    address itself cannot be read, or if nothing can.
    """
    check(url, fetcher.private)
    robots = _Robots(fetcher)
    if not robots.allow(url):
        message = f"{shown(url)} is not for programs, says the site's robots.txt: save it yourself"
        raise CharloomError(message, "unreadable", why="robots.txt", url=url)
    tell(f"reading {shown(url)}")
    page = fetcher.get(url)
    if _is_sitemap(page):
        listed = _sitemap_pages([page.url], fetcher, robots, "")
        yield from _read_all(listed, None, fetcher, robots, report, tell)
    elif _is_feed(page):
        yield from _feed(page, fetcher, robots, report, tell)
    elif _is_html(page):
        yield from _site(page, fetcher, robots, report, tell)
    else:
        yield page


def _site(
    first: Page, fetcher: Fetcher, robots: "_Robots", report: Report, tell: Tell
) -> Iterator[Page]:
    parts = urlsplit_safely(first.url)
    listed = _sitemap_pages(robots.sitemaps(first.url), fetcher, robots, first.url)
    for path in SITEMAPS:
        listed = listed or _sitemap_pages([urljoin(first.url, path)], fetcher, robots, first.url)
    if any(_key(url) != _key(first.url) for url in listed):
        yield from _read_all(listed, first, fetcher, robots, report, tell)
        return
    address = _linked_feed(first) if parts.path in ("", "/") else ""
    if address and robots.allow(address):
        try:
            feed = fetcher.get(address)
        except CharloomError:
            feed = None
        if feed is not None and _is_feed(feed):
            yield from _feed(feed, fetcher, robots, report, tell)
            return
    if parts.path in ("", "/"):
        report.notes.append(
            f"{shown(first.url)} has no sitemap and no feed that can be found: only that page is "
            "read; name its other pages, too"
        )
    yield first


def _feed(
    page: Page, fetcher: Fetcher, robots: "_Robots", report: Report, tell: Tell
) -> Iterator[Page]:
    """Yield the pages of a feed, its last first, or those of its entries."""
    pages, listed = [], list[_Listed]()
    for page in _feed_pages(page, fetcher, robots, tell):  # noqa: B020
        pages.append(page)
        listed += _entries(page)
    if 2 * sum(entry.whole for entry in listed) >= len(listed):
        yield from reversed(pages)
        return
    urls = [entry.url for entry in reversed(listed) if _same_site(entry.url, page.url)]
    if len(urls) < len(listed):
        report.left_out["entries that lead to other sites"] += len(listed) - len(urls)
    yield from _read_all(dict.fromkeys(urls), None, fetcher, robots, report, tell)


def _read_all(
    urls: dict[str, None],
    first: Page | None,
    fetcher: Fetcher,
    robots: "_Robots",
    report: Report,
    tell: Tell,
) -> Iterator[Page]:
    size, read = 0, 0
    for number, url in enumerate(urls):
        if number == MOST_PAGES or size > MOST_BYTES:
            limit = f"{number:,} pages" if number == MOST_PAGES else f"{size:,} bytes"
            report.notes.append(f"left out what comes after {limit}: {len(urls) - number:,} pages")
            break
        tell(f"reading page {number + 1:,} of {len(urls):,}: {shown(url)}")
        try:
            if not robots.allow(url):
                report.left_out["pages that robots.txt forbids"] += 1
                continue
            page = first if first and _key(url) == _key(first.url) else fetcher.get(url)
        except CharloomError as error:
            report.left_out[f"pages that cannot be read ({error.facts.get('why')})"] += 1
            continue
        size, read = size + len(page.content), read + 1
        yield page
    if not read:
        found = count(len(urls), "page")
        message = f"none of the {found} that the site lists can be read: try again later"
        raise CharloomError(message, "no-text", pages=len(urls))


class _Robots:
    """What the robots.txt of each site allows; its pause is that of the fetcher from then on."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher, self._rules = fetcher, dict[str, Any]()

    def allow(self, url: str) -> bool:
        """Return whether a page may be read."""
        rules = self._of(url)
        return rules is not None and bool(rules.can_fetch(url, AGENT))

    def sitemaps(self, url: str) -> list[str]:
        """Return the addresses of the sitemaps of a page's site, if its robots.txt names some."""
        rules = self._of(url)
        return [] if rules is None else [urljoin(url, found) for found in rules.sitemaps]

    def _of(self, url: str) -> Any:
        """Return the rules of a page's site: None if they cannot be had, so that nothing may be."""
        from protego import Protego

        site = urljoin(url, "/robots.txt")
        if site not in self._rules:
            try:
                content = self._fetcher.get(site).content.decode("utf-8", "replace")
            except CharloomError as error:
                status = error.facts.get("status")
                if not (isinstance(status, int) and 400 <= status < 500 and status != 429):
                    raise
                content = ""  # there is none
            self._rules[site] = rules = Protego.parse(content)
            delay = rules.crawl_delay(AGENT)
            if delay is not None:
                self._fetcher.pause = min(LONGEST_PAUSE, max(self._fetcher.pause, float(delay)))
        return self._rules[site]


def _sitemap_pages(
    maps: list[str], fetcher: Fetcher, robots: _Robots, below: str
) -> dict[str, None]:
    """Return the pages in sitemaps, and in those that they name, at and below an address."""
    found, left, seen = dict[str, None](), deque(maps), set[str]()
    while left and len(seen) < MOST_SITEMAPS:
        address = left.popleft()
        if address in seen or not _same_site(address, maps[0]) or not robots.allow(address):
            continue
        seen.add(address)
        try:
            page = fetcher.get(address)
        except CharloomError:
            continue
        for is_map, url in _locations(page):
            if is_map:
                left.append(url)
            elif not below or _is_below(url, below):
                found[without_fragment(url)] = None
    return found


def _locations(page: Page) -> Iterator[tuple[bool, str]]:
    """Yield each address in a sitemap, and whether it is that of another sitemap."""
    content = _unpacked(page.content)
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        for line in content.decode("utf-8", "replace").split():  # a plain list
            if line.startswith(("http://", "https://")):
                yield False, line
        return
    root = _xml(content)
    if root is None:
        return
    for entry in root:
        for child in entry if _name(entry) in ("url", "sitemap") else ():
            if _name(child) == "loc" and child.text:
                yield _name(entry) == "sitemap", urljoin(page.url, child.text.strip())


def _feed_pages(page: Page, fetcher: Fetcher, robots: _Robots, tell: Tell) -> Iterator[Page]:
    """Yield a feed and the pages that go on with it (RFC 5005; WordPress numbers them)."""
    seen = set[str]()
    for number in range(2, FEED_PAGES + 2):
        yield page
        seen.add(page.url)
        address = _next_feed(page, number)
        if not address or address in seen or not robots.allow(address):
            return
        tell(f"reading page {number} of the feed")
        try:
            following = fetcher.get(address)
        except CharloomError:
            return
        if not _is_feed(following) or following.content == page.content:
            return
        page = following


def _next_feed(page: Page, number: int) -> str:
    root = _xml(page.content)
    for element in [] if root is None else root.iter():
        if _name(element) in ("item", "entry"):
            break  # what follows is about entries
        if _name(element) == "link" and element.get("rel") == "next":
            return urljoin(page.url, str(element.get("href", "")))
        if _name(element) == "generator" and "wordpress.org" in (element.text or ""):
            return urljoin(page.url, f"?paged={number}")
    return ""


def _entries(page: Page) -> Iterator[_Listed]:
    """Yield the entries of a feed: RSS has their text in content:encoded, Atom in content."""
    root = _xml(page.content)
    for element in [] if root is None else root.iter():
        if _name(element) in ("item", "entry"):
            link, whole = "", False
            for child in element:
                if _name(child) == "link" and child.get("rel", "alternate") == "alternate":
                    link = link or (child.get("href") or child.text or "").strip()
                whole = whole or (_name(child) in ("encoded", "content") and _is_full(child))
            yield _Listed(urljoin(page.url, link), whole)


def _name(element: Any) -> str:
    """Return the name of an element without its namespace; nothing for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _is_full(element: Any) -> bool:
    return bool(len(element) or (element.text or "").strip())


def _linked_feed(page: Page) -> str:
    """Return the address of the feed that a page names, or nothing."""
    from lxml import etree, html

    try:
        root = html.fromstring(page.content)
    except (etree.LxmlError, ValueError):
        return ""
    for link in root.iter("link"):
        kind, rel = link.get("type", "").lower(), link.get("rel", "").lower().split()
        address = str(link.get("href", "")).strip()
        is_feed = "alternate" in rel and kind in ("application/rss+xml", "application/atom+xml")
        if is_feed and address and "comments" not in address:
            return urljoin(page.url, address)
    return ""


def _xml(content: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        return etree.fromstring(content, parser)
    except (etree.LxmlError, ValueError):
        return None


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        return unpack.decompress(content, PAGE_BYTES)
    except zlib.error:
        return b""


def _head(page: Page) -> str:
    return page.content[:2048].decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()


def _is_sitemap(page: Page) -> bool:
    if page.content.startswith(b"\x1f\x8b") and "sitemap" in page.url.lower():
        return True
    return _is_xml(page) and ("<urlset" in _head(page) or "<sitemapindex" in _head(page))


def _is_feed(page: Page) -> bool:
    head = _head(page)
    return _is_xml(page) and any(mark in head for mark in ("<rss", "<feed", "<rdf:rdf"))


def _is_xml(page: Page) -> bool:
    return _head(page).startswith(_XML)


def _is_html(page: Page) -> bool:
    if page.media_type in ("text/html", "application/xhtml+xml"):
        return True
    return not page.media_type and ("<html" in _head(page) or "<!doctype html" in _head(page))


def within_site(url: str, top: str) -> str:
    """Return the path of a page of a site, or the address of what is none, as one line."""
    parts = urlsplit_safely(url)
    if _key(url) == _key(top) or not _same_site(url, top):
        return shown(url)
    return shown(parts.path + (f"?{parts.query}" if parts.query else ""))


def _is_below(url: str, top: str) -> bool:
    if not _same_site(url, top):
        return False
    path, above = (urlsplit_safely(address).path.rstrip("/") for address in (url, top))
    return path == above or path.startswith(f"{above}/")


def _same_site(url: str, other: str) -> bool:
    one, two = (urlsplit_safely(address).netloc.lower() for address in (url, other))
    return one.removeprefix("www.") == two.removeprefix("www.")


def _key(url: str) -> tuple[str, str, str]:
    parts = urlsplit_safely(url)
    return parts.netloc.lower().removeprefix("www."), parts.path.rstrip("/"), parts.query


class Site:
    """The pages of a site, to be read once; `report` says what of it was left out."""

    def __init__(self, url: str, private: bool, tell: Tell) -> None:
        self.url, self.report = url, Report()
        self._private, self._tell = private, tell

    def pages(self) -> Iterator[Page]:
        """Yield them as `read_site` does."""
        with closing(Fetcher(self._private)) as fetcher:
            yield from read_site(self.url, fetcher, self.report, self._tell)
