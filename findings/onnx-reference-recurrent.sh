#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator computes LSTM and GRU as if `activations`, `clip`, `input_forget` and the input sequence_lens
# were not there, without a word, and RNN as if `clip` and sequence_lens were not; onnxruntime 1.32.0 computes what the operators' text says, as a few
# lines of NumPy here do for LSTM. So a right exporter of such cells (Keras 1 and 2 have hard sigmoids; texts side by side have lengths)
# fails against the reference. RNN with "Relu", which the standard names, it refuses.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

T, B, I, H = 3, 2, 4, 3
sigmoid = lambda x: 1 / (1 + np.exp(-x))
hard = lambda x: np.clip(0.2 * x + 0.5, 0, 1)
same = lambda x: x


def lstm(x, W, R, b, gate=sigmoid, limit=same, coupled=False, lengths=(T,) * B):
    """Y (T, 1, B, H) by the equations of the operator; its gates are i o f c."""
    h = c = np.zeros((B, H))
    Y = np.zeros((T, 1, B, H))
    for t in range(T):
        z = [limit(p) for p in np.split(x[t] @ W[0].T + h @ R[0].T + b[0, : 4 * H] + b[0, 4 * H :], 4, axis=1)]
        i, o = gate(z[0]), gate(z[1])
        f = 1 - i if coupled else gate(z[2])
        new = f * c + i * np.tanh(z[3])
        runs = (t < np.array(lengths))[:, None]
        h, c = np.where(runs, o * np.tanh(limit(new)), h), np.where(runs, new, c)
        Y[t, 0] = np.where(runs, h, 0)
    return Y


def both(operator, attributes, lengths=None):
    G, rng = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    arrays = {"W": draw(1, G * H, I), "R": draw(1, G * H, H), "b": draw(1, 2 * G * H)}
    x = draw(T, B, I)
    tensors = [helper.make_tensor(n, TensorProto.FLOAT, a.shape, a.ravel()) for n, a in arrays.items()]
    names = ["x", *arrays]
    if lengths:
        tensors.append(helper.make_tensor("lengths", TensorProto.INT32, (B,), lengths))
        names.append("lengths")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["Y"], hidden_size=H, **attributes)],
        "one",
        [info("x", TensorProto.FLOAT, (T, B, I))],
        [info("Y", TensorProto.FLOAT, (T, 1, B, H))],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model, full_check=True)
    (reference,) = ReferenceEvaluator(model).run(None, {"x": x})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (runtime,) = session.run(None, {"x": x})
    return x, arrays, reference, runtime


CASES = {
    "nothing": ({}, {}, None),
    "activations": ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, {"gate": hard}, None),
    "input_forget": ({"input_forget": 1}, {"coupled": True}, None),
    "sequence_lens": ({}, {"lengths": (1, 3)}, (1, 3)),
}
for name, (attributes, meant, lengths) in CASES.items():
    x, arrays, reference, runtime = both("LSTM", attributes, lengths)
    expected = lstm(x, **{n: a.astype(float) for n, a in arrays.items()}, **meant)
    ignored = lstm(x, **{n: a.astype(float) for n, a in arrays.items()})
    far = [float(abs(one - expected).max()) for one in (reference, runtime)]
    print(f"LSTM with {name}: from the equations, onnx differs by {far[0]:.1e}, onnxruntime by {far[1]:.1e}")
    assert far[1] < 1e-5, "onnxruntime has changed"
    assert (far[0] < 1e-5) == (name == "nothing"), "onnx has changed"
    assert abs(reference - ignored).max() < 1e-5, "onnx does not simply ignore it any more"
for operator, name, attributes, lengths in (
    ("LSTM", "clip", {"clip": 0.2}, None),
    ("GRU", "clip", {"clip": 0.2}, None),
    ("GRU", "activations", {"activations": ["HardSigmoid", "Tanh"]}, None),
    ("GRU", "sequence_lens", {}, (1, 3)),
    ("RNN", "clip", {"clip": 0.2}, None),
    ("RNN", "sequence_lens", {}, (1, 3)),
):
    *_, plain, _ = both(operator, {})
    *_, reference, runtime = both(operator, attributes, lengths)
    far = float(abs(reference - runtime).max())
    print(f"{operator} with {name}: the two differ by {far:.1e}")
    assert far > 0.01 and (reference == plain).all(), "this has changed"
try:
    both("RNN", {"activations": ["Relu"]})
except RuntimeError as error:
    print("RNN with Relu:", error)
else:
    raise AssertionError("this has changed")
P
