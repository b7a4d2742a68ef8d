"""What kind a file is of, by how it begins and what is in it."""

from charloom.data.readers import Bundle, Head, Kind
from charloom.data.readers.blogs import feeds, ghost, medium, microblogs, substack, wordpress
from charloom.data.readers.books import (
    chess,
    docx,
    epub,
    gutenberg,
    gutenberg_html,
    markdown,
    notebook,
    odt,
    pdf,
    rtf,
    subtitles,
    tunes,
)
from charloom.data.readers.chats import discord, slack, telegram, whatsapp
from charloom.data.readers.mail import kinds as mail
from charloom.data.readers.pages import html
from charloom.data.readers.tables import kinds as tables

_SUREST_FIRST = (
    *(pdf, rtf, epub, docx, odt, wordpress, feeds, ghost, substack, medium, microblogs),
    *(gutenberg_html, html, telegram, discord, whatsapp, slack, mail, notebook, gutenberg),
    *(subtitles, chess, tunes, markdown, tables),
)
KINDS: tuple[Kind | Bundle, ...] = tuple(kind for form in _SUREST_FIRST for kind in form.KINDS)


def recognise(head: Head) -> Kind | None:
    """Return the kind of a file that is no archive; None if it is plain text or unknown."""
    return next((kind for kind in KINDS if isinstance(kind, Kind) and kind.matches(head)), None)


def recognise_bundle(head: Head) -> Bundle | None:
    """Return the kind of an archive or folder; None if its files do not belong together."""
    found = (kind for kind in KINDS if isinstance(kind, Bundle) and kind.matches(head))
    return next(found, None)
