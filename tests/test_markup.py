import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers.pages.markup import fragment_text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>one<br>two<br/>three</p><p>four\n  five</p>", "one\ntwo\nthree\n\nfour five"),
        ("<div>one</div><div>two</div><div><br /></div><div>three</div>", "one\ntwo\n\nthree"),
        ("one<br />\n<br />\ntwo<br />three<br /><br /><br />four", "one\n\ntwo\nthree\n\nfour"),
        ("<div><div><p>a</p></div></div><div><p>b</p></div>", "a\n\nb"),
        ("<p>a</p><p>&nbsp;</p><p></p><p> <br> </p><p>b</p>", "a\n\nb"),
        ("<h2>Title</h2>text<blockquote><p>said</p></blockquote>", "Title\n\ntext\n\nsaid"),
        ("<span class='line'>one</span> <span class='poem-line'>two</span>", "one\ntwo"),
        ("<i style='display: block'>one</i><i style='display:block'>two</i>", "one\ntwo"),
        (
            "<div class='stanza'><div>a</div><div>b</div></div><div class='stanza'>c</div>",
            "a\nb\n\nc",
        ),
        ("a<hr>b", "a\n\n* * *\n\nb"),
        ("<hr>a<hr><hr><p>b</p><hr>", "a\n\n* * *\n\nb"),
        ("<p>* * *</p>a<p>* * *</p>", "* * *\n\na\n\n* * *"),
        ("<details><summary>more</summary>all</details>", "more\nall"),
    ],
)
def test_lines_end_where_a_browser_would_break_them(source: str, text: str) -> None:
    assert fragment_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("in<b>line</b>d <i> a </i> b<wbr>c<em>d</em>", "inlined a bcd"),
        ("<p><span class='dropcap'>O</span>nce</p>", "Once"),
        ("<o:p>a</o:p><x-y>b</x-y>", "ab"),
        ("a &amp;lt; b &lt;i&gt; &hellip; &#8217; &#x1F600;", "a &lt; b <i> … ’ 😀"),
        ("hy&shy;phen, sp&nbsp;&nbsp;ace", "hyphen, sp  ace"),
        ("<p>&nbsp; indented &nbsp;</p>", "  indented"),
        ("漢字\n  仮名 a\nb", "漢字仮名 a b"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字</ruby>", "漢字"),
        ("say <q>hi</q>", "say “hi”"),
        ("1 < 2 & 3", "1 < 2 & 3"),
        ("a\0b\x08c", "abc"),
    ],
)
def test_words_stay_as_they_are(source: str, text: str) -> None:
    assert fragment_text(f"<p>{source}</p>") == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a<ul><li>b</li><li></li><li>c</li></ul>d", "a\n\n- b\n- c\n\nd"),
        ("<ol><li>a<li>b</ol>", "1. a\n2. b"),
        ("<ol start='9'><li>a</li><li>b</li><li value='3'>c</li></ol>", "9. a\n10. b\n3. c"),
        ("<ol start='²'><li>a</li></ol><ol start='-4'><li>b</li></ol>", "1. a\n\n1. b"),
        ("<ul><li>a<ol><li>b</li></ol></li><li>c</li></ul>", "- a\n  1. b\n- c"),
        ("<ol><li>a<br>b<pre>c\n\n d</pre></li></ol>", "1. a\n   b\n\n   c\n\n    d"),
        ("<ul><li><p>a</p></li><li><p>b</p><p>c</p></li></ul>", "- a\n\n- b\n\n  c"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "a\nb"),
        ("<li>a", "- a"),
    ],
)
def test_items_of_lists_have_their_marks(source: str, text: str) -> None:
    assert fragment_text(f"<div>{source}</div>") == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "<table><caption>t</caption><tr><th>a </th> <th>b</th></tr>"
            "<tr><td><p>1</p></td><td> 2\n3 </td></tr></table>c",
            "t\na\tb\n1\t2 3\n\nc",
        ),
        ("<table><tr><td>a<br>b</td><td>c<br>d</td></tr></table>", "a\nb\n\nc\nd"),
        ("<table><tr><td><p>a</p><p>b</p></td></tr></table>", "a\n\nb"),
        (
            "<table><tr><td>x<table><tr><td>a</td><td>b</td></tr></table></td></tr></table>",
            "x\n\na\tb",
        ),
    ],
)
def test_rows_of_tables_have_tabs_unless_the_cells_have_lines(source: str, text: str) -> None:
    assert fragment_text(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<pre>\n  a\n\n\n\tb  \n\n</pre>c", "  a\n\n\n\tb\n\nc"),
        ("<pre><code><span>a</span>  b<br>c</code></pre>", "a  b\nc"),
        ("<pre><span class='line'>a\n</span><span class='line'>\n</span>b</pre>", "a\n\nb"),
        ("<pre><span class='ln'>1</span>a</pre><pre class='lineno'>1\n2</pre>", "a"),
        ("<p style='white-space: pre-wrap'>a  b\n  c</p>", "a  b\n  c"),
        ("<p style='white-space: pre-line'>a  b\n  c</p>", "a b\nc"),
        ("<xmp>a  b</xmp>", "a  b"),
    ],
)
def test_what_is_preformatted_keeps_its_spaces_and_blank_lines(source: str, text: str) -> None:
    assert fragment_text(f"<div>{source}</div>") == text


