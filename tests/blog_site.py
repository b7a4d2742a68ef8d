"""A site of invented posts, and the same posts as the exports, feeds and pages of programs."""

import csv
import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape

WORDS = (
    *("harbour", "lamp", "rain", "window", "letter", "Köln", "naïve", "café", "summer", "bread"),
    *("garden", "stone", "river", "winter", "piano", "ledger", "kettle", "orchard", "don’t"),
    *("it’s", "—", "R&D", "x<y", "[sic]", "[1]", "“quoted”", "🌊", "👩‍🌾", "Ёлка", "東京", "50%"),
)
CODE = ("if a[i] < b && c:\n    print('<b>')\n\n    x = \"]]>\"", "for (;;) {\n\tgo();\n}")
AUTHOR, LOGIN = "Mara Quill & Sons", "mara"


@dataclass
class Block:
    """A part of a post: `kind` is paragraph, poem, list, numbers, code, quote, heading, figure."""

    kind: str
    lines: list[str]  # of a poem with "" between its stanzas, else items or one text

    def text(self) -> str:
        if self.kind == "list":
            return "\n".join(f"- {line}" for line in self.lines)
        if self.kind == "numbers":
            return "\n".join(f"{n}. {line}" for n, line in enumerate(self.lines, 1))
        return "\n".join(self.lines)


@dataclass
class Post:
    number: int
    title: str
    date: datetime
    blocks: list[Block]

    @property
    def text(self) -> str:
        return "\n\n".join(block.text() for block in self.blocks)

    @property
    def slug(self) -> str:
        return f"post-{self.number}"


def site(seed: int, count: int = 200) -> list[Post]:
    """Return posts, oldest first."""
    rng = random.Random(seed)
    start = datetime(2003, 2, 1, 12, 0, tzinfo=UTC)
    return [
        Post(n, sentence(rng)[:40].strip(), start + timedelta(days=9 * n), blocks(rng))
        for n in range(1, count + 1)
    ]


def sentence(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(4, 14))
    return " ".join([words[0].capitalize(), *words[1:]]) + "."


def blocks(rng: random.Random) -> list[Block]:
    kinds = ["paragraph", *rng.choices([*MAKE], k=rng.randint(2, 7)), "paragraph"]
    return [Block(kind, MAKE[kind](rng)) for kind in kinds]


def verses(rng: random.Random) -> list[str]:
    stanza = [sentence(rng)[:30].strip() for _ in range(4)]
    return [*stanza, "", *(sentence(rng)[:30].strip() for _ in range(4)), "", *stanza]


MAKE: dict[str, Callable[[random.Random], list[str]]] = {
    "paragraph": lambda rng: [" ".join(sentence(rng) for _ in range(rng.randint(1, 4)))],
    "poem": verses,
    "list": lambda rng: [sentence(rng) for _ in range(3)],
    "numbers": lambda rng: [sentence(rng) for _ in range(3)],
    "code": lambda rng: [rng.choice(CODE)],
    "quote": lambda rng: [sentence(rng)],
    "heading": lambda rng: [sentence(rng)],
    "figure": lambda rng: [sentence(rng)],
}


def inline(rng: random.Random, text: str) -> str:
    """Return a line as an editor writes it: with entities of its own, emphasis and links."""
    html = escape(text, quote=False)
    for character, names in (("’", ("&#8217;", "&rsquo;", "’")), ("—", ("&mdash;", "&#x2014;"))):
        html = html.replace(character, rng.choice(names))
    words = html.split(" ")
    at = rng.randrange(len(words))
    form = rng.choice(
        ["{}", "<em>{}</em>", "<strong>{}</strong>", '<a href="https://x.example">{}</a>']
    )
    words[at] = form.format(words[at])
    return " ".join(words)


def stanzas(lines: list[str]) -> list[list[str]]:
    return [part.split("\n") for part in "\n".join(lines).split("\n\n")]


def html_block(rng: random.Random, block: Block) -> str:
    """Return a block as the HTML of a page or a newsletter."""
    lines = [inline(rng, line) if line and block.kind != "code" else line for line in block.lines]
    match block.kind:
        case "poem":
            return "\n".join(f"<p>{'<br/>'.join(part)}</p>" for part in stanzas(lines))
        case "list" | "numbers":
            tag = "ul" if block.kind == "list" else "ol"
            return f"<{tag}>\n" + "\n".join(f"<li>{line}</li>" for line in lines) + f"\n</{tag}>"
        case "code":
            return f"<pre><code>{escape(lines[0], quote=False)}</code></pre>"
        case "quote":
            return f"<blockquote>\n<p>{lines[0]}</p>\n</blockquote>"
        case "heading":
            return f"<h2>{lines[0]}</h2>"
        case "figure":
            return f'<figure><img src="a.jpg" alt="A"><figcaption>{lines[0]}</figcaption></figure>'
    return f"<p>{lines[0]}</p>"


def html_body(rng: random.Random, post: Post) -> str:
    return "\n".join(html_block(rng, block) for block in post.blocks)


