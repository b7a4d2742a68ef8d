"""PyTorch's side: what one writes with nn.LSTM and nn.GRU, in the form that is fastest there.

Time comes first and AdamW is the fused one. Only parts that found PyTorch import this file.
"""

import os

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from charloom.config import ModelConfig, TrainConfig
from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from charloom.models.weights import Array

State = Tensor | tuple[Tensor, Tensor] | None
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Network(nn.Module):
    """Embedding, recurrent layers, head; dropout, where there is any, before the head."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.embedding)
        kind = KINDS[config.cell]
        self.recurrent = kind(config.embedding, config.hidden, config.layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config.hidden, vocabulary_size)

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Ids (T, B) -> logits (T, B, V), and the state after."""
        outputs, state = self.recurrent(self.embedding(ids), state)
        return self.head(self.dropout(outputs)), state


class Trainer:
    """The part of the Learner protocol that a training loop needs."""

    def __init__(self, config: ModelConfig, train: TrainConfig, vocabulary_size: int) -> None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # as charloom's learner does
        torch.manual_seed(train.seed)
        assert train.optimizer == "adamw"
        assert train.clip_norm is not None
        self.network = Network(config, vocabulary_size, train.dropout)
        self._clip_norm, self._halves = train.clip_norm, train.precision == "bf16"
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            betas=(train.beta1, train.beta2),
            weight_decay=train.weight_decay,
            fused=True,
        )
        self.reset()

    def reset(self) -> None:
        """Forget the carried state."""
        self._state: State = None

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on (B, T); the state is carried on, the gradient is not."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._halves):
            logits, state = self.network(_time_first(inputs), self._state)
            self._state = state.detach() if isinstance(state, Tensor) else _detached(state)
            loss = cross_entropy(logits.flatten(0, 1), _time_first(targets).flatten())
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self._clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        return loss.item()


class Predictor:
    """The LanguageModel protocol, so that charloom.evaluation scores both sides alike."""

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._network = network

    def start(self, lanes: int) -> State:
        """Return None, which PyTorch reads as zeros."""
        return None

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,)."""
        log_probs, state = self.log_probs(ids[:, None], state)
        return log_probs[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Ids (B, T) -> (B, T, V), on one thread: with few lanes more are slower."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._network.eval()
        with torch.inference_mode():
            logits, state = self._network(_time_first(ids), state)
            log_probs = log_softmax(logits, -1).transpose(0, 1).numpy()
        self._network.train()
        torch.set_num_threads(threads)
        return log_probs, state


def write(network: Network, vocabulary: Vocabulary, length: int, threads: int) -> str:
    """Draw character by character, as any PyTorch sampler does."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network.eval()
    drawn: list[Tensor] = []
    state: State = None
    with torch.inference_mode():
        ids = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(length):
            logits, state = network(ids, state)
            ids = torch.multinomial(softmax(logits[0], -1), 1)
            drawn.append(ids)
    return vocabulary.decode(torch.cat(drawn)[:, 0].numpy())


def _time_first(ids: Ids) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(ids.T, np.int64))


def _detached(state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    h, c = state
    return h.detach(), c.detach()
