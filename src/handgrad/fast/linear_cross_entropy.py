"""The output layer of a language model in bounded memory: the gradient taken in the forward pass.

All T × V logits at once are what a language model cannot hold, and computing them again for the
backward pass costs a third more: 8 TDV flops for 6. Here the tokens go by in chunks of C. While
the logits of a chunk are there, its loss, its residual and its part of both gradients are taken:

    z = h W,   R = (p − q) / M,   ∂E/∂h = R Wᵀ,   ∂E/∂W = Σ_chunks hᵀ R         z, R: (C, V)

q is 1 at the label, or 1 − ε there and ε/V everywhere with label smoothing; M counts the labels
that are not ignored. At the label p − 1 is −Σ_{j≠y} p_j, which does not cancel. Memory beyond the
outputs is one chunk of logits and a slice of ∂E/∂W, whatever T is.

Equals: `gradients.linear_cross_entropy.value_and_gradient`.
"""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from handgrad._checks import (
    MOST,
    as_index,
    describe,
    dtype_of,
    floating_dtype,
    is_real,
    require_choice,
    require_output_layer,
    require_size,
)
from handgrad._precision import wider
from handgrad._types import DTypeLike, Scalar
from handgrad.errors import InputError
from handgrad.fast.residuals import at_label, unscaled_classes
from handgrad.gradients.linear_cross_entropy import Hidden, Weight

Labels = Int[Array, " T"]
SLICES = 16
"""On a CPU a chunk's part of ∂E/∂W is added in this many slices: its product takes no more room."""


@dataclass(frozen=True)
class Settings:
    """What the layer is asked for, beside its arrays. Raises InputError for what cannot be."""

    chunk: int | None = None
    """Tokens whose logits are held at once; None takes what suits the device: `chunk_size`."""
    label_smoothing: float = 0.0
    """ε in [0, 1): how much of the label is spread evenly over the vocabulary."""
    ignore: int | None = None
    """The label of tokens that do not count, such as −100; the mean is over the others."""
    operands: DTypeLike | None = None
    """The dtype in which products take their factors; sums, losses and logs stay in float32."""
    gradient_dtype: DTypeLike | None = None
    """The dtype of ∂E/∂W; None takes that of the weight."""
    axis_name: str | None = None
    """The mesh axis over which tokens are split, inside `jax.shard_map`: loss and ∂E/∂W are summed
    over it."""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        if self.chunk is not None:
            require_size("chunk", self.chunk, remedy="pass 256, or None")
        if not (is_real(smoothing) and 0 <= smoothing < 1):
            raise InputError("label_smoothing", "a number in [0, 1)", repr(smoothing), "pass 0.1")
        if self.ignore is not None:
            require_size("ignore", self.ignore, -MOST, remedy="pass -100")
        for name in ("operands", "gradient_dtype"):
            floating_dtype(getattr(self, name), name)
        if not isinstance(self.axis_name, str | None):
            axis = repr(self.axis_name)
            raise InputError("axis_name", "the name of an axis", axis, "pass 'data'")


def loss(hidden: Hidden, weight: Weight, y: Labels, **settings: Any) -> Scalar:
    """E alone, a chunk at a time: for evaluation. Arguments as `value_and_gradient`."""
    return _run(hidden, weight, y, settings, with_gradient=False)[0]


def value_and_gradient(
    hidden: Hidden, weight: Weight, y: Labels, **settings: Any
) -> tuple[Scalar, tuple[Hidden, Float[Array, "D V"]]]:
    """(E, (∂E/∂h, ∂E/∂W)): mean cross-entropy in nats over the tokens that are not ignored.

    hidden (T, D), weight (D, V), y (T,) integers in 0..V−1. `settings` are the fields of
    `Settings`. An index out of range gives NaN; so does a mean over no token. Raises InputError
    for shapes, dtypes and settings that cannot be. E is in float32 at least.

    >>> h, w = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, -1.0], [0.5, 0.5]])
    >>> value, (by_hidden, by_weight) = value_and_gradient(h, w, jnp.array([0, 1]), chunk=1)
    >>> round(float(value), 4), by_weight.shape
    (0.41, (2, 2))
    """
    return _run(hidden, weight, y, settings, with_gradient=True)


