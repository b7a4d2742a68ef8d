"""Medium's exports in, their published stories out."""

import re
from collections.abc import Iterator

from charloom.data.readers import Bundle, Document, Head, Job
from charloom.data.readers.blogs.posts import Posts
from charloom.data.readers.members import Members
from charloom.data.readers.pages.markup import classes, element_text, parse
from charloom.data.readers.pages.page_facts import Facts, facts_near
from charloom.data.readers.plain import one_line
from charloom.data.readers.xml_tree import Element

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
            continue
        facts = facts_near(page, body, Facts())
        if _is_response(page, body, facts.title):
            left_out["responses"] += 1
        else:
            file = name.rpartition("/")[2].removesuffix(".html")
            text = _without_title(body, facts.title)
            posts.add(Document(text, file, facts.title, facts.author, facts.date))
    yield from posts.oldest_first()


def _is_response(page: Element, body: Element, title: str) -> bool:
    """Whether a story answers another: it has no heading, and its title is how it begins."""
    has_subtitle = page.find(".//section[@data-field='subtitle']") is not None
    if has_subtitle or any(True for _ in body.iter("h1", "h2", "h3", "h4")):
        return False
    beginning = title.rstrip("\u2026. ")
    return bool(beginning) and one_line(element_text(body)).startswith(beginning)


def _without_title(body: Element, title: str) -> str:
    headings = [e for e in body.iter("h1", "h2", "h3", "h4") if "graf--title" in classes(e)]
    again = {heading for heading in headings if one_line(element_text(heading)) == title}
    return element_text(body, left_out=again)


KINDS = (Bundle("a Medium export", _is_export, _read, "text", "stories"),)
