"""HTML to plain text: lines are where a browser would break them, and no words are lost.

Paragraphs, and whatever a browser sets apart, have a blank line between them; <br> and <div> break
lines, so poems keep theirs; items of lists have "- " or "1. "; cells of a row have tabs between
them; <pre> stays as it is; <hr> is "* * *". What no reader sees is left out: scripts, hidden
elements, soft hyphens, spaces at the ends of lines.
"""

import re
from collections.abc import Container
from typing import Literal

from charloom.data.readers.xml_tree import Element
from charloom.data.utf8 import normalized
from charloom.errors import needs_extra

Spaces = Literal["collapse", "lines", "verbatim"]  # "lines" collapses all but line ends


def names(text: str) -> frozenset[str]:
    """Return the names in a text, between which is white space."""
    return frozenset(text.split())


_UNSEEN = names(
    "script style noscript noframes template title iframe object audio video canvas svg "
    "button select datalist textarea rt rp rtc annotation annotation-xml"
)
_UNSEEN_CLASSES = names(
    "screen-reader-text sr-only visually-hidden visuallyhidden "
    "lineno linenos gutter rouge-gutter hljs-ln-numbers"
)
_LISTS = names("ul ol menu dir")
_VERBATIM = names("pre listing xmp")
_PARAGRAPHS = names(
    "p h1 h2 h3 h4 h5 h6 blockquote dl table td th figure figcaption hr article section main "
    "header footer nav aside details fieldset"
).union(_LISTS, _VERBATIM)
_LINES = names("html head body div center li dt dd tr caption summary legend address form")
_BLOCKS = _PARAGRAPHS | _LINES
_STANZAS = names("stanza strophe paragraph para")  # classes of <div>
_BARE = names("html head body div center blockquote")  # where WordPress makes paragraphs
_LAYOUT = names("table br li pre blockquote")  # are in cells that have lines of their own
_RULE = "\x01"  # stands for <hr>; there are no control characters in what is parsed

_SPACES = re.compile(r"[ \t\n\r\f]+")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_WIDE = "\u2e80-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"  # written without spaces
_WIDE_LINE_END = re.compile(f"(?<=[{_WIDE}])[ \t]*\n[ \t]*(?=[{_WIDE}])")
_VERSE = re.compile(r"(?:^|[ _-])(?:line|verse)(?:$| )")  # in the class of a <span>
_WHITE_SPACE = re.compile(r"(?<![\w-])white-space\s*:\s*(pre-line|pre|break-spaces)")
_NOT_SHOWN = re.compile(r"(?<![\w-])(?:display\s*:\s*none|visibility\s*:\s*hidden)")
_SHOWN_AS_BLOCK = re.compile(r"(?<![\w-])display\s*:\s*block")
_NOTE = re.compile(r"#.*(?:fn|note|ref)")  # in addresses of footnotes
_CONTROLS = dict.fromkeys([*range(9), 11, *range(14, 32), 127])
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|\?xml)\b", re.IGNORECASE)


def fragment_text(html: str) -> str:
    """Return the text of a post's body, without line ends around it.

    The body is HTML, or what WordPress and its like make HTML of: text in which a blank line ends
    a paragraph. Of that the line ends are kept.
    """
    tree = parse(html)
    return element_text(tree, "collapse" if _has_paragraphs(html, tree) else "lines")


def parse(html: str) -> Element:
    """Return the tree of a page or of a part of one, whatever it is."""
    with needs_extra("text", "reading HTML"):
        from lxml import etree
    source = normalized(html).translate(_CONTROLS)
    if not _PAGE.match(source):
        source = f"<html><body>{source}"  # else text at the start is taken for a paragraph
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True)
    tree = etree.fromstring(source.encode("utf-8", "replace"), parser)
    return etree.Element("html") if tree is None else tree


def element_text(
    element: Element, spaces: Spaces = "collapse", left_out: Container[Element] = ()
) -> str:
    """Return the text within an element but not in some others, without line ends around it."""
    from lxml import etree

    text, unseen = _Text(spaces), None
    walk = etree.iterwalk(element, events=("start", "end", "comment", "pi"))
    for event, node in walk:  # no recursion: elements may be nested by the thousand
        if event == "start" and (node in left_out or is_unseen(node)):
            unseen = node
            walk.skip_subtree()
        elif event == "start":
            text.open(node)
            text.add(node.text or "")
        else:
            if event == "end" and node is not unseen:
                text.close(node)
            if node is not element:
                text.add(node.tail or "")
    return text.finish()


