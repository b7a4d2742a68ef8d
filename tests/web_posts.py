"""Invented posts, of which the text is known, as the programs that make web pages mark them up."""

import html
from collections.abc import Callable
from typing import NamedTuple

Block = tuple[str, str]  # its kind, its text


class Post(NamedTuple):
    title: str
    date: str
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        return "\n\n".join(map(_text, self.blocks))


def _text(block: Block) -> str:
    kind, text = block
    lines = text.split("\n")
    if kind == "ul":
        return "\n".join(f"- {line}" for line in lines)
    if kind == "ol":
        return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
    return text


PLUMS = (
    "The plum tree behind the shed had never borne much. Some years it gave a bowl of small, hard, "
    "yellow things that nobody ate, and one year it gave nothing but wasps. We kept it because "
    "my grandfather had planted it, and because it was in the way of nothing."
)
TRAM = (
    "On the tram this morning a boy explained to his sister how a lock works. He had it nearly "
    "right. “The pins go up,” he said, “and then they forget that they were down.” "
    "She thought about that as far as the hospital."
)
RAIN = (
    "It rained for eleven days & the cellar smelled of 1974. We carried the boxes up, opened them, "
    "found that most of what we had saved was string, and carried them down again."
)
LAMP = (
    "I have mended the reading lamp three times now. Each time it was a different part, so that by "
    "now little of the old lamp is in it; and still it flickers when the tram goes by."
)
REFRAIN = "Row on, row on, the river is wide and nobody waits on the other side of it,"
SHORT = "Snow. The first."
POEM = (
    "The ferry leaves at seven,\nthe gulls leave when they please;\n"
    "the harbour keeps its lamps lit\nfor neither one of these."
)
POEM_2 = (
    "My mother kept her buttons\nin a tin with a painted queen.\n\nI keep the tin with nothing,\n"
    "so nothing’s lost between."
)
CODE = """def area(w, h):
    if w < 0 or h < 0:
        raise ValueError("less than nothing")

    return w * h"""
LIST = "two eggs\na cup of flour, sifted\nmilk, as much as it takes"
STEPS = "Warm the pan.\nWait longer than you want to.\nThrow the first one away."
QUOTE = "A letter is a walk that one takes for somebody else."

POSTS = (
    Post("The plum tree", "2019-03-04", (("p", PLUMS), ("p", RAIN), ("p", LAMP))),
    Post("Ferry song", "2019-04-01", (("poem", POEM),)),
    Post("Snow", "2019-12-24", (("p", SHORT),)),
    Post(
        "Pancakes, at last",
        "2020-02-25",
        (("p", RAIN), ("h2", "You need"), ("ul", LIST), ("h2", "Then"), ("ol", STEPS), ("p", TRAM)),
    ),
    Post(
        "Areas & less",
        "2020-06-10",
        (("p", "How large is nothing?"), ("code", CODE), ("p", "So now we know. " + LAMP)),
    ),
    Post(
        "Row on",
        "2020-08-30",
        (("poem", f"{REFRAIN}\n{REFRAIN}\nand home is where it was."), ("p", TRAM)) * 2,
    ),
    Post("What she wrote", "2021-01-02", (("quote", QUOTE), ("p", PLUMS), ("quote", RAIN))),
    Post("Buttons", "2021-05-05", (("p", "For M., who asked."), ("poem", POEM_2), ("p", "(1998)"))),
    Post("To buy", "2021-09-09", (("ul", LIST),)),
    Post("The lock", "2022-11-11", (("h2", "On the tram"), ("p", TRAM), ("p", TRAM), ("p", PLUMS))),
)


# Written, with the pages called HELD_OUT, after the rules were settled by the posts above.
BUS = (
    "The last bus is driven by a woman who sings. Not loudly; you would have to sit in front to "
    "know it. I have sat there for a year, and in that year she has learned one new song, which "
    "she does not know the end of, so that it stops at the depot."
)
MOTH = (
    "There was a moth in the dictionary, between “lunar” and “lung”. I let it stay. "
    "Words I have looked up since: lintel, ludic, lugger. None of them, I think, was disturbed..."
)
BILL = (
    "What it cost: 12.50 for the glass, 3 <euro> for the putty & nothing for the advice, of which "
    "there was more than of the other two. The window shuts. It did not use to, and the cat knows."
)
WELL = "Well, that is done."
CHANT = (
    "Count the steps to the cellar, count them again on the way back up,\n" * 2
    + "one is always missing, one is always there."
)
HAIKU = "frost on the handrail\nthe whole street going to work\none hand at a time"
BALLAD = (
    "They sold the bell to mend the roof,\nthey sold the roof for bread,\n"
    "and now it rains upon the choir\nand no one rings the dead.\n\n"
    "O bring me back the bell, said Tom,\nand I will bring the rope;\n"
    "the price of bells is high, they said,\nbut not as high as hope."
)
SCRIPT = """#!/bin/sh
# who was here
for name in */; do
\techo "${name%/} <was here>"
done


exit 0"""
TOOLS = "a knife\nputty, grey\na neighbour who knows better"
ORDER = "Take out the glass.\nCut yourself.\nPut in the glass."

