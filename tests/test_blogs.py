import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blog_site
from blog_site import Post
from charloom.data.readers import Bundle, Document, Head, Job, Kind, Options, Report
from charloom.data.readers.blogs import (
    feeds,
    ghost,
    medium,
    microblogs,
    substack,
    wordpress,
    xml_items,
)
from charloom.data.readers.blogs.shortcodes import without_shortcodes
from charloom.data.readers.kinds import recognise, recognise_bundle
from charloom.data.readers.members import Zip
from charloom.data.readers.pages import html
from charloom.errors import CharloomError

pytest.importorskip("lxml")

SIZES = st.integers(1, 7)
KINDS: tuple[Kind | Bundle, ...] = (
    *(*wordpress.KINDS, *feeds.KINDS, *ghost.KINDS),
    *(*substack.KINDS, *medium.KINDS, *microblogs.KINDS),
)
SITE = blog_site.site(seed=1)


def read(
    data: bytes | dict[str, str], options: Options | None = None
) -> tuple[str, list[Document], Report]:
    """Return the name of the kind that is recognised, the documents, and what was done."""
    data = zipped(data) if isinstance(data, dict) else data
    members = Zip(io.BytesIO(data), "blog.zip") if data.startswith(b"PK") else None
    head = Head("blog", data[: 2**16], members.names() if members else ())
    kind = next(kind for kind in (*KINDS, *html.KINDS) if kind.matches(head))
    job = Job("blog", options or Options(), Report())
    source: Any = members if isinstance(kind, Bundle) else io.BytesIO(data)
    return kind.name, list(kind.read(source, job)), job.report


