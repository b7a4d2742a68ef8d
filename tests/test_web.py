import gzip
import socket
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers import Report
from charloom.data.web import fetching
from charloom.data.web.fetching import Fetcher, check, is_address
from charloom.data.web.site import read_site
from charloom.errors import CharloomError
from web_server import Answer, Site, serve

pytest.importorskip("protego")
pytest.importorskip("lxml")

SITEMAP = (
    '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
)
INDEX = '<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</sitemapindex>'
RSS = '<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel><title>T</title>{}{}</channel></rss>'


@pytest.fixture
def site():
    with serve() as found:
        yield found


@pytest.fixture
def fetch(tmp_path):
    waits = []
    with closing(Fetcher(True, tmp_path / "cache", sleep=waits.append)) as fetcher:
        fetcher.waits = waits
        yield fetcher


def a_map(site: Site, *paths: str) -> Answer:
    urls = "".join(f"<url><loc>{site.url}{path}</loc></url>" for path in paths)
    return Answer(SITEMAP.format(urls), "application/xml")


def paths(site: Site, fetcher: Fetcher, path: str = "/", report: Report | None = None) -> list[str]:
    pages = read_site(site.url + path, fetcher, report or Report(), lambda _: None)
    return [page.url.removeprefix(site.url) for page in pages]


def refused(fetcher: Fetcher, url: str) -> CharloomError:
    with pytest.raises(CharloomError) as raised:
        fetcher.get(url)
    return raised.value


# Fetching


def test_a_page_is_fetched_with_its_kind(site, fetch):
    site.pages["/a"] = Answer("<p>Hello", "text/html; charset=utf-8")
    page = fetch.get(f"{site.url}/a")
    assert page == (f"{site.url}/a", b"<p>Hello", "text/html")


def test_it_is_asked_for_once_a_day(site, fetch, tmp_path, monkeypatch):
    site.pages["/a"] = Answer("first", headers=(("ETag", '"1"'),))
    for _ in range(2):
        assert fetch.get(f"{site.url}/a").content == b"first"
    assert site.asked == ["/a"]

    def unchanged(handler):
        assert handler.headers["If-None-Match"] == '"1"'
        return Answer(status=304)

    now = fetching.time.time()
    monkeypatch.setattr(fetching.time, "time", lambda: now + 2 * fetching.FRESH_SECONDS)
    site.pages["/a"] = unchanged
    assert fetch.get(f"{site.url}/a").content == b"first"
    assert fetch.get(f"{site.url}/a").content == b"first"
    assert site.asked == ["/a", "/a"]


@pytest.mark.parametrize("spoil", [b"", b"{}", b"nonsense", b"\xff"])
@pytest.mark.parametrize("suffix", [".json", ".page"])
def test_what_is_damaged_in_the_cache_is_fetched_anew(site, fetch, tmp_path, spoil, suffix):
    site.pages["/a"] = Answer("whole")
    fetch.get(f"{site.url}/a")
    for path in Path(tmp_path, "cache").glob(f"*{suffix}"):
        path.write_bytes(spoil)
    assert fetch.get(f"{site.url}/a").content == b"whole"
    assert len(site.asked) == 2


def test_redirects_are_followed_and_named(site, fetch):
    site.pages["/old"] = Answer(status=301, headers=(("Location", "/new#top"),))
    site.pages["/new"] = Answer("here")
    assert fetch.get(f"{site.url}/old").url == f"{site.url}/new"
    site.pages["/round"] = Answer(status=302, headers=(("Location", "/round"),))
    assert refused(fetch, f"{site.url}/round").facts["why"] == "too many redirects"


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_not_there(site, fetch, status):
    site.pages["/a"] = Answer(status=status)
    assert refused(fetch, f"{site.url}/a").code == "not-found"
    assert fetch.waits == []


def test_a_busy_server_is_asked_again(site, fetch):
    answers = [
        Answer(status=503, headers=(("Retry-After", "7"),)),
        Answer(status=429),
        Answer("ok"),
    ]
    site.pages["/a"] = lambda _: answers.pop(0)
    assert fetch.get(f"{site.url}/a").content == b"ok"
    assert fetch.waits == [7.0, fetching.RETRY_SECONDS[1]]
    site.pages["/b"] = Answer(status=503)
    assert refused(fetch, f"{site.url}/b").facts["status"] == 503


