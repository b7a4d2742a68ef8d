"""The routes: requests in, what the engine writes out, in OpenAI's form."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charloom.config import SampleConfig
from charloom.data.boundary import MARK
from charloom.data.utf8 import normalized
from charloom.generation.copy_limit import CopyLimit
from charloom.models.lanes import Rules
from charloom.serve import learning, metrics, page, runs_page, training
from charloom.serve.answers import Answer
from charloom.serve.description import description
from charloom.serve.engine import Closed, Engine, Full, Post, deliver
from charloom.serve.errors import Refused
from charloom.serve.jobs import Failed, Job, Piece
from charloom.serve.models import Models, Served
from charloom.serve.requests import Completion, completion
from charloom.serve.sources import Sources

RETRY_SECONDS = 1, 120  # the least and the most that a client is told to wait


class Api:
    """What the routes share."""

    def __init__(self, models: Models, engine: Engine) -> None:
        self.models, self.engine, self.meter = models, engine, metrics.Meter()
        self.sources = Sources(models)
        self.trainer = training.Trainer(models)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.description = msgspec.json.encode(description())

    def app(self) -> Starlette:
        """Return the application, without its guard."""
        routes = [
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.describe),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name:path}", self.show_model),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            *page.routes(self.models),
            *learning.routes(self.models, self.sources),
            *runs_page.routes(self.models),
            *training.routes(self.trainer, self.models),
        ]
        handlers: Any = {Refused: _refused, HTTPException: _http_error, Exception: _failed}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        """GET /healthz."""
        if not self.models.ready:
            raise Refused(503, "the runs are being opened", "starting", retry=1)
        return _json({"status": "ok", "models": len(self.models)})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        text = self.meter.text(self.engine)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def describe(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(self.description, media_type="application/json")

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        self.models.look()
        data = [self.models.describe(name) for name in self.models.names]
        return _json({"object": "list", "data": data})

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/{name}."""
        return _json(self.models.describe(request.path_params["name"]))

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        message = (
            "these models write on from a text and know no roles: "
            "send the text as prompt to /v1/completions"
        )
        raise Refused(404, message, "unsupported_endpoint")

    async def complete(self, request: Request) -> Response:
        """POST /v1/completions."""
        asked = completion(await request.body())
        self._loop, served = asyncio.get_running_loop(), await self.models.get(asked.model)
        limit = None
        if asked.max_copy is not None:
            limit = await self.sources.limit(served, asked.max_copy)
        answer, follower = self._submit(asked, served, limit)
        if asked.stream:
            return _Stream(answer, follower)
        async for pieces in follower.pieces(request.receive):
            answer.add(pieces)
        if follower.gone:
            return Response(status_code=499)
        return Response(answer.whole(follower.job.written), media_type="application/json")

    def _post(self, post: Post) -> None:
        """Let the event loop deliver what is new: one call for all, as it wakes the loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(deliver, post)

    def _submit(
        self, asked: Completion, served: Served, limit: CopyLimit | None
    ) -> "tuple[Answer, _Follower]":
        prompts = [served.prompt(text) for text in asked.prompts]
        texts = len(prompts) * asked.drawn
        if texts > self.engine.slots:
            message = f"{texts} texts at once are more than the {self.engine.slots} that fit here"
            raise Refused(400, message, "invalid_value", "n")
        vocabulary = served.model.vocabulary
        stops = tuple(filter(None, map(normalized, asked.stops)))
        ends = MARK in stops and vocabulary.boundary is not None
        settings = SampleConfig(
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            top_k=asked.top_k or 0,
            min_p=asked.min_p or 0.0,
            stop=tuple(stop for stop in stops if not (ends and stop == MARK)),
            seed=secrets.randbits(32) if asked.seed is None else asked.seed % 2**64,
        )
        rules = Rules.of(
            settings,
            len(vocabulary),
            asked.presence_penalty or 0.0,
            asked.frequency_penalty or 0.0,
            _bias(asked, served),
        )
        self.engine.post = self._post
        follower = _Follower(self)
        follower.job = Job(
            served.model,
            prompts,
            asked.drawn,
            asked.tokens,
            settings,
            rules,
            end=vocabulary.boundary if ends else None,
            log_probs=0 if asked.logprobs is None and asked.drawn > asked.count else asked.logprobs,
            echo=bool(asked.echo),
            deliver=follower.deliver,
            limit=limit,
        )
        try:
            self.engine.submit(follower.job)
        except Full as full:
            least, most = RETRY_SECONDS
            retry = min(most, max(least, round(full.seconds)))
            message = f"too many requests are waiting: try again in {retry} s"
            raise Refused(429, message, "queue_full", retry=retry) from None
        except Closed:
            raise Refused(503, "the server is shutting down", "shutting_down", retry=5) from None
        return Answer(served, asked, sum(prompt.length for prompt in prompts)), follower


def _bias(asked: Completion, served: Served) -> NDArray[np.float64] | None:
    """Return what `logit_bias` adds to each id's log-probability (V,): it names characters."""
    if not asked.logit_bias:
        return None
    vocabulary = served.model.vocabulary
    bias = np.zeros(len(vocabulary))
    for text, value in asked.logit_bias.items():
        ids = np.empty(0, np.int32)
        if not vocabulary.unknown(set(text)):
            ids = vocabulary.encode(text)
        if text == MARK and vocabulary.boundary is not None:
            ids = np.array([vocabulary.boundary])
        if len(ids) != 1:
            unit = {"characters": "character", "bytes": "byte", "tokens": "token"}[vocabulary.unit]
            message = f"logit_bias: {text[:40]!r} is not one {unit} that the model knows"
            raise Refused(400, message, "invalid_value", "logit_bias")
        bias[ids[0]] = value
    return bias