def gradient(
    hidden: Hidden, weight: Weight, y: Labels, **settings: Any
) -> tuple[Hidden, Float[Array, "D V"]]:
    """(∂E/∂h, ∂E/∂W); see `value_and_gradient`."""
    return value_and_gradient(hidden, weight, y, **settings)[1]


def _run(
    hidden: Array, weight: Array, y: Array, given: dict[str, Any], with_gradient: bool
) -> tuple[Scalar, Any]:
    settings = check(hidden, weight, y, **given)
    hidden, weight, y = jnp.asarray(hidden), jnp.asarray(weight), as_index(y)
    tokens, (features, words) = hidden.shape[0], weight.shape
    wide = wider(weight.dtype, jnp.float32)
    operands = weight.dtype if settings.operands is None else floating_dtype(settings.operands)
    precise = lax.Precision.HIGHEST if operands == wide else None
    factor = weight.astype(operands)
    every = settings.ignore is None  # then the sum over an axis is its size, and no message
    counted: Any = jnp.ones(tokens, bool) if every else y != settings.ignore
    total_counted: Any = _summed(tokens if every else jnp.sum(counted.astype(wide)), settings)

    def product(a: Array, b: Array) -> Array:
        pair = a.astype(operands), b.astype(operands)
        return jnp.matmul(*pair, precision=precise, preferred_element_type=wide)

    slices = SLICES if jax.default_backend() == "cpu" else 1
    width = -(-words // slices)
    dtype = floating_dtype(settings.gradient_dtype or weight.dtype)
    sums = wider(dtype, wide)

    def step(carry: tuple, chunk: tuple) -> tuple[tuple, Any]:
        by_weight, total = carry
        h, labels, some = chunk
        losses, r, scale = _chunk(product(h, factor), labels, some, settings.label_smoothing)
        if not with_gradient:
            return (by_weight, total + losses), None
        scale = (scale / total_counted)[:, None]
        if operands != wide:  # then r is rounded, in a pass that can as well scale it
            r, scale = r * scale, jnp.ones_like(scale)
        r, scaled = r.astype(operands), (h.astype(wide) * scale).astype(operands).T

        def add(start: Array | int, columns: int, so_far: Array) -> Array:
            part = product(scaled, lax.dynamic_slice_in_dim(r, start, columns, axis=1)).astype(sums)
            before = lax.dynamic_slice_in_dim(so_far, start, columns, axis=1)
            return lax.dynamic_update_slice_in_dim(so_far, before + part, start, axis=1)

        whole = words // width
        by_weight = lax.fori_loop(0, whole, lambda i, g: add(i * width, width, g), by_weight)
        if words % width:
            by_weight = add(whole * width, words % width, by_weight)
        return (by_weight, total + losses), (product(r, factor.T) * scale).astype(hidden.dtype)

    size = chunk_size(tokens, settings.chunk, words)
    zeros = jnp.zeros((features, words) if with_gradient else (), sums)
    chunks = (_cut(hidden, size), _cut(y, size), _cut(counted, size))
    (by_weight, total), by_hidden = lax.scan(step, (zeros, jnp.zeros((), wide)), chunks)
    value = (_summed(total, settings) / total_counted).astype(wider(hidden.dtype, wide))
    if not with_gradient:
        return value, None
    by_weight = _summed(by_weight, settings).astype(dtype)
    return value, (jnp.reshape(by_hidden, (-1, features))[:tokens], by_weight)


def _chunk(z: Array, y: Array, counted: Array, smoothing: float) -> tuple[Array, Array, Array]:
    """(Σ ℓ, r, s), s r = p − q, over a chunk of logits (C, V), of the rows that are counted.

    s (C,) is for the smaller factors of both products: no pass over the chunk multiplies by it.
    """
    losses, r, scale = unscaled_classes(z, y, axis=1)
    if smoothing:
        own = at_label(z, y, axis=1)
        losses = losses - smoothing * jnp.mean(z - own[:, None], axis=1)  # no digit of an offset
        true = lax.broadcasted_iota(y.dtype, z.shape, 1) == y[:, None]
        r = r * scale[:, None] + jnp.where(true, smoothing, 0) - smoothing / z.shape[1]
        scale = jnp.ones_like(scale)
    r = jnp.where(counted[:, None], r, 0)
    return jnp.sum(jnp.where(counted, losses, 0)), r, jnp.where(counted, scale, 0)


def chunk_size(tokens: int, asked: int | None, words: int) -> int:
    """C: as asked, at most T; else a sixteenth of T on a CPU, but enough to keep products large.

    On an accelerator it is `counted_chunk`.
    """
    if asked is not None:
        return min(asked, tokens)
    if jax.default_backend() != "cpu":
        return counted_chunk(tokens, words)
    return min(tokens, max(256, -(-tokens // 16)))


FLOPS_PER_BYTE = 256
"""What an accelerator multiplies in bfloat16 while it moves a byte: 206 on an H200, 295 on an H100
by their makers' figures."""
SHARE = 1 / 12
"""Of a chunk's time: how much its traffic with the sums of ∂E/∂W may add."""
ROOM = 4 * 2**30
"""Bytes for the logits of a chunk in float32, and its residuals in bfloat16."""
FEWEST_TOKENS, TILE = 2048, 128
"""With fewer tokens products are too small; matrix units work on tiles of rows."""


def counted_chunk(tokens: int, words: int) -> int:
    """C by counting, for a device whose memory is far from its multipliers.

    A chunk of C tokens multiplies 6CDV times and, beside its logits, reads and writes the float32
    sums of ∂E/∂W, 8DV bytes, whatever C is. D and V cancel, and these bytes add the share s to its
    time if

        C = 8 f / (6 s)      f: flops in the time of a byte

    No more than half of the tokens are taken, nor more than have room in `ROOM`: 4 bytes a logit,
    and 2 for its residual. The chunks are then made even, so that the last is not padded much.

    >>> [counted_chunk(tokens, 128_256) for tokens in (1_000, 4_096, 20_000, 32_768)]
    [1000, 2048, 4096, 4096]
    >>> counted_chunk(32_768, 256_000)
    2816
    """
    fitting = ROOM // (6 * words)
    enough = min(round(8 * FLOPS_PER_BYTE / (6 * SHARE)), max(FEWEST_TOKENS, tokens // 2))
    most = max(TILE, min(fitting, enough))
    even = -(-tokens // -(-tokens // most))
    return min(tokens, -(-even // TILE) * TILE)


def _cut(array: Array, size: int) -> Array:
    """(T, ...) as (chunks, C, ...), the last filled up with zeros, which are not counted."""
    missing = -array.shape[0] % size
    padded = jnp.pad(array, ((0, missing), *((0, 0) for _ in array.shape[1:])))
    return padded.reshape(-1, size, *array.shape[1:])


def _summed(value: Any, settings: Settings) -> Any:
    return value if settings.axis_name is None else lax.psum(value, settings.axis_name)


def check(hidden: Hidden, weight: Weight, y: Labels, **settings: Any) -> Settings:
    """The settings. Raises InputError for shapes, dtypes and settings that cannot be."""
    known = [field.name for field in fields(Settings)]
    for name in settings:
        require_choice(name, name, known)
    require_output_layer(hidden, weight)
    if not jnp.issubdtype(dtype_of("y", y), jnp.integer) or jnp.shape(y) != jnp.shape(hidden)[:1]:
        raise InputError(
            "y", f"integers of shape {jnp.shape(hidden)[:1]}", describe(y),
            "pass one index for each token",
        )  # fmt: skip
    return Settings(**settings)
