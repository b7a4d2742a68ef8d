"""The factor that keeps gradients within the range of fp16 (Micikevicius et al. 2018)."""

import torch
from torch import Tensor

FIRST = 2.0**16  # this and the other two are those of torch.amp.GradScaler
GROW_AFTER = 2000  # steps without an overflow
FACTOR = 2.0


class LossScale:
    """Multiplies a loss, so that its gradient is not lost below fp16's 6e-8.

    If that makes the gradient overflow, the step is skipped and the scale is halved; at a
    scale of 1 the gradient itself is too large. `values` (3,) is what must be saved: the scale,
    the steps since it last changed, and how many were skipped.
    """

    def __init__(self, device: torch.device) -> None:
        self.values = torch.tensor([FIRST, 0.0, 0.0], device=device)

    @property
    def scale(self) -> Tensor:
        """The factor now, as a tensor ()."""
        return self.values[0]

    def update(self, sound: Tensor, moved: Tensor) -> Tensor:
        """Note whether a step's loss was finite, and whether the weights moved.

        Returns whether it was skipped because of the scale, as a tensor ().
        """
        scale, steps, skips = self.values.unbind()
        skipped = sound & ~moved & (scale > 1)
        grows = moved & (steps + 1 >= GROW_AFTER)
        changed = torch.where(skipped, scale / FACTOR, torch.where(grows, scale * FACTOR, scale))
        steps = torch.where(skipped | grows, 0.0, steps + moved)
        self.values = torch.stack([changed, steps, skips + skipped])
        return skipped
