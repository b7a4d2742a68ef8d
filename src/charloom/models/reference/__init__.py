"""Ids in, losses and gradients out: the maths of recurrent networks in plain NumPy, to be read.

Read the files in this order:

1. ``operations.py``      sigmoid, softmax, the loss, and why a one-hot input is a row look-up
2. ``rnn.py``             the vanilla network: the whole idea of backpropagation through time
3. ``lstm.py``            the same with a memory cell behind gates
4. ``gru.py``             the same with two gates and no separate memory
   ``gru_of_state.py``    its reset gate as in the paper and in char-rnn
5. ``network.py``         embedding, layers, dropout and head: from ids to every gradient
6. ``../optimizers.py``   what is done with the gradients
7. ``learner.py``         one update of training, from beginning to end
8. ``gradcheck.py``       how one knows that the gradients are right
9. ``language_model.py``  the trained network as a predictor of the next character
10. ``transformer.py``    a network without a loop over time, as a predictor only
11. ``attentive.py``      LSTMs over a window, for ``../attentive.py``, as a predictor only

From ``charloom train`` to a gradient: ``cli/train.py`` calls ``training/loop.py``, which makes a
learner with ``models/engines.py`` and calls its `update`, here in ``learner.py``; that calls
`backward` in ``network.py``, which calls that of ``rnn.py``, ``lstm.py`` or ``gru.py``.

A cell of your own is added with `add_cell`: examples/custom_cell.py.

Letters are shapes everywhere: B sequences of a batch, T time (characters in one
step), V characters in the vocabulary, D width of an input, H hidden units, L layers. Time is
the first axis here, (T, B, ...), so that ``x[t]`` is what all sequences read at time t. The
gradient of the loss with respect to ``X`` is called ``dX``.
"""

from charloom.models.reference.attentive import WindowLayers
from charloom.models.reference.language_model import ReferenceModel
from charloom.models.reference.learner import ReferenceLearner
from charloom.models.reference.network import add_cell
from charloom.models.reference.transformer import ReferenceTransformer

__all__ = [
    "ReferenceLearner",
    "ReferenceModel",
    "ReferenceTransformer",
    "WindowLayers",
    "add_cell",
]
