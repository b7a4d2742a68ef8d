"""Slack's exports: a folder for each channel, a file for each day."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from charloom.data.readers import Bundle, Document, Head, Job
from charloom.data.readers.chats.lines import Message, chat
from charloom.data.readers.members import Members
from charloom.data.readers.objects import Object, mapping, objects, string, whole_bytes
from charloom.data.readers.plain import clean

_DAY = re.compile(r"(?:^|/)([^/]+)/\d{4}-\d\d-\d\d\.json$")
_USERS = re.compile(r"(?:^|/)users\.json$")
_SAID = ("", "thread_broadcast", "me_message", "file_share")
_LINK = re.compile(r"<([@#!]?)([^<>|\n]+)(?:\|([^<>\n]*))?>")

Names = dict[str, str]


def _is_export(head: Head) -> bool:
    """Whether an archive is an export: it says who is in it, and has days of a channel."""
    return any(map(_USERS.search, head.members)) and any(map(_DAY.search, head.members))


def _read(members: Members, job: Job) -> Iterator[Document]:
    """Yield each channel as a chat, in which the answers to a message come behind it."""
    days: dict[str, list[str]] = {}
    for name in members.names():
        if day := _DAY.search(name):
            days.setdefault(day[1], []).append(name)
    people = _names(members)
    for channel, names in days.items():
        found = [m for name in sorted(names) for m in _objects(members, name)]
        messages = list(_messages(sorted(found, key=_place), people, job))
        yield from chat(messages, channel, channel)


def _names(members: Members) -> Names:
    """Return what people are called, by their ids."""
    found: Names = {}
    for name in filter(_USERS.search, members.names()):
        for user in _objects(members, name):
            known = [mapping(user.get("profile")), user]
            fields = ("display_name", "real_name", "name")
            said = (string(about.get(field)) for about in known for field in fields)
            found[string(user.get("id"))] = next(filter(None, said), "")
    return found


def _objects(members: Members, name: str) -> list[Object]:
    return objects(whole_bytes(members.read(name), f"{name} in {members.label}", list))


def _place(message: Object) -> tuple[float, float]:
    """Return where a message stands: behind the one that it answers."""
    sent = _seconds(message.get("ts"))
    return _seconds(message.get("thread_ts")) or sent, sent


def _seconds(value: object) -> float:
    return (
        float(value) if isinstance(value, str) and re.fullmatch(r"\d{1,11}(\.\d*)?", value) else 0
    )


def _messages(found: list[Object], people: Names, job: Job) -> Iterator[Message]:
    left_out = job.report.left_out
    for message in found:
        text = clean(_text(string(message.get("text")), people), job.report)
        if message.get("type") != "message" or message.get("bot_id"):
            left_out["messages from bots"] += 1
        elif string(message.get("subtype")) not in _SAID:
            left_out["notices"] += 1
        elif not text:
            left_out["messages without text"] += 1
        else:
            user = string(message.get("user"))
            author = clean(people.get(user, ""), job.report) or user or "?"
            sent = datetime.fromtimestamp(_seconds(message.get("ts")), UTC).replace(tzinfo=None)
            yield Message(author, text, sent)


def _text(text: str, people: Names) -> str:
    """Return a text as it is shown: with names of people and channels, and what links say."""

    def shown(match: re.Match[str]) -> str:
        sign, target, label = match.groups()
        if sign == "@":
            return "@" + (people.get(target) or label or target)
        if sign == "!":
            return label or "@" + target
        return sign + (label or target)

    return html.unescape(_LINK.sub(shown, text))


KINDS = (Bundle("a Slack export", _is_export, _read, noun="channels"),)
