"""Every cell that a recurrent network can have, by a name for it."""

from typing import Any

from charloom.config import ModelConfig
from charloom.models.reference.gradcheck import CELLS as SETTINGS
from charloom.models.reference.gradcheck import HARD

CELLS = tuple(SETTINGS)  # rnn, lstm, gru, and the gru with another reset
HARD_GATES = tuple(HARD)  # some of them with the gates that Keras had


def recurrent(cell: str, **sizes: Any) -> ModelConfig:
    """Return the settings of a network with that cell."""
    return ModelConfig(**(SETTINGS | HARD)[cell], **sizes)
