import io
import statistics
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import web_pages
import web_posts
from charloom.data.readers import Document, Head, Job, Options, Report
from charloom.data.readers.kinds import recognise
from charloom.data.readers.pages.html import KINDS
from charloom.errors import CharloomError
from expect import refused
from web_posts import Post

(KIND,) = KINDS
PAGES = [(t, p) for t in web_pages.SEEN for p in web_posts.POSTS]
PAGES += [(t, p) for t in web_pages.HELD_OUT for p in web_posts.HELD_OUT]


POEM = "<div>" + "".join(f"<div>verse {i}</div>" for i in range(4)) + "</div>"
PROSE = f"<p>{web_posts.PLUMS}</p><p>{web_posts.LAMP}</p>"


def read(page: str | bytes, report: Report | None = None) -> list[Document]:
    data = page.encode() if isinstance(page, str) else page
    return list(KIND.read(io.BytesIO(data), Job("it.html", Options(), report or Report())))


def text(page: str | bytes) -> str:
    (document,) = read(page)
    return document.text


def likeness(found: str, true: str) -> float:
    """F1 by runs of five characters, whatever the white space."""
    one, other = (
        Counter(flat[i : i + 5] for i in range(max(1, len(flat) - 4)))
        for flat in (" ".join(found.split()), " ".join(true.split()))
    )
    return 2 * (one & other).total() / (one.total() + other.total())


@pytest.mark.parametrize(
    ("template", "post"), PAGES, ids=[f"{t.__name__}, {p.title}" for t, p in PAGES]
)
def test_a_page_gives_the_post_it_was_made_of(template: Callable[[Post], str], post: Post) -> None:
    (document,) = read(template(post))
    assert document.text == post.text
    assert (document.title, document.date[:10]) == (post.title, post.date)


def test_the_library_alone_is_no_better() -> None:
    from trafilatura import extract

    alone = [likeness(extract(t(p), include_comments=False) or "", p.text) for t, p in PAGES]
    here = [likeness(text(t(p)), p.text) for t, p in PAGES]
    assert statistics.mean(here) >= max(0.95, statistics.mean(alone))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("page", b"<!DOCTYPE html><title>x</title>"),
        ("page.txt", b"\xef\xbb\xbf\n <!-- saved --> <HTML lang=en>"),
        ("page", b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0//EN' 'x'>"),
        ("page", "<!doctype html>".encode("utf-16")),
        ("part.HTM", b"<p>One</p>"),
        ("app.html", b"<!doctype html><script>let a = {{}}</script><body><pre>{% raw %}</pre>"),
    ],
)
def test_a_page_is_known_by_how_it_begins(name: str, start: bytes) -> None:
    assert recognise(Head(name, start)) is KIND


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.txt", b"<p>One</p>"),
        ("a.html", b"Once upon a time"),
        ("a.xml", b"<?xml version='1.0'?><rss version='2.0'></rss>"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("a.txt", b"The tag <html> begins a page"),
        ("a.html", b"<3 you"),
        ("a", b""),
        ("a.xml", b"<?xml version='1.0'?>" + b"<!-- a --> " * 50 + b"<web-app/>"),
        ("a.html", b"<!-- a --> " * 50 + b"Once upon a time"),
        ("base.html", b"<!DOCTYPE html><html><head><title>{% block title %}A{% endblock %}"),
        ("a.php", b"<!DOCTYPE html><html lang='<?= $lang ?>'><body><?php echo $text; ?>"),
    ],
)
def test_other_files_are_no_pages(name: str, start: bytes) -> None:
    assert not KIND.matches(Head(name, start))


WORDS = "Größe – naïveté, “œuvre” €5"


