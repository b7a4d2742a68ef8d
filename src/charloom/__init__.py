"""charloom: small language models on your own text, character by character.

>>> run = charloom.train("novel.txt", minutes=3)
>>> charloom.load(run).sample("It was", length=300)

See charloom.api; `dir(charloom)` lists the settings and the lower-level functions, too.
"""

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CharloomError": "errors",
    "DataConfig": "config",
    "EnsembleConfig": "config",
    "Model": "api",
    "ModelConfig": "config",
    "NgramConfig": "config",
    "Run": "runs.run",
    "RunConfig": "config",
    "SampleConfig": "config",
    "Score": "evaluation",
    "TrainConfig": "config",
    "TransformerConfig": "config",
    "Vocabulary": "data.vocabulary",
    "WatchConfig": "config",
    "create_learner": "models.engines",
    "load": "api",
    "open_model": "runs.open",
    "resume": "api",
    "train": "api",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import charloom` stays instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'charloom' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"charloom.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
