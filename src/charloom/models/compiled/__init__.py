"""Ids in, losses and updated weights out: the reference's maths in numba, at the machine's speed.

Read units.py and program.py, then products.py, then a cell beside its twin in ``reference/``, then
network.py. On the way from ``charloom train`` to a gradient, `update` in learner.py runs a program
that network.py has written: in it the cell's `backward` (lstm.py) gives dZ, and `gradient_product`
dWh = h_before^T dZ.
"""

from charloom.models.compiled.attentive import WindowLayers
from charloom.models.compiled.ensemble import CompiledEnsemble
from charloom.models.compiled.language_model import CompiledModel
from charloom.models.compiled.learner import CompiledLearner

__all__ = ["CompiledEnsemble", "CompiledLearner", "CompiledModel", "WindowLayers"]
