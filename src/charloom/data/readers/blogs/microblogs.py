"""Archives of Mastodon, Twitter and Reddit in, what their owner wrote there out."""

import html
import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Bundle, Document, Head, Job, Kind
from charloom.data.readers.blogs.posts import Posts
from charloom.data.readers.dates import iso_date
from charloom.data.readers.members import Members
from charloom.data.readers.objects import (
    Object,
    begins,
    mapping,
    objects,
    string,
    whole,
    whole_bytes,
)
from charloom.data.readers.pages.markup import fragment_text
from charloom.data.readers.tables.rows import rows

_OUTBOX = re.compile(rb'"(outbox\.json|https?://[^"]{1,200}/outbox(\.json)?)"')
_PUBLIC = ("https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public")
_TWEETS = re.compile(r"(.*/|)data/tweets?(-part\d+)?\.js")
_TABLES = {"posts.csv": "title", "comments.csv": ""}  # of Reddit: the column of a title
_GONE = ("[deleted]", "[removed]")
_ADDRESS = re.compile(r"https://t\.co/\w+")


def _is_outbox(head: Head) -> bool:
    start = begins(head)
    is_collection = start.startswith(b"{") and b'"OrderedCollection"' in start
    return is_collection and _OUTBOX.search(start) is not None


def _read_outbox(file: BinaryIO, job: Job) -> Iterator[Document]:
    outbox: Object = whole(file, job.label, dict)
    posts = Posts(job)
    for activity in objects(outbox.get("orderedItems")):
        note = activity.get("object")
        if not isinstance(note, dict):  # an Announce has an address
            job.report.left_out["boosts"] += 1
        elif not _is_public(note):
            job.report.left_out["private posts"] += 1
        else:
            posts.add(_note(note), string(note.get("id")))
    yield from posts.oldest_first()


def _is_public(note: Object) -> bool:
    seen_by = [note.get("to"), note.get("cc")]
    return any(
        one in _PUBLIC for who in seen_by for one in (who if isinstance(who, list) else [who])
    )


def _note(note: Object) -> Document:
    return Document(
        text=fragment_text(string(note.get("content"))),
        name=string(note.get("id")),
        title=string(note.get("summary")),
        date=iso_date(string(note.get("published"))),
    )


def _is_twitter(head: Head) -> bool:
    return any(map(_TWEETS.fullmatch, head.members))


def _read_twitter(members: Members, job: Job) -> Iterator[Document]:
    posts = Posts(job)
    for name in filter(_TWEETS.fullmatch, members.names()):
        data = members.read(name)
        script = data[data.find(b"[") :].rstrip(b"; \r\n")
        for entry in objects(whole_bytes(script, f"{name} in {members.label}", list)):
            tweet = mapping(entry.get("tweet", entry))
            if string(tweet.get("full_text")).startswith("RT @"):
                job.report.left_out["retweets"] += 1
            else:
                posts.add(_tweet(tweet), string(tweet.get("id_str")))
    yield from posts.oldest_first()


def _tweet(tweet: Object) -> Document:
    """Return a tweet with its addresses in full, and without those of its pictures."""
    links = objects(mapping(tweet.get("entities")).get("urls"))
    full = {string(link.get("url")): string(link.get("expanded_url")) for link in links}
    text = html.unescape(string(tweet.get("full_text")) or string(tweet.get("text")))
    return Document(
        text=_ADDRESS.sub(lambda found: full.get(found[0], ""), text).strip(),
        name=string(tweet.get("id_str")),
        date=iso_date(string(tweet.get("created_at"))),
    )


def _is_reddit(head: Head) -> bool:
    names = {name.rpartition("/")[2] for name in head.members}
    return names.issuperset(_TABLES) and any(name.endswith("_headers.csv") for name in names)


def _read_reddit(members: Members, job: Job) -> Iterator[Document]:
    posts = Posts(job)
    for name in members.names():
        table = name.rpartition("/")[2]
        if table not in _TABLES:
            continue
        for row in rows(members.read(name), f"{name} in {members.label}"):
            if (text := row.get("body", "").strip()) in _GONE:
                job.report.left_out["deleted posts"] += 1
                continue
            title, date = row.get(_TABLES[table], ""), row.get("date", "")
            post = Document(
                text, row.get("id", ""), title, "", iso_date(date.replace(" UTC", "+00:00"))
            )
            posts.add(post, f"{table} {post.name}" if post.name else "")
    yield from posts.oldest_first()


KINDS = (
    Kind("a Mastodon archive's outbox", _is_outbox, _read_outbox, "text", "posts"),
    Bundle("a Twitter archive", _is_twitter, _read_twitter, "", "tweets"),
    Bundle("a Reddit archive", _is_reddit, _read_reddit, "", "posts"),
)
