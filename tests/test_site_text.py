"""A site as a text: from its address to ids, in the order of its pages."""

import pytest

import charloom
from charloom.data.parts import Download
from charloom.data.reading import UTF8, Reading
from charloom.data.text import read_text
from charloom.errors import CharloomError
from charloom.runs.run import Run
from web_server import Answer, serve

pytest.importorskip("protego")
pytest.importorskip("lxml")

ALLOWED = Reading(allow_private=True)
CONTENT = 'xmlns:content="http://purl.org/rss/1.0/modules/content/"'
FEED = f'<?xml version="1.0"?><rss version="2.0" {CONTENT}><channel>{{}}</channel></rss>'
ITEM = """<item><title>Post {0}</title><guid>{0}</guid>
<pubDate>Mon, 0{0} Jan 2024 10:00:00 GMT</pubDate><content:encoded>
<![CDATA[<p>The text of post {0}.</p><p>It goes on.</p>]]></content:encoded></item>"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "cache"))
    with serve() as found:
        found.pages["/feed"] = Answer(
            FEED.format("".join(ITEM.format(n) for n in (3, 2, 1))), "application/rss+xml"
        )
        found.pages["/book.txt"] = Answer("A plain text,\r\nas it is.", "text/plain")
        found.pages["/data"] = Answer(b"\x00\x01\x02", "application/octet-stream")
        yield found


def test_a_feed_is_its_posts_oldest_first(site):
    text = read_text([f"{site.url}/feed"], reading=ALLOWED)
    assert (
        text.content == "".join(f"The text of post {n}.\n\nIt goes on.\n" for n in (1, 2, 3))[:-1]
    )
    assert len(text.parts) == 3
    assert text.name == f"{site.url.removeprefix('http://')}/feed"


def test_a_plain_text_is_read_as_a_file_is(site):
    text = read_text([f"{site.url}/book.txt"], reading=ALLOWED)
    assert text.content == "A plain text,\nas it is."
    assert text.content == read_text([f"{site.url}/book.txt"], reading=ALLOWED).content


@pytest.mark.parametrize("path", ["/data", "/gone"])
def test_what_has_no_text_is_an_error_that_names_it(site, path):
    with pytest.raises(CharloomError) as raised:
        read_text([f"{site.url}{path}"], reading=ALLOWED)
    assert raised.value.code in ("no-text", "not-found")
    assert path in str(raised.value)


@pytest.mark.parametrize("url", ["{}/feed", "file:///etc/hostname", "ftp://example.org/a"])
def test_addresses_that_are_not_allowed(site, url):
    with pytest.raises(CharloomError) as raised:
        read_text([url.format(site.url)], reading=UTF8)
    assert raised.value.code == "unsupported"
    assert site.asked == []


def test_a_run_keeps_what_it_read_of_a_site(site, tmp_path):
    settings = {"model": "ngram", "order": 3, "allow_private": True, "validation": 0}
    run = charloom.train(f"{site.url}/feed", out=tmp_path / "run", **settings)
    site.pages.clear()
    opened = Run.open(run.path)
    learned = opened.vocabulary.decode(opened.dataset().train)
    assert [" ".join(line.split()) for line in learned.split("\n\n") if line.strip()] == [
        sentence for n in (1, 2, 3) for sentence in (f"The text of post {n}.", "It goes on.")
    ]
    assert opened.corpus.sources == (f"{site.url}/feed",)
    assert charloom.load(run.path).sample(length=30, seed=1)


def test_pages_of_a_site_are_named_by_their_paths(site):
    site.pages |= {f"/a/{n}.txt": Answer(f"Page {n}", "text/plain") for n in range(3)}
    site.pages["/sitemap.txt"] = Answer("".join(f"{site.url}/a/{n}.txt\n" for n in range(3)))
    site.pages["/robots.txt"] = Answer(f"Sitemap: {site.url}/sitemap.txt", "text/plain")
    site.pages["/"] = Answer("<html><p>Home")
    text = read_text([site.url], reading=ALLOWED)
    assert [part.label for part in text.parts] == ["/a/0.txt", "/a/1.txt", "/a/2.txt"]


def test_what_is_of_one_kind_is_told_once(site, tmp_path):
    (note,) = read_text([f"{site.url}/feed"], reading=ALLOWED).notes
    assert site.url in note
    assert "3 posts" in note
    folder = tmp_path / "tables"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.csv").write_text(f"text\nrow {number}\n")
    (note,) = read_text([str(folder)]).notes
    assert all(name in note for name in (str(folder), "0.csv", "4.csv", "5 rows"))
    (folder / "plain.txt").write_text("plain")
    one, two = read_text([str(folder)]).notes
    assert ("6 files" in one, "5 rows" in two) == (True, True)


def test_the_name_of_a_file_is_the_end_of_its_address():
    names = {
        "https://example.com/a/book.epub?download=1": "book.epub",
        "https://example.com/": "example.com",
        "https://example.com/posts/": "posts",
    }
    for url, name in names.items():
        assert Download(url, b"", UTF8).name == name