def gutenberg(rng: random.Random, post: Post) -> str:
    names = {"list": "list", "numbers": "list", "code": "code", "quote": "quote"}
    parts = []
    for block in post.blocks:
        name = names.get(block.kind, "paragraph")
        attributes = rng.choice(["", '{"align":"wide","note":"a\\u002d\\u002d>b"} '])
        body = html_block(rng, block)
        parts.append(f"<!-- wp:{name} {attributes}-->\n{body}\n<!-- /wp:{name} -->")
        parts.append(rng.choice(["", '<!-- wp:latest-posts {"columns":2} /-->', "<!--more-->"]))
    return "\n\n".join(parts)


def classic(rng: random.Random, post: Post) -> str:
    """Return a post as WordPress's old editor stored it: blank lines are paragraphs."""
    parts = []
    for block in post.blocks:
        lines = [
            inline(rng, line) if line and block.kind != "code" else line for line in block.lines
        ]
        match block.kind:
            case "poem":
                parts.append("\n".join(lines))
            case "list" | "numbers":
                tag = "ul" if block.kind == "list" else "ol"
                parts.append(
                    f"<{tag}>\n" + "".join(f" \t<li>{li}</li>\n" for li in lines) + f"</{tag}>"
                )
            case "code":
                code = escape(lines[0], quote=False)
                wrap = rng.choice(["<pre>{}</pre>", "[sourcecode language='c']{}[/sourcecode]"])
                parts.append(wrap.format(code.replace("a[i]", "a[i]")))
            case "quote":
                parts.append(f"<blockquote>{lines[0]}</blockquote>")
            case "heading":
                parts.append(f"<h2>{lines[0]}</h2>")
            case "figure":
                parts.append(
                    '[caption id="attachment_7" align="alignleft" width="300"]<a href="b.jpg">'
                    f'<img src="a.jpg" alt="A" /></a> {lines[0]}[/caption]'
                )
            case _:
                first, _, rest = lines[0].partition(" ")
                wrap = rng.choice(["{}", "[row][column width='1/2']{}[/column][/row]", "[b]{}[/b]"])
                parts.append(wrap.format(f"{first} {rest}"))
        parts.append(
            rng.choice(
                [
                    "",
                    "",
                    '[gallery ids="1,2"]',
                    "[embed]https://v.example[/embed]",
                    '[contact-form-7 id="4" title="Write"]',
                    "[divider /]",
                    "<!--more-->",
                ]
            )
        )
    return rng.choice(["\n", "\r\n"]).join("\n\n".join(filter(None, parts)).split("\n"))


def item(
    post: Post, content: str, kind: str = "post", status: str = "publish", extra: str = ""
) -> str:
    cdata = content.replace("]]>", "]]]]><![CDATA[>")
    day = post.date.strftime("%Y-%m-%d %H:%M:%S")
    return f"""
    <item>
        <title>{escape(escape(post.title, quote=False), quote=False)}</title>
        <link>https://quill.example/{post.slug}</link>
        <pubDate>{format_datetime(post.date)}</pubDate>
        <dc:creator><![CDATA[{LOGIN}]]></dc:creator>
        <guid isPermaLink="false">https://quill.example/?p={post.number}</guid>
        <description></description>
        <content:encoded><![CDATA[{cdata}]]></content:encoded>
        <excerpt:encoded><![CDATA[A summary that nobody wants twice.]]></excerpt:encoded>
        <wp:post_id>{post.number}</wp:post_id>
        <wp:post_date>{day}</wp:post_date>
        <wp:post_date_gmt>{day}</wp:post_date_gmt>
        <wp:post_name>{post.slug}</wp:post_name>
        <wp:status>{status}</wp:status>
        <wp:post_type>{kind}</wp:post_type>
        <category domain="category" nicename="uncategorized"><![CDATA[Uncategorized]]></category>
        <wp:postmeta><wp:meta_key>_x</wp:meta_key><wp:meta_value><![CDATA[1]]></wp:meta_value></wp:postmeta>
        {extra}
    </item>"""


COMMENT = "<wp:comment><wp:comment_content><![CDATA[First!]]></wp:comment_content></wp:comment>"
PASSWORD = "<wp:post_password>secret</wp:post_password>"


def wxr(posts: list[Post], rng: random.Random) -> bytes:
    """Return a site as a WordPress export, newest first, with all that such an export has."""
    entries = []
    for post in reversed(posts):
        content = rng.choice([gutenberg, classic])(rng, post)
        if post.number % 20 == 0:
            content = content.replace(". ", ".\x0b ", 1).replace(" ", "\x03 ", 1)
        entries.append(item(post, content, extra=COMMENT * (post.number % 3)))
        if post.number % 50 == 0:
            entries.append(entries[-1])
    other = Post(9000, "Other", posts[0].date, [])
    for number, (kind, status, extra) in enumerate(
        [
            ("post", "draft", ""),
            ("post", "private", ""),
            ("post", "pending", ""),
            ("post", "future", ""),
            ("post", "trash", ""),
            ("page", "publish", COMMENT),
            ("page", "publish", ""),
            ("attachment", "inherit", ""),
            ("post", "publish", PASSWORD),
            ("nav_menu_item", "publish", ""),
            ("revision", "inherit", ""),
            ("recipe", "publish", ""),
        ]
    ):
        other.number = 9000 + number
        entries.insert(number * 3, item(other, f"Unwanted {kind} {status}.", kind, status, extra))
    return export(*entries)