def zipped(files: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return archive.getvalue()


def wxr(content: str) -> bytes:
    """Return an export with one post."""
    return blog_site.export(blog_site.item(Post(1, "A title", SITE[0].date, []), content))


def post(content: str) -> str:
    """Return the text of a WordPress post."""
    _, [document], _ = read(wxr(content))
    return document.text


def rss(*items: str, head: str = "") -> bytes:
    return f"{head}<rss version='2.0'><channel>{''.join(items)}</channel></rss>".encode()


ROUTES = {
    "a WordPress export": blog_site.wxr,
    "a feed": blog_site.atom,
    "a Substack export": blog_site.substack,
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_site_is_its_published_posts_in_order_once_each(name: str) -> None:
    kind, documents, _ = read(ROUTES[name](SITE, random.Random(2)))
    assert kind == name
    assert [document.text for document in documents] == [post.text for post in SITE]
    assert [document.title for document in documents] == [post.title for post in SITE]
    dates = [post.date.strftime("%Y-%m-%dT%H:%M:%SZ") for post in SITE]
    assert [document.date for document in documents] == dates
    if name != "a Substack export":  # which names no author
        assert {document.author for document in documents} == {blog_site.AUTHOR}


def test_saved_pages_have_the_same_text() -> None:
    pages = blog_site.pages(SITE, random.Random(2))
    found = [read(page.encode())[1] for page in pages.values()]
    assert [[document.text for document in documents] for documents in found] == [
        [post.text] for post in SITE
    ]


def test_what_is_left_out_of_a_wordpress_export_is_counted() -> None:
    _, _, report = read(blog_site.wxr(SITE, random.Random(2)))
    assert report.left_out == {
        "comments": sum(post.number % 3 * (1 + (post.number % 50 == 0)) for post in SITE) + 1,
        "repeated posts": 4,
        "pages": 2,
        "drafts": 1,
        "private posts": 1,
        "pending posts": 1,
        "scheduled posts": 1,
        "trashed posts": 1,
        "protected posts": 1,
        "attachments": 1,
        "menu items": 1,
        "revisions": 1,
        "other items": 1,
    }
    assert report.mended["control characters"] >= 2 * len(SITE) // 20


def test_pages_are_read_on_request() -> None:
    for build, number in ((blog_site.wxr, 2), (blog_site.substack, 1)):
        _, documents, report = read(build(SITE[:3], random.Random(2)), Options(pages=True))
        assert len(documents) == 3 + number
        assert "pages" not in report.left_out


def test_posts_wait_in_a_file_if_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.data.spool.IN_MEMORY", 100)
    _, documents, _ = read(blog_site.wxr(SITE[:20], random.Random(2)))
    assert [document.text for document in documents] == [post.text for post in SITE[:20]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("One\ntwo\n\nthree", "One\ntwo\n\nthree"),
        ("Roses<br />\nviolets\n\n\n\nblue", "Roses\nviolets\n\nblue"),
        ("A\n<ul>\n<li>b</li>\n<li>c</li>\n</ul>\nD\nE", "A\n\n- b\n- c\n\nD\nE"),
        ("<pre>a\n\n  b\n</pre>\nC", "a\n\n  b\n\nC"),
        ("<em>One\n\ntwo</em>", "One\n\ntwo"),
        ("One<!--more-->\n\ntwo<!--nextpage-->three", "One\n\ntwo\n\nthree"),
        ("Fish &amp; &amp;amp; &#8220;chips&#8221;", "Fish & &amp; “chips”"),
        ("a ]]> b", "a ]]> b"),
        ("<!-- wp:paragraph -->\n<p>One\ntwo</p>\n<!-- /wp:paragraph -->", "One two"),
        ("<!-- wp:verse --><pre>a\n  b</pre><!-- /wp:verse -->", "a\n  b"),
        ("a <!-- unfinished", "a"),
        ('<p><a href="a">Farm</a><a class="wp-block-file__button">Download</a></p>', "Farm"),
    ],
)
def test_a_post_is_what_wordpress_shows(content: str, text: str) -> None:
    assert post(content) == text


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("He said [sic] so [1], a[i] [...]", "He said [sic] so [1], a[i] [...]"),
        ("Press [tab] now [see page 7]", "Press [tab] now [see page 7]"),
        ('input[type="text"] [Note: x="1"]', 'input[type="text"] [Note: x="1"]'),
        ("[[gallery]] [[Page Name]]", "[gallery] [[Page Name]]"),
        ('a[gallery ids="1,2" link="file"]b', "ab"),
        ("[embed width='3']https://v.example/[x][/embed]!", "!"),
        ("[youtube=https://v.example]a[vimeo 12345]b", "ab"),
        ('[row][col w="1/2"]one [b]two[/b][/col][/row]', "one two"),
        ("[a][a]x[/a][/a][/a]", "x[/a]"),
        ("[x_divider][y /][contact-form-7 id='4']z", "z"),
        ('[vc t="a]b" u=1]z', "z"),
        ("[code lang='c']a[i][/code]", "<pre>a[i]</pre>"),
        ("[code] alone, [/code", "[code] alone, [/code"),
        ('[caption caption="Old"]<img>[/caption]', "\n\nOld\n\n<img>\n\n\n\n"),
    ],
)
def test_shortcodes_go_and_brackets_stay(text: str, rest: str) -> None:
    assert without_shortcodes(text) == rest


def test_a_caption_is_a_paragraph() -> None:
    assert (
        post('One\n[caption id="a" width="3"]<img /> Two[/caption]\nthree') == "One\n\nTwo\n\nthree"
    )


def test_an_excerpt_is_read_only_where_there_is_no_content() -> None:
    assert post("") == "A summary that nobody wants twice."


def test_mended_xml_is_counted_and_read() -> None:
    data = wxr("a\x0bb\x00\ufffe").replace(
        b"A title", b"Tom &amp; &nbsp;Jerry & co &#55357;&#56832;&#8;"
    )
    _, [document], report = read(b"Warning: <b>x</b>\nNotice\n" + data)
    assert document.text == "ab"
    assert document.title == "Tom & Jerry & co 😀"
    assert report.mended == {"control characters": 4}
    assert report.left_out["lines of server messages"] == 3


