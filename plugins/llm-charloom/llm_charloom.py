"""Runs of charloom as models of Simon Willison's `llm`: `llm -m charloom/RUN "It was"`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llm
from pydantic import Field

from charloom.errors import CharloomError
from charloom.runs.folders import list_runs

FOLDERS = "CHARLOOM_RUNS"  # in the environment: folders of runs, or runs
HOME = "runs"  # the folder if none is named


def runs() -> dict[str, Path]:
    """Return the runs that there are, by name: that of the folder, or its path below the one named.

    Of two with one name the first counts. A folder that is not there has none.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, os.environ.get(FOLDERS, HOME).split(os.pathsep)):
        try:
            paths = list_runs(folder)
        except CharloomError:
            continue
        for path in paths:
            name = path.resolve().name if path == folder else path.relative_to(folder).as_posix()
            found.setdefault(name, path)
    return found


@llm.hookimpl
def register_models(register: Any) -> None:
    """Tell llm of the runs; none is opened before it is asked to write."""
    for name, path in runs().items():
        register(Charloom(name, path))


class Charloom(llm.Model):
    """A run, which goes on from a prompt."""

    can_stream = True

    class Options(llm.Options):
        """How a text is written: `charloom sample` has the same settings."""

        max_tokens: int = Field(
            default=500, ge=0, description="Characters (bytes, tokens) at most."
        )
        temperature: float = Field(
            default=1.0, ge=0, description="Below 1 is safer, above 1 is wilder; 0 is greedy."
        )
        top_p: float = Field(
            default=1.0, ge=0, le=1, description="Draw from the likeliest that together reach this."
        )
        top_k: int = Field(default=0, ge=0, description="Draw from the k likeliest; 0 is all.")
        min_p: float = Field(
            default=0.0,
            ge=0,
            le=1,
            description="Leave out what is below this share of the likeliest.",
        )
        stop: str | None = Field(
            default=None, min_length=1, description="The text ends before this."
        )
        document: bool = Field(
            default=False, description="Begin a document, and end where the run ends it."
        )
        seed: int | None = Field(default=None, ge=0, description="Same seed, same text.")

    def __init__(self, name: str, path: Path) -> None:
        self.model_id, self._path = f"charloom/{name}", path
        self._model: Any = None

    def __str__(self) -> str:
        return f"charloom: {self.model_id}"

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str]:
        """Yield what follows the prompt, piece by piece; raises llm.ModelError."""
        if prompt.system:
            message = (
                "these models know no roles: put the text of the system prompt into the prompt"
            )
            raise llm.ModelError(message)
        said = (
            [one.prompt.prompt + one.text() for one in conversation.responses]
            if conversation
            else []
        )
        text, asked = "".join(said) + prompt.prompt, prompt.options
        settings = asked.model_dump(include={"temperature", "top_p", "top_k", "min_p", "seed"})
        settings["stop"] = () if asked.stop is None else (asked.stop,)
        try:
            pieces = self._open().stream(
                text, asked.max_tokens, document=asked.document, **settings
            )
            next(pieces)  # the prompt
            written = 0
            for piece in pieces:
                written += len(piece)
                yield piece
        except CharloomError as error:
            told, _, _ = str(error).partition(": leave them out")  # by an option of charloom sample
            raise llm.ModelError(told) from None
        response.set_usage(input=len(text), output=written)

    def _open(self) -> Any:
        """Return the model, which is opened when it is first asked for; raises CharloomError."""
        if self._model is None:
            import charloom

            self._model = charloom.load(self._path)
        return self._model
