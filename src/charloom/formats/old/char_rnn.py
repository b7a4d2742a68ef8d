"""char-rnn's checkpoints (Andrej Karpathy, 2015): a step of the network as a graph, and a history.

A layer is two nn.Linear, i2h and h2h, which both have biases, and what adds them up. Those of an
LSTM have the gates i f o g: ours. Newer files name them (`annotations`); in older ones, and for a
plain RNN, h2h is what reads a state that goes into the graph, and i2h what is added to it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from charloom.config import Cell, ModelConfig, replace
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
_CELLS: dict[bytes, Cell] = {b"lstm": "lstm", b"rnn": "rnn"}
_STATES = {"lstm": 2, "rnn": 1}  # a layer's inputs to the graph; the last is what h2h reads


def is_char_rnn(root: object) -> bool:
    """Whether this is what char-rnn saved."""
    protos = root.get("protos") if isinstance(root, Table) else None
    rnn = protos.get("rnn") if isinstance(protos, Table) else None
    return isinstance(rnn, Object) and rnn.name == "nn.gModule"


def from_char_rnn(root: Table) -> Found:
    """Return the model of a checkpoint with its history; raises MalformedError and RefusedError."""
    opt = root.get("opt") if isinstance(root.get("opt"), Table) else Table()
    L, H = (
        whole(opt.get(name), 1, most) for name, most in (("num_layers", 256), ("rnn_size", 65536))
    )
    kind = opt.get("model")
    if L is None or H is None or not isinstance(kind, bytes):
        raise MalformedError("its options do not say which model it is")
    if kind == b"gru":
        raise RefusedError(
            "it is a GRU whose reset gate acts before the recurrent product, which charloom's does "
            "not: it cannot be converted without changing what it predicts"
        )
    if kind not in _CELLS:
        raise RefusedError(f"it is a model {kind[:20].decode('latin-1')!r}: lstm and rnn are read")
    cell = _CELLS[kind]
    nodes = root.get("protos").get("rnn").fields.get("forwardnodes")
    datas = [_data(node) for node in nodes.listed()] if isinstance(nodes, Table) else []
    pairs, decoder = _annotated(datas, L) or _paired(datas, L, _STATES[cell])
    tokens = _tokens(root.get("vocab"))
    V, G = len(tokens), GATES[cell]
    weights: Weights = {}
    for layer, (i2h, h2h) in enumerate(pairs):
        Wx, Wh = _matrix(i2h, G * H, H if layer else V), _matrix(h2h, G * H, H)
        b = _bias(i2h, G * H) + (_bias(h2h, G * H) if h2h.get("bias") is not None else 0)
        weights |= {f"layer{layer}.Wx": Wx, f"layer{layer}.Wh": Wh, f"layer{layer}.b": b}
    weights |= {"head.W": _matrix(decoder, V, H), "head.b": _bias(decoder, V)}
    step = whole(root.get("i"), 0, MOST_STEPS) or 0
    usual = preset("char-rnn")
    names = {
        "batch": "batch_size",
        "length": "seq_length",
        "learning_rate": "learning_rate",
        "dropout": "dropout",
        "clip_value": "grad_clip",
        "decay": "decay_rate",
        "decay_factor": "learning_rate_decay",
        "decay_after": "learning_rate_decay_after",
    }
    data, share = usual.data, opt.get("val_frac")
    if isinstance(share, float) and 0 < share < 1:
        test = opt.get("train_frac")
        test = max(0.0, 1 - share - test) if isinstance(test, float) and 0 < test < 1 else 0.0
        with suppress(CharloomError):
            data = replace(data, validation=share, test=round(test, 6))
    return Found(
        program=PROGRAM,
        model=ModelConfig(cell=cell, layers=L, hidden=H),
        weights=weights,
        size=V,
        tokens=tokens,
        step=step,
        losses=history(_numbered(root.get("train_losses"))),
        validation=history(_numbered(root.get("val_losses"))),
        data=data,
        train=trained(usual.train, step, {ours: opt.get(name) for ours, name in names.items()}),
    )


def _data(node: object) -> Table:
    data = node.fields.get("data") if isinstance(node, Object) else None
    if not isinstance(data, Table):
        raise MalformedError("a node of its graph holds nothing")
    return data


def _linear(data: Table) -> Table | None:
    module = data.get("module")
    return module.fields if isinstance(module, Object) and module.name == "nn.Linear" else None


Layers = tuple[list[tuple[Table, Table]], Table]


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

    `mapindex` of a node has the data of those that it reads, of the first node those of the
    graph's inputs: the characters, and then `states` of each layer, the last of them for h2h.
    """
    innode = next((data for data in datas if data.get("data") is not None), None)
    inputs = _sources(innode) if innode is not None else []
    linears = {id(data): linear for data in datas if (linear := _linear(data)) is not None}
    sums = [
        [linears[id(source)] for source in _sources(data) if id(source) in linears]
        for data in datas
    ]
    sums = [pair for pair in sums if len(pair) == 2]
    by_linear = {id(linear): data for data in datas if (linear := _linear(data)) is not None}
    pairs = []
    for layer in range(layers):
        state = inputs[states * (layer + 1)] if states * (layer + 1) < len(inputs) else None
        for i2h, h2h in sums:
            if state is not None and _sources(by_linear[id(h2h)])[:1] == [state]:
                pairs.append((i2h, h2h))
    used = {id(linear) for pair in pairs for linear in pair}
    rest = [linear for linear in linears.values() if id(linear) not in used]
    if len(pairs) != layers or len(rest) != 1:
        raise RefusedError("its graph is not that of a char-rnn of the year 2015 or later")
    return pairs, rest[0]


def _sources(data: Table) -> list[Any]:
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
