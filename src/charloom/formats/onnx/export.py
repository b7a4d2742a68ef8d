"""The export: what can be written, how it is checked, and the file itself."""

from pathlib import Path
from typing import NamedTuple

from charloom.config import AttentiveConfig, NgramConfig, PretrainedConfig
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError, needs_extra
from charloom.files import check_output, write_output
from charloom.formats.onnx.comparison import TOLERANCE, Comparison, compare
from charloom.models.engines import create_model
from charloom.models.weights import parameter_count
from charloom.runs.run import Run

LARGEST = 2**31 - 2**24  # bytes of parameters: an ONNX file is at most 2 GiB


class DifferenceError(CharloomError):
    """An ONNX file does not do what its run does."""

    status = 1


class Exported(NamedTuple):
    """A file of `size` bytes, how many parameters it has, and how it compares with the run."""

    path: Path
    size: int
    parameters: int
    comparison: Comparison


def export_onnx(run: Run, path: Path, free: bool = False) -> Exported:
    """Write the best checkpoint of a run as an ONNX file that documents its inputs and outputs.

    It is written as `write_output` says.

    Raises CharloomError if that is not possible; DifferenceError, writing nothing, if
    onnxruntime predicts or generates something else with the file than charloom with the run.
    """
    parameters = _exportable(run)
    if not free:
        check_output(path)
    with needs_extra("onnx", "an ONNX file"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    from charloom.formats.onnx.contents import contents
    from charloom.formats.onnx.session import OnnxModel

    config, vocabulary = run.config, run.vocabulary
    assert isinstance(vocabulary, Vocabulary)
    weights = run.load_weights()
    content = contents(config, weights, vocabulary)
    own = create_model(config.model, weights, vocabulary, dtype=config.dtype)
    found = compare(OnnxModel(content), own)
    if not found.passed:
        raise DifferenceError(
            f"{path} was not written: onnxruntime generates only {found.same} of "
            f"{found.characters} characters as charloom does, or log-probabilities differ by "
            f"{found.difference:.1e} nats (at most {TOLERANCE:g} is allowed): please report it",
            "bad-model",
            same=found.same,
            characters=found.characters,
            difference=found.difference,
        )
    path = write_output(path, content, free)
    return Exported(path, len(content), parameters, found)


def _exportable(run: Run) -> int:
    """Return how many parameters the file will have; raises CharloomError if there can be none."""
    model = run.config.model
    if isinstance(model, NgramConfig):
        message = (
            f"{run.path} is an n-gram model, and ONNX has operators for networks only: "
            "train a network"
        )
        raise CharloomError(message, "unsupported", kind="ngram")
    if isinstance(model, AttentiveConfig):
        message = f"{run.path} is a model of textgenrnn, which is not written as ONNX"
        raise CharloomError(message, "unsupported", kind="textgenrnn")
    if isinstance(model, PretrainedConfig):
        message = (
            f"{run.path} is a pretrained model: Hugging Face's optimum exports those, from a "
            "folder in Hugging Face's format"
        )
        raise CharloomError(message, "unsupported", kind="pretrained")
    if (unit := run.vocabulary.unit) != "characters":
        message = (
            f"{run.path} has a model of {unit}, and what reads the file knows characters: train "
            "one with unit character"
        )
        raise CharloomError(message, "unsupported", unit=unit)
    parameters = parameter_count(model, len(run.vocabulary))
    if 4 * parameters > LARGEST:
        message = (
            f"{run.path} has {4 * parameters:,} bytes of parameters in float32, and an ONNX file "
            "is at most 2 GiB: export a smaller network"
        )
        raise CharloomError(message, "unsupported", parameters=parameters)
    return parameters