@pytest.mark.parametrize(
    ("declared", "encoding", "words"),
    [
        ("<meta charset=iso-8859-1>", "cp1252", WORDS),
        ("<meta charset='us-ascii'>", "cp1252", WORDS),
        (
            '<META http-equiv="Content-Type" content="text/html; charset=windows-1252">',
            "cp1252",
            WORDS,
        ),
        ("<meta charset=x-cp1251>", "cp1251", "Мама мыла раму"),
        ("<meta charset='Shift_JIS'>", "cp932", "①吾輩は猫である"),
        ("<meta charset=gb2312>", "gb18030", "明月几时有 €"),
        ("<meta charset=iso-2022-jp>", "iso2022_jp", "吾輩は猫である"),
        ("<meta charset=utf-8>", "utf-8", WORDS),
        ("<meta charset=latin1>", "utf-8", WORDS),  # which is said wrongly, and often
        ("<meta charset=nonsense>", "utf-8", WORDS),
        ("<meta charset=base64>", "utf-8", WORDS),
        ("", "utf-8-sig", WORDS),
        ("<meta charset=iso-8859-1>", "utf-16", WORDS),
        ("", "cp1252", "schöne Grüße, süße Äpfel\n" * 9),
    ],
)
def test_a_page_is_read_in_the_encoding_that_a_browser_would_take(
    declared: str, encoding: str, words: str
) -> None:
    page = f"<!DOCTYPE html><html><head>{declared}</head><body><pre>{words}</pre></body></html>"
    assert text(page.encode(encoding)) == words.rstrip()
    old = f"<?xml version='1.0' encoding='{encoding}'?><html><body><pre>{words}</pre></body></html>"
    assert text(old.encode(encoding)) == words.rstrip()


def test_bytes_that_are_not_in_the_declared_encoding_are_counted() -> None:
    report = Report()
    (document,) = read(b"<html><meta charset=iso-8859-1><body><p>a\xe9\x81b", report)
    assert document.text == "aé\ufffdb"
    assert report.mended == {"bytes that could not be decoded": 1}


@pytest.mark.parametrize(
    ("head", "body", "title", "author", "date"),
    [
        ("<title>Gulls | The quay</title>", "<h1>Gulls</h1>", "Gulls", "", ""),
        ("<title>The quay: Gulls</title>", "<h1>The quay</h1>", "The quay: Gulls", "", ""),
        ("<title>Gulls - a song</title>", "", "Gulls - a song", "", ""),
        (
            "<title>Gulls - Quay</title><meta property='og:site_name' content=Quay>",
            "",
            "Gulls",
            "",
            "",
        ),
        ("<meta property='og:title' content='A &amp; B'>", "<h1>Quay</h1>", "A & B", "", ""),
        ("<meta name=author content=Ada>", "", "", "Ada", ""),
        ("<meta property=article:author content=https://x.example/ada>", "", "", "", ""),
        ("", "<a rel=author>Ada</a>", "", "Ada", ""),
        ("<meta name=date content=2020-02-03>", "", "", "", "2020-02-03"),
        (
            "",
            "<abbr class=published title='2020-02-03T04:05:06Z'>x</abbr>",
            *["", ""],
            "2020-02-03",
        ),
        (
            "",
            "<span class=post-date title='2020-02-03 04:05:06 +0000 UTC'>",
            *["", ""],
            "2020-02-03",
        ),
        ("<meta name=date content=soon>", "<time datetime=noon>", "", "", ""),
        (
            '<script type="application/ld+json">{"@graph": [{"@type": "WebSite"}, {"@type": '
            '["BlogPosting"], "headline": "Gulls", "author": [{"name": "Ada"}], '
            '"datePublished": "2020-02-03T04:05:06+01:00"}]}</script>',
            "<h1>Quay</h1>",
            *("Gulls", "Ada", "2020-02-03"),
        ),
        (
            '<script type="application/ld+json">{"@type": [</script>',
            "<h1>Gulls</h1>",
            "Gulls",
            "",
            "",
        ),
    ],
)
def test_a_page_says_what_its_text_is(
    head: str, body: str, title: str, author: str, date: str
) -> None:
    page = (
        f"<html><head>{head}</head><body>{body}<div class=entry-content>Text.</div></body></html>"
    )
    (document,) = read(page)
    assert document.text == "Text."
    assert (document.title, document.author, document.date[:10]) == (title, author, date)


def entry(number: int, more: str = "") -> str:
    return (
        f"<article><h2><a href='/{number}'>Post {number}</a></h2><time datetime=2020-01-0{number}>"
        f"</time><div class=entry-content><p>Text of {number}{more}</p></div></article>"
    )