def is_unseen(element: Element) -> bool:
    """Whether a reader of the page does not see an element, or sees a mark, not a word."""
    if element.tag in _UNSEEN:
        return True
    if not element.attrib or element.tag in ("html", "body"):  # which scripts hide for a moment
        return False
    if element.get("hidden") is not None:
        return True
    if _UNSEEN_CLASSES.intersection(classes(element)):
        return bool(element.tag != "div")
    if element.get("aria-hidden") == "true" and element.tag not in _BLOCKS:
        return True
    text = (element.text or "").strip()
    if element.tag == "span" and {"ln", "lnt"}.intersection(classes(element)) and text.isdigit():
        return True  # the number of a line of code
    if _is_link_within(element) and not re.search(r"\w", text or "x"):
        return True  # the sign of a heading's own address, or the way back from a footnote
    return _NOT_SHOWN.search(style(element)) is not None


def classes(element: Element) -> list[str]:
    """Return an element's classes in lower case."""
    return (element.get("class") or "").lower().split()


def style(element: Element) -> str:
    """Return an element's own style in lower case."""
    return (element.get("style") or "").lower()


class _Lines:
    """Lines of text, the blank lines between them, and the marks before items of lists."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.blank = 0  # lines before the next
        self._line: list[str] = []
        self.items: list[list[str]] = []  # for each item around: what its next line begins with

    def put(self, text: str) -> None:
        """Add to the line."""
        if text:
            self._line.append(text)

    def put_collapsed(self, text: str) -> None:
        """Add to the line with one space for several, and none where one is, or at its start."""
        text = _SPACES.sub(" ", _WIDE_LINE_END.sub("", text))
        spaced = not self._line or self._line[-1][-1:] in (" ", "\t", "")
        self.put(text.removeprefix(" ") if spaced else text)

    def put_tab(self) -> None:
        """Add a tab to the line, without a space before it."""
        if self._line:
            self._line[-1] = self._line[-1].rstrip(" ")
        self._line.append("\t")

    def end(self) -> bool:
        """End the line, and return whether there was anything in it."""
        line, self._line = "".join(self._line).replace("\xa0", " ").rstrip(), []
        if not line:
            return False
        if self.done:
            self.done += [""] * self.blank
        self.blank = 0
        self.done.append("".join(item[0] for item in self.items) + line)
        for item in self.items:
            item[0] = " " * len(item[0])
        return True

    def end_paragraph(self) -> None:
        """End the line, and have one blank line at least before the next."""
        self.end()
        self.blank = max(self.blank, 1)


class _Text:
    """The text of a tree that is walked through: its elements open and close, text is between."""

    def __init__(self, spaces: Spaces) -> None:
        self._lines = _Lines()
        self._spaces = [spaces]
        self._counts: list[int] = []  # of each list around: the next item's number, 0 for a dash
        self._in_grid = False  # a table whose cells have one line each
        self._begins = True  # nothing is in the row, or in what is verbatim, yet

    def open(self, element: Element) -> None:
        """Begin an element."""
        tag = element.tag
        self._bound(element)
        if mode := _spaces_within(element):
            self._spaces.append(mode)
            self._begins = True
        if tag == "br":
            self._break(self._spaces[-1])
        elif tag == "hr" and not self._in_grid and self._lines.done[-1:] != [_RULE]:
            self._lines.put(_RULE)
        elif tag in _LISTS:
            self._counts.append(_number(element, "start", 1) if tag == "ol" else 0)
        elif tag == "li":
            self._lines.items.append([self._mark(element)])
        elif tag == "table":
            self._in_grid = _is_grid(element)
        elif tag == "tr":
            self._begins = True
        elif tag in ("td", "th") and self._in_grid:
            if not self._begins:
                self._lines.put_tab()
            self._begins = False
        elif tag == "img" and {"emoji", "wp-smiley"}.intersection(classes(element)):
            self.add(element.get("alt") or "")
        elif tag == "q" or _is_number(element):
            self.add("\u201c" if tag == "q" else "[")

    def close(self, element: Element) -> None:
        """End an element."""
        tag = element.tag
        if tag == "q" or _is_number(element):
            self.add("\u201d" if tag == "q" else "]")
        elif tag in _LISTS:
            self._counts.pop()
        self._bound(element)
        if _spaces_within(element):
            self._spaces.pop()
        if tag in _VERBATIM:
            self._lines.blank = 1
        elif tag == "li":
            self._lines.items.pop()
        elif tag == "table":
            self._in_grid = False

    def add(self, text: str) -> None:
        """Add text as it is in the tree."""
        text, mode = text.replace("\xad", ""), self._spaces[-1]
        if mode == "collapse" or self._in_grid:
            self._lines.put_collapsed(text)
            return
        for number, line in enumerate(text.split("\n")):
            if number == 1 and mode == "lines":
                self._lines.end()  # which <br> or a block may have done before
            elif number:
                self._break(mode)
            if mode == "lines":
                self._lines.put_collapsed(line)
            else:
                self._lines.put(line)

    def finish(self) -> str:
        """Return the text."""
        self._lines.end()
        lines = self._lines.done
        while lines and lines[-1] in (_RULE, ""):
            lines.pop()
        first = next((i for i, line in enumerate(lines) if line not in (_RULE, "")), 0)
        return "\n".join("* * *" if line == _RULE else line for line in lines[first:])

    def _break(self, mode: Spaces) -> None:
        """End the line, which is a blank one if it is empty."""
        if self._lines.end():
            self._begins = False
        elif mode != "verbatim":
            self._lines.blank = max(self._lines.blank, 1)
        elif not self._begins:
            self._lines.blank += 1

    def _bound(self, element: Element) -> None:
        """End the line, or the paragraph, where a block begins or ends."""
        tag = element.tag
        if self._in_grid and tag not in ("table", "caption", "tr"):
            if tag in _BLOCKS and tag not in ("td", "th"):
                self._lines.put_collapsed(" ")
        elif tag in _LISTS and self._counts:
            self._lines.end()
        elif tag in _PARAGRAPHS or (tag == "div" and _STANZAS.intersection(classes(element))):
            self._lines.end_paragraph()
        elif tag in _LINES or (self._spaces[-1] != "verbatim" and _is_verse(element)):
            self._lines.end()

    def _mark(self, element: Element) -> str:
        """Return what stands before an item of a list."""
        if not self._counts or not self._counts[-1]:
            return "- "
        number = _number(element, "value", self._counts[-1])
        self._counts[-1] = number + 1
        return f"{number}. "


def _spaces_within(element: Element) -> Spaces | None:
    """Return what becomes of spaces from here on, if an element says so."""
    if element.tag in _VERBATIM:
        return "verbatim"
    found = _WHITE_SPACE.search(style(element))
    if found is None or element.tag == "br":
        return None
    return "lines" if found[1] == "pre-line" else "verbatim"


def _number(element: Element, attribute: str, default: int) -> int:
    """Return an attribute that is a number from 1 on."""
    value = element.get(attribute) or ""
    return int(value) if re.fullmatch("[0-9]{1,9}", value) and int(value) else default


def _is_grid(table: Element) -> bool:
    """Whether each cell of a table is one line; else it lays out columns of text."""
    if any(table.find(f".//{tag}") is not None for tag in _LAYOUT):
        return False
    return not table.xpath(".//td/descendant::p[2]")


def _is_verse(element: Element) -> bool:
    """Whether an inline element is shown as a line of its own."""
    if element.tag == "span" and _VERSE.search(" ".join(classes(element))):
        return True
    return bool(_SHOWN_AS_BLOCK.search(style(element)))


def _is_link_within(element: Element) -> bool:
    """Whether an element is a link to a place in a page, with nothing but text in it."""
    return element.tag == "a" and len(element) == 0 and "#" in (element.get("href") or "")


def _is_number(element: Element) -> bool:
    """Whether an element is the number of a footnote, which must not become part of a word."""
    if not _is_link_within(element) or not (element.text or "").strip().isdigit():
        return False
    return element.getparent().tag == "sup" or bool(_NOTE.search(element.get("href")))


def _has_paragraphs(html: str, tree: Element) -> bool:
    """Whether paragraphs are marked, so that line ends in the text mean no more than spaces."""
    if "<!-- wp:" in html:  # WordPress's blocks
        return True
    bare = [text.strip() for text in _bare_texts(tree)]
    if any(map(_BLANK_LINE.search, bare)):
        return False
    return not any(bare) or any(tree.find(f".//{tag}") is not None for tag in ("p", "br", "div"))


def _bare_texts(tree: Element) -> list[str]:
    """Return the texts that are in no paragraph."""
    from lxml import etree

    texts = [list[str]()]
    walk = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, node in walk:
        bounds = event in ("start", "end") and (node.tag in _BLOCKS or node.tag == "br")
        if bounds:
            texts.append([])
        if event == "start" and (node.tag in _UNSEEN or node.tag in _BLOCKS - _BARE):
            walk.skip_subtree()
        elif event == "start":
            texts[-1].append(node.text or "")
        else:
            texts[-1].append(node.tail or "")
    return ["".join(text) for text in texts]
