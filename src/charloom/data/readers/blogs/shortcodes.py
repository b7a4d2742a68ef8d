"""WordPress's shortcodes out of a text: [gallery ids="1,2"] goes, the words in [b]...[/b] stay.

Square brackets that are no shortcode stay: [sic], [1], a[i]. What is one cannot be told from the
text alone, for plugins add their own: known names are, and what is closed or has attributes.
"""

import re
from typing import NamedTuple

from charloom.data.readers.pages.markup import names

_HIDDEN = names(  # those whose contents are addresses and settings
    "audio embed gallery googlemaps playlist video wpvideo youtube vimeo soundcloud slideshow "
    "contact-form archives"
)
_CAPTIONS = frozenset({"caption", "wp_caption"})
_CODE = frozenset({"code", "sourcecode"})
_TAG = re.compile(
    r"""(?P<escape>\[?)\[(?P<close>/?)(?P<name>[A-Za-z][\w-]{0,60})
    (?P<rest>(?:[\s=:](?:"[^"]{0,1000}"|'[^'\n]{0,1000}'|[^\[\]"'])*+)?)
    \](?P<escaped>\]?)""",
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""\s[\w-]+\s?=\s?["'\u201c\u201d\w/]""")
_OLD_CAPTION = re.compile(r"""\scaption=(?:"([^"]*)"|'([^']*)')""")


class _Tag(NamedTuple):
    found: re.Match[str]
    name: str
    partner: int = -1  # the index of the tag that closes it


def without_shortcodes(text: str) -> str:
    """Return HTML without shortcodes, captions as paragraphs and code as it is."""
    tags = _paired([_Tag(found, found["name"].lower()) for found in _TAG.finditer(text)])
    closing = {tag.partner for tag in tags if tag.partner >= 0}
    parts, place, hidden = list[str](), 0, -1
    for index, tag in enumerate(tags):
        if index <= hidden:
            continue
        is_closing = index in closing
        if not (is_closing or _is_shortcode(tag)):
            continue
        parts += [text[place : tag.found.start()], _replacement(tag, is_closing)]
        place = tag.found.end()
        if tag.name in _HIDDEN and tag.partner >= 0:
            hidden = tag.partner
            place = tags[hidden].found.end()
    return "".join([*parts, text[place:]])


def _paired(tags: list[_Tag]) -> list[_Tag]:
    """Return tags with their partners: a closing tag's is the last open one of its name."""
    opened: dict[str, list[int]] = {}
    for index, tag in enumerate(tags):
        if _is_escaped(tag):
            continue
        if not tag.found["close"]:
            if not tag.found["rest"].endswith("/"):
                opened.setdefault(tag.name, []).append(index)
        elif opened.get(tag.name):
            begin = opened[tag.name].pop()
            tags[begin] = tags[begin]._replace(partner=index)
    return tags


def _is_escaped(tag: _Tag) -> bool:
    """Whether it is [[name]], which WordPress shows as [name]."""
    return bool(tag.found["escape"] and tag.found["escaped"])


def _is_shortcode(tag: _Tag) -> bool:
    if tag.partner >= 0:
        return True
    rest, is_known = tag.found["rest"], tag.name in _HIDDEN | _CAPTIONS
    if tag.found["close"]:
        return is_known
    if rest.startswith(("=", ":")):
        return tag.name in _HIDDEN
    return is_known or "_" in tag.name or rest.endswith("/") or bool(_ATTRIBUTE.search(rest))


def _replacement(tag: _Tag, is_closing: bool) -> str:
    before, after = tag.found["escape"], tag.found["escaped"]
    if _is_escaped(tag):
        return tag.found[0][1:-1]
    if tag.name in _CAPTIONS:
        old = _OLD_CAPTION.search(tag.found["rest"])  # the caption was an attribute once
        return f"{before}\n\n{(old[1] or old[2] or '') if old else ''}\n\n{after}"
    if tag.name in _CODE and (is_closing or tag.partner >= 0):
        return f"{before}{'</pre>' if is_closing else '<pre>'}{after}"
    return before + after
