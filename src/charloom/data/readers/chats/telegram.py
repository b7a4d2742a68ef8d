"""Telegram's exports: result.json of a chat, or of a whole account."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.chats.lines import Message, chat
from charloom.data.readers.dates import iso_time
from charloom.data.readers.objects import begins, each, string, whole
from charloom.data.readers.plain import clean

_CHAT = re.compile(rb'"type":\s*"(?:personal_chat|saved_messages|bot_chat|p(?:rivate|ublic)_\w+)"')
_ACCOUNT = re.compile(
    rb'\{\s*(?:"about":\s*"[^{\[]*"(?:personal_information|chats|contacts)":\s*\{'
    rb'|"personal_information":\s*\{\s*"user_id")'
)
_POSTS = ("public_channel", "private_channel", "saved_messages")


class Chat(msgspec.Struct):
    """A chat of an export, with its messages as they are."""

    name: Any = ""
    type: Any = ""
    id: Any = ""
    messages: list[msgspec.Raw] = []


class Chats(msgspec.Struct):
    """The chats of an account."""

    chats: list[Chat] = msgspec.field(default_factory=list, name="list")


class Export(Chat):
    """The whole of a file: a chat, or those of an account, also such as one has left."""

    chats: Chats = msgspec.field(default_factory=Chats)
    left_chats: Chats = msgspec.field(default_factory=Chats)


def _is_export(head: Head) -> bool:
    start = begins(head)
    if not start.startswith(b"{"):
        return False
    return bool(_ACCOUNT.match(start) or (_CHAT.search(start) and b'"messages"' in start))


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    """Yield each chat; of a channel, and of what one saved for oneself, each message."""
    export = whole(file, job.label, Export)
    chats = [*export.chats.chats, *export.left_chats.chats]
    for number, found in enumerate([export] if export.messages else chats, 1):
        title = string(found.name) or ("Saved messages" if found.type == "saved_messages" else "")
        name = "" if export.messages else title or f"chat {number}"
        messages = list(_messages(found, job))
        if found.type in _POSTS:
            for place, post in enumerate(messages, 1):
                yield from chat([post._replace(author="")], f"{name} {place}".strip(), title)
        else:
            yield from chat(messages, name, title)


def _messages(found: Chat, job: Job) -> Iterator[Message]:
    left_out = job.report.left_out
    for message in each(found.messages, left_out, "damaged messages"):
        said = message.get("text") or message.get("text_entities")
        text = clean(_text(said), job.report)
        if message.get("type") != "message":
            left_out["notices"] += 1
        elif message.get("forwarded_from") or message.get("saved_from"):
            left_out["forwarded messages"] += 1
        elif not text:
            left_out["messages without text"] += 1
        else:
            author = string(message.get("from")) or string(message.get("from_id")) or "?"
            yield Message(clean(author, job.report), text, iso_time(message.get("date")))


def _text(value: object) -> str:
    """Return a text, which may be a string, or a list of strings and of objects with a text."""
    if isinstance(value, list):
        return "".join(string(p.get("text")) if isinstance(p, dict) else string(p) for p in value)
    return string(value)


KINDS = (Kind("a Telegram export", _is_export, _read, noun="chats"),)
