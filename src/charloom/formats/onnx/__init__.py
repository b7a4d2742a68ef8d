"""A run for other programs: an ONNX file, checked against the run that it is made of."""

from pathlib import Path
from typing import NamedTuple

from charloom.config import (
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    TransformerConfig,
)
from charloom.errors import CharloomError
from charloom.files import replace_file
from charloom.formats.onnx.comparison import TOLERANCE, Comparison, compare
from charloom.models.engines import create_model
from charloom.models.weights import parameter_count
from charloom.runs.run import Run

Network = ModelConfig | TransformerConfig

LARGEST = 2**31 - 2**24  # bytes of numbers: an ONNX file holds 2 GiB


class DifferenceError(CharloomError):
    """An ONNX file does not do what its run does."""

    status = 1


class Exported(NamedTuple):
    """A file of `size` bytes with a network of so many numbers in float32."""

    path: Path
    size: int
    parameters: int
    comparison: Comparison


def export_onnx(run: Run, path: Path, replace: bool = False) -> Exported:
    """Write the best network of a run as an ONNX file, which says itself what goes in and out.

    Raises CharloomError where that cannot be; DifferenceError, and nothing is written, where
    onnxruntime does something else with the file than charloom does with the run.
    """
    network = _network(run)
    if path.is_dir() or (path.exists() and not replace):
        raise CharloomError(
            f"{path} is there already: give another --out, or --force to replace it"
        )
    _find_packages()
    from charloom.formats.onnx.contents import contents
    from charloom.formats.onnx.session import OnnxModel

    weights = run.load_weights()
    content = contents(run.config, weights, run.vocabulary)
    own = create_model(network, weights, run.vocabulary, dtype=run.config.dtype)
    found = compare(OnnxModel(content), own)
    if not found.passed:
        raise DifferenceError(
            f"{path} was not written: onnxruntime writes {found.same} of {found.characters} "
            f"characters as charloom does, and log-probabilities differ by {found.difference:.1e} "
            f"nats, of which {TOLERANCE:g} is allowed: please report it"
        )
    try:
        replace_file(path, content)
    except OSError as error:
        raise CharloomError(f"cannot write {path} ({error.strerror}): give another --out") from None
    return Exported(path, len(content), parameter_count(network, len(run.vocabulary)), found)


def _network(run: Run) -> Network:
    """Return what the file will hold; raises CharloomError where it cannot."""
    network = run.config.model
    if isinstance(network, NgramConfig):
        raise CharloomError(
            f"{run.path} holds counts of n-grams, and ONNX has operators for networks only: "
            "train one of those"
        )
    if isinstance(network, PretrainedConfig):
        raise CharloomError(
            f"{run.path} is a pretrained model: the optimum project writes those as ONNX, from a "
            "folder in Hugging Face's format"
        )
    size = 4 * parameter_count(network, len(run.vocabulary))
    if size > LARGEST:
        raise CharloomError(
            f"{run.path} has {size:,} bytes of numbers in float32, and an ONNX file holds 2 GiB: "
            "export a smaller network"
        )
    return network


def _find_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        raise CharloomError(
            "this needs onnx and onnxruntime, which are not installed: pip install 'charloom[onnx]'"
        ) from None