class _Follower:
    """What the engine delivers of a job, in the event loop, until its client has gone."""

    job: Job

    def __init__(self, api: Api) -> None:
        self._api = api
        self._inbox: list[Piece | Failed] = []
        self._new = asyncio.Event()
        self.gone = False

    def deliver(self, pieces: list[Piece | Failed]) -> None:
        """Take what is new; called in the event loop."""
        self._inbox += pieces
        self._new.set()

    async def pieces(self, receive: Receive) -> AsyncIterator[list[Piece]]:
        """Yield what is new until the texts have ended or the client has gone: `gone` tells.

        Raises Refused if the job came to nothing.
        """
        watcher = asyncio.create_task(self._watch(receive))
        left = self.job.lanes
        try:
            while left:
                await self._new.wait()
                self._new.clear()
                if self.gone:
                    return
                new, self._inbox = self._inbox, []
                pieces = []
                for piece in new:
                    if isinstance(piece, Failed):
                        raise Refused(503, piece.why, "failed", retry=1)
                    pieces.append(piece)
                left -= sum(piece.ended is not None for piece in pieces)
                yield pieces
                self._api.engine.taken(self.job, sum(piece.size for piece in pieces))
        finally:
            watcher.cancel()
            if left:
                self._api.engine.cancel(self.job)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._api.engine.cancel(self.job)
        self._new.set()


class _Stream(Response):
    """Server-sent events, an event for each piece, as soon as it is there."""

    def __init__(self, answer: Answer, follower: _Follower) -> None:
        super().__init__(media_type="text/event-stream")
        self._answer, self._follower = answer, follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; if something fails on the way, the last event says so."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async for pieces in self._follower.pieces(receive):
                body = b"".join(map(self._answer.event, pieces))
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except Refused as refused:
            body = b"data: " + refused.encoded() + b"\n\n"
            await send({"type": "http.response.body", "body": body})
            return
        end = b"" if self._follower.gone else self._answer.ending(self._follower.job.written)
        await send({"type": "http.response.body", "body": end})


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


def _refused(_: Request, error: Refused) -> Response:
    return Response(error.encoded(), error.status, error.headers, media_type="application/json")


def _http_error(request: Request, error: HTTPException) -> Response:
    told = {404: "there is nothing here", 405: "this route does not take that method"}
    message = told.get(error.status_code, error.detail)
    refused = Refused(
        error.status_code, message, "not_found" if error.status_code == 404 else "bad"
    )
    refused.headers |= dict(error.headers or {})
    return _refused(request, refused)


def _failed(request: Request, _: Exception) -> Response:
    return _refused(request, Refused(500, "the server failed: its log says why", "failed"))