@given(
    st.text(st.sampled_from("a&<]>;#x8nbsp\x0b") | st.characters(), max_size=60), st.integers(1, 7)
)
def test_mending_does_not_depend_on_where_pieces_end(text: str, size: int) -> None:
    def mended(pieces: list[str]) -> str:
        return "".join(xml_items._Mender(Report()).mended(iter(pieces)))

    text = f"{text}&#55357;&#56832;<![CDATA[{text}]]>{text}"
    assert mended([text[n : n + size] for n in range(0, len(text), size)]) == mended([text])


BOMB = "<!DOCTYPE rss [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;&a;'>]>"
FILE = "<!DOCTYPE rss [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>"
OUTER = "<!DOCTYPE rss [<!ENTITY % a SYSTEM 'file:///etc/hostname'> %a;]>"


@pytest.mark.parametrize("declaration", [BOMB, FILE, OUTER, BOMB[:-2], "<!-- x -->" + FILE])
def test_entities_are_refused(declaration: str) -> None:
    data = rss("<item><description>&a; &b;</description></item>", head=declaration)
    job = Job("feed", Options(), Report())
    with pytest.raises(CharloomError) as caught:
        list(feeds._read_xml(io.BytesIO(data), job))
    assert caught.value.code == "unsupported"


def test_a_declaration_without_entities_is_passed_over() -> None:
    head = '<?xml version="1.0"?>\n<!DOCTYPE rss PUBLIC "-//N//DTD" "http://x.example/a.dtd">'
    _, [document], _ = read(rss("<item><description>a &euro; b</description></item>", head=head))
    assert document.text == "a € b"


def test_an_item_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_items, "ITEM", 2**17)
    with pytest.raises(CharloomError) as caught:
        read(wxr("many words " * 20_000))
    assert caught.value.code == "unsupported"


