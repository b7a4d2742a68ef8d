"""Files as older programs write them, small and random, and what they predict, worked out by hand.

Nothing of charloom is used: formats and formulas are written once more, from the programs.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).parents[2] / "shared" / "checkpoints"
TEXT = "the cat sat on the mat.\nthat hat, the cat, and the dog sat.\n" * 4
TOKENS = sorted(set(TEXT))[::-1]  # another order than charloom's
V, D, H = len(TOKENS), 5, 6


class T7:
    """Writes objects as torch.save does; a long has 8 bytes, or 4."""

    def __init__(self, long: int = 8, float_: str = "Float") -> None:
        self._long, self._float = "<q" if long == 8 else "<i", float_
        self._out: list[bytes] = []
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def dump(self, value: Any) -> bytes:
        self._write(value)
        return b"".join(self._out)

    def _int(self, *values: int) -> None:
        self._out += [struct.pack("<i", value) for value in values]

    def _longs(self, *values: int) -> None:
        self._out += [struct.pack(self._long, value) for value in values]

    def _string(self, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        self._int(len(content))
        self._out.append(content)

    def _known(self, value: Any) -> bool:
        known = id(value) in self._seen
        self._kept.append(value)
        self._int(self._seen.setdefault(id(value), len(self._seen) + 1))
        return known

    def _write(self, value: Any) -> None:
        match value:
            case None:
                self._int(0)
            case bool():
                self._int(5, value)
            case int() | float():
                self._int(1)
                self._out.append(struct.pack("<d", value))
            case str() | bytes():
                self._int(2)
                self._string(value)
            case list():
                self._write(dict(enumerate(value, 1)) if value else {})
            case dict():
                self._int(3)
                if not self._known(value):
                    self._int(len(value))
                    for key, one in value.items():
                        self._write(key.of if isinstance(key, Key) else key)
                        self._write(one)
            case Thing(name=name, fields=fields):
                self._int(4)
                if not self._known(value):
                    self._string("V 1")
                    self._string(name)
                    self._write(fields)
            case View():
                self._int(4)
                if not self._known(value):
                    self._tensor(value)
            case np.ndarray():
                self._write(View.of(value))

    def _tensor(self, view: "View") -> None:
        self._string("V 1")
        self._string(f"torch.{self._float}Tensor")
        self._int(len(view.sizes))
        self._longs(*view.sizes, *view.strides, view.offset + 1)
        self._int(4)
        if not self._known(view.storage):
            self._string("V 1")
            self._string(f"torch.{self._float}Storage")
            self._longs(len(view.storage))
            dtype = "<f8" if self._float == "Double" else "<f4"
            self._out.append(view.storage.astype(dtype).tobytes())


class Key:
    """A table as the key of another."""

    def __init__(self, of: Any) -> None:
        self.of = of


class Thing:
    """An object of a class."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.name, self.fields = name, fields


class View:
    """A tensor: a part of a storage that others share."""

    def __init__(self, storage: Any, sizes: Any, strides: Any, offset: int) -> None:
        self.storage, self.sizes, self.strides, self.offset = storage, sizes, strides, offset

    @classmethod
    def of(cls, array: Any) -> "View":
        strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides]
        return cls(np.ascontiguousarray(array).reshape(-1), array.shape, strides, 0)


def flat(*arrays: Any) -> list[View]:
    """Return arrays as views of one storage, as getParameters makes them."""
    storage = np.concatenate([a.reshape(-1) for a in arrays])
    views, offset = [], 0
    for a in arrays:
        strides = [s // a.itemsize for s in np.ascontiguousarray(a).strides]
        views.append(View(storage, a.shape, strides, offset))
        offset += a.size
    return views


def numbers(*shapes: tuple[int, ...], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.6, shape).astype(np.float32) for shape in shapes]


