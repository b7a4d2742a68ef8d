"""What tests look at of an error: its code and facts, never the wording of its message."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from charloom.errors import CharloomError, Code


@contextmanager
def refused(code: Code, **facts: object) -> Iterator[pytest.ExceptionInfo[CharloomError]]:
    """Expect a CharloomError of that code, with at least these facts, in one line of text."""
    with pytest.raises(CharloomError) as caught:
        yield caught
    check(caught.value, code, **facts)


def check(error: BaseException | None, code: Code, **facts: object) -> None:
    assert isinstance(error, CharloomError)
    facts = {name: str(fact) if isinstance(fact, Path) else fact for name, fact in facts.items()}
    assert (error.code, error.facts) == (code, error.facts | facts), error
    assert "\n" not in str(error)


def error_of(result: Result) -> CharloomError | None:
    """The error that ended a command run by CliRunner; None if no CharloomError did."""
    error: BaseException | None = result.exception
    while error is not None and not isinstance(error, CharloomError):
        error = error.__cause__ or error.__context__
    return error