@pytest.mark.parametrize(
    "unseen",
    [
        "<script>if (a<b) c</script>",
        "<style>a</style>",
        "<noscript><img alt='x'>y</noscript>",
        "<template><p>x</p></template>",
        "<!-- x -->",
        "<?x y?>",
        "<img src='x' alt='x'>",
        "<svg><title>x</title><text>y</text></svg>",
        "<p hidden>x</p>",
        "<p style='color: red; display : none'>x</p>",
        "<span class='screen-reader-text'>x</span>",
        "<span aria-hidden='true'>x</span>",
        "<button>x</button>",
        "<a href='#x'>#</a>",
        "<a href='https://example.com/post#fnref1'>↩︎</a>",
        "<title>x</title>",
    ],
)
def test_what_no_reader_sees_is_left_out(unseen: str) -> None:
    assert fragment_text(f"<div>a{unseen}<p>b</p></div>") == "a\n\nb"


def test_a_page_that_scripts_hide_at_first_is_seen() -> None:
    assert fragment_text("<html hidden><body style='visibility: hidden'><p>a</p>") == "a"


def test_a_caption_and_an_emoji_are_text() -> None:
    source = "<figure><img alt='x'><figcaption>here</figcaption></figure><img class=emoji alt=😀>"
    assert fragment_text(source) == "here\n\n😀"


def test_the_number_of_a_footnote_is_not_part_of_a_word() -> None:
    source = "<p>In 1945<sup><a href='#fn1'>1</a></sup> <a href='#it'>it</a> was 10<sup>3</sup></p>"
    assert fragment_text(source) == "In 1945[1] it was 103"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("one\ntwo\n\nthree <b>bo</b>ld\n\n\n\nfour", "one\ntwo\n\nthree bold\n\nfour"),
        ("one\r\n\r\ntwo\r\nthree", "one\n\ntwo\nthree"),
        ("one\n<!--more-->\n\ntwo <em>three</em>\nfour", "one\n\ntwo three\nfour"),
        ("one\n\n<blockquote>a\nb</blockquote>\n\ntwo", "one\n\na\nb\n\ntwo"),
        (
            "one\n\ntwo\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\nthree",
            "one\n\ntwo\n\n- a\n- b\n\nthree",
        ),
        ("one\n\ntwo\n<pre>a\n\n\n  b</pre>\nthree", "one\n\ntwo\n\na\n\n\n  b\n\nthree"),
        ("a line<br />\nand one\n\n<p>two</p>\nthree", "a line\nand one\n\ntwo\n\nthree"),
        ("a verse\nof one stanza", "a verse\nof one stanza"),
        ("<strong>T</strong>\n\n&nbsp;\n\n<h2>x</h2>\n\ny", "T\n\nx\n\ny"),
    ],
)
def test_text_with_blank_lines_has_paragraphs_and_lines(source: str, text: str) -> None:
    assert fragment_text(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "<p>one\ntwo</p>\n\n<p>three</p>",
        "<!-- wp:heading --><h2>one\ntwo</h2><!-- /wp:heading -->\n\nthree",
        "<div>\n\none\ntwo<br><br>three\n\n</div>",
        "<h2>one\ntwo</h2><h3>three</h3>",
        "one two<br />\n\n<br />\n\nthree",
    ],
)
def test_line_ends_of_marked_up_text_are_spaces(source: str) -> None:
    assert fragment_text(source) == "one two\n\nthree"


