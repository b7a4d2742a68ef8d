"""A file that is no text, as a text of 256 different characters: each byte is one.

It is that of Latin-1, but ␀ (U+2400) for byte 0, because U+0000 is the boundary between documents.
"""

ZERO = "\u2400"  # byte 0: the symbol for null
CHARACTERS = (*map(chr, range(1, 256)), ZERO)


def raw_text(data: bytes) -> str:
    """Return a character for each byte."""
    return data.decode("latin-1").replace("\0", ZERO)


def raw_bytes(text: str) -> bytes:
    """Return the bytes that characters of `raw_text` stand for; raises UnicodeEncodeError."""
    return text.replace(ZERO, "\0").encode("latin-1")