def test_several_whole_posts_on_a_page_are_several_documents() -> None:
    page = f"<html><body><h1>Quay</h1>{entry(1)}{entry(2)}</body></html>"
    assert [(d.text, d.title, d.date) for d in read(page)] == [
        ("Text of 1", "Post 1", "2020-01-01"),
        ("Text of 2", "Post 2", "2020-01-02"),
    ]


def test_an_excerpt_among_whole_posts_is_left_out() -> None:
    report = Report()
    page = f"<html><body>{entry(1)}{entry(2)}{entry(3, ' and so on …')}</body></html>"
    assert [d.title for d in read(page, report)] == ["Post 1", "Post 2"]
    assert report.left_out == {"excerpts": 1}


@pytest.mark.parametrize(
    "body",
    [
        entry(1, " [...]") + entry(2, " <a class=more-link href=x>More</a>") + entry(3),
        entry(1, " <a href='/1'>Continue reading Post 1</a>") + entry(2, "..."),
        "<main><ul>" + "<li>3 May <a href='/x'>Of gulls and string</a></li>" * 3 + "</ul></main>",
        "<main>" + "<h2><a href='/x'>Gulls</a></h2><p>I have thought of gulls.</p>" * 3 + "</main>",
        "<article class=post-card><a href='/1'><h2>Gulls</h2><p>Excerpt</p></a></article>" * 3,
    ],
)
def test_a_list_of_posts_is_refused(body: str) -> None:
    with refused("not-text", path="it.html", why="list of other pages"):
        read(f"<html><body><h1>Quay</h1>{body}</body></html>")


POST = "<meta property='og:type' content=article>"


def test_the_pieces_of_one_post_are_one_document() -> None:
    pieces = "<div class=post-text>one</div><div>Advertisement</div><div class=post-text>two</div>"
    page = f"<html><head>{POST}</head><body><h1>T</h1><div>{pieces}</div></body></html>"
    (document,) = read(page)
    assert (document.text, document.title) == ("one\n\ntwo", "T")


def test_a_page_that_is_a_post_is_no_list_whatever_it_leads_to() -> None:
    others = "<h3><a href='/x'>Gulls</a></h3><p>Of gulls.</p>" * 3
    page = f"<html><head>{POST}</head><body><main><h1>T</h1><p>one</p>{others}</main></body></html>"
    assert text(page).startswith("one\n\nGulls")


def test_headings_of_wikis_that_lead_to_their_editors_are_no_list() -> None:
    parts = "<h2>Gulls <a href='/edit'>edit</a></h2><p>Of gulls, at some length.</p>" * 4
    assert text(f"<html><body><main><h1>T</h1>{parts}</main>").startswith("Gulls edit\n\nOf gulls")


def test_comments_with_the_name_of_a_body_are_not_taken_for_it() -> None:
    comment = "<li><blockquote class=entry-content>So do I.</blockquote></li>"
    page = f"<html><body><article><h1>T</h1><p>one</p></article><ol class=commentlist>{comment}"
    assert text(page + comment) == "one"


def test_boxes_of_a_sidebar_with_the_name_of_a_body_are_not_taken_for_it() -> None:
    boxes = "<div><div class=entry-content>Hello</div></div>" * 3
    page = f"<html><body><h1>Quay</h1><div class=article-content>{PROSE}</div>{boxes}"
    assert text(page).startswith(web_posts.PLUMS)


def test_a_body_in_a_box_that_looks_like_a_menu_is_found_by_its_heading() -> None:
    page = "<html><body><form><div class='social-page'><h1>T</h1><div class=post-body>one</div>"
    assert text(page) == "one"


def test_a_section_is_not_left_out_for_the_words_of_its_heading() -> None:
    part = "<div class=section id=sharing-with-other-people><h2>Sharing with</h2>one</div>"
    assert text(f"<html><body><main><h1>T</h1>{part}</main>") == "Sharing with\n\none"


