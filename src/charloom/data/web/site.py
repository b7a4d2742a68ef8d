"""Which pages a site has: by its sitemap, or by its feed, as far as its robots.txt allows."""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urljoin

from charloom.data.parts import shown
from charloom.data.readers import HEAD_BYTES, Head, Report
from charloom.data.readers.blogs.feeds import is_feed, is_sitemap
from charloom.data.readers.pages.html import is_page
from charloom.data.readers.pages.markup import parse
from charloom.data.readers.xml_tree import name_of
from charloom.data.web.fetching import (
    PAGE_BYTES,
    Fetcher,
    Page,
    check,
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


class Site:
    """The pages of a site, to be read once; `report` says what of it was left out."""

    def __init__(self, url: str, private: bool, tell: Tell) -> None:
        self.url, self.report = url, Report()
        self._private, self._tell = private, tell

    def pages(self) -> Iterator[Page]:
        """Yield them as `read_site` does."""
        with closing(Fetcher(self._private)) as fetcher:
            yield from read_site(self.url, fetcher, self.report, self._tell)


def read_site(url: str, fetcher: Fetcher, report: Report, tell: Tell) -> Iterator[Page]:
    """Yield the pages of a site, or what an address gives if it is no page of one.

    A page stands for what its site's sitemap has at and below it: the first page for all of them.
    Without a sitemap the first page's feed does. A feed stands for its entries: for itself if
    their text is in it, else for their pages. Anything else, such as a book, is the one thing to
    read. What cannot be read or is forbidden is counted in `report`. Raises CharloomError if the
    address itself cannot be read, or if nothing can.
    """
    check(url, fetcher.private)
    visit = _Visit(fetcher, report, tell)
    page = visit.first(url)
    if _is_sitemap(page):
        yield from visit.pages(visit.in_sitemaps([page.url], ""))
    elif _is_feed(page):
        yield from visit.of_feed(page)
    elif _is_html(page):
        yield from visit.of_page(page)
    else:
        yield page


class _Visit:
    """What is read of a site, as its robots.txt allows."""

    def __init__(self, fetcher: Fetcher, report: Report, tell: Tell) -> None:
        self._fetcher, self._robots = fetcher, _Robots(fetcher)
        self._report, self._tell = report, tell

    def first(self, url: str) -> Page:
        """Return the page that the user named; raises CharloomError if it may not be read."""
        if not self._robots.allow(url):
            message = (
                f"{shown(url)} is not for programs, says the site's robots.txt: save it yourself"
            )
            raise CharloomError(message, "unreadable", why="robots.txt", url=url)
        self._tell(f"reading {shown(url)}")
        return self._fetcher.get(url)

    def of_page(self, first: Page) -> Iterator[Page]:
        """Yield the pages that the sitemap or feed of a page's site has, or only that page."""
        listed = self.in_sitemaps(self._robots.sitemaps(first.url), first.url)
        for path in SITEMAPS:
            listed = listed or self.in_sitemaps([urljoin(first.url, path)], first.url)
        if any(_key(url) != _key(first.url) for url in listed):
            yield from self.pages(listed, first)
            return
        if urlsplit_safely(first.url).path in ("", "/"):
            address = _linked_feed(first)
            feed = self._get(address) if address else None
            if feed is not None and _is_feed(feed):
                yield from self.of_feed(feed)
                return
            self._report.notes.append(
                f"{shown(first.url)} has no sitemap and no feed that can be found: only that page "
                "is read; name its other pages, too"
            )
        yield first

    def of_feed(self, feed: Page) -> Iterator[Page]:
        """Yield the pages of a feed, its last first, or those of its entries."""
        pages = [*self._feed_pages(feed)]
        entries = [entry for page in pages for entry in _entries(page)]
        if 2 * sum(is_whole for _, is_whole in entries) >= len(entries):
            yield from reversed(pages)
            return
        urls = [url for url, _ in reversed(entries) if _same_site(url, feed.url)]
        if elsewhere := len(entries) - len(urls):
            self._report.left_out["entries on other sites"] += elsewhere
        yield from self.pages(dict.fromkeys(urls))

    def pages(self, urls: dict[str, None], first: Page | None = None) -> Iterator[Page]:
        """Yield the pages of some addresses, of which the first page is known already."""
        size, read = 0, 0
        for number, url in enumerate(urls):
            if number == MOST_PAGES or size > MOST_BYTES:
                limit = f"{number:,} pages" if number == MOST_PAGES else f"{size:,} bytes"
                rest = f"{len(urls) - number:,} pages"
                self._report.notes.append(f"left out what comes after {limit}: {rest}")
                break
            self._tell(f"reading page {number + 1:,} of {len(urls):,}: {shown(url)}")
            try:
                if not self._robots.allow(url):
                    self._report.left_out["pages that robots.txt forbids"] += 1
                    continue
                page = first if first and _key(url) == _key(first.url) else self._fetcher.get(url)
            except CharloomError as error:
                why = error.facts.get("why")
                self._report.left_out[f"pages that cannot be read ({why})"] += 1
                continue
            size, read = size + len(page.content), read + 1
            yield page
        if not read:
            found = count(len(urls), "page")
            message = f"none of the {found} that the site lists can be read: try again later"
            raise CharloomError(message, "no-text", pages=len(urls))

    def in_sitemaps(self, maps: list[str], below: str) -> dict[str, None]:
        """Return the pages in sitemaps, and in those that they name, at and below an address."""
        found, left, seen = dict[str, None](), deque(maps), set[str]()
        while left and len(seen) < MOST_SITEMAPS:
            address = left.popleft()
            if address in seen or not _same_site(address, maps[0]):
                continue
            seen.add(address)
            page = self._get(address)
            for is_map, url in [] if page is None else _locations(page):
                if is_map:
                    left.append(url)
                elif not below or _is_below(url, below):
                    found[without_fragment(url)] = None
        return found

    def _feed_pages(self, feed: Page) -> Iterator[Page]:
        """Yield a feed and the pages that go on with it (RFC 5005; WordPress numbers them)."""
        page, seen = feed, set[str]()
        for number in range(2, FEED_PAGES + 2):
            yield page
            seen.add(page.url)
            address = _next_feed(page, number)
            if not address or address in seen:
                return
            self._tell(f"reading page {number} of the feed")
            following = self._get(address)
            if following is None or not _is_feed(following) or following.content == page.content:
                return
            page = following

    def _get(self, url: str) -> Page | None:
        """Return a page of many; None if it may not or cannot be read."""
        try:
            return self._fetcher.get(url) if self._robots.allow(url) else None
        except CharloomError:
            return None


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


def _locations(page: Page) -> Iterator[tuple[bool, str]]:
    """Yield each address in a sitemap, and whether it is that of another sitemap."""
    content = _unpacked(page.content)
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        for line in content.decode("utf-8", "replace").split():  # a plain list
            if line.startswith(("http://", "https://")):
                yield False, line
        return
    for entry in _elements(content):
        for child in entry if name_of(entry) in ("url", "sitemap") else ():
            if name_of(child) == "loc" and child.text:
                yield name_of(entry) == "sitemap", urljoin(page.url, child.text.strip())


def _next_feed(page: Page, number: int) -> str:
    for element in _elements(page.content):
        if name_of(element) in ("item", "entry"):
            break  # what follows is about entries
        if name_of(element) == "link" and element.get("rel") == "next":
            return urljoin(page.url, str(element.get("href", "")))
        if name_of(element) == "generator" and "wordpress.org" in (element.text or ""):
            return urljoin(page.url, f"?paged={number}")
    return ""


def _entries(page: Page) -> Iterator[tuple[str, bool]]:
    """Yield the address of each entry of a feed, and whether the whole of its text is there.

    RSS has that in content:encoded, Atom in content.
    """
    for entry in _elements(page.content):
        if name_of(entry) in ("item", "entry"):
            link, whole = "", False
            for child in entry:
                if name_of(child) == "link" and child.get("rel", "alternate") == "alternate":
                    link = link or (child.get("href") or child.text or "").strip()
                is_full = len(child) or (child.text or "").strip()
                whole = whole or (name_of(child) in ("encoded", "content") and bool(is_full))
            yield urljoin(page.url, link), whole


def _linked_feed(page: Page) -> str:
    """Return the address of the feed that a page names, or nothing."""
    for link in parse(page.content.decode("utf-8", "replace")).iter("link"):
        kind, rel = link.get("type", "").lower(), link.get("rel", "").lower().split()
        address = str(link.get("href", "")).strip()
        is_of_posts = "alternate" in rel and kind in ("application/rss+xml", "application/atom+xml")
        if is_of_posts and address and "comments" not in address:
            return urljoin(page.url, address)
    return ""


def _elements(content: bytes) -> Iterable[Any]:
    """Return the elements of XML in their order, as far as it is well-formed."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        root = etree.fromstring(content, parser)
    except (etree.LxmlError, ValueError):
        return ()
    return () if root is None else root.iter()


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        return unpack.decompress(content, PAGE_BYTES)
    except zlib.error:
        return b""


def _head(page: Page) -> Head:
    return Head("", page.content[:HEAD_BYTES])


def _is_sitemap(page: Page) -> bool:
    is_packed = page.content.startswith(b"\x1f\x8b") and "sitemap" in page.url.lower()
    return is_packed or is_sitemap(_head(page))


def _is_feed(page: Page) -> bool:
    return is_feed(_head(page))


def _is_html(page: Page) -> bool:
    if page.media_type:
        return page.media_type in ("text/html", "application/xhtml+xml")
    return is_page(_head(page))


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
