"""Discord: channels that DiscordChatExporter saved, and the package of one's own data."""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from charloom.data.readers import Bundle, Document, Head, Job, Kind
from charloom.data.readers.chats.lines import Message, chat
from charloom.data.readers.dates import iso_time
from charloom.data.readers.members import Members
from charloom.data.readers.objects import (
    Object,
    begins,
    each,
    mapping,
    string,
    whole,
    whole_bytes,
)
from charloom.data.readers.plain import clean
from charloom.data.readers.tables.rows import rows

_SAID = ("Default", "Reply", "0", "19")
_CHANNEL = re.compile(rb'\{\s*"guild":\s*\{.*?"channel":\s*\{.*?"messages":\s*\[', re.DOTALL)
_OWN = re.compile(r"(?:^|/)messages/c?\d+/messages\.(?:csv|json)$", re.IGNORECASE)
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")
_MENTION = re.compile(r"<(?:@[!&]?|#)\d+>")


class Channel(msgspec.Struct):
    """A channel as DiscordChatExporter saves it."""

    channel: Object = {}
    messages: list[msgspec.Raw] = []


def _is_channel(head: Head) -> bool:
    return _CHANNEL.match(begins(head)) is not None


def _read_channel(file: BinaryIO, job: Job) -> Iterator[Document]:
    found = whole(file, job.label, Channel)
    messages = list(_messages(found.messages, job))
    yield from chat(messages, "", string(found.channel.get("name")))


def _is_package(head: Head) -> bool:
    return any(map(_OWN.search, head.members))


def _read_package(members: Members, job: Job) -> Iterator[Document]:
    """Yield what one wrote in each channel."""
    names = members.names()
    index = next((name for name in names if name.lower().endswith("messages/index.json")), None)
    titles = whole_bytes(members.read(index), index, Object) if index else {}
    for name in names:
        if not _OWN.search(name):
            continue
        found = sorted(_rows(members.read(name), f"{name} in {members.label}"), key=_timestamp)
        messages = list(_own_messages(found, job))
        channel = name.rsplit("/", 2)[1].lstrip("cC")
        yield from chat(messages, channel, string(titles.get(channel)))


def _messages(found: Iterable[msgspec.Raw], job: Job) -> Iterator[Message]:
    left_out = job.report.left_out
    for message in each(found, left_out, "damaged messages"):
        author = mapping(message.get("author"))
        text = clean(string(message.get("content")), job.report)
        if str(message.get("type", "Default")) not in _SAID:
            left_out["notices"] += 1
        elif author.get("isBot") is True:
            left_out["messages from bots"] += 1
        elif not text:
            left_out["messages without text"] += 1
        else:
            name = string(author.get("nickname")) or string(author.get("name")) or "?"
            yield Message(clean(name, job.report), text, iso_time(message.get("timestamp")))


def _rows(data: bytes, label: str) -> list[Object]:
    """Return the messages of a channel of a package; raises CharloomError."""
    is_csv = label.partition(" in ")[0].lower().endswith(".csv")
    return list(rows(data, label)) if is_csv else whole_bytes(data, label, list[Object])


def _timestamp(row: Object) -> str:
    return string(row.get("Timestamp"))


def _own_messages(found: Iterable[Object], job: Job) -> Iterator[Message]:
    for row in found:
        text, mentions = _MENTION.subn("", _EMOJI.sub(r"\1", string(row.get("Contents"))))
        text = clean(text, job.report)
        if mentions:
            job.report.left_out["mentions by number"] += mentions
        if text:
            yield Message("", text, iso_time(row.get("Timestamp")))
        else:
            job.report.left_out["messages without text"] += 1


KINDS = (
    Bundle("a package of Discord data", _is_package, _read_package, noun="channels"),
    Kind("a Discord channel", _is_channel, _read_channel, noun="channels"),
)
