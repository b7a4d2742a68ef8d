"""Write text with a file from `charloom export RUN --onnx`: it needs onnxruntime, not charloom.

python examples/onnx_sample.py FILE PROMPT [TEMPERATURE]
"""

import json
import sys

import numpy as np
import onnxruntime

LENGTH = 300

path, prompt, *rest = sys.argv[1:]
temperature = float(rest[0]) if rest else 0.8
session = onnxruntime.InferenceSession(path)
facts = session.get_modelmeta().custom_metadata_map
characters = json.loads(facts["vocabulary"])
shown = [c.replace("\0", "\n") for c in characters]  # U+0000 ends a document, and nobody sees it
context = int(facts.get("context", 0))  # of a transformer with attention only
rng = np.random.default_rng()

lengths = {"B": 1, "P": 0}  # one text, and nothing of it read so far
states = session.get_inputs()[1:]
start = {s.name: np.zeros([lengths.get(n, n) for n in s.shape], np.float32) for s in states}


def read(ids, state):
    """Read ids (T,): log-probabilities (V,) of the next character, and the state after."""
    log_probs, *after = session.run(None, {"ids": np.array([ids])} | state)
    return log_probs[0, -1], dict(zip(state, after, strict=True))


ids = [characters.index(c) for c in prompt]
state, first = start, 0  # the state is what ids[first:n] have left
print(prompt, end="")
for n in range(len(ids) - 1 + LENGTH):
    if context and n - first == context:
        first = n - context // 2
        _, state = read(ids[first:n], start)
    log_probs, state = read(ids[n : n + 1], state)
    if n < len(ids) - 1:
        continue
    if temperature == 0:
        drawn = int(log_probs.argmax())
    else:
        weights = np.exp((log_probs - log_probs.max()) / temperature)
        drawn = int(rng.choice(len(weights), p=weights / weights.sum()))
    ids.append(drawn)
    print(shown[drawn], end="", flush=True)
print()
