"""The default engine: the reference's maths in numba, at the machine's speed.

Read products.py, then a cell beside its twin in ``reference/``, then network.py.
"""

from charloom.models.compiled.language_model import CompiledModel
from charloom.models.compiled.learner import CompiledLearner

__all__ = ["CompiledLearner", "CompiledModel"]
