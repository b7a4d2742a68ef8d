"""Medium's exports in, their published stories out."""

import re
from collections.abc import Iterator

from charloom.data.readers import Bundle, Document, Head, Job
from charloom.data.readers.blogs.posts import Posts
from charloom.data.readers.dates import iso_date
from charloom.data.readers.members import Members
from charloom.data.readers.pages.markup import Element, classes, element_text, parse
from charloom.data.readers.plain import one_line

_STORY = re.compile(r"(.*/|)posts/[^/]+\.html")
_USUAL = re.compile(r"(.*/|)posts/(draft|\d{4}-\d\d-\d\d)_[^/]*-[0-9a-f]{6,14}\.html")
_PROFILE = re.compile(r"(.*/|)profile/profile\.html")


def _is_export(head: Head) -> bool:
    stories = [name for name in head.members if _STORY.fullmatch(name)]
    is_usual = all(map(_USUAL.fullmatch, stories)) or any(map(_PROFILE.fullmatch, head.members))
    return bool(stories) and is_usual


def _read(members: Members, job: Job) -> Iterator[Document]:
    left_out = job.report.left_out
    posts = Posts(job)
    for name in filter(_STORY.fullmatch, members.names()):
        if name.rpartition("/")[2].startswith("draft"):
            left_out["drafts"] += 1
            continue
        page = parse(members.read(name).decode("utf-8-sig", "replace"))
        body = page.find(".//section[@data-field='body']")
        if body is None:
            left_out["other pages"] += 1
        elif _is_response(page, body):
            left_out["responses"] += 1
        else:
            posts.add(_story(page, body, name))
    yield from posts.oldest_first()


def _is_response(page: Element, body: Element) -> bool:
    """Whether a story answers another: it has no heading, and its title is how it begins."""
    if any(True for _ in body.iter("h1", "h2", "h3", "h4")) or _subtitle(page) is not None:
        return False
    title = _title(page).rstrip("\u2026. ")
    return bool(title) and one_line(element_text(body)).startswith(title)


def _subtitle(page: Element) -> Element | None:
    return page.find(".//section[@data-field='subtitle']")


def _title(page: Element) -> str:
    heading = page.find(".//h1[@class='p-name']")
    return "" if heading is None else one_line("".join(heading.itertext()))


def _story(page: Element, body: Element, name: str) -> Document:
    title, time = _title(page), page.find(".//time[@class='dt-published']")
    date = iso_date(str(time.get("datetime") or "")) if time is not None else ""
    again = {
        heading
        for heading in body.iter("h1", "h2", "h3", "h4")
        if "graf--title" in classes(heading) and one_line("".join(heading.itertext())) == title
    }
    file = name.rpartition("/")[2].removesuffix(".html")
    return Document(element_text(body, left_out=again), file, title, _author(page), date)


def _author(page: Element) -> str:
    links = (link for link in page.iter("a") if "p-author" in classes(link))
    return next((one_line("".join(link.itertext())) for link in links), "")


KINDS = (Bundle("a Medium export", _is_export, _read, "text", "stories"),)
