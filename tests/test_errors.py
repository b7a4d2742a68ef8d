"""What an error says to do works for whoever reads it."""

import importlib.metadata
import shutil
import sys
from pathlib import Path

import pytest

from charloom.errors import install, needs_extra
from expect import refused


def test_a_missing_library_is_installed_by_the_pip_of_this_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After `make demo` the pip of a terminal is that of another Python."""
    monkeypatch.setattr(shutil, "which", lambda name: "/elsewhere/bin/pip")
    assert install("torch") == f"{sys.executable} -m pip install 'charloom[torch]'"
    own = str(Path(sys.executable).with_name("pip"))
    monkeypatch.setattr(shutil, "which", lambda name: own)
    assert install("torch") == "pip install 'charloom[torch]'"


def test_where_charloom_is_not_installed_pip_is_not_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert "charloom[" not in install("torch")
    assert "'.[torch]'" in install("torch")


def test_the_error_names_the_command() -> None:
    with (
        refused("missing-library", library="no_such_library") as caught,
        needs_extra("torch", "this"),
    ):
        import no_such_library  # noqa: F401
    assert install("torch") in str(caught.value)
