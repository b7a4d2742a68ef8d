#!/usr/bin/env bash
# tract 0.23.9 (Rust, by its Python package) runs ONNX's LSTM, GRU and RNN of direction "reverse" forwards, without a word: what it gives is to
# the last digit what it gives for "forward". The second half of "bidirectional" does run backwards. So a model that reads texts from
# their end scores them from their start. onnxruntime 1.32.0 gives what the forward one gives for a reversed input, reversed again.
# (That tract passes over activations, clip and input_forget, too, is its issue 2751.)
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import numpy as np
import onnxruntime
import tract
from onnx import TensorProto, checker, helper, save

T, B, I, H = 4, 3, 5, 3
rng = np.random.default_rng(0)
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
x = draw(T, B, I)
WEIGHTS = {operator: (draw(2, gates * H, I), draw(2, gates * H, H)) for operator, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))}


def both(operator, direction, x=x):
    """All states (T, directions, B, H) of tract and of onnxruntime; one direction has the second of two weights."""
    both_ways = direction == "bidirectional"
    W, R = (a if both_ways else a[1:] for a in WEIGHTS[operator])
    first = np.zeros((len(W), B, H), np.float32)
    arrays = {"W": W, "R": R, "h": first} | ({"c": first} if operator == "LSTM" else {})
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "W", "R", "", "", *list(arrays)[2:]], ["Y"], hidden_size=H, direction=direction)],
        "one",
        [info("x", TensorProto.FLOAT, (T, B, I))],
        [info("Y", TensorProto.FLOAT, (T, len(W), B, H))],
        [helper.make_tensor(n, TensorProto.FLOAT, a.shape, a.ravel()) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model, full_check=True)
    save(model, "one.onnx")
    session = onnxruntime.InferenceSession("one.onnx", providers=["CPUExecutionProvider"])
    loaded = tract.onnx().load("one.onnx").into_model().into_runnable()
    return loaded.run([x])[0].to_numpy(), session.run(None, {"x": x})[0]


for operator in WEIGHTS:
    forward, agreed = both(operator, "forward")
    found, right = both(operator, "reverse")
    two, two_right = both(operator, "bidirectional")
    _, backwards = both(operator, "forward", np.ascontiguousarray(x[::-1]))
    far = float(abs(found - right).max())
    print(f"{operator}, reverse: tract is off by {far:.1e}, from its own forward one by {abs(found - forward).max():.1e}")
    assert max(abs(forward - agreed).max(), abs(two - two_right).max()) < 1e-5, "tract has changed"
    assert max(abs(right - backwards[::-1]).max(), abs(two_right[:, 1:] - right).max()) < 1e-5, "onnxruntime has changed"
    assert far > 0.1 and (found == forward).all(), "direction counts now"
P