def torch_rnn(cell: str = "lstm", layers: int = 2, batchnorm: bool = False, **more: Any) -> Any:
    """Return a checkpoint and a function that predicts by it: ids (T,) to log-probs (T, V)."""
    G = 4 if cell == "lstm" else 1
    shapes: list[tuple[int, ...]] = [(V, D)]
    for layer in range(layers):
        shapes += [((H if layer else D) + H, G * H), (G * H,)]
    arrays = numbers(*shapes, (V, H), (V,))
    views = flat(*arrays)
    rng = np.random.default_rng(7)
    kind = {"lstm": "nn.LSTM", "rnn": "nn.VanillaRNN"}[cell]
    modules = [Thing("nn.LookupTable", weight=views[0])]
    norms = []
    for layer in range(layers):
        weight, bias = views[1 + 2 * layer : 3 + 2 * layer]
        modules.append(Thing(kind, weight=weight, bias=bias))
        if batchnorm:
            norm = {
                "running_mean": rng.normal(0, 0.3, H).astype(np.float32),
                "running_var": rng.uniform(0.2, 2, H).astype(np.float32),
                "weight": rng.normal(1, 0.3, H).astype(np.float32),
                "bias": rng.normal(0, 0.3, H).astype(np.float32),
            }
            norms.append(norm)
            modules += [Thing("nn.View"), Thing("nn.BatchNormalization", eps=1e-5, **norm)]
            modules.append(Thing("nn.View"))
        modules.append(Thing("nn.Dropout", p=0.5))
    modules += [Thing("nn.View"), Thing("nn.Linear", weight=views[-2], bias=views[-1])]
    modules.append(Thing("nn.View"))
    model = Thing(
        "nn.LanguageModel",
        net=Thing("nn.Sequential", modules=modules),
        idx_to_token=dict(enumerate(more.pop("tokens", TOKENS), 1)),
        model_type=cell,
        wordvec_dim=D,
        rnn_size=H,
        num_layers=layers,
    )
    root = {
        "model": model,
        "opt": {"batch_size": 4, "seq_length": 10, "input_h5": "/home/alice/secret.h5", "gpu": -1},
        "train_loss_history": [3.0 - 0.001 * n for n in range(2500)],
        "val_loss_history": [2.5, 2.25],
        "val_loss_history_it": [1000, 2500],
        "i": 2500,
    } | more

    def predict(ids: Any) -> Any:
        a = [array.astype(np.float64) for array in arrays]
        x = a[0][ids]
        for layer in range(layers):
            W, b = a[1 + 2 * layer : 3 + 2 * layer]
            x = _cell(cell, x, lambda x, h, W=W, b=b: np.concatenate([x, h]) @ W + b)
            if batchnorm:
                n = norms[layer]
                x = (x - n["running_mean"]) / np.sqrt(n["running_var"] + 1e-5)
                x = x * n["weight"] + n["bias"]
        return log_softmax(x @ a[-2].T + a[-1])

    return root, predict


def char_rnn(cell: str = "lstm", named: bool = True, tokens: Any = None, **more: Any) -> Any:
    """Return a checkpoint of two layers, and what predicts by it."""
    G, layers, pairs = (4 if cell == "lstm" else 1), 2, 3 if cell == "gru" else 1
    tokens = [t.encode() for t in TOKENS] if tokens is None else tokens
    N = len(tokens)
    shapes: list[tuple[int, ...]] = []
    for layer in range(layers):
        shapes += [(G * H, H if layer else N), (G * H,), (G * H, H), (G * H,)] * pairs
    arrays = numbers(*shapes, (N, H), (N,), seed=1)
    views = flat(*arrays)

    def linear(at: int) -> Thing:
        return Thing("nn.Linear", weight=views[at], bias=views[at + 1])

    def data(module: Any, sources: list[Any], name: str = "") -> Any:
        mapindex: dict[Any, Any] = dict(enumerate(sources, 1))
        mapindex |= {Key(source): n for n, source in enumerate(sources, 1)}
        annotations = {"name": name} if name and named else {}
        found: dict[str, Any] = {"mapindex": mapindex, "annotations": annotations}
        return found | ({"module": module} if module is not None else {})

    # nngraph takes all inputs in by one node, and others select each of what splits that.
    states = 2 if cell == "lstm" else 1
    innode = data(None, [])
    split = data(None, [innode]) | {"nSplitOutputs": 1 + states * layers}
    selected = [
        data(None, [split]) | {"selectindex": n + 1, "input": {}}
        for n in range(1 + states * layers)
    ]
    inputs = [data(Thing("nn.Identity"), [select]) for select in selected]
    datas = [innode, split, *selected, *inputs]
    x = data(Thing("OneHot", _eye=np.eye(N, dtype=np.float32)), [inputs[0]])
    datas.append(x)

    def gate(kind: str, at: int, x: Any, h: Any) -> Any:
        """The next i2h and h2h, added, and a function of the sum."""
        i2h, h2h = data(linear(at), [x]), data(linear(at + 2), [h])
        total = data(Thing("nn.CAddTable"), [i2h, h2h])
        datas.extend((i2h, h2h, total))
        datas.append(data(Thing(kind), [total]))
        return datas[-1]

    def gru(layer: int, x: Any, h: Any) -> Any:
        at = 12 * layer
        z, r = (gate("nn.Sigmoid", at + more, x, h) for more in (0, 4))
        gated = data(Thing("nn.CMulTable"), [r, h])
        n = gate("nn.Tanh", at + 8, x, gated)
        zn = data(Thing("nn.CMulTable"), [z, n])
        kept = data(Thing("nn.CMulTable"), [data(Thing("nn.AddConstant"), [z]), h])
        return data(Thing("nn.CAddTable"), [zn, kept])

    for layer in range(layers):
        if cell == "gru":
            x = gru(layer, x, inputs[layer + 1])
            continue
        i2h = data(linear(4 * layer), [x], f"i2h_{layer + 1}")
        h2h = data(linear(4 * layer + 2), [inputs[states * (layer + 1)]], f"h2h_{layer + 1}")
        total = data(Thing("nn.CAddTable"), [i2h, h2h])
        x = data(Thing("nn.Tanh"), [total])
        datas += [h2h, i2h, total, x]
    datas.append(data(linear(4 * layers * pairs), [x], "decoder"))
    nodes = [Thing("nngraph.Node", data=d, children={}, id=n) for n, d in enumerate(datas)]
    root = {
        "protos": {"rnn": Thing("nn.gModule", forwardnodes=nodes), "criterion": Thing("nn.X")},
        "opt": {"rnn_size": H, "num_layers": layers, "model": cell, "val_frac": 0.05}
        | {"train_frac": 0.95, "data_dir": "/home/bob"},
        "train_losses": [2.0, 1.9, 1.8],
        "val_losses": {3: 1.75},
        "i": 3,
        "vocab": {token: n for n, token in enumerate(tokens, 1)},
    } | more

    def predict(ids: Any) -> Any:
        a = [array.astype(np.float64) for array in arrays]
        x = np.eye(N)[ids]
        for layer in range(layers):
            if cell == "gru":
                x = _char_rnn_gru(x, a[12 * layer : 12 * layer + 12])
                continue
            Wi, bi, Wh, bh = a[4 * layer : 4 * layer + 4]
            x = _cell(cell, x, lambda x, h, p=(Wi, bi, Wh, bh): p[0] @ x + p[1] + p[2] @ h + p[3])
        return log_softmax(x @ a[-2].T + a[-1])

    return root, predict


