"""A message of mail to a document: what a person wrote and would read, from MIME."""

import binascii
import email
import quopri
import re
from collections.abc import Iterator
from email.message import Message
from email.utils import parseaddr

from charloom.data.encodings import USUAL, guesses
from charloom.data.readers import Document, Report
from charloom.data.readers.dates import mail_time
from charloom.data.readers.declared import codec
from charloom.data.readers.mail.replies import own_words, unwrapped
from charloom.data.readers.pages.markup import element_text, parse
from charloom.data.readers.plain import clean, one_line
from charloom.data.utf8 import normalized
from charloom.errors import CharloomError

_WORD = re.compile(r"=\?([\w.:+-]+)(?:\*[\w-]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(?<=\?=)\s+(?==\?[\w.:+-]+(?:\*[\w-]*)?\?[bBqQ]\?)")
_CITED = "//blockquote[@type='cite' or contains(@class, 'cite') or contains(@class, 'gmail_quote')]"
_DROPPED = (
    "//*[contains(@class, 'gmail_quote') or contains(@class, 'moz-cite-prefix')"
    " or contains(@class, 'yahoo_quoted') or contains(@class, 'protonmail_quote')"
    " or contains(@class, 'gmail_signature') or contains(@class, 'moz-signature')"
    " or @id='divRplyFwdMsg' or @id='appendonsend']"
    " | //*[@id='divRplyFwdMsg' or @id='appendonsend']/following-sibling::*"
)
_FIRST = ("multipart/related", "multipart/signed", "multipart/report")  # is the text
_DELETED = 0x0008  # of Mozilla's status: it stays in the file until that is compacted


def document(data: bytes, name: str, report: Report) -> Document | None:
    """Return a message as a document; None, counted, if there is nothing that a person wrote."""
    try:
        message = email.message_from_bytes(data)
        headers = _headers(message)
        if _is_deleted(headers):
            report.left_out["deleted messages"] += 1
            return None
        text = clean("\n\n".join(_texts(message, report)), report)
    except CharloomError:
        raise
    except Exception:  # the library raises anything on damaged input
        report.left_out["damaged messages"] += 1
        return None
    if not text:
        report.left_out["messages without text"] += 1
        return None
    time = mail_time(headers.get("date", ""))
    date = time.isoformat() if time else ""
    return Document(text, name, _in_a_line(headers.get("subject", "")), _author(headers), date)


def decoded(data: bytes, charset: str, report: Report) -> str:
    """Return bytes as text, in what they are in if that is not what is said."""
    try:
        return data.decode(codec(charset))
    except (LookupError, ValueError):
        if not data.isascii():
            report.mended["parts in an encoding other than declared"] += 1
    try:
        return data.decode("utf-8")
    except ValueError:
        likely = guesses(data)
        name = likely[0] if likely and USUAL not in likely else USUAL
        return data.decode(name, "replace")


def _headers(message: Message) -> dict[str, str]:
    """Return the first header of each name, in small letters, as it was sent."""
    found: dict[str, str] = {}
    for name, value in message.raw_items():
        found.setdefault(name.lower(), str(value))
    return found


def _is_deleted(headers: dict[str, str]) -> bool:
    status = headers.get("x-mozilla-status", "").strip()
    return bool(re.fullmatch("[0-9a-fA-F]{4}", status) and int(status, 16) & _DELETED)


def _texts(part: Message, report: Report) -> Iterator[str]:
    """Yield what is to be read of a part; what is attached is counted."""
    kind, payload = part.get_content_type(), part.get_payload()
    children = [p for p in payload if isinstance(p, Message)] if isinstance(payload, list) else []
    if kind.startswith("message/"):
        report.left_out["attachments"] += 1
    elif kind == "multipart/alternative" and children:
        yield from _best(children, report)
    elif children:
        read = 1 if kind in _FIRST else len(children)
        for child in children[:read]:
            yield from _attached_or_not(child, report)
        if children[read:]:
            report.left_out["attachments"] += len(children) - read
    elif kind == "text/plain" or _is_undivided(kind, payload):
        yield _plain(part, report)
    elif kind == "text/html":
        yield own_words(_without_tags(_content(part, report)), report)
    else:
        report.left_out["attachments"] += 1


def _attached_or_not(part: Message, report: Report) -> Iterator[str]:
    """Yield the texts of a part of a message unless it is a file."""
    if part.get_content_disposition() == "attachment" or part.get_filename() is not None:
        report.left_out["attachments"] += 1
    else:
        yield from _texts(part, report)


def _is_undivided(kind: str, payload: object) -> bool:
    """Whether what should have parts is a text: it has not the line that is said to begin one."""
    return kind.startswith("multipart/") and isinstance(payload, str) and "Content-" not in payload


def _best(children: list[Message], report: Report) -> Iterator[str]:
    """Yield the plain text of several forms of the same, or if it is empty, what comes next."""
    for child in sorted(children, key=lambda child: child.get_content_type() != "text/plain"):
        found = [text for text in _attached_or_not(child, report) if text.strip()]
        if found:
            yield from found
            return


def _plain(part: Message, report: Report) -> str:
    text = _content(part, report)
    if _parameter(part, "format").lower() == "flowed":
        text = unwrapped(text, _parameter(part, "delsp").lower() == "yes")
    return own_words(text, report)


def _content(part: Message, report: Report) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    return normalized(decoded(data, _parameter(part, "charset") or "us-ascii", report))


def _parameter(part: Message, name: str) -> str:
    value = part.get_param(name, "")
    return str(value[2] if isinstance(value, tuple) else value)


def _without_tags(html: str) -> str:
    """Return the text of a page, with > where it quotes."""
    page = parse(html)
    for element in page.xpath(_DROPPED):
        element.clear(keep_tail=True)
    for element in page.xpath(_CITED):
        element.clear(keep_tail=True)
        element.text = ">"
    return element_text(page)


def _author(headers: dict[str, str]) -> str:
    name, address = parseaddr(headers.get("from", ""))
    return _in_a_line(name) or _in_a_line(address)


def _in_a_line(header: str) -> str:
    """Return a header as people read it: in one line, and with encoded words decoded."""
    data = header.encode("utf-8", "surrogateescape")
    text = decoded(data, "utf-8", Report())
    text = _WORD.sub(_word, _BETWEEN_WORDS.sub("", text))
    return one_line(clean(text, Report()))


def _word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    data = text.encode("utf-8")
    try:
        if encoding in "bB":
            data = binascii.a2b_base64(data + b"==")
        else:
            data = quopri.decodestring(data.replace(b"_", b" "), header=True)
    except binascii.Error:
        return match[0]
    return decoded(data, charset, Report())