def test_a_server_that_is_gone(fetch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refused(fetch, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (error.code, error.facts["why"]) == ("unreadable", "no connection")


def test_a_page_has_a_size(site, fetch, monkeypatch):
    monkeypatch.setattr(fetching, "PAGE_BYTES", 1000)
    packed = gzip.compress(b"a" * 1001)
    site.pages["/a"] = Answer("a" * 1001)
    site.pages["/b"] = Answer(packed, headers=(("Content-Encoding", "gzip"),))
    for path in ("/a", "/b"):
        assert refused(fetch, site.url + path).facts["why"] == "too large"


def test_a_page_that_is_cut_short_is_none(site, fetch):
    site.pages["/a"] = Answer("half", missing=4)
    assert refused(fetch, f"{site.url}/a").code == "unreadable"


PRIVATE = (
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254"),
    *("0.0.0.0", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "localhost"),
    *("100.64.0.1", "224.0.0.1", "255.255.255.255", "[2002:7f00:1::]"),
)


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_addresses_are_refused(host, scheme):
    with pytest.raises(CharloomError) as raised:
        check(f"{scheme}://{host}:8000/a", private=False)
    assert raised.value.facts["why"] == "a private address"
    assert check(f"{scheme}://{host}:8000/a", private=True) is False


def test_a_public_address_is_none_of_them():
    assert check("http://8.8.8.8/", private=False)
    assert check("https://[2606:4700::1]/", private=False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://8.8.8.8/a",
        "data://x",
        "http://",
        "http://a:b@8.8.8.8/",
        "http://8.8.8.8:99999/",
    ],
)
def test_what_is_not_a_plain_address_is_refused(url):
    with pytest.raises(CharloomError) as raised:
        check(url, private=True)
    assert raised.value.code == "unsupported"
    assert is_address(url)


def test_a_redirect_to_a_private_address_is_refused(site, tmp_path, monkeypatch):
    """The first address counts as public here: only the second look can refuse."""
    site.pages["/a"] = Answer(status=302, headers=(("Location", "http://10.0.0.1/secret"),))
    monkeypatch.setattr(fetching, "_is_public", lambda address: address.startswith("127."))
    with closing(Fetcher(False, tmp_path, pause=0)) as fetcher:
        error = refused(fetcher, f"{site.url}/a")
    assert error.facts["why"] == "a private address"
    assert site.asked == ["/a"]


def test_whom_a_name_leads_to_is_looked_at_once_more(site, tmp_path, monkeypatch):
    """A name that was public a moment ago may be looked up as this machine."""
    looks = Counter()

    def public_at_first(address):
        looks[address] += 1
        return looks[address] == 1

    monkeypatch.setattr(fetching, "_is_public", public_at_first)
    with closing(Fetcher(False, tmp_path, pause=0)) as fetcher:
        error = refused(fetcher, f"{site.url}/a")
    assert error.facts["why"] == "a private address"
    assert site.asked == []


def test_a_strangers_server_is_given_a_rest(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_is_public", lambda _: True)
    waits = []
    site.pages |= {"/a": Answer("a"), "/b": Answer("b")}
    with closing(Fetcher(False, tmp_path, sleep=waits.append)) as fetcher:
        for path in ("/a", "/b", "/a"):
            fetcher.get(site.url + path)
    assert waits == [fetching.PAUSE_SECONDS]


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text):
    found = [(0, 0, 0, "", ("10.0.0.1", 80))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        for url in (text, f"http://{text}"):
            is_address(url)
            with suppress(CharloomError):
                assert not check(url, private=True)


# Sites


def test_a_site_is_read_by_its_sitemap(site, fetch):
    site.pages |= {f"/{n}": Answer(f"<p>{n}") for n in range(3)}
    site.pages["/"] = Answer("<html>home")
    site.pages["/sitemap.xml"] = a_map(site, "/0", "/1", "/2", "/gone", "/1#again")
    report = Report()
    assert paths(site, fetch, report=report) == ["/0", "/1", "/2"]
    assert report.left_out == {"pages that cannot be read (status 404)": 1}
    assert fetch.waits == []  # it is one's own


def test_sitemaps_name_sitemaps_packed_or_plain(site, fetch):
    site.pages |= {path: Answer("<p>a") for path in ("/", "/a", "/b", "/c")}
    site.pages["/robots.txt"] = Answer(f"Sitemap: {site.url}/all.xml", "text/plain")
    maps = "".join(
        f"<sitemap><loc>{site.url}/{n}</loc></sitemap>" for n in ("m.xml.gz", "m.txt", "all.xml")
    )
    site.pages["/all.xml"] = Answer(INDEX.format(maps), "text/xml")
    packed = gzip.compress(SITEMAP.format(f"<url><loc>{site.url}/a</loc></url>").encode())
    site.pages["/m.xml.gz"] = Answer(packed, "application/gzip")
    site.pages["/m.txt"] = Answer(
        f"{site.url}/b\n{site.url}/c\nhttp://elsewhere.example/d\n", "text/plain"
    )
    assert paths(site, fetch) == ["/a", "/b", "/c"]
    assert paths(site, fetch, "/all.xml")[:3] == ["/a", "/b", "/c"]


def test_a_page_stands_for_what_is_below_it(site, fetch):
    site.pages |= {
        p: Answer("<p>a", "text/html")
        for p in ("/blog/", "/blog/a", "/blog/a/b", "/about", "/blogs")
    }
    site.pages["/sitemap.xml"] = a_map(site, "/about", "/blog/a", "/blog/a/b", "/blogs")
    assert paths(site, fetch, "/blog/") == ["/blog/a", "/blog/a/b"]
    assert paths(site, fetch, "/about") == ["/about"]


def test_robots_txt_is_obeyed(site, fetch):
    site.pages |= {p: Answer("<p>a") for p in ("/", "/a", "/private/b")}
    site.pages["/sitemap.xml"] = a_map(site, "/a", "/private/b")
    site.pages["/robots.txt"] = Answer("User-agent: *\nDisallow: /private/\nCrawl-delay: 5\n")
    report = Report()
    assert paths(site, fetch, report=report) == ["/a"]
    assert report.left_out == {"pages that robots.txt forbids": 1}
    assert fetch.pause == 5
    with pytest.raises(CharloomError) as raised:
        paths(site, fetch, "/private/b")
    assert raised.value.facts["why"] == "robots.txt"
    assert "/private/b" not in site.asked


def test_without_a_robots_txt_that_can_be_had_nothing_is_read(site, fetch):
    site.pages |= {"/robots.txt": Answer(status=500), "/": Answer("<p>a")}
    with pytest.raises(CharloomError) as raised:
        paths(site, fetch)
    assert raised.value.facts["status"] == 500
    assert "/" not in site.asked


def test_a_feed_with_its_texts_is_the_text_oldest_page_first(site, fetch):
    item = "<item><link>{}/{}</link><content:encoded>Long text</content:encoded></item>"
    wordpress = "<generator>https://wordpress.org/?v=6.4</generator>"
    for n, path in enumerate(("/feed/", "/feed/?paged=2", "/feed/?paged=3")):
        site.pages[path] = Answer(
            RSS.format(wordpress, item.format(site.url, n)), "application/rss+xml"
        )
    assert paths(site, fetch, "/feed/") == ["/feed/?paged=3", "/feed/?paged=2", "/feed/"]


def test_a_feed_of_summaries_stands_for_its_pages(site, fetch):
    item = "<item><title>t</title><link>{}</link><description>Short</description></item>"
    links = (f"{site.url}/new", "http://elsewhere.example/", f"{site.url}/old")
    site.pages["/feed"] = Answer(
        RSS.format("", "".join(map(item.format, links))), "application/rss+xml"
    )
    site.pages |= {"/new": Answer("<p>new"), "/old": Answer("<p>old")}
    report = Report()
    assert paths(site, fetch, "/feed", report) == ["/old", "/new"]
    assert report.left_out == {"entries on other sites": 1}


def test_a_home_page_without_a_sitemap_has_its_feed_read(site, fetch):
    entry = "<item><link>/a</link><content:encoded>Whole</content:encoded></item>"
    link = '<link rel="alternate" type="application/rss+xml" href="{}">'
    site.pages["/"] = Answer(
        f"<html><head>{link.format('/comments/feed')}{link.format('/rss')}</head>home"
    )
    site.pages["/rss"] = Answer(RSS.format("", entry), "text/xml")
    assert paths(site, fetch) == ["/rss"]
    del site.pages["/rss"]
    report = Report()
    site.pages["/x"] = Answer("<html>home")
    fetch._folder = fetch._folder / "other"
    assert paths(site, fetch, report=report) == ["/"]
    assert len(report.notes) == 1


def test_anything_else_is_the_one_thing_to_read(site, fetch):
    site.pages["/book.epub"] = Answer(b"PK\x03\x04", "application/epub+zip")
    site.pages["/book.txt"] = Answer("a book", "text/plain")
    assert paths(site, fetch, "/book.epub") == ["/book.epub"]
    assert paths(site, fetch, "/book.txt") == ["/book.txt"]


def test_an_interrupted_reading_goes_on_where_it_was(site, fetch):
    site.pages |= {f"/{n}": Answer(f"<p>{n}") for n in range(4)} | {"/": Answer("<p>home")}
    site.pages["/sitemap.xml"] = a_map(site, *(f"/{n}" for n in range(4)))
    pages = read_site(f"{site.url}/", fetch, Report(), lambda _: None)
    assert [next(pages).content, next(pages).content] == [b"<p>0", b"<p>1"]
    pages.close()
    assert paths(site, fetch) == ["/0", "/1", "/2", "/3"]
    asked = Counter(site.asked)
    assert [asked[f"/{n}"] for n in range(4)] == [1, 1, 1, 1]


@given(
    st.binary(max_size=200)
    | st.sampled_from([SITEMAP.encode(), INDEX.encode(), RSS.encode()]).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut] + b"<" + text[cut:])
    )
)
def test_whatever_a_site_answers_is_an_error_or_a_page(content):
    from charloom.data.web import site as module

    page = fetching.Page("http://8.8.8.8/a", content)
    list(module._locations(page))
    module._linked_feed(page)
    for test in (module._is_sitemap, module._is_feed, module._is_html):
        test(page)
    list(module._entries(page))