HELD_OUT = (
    Post("The last bus", "2008-10-01", (("p", BUS),)),
    Post("A moth", "2009-02-03", (("p", MOTH), ("p", BUS), ("quote", WELL), ("p", MOTH))),
    Post("Handrail", "2010-01-09", (("poem", HAIKU),)),
    Post("Tom & the bell", "2011-11-30", (("p", "After the organist."), ("poem", BALLAD))),
    Post("Window", "2012-07-07", (("h2", "Tools"), ("ul", TOOLS), ("ol", ORDER), ("p", BILL))),
    Post("Who was here", "2013-03-13", (("p", WELL), ("code", SCRIPT), ("p", BILL))),
    Post("Done", "2014-12-31", (("p", WELL),)),
    Post("Cellar", "2015-05-25", (("poem", CHANT), ("poem", CHANT), ("p", BUS))),
    Post("Two letters", "2016-08-08", (("quote", BUS), ("quote", MOTH), ("p", WELL))),
    Post(
        "All of it",
        "2017-09-19",
        (
            *(("h2", "Glass"), ("p", BILL), ("poem", HAIKU), ("h2", "Bus"), ("p", BUS)),
            *(("ul", TOOLS), ("code", SCRIPT), ("quote", MOTH), ("p", BUS), ("poem", BALLAD)),
        ),
    ),
)


def lines(text: str, between: str) -> str:
    return between.join(map(html.escape, text.split("\n")))


def items(text: str) -> str:
    return "\n".join(f"<li>{html.escape(line)}</li>" for line in text.split("\n"))


def stanzas(text: str, between: str) -> str:
    return "\n".join(f"<p>{lines(stanza, between)}</p>" for stanza in text.split("\n\n"))


Markup = dict[str, Callable[[str], str]]

MARKDOWN: Markup = {
    "p": lambda text: f"<p>{html.escape(text)}</p>",
    "poem": lambda text: stanzas(text, "<br />\n"),
    "ul": lambda text: f"<ul>\n{items(text)}\n</ul>",
    "ol": lambda text: f"<ol>\n{items(text)}\n</ol>",
    "quote": lambda text: f"<blockquote>\n  <p>{html.escape(text)}</p>\n</blockquote>",
    "h2": lambda text: f'<h2 id="{text.lower()}">{text}</h2>',
    "code": lambda text: f"<pre><code>{html.escape(text)}\n</code></pre>",
}
BLOCKS: Markup = MARKDOWN | {
    "poem": lambda text: f'<pre class="wp-block-verse">{html.escape(text)}</pre>',
    "ul": lambda text: f'<ul class="wp-block-list">\n{items(text)}\n</ul>',
    "quote": lambda text: (
        f'<blockquote class="wp-block-quote is-layout-flow"><p>{html.escape(text)}</p></blockquote>'
    ),
    "h2": lambda text: f'<h2 class="wp-block-heading">{text}</h2>',
    "code": lambda text: f'<pre class="wp-block-code"><code>{html.escape(text)}</code></pre>',
}


def rouge(text: str) -> str:
    marked = html.escape(text).replace("def", '<span class="k">def</span>')
    return (
        '<div class="language-python highlighter-rouge"><div class="highlight">'
        f'<pre class="highlight"><code>{marked}\n</code></pre></div></div>'
    )


KRAMDOWN: Markup = MARKDOWN | {"code": rouge}


def chroma(text: str) -> str:
    rows = "".join(
        f'<span class="line"><span class="cl">{html.escape(line)}\n</span></span>'
        for line in text.split("\n")
    )
    return (
        '<div class="highlight"><pre tabindex="0" class="chroma">'
        f'<code class="language-sh" data-lang="sh">{rows}</code></pre></div>'
    )


def indented_divs(text: str) -> str:
    verses = (f"<div>{html.escape(line) or '<br />'}</div>" for line in text.split("\n"))
    return "".join(verses) + "<div><br /></div>"


AUTOP: Markup = MARKDOWN | {
    "h2": lambda text: f"<h2>{text}</h2>",
    "quote": lambda text: f"<blockquote><p>{html.escape(text)}</p></blockquote>",
    "code": lambda text: f"<pre>{html.escape(text)}</pre>",
}
GOLDMARK: Markup = MARKDOWN | {
    "poem": lambda text: stanzas(text, "<br>\n"),
    "h2": lambda text: (
        f'<h2 id="{text.lower()}">{text}'
        f'<a hidden class="anchor" aria-hidden="true" href="#{text.lower()}">#</a></h2>'
    ),
    "code": chroma,
}
BLOGGER: Markup = MARKDOWN | {
    "p": lambda text: f"<div>{html.escape(text)}</div><div><br /></div>",
    "poem": indented_divs,
    "ul": lambda text: f'<ul style="text-align: left;">{items(text)}</ul>',
    "quote": lambda text: (
        f'<blockquote style="border: none; margin: 0 0 0 40px;">{html.escape(text)}</blockquote>'
    ),
    "h2": lambda text: f'<h2 style="text-align: left;">{text}</h2>',
    "code": lambda text: f"<pre>{html.escape(text)}</pre>",
}
BREAKS: Markup = BLOGGER | {  # Blogger's until 2010: no elements but <br>
    "p": lambda text: f"{html.escape(text)}<br /><br />",
    "poem": lambda text: lines(text, "<br />") + "<br /><br />",
}
OLD: Markup = AUTOP | {  # by hand: nothing is closed
    "p": lambda text: f"<P>{html.escape(text)}",
    "poem": lambda text: "<P>" + lines(text, "<BR>\n"),
    "ul": lambda text: "<UL>\n" + "\n".join(f"<LI>{line}" for line in text.split("\n")) + "</UL>",
}


def marked_up(post: Post, markup: Markup) -> str:
    return "\n\n".join(markup[kind](text) for kind, text in post.blocks)
