"""charloom: small language models on your own text, character by character."""

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CharloomError": "errors",
    "DataConfig": "config",
    "ModelConfig": "config",
    "NgramConfig": "config",
    "RunConfig": "config",
    "SampleConfig": "config",
    "TrainConfig": "config",
    "TransformerConfig": "config",
    "WatchConfig": "config",
    "Vocabulary": "data.vocabulary",
    "create_learner": "models.engines",
    "open_model": "runs.open",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import charloom` stays instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'charloom' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"charloom.{_PUBLIC[name]}"), name)
