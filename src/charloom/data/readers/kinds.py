"""What kind a file is of, by how it begins and what is in it."""

from charloom.data.readers import (
    Bundle,
    Head,
    Kind,
    chess,
    discord,
    docx,
    epub,
    feeds,
    ghost,
    gutenberg,
    html,
    mail,
    markdown,
    medium,
    microblogs,
    notebook,
    odt,
    pdf,
    rtf,
    slack,
    substack,
    subtitles,
    tables,
    telegram,
    tunes,
    whatsapp,
    wordpress,
)

KINDS: tuple[Kind | Bundle, ...] = (  # the surest first
    *pdf.KINDS,
    *rtf.KINDS,
    *epub.KINDS,
    *docx.KINDS,
    *odt.KINDS,
    *wordpress.KINDS,
    *feeds.KINDS,
    *ghost.KINDS,
    *substack.KINDS,
    *medium.KINDS,
    *microblogs.KINDS,
    *html.KINDS,
    *telegram.KINDS,
    *discord.KINDS,
    *whatsapp.KINDS,
    *slack.KINDS,
    *mail.KINDS,
    *notebook.KINDS,
    *gutenberg.KINDS,
    *subtitles.KINDS,
    *chess.KINDS,
    *tunes.KINDS,
    *markdown.KINDS,
    *tables.KINDS,
)


def recognise(head: Head) -> Kind | None:
    """Return the kind of a file that is no archive; None if it is plain text or unknown."""
    return next((kind for kind in KINDS if isinstance(kind, Kind) and kind.matches(head)), None)


def recognise_bundle(head: Head) -> Bundle | None:
    """Return the kind of an archive or folder; None if its files do not belong together."""
    found = (kind for kind in KINDS if isinstance(kind, Bundle) and kind.matches(head))
    return next(found, None)