def export(*items: str) -> bytes:
    """Return a WordPress export with some items."""
    return f"""<?xml version="1.0" encoding="UTF-8" ?>
<!-- This is a WordPress eXtended RSS file generated by WordPress as an export of your site. -->
<rss version="2.0" xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/"
    xmlns:content="http://purl.org/rss/1.0/modules/content/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:wp="http://wordpress.org/export/1.2/">
<channel>
    <title>Quill</title><wp:wxr_version>1.2</wp:wxr_version>
    <wp:author><wp:author_id>1</wp:author_id><wp:author_login><![CDATA[{LOGIN}]]></wp:author_login>
    <wp:author_display_name><![CDATA[{AUTHOR}]]></wp:author_display_name></wp:author>
    {"".join(items)}
</channel></rss>""".encode()


def atom(posts: list[Post], rng: random.Random) -> bytes:
    """Return a site as an Atom feed, newest first, with one entry twice."""
    entries = [
        f"""<entry><id>tag:quill.example,{post.number}</id>
        <title type="html">{escape(escape(post.title, quote=False))}</title>
        <author><name>{escape(AUTHOR)}</name></author><updated>2026-01-01T00:00:00Z</updated>
        <published>{post.date.isoformat()}</published><summary>A summary.</summary>
        <content type="html">{escape(html_body(rng, post))}</content></entry>"""
        for post in reversed(posts)
    ]
    return f"""<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom">
    <title>Quill</title>{"".join([*entries, entries[0]])}</feed>""".encode()


SUBSCRIBE = (
    '<p class="button-wrapper" data-attrs="{}"><a class="button primary" href="https://x.example">'
    "<span>Subscribe now</span></a></p>"
)


def substack(posts: list[Post], rng: random.Random) -> bytes:
    """Return a site as a Substack export, with a draft and a page."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    columns = ["post_id", "post_date", "is_published", "email_sent_at", "type", "audience"]
    writer.writerow([*columns, "title"])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for post in reversed(posts):
            key = f"{post.number}.{post.slug}"
            row = [key, post.date.isoformat(), "true", "", "newsletter", "everyone", post.title]
            writer.writerow(row)
            body = html_body(rng, post).replace("<li>", "<li><p>").replace("</li>", "</p></li>")
            out.writestr(f"posts/{key}.html", f"{body}{SUBSCRIBE}")
            out.writestr(f"posts/{post.number}.opens.csv", "post_id,email\n")
        for key, row in (("8000.d", ["false", "", "newsletter"]), ("8001.p", ["true", "", "page"])):
            writer.writerow([key, "2020-01-01", *row, "everyone", "Other"])
            out.writestr(f"posts/{key}.html", "<p>Unwanted.</p>")
        out.writestr("posts.csv", table.getvalue())
        out.writestr("email_list.csv", "email\nreader@mail.example\n")
    return archive.getvalue()


def pages(posts: list[Post], rng: random.Random) -> dict[str, str]:
    """Return a site as its pages, saved: each post among what a theme puts around it."""
    links = "".join(f'<li><a href="/{p.slug}/">{escape(p.title)}</a></li>' for p in posts[-5:])
    return {f"{post.slug}.html": page(post, html_body(rng, post), links) for post in posts}


def page(post: Post, body: str, links: str) -> str:
    title, day = escape(post.title), post.date.date().isoformat()
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title} – Quill</title>
<meta name="generator" content="WordPress 6.4"><style>p {{ margin: 0 }}</style></head>
<body class="post-template-default single single-post"><a class="skip-link" href="#c">Skip</a>
<header id="masthead" class="site-header"><p class="site-title"><a href="/">Quill</a></p>
<nav class="main-navigation"><ul><li><a href="/">Home</a></li><li><a href="/a">About</a></li></ul>
</nav></header>
<main id="c" class="site-main"><article id="post-{post.number}" class="post hentry">
<header class="entry-header"><h1 class="entry-title">{title}</h1>
<div class="entry-meta">Posted on <time class="entry-date published" datetime="{day}">{day}</time>
by <span class="author vcard"><a href="/author">{escape(AUTHOR)}</a></span></div></header>
<div class="entry-content">
{body}
</div>
<footer class="entry-footer">Posted in <a href="/category">Uncategorized</a></footer></article>
<nav class="post-navigation"><a href="/older">Older words</a></nav>
<div id="comments" class="comments-area"><h2>One reply</h2>
<ol class="comment-list"><li>First!</li></ol>
<form class="comment-form"><label>Leave a reply</label><textarea></textarea></form></div></main>
<aside id="secondary" class="widget-area"><h2>Recent posts</h2><ul>{links}</ul></aside>
<footer id="colophon" class="site-footer">Proudly powered by WordPress</footer>
<script>var a = "<p>no</p>";</script></body></html>"""
