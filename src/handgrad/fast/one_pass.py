"""Logistic and softmax regression: loss and gradient from one read of the features.

The gradient needs x twice, for z = x W + b and for xᵀ r, and x is larger than any cache. Cut into
blocks of rows that stay in cache, each is read from memory once: its logits, residuals and its
share of the gradient are taken while it is near, and the shares are summed.

    E = (1/N) Σ_blocks Σ_n ℓ(z_n, y_n) + ½ λ ‖W‖²,   ∇E = (1/N) Σ_blocks (x_n, 1)ᵀ r_n + (λ W, 0)

The blocks are kept features first, (D, R): on a CPU both products then run along contiguous
memory. `pack` pays for that once. A plain (N, D) array is one block: correct, and read twice.

Equals: `logistic.value_and_gradient`, and `softmax_regression.value_and_gradient`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from handgrad._checks import (
    require_axis,
    require_binary_labels,
    require_class_labels,
    require_examples,
    require_floating,
    require_rank,
    require_same_shape,
    shape_of,
)
from handgrad._errors import InputError
from handgrad._types import ArrayLike, Features, Scalar
from handgrad.fast.residuals import binary, categorical
from handgrad.gradients.linear import Params, matmul, penalty, penalty_gradient

BLOCK_BYTES = 8 * 2**20
"""Fits the last cache of most machines, and the work on a block outweighs starting it."""
MOST_BLOCKS = 128
"""The program is unrolled over the blocks: more of them would take long to compile."""


@jax.tree_util.register_pytree_node_class
class Packed:
    """N examples as blocks: features (D, R), labels (R,) or (K, R); the last may be shorter."""

    def __init__(self, x: tuple[Array, ...], y: tuple[Array, ...]):
        self.x, self.y = x, y

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return sum(block.shape[1] for block in self.x), self.x[0].shape[0]

    def tree_flatten(self) -> tuple:
        """For JAX: the blocks are the leaves."""
        return (self.x, self.y), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple) -> "Packed":
        """For JAX: from the blocks."""
        return cls(*children)


def rows_of_block(examples: int, features: int, itemsize: int) -> int:
    """R: what fills a block, or more where there would be too many blocks; at most N."""
    fitting = max(1, BLOCK_BYTES // (features * itemsize))
    return min(examples, max(fitting, -(-examples // MOST_BLOCKS)))


def pack(x: Features | np.ndarray, y: ArrayLike, rows: int | None = None) -> Packed:
    """The examples as blocks of `rows`, features first; the cost of one or two passes, once.

    Raises InputError for shapes that do not fit, and unless `rows` is a whole number above 0.

    >>> packed = pack(jnp.ones((5, 3)), jnp.array([0, 1, 0, 1, 1]), rows=2)
    >>> packed.shape, [block.shape for block in packed.x]
    ((5, 3), [(3, 2), (3, 2), (3, 1)])
    """
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    examples, features = shape_of(x)
    if len(shape_of(y)) not in (1, 2):
        raise InputError("y", "shape (N,) or (N, K)", f"shape {shape_of(y)}", "reshape the labels")
    require_axis("y", y, 0, examples, "examples, as x has")
    if rows is None:
        rows = rows_of_block(examples, features, jnp.result_type(x).itemsize)
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 1:
        raise InputError("rows", "a whole number above 0", repr(rows), "pass 4096, or leave it")
    starts = range(0, examples, int(rows))
    on_host = isinstance(x, np.ndarray)

    def first(block: Array | np.ndarray) -> Array:
        return jnp.asarray(np.ascontiguousarray(np.transpose(block)) if on_host else block.T)

    labels = jnp.asarray(y)
    return Packed(
        tuple(first(x[start : start + rows]) for start in starts),
        tuple(labels[start : start + rows].T for start in starts),
    )


def value_and_gradient(
    params: Params, x: Features | Packed, y: ArrayLike | None = None, l2: float = 0.0
) -> tuple[Scalar, Params]:
    """(E, ∇E), as the reference gives them, for `pack(x, y)` without y, or x (N, D) with y.

    The weight's shape decides: (D,) is logistic regression, (D, K) softmax regression. Labels as
    there: (N,) in [0, 1], or (N,) integers or (N, K) probabilities. Raises InputError if the shapes
    do not fit.

    >>> x, y = jnp.array([[1.0, 1.0], [-4.0, 5.0]]), jnp.array([1.0, 0.0])
    >>> params = Params(jnp.array([4.0, 5.0]), jnp.array(-9.0))
    >>> value_and_gradient(params, pack(x, y))[1].weight.tolist()
    [-1.25, 1.0]
    """
    blocks = _blocks(x, y)
    _check(params, blocks)
    residual = binary if params.weight.ndim == 1 else categorical
    total = jnp.zeros((), params.weight.dtype)
    gradient = jax.tree.map(jnp.zeros_like, params)
    for block, labels in zip(blocks.x, blocks.y, strict=True):
        z = matmul(params.weight.T, block) + params.bias[..., None]
        losses, r = residual(z, labels)
        share = Params(matmul(block, r.T), jnp.sum(r, axis=-1))
        total, gradient = total + losses, jax.tree.map(jnp.add, gradient, share)
        # one block after the other: what is read together leaves the cache together
        params, gradient = lax.optimization_barrier((params, gradient))
    examples = blocks.shape[0]
    gradient = jax.tree.map(lambda g: g / examples, gradient)
    weight = gradient.weight + penalty_gradient(params.weight, l2)
    return total / examples + penalty(params.weight, l2), gradient._replace(weight=weight)


def gradient(
    params: Params, x: Features | Packed, y: ArrayLike | None = None, l2: float = 0.0
) -> Params:
    """∇E alone; see `value_and_gradient`."""
    return value_and_gradient(params, x, y, l2)[1]


def _blocks(x: Features | Packed, y: ArrayLike | None) -> Packed:
    """What is packed as it is; an array with its labels as one block."""
    if isinstance(x, Packed):
        if y is not None:
            raise InputError(
                "y", "None, as `pack` has the labels", type(y).__name__, "leave it out"
            )
        return x
    if y is None:
        raise InputError("y", "labels beside an array of features", "None", "pass y")
    return pack(x, y, rows=max(1, shape_of(x)[0] if shape_of(x) else 1))


def _check(params: Params, packed: Packed) -> None:
    """Raise InputError unless the parameters fit the features, and the labels the logits."""
    examples, features = packed.shape
    require_floating("params.weight", params.weight)
    if params.weight.ndim not in (1, 2):
        raise InputError(
            "params.weight", "shape (D,) or (D, K)", f"shape {params.weight.shape}", "reshape it"
        )
    require_axis("params.weight", params.weight, 0, features, "features, as x has")
    outputs = jax.ShapeDtypeStruct(params.weight.shape[1:], params.weight.dtype)
    require_same_shape("params.bias", params.bias, "one row of logits", outputs)
    label = packed.y[0]
    labels = jax.ShapeDtypeStruct((examples, *label.shape[:-1]), label.dtype)
    logits = jax.ShapeDtypeStruct((examples, *params.weight.shape[1:]), params.weight.dtype)
    check = require_binary_labels if params.weight.ndim == 1 else require_class_labels
    check(labels, logits)