def test_a_cut_export_is_damaged_and_a_cut_feed_is_read_as_far_as_it_goes() -> None:
    with pytest.raises(CharloomError) as caught:
        read(blog_site.wxr(SITE[:3], random.Random(2))[:-200])
    assert caught.value.code == "damaged"
    item = "<item><description>{} & co</description></item>"
    _, documents, report = read(rss(item.format("a"), item.format("b"))[:-20])
    assert [document.text for document in documents] == ["a & co", "b & co"]
    assert report.mended["XML errors"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1", "koi8-r"])
def test_feeds_are_read_in_their_encodings(encoding: str) -> None:
    words = "Привет" if encoding == "koi8-r" else "Grüße"
    head = f"<?xml version='1.0' encoding='{encoding.removesuffix('-sig')}'?>"
    text = rss(f"<item><description>{words}</description></item>", head=head).decode()
    _, [document], report = read(text.encode(encoding))
    assert document.text == words
    assert not report.mended


def test_an_encoding_is_read_as_browsers_read_it() -> None:
    head = "<?xml version='1.0' encoding='euc-kr'?>"
    text = rss("<item><description>녿ㅌ허</description></item>", head=head).decode()
    _, [document], report = read(text.encode("cp949"))
    assert document.text == "녿ㅌ허"
    assert not report.mended


def test_bytes_that_are_not_utf8_are_counted() -> None:
    data = rss("<item><description>Gr\xfc\xdfe</description></item>").decode().encode("latin-1")
    _, [document], report = read(data)
    assert document.text == "Gr\ufffd\ufffde"
    assert report.mended == {"bytes that could not be decoded": 2}


RSS_ITEM = """<item><title>Tom &amp;amp; Jerry</title><guid>{}</guid>
<description>Short</description>{}<author>mary@mail.example (Mary Miller)</author>
<pubDate>Sat, 04 Jan 2020 10:00:00 +0200</pubDate></item>"""


def test_an_rss_entry_is_its_whole_content() -> None:
    content = "<content:encoded><![CDATA[<p>One<br>two</p><p>&lt;3</p>]]></content:encoded>"
    space = "<channel xmlns:content='http://purl.org/rss/1.0/modules/content/'>"
    data = rss(
        RSS_ITEM.format("a", content), RSS_ITEM.format("a", content), RSS_ITEM.format("b", "")
    )
    kind, documents, report = read(data.replace(b"<channel>", space.encode()))
    assert kind == "a feed"
    assert documents == [
        Document("One\ntwo\n\n<3", "a", "Tom & Jerry", "Mary Miller", "2020-01-04T08:00:00Z"),
        Document("Short", "b", "Tom & Jerry", "Mary Miller", "2020-01-04T08:00:00Z"),
    ]
    assert report.left_out == {"repeated posts": 1}


def test_rdf_is_a_feed() -> None:
    _, [document], _ = read(
        b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' "
        b"xmlns='http://purl.org/rss/1.0/' xmlns:dc='http://purl.org/dc/elements/1.1/'>"
        b"<channel><title>x</title></channel><item><title>T</title><description>One</description>"
        b"<dc:creator>Ann</dc:creator><dc:date>2004-02-01</dc:date></item></rdf:RDF>"
    )
    assert document == Document("One", "", "T", "Ann", "2004-02-01")


def entry(body: str, more: str = "") -> str:
    return f"<entry><id>{hash((body, more))}</id>{body}{more}</entry>"


def atom(*entries: str) -> bytes:
    spaces = "xmlns='http://www.w3.org/2005/Atom' xmlns:app='http://purl.org/atom/app#'"
    blogger = "xmlns:blogger='http://schemas.google.com/blogger/2018'"
    return f"<feed {spaces} {blogger}>{''.join(entries)}</feed>".encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<content type='html'>&lt;p>a&lt;br>b&lt;/p></content>", "a\nb"),
        (
            "<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>a<br/>b</p>c</div></content>",
            "a\nb\n\nc",
        ),
        ("<content type='text'>1 &lt; 2 &amp;amp; x\n  y</content>", "1 < 2 &amp; x\ny"),
        ("<content>a &lt;b>c&lt;/b></content>", "a c"),
        ("<summary>short</summary><content type='html'>long</content>", "long"),
        ("<summary>short</summary><content type='image/png'>iVBORw</content>", "short"),
    ],
)
def test_an_atom_entry_is_read_as_its_type_says(body: str, text: str) -> None:
    _, [document], _ = read(atom(entry(body)))
    assert document.text == text


def test_blogger_exports_have_other_things_than_posts() -> None:
    old = "<category scheme='http://schemas.google.com/g/2005#kind' term='http://x/kind#{}'/>"
    new = "<blogger:type>{}</blogger:type><blogger:status>{}</blogger:status>"
    draft = "<app:control><app:draft>yes</app:draft></app:control>"
    marks = [*map(old.format, ["post", "page", "comment", "settings", "template"])]
    marks += [old.format("post") + draft]
    marks += [
        new.format(*pair.split())
        for pair in ("POST LIVE", "POST DRAFT", "COMMENT LIVE", "PAGE LIVE", "POST SOFT_TRASHED")
    ]
    entries = [
        entry("<content type='html'>A post</content>", f"{mark}<title>{n}</title>")
        for n, mark in enumerate(marks)
    ]
    kind, documents, report = read(atom(*entries))
    assert kind == "a Blogger export"
    assert [document.title for document in documents] == ["0", "6"]
    assert report.left_out == {
        "pages": 2,
        "comments": 2,
        "settings": 1,
        "templates": 1,
        "drafts": 2,
        "unpublished posts": 1,
    }
    assert len(read(atom(*entries), Options(pages=True))[1]) == 4


def test_a_feed_of_beginnings_says_so() -> None:
    _, _, report = read(rss("<item><description>It began [&amp;#8230;]</description></item>"))
    assert len(report.notes) == 1


