"""Chats as text: what the readers of WhatsApp, Telegram, Discord and Slack have in common."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from charloom.data.readers import Document

PAUSE = timedelta(hours=6)  # after which people begin a conversation anew


class Message(NamedTuple):
    """What somebody wrote; `author` is empty if there is only one. `time` is local, or in UTC."""

    author: str
    text: str
    time: datetime | None = None


def chat(messages: Sequence[Message], name: str, title: str) -> Iterator[Document]:
    """Yield messages as a document that has the date of the first; nothing if there are none."""
    if messages:
        date = next((message.time.isoformat() for message in messages if message.time), "")
        yield Document(conversation(messages), name, title, date=date)


def conversation(messages: Iterable[Message]) -> str:
    """Return messages as lines "Name: text", with a blank line where nobody wrote for six hours."""
    return "\n".join(_lines(messages))


def _lines(messages: Iterable[Message]) -> Iterator[str]:
    last = None
    for author, text, time in messages:
        if time and last and abs(time - last) >= PAUSE:
            yield ""
        last = time or last
        yield f"{author}: {text}" if author else text
