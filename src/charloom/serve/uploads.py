"""A text that a page sends in; a file below the folder of runs, and what a check of it finds, out.

There is one at a time. A file has the name that its sender gives it, as far as that is a name, in a
new folder of its own: no request says where anything is.
"""

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from charloom.errors import CharloomError
from charloom.files import writing
from charloom.serve.errors import Refused
from charloom.serve.processes import Command

FOLDER = ".texts"  # below that of the runs
LONGEST_NAME = 60  # characters
LARGEST_CHECK = 2**24  # bytes of what is found


def plain_name(name: str) -> str:
    """Return a name as one that a file can have in any folder: no path, not hidden, no option."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, kind = last.rpartition(".")
    stem, kind = (stem, dot + kind) if stem and len(kind) <= 8 else (last, "")
    kept = [re.sub(r"[^\w.()+ -]+", "-", part).strip(" ") for part in (stem, kind)]
    stem = kept[0].lstrip(".-")[: LONGEST_NAME - 9].rstrip(" .-")
    return (stem or "text") + kept[1].rstrip(" .-")


class Upload:
    """A text that was sent in, and the command that checks it."""

    def __init__(self, id: str, path: Path, size: int) -> None:
        self.id, self.path, self.size = id, path, size
        self.used = False  # a run has learned from it
        self._command = Command(["check", "--json", "--", str(path)])
        self._found: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        status = self._command.status
        state = "checking" if status is None else "checked" if status == 0 else "unreadable"
        told = {"id": self.id, "name": self.path.name, "bytes": self.size, "state": state}
        if state == "unreadable":
            error = self._command.error or "the check has ended without a word"
            return told | {"error": self._named(error)}
        return told if state == "checking" else told | self._check()

    def stop_checking(self) -> None:
        """End the check, if it goes on."""
        self._command.stop()

    def _check(self) -> dict[str, Any]:
        if self._found is None:
            try:
                found = msgspec.json.decode(self._command.output(LARGEST_CHECK))
            except msgspec.DecodeError:
                found = {}
            self._found = {
                "figures": [[name, self._named(value)] for name, value in found.get("figures", [])],
                "advice": [self._named(line) for line in found.get("advice", [])],
                "ngram": found.get("ngram"),
                "trainable": found.get("characters_a_second") is not None,
            }
        return self._found

    def _named(self, text: str) -> str:
        """Return what is said of it by its name: where it is tells its sender nothing."""
        return text.replace(str(self.path), self.path.name)


class Uploads:
    """The one text that was sent in last; None if there is none."""

    def __init__(self, home: Path | None) -> None:
        self._home = home
        self._receiving = False
        self.text: Upload | None = None

    def find(self, id: str) -> Upload:
        """Return a text; raises Refused."""
        if self.text is None or self.text.id != id:
            raise Refused(404, "this text is no longer here: choose it again", "not_found", "text")
        return self.text

    async def receive(self, name: str, pieces: AsyncIterator[bytes]) -> Upload:
        """Keep a text in place of the one before, and begin to check it; raises Refused."""
        if self._home is None:
            message = "there is no folder for new runs: charloom open FOLDER has one"
            raise Refused(409, message, "no_folder")
        if self._receiving:
            raise Refused(409, "another text is being sent: wait for its end", "busy")
        self._receiving = True
        id, size = secrets.token_hex(8), 0
        place, kept = self._home.absolute() / FOLDER / id / plain_name(name), False
        try:
            with writing(place):
                place.parent.mkdir(parents=True)
                with place.open("xb") as file:
                    async for piece in pieces:
                        file.write(piece)
                        size += len(piece)
            if not size:
                raise Refused(400, "the file is empty: choose another", "no_text")
            self.forget()
            self.text, kept = Upload(id, place, size), True
            return self.text
        except CharloomError as error:
            raise Refused(409, str(error), error.code.replace("-", "_")) from None
        finally:
            if not kept:
                shutil.rmtree(place.parent, ignore_errors=True)
            self._receiving = False

    def forget(self) -> None:
        """Let go of the text; it is removed unless a run has learned from it."""
        if self.text is None:
            return
        self.text.stop_checking()
        if not self.text.used:
            shutil.rmtree(self.text.path.parent, ignore_errors=True)
        self.text = None
