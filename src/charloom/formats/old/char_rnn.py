"""char-rnn's checkpoints (Andrej Karpathy, 2015): a step of the network as a graph, and a history.

A layer is two nn.Linear, i2h and h2h, which both have biases, and what adds them up. Those of an
LSTM have the gates i f o g: ours. From September 2015 on they are named (`annotations`); in older
files, and for a plain RNN, h2h is what reads a state that goes into the graph, and i2h what is
added to it. In the first two weeks one-hot inputs and the decoder stood beside the graph.

A GRU's layer is three such pairs: of z, of r, and of the candidate, whose h2h reads the product of
r and the state. Its z is the share of the candidate, h = (1 - z) h + z n, and ours that of the
state: sigmoid(-a) = 1 - sigmoid(a), so the weights of z change their sign.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec import UNSET

from charloom.config import Cell, DataConfig, ModelConfig, replace
from charloom.errors import CharloomError
from charloom.formats.old.found import (
    MOST_STEPS,
    Found,
    MalformedError,
    RefusedError,
    characters,
    history,
    trained,
    whole,
)
from charloom.formats.old.torch7 import Object, Table
from charloom.formats.old.torch_rnn import array
from charloom.models.weights import GATES, Weights
from charloom.presets import preset

PROGRAM = "char-rnn"
_CELLS: dict[bytes, Cell] = {b"lstm": "lstm", b"gru": "gru", b"rnn": "rnn"}
_STATES = {"lstm": 2, "rnn": 1}  # a layer's inputs to the graph; the last is what h2h reads
_SETTINGS = {  # of ours, by the names that its options have
    "batch": "batch_size",
    "length": "seq_length",
    "learning_rate": "learning_rate",
    "dropout": "dropout",
    "clip_value": "grad_clip",
    "decay": "decay_rate",
    "decay_factor": "learning_rate_decay",
    "decay_after": "learning_rate_decay_after",
}


def is_char_rnn(root: object) -> bool:
    """Whether this is what char-rnn saved."""
    protos = root.get("protos") if isinstance(root, Table) else None
    rnn = protos.get("rnn") if isinstance(protos, Table) else None
    return isinstance(rnn, Object) and rnn.name == "nn.gModule"


def from_char_rnn(root: Table) -> Found:
    """Return the model of a checkpoint with its history; raises MalformedError and RefusedError."""
    opt = root.get("opt") if isinstance(root.get("opt"), Table) else Table()
    tokens, step = _tokens(root.get("vocab")), whole(root.get("i"), 0, MOST_STEPS) or 0
    model, usual = _model(opt), preset("char-rnn")
    return Found(
        program=PROGRAM,
        model=model,
        weights=_weights(model, _datas(root.get("protos")), len(tokens)),
        size=len(tokens),
        tokens=tokens,
        step=step,
        losses=history(_numbered(root.get("train_losses"))),
        validation=history(_numbered(root.get("val_losses"))),
        data=_held_out(usual.data, opt),
        train=trained(usual.train, step, {ours: opt.get(name) for ours, name in _SETTINGS.items()}),
    )


def _model(opt: Table) -> ModelConfig:
    L, H = (
        whole(opt.get(name), 1, most) for name, most in (("num_layers", 256), ("rnn_size", 65536))
    )
    kind = opt.get("model")
    if L is None or H is None or not isinstance(kind, bytes):
        raise MalformedError("its options do not say which model it is")
    if kind not in _CELLS:
        raise RefusedError(
            f"it is a model {kind[:20].decode('latin-1')!r}: lstm, gru and rnn are read"
        )
    cell = _CELLS[kind]
    return ModelConfig(cell=cell, layers=L, hidden=H, reset="state" if cell == "gru" else UNSET)


def _weights(model: ModelConfig, datas: Sequence[Table], V: int) -> Weights:
    cell, H = model.cell, model.hidden
    find = _gru if cell == "gru" else partial(_layers, states=_STATES[cell])
    layers, decoder = find(datas, model.layers)
    weights: Weights = {}
    for layer, pairs in enumerate(layers):
        N = GATES[cell] * H // len(pairs)
        parts = [(_matrix(i2h, N, H if layer else V), _matrix(h2h, N, H)) for i2h, h2h in pairs]
        biases = [
            _bias(i2h, N) + (_bias(h2h, N) if h2h.get("bias") is not None else 0)
            for i2h, h2h in pairs
        ]
        of_layer = [np.concatenate(arrays, -1) for arrays in (*zip(*parts, strict=True), biases)]
        if cell == "gru":
            for array in of_layer:
                array[..., H : 2 * H] *= -1
        of_names = zip(("Wx", "Wh", "b"), of_layer, strict=True)
        weights |= {f"layer{layer}.{name}": array for name, array in of_names}
    return weights | {"head.W": _matrix(decoder, V, H), "head.b": _bias(decoder, V)}


def _held_out(usual: DataConfig, opt: Table) -> DataConfig:
    """Return what of the text was for validation and test, as its options say."""
    share, train = opt.get("val_frac"), opt.get("train_frac")
    if not isinstance(share, float) or not 0 < share < 1:
        return usual
    test = max(0.0, 1 - share - train) if isinstance(train, float) and 0 < train < 1 else 0.0
    try:
        return replace(usual, validation=share, test=round(test, 6))
    except CharloomError:
        return usual


def _datas(protos: Table) -> list[Table]:
    """Return what the nodes of the graph hold, and the decoder, which once stood beside it."""
    nodes, softmax = protos.get("rnn").fields.get("forwardnodes"), protos.get("softmax")
    found = [_data(node) for node in nodes.listed()] if isinstance(nodes, Table) else []
    modules = softmax.fields.get("modules") if isinstance(softmax, Object) else None
    for module in modules.listed() if isinstance(modules, Table) else []:
        found.append(Table())
        found[-1].items = [b"module", module]
    return found


def _data(node: object) -> Table:
    data = node.fields.get("data") if isinstance(node, Object) else None
    if not isinstance(data, Table):
        raise MalformedError("a node of its graph holds nothing")
    return data


def _linear(data: Table) -> Table | None:
    module = data.get("module")
    return module.fields if isinstance(module, Object) and module.name == "nn.Linear" else None


Layers = tuple[list[tuple[Table, Table]], Table]
Pairs = list[tuple[Table, Table]]  # i2h and h2h, whose outputs are added


def _layers(datas: Sequence[Table], layers: int, states: int) -> tuple[list[Pairs], Table]:
    """Return the one pair of each layer, and the decoder."""
    pairs, decoder = _annotated(datas, layers) or _paired(datas, layers, states)
    return [[pair] for pair in pairs], decoder


def _gru(datas: Sequence[Table], layers: int) -> tuple[list[Pairs], Table]:
    """Return the pairs of r, z and the candidate of each layer, and the decoder."""
    inputs = _inputs(datas)
    linears = {id(data): linear for data in datas if (linear := _linear(data)) is not None}
    found: list[Pairs] = []
    for layer in range(layers):
        state = inputs.get(layer + 2)
        gates: dict[int, tuple[Table, Table]] = {}  # by the sum that adds them
        candidates = []
        for data in datas:
            i2h, h2h = (*_sources(data), None, None)[:2]
            if id(i2h) not in linears or id(h2h) not in linears:
                continue
            read, pair = _sources(h2h)[:1], (linears[id(i2h)], linears[id(h2h)])
            if read and read[0] is state:
                gates[id(data)] = pair
            elif len(read) == 1 and len(of := _sources(read[0])) == 2 and of[1] is state:
                candidates.append(([*_sources(of[0]), None][0], pair))
        if state is None or len(gates) != 2 or len(candidates) != 1:
            raise _other_graph()
        through, candidate = candidates[0]
        reset = gates.pop(id(through), None)
        if reset is None:
            raise _other_graph()
        found.append([reset, *gates.values(), candidate])
    used = {id(linear) for pairs in found for pair in pairs for linear in pair}
    rest = [linear for linear in linears.values() if id(linear) not in used]
    if len(rest) != 1:
        raise _other_graph()
    return found, rest[0]


def _other_graph() -> RefusedError:
    return RefusedError("its graph is not that of a char-rnn of the year 2015 or later")


def _annotated(datas: Sequence[Table], layers: int) -> Layers | None:
    """Return i2h and h2h of each layer, and the decoder, by their names; None without these."""
    named: dict[bytes, Table] = {}
    for data in datas:
        annotations, linear = data.get("annotations"), _linear(data)
        name = annotations.get("name") if isinstance(annotations, Table) else None
        if linear is not None and isinstance(name, bytes):
            named[name] = linear
    pairs = [
        [named.get(b"%s_%d" % (part, n + 1)) for part in (b"i2h", b"h2h")] for n in range(layers)
    ]
    decoder = named.get(b"decoder")
    found = [(i2h, h2h) for i2h, h2h in pairs if i2h is not None and h2h is not None]
    if len(found) != layers or decoder is None:
        return None
    if len(named) != 2 * layers + 1:
        raise MalformedError("its graph has other layers than its options say")
    return found, decoder


def _paired(datas: Sequence[Table], layers: int, states: int) -> Layers:
    """Return i2h and h2h of each layer, and the decoder, by what they read.

    The inputs of the graph are the characters, and then `states` of each layer, the last for h2h.
    """
    inputs = _inputs(datas)
    linears = {id(data): linear for data in datas if (linear := _linear(data)) is not None}
    sums = [
        [linears[id(source)] for source in _sources(data) if id(source) in linears]
        for data in datas
    ]
    sums = [pair for pair in sums if len(pair) == 2]
    by_linear = {id(linear): data for data in datas if (linear := _linear(data)) is not None}
    pairs = []
    for layer in range(layers):
        state = inputs.get(states * (layer + 1) + 1)
        for i2h, h2h in sums:
            if state is not None and _sources(by_linear[id(h2h)])[:1] == [state]:
                pairs.append((i2h, h2h))
    used = {id(linear) for pair in pairs for linear in pair}
    rest = [linear for linear in linears.values() if id(linear) not in used]
    if len(pairs) != layers or len(rest) != 1:
        raise _other_graph()
    return pairs, rest[0]


def _inputs(datas: Sequence[Table]) -> dict[int, Table]:
    """Return the inputs of the graph by their numbers, from 1.

    Each is an nn.Identity, which reads a node that selects it of the one that they come in by.
    """
    found: dict[int, Table] = {}
    for data in datas:
        module, sources = data.get("module"), _sources(data)
        if isinstance(module, Object) and module.name == "nn.Identity" and len(sources) == 1:
            number = whole(sources[0].get("selectindex"), 1, 1024)
            if number is not None:
                found.setdefault(number, data)
    return found


def _sources(data: Table) -> list[Any]:
    """Return the data of the nodes that a node reads, which its `mapindex` has."""
    mapindex = data.get("mapindex")
    found = mapindex.listed() if isinstance(mapindex, Table) else []
    return [source for source in found if isinstance(source, Table)]


def _matrix(linear: Table, outputs: int, inputs: int) -> Any:
    weight = array(linear, "weight", 2)
    if weight.shape != (outputs, inputs):
        raise MalformedError(f"a matrix is {weight.shape}, not {(outputs, inputs)}")
    return weight.T


def _bias(linear: Table, outputs: int) -> Any:
    bias = array(linear, "bias", 1)
    if bias.shape != (outputs,):
        raise MalformedError("a bias does not fit its matrix")
    return bias


def _tokens(table: object) -> tuple[str, ...] | bytes:
    """Return the characters of a map to 1-based ids; single bytes from 128 on are bytes."""
    if not isinstance(table, Table):
        raise MalformedError("it has no vocabulary")
    found = {whole(number, 1, 2**20): key for key, number in table.pairs()}
    if not found or {*found} != {*range(1, len(found) + 1)} or len(found) * 2 != len(table.items):
        raise MalformedError("its vocabulary is not numbered")
    return characters([_token(found[number]) for number in range(1, len(found) + 1)])


def _token(key: object) -> str | int:
    if isinstance(key, bytes) and len(key) == 1:
        return chr(key[0]) if key[0] < 128 else key[0]
    try:
        text = key.decode() if isinstance(key, bytes) else ""
    except UnicodeDecodeError:
        text = ""
    if len(text) != 1:
        raise MalformedError("its vocabulary holds what is no character")
    return text


def _numbered(table: object) -> dict[int, Any]:
    return table.by_number() if isinstance(table, Table) else {}
