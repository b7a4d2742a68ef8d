"""What is on a page beside its text: menus, buttons, comments, known by tag, role and class."""

from charloom.data.readers.pages.markup import classes
from charloom.data.readers.xml_tree import Element

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TAGS = frozenset({"nav", "form", "dialog", "footer", "aside"})
_ROLES = frozenset(
    {"navigation", "complementary", "banner", "contentinfo", "search", "dialog", "alertdialog"}
)
_BOXES = frozenset({"div", "section", "ul", "ol", "dl", "p", "header", "details", "table", *_TAGS})
_OWNERS = frozenset(  # words that classes begin with, before the one that tells
    {"post", "entry", "article", "blog", "site", "page", "single", "main", "wp", "block", "below"}
    | {"jp", "kg", "gh", "mw", "ez", "js", "after", "td", "blogger", "author", "jetpack"}
)
_WORDS = frozenset(
    {"nav", "navigation", "navbar", "navbox", "menu", "breadcrumb", "breadcrumbs", "pagination"}
    | {"paginav", "pager", "nextprev", "sidebar", "widget", "widgets", "masthead", "banner"}
    | {"share", "sharing", "sharedaddy", "social", "addtoany", "a2a", "addthis", "likes", "follow"}
    | {"related", "relatedposts", "yarpp", "recommended", "recommendations", "trending"}
    | {"comments", "comment", "respond", "disqus", "utterances", "giscus", "webmentions"}
    | {"subscribe", "subscription", "subscriptions", "newsletter", "signup", "mc4wp", "cta"}
    | {"toc", "ads", "adsbygoogle", "advert", "advertisement", "sponsor", "promo", "popup"}
    | {"cookie", "cookies", "consent", "gdpr", "skip", "editsection", "catlinks", "printfooter"}
    | {"copyright", "noprint", "ratings", "byline", "taxonomy", "tags", "categories", "modal"}
)
_OWN_WORDS = frozenset(  # these tell only behind an owner: "post-meta"
    {"header", "footer", "title", "subtitle", "meta", "metadata", "info", "date", "author", "terms"}
    | {"labels", "category", "tag", "time", "links", "views", "buttons", "button"}
    | {"pages"}
)
_CLASSES = frozenset(
    {"author-box", "author-bio", "author-card", "author-info", "post-author-box"}
    | {"table-of-contents", "tableofcontents", "read-next", "read-more-wrap"}
    | {"more-posts", "latest-posts", "recent-posts", "wp-block-latest-posts", "jump-link"}
    | {"you-may-also-like", "links-nextprev", "prev-next", "button-wrapper", "mailing-list"}
    | {"about-author", "about-the-author", "tag-list", "tag-links", "cat-links", "posted-on"}
    | {"reading-time", "meta", "metadata", "edit-link", "wp-block-tag-cloud", "wp-block-archives"}
)


def is_aside(element: Element) -> bool:
    """Whether an element is beside the text of its page."""
    return element.tag in _TAGS or says_aside(element)


def says_aside(element: Element) -> bool:
    """Whether an element says by its role, class or id that it is beside the text of its page."""
    if element.get("role") in _ROLES:
        return True
    names = classes(element)
    if "blog" in names:  # what Blogger calls the widget with the posts
        return False
    if element.tag in ("div", "section", "ul", "aside"):
        identity = (element.get("id") or "").lower().replace("_", "-")
        names += [identity] if identity.count("-") < 2 else []  # else it is of a heading's words
    return element.tag in (*_BOXES, *HEADINGS) and any(map(_tells, names))


def _tells(name: str) -> bool:
    if name in _CLASSES:
        return True
    words = name.replace("_", "-").strip("-").split("-")
    place = next((i for i, word in enumerate(words) if word not in _OWNERS), len(words) - 1)
    word = words[place]
    if word.startswith(("comment", "sidebar")) and not word.startswith("commentar"):
        return True
    return word in _WORDS or (place > 0 and word in _OWN_WORDS)