@pytest.mark.parametrize("root", ["urlset", "sitemapindex"])
def test_a_sitemap_is_no_text(root: str) -> None:
    with pytest.raises(CharloomError) as caught:
        read(f"<?xml version='1.0'?><{root} xmlns='http://x'><url/></{root}>".encode())
    assert caught.value.code == "not-text"
    assert caught.value.facts["why"] == "a sitemap"


def test_a_json_feed_is_read() -> None:
    items = [
        {
            "id": "b",
            "title": "1 < 2",
            "content_html": "<p>b</p>",
            "date_published": "2020-02-01",
            "authors": [{"name": "Ann"}, {"name": "Bo"}],
        },
        {"id": "a", "content_text": "a\n\nb", "date_published": "2020-01-01T00:00:00Z"},
        {"id": "a", "content_text": "a again"},
        {"id": 7},
        None,
    ]
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": items}
    kind, documents, report = read(json.dumps(feed).encode())
    assert kind == "a JSON feed"
    assert documents == [
        Document("a\n\nb", "a", "", "", "2020-01-01T00:00:00Z"),
        Document("b", "b", "1 < 2", "Ann, Bo", "2020-02-01"),
    ]
    assert report.left_out == {"repeated posts": 1, "empty posts": 1}


def test_substack_keeps_no_buttons() -> None:
    table = "post_id,post_date,is_published,type,title\n"
    table += "7.a,2020-01-01,TRUE,podcast,A &#x201C;b&#x201D;\n"
    table += "8.gone,2020-01-02,true,newsletter,Gone\n"
    files = {
        "export/posts.csv": table,
        "export/posts/7.a.html": f"<p>One</p>{blog_site.SUBSCRIBE} tail<ul><li><p>x</p></li></ul>",
    }
    _, [document], report = read(files)
    assert document == Document("One\n\ntail\n\n- x", "7.a", "A “b”", "", "2020-01-01")
    assert report.left_out == {"missing files": 1}


STORY = """<!DOCTYPE html><html><head><title>x</title></head><body><article class="h-entry">
<header><h1 class="p-name">{title}</h1></header>{subtitle}
<section data-field="body" class="e-content"><section name="a" class="section"><div>{body}</div>
</section></section><footer><p>By <a href="https://x.example" class="p-author h-card">Ann</a>
<time class="dt-published" datetime="{date}">x</time>.</p>
<p>Exported from <a href="https://medium.com">Medium</a> on May 1, 2020.</p></footer></article>
</body></html>"""


def test_medium_stories_are_read_without_drafts_and_responses() -> None:
    body = '<h3 class="graf graf--title">T</h3><h4>Sub</h4><p>One<br>two</p>'
    later = STORY.format(title="T", subtitle="", body=body, date="2020-02-01T00:00:00.000Z")
    earlier = STORY.format(
        title="Words that",
        subtitle='<section data-field="subtitle">Why</section>',
        body="<p>Words that stay</p>",
        date="2019-02-01T00:00:00.000Z",
    )
    untitled = STORY.format(title="", subtitle="", body="<p>No title</p>", date="")
    response = STORY.format(
        title="I agree with…", subtitle="", body="<p>I agree with you</p>", date=""
    )
    kind, documents, report = read(
        {
            "posts/2020-02-01_T-0123456789ab.html": later,
            "posts/2019-02-01_W-0123456789ac.html": earlier,
            "posts/2019-02-02_I-0123456789ad.html": response,
            "posts/2018-01-01_U-0123456789af.html": untitled,
            "posts/draft_D-0123456789ae.html": later,
            "profile/profile.html": "<p>Ann</p>",
        }
    )
    assert kind == "a Medium export"
    assert [(d.text, d.title, d.author, d.date) for d in documents] == [
        ("No title", "", "Ann", ""),
        ("Words that stay", "Words that", "Ann", "2019-02-01T00:00:00Z"),
        ("Sub\n\nOne\ntwo", "T", "Ann", "2020-02-01T00:00:00Z"),
    ]
    assert report.left_out == {"drafts": 1, "responses": 1}


