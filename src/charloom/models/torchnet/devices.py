"""Where the arithmetic happens, and how exactly."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charloom.config import TrainConfig
from charloom.data.tokenizer import Ids
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.learner_arrays import check_ids
from charloom.models.torchnet.network import Network

P = ParamSpec("P")
R = TypeVar("R")

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """Return the GPU that PyTorch finds, of several the one for this process, or else the CPU.

    Raises CharloomError if torchrun has started more processes than there are GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # full precision is full: bf16 is there to be asked for
    if here := place():
        if here.local >= (count := torch.cuda.device_count()):
            raise CharloomError(
                f"more processes than the {count} GPUs of this machine: start one for each GPU",
                "unsupported",
                found=count,
            )
        torch.cuda.set_device(here.local)
    return torch.device("cuda", torch.cuda.current_device())


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device; a GPU is not waited for."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def send_ids(ids: Ids, vocabulary_size: int, device: torch.device) -> Tensor:
    """Copy ids to the device as int64. Raises CharloomError if one is not in [0, V)."""
    check_ids(ids, vocabulary_size)
    return send(ids.astype(np.int64, copy=False), device)


def versions() -> dict[str, str]:
    """Return, by name, what the last bits of PyTorch's arithmetic depend on here."""
    gpu, here = torch.cuda.is_available(), place()
    return {
        "torch": str(torch.__version__),  # which is of a type of its own
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "processes": str(here.ranks if here else 1),
    }


def on_own_threads(method: Callable[P, R]) -> Callable[P, R]:
    """Let a method compute on as many threads as its object's `threads`, if that is not None.

    On a CPU a sum is cut into as many parts, so its last bits depend on it. After the call PyTorch
    has as many threads as before.
    """

    @wraps(method)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        owner: Any = args[0]
        before = torch.get_num_threads()
        if owner.threads in (None, before):
            return method(*args, **kwargs)
        torch.set_num_threads(owner.threads)
        try:
            return method(*args, **kwargs)
        finally:
            torch.set_num_threads(before)

    return computed


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let PyTorch's own generators begin at `seed`, and put them back as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def numpy_name(tensor: Tensor) -> str:
    """Return NumPy's name of the tensor's dtype."""
    return str(tensor.dtype).removeprefix("torch.")


def autocast(device: torch.device, train: TrainConfig) -> AbstractContextManager[None]:
    """Compute products as `train.precision` says; weights and sums stay as they are."""
    if train.precision == "full":
        return nullcontext()
    return torch.autocast(device.type, HALF[train.precision])


def check_precision(train: TrainConfig, dtype: str, device: torch.device) -> None:
    """Raise CharloomError if half precision is asked for of what does not have it."""
    if train.precision == "full":
        return
    what = f"--precision {train.precision}"
    if dtype == "float64":
        raise CharloomError(
            f"{what} works with float32, not with float64: leave one of them out", field="precision"
        )
    if device.type != "cpu":
        return
    if train.precision == "fp16":
        problem = "needs a GPU, and PyTorch finds none"
    elif not _multiplies_bf16():
        problem = "gains nothing on this processor, which has no bf16"
    else:
        return
    raise CharloomError(f"{what} {problem}: leave it out", "unsupported", field="precision")


def _multiplies_bf16() -> bool:
    """Whether the CPU multiplies bf16: without that an update is far slower, and an LSTM fails.

    oneDNN, which multiplies on x86, needs AVX-512 for it; elsewhere PyTorch's own code does.
    """
    mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not mkldnn or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def compiled(network: Network) -> Callable[..., Any]:
    """Return the network through torch.compile, which compiles when it is first called.

    Raises CharloomError if there is nothing to compile.
    """
    if not network.compiles:
        raise CharloomError(
            "--compile gains nothing for this network, whose layers are kernels of PyTorch's own: "
            "leave it out",
            "unsupported",
            field="compile",
        )
    compiled: Callable[..., Any] = torch.compile(network)
    return compiled
