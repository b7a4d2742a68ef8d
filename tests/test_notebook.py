import json
from typing import Any

import pytest

from charloom.data.readers.books.notebook import KINDS
from expect import refused
from reading import damaged, matching, only_charloom_errors, read

[NOTEBOOK] = KINDS
OUTPUT = {"output_type": "stream", "name": "stdout", "text": ["gone\n"]}


def cell(kind: str, source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": source, **more}


def notebook(*cells: Any, **more: Any) -> bytes:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, **more}, indent=1).encode()


def test_cells_are_joined_and_outputs_counted() -> None:
    data = notebook(
        cell("markdown", ["# Head\n", "\n", "Text"]),
        cell("code", "a = 1\r\nprint(a)\n", outputs=[OUTPUT, OUTPUT], execution_count=1),
        cell("code", []),
        cell("raw", "raw"),
    )
    assert matching(KINDS, data) == [NOTEBOOK.name]
    [found], report = read(NOTEBOOK, data)
    assert found.text == "# Head\n\nText\n\na = 1\nprint(a)\n\nraw"
    assert report.left_out == {"code outputs": 2}


def test_the_title_is_that_of_the_metadata() -> None:
    [found], _ = read(NOTEBOOK, notebook(cell("raw", "x"), metadata={"title": "A Title"}))
    assert found.title == "A Title"


def test_format_3_has_worksheets_input_and_headings() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Head"]},
        {"cell_type": "code", "input": ["a = 1"], "outputs": [OUTPUT]},
    ]
    data = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert matching(KINDS, data) == [NOTEBOOK.name]
    assert read(NOTEBOOK, data)[0][0].text == "## Head\n\na = 1"


@pytest.mark.parametrize(
    "data",
    [
        b'{"cells": [1, 2], "rows": 3}',
        b'{"messages": [{"text": "cells"}]}',
        b'# How a notebook is stored\n\n{"cells": [{"cell_type": "code"}]}',
        b"",
    ],
)
def test_other_files_are_not_recognised(data: bytes) -> None:
    assert matching(KINDS, data) == []


def test_an_empty_notebook_yields_nothing() -> None:
    assert matching(KINDS, notebook()) == [NOTEBOOK.name]
    assert read(NOTEBOOK, notebook())[0] == []


@pytest.mark.parametrize(
    "cells", [None, 1, [1, None, {}], [{"source": 1}, {"source": [1]}, {"outputs": {}}]]
)
def test_odd_cells_have_no_text(cells: Any) -> None:
    data = json.dumps({"cells": cells, "metadata": []}).encode()
    if isinstance(cells, int):
        with refused("damaged", why="damaged"):
            read(NOTEBOOK, data)
    else:
        assert read(NOTEBOOK, data)[0] == []


def test_damaged_files() -> None:
    data = notebook(*(cell("code", [f"a = {n}\n"], outputs=[OUTPUT]) for n in range(9)))
    assert 0 < only_charloom_errors(NOTEBOOK, damaged(data, 100)) < 100
    with refused("damaged"):
        read(NOTEBOOK, b'{"cells":' + b"[" * 100_000)