def _char_rnn_gru(xs: Any, a: Any) -> Any:
    """Read xs (T, D) with i2h and h2h of the update and the reset gate and of the candidate."""
    h, found = np.zeros(H), []
    for x in xs:
        update, reset, candidate = (
            lambda h, x=x, k=k: a[k] @ x + a[k + 1] + a[k + 2] @ h + a[k + 3] for k in (0, 4, 8)
        )
        z, r = _sigmoid(update(h)), _sigmoid(reset(h))
        h = (1 - z) * h + z * np.tanh(candidate(r * h))
        found.append(h)
    return np.array(found)


def gru(
    xs: Any, Wx: Any, Wh: Any, b: Any, second: Any = None, order: str = "zrh", kept: str = "z"
) -> Any:
    """Read xs (T, D) with a GRU of Keras, whose gates stand in that order; (3H,) biases.

    With a second bias the reset gate multiplies a product, without one the state. What of the
    state is kept is "z", or "1-z".
    """
    n = len(Wh)
    at = {gate: slice(k * n, k * n + n) for k, gate in enumerate(order)}
    h, found = np.zeros(n), []
    for x in xs:
        a, more = x @ Wx + b, 0 if second is None else second
        z, r = (_sigmoid(a[at[g]] + (h @ Wh + more)[at[g]]) for g in "zr")
        if second is None:
            candidate = np.tanh(a[at["h"]] + (r * h) @ Wh[:, at["h"]])
        else:
            candidate = np.tanh(a[at["h"]] + r * (h @ Wh + second)[at["h"]])
        keep = z if kept == "z" else 1 - z
        h = keep * h + (1 - keep) * candidate
        found.append(h)
    return np.array(found)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _cell(cell: str, xs: Any, sums: Any) -> Any:
    """Read xs (T, D) with a layer whose sums of x and h are given, with gates i f o g."""
    h = c = np.zeros(H)
    found = []
    for x in xs:
        if cell == "rnn":
            h = np.tanh(sums(x, h))
        else:
            g = dict(zip("ifog", np.split(sums(x, h), 4), strict=True))
            c = _sigmoid(g["f"]) * c + _sigmoid(g["i"]) * np.tanh(g["g"])
            h = _sigmoid(g["o"]) * np.tanh(c)
        found.append(h)
    return np.array(found)


