"""XML from a file that nobody vouches for: no network, no entities, no trees that fill memory."""

from collections.abc import Iterator
from typing import Any

from charloom.data.readers.plain import one_line
from charloom.errors import CharloomError, needs_extra

PARTS = 2**22  # elements and attributes in a tree, at most: some hundred MiB

Element = Any  # of lxml, which has no types


def parse(data: bytes, label: str) -> Element:
    """Return the root of an XML file; raises CharloomError if it is damaged or too large."""
    with needs_extra("text", "reading books and documents"):
        from lxml import etree
    check_weight(data, label)
    parser = etree.XMLParser(
        recover=True,  # from what is odd, such as an id that is there twice
        collect_ids=False,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _damaged(str(error), label) from None
    fatal = next((error for error in parser.error_log if error.level_name == "FATAL"), None)
    if root is None or fatal is not None:
        raise _damaged(fatal.message if fatal is not None else "it is empty", label)
    return root


def check_weight(data: bytes, label: str) -> None:
    """Raise CharloomError if XML or HTML has too many elements for a tree in memory."""
    if data.count(b"<") + data.count(b"=") > 2 * PARTS:
        message = f"{label} has more than {PARTS:,} elements: split it, and give the parts"
        raise CharloomError(message, "unsupported", why="too large", path=label)


def name_of(element: Element) -> str:
    """Return an element's name without its namespace; "" if it is an entity or a comment."""
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else ""


def attribute(element: Element | None, name: str) -> str:
    """Return an attribute by its name, whatever its namespace; "" if there is none."""
    if element is None:
        return ""
    for key, value in element.attrib.items():
        if _local(key) == name:
            return str(value)
    return ""


def named(root: Element, *names: str) -> Iterator[Element]:
    """Yield the elements of some names below one, and that itself, in order."""
    return (element for element in root.iter() if name_of(element) in names)


def first_text(root: Element | None, *names: str) -> str:
    """Return what stands in the first element of some names that has a text, on one line."""
    if root is None:
        return ""
    texts = (one_line("".join(found.itertext())) for found in named(root, *names))
    return next(filter(None, texts), "")


def outermost(parent: Element, name: str) -> Iterator[Element]:
    """Yield the first elements of a name on each way down; of alternatives, only in the first."""
    for element in parent:
        match name_of(element):
            case found if found == name:
                yield element
            case "AlternateContent":
                yield from outermost(element[0], name) if len(element) else ()
            case _:
                yield from outermost(element, name)


def _local(name: str) -> str:
    """Return a name without its namespace, or without a prefix that is not declared."""
    return name.rpartition("}")[2].rpartition(":")[2]


def _damaged(reason: str, label: str) -> CharloomError:
    reason = " ".join(reason.partition(" (<")[0].split())
    message = f"{label} is damaged ({reason}): get another copy, or save it anew"
    return CharloomError(message, "damaged", why="damaged", path=label)