def ghost_export(*posts: dict[str, Any]) -> bytes:
    data = {
        "posts": posts,
        "users": [{"id": "u", "name": "Ann"}, {"id": 2, "name": "Bo"}],
        "posts_authors": [{"post_id": "a", "author_id": "u", "sort_order": 0}],
    }
    return json.dumps({"db": [{"meta": {"exported_on": 1, "version": "5"}, "data": data}]}).encode()


def test_ghost_posts_are_read_from_html_or_what_their_editors_keep() -> None:
    lexical = {
        "root": {
            "children": [
                {
                    "type": "paragraph",
                    "children": [
                        {"text": "One"},
                        {"type": "linebreak"},
                        {"type": "link", "children": [{"text": "two"}]},
                    ],
                },
                {
                    "type": "list",
                    "children": [{"children": [{"text": "x"}]}, {"children": [{"text": "y"}]}],
                },
                {"type": "codeblock", "code": "a\n  b"},
                {"type": "image", "caption": "<b>Cap</b>"},
            ]
        }
    }
    mobiledoc = {
        "atoms": [["soft-return", "", {}]],
        "cards": [["markdown", {"markdown": "*m*"}]],
        "sections": [
            [1, "p", [[0, [], 0, "One"], [1, [], 0, 0], [0, [], 0, "two"]]],
            [3, "ul", [[[0, [], 0, "x"]]]],
            [10, 0],
            [10, 7],
            3,
        ],
    }
    kind, documents, report = read(
        ghost_export(
            {
                "id": "b",
                "html": None,
                "lexical": json.dumps(lexical),
                "status": "sent",
                "author_id": 2,
                "published_at": 1_600_000_000_000,
                "title": "B",
            },
            {
                "id": "c",
                "mobiledoc": json.dumps(mobiledoc),
                "published_at": "2021-01-01T00:00:00.000Z",
            },
            {"id": "a", "slug": "first", "html": "<p>a</p>", "published_at": "2019-01-01 00:00:00"},
            {"id": "d", "html": "<p>d</p>", "status": "draft"},
            {"id": "e", "html": "<p>e</p>", "status": "published", "type": "page"},
        )
    )
    assert kind == "a Ghost export"
    assert documents == [
        Document("a", "first", "", "Ann", "2019-01-01T00:00:00"),
        Document("One\ntwo\n\n- x\n- y\n\na\n  b\n\nCap", "b", "B", "Bo", "2020-09-13T12:26:40Z"),
        Document("One\ntwo\n\n- x\n\n*m*", "c", "", "", "2021-01-01T00:00:00Z"),
    ]
    assert report.left_out == {"drafts": 1, "pages": 1}


def test_a_mastodon_outbox_is_ones_own_public_posts() -> None:
    public = ["https://www.w3.org/ns/activitystreams#Public"]
    note = {"id": "n", "content": "<p>One<br>two</p>", "published": "2020-01-01T00:00:00Z"}
    outbox = {
        "@context": "x",
        "id": "outbox.json",
        "type": "OrderedCollection",
        "orderedItems": [
            {"type": "Create", "object": {**note, "to": public}},
            {"type": "Create", "object": {**note, "to": ["https://x.example/users/bo"]}},
            {"type": "Announce", "object": "https://x.example/1"},
        ],
    }
    kind, [document], report = read(json.dumps(outbox).encode())
    assert kind == "a Mastodon archive's outbox"
    assert document.text == "One\ntwo"
    assert report.left_out == {"private posts": 1, "boosts": 1}


def test_a_twitter_archive_is_ones_own_tweets() -> None:
    link = {"url": "https://t.co/a1", "expanded_url": "https://x.example/long"}
    tweets = [
        {
            "tweet": {
                "id_str": "2",
                "created_at": "Wed Oct 10 20:19:24 +0000 2018",
                "full_text": "Tea &amp; rain\nhttps://t.co/a1 https://t.co/b2",
                "entities": {"urls": [link]},
            }
        },
        {"tweet": {"id_str": "1", "full_text": "RT @bo: no"}},
    ]
    _, [document], report = read(
        {"x/data/tweets.js": f"window.YTD.tweets.part0 = {json.dumps(tweets)}\n"}
    )
    assert document.text == "Tea & rain\nhttps://x.example/long"
    assert document.date == "2018-10-10T20:19:24Z"
    assert report.left_out == {"retweets": 1}


