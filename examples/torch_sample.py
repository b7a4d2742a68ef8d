"""Write text with a file from `charloom export RUN --torch`: it needs PyTorch, not charloom.

python examples/torch_sample.py FILE PROMPT [TEMPERATURE]
"""

import json
import sys

import torch
from safetensors import safe_open
from torch import nn

LENGTH = 300

path, prompt, *rest = sys.argv[1:]
temperature = float(rest[0]) if rest else 0.8
with safe_open(path, "pt") as file:
    facts = file.metadata()
    weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
characters = json.loads(facts["characters"])
V, D, H, L = len(characters), *(int(facts[n]) for n in ("embedding", "hidden", "layers"))
cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[facts["cell"]]
model = nn.ModuleDict({"rnn": cell(D or V, H, L), "head": nn.Linear(H, V)})
model["embedding"] = nn.Embedding(V, D) if D else nn.Embedding.from_pretrained(torch.eye(V))
model.double().load_state_dict({"embedding.weight": torch.eye(V)} | weights)


def read(ids, state=None):
    """Read ids (T,): log-probabilities (T, V) of the character after each, and the state."""
    outputs, state = model["rnn"](model["embedding"](torch.tensor(ids)), state)
    return model["head"](outputs).log_softmax(-1), state


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    print(prompt, end="")
    log_probs, state = read([characters.index(c) for c in prompt])
    for _ in range(LENGTH):
        if temperature == 0:
            drawn = int(log_probs[-1].argmax())
        else:
            drawn = int((log_probs[-1] / temperature).softmax(-1).multinomial(1))
        print(characters[drawn].replace("\0", "\n"), end="", flush=True)
        log_probs, state = read([drawn], state)
    print()