def lstm(xs: Any, W: Any, b: Any, order: str, forget: float = 0.0) -> Any:
    """Read xs (T, D) with an LSTM whose matrix (D + H, 4H) and gates stand in that order."""
    h = c = np.zeros(len(b) // 4)
    found = []
    for x in xs:
        g = dict(zip(order, np.split(np.concatenate([x, h]) @ W + b, 4), strict=True))
        c = _sigmoid(g["f"] + forget) * c + _sigmoid(g["i"]) * np.tanh(g["g"])
        h = _sigmoid(g["o"]) * np.tanh(c)
        found.append(h)
    return np.array(found)


def log_softmax(x: Any) -> Any:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def loss(log_probs: Any, ids: Any) -> float:
    """The mean over all ids (N,) but the first; log_probs (N - 1, V) or more rows."""
    return float(-log_probs[np.arange(len(ids) - 1), ids[1:]].mean())


def _crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(content: bytes) -> bytes:
    crc = _crc32c(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _entry(array: Any, offset: int) -> bytes:
    shape = b"".join(
        b"\x12" + _varint(len(s)) + s for s in (b"\x08" + _varint(n) for n in array.shape)
    )
    body = b"\x08\x01\x12" + _varint(len(shape)) + shape
    body += b"\x20" + _varint(offset) + b"\x28" + _varint(array.nbytes)
    return body + b"\x35" + _masked(array.tobytes())


def _table_block(entries: dict[bytes, bytes], restart: bool) -> bytes:
    out, key = b"", b""
    for name, value in entries.items():
        shared = 0
        while not restart and shared < min(len(key), len(name)) and key[shared] == name[shared]:
            shared += 1
        out += _varint(shared) + _varint(len(name) - shared) + _varint(len(value))
        out += name[shared:] + value
        key = name
    return out + struct.pack("<II", 0, 1)


def bundle(stem: Path, arrays: dict[str, Any]) -> Path:
    """Write a checkpoint of TensorFlow and return its index."""
    data, entries = b"", {b"": b"\x08\x01\x1a\x02\x08\x01"}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], np.float32)
        entries[name.encode()] = _entry(array, len(data))
        data += array.tobytes()
    out, handles = b"", []
    index: dict[bytes, bytes] = {}
    for block in (_table_block(entries, restart=False), _table_block({}, restart=True)):
        handles.append(_varint(len(out)) + _varint(len(block)))
        out += block + b"\0" + _masked(block + b"\0")
    index[b"~"] = handles[0]
    block = _table_block(index, restart=True)
    handles.append(_varint(len(out)) + _varint(len(block)))
    out += block + b"\0" + _masked(block + b"\0")
    footer = (handles[1] + handles[2]).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    path = stem.with_name(stem.name + ".index")
    path.write_bytes(out + footer)
    stem.with_name(stem.name + ".data-00000-of-00001").write_bytes(data)
    return path


def tensorflow_gru() -> Any:
    """Return the arrays of a checkpoint with a layer of GRUCell, and what predicts by it."""
    E, W, b, Wc, bc, head, bias = numbers(
        (V, H), (2 * H, 2 * H), (2 * H,), (2 * H, H), (H,), (H, V), (V,), seed=3
    )
    cell = "rnnlm/multi_rnn_cell/cell_0/gru_cell"
    named = {"rnnlm/embedding": E, "rnnlm/softmax_w": head, "rnnlm/softmax_b": bias}
    named |= {f"{cell}/gates/kernel": W, f"{cell}/gates/bias": b}
    named |= {f"{cell}/candidate/kernel": Wc, f"{cell}/candidate/bias": bc}

    def predict(ids: Any) -> Any:
        h, rows = np.zeros(H), []
        for x in E.astype(np.float64)[ids]:
            r, u = np.split(_sigmoid(np.concatenate([x, h]) @ W + b), 2)
            h = u * h + (1 - u) * np.tanh(np.concatenate([x, r * h]) @ Wc + bc)
            rows.append(h @ head + bias)
        return log_softmax(np.array(rows))

    return named, predict


def tensorflow(embedding: bool = True, layers: int = 2) -> Any:
    """Return the arrays of a checkpoint, and what predicts by it."""
    width = H if embedding else V
    shapes: list[tuple[int, ...]] = [(V, H)]
    for layer in range(layers):
        shapes += [((H if layer else width) + H, 4 * H), (4 * H,)]
    arrays = numbers(*shapes, (H, V), (V,), seed=2)
    scope = "rnnlm" if embedding else "char_rnn_network/rnn"
    named = {"rnnlm/embedding": arrays[0]} if embedding else {}
    for layer in range(layers):
        cell = f"{scope}/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
        named[f"{cell}/kernel"], named[f"{cell}/bias"] = arrays[1 + 2 * layer : 3 + 2 * layer]
        named[f"{cell}/kernel/Adam"] = arrays[1 + 2 * layer] * 0
    head = ("rnnlm/softmax_w", "rnnlm/softmax_b")
    if not embedding:
        head = ("char_rnn_network/Variable", "char_rnn_network/Variable_1")
    named |= dict(zip(head, arrays[-2:], strict=True))

    def predict(ids: Any) -> Any:
        a = [array.astype(np.float64) for array in arrays]
        x = a[0][ids] if embedding else np.eye(V)[ids]
        for layer in range(layers):
            x = lstm(x, a[1 + 2 * layer], a[2 + 2 * layer], "igfo", 1.0)
        return log_softmax(x @ a[-2] + a[-1])

    return named, predict
