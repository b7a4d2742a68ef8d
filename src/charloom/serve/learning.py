"""What *Learn* of the page asks for: training along its samples, cells in a text, and one step.

Nothing is told that was not recorded by the run or computed from it here: by the reference engine,
whose lines are shown, and one request at a time, as texts are written meanwhile.
"""

import asyncio
import sys
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from charloom.analysis.activations import is_recurrent, not_recurrent, read_states
from charloom.analysis.curves import Curve, curve, spread
from charloom.analysis.inputs import Excerpt, decode, excerpt
from charloom.analysis.neurons import Drive
from charloom.analysis.one_step import not_shown, one_step
from charloom.analysis.span import Standing, Usual, standing_out, usual
from charloom.config import EnsembleConfig, ModelConfig, NgramConfig
from charloom.data.boundary import visible
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.formatting import harmless, in_a_line
from charloom.models.ensemble import Ensemble
from charloom.models.mixture.model import Mixture, mixture_of
from charloom.models.mixture.model import State as Both
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel, State
from charloom.runs.open import open_alone, open_run
from charloom.runs.run import Run
from charloom.serve.errors import Refused
from charloom.serve.models import Models, Served
from charloom.serve.requests import told
from charloom.serve.sources import Marked, Sources

MOST_TEXT = 5_000  # characters whose cells are looked at
MOST_SEARCHED = 20_000  # in which copies are looked for
MOST_SAMPLES = 200
SHOWN = 800  # characters of a run's own text to begin with
WORK = 3e10  # multiplications that the usual text may take: some seconds
FEWEST, MOST = 3_000, 30_000  # characters of it
READ_AT_ONCE = 128  # ids between two states that are kept
KEPT_STATES, KEPT_TWINS = 256, 2

Name = Annotated[str, Meta(min_length=1, max_length=1000)]
CellName = Annotated[str, Meta(pattern=r"^[0-9]{1,4}:[0-9]{1,6}$")]
Asked = TypeVar("Asked", bound=msgspec.Struct)


class Learn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/learn` asks for: how a run learned."""

    model: Name


class Cells(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/cells` asks for: the cells in text[start:end], in characters."""

    model: Name
    text: Annotated[str, Meta(min_length=1, max_length=MOST_TEXT)]
    start: Annotated[int, Meta(ge=0, le=MOST_TEXT)]
    end: Annotated[int, Meta(ge=0, le=MOST_TEXT)]


class OneStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/step` asks for: the step that reads a text's last character."""

    model: Name
    text: Annotated[str, Meta(min_length=1, max_length=MOST_TEXT)]
    cells: Annotated[list[CellName], Meta(max_length=12)] = []


