#!/usr/bin/env bash
# openvino 2026.4.1, its CPU device: sequence_lens of ONNX's LSTM, GRU and RNN counts when all sizes of the input are fixed, and is passed over
# without a word when one is open, be it the number of texts or that of steps. The same weights, texts and lengths then give other outputs:
# all texts are taken to be as long as the longest, and the state after a shorter one has read its padding. onnxruntime 1.32.0 gives the
# same for both, and for RNN that is what a few lines of NumPy give here. openvino's pull request 10710 (2022) says that sequences of open
# sizes are no longer taken apart, since the device has them itself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 openvino-telemetry==2025.2.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, checker, helper, save

T, B, I, H = 4, 3, 5, 3
LENGTHS, FULL = np.array([1, 4, 2], np.int32), np.full(B, T, np.int32)
rng = np.random.default_rng(0)
x = rng.normal(size=(T, B, I)).astype(np.float32)
WEIGHTS = {gates: [rng.normal(size=(1, gates * H, n)).astype(np.float32) for n in (I, H)] for gates in (4, 3, 1)}


def last_state(lengths):
    """The state of the RNN after the last step of each text (B, H): h = tanh(W x + R h)."""
    W, R = (a[0].astype(float) for a in WEIGHTS[1])
    out = np.zeros((B, H))
    for text, length in enumerate(lengths):
        for t in range(length):
            out[text] = np.tanh(W @ x[t, text] + R @ out[text])
    return out


def both(operator, gates, sizes, lengths):
    """The last states (B, H) of openvino and of onnxruntime; `sizes` are those that the model says of its input."""
    info, (W, R) = helper.make_tensor_value_info, WEIGHTS[gates]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "W", "R", "", "lengths"], ["", "h"], hidden_size=H)],
        "one",
        [info("x", TensorProto.FLOAT, sizes), info("lengths", TensorProto.INT32, [sizes[1]])],
        [info("h", TensorProto.FLOAT, [1, sizes[1], H])],
        [helper.make_tensor(n, TensorProto.FLOAT, a.shape, a.ravel()) for n, a in (("W", W), ("R", R))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model, full_check=True)
    save(model, "one.onnx")
    feeds = {"x": x, "lengths": lengths}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model("one.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession("one.onnx", providers=["CPUExecutionProvider"])
    return compiled(feeds)[compiled.output("h")][0], session.run(None, feeds)[0][0]


for operator, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    full, _ = both(operator, gates, [T, B, I], FULL)
    for sizes in ([T, B, I], [T, None, I], [None, B, I], [None, None, I]):
        found, right = both(operator, gates, sizes, LENGTHS)
        far = float(abs(found - right).max())
        print(f"{operator}, sizes {sizes}, lengths {LENGTHS}: openvino is off by {far:.1e}")
        if operator == "RNN":
            assert abs(right - last_state(LENGTHS)).max() < 1e-5, "onnxruntime has changed"
        if None in sizes:
            assert far > 0.1 and abs(found - full).max() < 1e-5, "lengths count now"
        else:
            assert far < 1e-5, "this has changed"
P