LETTERS = st.characters(max_codepoint=0x2E7F, categories=["L", "N", "P", "S"])  # with spaces
WORD = st.text(LETTERS, min_size=1, max_size=8)
LINE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
LINES = st.lists(LINE, min_size=1, max_size=4)
CODE = st.lists(
    st.one_of(st.just(""), st.tuples(st.sampled_from(["", "  ", "\t"]), LINE).map("".join)),
    min_size=1,
    max_size=6,
).filter(lambda lines: bool(lines[0] and lines[-1]))
BREAKS = ("<br>", "<br/>\n", "\n  <BR />")


@st.composite
def block(draw: st.DrawFn) -> tuple[str, str]:
    """A paragraph, poem, list or the like: its HTML and its text."""
    kind = draw(st.sampled_from(["p", "h2", "poem", "divs", "spans", "ul", "ol", "pre", "table"]))
    lines = draw(CODE if kind == "pre" else LINES)
    shown = [html.escape(line) for line in lines]
    if kind in ("p", "h2"):
        inner = draw(st.sampled_from([" ", "\n", "  \n\t"])).join(shown[0].split())
        return f"<{kind}> {inner}</{kind}>", lines[0]
    if kind == "poem":
        return f"<p>{draw(st.sampled_from(BREAKS)).join(shown)}</p>", "\n".join(lines)
    if kind in ("divs", "spans"):
        tag = "div" if kind == "divs" else "span class='line'"
        verses = " ".join(f"<{tag}>{line}</{tag.split()[0]}>" for line in shown)
        return f"<div class='stanza'>{verses}</div>", "\n".join(lines)
    if kind == "pre":
        return "<pre>\n" + "\n".join(shown) + "\n</pre>", "\n".join(lines)
    if kind == "table":
        row = "".join(f"<td> {cell}\n</td>" for cell in shown)
        return f"<table><tr>{row}</tr></table>", "\t".join(lines)
    marks = ["- "] * len(lines) if kind == "ul" else [f"{i + 1}. " for i in range(len(lines))]
    items = "".join(f"<li>{line}</li>\n" for line in shown)
    return f"<{kind}>{items}</{kind}>", "\n".join(map(str.__add__, marks, lines))


@st.composite
def tree(draw: st.DrawFn) -> tuple[str, str]:
    """Blocks, within other elements or not."""
    blocks = draw(st.lists(block(), min_size=1, max_size=6))
    source = ""
    for part, _ in blocks:
        around = draw(st.lists(st.sampled_from(["div", "section", "blockquote"]), max_size=3))
        source += "".join(f"<{tag}>\n" for tag in around) + part
        source += "".join(f"</{tag}>" for tag in reversed(around)) + draw(
            st.sampled_from(["", "\n", "<!-- x -->", "<p></p>"])
        )
    return source, "\n\n".join(text for _, text in blocks)


@given(tree())
def test_the_text_of_a_tree_is_what_it_was_made_of(pair: tuple[str, str]) -> None:
    source, text = pair
    assert fragment_text(source) == text


@given(st.lists(LINES, min_size=2, max_size=5))
def test_stanzas_of_bare_text_come_back(stanzas: list[list[str]]) -> None:
    text = "\n\n".join("\n".join(lines) for lines in stanzas)
    assert fragment_text(html.escape(text)) == text


PIECES = ["<", ">", "</", "&", "&lt", "!--", "-->", "\n", " ", "x", "\0", "\ud800", "hidden", "#"]
TAGS = (
    "p",
    "div",
    "li",
    "ol",
    "table",
    "tr",
    "td",
    "pre",
    "br",
    "hr",
    "a",
    "html",
    "body",
    "title",
)
SOUP = [*PIECES, *(f"<{tag}>" for tag in TAGS), *(f"</{tag}>" for tag in TAGS)]


@given(st.lists(st.sampled_from(SOUP), max_size=30).map("".join) | st.text())
def test_anything_is_text_without_needless_blank_lines(source: str) -> None:
    text = fragment_text(source)
    assert text == text.strip("\n")
    assert "pre" in source or not re.search(r"\n\n\n| \n", text)


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 100_000 + "x",
        "<table><tr><td>" * 3000,
        "<ul><li>" * 3000,
        "<a href='#'>" * 3000 + "x" * 100_000,
        "x" + " " * 1_000_000 + "y",
        "x" + " \n" * 300_000 + "y",
        "<p>x" * 20_000,
    ],
)
def test_deep_and_long_input_is_read_in_one_go(source: str) -> None:
    assert len(fragment_text(source)) <= len(source)
