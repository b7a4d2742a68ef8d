"""How weights move, given their gradients: models/optimizers.py over PyTorch's tensors.

Nothing here waits for a GPU: whether a step is made is itself a number on the device, and if
it is not, what is added to weights and slots is 0.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from charloom.config import TrainConfig
from charloom.models.optimizers import EPSILON, SLOTS
from charloom.models.torchnet.network import Layout

ALIGNED = 64  # elements: a parameter's gradient begins at a multiple of it in the flat vector


class Gradients:
    """The gradients of all parameters as one vector, and after them two sums of the step.

    Autograd adds to it in place, so it can be checked, clipped and sent as a whole.
    """

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        parameters = [layout.parameter for layout in layouts.values()]
        sizes = [-(-p.numel() // ALIGNED) * ALIGNED for p in parameters]
        self.flat = parameters[0].new_zeros(sum(sizes) + 2, requires_grad=False)
        *parts, self.sums = torch.split(self.flat, [*sizes, 2])
        self.vector = self.flat[:-2]
        pairs = zip(parts, parameters, strict=True)
        self.parts = [part[: p.numel()].view(p.shape) for part, p in pairs]
        for parameter, part in zip(parameters, self.parts, strict=True):
            parameter.grad = part


class Optimizer:
    """The rule that `config.optimizer` names, with its slots and the count of moves made.

    `slots` maps a slot's name, then a weight's name, to a tensor shaped like its parameter.
    """

    def __init__(self, config: TrainConfig, layouts: Mapping[str, Layout]) -> None:
        self.config = config
        named = {name: layout.parameter.detach() for name, layout in layouts.items()}
        self.weights = [*named.values()]
        self.norm: Tensor | None = None  # of the last gradient, if it was computed
        self.moves = torch.zeros((), dtype=torch.int64, device=self.weights[0].device)
        self.slots = {
            slot: {name: torch.zeros_like(w) for name, w in named.items()}
            for slot in SLOTS[config.optimizer]
        }

    @torch.no_grad()
    def step(self, gradients: Gradients, learning_rate: float, sound: Tensor) -> Tensor:
        """Clip the gradients (norm first, then values) and move the weights, both in place.

        Returns whether it moved, as a tensor (). It does not, and no weight, slot or count
        changes, if `sound` is False, or if an element of the gradients, or their norm if
        that is clipped, is NaN or infinite.
        """
        config, vector = self.config, gradients.vector
        if config.clip_norm is not None:
            wide = vector.double()
            norm = self.norm = torch.dot(wide, wide).sqrt()
            sound = sound & norm.isfinite()
            vector *= torch.where(norm > config.clip_norm, config.clip_norm / norm, 1.0)
        else:
            low, high = torch.aminmax(vector)
            sound = sound & low.isfinite() & high.isfinite()
        vector.masked_fill_(~sound, 0.0)
        if config.clip_value is not None:
            vector.clamp_(-config.clip_value, config.clip_value)
        self._move(gradients.parts, learning_rate, sound)
        self.moves += sound
        return sound

    def _move(self, dw: list[Tensor], rate: float, sound: Tensor) -> None:
        w, slots = self.weights, [[*named.values()] for named in self.slots.values()]
        match self.config.optimizer:
            case "sgd":
                for weight, d in zip(w, dw, strict=True):
                    weight.add_(d, alpha=-rate)
            case "adagrad":
                for weight, d, memory in zip(w, dw, *slots, strict=True):
                    memory.addcmul_(d, d)
                    weight.addcdiv_(d, (memory + EPSILON).sqrt_(), value=-rate)
            case "rmsprop":
                decay = self.moves.new_full((), self.config.decay, dtype=w[0].dtype)
                decay.masked_fill_(~sound, 1.0)
                for weight, d, square in zip(w, dw, *slots, strict=True):
                    square.mul_(decay).addcmul_(d, d, value=1 - self.config.decay)
                    weight.addcdiv_(d, square.sqrt().add_(EPSILON), value=-rate)
            case "adam" | "adamw":
                self._adam([w, dw, *slots], rate, sound)

    def _adam(self, arrays: list[list[Tensor]], rate: float, sound: Tensor) -> None:
        """Adam by PyTorch's own kernel, over w, dw, m and v; decay is for matrices."""
        config = self.config
        decay = config.weight_decay if config.optimizer == "adamw" else 0.0
        for matrices in (True, False):
            chosen = [k for k, weight in enumerate(self.weights) if (weight.ndim > 1) == matrices]
            w, dw, m, v = ([tensors[k] for k in chosen] for tensors in arrays)
            adamw(
                w,
                dw,
                m,
                v,
                [],
                [*self.moves.float().repeat(len(chosen)).unbind()],
                fused=True,
                found_inf=(~sound).float(),
                lr=rate,
                beta1=config.beta1,
                beta2=config.beta2,
                weight_decay=decay if matrices else 0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