@pytest.mark.parametrize("name", ["article-body", "main-part"])
def test_a_body_with_the_heading_in_it_holds_more_than_the_text(name: str) -> None:
    inner = f"<time>3 May</time><div class={name}><p>one and two and three</p></div>"
    page = f"<html><body><div class=post-content><header><h1>T</h1></header>{inner}</div>"
    assert text(page) == "one and two and three"


def test_an_article_beside_the_text_is_not_taken_for_it() -> None:
    page = (
        f"<html><body><div><h1>T</h1><div>{PROSE}{PROSE}</div></div>"
        "<div><article><h2>Another</h2><p>Of something else.</p></article></div></body></html>"
    )
    assert text(page) == "\n\n".join([web_posts.PLUMS, web_posts.LAMP] * 2)


@pytest.mark.parametrize("page", ["<html></html>", "<html><body><script>x</script><nav></nav>"])
def test_a_page_without_text_is_refused(page: str) -> None:
    with refused("not-text", path="it.html", why="page without text"):
        read(page)


@pytest.mark.parametrize(
    "aside",
    [
        "<nav>x</nav>",
        "<form>x</form>",
        "<footer>x</footer>",
        "<div role=navigation>x</div>",
        "<div class='post-share-buttons'>x</div>",
        "<div class=wp-block-jetpack-subscriptions>x</div>",
        "<ul class=post-tags><li>x</ul>",
        "<section id=comments>x</section>",
        "<div id=toc_container>x</div>",
        "<div class='cookie-notice'>x</div>",
        "<p class=button-wrapper><a>x</a></p>",
        "<h2 class=entry-title>x</h2>",
    ],
)
def test_what_is_beside_the_text_is_left_out(aside: str) -> None:
    page = "<html><body>{}<div class=post-body><p>one</p>{}<p>two</p></div></body></html>"
    assert text(page.format("", aside)) == "one\n\ntwo"
    assert text(page.format(aside, "")) == "one\n\ntwo"


@pytest.mark.parametrize(
    "part",
    [
        "<aside>x</aside>",
        "<blockquote><footer>x</footer></blockquote>",
        "<div class='footnotes'>x</div>",
        "<div class='title-block tag-poetry category-news'>x</div>",
        "<pre><div class='comment'>x</div></pre>",
        "<h2 id=comments>x</h2>",
        "<div class='author'>x</div>",
        "<div class=wp-block-group>x</div>",
    ],
)
def test_what_only_looks_like_that_stays(part: str) -> None:
    page = f"<html><body><div class=post-body><p>one</p>{part}<p>two</p></div></body></html>"
    assert text(page) == "one\n\nx\n\ntwo"


def test_a_body_all_of_which_looks_like_that_stays() -> None:
    assert text("<html><body class=widget><div class=post-body><div class=promo>x") == "x"


def test_a_page_of_divs_is_read_where_a_library_sees_its_text() -> None:
    links = "".join(f"<div><a href='/{i}'>An older page, number {i}</a></div>" for i in range(9))
    page = f"<html><body><div>{links}</div><div><div>{PROSE}{POEM}{PROSE}</div></div></body></html>"
    assert "verse 1\nverse 2" in text(page)
    assert text(page).startswith("The plum tree")


def test_a_page_that_is_only_text_is_that_text() -> None:
    assert text("<html><body><h1>T</h1>one<br>two<p>three") == "one\ntwo\n\nthree"


TAGS = [
    "html",
    "body",
    "main",
    "article",
    "div class=post-body",
    "div id=comments",
    "h1",
    "h2",
    "p",
]
TAGS += ["a href=/x", "time datetime=2020-01-01", "header", "nav", "meta charset=utf-7", "title"]
SOUP = [*(f"<{tag}>" for tag in TAGS), *(f"</{tag.split()[0]}>" for tag in TAGS), "x", "\xe9", " "]


@given(st.lists(st.sampled_from(SOUP), max_size=40).map("".join))
def test_anything_is_read_or_refused(source: str) -> None:
    for data in (f"<html>{source}".encode(), source.encode("latin-1"), source.encode("utf-16")):
        try:
            documents = read(data)
        except CharloomError as error:
            assert error.code in ("not-text", "no-text")  # noqa: PT017
        else:
            assert all(document.text for document in documents)