class Copies(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/charloom/copies` asks for: what of a text is in the model's training text."""

    model: Name
    text: Annotated[str, Meta(max_length=MOST_SEARCHED)]


LEARNING: dict[str, type[msgspec.Struct]] = {
    "learn": Learn,
    "cells": Cells,
    "step": OneStep,
    "copies": Copies,
}


@dataclass
class _Twin:
    """A model for what is told of it: with networks of the reference engine."""

    run: Run | None
    model: LanguageModel
    network: LanguageModel  # alone, or the first of several
    usual: Usual | None = None
    states: OrderedDict[bytes, State] = field(default_factory=OrderedDict)

    def after(self, ids: Ids) -> State:
        """Return the state after ids (N,), from one that is kept, if one is: of each 128 ids."""
        at = len(ids) // READ_AT_ONCE * READ_AT_ONCE
        while at and ids[:at].tobytes() not in self.states:
            at -= READ_AT_ONCE
        state = self.states[ids[:at].tobytes()] if at else self.model.start(1)
        for begin in range(at, len(ids), READ_AT_ONCE):
            end = begin + READ_AT_ONCE
            state = _read(self.model, ids[begin:end], state)
            if end <= len(ids):
                self.states[ids[:end].tobytes()] = state
                if len(self.states) > KEPT_STATES:
                    self.states.popitem(last=False)
        return state


def _read(model: LanguageModel, ids: Ids, state: State) -> State:
    if isinstance(model, Mixture):
        members = (model.network, state.network), (model.counts, state.counts)
        return Both(*(_read(member, ids, own) for member, own in members))
    return model.log_probs(ids[None], state)[1]


class _Learning:
    """The routes."""

    def __init__(self, models: Models, sources: Sources) -> None:
        self._models, self._sources = models, sources
        self._computing = asyncio.Lock()
        self._twins: OrderedDict[str, _Twin] = OrderedDict()

    async def learn(self, request: Request) -> Response:
        """POST /v1/charloom/learn."""
        asked = await _asked(request, Learn)
        path = self._models.path(asked.model)
        return await self._answer(lambda: _learned(path))

    async def cells(self, request: Request) -> Response:
        """POST /v1/charloom/cells."""
        asked = await _asked(request, Cells)
        served = await self._models.get(asked.model)
        # What a model reads may be shorter than what was sent: a letter and its accent become one.
        start, end = (served.prompt(asked.text[:n]).text for n in (asked.start, asked.end))
        if len(start) >= len(end):
            raise Refused(
                400, "the span is empty: start must be before end", "invalid_value", "end"
            )
        prompt = served.prompt(asked.text)
        return await self._answer(
            lambda: self._stand_out(served, prompt.text, prompt.ids, len(start), len(end))
        )

    async def step(self, request: Request) -> Response:
        """POST /v1/charloom/step."""
        asked = await _asked(request, OneStep)
        served = await self._models.get(asked.model)
        ids = served.prompt(asked.text).ids.astype(np.int32)
        pairs = (name.split(":") for name in asked.cells)
        cells = [(int(layer), int(unit)) for layer, unit in pairs]
        return await self._answer(lambda: self._step(served, ids, cells))

    async def copies(self, request: Request) -> Response:
        """POST /v1/charloom/copies."""
        asked = await _asked(request, Copies)
        found = await self._sources.copies(await self._models.get(asked.model), asked.text)
        return _json({"copies": [_copy(one) for one in found]})

    async def _answer(self, compute: Callable[[], Any]) -> Response:
        """Compute in a thread, one after another."""
        async with self._computing:
            try:
                return _json(await asyncio.to_thread(compute))
            except CharloomError as error:
                raise _refused(error) from None

    def _twin(self, served: Served) -> _Twin:
        """Return the twin of a model, opened now if it was not yet; raises CharloomError."""
        if served.fingerprint not in self._twins:
            self._twins[served.fingerprint] = _opened(served, self._models.path(served.name))
            if len(self._twins) > KEPT_TWINS:
                self._twins.popitem(last=False)
        self._twins.move_to_end(served.fingerprint)
        return self._twins[served.fingerprint]

    def _stand_out(
        self, served: Served, text: str, ids: Ids, start: int, end: int
    ) -> dict[str, Any]:
        twin = self._twin(served)
        if twin.run is None or not is_recurrent(twin.run.config.model):
            raise not_recurrent()
        known = twin.usual
        if known is None:
            own = _own_text(twin.run, _affordable(twin.run))
            known = usual(twin.network, own.content if own else text)
            if own:  # else a text says of itself alone what is usual
                twin.usual = known
        states = read_states(twin.network, ids)
        span = standing_out(known, text, states, start, end)
        return {
            "text": text,
            "shows": states.name,
            "of": len(known.mean),
            "usual": len(known.text),
            "cells": [_cell(cell) for cell in span.cells],
            "alike": span.alike,
        }

    def _step(self, served: Served, ids: Ids, cells: Sequence[tuple[int, int]]) -> dict[str, Any]:
        twin = self._twin(served)
        step = one_step(twin.model, int(ids[-1]), twin.after(ids[:-1]), cells)
        return {
            "read": step.read,
            "id": step.id,
            "characters": len(twin.model.vocabulary),
            "parts": step.parts,
            "likeliest": step.likeliest,
        }


def routes(models: Models, sources: Sources) -> list[BaseRoute]:
    """Return the routes."""
    learning = _Learning(models, sources)
    return [
        Route("/v1/charloom/learn", learning.learn, methods=["POST"]),
        Route("/v1/charloom/cells", learning.cells, methods=["POST"]),
        Route("/v1/charloom/step", learning.step, methods=["POST"]),
        Route("/v1/charloom/copies", learning.copies, methods=["POST"]),
    ]


async def _asked(request: Request, kind: type[Asked]) -> Asked:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        message, field = told(str(error))
        raise Refused(400, message, "invalid_value", field) from None


def _refused(error: CharloomError) -> Refused:
    """Return what is answered: of files that are damaged, no more than that."""
    if error.code not in ("unsupported", "bad-setting"):
        print(f"charloom: {in_a_line(str(error))}", file=sys.stderr, flush=True)
        message = "the run cannot be read: the server's log says why"
        return Refused(404, message, "model_not_available", "model")
    name = error.facts.get("field")
    param = name if isinstance(name, str) else None
    return Refused(400, str(error), error.code.replace("-", "_"), param)


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


# ------------------------------------------------------------------------------------- one's twin


def _opened(served: Served, path: Path) -> _Twin:
    run = open_run(path)
    if run is None or isinstance(served.model, NgramModel):
        return _Twin(run, served.model, served.model)
    try:
        network = open_alone(run, "reference")
    except CharloomError as error:
        if error.code != "unsupported":
            raise
        return _Twin(run, served.model, served.model)
    model: LanguageModel = network
    if isinstance(served.model, Mixture):
        model = mixture_of(network, served.model.counts, served.model.shares)
    return _Twin(run, model, network.networks[0] if isinstance(network, Ensemble) else network)


def _affordable(run: Run) -> int:
    """Return of how many characters the states of a network are read in some seconds."""
    return round(min(max(WORK / max(1, run.parameters or 1), FEWEST), MOST))


def _own_text(run: Run, length: int) -> Excerpt | None:
    """Return the beginning of what a run held out, or else of what it learned from.

    None if it has no text, as an imported run, or the text is gone.
    """
    with suppress(CharloomError):
        return excerpt(run, length=length, about=True)
    with suppress(CharloomError):
        ids = run.parts().train[:length]
        return Excerpt(decode(run.vocabulary, ids), "training part") if len(ids) else None
    return None


# -------------------------------------------------------------------------------- what was recorded


def _learned(path: Path) -> dict[str, Any]:
    run = open_run(path)
    if run is None:
        message = "a model in Hugging Face's format has no record of how it learned"
        raise CharloomError(message, "unsupported", field="model")
    known, config = curve(run), run.config.model
    own = _own_text(run, SHOWN)
    maths = isinstance(config, ModelConfig | EnsembleConfig | NgramConfig)
    return {
        "kind": known.model,
        "text": known.text,
        "samples": _samples(run, known),
        "excerpt": own and {"text": visible(own.content), "held_out": own.held_out},
        "networks": config.networks if isinstance(config, EnsembleConfig) else 1,
        "cells": None if is_recurrent(config) else str(not_recurrent()),
        "maths": None if maths else str(not_shown()),
    }


def _samples(run: Run, known: Curve) -> list[dict[str, Any]]:
    """Return what was generated along the way, then by the best checkpoint, with losses."""
    losses = {name: known.series("steps", name) for name in ("training", "held_out", "characters")}

    def row(step: int, text: str, best: bool) -> dict[str, Any]:
        told = {name: _latest(*series, step) for name, series in losses.items()}
        return {"step": step, "best": best, "text": text, **told}

    rows = [row(one.step, harmless(one.text), False) for one in spread(known.samples, MOST_SAMPLES)]
    best = run.best_sample()
    if best is not None and known.final is not None:
        rows.append(row(known.final.best, harmless(best), True))
        if known.final.held_out:
            rows[-1]["held_out"] = known.final.score.nats
    return rows


def _latest(steps: Sequence[float], values: Sequence[float], step: int) -> float | None:
    """Return the last value that was known at a step."""
    place = bisect_right(steps, step)
    return values[place - 1] if place else None


# ---------------------------------------------------------------------------------- what is found


def _cell(cell: Standing) -> dict[str, Any]:
    return {
        "name": cell.name,
        "value": cell.value,
        "away": cell.away,
        "mean": cell.mean,
        "deviation": cell.deviation,
        "follows": cell.follows,
        "values": [round(value, 2) for value in cell.values],
        "places": [_place(drive) for drive in cell.drives],
    }


def _place(drive: Drive) -> dict[str, Any]:
    at = drive.place - drive.start
    return {"line": drive.line, "text": drive.text, "at": at, "value": drive.value}


def _copy(one: Marked) -> dict[str, Any]:
    """Return a copy and where it is from; spaces and line ends are as they are there."""
    copy = one.copy
    return {
        "start": copy.start,
        "length": copy.length,
        "line": copy.line,
        "before": one.before,
        "passage": copy.passage,
        "after": one.after,
    }
