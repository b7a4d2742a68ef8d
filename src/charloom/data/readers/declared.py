"""The encodings that files and letters say they are in, understood as browsers do."""

import codecs
import re

_SAID = {  # what Python has no name for, and browsers do
    "iso-8859-8-i": "iso-8859-8",
    "utf8mb4": "utf-8",
    "windows-874": "cp874",
}
_MEANT = {  # what some encodings really are, each of which has all characters of the other
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
_OF_TEXT = re.compile(r"utf|iso8859|cp\d|koi8|mac|gb|big5|euc|shift|iso2022|hz|kz|johab")
_IN_XML = re.compile(rb"<\?xml\b[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)


def codec(label: str) -> str:
    """Return Python's name of the encoding that a label means; "" if there is none of text."""
    label = label.strip("\"' \t").lower().removeprefix("x-")
    label = _SAID.get(label, label)
    for known in (label, label.replace("cp-", "cp"), label.replace("windows-", "cp")):
        try:
            name = codecs.lookup(known).name
        except (LookupError, ValueError):
            continue
        name = _MEANT.get(name, name)
        return name if _OF_TEXT.match(name) else ""
    return ""


def xml_encoding(start: bytes) -> str:
    """Return the encoding of XML that begins so: by its mark or its declaration, else UTF-8."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    declared = _IN_XML.search(start[:4096])
    name = codec(declared[1].decode("ascii")) if declared else ""
    return "utf-8" if not name or name.startswith("utf") else name
