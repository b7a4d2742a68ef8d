"""Books of Project Gutenberg in HTML: the whole page without header, licence and page numbers."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.books.epub import BESIDE
from charloom.data.readers.books.gutenberg import books
from charloom.data.readers.pages.html import decoded_page, is_page
from charloom.data.readers.pages.markup import classes, element_text, parse
from charloom.data.readers.plain import head_text

_START = re.compile(r"START OF TH(?:E|IS) (?:COPYRIGHTED )?PROJECT GUTENBERG E", re.IGNORECASE)


def _is_book(head: Head) -> bool:
    return is_page(head) and _START.search(head_text(head)) is not None


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    tree = parse(decoded_page(file, job))
    beside = set()
    for element in tree.iter("*"):
        if what := next((BESIDE[name] for name in classes(element) if name in BESIDE), ""):
            job.report.left_out[what] += 1
            beside.add(element)
    yield from books(element_text(tree, left_out=beside), job)


KINDS = (Kind("a web page of Project Gutenberg", _is_book, _read, "text", "books"),)
