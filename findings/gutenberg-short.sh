#!/usr/bin/env bash
# gutenbergpy 0.4.0 and gutenberg-cleaner 0.1.6: what takes a book of Project Gutenberg out of its file leaves the whole licence in when the end
# marker is among the first 100 lines, so a poem comes with hundreds of lines of licence. And it drops all before a line of the book itself that
# starts with "Produced by", as prose broken into lines may, when that is among the first 600. The marker lines that Project
# Gutenberg sets around each book say where it starts and ends.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gutenbergpy==0.4.0 gutenberg-cleaner==0.1.6
"$folder/venv/bin/python" - <<'P'
from gutenberg_cleaner import simple_cleaner
from gutenbergpy.textget import strip_headers

MARKER = "*** {} OF THE PROJECT GUTENBERG EBOOK SONGS ***"
LICENCE = [f"Clause {i} of the licence." for i in range(300)]
CLEANERS = {"gutenbergpy": lambda text: strip_headers(text.encode()).decode(), "gutenberg-cleaner": simple_cleaner}


def lines_left(cleaner, book):
    """How many lines of a book and how many of the licence a cleaner leaves."""
    file = ["The Project Gutenberg eBook of Songs", "", MARKER.format("START"), "", *book, "", MARKER.format("END"), "", *LICENCE, ""]
    left = CLEANERS[cleaner]("\n".join(file)).splitlines()
    return sum(line in book for line in left if line), sum(line in LICENCE for line in left)


LONG = [f"Line {i} of the songs." for i in range(700)]
BROKEN = [*LONG[:500], "Produced by rain and by sun, the fruit is sweet.", *LONG[501:]]
for cleaner in CLEANERS:
    seen = {name: lines_left(cleaner, book) for name, book in (("long", LONG), ("short", LONG[:60]), ("broken", BROKEN))}
    print(f"{cleaner}: lines of the book and of the licence that are left", seen)
    assert seen == {"long": (700, 0), "short": (60, 300), "broken": (199, 0)}, "this has changed"
P
