"""Every cell that a recurrent network can have, by a name for it."""

from typing import Any

from charloom.config import ModelConfig
from charloom.models.reference.gradcheck import CELLS as SETTINGS

CELLS = tuple(SETTINGS)  # rnn, lstm, gru, and the gru with another reset


def recurrent(cell: str, **sizes: Any) -> ModelConfig:
    """Return the settings of a network with that cell."""
    return ModelConfig(**SETTINGS[cell], **sizes)
