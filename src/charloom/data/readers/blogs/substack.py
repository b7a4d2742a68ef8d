"""Substack's exports in, their published posts out: posts.csv, and the HTML of each post."""

from collections.abc import Iterator

from charloom.data.readers import Bundle, Document, Head, Job
from charloom.data.readers.blogs.posts import Posts, title_text
from charloom.data.readers.dates import iso_date
from charloom.data.readers.members import Members
from charloom.data.readers.pages.markup import classes, element_text, names, parse
from charloom.data.readers.tables.rows import rows

_CHROME = names(  # of the page, in the midst of a post: what readers shall do
    "button-wrapper captioned-button-wrap subscription-widget-wrap subscription-widget "
    "subscription-widget-wrap-editor poll-embed digest-post-embed embedded-post-wrap "
    "community-chat install-substack-app-embed"
)


def _folder(members: tuple[str, ...]) -> str | None:
    """Return the folder of an archive that the export is in; None if it is none."""
    for name in members:
        folder = name.removesuffix("posts.csv")
        if folder != name and (not folder or folder.endswith("/")):
            start = f"{folder}posts/"
            if any(other.startswith(start) and other.endswith(".html") for other in members):
                return folder
    return None


def _is_export(head: Head) -> bool:
    return _folder(head.members) is not None


def _read(members: Members, job: Job) -> Iterator[Document]:
    folder = _folder(members.names()) or ""
    files = _files(members, f"{folder}posts/")
    posts = Posts(job)
    for row in rows(members.read(f"{folder}posts.csv"), f"posts.csv in {members.label}"):
        key = row.get("post_id", "")
        name = files.get(key) or files.get(key.partition(".")[0])
        if noun := _unwanted(row, name, job.options.pages):
            job.report.left_out[noun] += 1
        elif name:
            posts.add(_post(row, members.read(name)), key)
    yield from posts.oldest_first()


def _files(members: Members, folder: str) -> dict[str, str]:
    """Return the posts' files by id and slug, "101.first-post", and by id alone."""
    files = dict[str, str]()
    for name in members.names():
        if name.startswith(folder) and name.endswith(".html"):
            key = name.removeprefix(folder).removesuffix(".html")
            files[key] = files[key.partition(".")[0]] = name
    return files


def _unwanted(row: dict[str, str], name: str | None, pages: bool) -> str:
    if row.get("is_published", "").strip().lower() not in ("true", "1", "yes"):
        return "drafts"
    if row.get("type", "") == "page" and not pages:
        return "pages"
    return "" if name else "missing files"


def _post(row: dict[str, str], page: bytes) -> Document:
    body = parse(page.decode("utf-8-sig", "replace"))
    chrome = {e for e in body.iter("*") if _CHROME.intersection(classes(e))}
    for item in body.iter("li"):
        if len(paragraphs := item.findall("p")) == 1:
            paragraphs[0].tag = "span"  # each item is in a paragraph, but none is shown as one
    return Document(
        text=element_text(body, left_out=chrome),
        name=row["post_id"],
        title=title_text(row.get("title", "")),
        date=iso_date(row.get("post_date", "")),
    )


KINDS = (Bundle("a Substack export", _is_export, _read, "text", "posts"),)
