"""Mail: an mbox, a Maildir, or a file with one message."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Bundle, Document, Head, Job, Kind
from charloom.data.readers.mail.letter import document
from charloom.data.readers.mail.mbox import MESSAGE_BYTES, is_mbox, messages, sent
from charloom.data.readers.members import Members
from charloom.errors import CharloomError

_DELIVERED = re.compile(r"(?:^|/)(?:cur|new)/\d+[._][^/]*$")
_MAILDIR = re.compile(r"(?:^|/)(?:(?:cur|new|tmp)/[^/]+|(?:dovecot|courier|maildir|subscri)[^/]*)$")
_LEFT_OUT = re.compile(
    r"(?:^|[/.])(?:(trash|deleted[^/]*)|(drafts?)|(junk|spam))/[^/]+/[^/]+$", re.I
)
_FLAGS = re.compile(r"[:;!]2,([A-Za-z]*)$")
_LENGTH = re.compile(rb"(\d{1,9}) *\n")  # before each of Apple's files, behind which is a list
_HEADER = re.compile(rb"([!-9;-~]+)[ \t]*:")
_SURE = {b"message-id", b"received", b"mime-version", b"return-path", b"newsgroups"}
_USUAL = {b"date", b"subject", b"to"}


def _is_message(head: Head) -> bool:
    """Whether a file is a message: headers, among them who wrote it, and an empty line."""
    start = _LENGTH.sub(b"", head.start, count=1) if _LENGTH.match(head.start) else head.start
    if head.name.lower().endswith((".eml", ".emlx")):
        return _HEADER.match(start.lstrip()) is not None
    block, _, _ = start.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
    found = block.split(b"\n")
    names = [match[1].lower() for line in found if (match := _HEADER.match(line))]
    goes_on = sum(line.startswith((b" ", b"\t")) for line in found)
    if not names or len(names) + goes_on < len(found) or b"snapshot-content-location" in names:
        return False
    known = set(names)
    sender = next((line for line in found if line.lower().startswith(b"from:")), b"")
    return b"from" in known and bool(known & _SURE or (known & _USUAL and b"@" in sender))


def _is_maildir(head: Head) -> bool:
    """Whether a folder is a Maildir: it has files named as those delivered are, and no others."""
    others = [name for name in head.members if not _DELIVERED.search(name)]
    return len(others) < len(head.members) and all(map(_MAILDIR.search, others))


def _read_file(file: BinaryIO, job: Job) -> Iterator[Document]:
    for number, data in messages(file, job.report):
        if found := document(data, f"message {number}", job.report):
            yield found


def _read_message(file: BinaryIO, job: Job) -> Iterator[Document]:
    data = file.read(MESSAGE_BYTES)
    if length := _LENGTH.match(data):
        data = data[length.end() :][: int(length[1])]
    found = document(data, "", job.report)
    if not found:
        message = f"{job.label} is a message without text: leave it out"
        raise CharloomError(message, "not-text", why="no text", path=job.label)
    yield found


def _read_maildir(members: Members, job: Job) -> Iterator[Document]:
    """Yield the messages of a Maildir but for drafts, spam and those in the trash."""
    dates, last = dict[str, float](), float("-inf")
    for name in members.names():
        flags = match[1] if (match := _FLAGS.search(name)) else ""
        trash, drafts, spam = match.groups() if (match := _LEFT_OUT.search(name)) else 3 * (None,)
        if not _DELIVERED.search(name):
            job.report.left_out["other files"] += 1
        elif trash or "T" in flags:
            job.report.left_out["deleted messages"] += 1
        elif drafts or "D" in flags:
            job.report.left_out["drafts"] += 1
        elif spam:
            job.report.left_out["messages of spam"] += 1
        else:
            last = sent(members.read(name), last)
            dates[name] = last
    for name in sorted(dates, key=dates.__getitem__):
        if found := document(members.read(name)[:MESSAGE_BYTES], name, job.report):
            yield found


KINDS = (
    Bundle("a Maildir", _is_maildir, _read_maildir, "text", "messages"),
    Kind(
        "an mbox",
        lambda head: is_mbox(head.start),
        _read_file,
        "text",
        "messages",
        in_any_order=True,
    ),
    Kind("a message of mail", _is_message, _read_message, "text", "messages"),
)
