"""The contents of an ONNX file: the network as a graph without state, and its documentation."""

from typing import TypeGuard

import msgspec
import onnx
from onnx import TensorProto, ValueInfoProto, helper

from charloom import __version__
from charloom.config import ModelConfig, RunConfig, TransformerConfig, replace
from charloom.data.tokenizer import Tokenizer
from charloom.formats.onnx import recurrent, transformer
from charloom.formats.onnx.graph import AFTER, Graph
from charloom.models.weights import Weights, state_shapes

Network = ModelConfig | TransformerConfig
Shape = tuple[str | int, ...]  # a letter is any length

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # of the same release

_ABOUT = f"""\
Predicts the next character. B texts are read side by side, T characters of each at a time.

Inputs: ids (B, T), places in the vocabulary, and the states before them; before any character,
{{start}}.
Outputs: log_probs (B, T, V), entry t the log-probabilities, in nats, of what comes after
ids[:, : t + 1]; and the states after, whose names end in {AFTER}: inputs of the next call.

metadata_props: vocabulary, a JSON list of the V characters (if U+0000 is one of them, it ends a
document and is not part of the text); config, the settings of the training run as JSON; charloom,
the version that wrote this{{more}}.
"""
_ABOUT_ATTENTION = {
    "start": "they have the length P = 0",
    "more": (
        "; context, which P + T must not exceed. When P\nis that, begin again: "
        "read the last context // 2 characters from P = 0"
    ),
}


def contents(config: RunConfig, weights: Weights, vocabulary: Tokenizer) -> bytes:
    """Return the file of a run with a recurrent network or a transformer, in float32.

    The settings of the run are in it, without the names of files.
    """
    network, graph = config.model, Graph()
    assert isinstance(network, Network)
    if isinstance(network, ModelConfig):
        logits = recurrent.add_network(graph, network, weights)
    else:
        logits = transformer.add_network(graph, network, weights)
    graph.add("LogSoftmax", logits, name="log_probs", axis=-1)
    model = helper.make_model(
        _body(graph, _states(network), len(vocabulary)),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="charloom",
        producer_version=__version__,
    )
    told = replace(config, data=replace(config.data, sources=()), start=None)
    properties = {
        "vocabulary": vocabulary.to_json(),
        "config": msgspec.json.encode(told).decode(),
        "charloom": __version__,
    }
    model.doc_string = _ABOUT.format(start="zeros", more="")
    if _attends(network):
        properties["context"] = str(network.context)
        model.doc_string = _ABOUT.format(**_ABOUT_ATTENTION)
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _body(graph: Graph, states: dict[str, Shape], V: int) -> onnx.GraphProto:
    before = [_value("ids", ("B", "T"), TensorProto.INT64)]
    before += [_value(*state) for state in states.items()]
    after = [_value("log_probs", ("B", "T", V))]
    for name, shape in states.items():
        after.append(_value(name + AFTER, tuple("P + T" if n == "P" else n for n in shape)))
    return helper.make_graph(graph.nodes, "network", before, after, graph.constants)


def _value(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _states(network: Network) -> dict[str, Shape]:
    """Return the name and shape of each state; attention's are keys and values of P characters."""
    if _attends(network):
        cache = ("B", network.heads, "P", network.width // network.heads)
        layers = range(network.layers)
        return {f"layer{n}.{part}": cache for n in layers for part in ("keys", "values")}
    return {name: ("B", *shape[1:]) for name, shape in state_shapes(network, 1).items()}


def _attends(network: Network) -> TypeGuard[TransformerConfig]:
    return isinstance(network, TransformerConfig) and network.mixer == "attention"
