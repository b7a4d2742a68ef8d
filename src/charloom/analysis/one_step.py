"""One character in, the numbers of one step out, beside the lines of the source that compute them.

A model reads the character as it always does. What the local variables of its functions held is
kept, and each line is told again with numbers in the place of its names: of a few cells of each
layer, then of the five likeliest characters. `models/reference/` is what is read so, and of an
n-gram model the kernel that predicts.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal

import numpy as np

import charloom
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.formatting import count, in_a_line
from charloom.models.ensemble import Ensemble
from charloom.models.mixture.gate import share_of
from charloom.models.mixture.model import Mixture
from charloom.models.ngram import NgramModel
from charloom.models.protocols import LanguageModel, State
from charloom.models.reference import ReferenceModel, network, operations
from charloom.models.weights import Array

CELLS = 3  # of a layer that are told of, at least
LIKELIEST = 5  # characters that are told of
VECTOR = 4  # numbers of an embedding that are told

GATES = {"lstm": "ifog", "gru": "rzn"}  # in the order in which they stand side by side

_SIGNS = {ast.Add: "+", ast.Sub: "−", ast.Mult: "×", ast.Div: "/"}
_FUNCTIONS = {"exp", "log", "sigmoid", "tanh"}  # of one number: told as they are written

Kind = Literal["cells", "characters"]
Function = Any  # of a module of ours, or a kernel


@dataclass(frozen=True)
class Line:
    """A line of the source, `number` in its file, and what it says with numbers.

    `told` has for each column of its part one text, or one for each of `gates`, if the line
    computes several at once.
    """

    number: int
    source: str
    told: tuple[tuple[str, ...], ...]
    gates: str = ""


@dataclass(frozen=True)
class Part:
    """Lines of one file; their columns are cells, "0:17", or characters."""

    title: str
    file: str
    kind: Kind
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Step:
    """What one step computes: the character that is read, its id, and the likeliest after it.

    `likeliest` are characters with their probabilities, best first.
    """

    read: str
    id: int
    parts: tuple[Part, ...]
    likeliest: tuple[tuple[str, float], ...]


def one_step(
    model: LanguageModel, id: int, state: State, cells: Sequence[tuple[int, int]] = ()
) -> Step:
    """Read one id after `state`, of one text, and tell what was computed.

    `cells` are layers and units; of each layer three are told, those named and then those whose
    output changes most.
    `model` is an n-gram model, a recurrent network of the reference engine, several of them, of
    which the first is told of, or a mixture of such and an n-gram model.
    Raises CharloomError for any other, and for a cell that is not there.
    """
    ids = np.array([id], np.int32)
    if isinstance(model, Mixture):
        mixing = _Mixing(model, ids, state)
        log_probs = mixing.log_probs
        best = _best(log_probs)
        parts = _networks(model.network, ids, state.network, cells, best)
        parts += [*_counted(model.counts, ids, state.counts, best), mixing.part(best)]
    else:
        log_probs = model.step(ids, state)[0][0]
        best = _best(log_probs)
        if isinstance(model, NgramModel):
            parts = _counted(model, ids, state, best)
        else:
            parts = _networks(model, ids, state, cells, best)
    p = np.exp(log_probs[best].astype(np.float64)).tolist()
    likeliest = tuple(zip(_letters(model, best), p, strict=True))
    (read,) = _letters(model, [id])
    return Step(read, id, tuple(parts), likeliest)


def not_shown() -> CharloomError:
    """Return the error for a model whose maths is not told here."""
    message = (
        "the maths of one step is shown of rnn, lstm and gru networks, of n-gram models and of "
        "mixtures of them: that of a transformer is in models/reference/transformer.py"
    )
    return CharloomError(message, "unsupported", field="model")


def _best(log_probs: Array) -> list[int]:
    """Return the ids of the likeliest characters, best first; of equals the lower first."""
    order: list[int] = np.argsort(-log_probs, kind="stable")[:LIKELIEST].tolist()
    return [id for id in order if log_probs[id] > -np.inf]


def _letters(model: LanguageModel, ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(model.vocabulary.decode([id]) for id in ids)


# ---------------------------------------------------------------------------- a recurrent network


def _networks(
    model: LanguageModel,
    ids: Ids,
    state: State,
    cells: Sequence[tuple[int, int]],
    best: Sequence[int],
) -> list[Part]:
    """Return the parts of a network, or of the first of several, and how they become one."""
    if isinstance(model, ReferenceModel):
        return _network(model, ids, state, cells, best)
    if not isinstance(model, Ensemble) or not isinstance(model.networks[0], ReferenceModel):
        raise not_shown()
    each = [
        np.exp(network.step(ids, own)[0][0])
        for network, own in zip(model.networks, state, strict=True)
    ]
    formula, file = "P(c) = 1/K sum_k P_k(c)", _file(Ensemble)
    lines = inspect.getsource(_module(Ensemble)).splitlines()
    place = next(n for n, line in enumerate(lines, 1) if formula in line)
    K = len(each)
    told = tuple(
        (
            f"({' + '.join(number(p[id]) for p in each)}) / {K} = "
            f"{number(sum(p[id] for p in each) / K)}",
        )
        for id in best
    )
    letters = _letters(model, best)
    average = Part("average", file, "characters", letters, (Line(place, formula, told),))
    return [*_network(model.networks[0], ids, state[0], cells, best), average]


def _network(
    model: ReferenceModel,
    ids: Ids,
    state: network.States,
    cells: Sequence[tuple[int, int]],
    best: Sequence[int],
) -> list[Part]:
    """Return the parts of a network: what is looked up, each layer, and the head."""
    config = model.config
    forward = network.cell_of(config).forward
    if isinstance(forward, partial):  # with another gate
        forward = forward.func
    if not isinstance(forward, FunctionType):  # of a cell that was added
        raise not_shown()
    held = _locals_of(
        (forward, network.forward, operations.log_softmax), lambda: model.step(ids, state)
    )
    (whole,), (soft,) = held[network.forward], held[operations.log_softmax]
    V, H = len(model.vocabulary), config.hidden
    parts = [_input(model, int(ids[0]))]
    for layer, values in enumerate(held[forward]):
        known = [unit for of, unit in cells if of == layer]
        if any(not 0 <= unit < H for unit in known):
            message = f"layer {layer} has cells {layer}:0 to {layer}:{H - 1}"
            raise CharloomError(message, "bad-setting", field="cells")
        others = (unit for unit in _moved(values["h"]) if unit not in known)
        units = [*known, *islice(others, max(0, CELLS - len(known)))]
        (loop,) = (s for s in _function(forward).body if isinstance(s, ast.For))
        teller = _Teller(forward, values, H, GATES.get(config.cell, ""))
        columns = tuple(f"{layer}:{unit}" for unit in units)
        lines = tuple(teller.lines(loop.body, units))
        parts.append(Part(f"layer {layer}", _file(forward), "cells", columns, lines))
    if any(not 0 <= of < config.layers for of, _ in cells):
        message = f"this network has layers 0 to {config.layers - 1}"
        raise CharloomError(message, "bad-setting", field="cells")
    letters = _letters(model, best)
    logits = [s for s in _function(network.forward).body if _assigned(s) == "logits"]
    lines = tuple(_Teller(network.forward, whole, V).lines(logits, best))
    parts.append(Part("logits", _file(network.forward), "characters", letters, lines))
    body = _function(operations.log_softmax).body
    lines = tuple(_Teller(operations.log_softmax, soft, V).lines(body, best))
    parts.append(Part("softmax", _file(operations.log_softmax), "characters", letters, lines))
    return parts


def _input(model: ReferenceModel, id: int) -> Part:
    """Return how a character becomes numbers: the line that looks up its row."""
    size, V = model.config.embedding, len(model.vocabulary)
    (line,) = (s for s in _function(network.forward).body if _assigned(s) == "x")
    told = f"ids = {id} of {V} characters: its row of Wx is looked up below"
    if size:
        row = model.weights["embedding"][id]
        numbers = ", ".join(map(number, row[:VECTOR].tolist()))
        more = ", …" if size > VECTOR else ""
        told = f"ids = {id} of {V} characters: its row of {size} numbers is {numbers}{more}"
    shown = Line(line.lineno, _source(network.forward, line), ((told,),))
    return Part("input", _file(network.forward), "characters", _letters(model, [id]), (shown,))


def _moved(h: Array) -> list[int]:
    """Return the units of h (2, 1, H), now and before, by how much the step has changed them."""
    change = np.abs(h[0, 0] - h[-1, 0])
    units: list[int] = np.argsort(-change, kind="stable").tolist()
    return units


# -------------------------------------------------------------------------------- n-grams, mixtures


def _counted(model: NgramModel, ids: Ids, state: State, best: Sequence[int]) -> list[Part]:
    """Return a part for each context, from the longest known down to the empty one.

    The kernel's lines are told as it runs them; it is compiled, and so its maths is repeated here.
    """
    from charloom.models.ngram import kernels

    trie, V = model.trie, len(model.vocabulary)
    _, after = model.step(ids, state)
    node = int(after[0])
    weight, backoff = trie.weight, trie.backoff
    if node < 0:
        node, weight, backoff = ~node, trie.whole_weight, trie.whole_backoff
    body = [s for s in ast.walk(_function(kernels.predict)) if isinstance(s, ast.AugAssign)]
    lines_of = {ast.unparse(s.target): s for s in body}
    add, pass_on, rest = (lines_of[t] for t in ("out[trie.character[j]]", "share", "out"))
    letters, file, share = _letters(model, best), _file(kernels.predict), 1.0
    parts = []
    while True:
        children = trie.first[node], trie.first[node + 1]
        known = {int(trie.character[j]): float(weight[j]) for j in range(*children)}
        rows = []
        for id in best:
            own = known.get(id, 0.0)
            rows.append((f"{number(share)} × {number(own)} = {number(share * own)}",))
        lines = [Line(add.lineno, _source(kernels.predict, add), tuple(rows))]
        left = share * float(backoff[node])
        told = f"{number(share)} × {number(backoff[node])} = {number(left)}"
        lines.append(
            Line(pass_on.lineno, _source(kernels.predict, pass_on), ((told,),) * len(best))
        )
        title = "after whatever was before"
        if node:
            context, times = in_a_line(_context(model, node)), count(model.seen(node), "time")
            title = f"after “{context}”, seen {times}"
        share, weight, backoff = left, trie.weight, trie.backoff
        if node == 0 or share == 0:
            told = f"{number(share)} / {V} = {number(share / V)}"
            source = _source(kernels.predict, rest)
            lines.append(Line(rest.lineno, source, ((told,),) * len(best)))
            parts.append(Part(title, file, "characters", letters, tuple(lines)))
            return parts
        parts.append(Part(title, file, "characters", letters, tuple(lines)))
        node = int(trie.suffix[node])


def _context(model: NgramModel, node: int) -> str:
    """Return the characters of an n-gram."""
    ids: list[int] = []
    while node:
        ids.insert(0, int(model.trie.character[node]))
        node = int(np.searchsorted(model.trie.first, node, side="right")) - 1
    return model.vocabulary.decode(ids)


class _Mixing:
    """How the predictions of a mixture's two models, p and q (V,), become one."""

    def __init__(self, model: Mixture, ids: Ids, state: State) -> None:
        members = (model.network, state.network), (model.counts, state.counts)
        self._p, self._q = (
            np.exp(member.step(ids, own)[0][0].astype(np.float64)) for member, own in members
        )
        sure = np.array([[(p * p).sum()] for p in (self._p, self._q)])
        self._share = float(share_of(sure, model.shares)[0])
        self._model = model
        with np.errstate(divide="ignore"):
            self.log_probs = np.log(self._share * self._p + (1 - self._share) * self._q)

    def part(self, best: Sequence[int]) -> Part:
        """Tell the line of the kernel that mixes them; it is compiled, and not run here."""
        from charloom.models.mixture import kernels

        (line,) = (
            s
            for s in ast.walk(_function(kernels.mix))
            if isinstance(s, ast.Assign) and ast.unparse(s.value).startswith("share * log_p")
        )
        share, p, q = self._share, self._p, self._q
        told = tuple(
            (
                f"{number(share)} × {number(p[id])} + (1 − {number(share)}) × {number(q[id])} = "
                f"{number(share * p[id] + (1 - share) * q[id])}",
            )
            for id in best
        )
        shown = Line(line.lineno, _source(kernels.mix, line), told)
        letters = _letters(self._model, best)
        return Part("mixture", _file(kernels.mix), "characters", letters, (shown,))


