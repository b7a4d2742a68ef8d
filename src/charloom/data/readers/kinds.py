"""What kind a file is of, by how it begins and what is in it."""

from charloom.data.readers import Bundle, Head, Kind, docx, odt, pdf

KINDS: tuple[Kind | Bundle, ...] = (*pdf.KINDS, *docx.KINDS, *odt.KINDS)  # the surest first


def recognise(head: Head) -> Kind | Bundle | None:
    """Return the kind of a file, archive or folder; None if it is plain text or unknown."""
    return next((kind for kind in KINDS if kind.matches(head)), None)
