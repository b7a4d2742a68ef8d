"""The page: files under `/` that load nothing from elsewhere, and what only the page asks for.

It is the page of assets/page, with this server as its engine: what it writes and how surprising a
text is comes from /v1/completions; which models it can show, and all that may come next, from here.
"""

import asyncio
from collections import OrderedDict
from importlib.resources import as_file
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import chunk_length
from charloom.formatting import harmless
from charloom.runs.run import Run
from charloom.serve import shell
from charloom.serve.errors import Refused
from charloom.serve.models import Models, Served
from charloom.serve.requests import struct

STATIC = Path(__file__).parent / "static"
MOST_PROMPTED = 100_000  # characters
READ_AT_ONCE = 512  # ids between two states that are kept
KEPT = 256  # states


class Next(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/next` asks for: all that may come after a text."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    prompt: Annotated[str, msgspec.Meta(max_length=MOST_PROMPTED)]


class _Static(StaticFiles):
    """Files with the policy of the page."""

    def file_response(self, *arguments, **more) -> Response:  # type: ignore[no-untyped-def]
        """Return a file."""
        response = super().file_response(*arguments, **more)
        response.headers.update(shell.HEADERS)
        return response


class _Page:
    """The routes of the page."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._reading = asyncio.Lock()  # one text at a time: the engine needs the processors
        self._states: OrderedDict[tuple[str, bytes], Any] = OrderedDict()

    async def models(self, request: Request) -> Response:
        """GET /v1/charloom/models: those that the page can show, with their characters."""
        self._models.look()
        data = await asyncio.to_thread(self._shown)
        return _json({"object": "list", "data": data})

    def _shown(self) -> list[dict[str, Any]]:
        shown = []
        for name in self._models.names:
            try:
                run = Run.open(self._models.path(name))
                kind = run.kind
            except (CharloomError, Refused):  # the log says so when it is asked to write
                continue
            if not isinstance(run.vocabulary, Vocabulary) or run.config.data.raw:
                continue
            shown.append(
                {
                    "id": name,
                    "kind": kind,
                    "text": harmless(run.corpus.name),
                    "characters": run.vocabulary.characters,
                }
            )
        return shown

    async def next(self, request: Request) -> Response:
        """POST /v1/charloom/next."""
        asked = struct(await request.body(), Next)
        served = await self._models.get(asked.model)
        ids = served.prompt(asked.prompt).ids.astype(np.int32)
        async with self._reading:
            log_probs = await asyncio.to_thread(self._read, served, ids)
        return _json({"log_probs": log_probs})  # infinities become null

    def _read(self, served: Served, ids: Ids) -> list[float]:
        """Return the log-probabilities (V,) after ids (N,), from a state that is kept, if one is.

        A state is kept by the text before it, of each 512 ids.
        """
        model, N = served.model, len(ids)
        step = min(READ_AT_ONCE, chunk_length(1, len(model.vocabulary)))

        def key(end: int) -> tuple[str, bytes]:
            return served.fingerprint, ids[:end].tobytes()

        at = (N - 1) // step * step
        while at and key(at) not in self._states:
            at -= step
        state = self._states[key(at)] if at else model.start(1)
        while True:
            log_probs, state = model.log_probs(ids[None, at : at + step], state)
            at += step
            if at >= N:
                found: list[float] = np.asarray(log_probs[0, -1], np.float64).tolist()
                return found
            self._states[key(at)] = state
            if len(self._states) > KEPT:
                self._states.popitem(last=False)


def routes(models: Models) -> list[BaseRoute]:
    """Return the routes of the page."""
    page = _Page(models)
    with as_file(shell.SHARED) as shared:
        return [
            *shell.routes(),
            Route("/v1/charloom/models", page.models),
            Route("/v1/charloom/next", page.next, methods=["POST"]),
            Mount("/page", _Static(directory=shared)),
            Mount("/static", _Static(directory=STATIC)),
        ]


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