# ----------------------------------------------------------------------------- lines with numbers


def number(value: float) -> str:
    """Return a number to three decimals, or, if that is nearly 0, to one digit."""
    small = 0 < abs(value) < 5e-4
    told = f"{value:.1g}".replace("e-0", "e-") if small else f"{value:.3f}"
    return told.replace("-", "−")


def _locals_of(
    functions: Sequence[Function], call: Callable[[], object]
) -> dict[Function, list[dict[str, Any]]]:
    """Return what the local variables of functions held at the end of each call of theirs."""
    held: dict[Function, list[dict[str, Any]]] = {f: [] for f in functions}
    of = {function.__code__: function for function in functions}

    def note(frame: Any, event: str, _: object) -> None:
        if event == "return" and frame.f_code in of:
            held[of[frame.f_code]].append(dict(frame.f_locals))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return held


class _Teller:
    """Tells lines of a function with the numbers that its local variables held at the end.

    They are those of a step of one character of one text, t = 0, so that each variable was
    assigned once. Arrays have a number for each of `width` columns, or several times as many: one
    after another for each of `gates`; or one for all.
    """

    def __init__(
        self,
        function: Function,
        values: Mapping[str, Any],
        width: int,
        gates: str = "",
    ) -> None:
        self._function, self._values, self._width, self._gates = function, values, width, gates

    def lines(self, body: Sequence[ast.stmt], columns: Sequence[int]) -> Iterator[Line]:
        """Yield the lines of assignments."""
        for statement in body:
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
                continue
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            found, value = self._value(target), statement.value
            size = found.size // self._width
            told = tuple(
                tuple(
                    _equation(
                        self._tell(value, column, gate), number(self._at(found, column, gate))
                    )
                    for gate in range(size)
                )
                for column in columns
            )
            gates = self._gates[:size] if size > 1 else ""
            yield Line(statement.lineno, _source(self._function, statement), told, gates)

    def _value(self, node: ast.expr) -> Any:
        """Return what an expression of our own source is."""
        return np.asarray(eval(ast.unparse(node), self._function.__globals__, dict(self._values)))

    def _at(self, value: Any, column: int, gate: int) -> float:
        if value.size == 1:
            return float(value.item())
        place = column if value.size == self._width else gate * self._width + column
        return float(value.ravel()[place])

    def _tell(self, node: ast.expr, column: int, gate: int, above: int = 0) -> str:
        """Return an expression with numbers; `above` is how tightly the operator around binds."""
        match node:
            case ast.IfExp():
                chosen = node.body if self._value(node.test) else node.orelse
                return self._tell(chosen, column, gate, above)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                tight = 2 if isinstance(node.op, ast.Mult | ast.Div) else 1
                left = self._tell(node.left, column, gate, tight)
                right = self._tell(
                    node.right, column, gate, tight + isinstance(node.op, ast.Sub | ast.Div)
                )
                told = f"{left} {_SIGNS[type(node.op)]} {right}"
                return f"({told})" if tight < above else told
            case ast.Call(args=[only], keywords=[]) if (name := _called(node)) in _FUNCTIONS:
                return f"{name}({self._tell(only, column, gate)})"
            case ast.Constant():
                return str(node.value)
        return number(self._at(self._value(node), column, gate))


def _equation(told: str, result: str) -> str:
    return told if told == result else f"{told} = {result}"


def _called(node: ast.Call) -> str:
    """Return the name of a function that is called by itself, or as one of NumPy's."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="np"), attr=name):
            return name
    return ""


def _assigned(statement: ast.stmt) -> str:
    """Return the name that a statement assigns, "" if it is none."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def _module(function: Function) -> ModuleType:
    return sys.modules[function.__module__]


def _function(function: Function) -> ast.FunctionDef:
    """Return the source of a function, with the line numbers of its file."""
    tree = ast.parse(inspect.getsource(_module(function)))
    named = (s for s in tree.body if isinstance(s, ast.FunctionDef))
    return next(s for s in named if s.name == function.__name__)


def _source(function: Function, node: ast.stmt) -> str:
    """Return the text of a statement as it stands in the file, in one line, with its comment."""
    lines = inspect.getsource(_module(function)).splitlines()
    last = node.end_lineno or node.lineno
    return " ".join(line.strip() for line in lines[node.lineno - 1 : last])


def _file(function: Function) -> str:
    """Return where a function is, below charloom's folder."""
    home = Path(charloom.__file__).parent
    return Path(inspect.getfile(_module(function))).relative_to(home).as_posix()