def test_a_reddit_archive_is_posts_and_comments() -> None:
    _, documents, report = read(
        {
            "posts.csv": "id,date,title,body\na,2020-01-02 10:00:00 UTC,T,One\nb,2020-01-02,T,\n",
            "comments.csv": 'id,date,body\na,2020-01-01 10:00:00 UTC,"Two\nlines"\nc,,[deleted]\n',
            "post_headers.csv": "id\n",
        }
    )
    assert [(d.text, d.title, d.date) for d in documents] == [
        ("Two\nlines", "", "2020-01-01T10:00:00Z"),
        ("One", "T", "2020-01-02T10:00:00Z"),
    ]
    assert report.left_out == {"empty posts": 1, "deleted posts": 1}


def test_an_export_without_a_published_post_says_what_it_has() -> None:
    with pytest.raises(CharloomError) as caught:
        read(wxr("x").replace(b">publish<", b">draft<"))
    assert caught.value.code == "not-text"
    assert caught.value.facts["why"] == "no posts"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"text",
        b"How to <?xml version='1.0'?><rss>",
        b"<!doctype html><html><rss>",
        b"{}",
        b'{"db": 1}',
        b"<svg>",
        b"PK\x03\x04",
    ],
)
def test_other_files_are_not_taken_for_blogs(start: bytes) -> None:
    assert not [kind.name for kind in KINDS if kind.matches(Head("x", start))]


def test_other_archives_are_not_taken_for_blogs() -> None:
    for names in (("posts.csv",), ("posts/a.html",), ("posts/a.md", "posts.csv"), ("data/x.js",)):
        assert not [kind.name for kind in KINDS if kind.matches(Head("x.zip", b"PK", names))]


TOKENS = [
    *(b"<", b">", b"&", b"]]>", b"<![CDATA[", b"\0", b"\xff", b"&#0;", b"&#55357;", b"<item>"),
    *(b"<!--", b"-->", b'"', b"{", b"[", b"]", b"null", b"1e999", b"9" * 30, b"[a b='", b"\n"),
    *(b"<?xml encoding='utf-16'?>", b"&nbsp;", b"&#x110000;", b"[caption ", b"true", b"\\ud800"),
]
SMALL = SITE[:3]
WHOLE: dict[str, Callable[[], bytes]] = {
    "wordpress": lambda: blog_site.wxr(SMALL, random.Random(1)),
    "atom": lambda: blog_site.atom(SMALL, random.Random(1)),
    "substack": lambda: blog_site.substack(SMALL, random.Random(1)),
    "ghost": lambda: ghost_export({"id": "a", "html": "<p>a</p>"}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_damaged_files_are_read_or_refused(name: str) -> None:
    rng, whole = random.Random(5), WHOLE[name]()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 20])):
            begin = rng.randrange(len(data) + 1)
            end = begin + rng.choice([0, 1, 50, 3000])
            data[begin:end] = rng.choice([b"", rng.choice(TOKENS), rng.randbytes(3)])
        try:
            _, documents, _ = read(bytes(data))
        except (CharloomError, StopIteration):  # refused, or recognised as no kind
            continue
        assert documents
        assert all(document.text.strip() for document in documents)


def test_blogs_are_among_the_kinds_that_are_recognised() -> None:
    for name, build in ROUTES.items():
        data = build(SMALL, random.Random(1))
        members = Zip(io.BytesIO(data), "x").names() if data.startswith(b"PK") else ()
        head = Head("x", data[: 2**16], members)
        kind = recognise_bundle(head) if members else recognise(head)
        assert kind
        assert kind.name == name
