"""Where the arithmetic happens, and how exactly."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.config import TrainConfig
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.torchnet.network import Network

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """Return the GPU that PyTorch finds, of several the one for this process, or else the CPU.

    Raises CharloomError where torchrun has started more processes than there are GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # full precision is full: bf16 is there to be asked for
    if here := place():
        if here.local >= (count := torch.cuda.device_count()):
            raise CharloomError(f"here are {count} GPUs, but more processes: start one for each")
        torch.cuda.set_device(here.local)
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
    if train.precision == "full":
        return nullcontext()
    return torch.autocast(device.type, HALF[train.precision])


def check_precision(train: TrainConfig, dtype: str, device: torch.device) -> None:
    """Raise CharloomError where half precision is asked for of what does not have it."""
    if train.precision == "full":
        return
    what = f"--precision {train.precision}"
    if dtype == "float64":
        raise CharloomError(f"{what} goes with float32, not with float64: leave one of them out")
    if train.precision == "fp16" and device.type == "cpu":
        raise CharloomError(f"{what} needs a GPU, and PyTorch finds none: leave it out")
    if device.type == "cpu" and not _multiplies_bf16():
        raise CharloomError(
            f"{what} gains nothing on this processor, which has no bf16: leave it out"
        )


def _multiplies_bf16() -> bool:
    """Say whether the CPU has bf16: without it products are far slower, and an LSTM fails."""
    mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not mkldnn or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def compiled(network: Network) -> tuple[Callable[..., Any], type[Exception]]:
    """Return the network through torch.compile, and what is raised where that fails.

    It compiles when it is first called. Raises CharloomError where there is nothing to compile.
    """
    if not network.compiles:
        raise CharloomError(
            f"--compile gains nothing for a {type(network).__name__}, whose layers are kernels of "
            "PyTorch's own: leave it out"
        )
    from torch._dynamo.exc import TorchDynamoException

    return torch.compile(network), TorchDynamoException
