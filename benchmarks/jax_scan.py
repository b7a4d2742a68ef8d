"""JAX's side: charloom's own weights, compiled as one scan over the characters of one lane.

Only parts that found JAX import this file. The scan is compiled for each length once, unmeasured.
"""

import os
from functools import partial

# Read when JAX is imported: as many threads as charloom's side has.
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    + os.environ.get("XLA_FLAGS", "")
)

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from charloom.config import ModelConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.weights import initial_weights

Weights = dict[str, jax.Array]


def weights_of(config: ModelConfig, vocabulary: Vocabulary) -> Weights:
    """Return the weights of `fresh_model`, with the embedding's way into the layer in one table."""
    drawn = initial_weights(config, len(vocabulary), 0)
    w = {name: jnp.asarray(array, jnp.float32) for name, array in drawn.items()}
    w["inputs"] = w["embedding"] @ w["layer0.Wx"] + w["layer0.b"]
    return w


def step(cell: str, w: Weights, h: jax.Array, c: jax.Array, v: jax.Array) -> tuple[jax.Array, ...]:
    """Read an id: h, c and logits (V,) after it, of one layer of an LSTM or a GRU."""
    x, r = w["inputs"][v], h @ w["layer0.Wh"]
    if cell == "lstm":
        i, f, o, g = jnp.split(x + r, 4)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
    else:
        (x_r, x_z, x_n), (r_r, r_z, r_n) = jnp.split(x, 3), jnp.split(r, 3)
        n = jnp.tanh(x_n + sigmoid(x_r + r_r) * r_n)
        h = n + sigmoid(x_z + r_z) * (h - n)
    return h, c, h @ w["head.W"] + w["head.b"]


@partial(jax.jit, static_argnames=("cell", "length"))
def scan(cell: str, w: Weights, key: jax.Array, length: int) -> jax.Array:
    """Draw so many ids (length,), each from what the one before leads to."""

    def draw(
        carry: tuple[jax.Array, ...], key: jax.Array
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        h, c, logits = step(cell, w, *carry)
        v = jax.random.categorical(key, logits)
        return (h, c, v), v

    zeros = jnp.zeros(w["layer0.Wh"].shape[0])
    return lax.scan(draw, (zeros, zeros, jnp.int32(0)), jax.random.split(key, length))[1]


def write(config: ModelConfig, w: Weights, vocabulary: Vocabulary, length: int) -> str:
    """Return so many characters as text, like charloom's `generate`."""
    ids = scan(config.cell, w, jax.random.key(0), length)
    return vocabulary.decode(jax.device_get(ids))
