"""Where the arithmetic happens, and how exactly."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.config import TrainConfig
from charloom.errors import CharloomError

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """Return the GPU that PyTorch finds, or else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # full precision is full: bf16 is there to be asked for
    return torch.device("cuda", torch.cuda.current_device())


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device; a GPU is not waited for."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def numpy_name(tensor: Tensor) -> str:
    """Return NumPy's name of the tensor's dtype."""
    return str(tensor.dtype).removeprefix("torch.")


def autocast(device: torch.device, train: TrainConfig) -> AbstractContextManager[None]:
    """Compute products as `train.precision` says; weights and sums stay as they are."""
    return torch.autocast(device.type, HALF.get(train.precision), enabled=train.precision != "full")


def check_precision(train: TrainConfig, dtype: str) -> None:
    """Raise CharloomError where a precision is asked for that float64 has no use for."""
    if dtype == "float64" and train.precision != "full":
        raise CharloomError(
            f"--precision {train.precision} is for float32: leave it out, or the float64"
        )
