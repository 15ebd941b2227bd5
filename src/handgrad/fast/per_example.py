"""Logistic regression by one update for each example, in their order: compiled, at most one read.

It must equal the reference loop, `fit(logistic.model(), batch_size=1, shuffle=False)`, to rounding:

    z_i = x_i·w + b;   r_i = ∂ℓ/∂z_i;   (w, b) ← (w, b) − η r_i (x_i, 1)          i = 1, …, N

Plain: these steps in a compiled loop. The product x_i·w is the slow part, since XLA on a CPU adds
one number after the other; split into lanes that are added first, it runs at the width of the
vector unit.

Gram-blocked: within a block of B examples the weight that example i meets is the block's first one
less η Σ_{j<i} r_j x_j, so with m = X w + b and G = X Xᵀ + 1

    z_i = m_i − η Σ_{j<i} G_ij r_j          (w, b) ← (w, b) − η (Xᵀ r, Σ_i r_i)

which are matrix products and one triangular system of size B. r ← R(m − η L r), L the part of G
below the diagonal, is swept until nothing changes: sweep k makes r_k exact, as it needs only those
before it, so B sweeps are enough, and five to ten are usual.

Source: "Neural networks", section on the gradient descent step, for the update; the blocks are
derived here.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from handgrad._checks import (
    Shaped,
    describe,
    require_binary_labels,
    require_choice,
    require_dtype_of_x,
    require_linear,
    require_rank,
    require_same_shape,
    require_scalar,
    require_size,
)
from handgrad._types import BinaryLabels, Coded, Features, Scalar
from handgrad.errors import InputError
from handgrad.gradients.cross_entropy import binary_residual
from handgrad.gradients.linear import Params, affine_pullback, matmul

FORMS = ("auto", "plain", "gram")
BLOCK = 32
"""Examples in a block: on a CPU 32 was the fastest of 8 to 128 at D = 32, 8 at D = 1,024."""
LANES = 32
SHORT = 64
LANES_OF_SHORT = 8
"""Up to D = SHORT fewer lanes are faster: each lane is one addition more at the end."""
MOST_PARTS = 256


def per_example(
    params: Params,
    x: Features,
    y: BinaryLabels,
    learning_rate: float = 0.1,
    *,
    order: Int[Array, " N"] | None = None,
    epochs: int = 1,
    form: str = "auto",
) -> Params:
    """The parameters after `epochs` times one step of length `learning_rate` on every example.

    `x` is (N, D), `y` (N,) in [0, 1], `params` weight (D,) and bias () in the dtype of x. `order`
    is a permutation of 0..N−1, the order of each epoch; without it, that of the data. There is no
    penalty and no averaging.

    `form` is 'plain', 'gram', or 'auto', which is plain on a CPU, where that is the faster one at
    32 and at 1,024 features: `handgrad bench per_example` has both. Elsewhere it is gram, whose
    loop starts several times fewer steps; that choice is not measured. On a CPU XLA makes one
    program of the loop where a step moves less than 1 kB, 32 features in float32; for larger ones
    raise that limit, as `bench/per_example.py` says.

    Raises InputError if shapes, dtypes or values do not fit. Under `jit` values cannot be looked
    at, and an `order` out of range is clamped.

    >>> start = Params(jnp.zeros(1), jnp.array(0.0))
    >>> x, y = jnp.array([[1.0], [-1.0]]), jnp.array([1.0, 0.0])
    >>> per_example(start, x, y, 1.0).weight.tolist()  # ½, then σ(0) = ½ at w·x + b = −½ + ½
    [1.0]
    """
    _check(params, x, y, learning_rate, order, epochs, form)
    if form == "auto":
        form = "plain" if jax.default_backend() == "cpu" else "gram"
    x = jnp.asarray(x)
    rate = jnp.asarray(learning_rate, x.dtype)
    params = Params(*(jnp.asarray(leaf) for leaf in params))
    return _run(params, x, jnp.asarray(y, x.dtype), rate, order, epochs, form)


@partial(jax.jit, static_argnames="form")
def _run(
    params: Params, x: Array, y: Array, rate: Array, order: Array | None, epochs: int, form: str
) -> Params:
    blocks = x.shape[0] // BLOCK if form == "gram" else 0

    def step(number: Array, params: Params) -> Params:
        row = number if order is None else order[number]
        point = lax.dynamic_index_in_dim(x, row, keepdims=False)
        label = lax.dynamic_index_in_dim(y, row, keepdims=False)
        return _descend(params, point, label, rate)

    def block(number: Array, params: Params) -> Params:
        if order is None:
            points = lax.dynamic_slice_in_dim(x, number * BLOCK, BLOCK)
            labels = lax.dynamic_slice_in_dim(y, number * BLOCK, BLOCK)
        else:
            rows = lax.dynamic_slice_in_dim(order, number * BLOCK, BLOCK)
            points, labels = x[rows], y[rows]
        return _descend_block(params, points, labels, rate)

    def epoch(_: Array, params: Params) -> Params:
        if blocks:
            params = lax.fori_loop(0, blocks, block, params)
        return lax.fori_loop(blocks * BLOCK, x.shape[0], step, params)

    return lax.fori_loop(0, epochs, epoch, params)


def _descend(params: Params, point: Array, label: Array, rate: Array) -> Params:
    """(w, b) − η r (x, 1) for one example."""
    z = dot(point, params.weight) + params.bias
    # Without the barrier XLA computes the residual again for each coordinate of the weight.
    push = lax.optimization_barrier(rate * binary_residual(z, label))
    return Params(params.weight - push * point, params.bias - push)


def dot(a: Float[Array, " D"], b: Float[Array, " D"]) -> Scalar:
    """Σ_d a_d b_d, by lanes: slices of the products are added first, pairwise, then one slice up.

    >>> float(dot(jnp.arange(70.0), jnp.ones(70)))
    2415.0
    """
    product = a * b
    size = product.shape[0]
    width = LANES_OF_SHORT if size <= SHORT else LANES
    if size > width * MOST_PARTS:
        width *= math.ceil(size / (width * MOST_PARTS))
    parts = [product[begin : begin + width] for begin in range(0, size, width)]
    parts[-1] = jnp.pad(parts[-1], (0, width - len(parts[-1])))
    while len(parts) > 1:
        pairs = zip(parts[0::2], parts[1::2], strict=False)
        parts = [one + two for one, two in pairs] + parts[len(parts) // 2 * 2 :]
    return jnp.sum(parts[0])


def _descend_block(params: Params, points: Array, labels: Array, rate: Array) -> Params:
    """The same for BLOCK examples at once."""
    first = matmul(points, params.weight) + jnp.broadcast_to(params.bias, BLOCK)
    gram = matmul(points, points.T) + jnp.ones((), points.dtype)
    before = rate * jnp.tril(gram, -1)

    def changed(sweep: tuple[Array, Array, Array]) -> Array:
        count, old, new = sweep
        return (count < BLOCK) & jnp.any(old != new)  # a NaN never equals itself

    def again(sweep: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, _, new = sweep
        return count + 1, new, binary_residual(first - matmul(before, new), labels)

    guess = binary_residual(first, labels)
    start = (jnp.array(1), jnp.full_like(guess, jnp.nan), guess)
    _, _, residual = lax.while_loop(changed, again, start)
    push = affine_pullback(rate * residual, points)
    return Params(params.weight - push.weight, params.bias - push.bias)


def _check(params: Params, x: Any, y: Any, rate: Any, order: Any, epochs: Any, form: Any) -> None:
    """Raise InputError for what cannot be used: shapes always, values where they are known."""
    if isinstance(x, Coded):
        remedy = "pass gradients.linear.columns(x), or train by fit with batch_size=1"
        raise InputError("x", "an array of features", "codes", remedy)
    require_linear(params, x)
    require_rank("params.weight", params.weight, 1, "(D,)")
    require_dtype_of_x(params, x)
    require_binary_labels(y, Shaped(jnp.shape(x)[:1], jnp.result_type(x)))
    require_choice("form", form, FORMS)
    require_size("epochs", epochs)
    require_scalar("learning_rate", rate)
    if _known(rate) and not 0 < rate < math.inf:
        raise InputError("learning_rate", "a finite number above 0", rate, "pass 0.1")
    if order is not None:
        require_same_shape("order", order, "y", y)
        if not jnp.issubdtype(jnp.result_type(order), jnp.integer):
            raise InputError("order", "integers", describe(order), "pass positions of examples")
        if _known(order) and (np.sort(order) != np.arange(len(order))).any():
            raise InputError(
                "order", f"each of 0..{len(order) - 1} once", "another sequence",
                "pass, for example, jax.random.permutation(key, N)",
            )  # fmt: skip


def _known(value: Any) -> bool:
    return not isinstance(value, jax.core.Tracer)
