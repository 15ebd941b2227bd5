"""The objective and its derivatives by passes over the examples, wherever these lie; coordinates.

    E(θ) = (1/N) Σ_n ℓ(z_n, y_n) + ½ Σ_j λ_j θ_j²          θ = (w, b), λ = 0 at the bias

    value and gradient:  Σ_n ℓ_n,  Σ_n ∂ℓ_n/∂z (x_n, 1), in float64
    Hessian beside it:   Σ_n s_n a_n a_nᵀ with a_n = ((x_n − m)/s, 1), products in float32
    margin:              the least (2y−1) z, or z_y − max_{j≠y} z_j: above 0 the classes are apart

A pass reads x once. The Hessian only shapes the next step, so seven digits of it are plenty; the
gradient decides where the optimum is and is exact. Features are centred and scaled before they
are rounded: a column of years, 2013 ± 1, would lose four of the seven digits, one of seconds since
1970 all. Steps too are computed for the scaled features a, where the Hessian is well conditioned;
z stays the same with v = (s w, b + m·w). Parameters, gradients and tolerance belong to the features
as they were given. Logits of K classes are (K, R), the classes first: then both products of a pass
are plain row-major ones.

A pass in two products, X w and then rᵀ X, reads X twice; over a block of some megabytes both come
from one read. XLA takes a NumPy array without copying it only if it begins at a multiple of 64
bytes, which NumPy does not promise and copying 400 MB costs more than ten passes. So the whole
array is handed over flat, from its first aligned number on; a block is a slice of that. The few
rows before it, and those left over at the end, are copied into `rest`.

A pass sums over examples, so it can sum over parts of them. On a mesh that is one program with one
message between the devices, of the size of what is summed; over blocks it is the sum of what each
block gives, which may come from a disk.

Source: loss and residual are those of `fast.residuals`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad._placement import everywhere
from handgrad._types import Array, Coded, Inputs, like, values_of
from handgrad.errors import InputError
from handgrad.fast import residuals
from handgrad.gradients import linear
from handgrad.gradients.linear import matmul

BLOCK_BYTES = 6_400_000
"""A block in float64: 3 to 8 MB were equally fast where a core has 16 MB of cache, 1 MB slower."""
ALIGNMENT = 64
MOST_PROGRAMS = 64
_PROGRAMS: dict[Any, Any] = {}


class ProgramCache:
    """Runs functions compiled for the shapes at hand; `seconds` is what compiling took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, function: Callable, *args: Any, **static: Any) -> Any:
        """function(*args, **static), compiled once per process for these shapes."""
        leaves, structure = jax.tree.flatten(args)
        kinds = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = (function, tuple(static.items()), structure, kinds)
        program = _PROGRAMS.get(key)
        if program is None:
            began = time.perf_counter()
            program = jax.jit(partial(function, **static)).lower(*args).compile()
            self.seconds += time.perf_counter() - began
            while len(_PROGRAMS) >= MOST_PROGRAMS:
                _PROGRAMS.pop(next(iter(_PROGRAMS)))
            _PROGRAMS[key] = program
        return program(*args)


# --- in one array ---------------------------------------------------------------------------------


class Rows(NamedTuple):
    """N examples: `rest`, and `labels.shape[0]` blocks inside `flat` from number `start` on."""

    rest: Any
    rest_labels: Any
    flat: Array | None = None
    start: Any = None
    labels: Array | None = None

    @property
    def few(self) -> bool:
        """Whether all the examples are read at once."""
        return self.labels is None

    @property
    def examples(self) -> int:
        """N."""
        inside = 0 if self.labels is None else self.labels.shape[0] * self.labels.shape[1]
        return inside + self.rest.shape[0]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all examples."""
        return programs.run(function, self, *args)


def _block_size(columns: int) -> int:
    """Rows of a block; fewer than three blocks are small enough for the cache as a whole."""
    return max(256, BLOCK_BYTES // (8 * columns))


def lay_out(x: Any, y: np.ndarray) -> Rows:
    """Rows of x (N, D) and its labels (N,) or (N, K). A row-major NumPy array is not copied."""
    values = values_of(x)
    if x.shape[0] < 3 * _block_size(values.shape[1]):
        return Rows(*jax.device_put((like(x, np.asarray(values)), y)))
    if isinstance(values, jax.Array) and next(iter(values.devices())).platform != "cpu":
        return lay_out_on_device(x, jax.device_put(y))
    values = np.ascontiguousarray(values)
    flat, (examples, features) = values.reshape(-1), values.shape
    spare = ALIGNMENT // flat.itemsize  # one shape, wherever the array begins
    skipped = (-flat.ctypes.data % ALIGNMENT) // flat.itemsize
    flat = flat[skipped : skipped + flat.size - spare]
    head, size = -(-spare // features), _block_size(features)
    blocks = (examples - 2 * head) // size
    inside = slice(head, head + blocks * size)
    outside = np.r_[0 : inside.start, inside.stop : examples]
    labels = y[inside].reshape(blocks, size, *y.shape[1:])
    return Rows(
        flat=jax.device_put(flat, may_alias=True),
        start=np.int64(head * features - skipped),
        labels=jax.device_put(labels),
        rest=jax.device_put(like(x, values[outside])),
        rest_labels=jax.device_put(y[outside]),
    )


def lay_out_on_device(x: Inputs, labels: Array) -> Rows:
    """`lay_out` for arrays of one device, which may be traced."""
    size = _block_size(values_of(x).shape[1])
    if x.shape[0] < 3 * size:
        return Rows(x, labels)
    blocks = x.shape[0] // size
    inside = blocks * size
    return Rows(
        flat=values_of(x).reshape(-1),
        start=np.int64(0),
        labels=labels[:inside].reshape(blocks, size, *labels.shape[1:]),
        rest=x[inside:],
        rest_labels=labels[inside:],
    )


def fold(rows: Rows, body: Callable[[Any, Any, Array], Any], carry: Any) -> Any:
    """body(carry, x_block, y_block) over all the examples, each block in float64."""
    if rows.rest.shape[0]:
        carry = body(carry, rows.rest.astype(jnp.float64), rows.rest_labels)
    if rows.flat is None or rows.labels is None:
        return carry
    flat, features = rows.flat, values_of(rows.rest).shape[1]
    blocks, size = rows.labels.shape[:2]

    def step(carry: Any, numbered: tuple[Array, Array]) -> tuple[Any, None]:
        number, labels = numbered
        begin = rows.start + number * (size * features)
        block = lax.dynamic_slice(flat, (begin,), (size * features,))
        block = block.reshape(size, features).astype(jnp.float64)
        return body(carry, like(rows.rest, block), labels), None

    return lax.scan(step, carry, (jnp.arange(blocks, dtype=jnp.int64), rows.labels))[0]


def draw_sample(x: Any, y: np.ndarray, size: int, seed: int) -> tuple[Any, np.ndarray]:
    """One example of each of `size` stretches; all, unless there are four times as many."""
    stretch = len(y) // size
    if stretch < 4:
        return x, y
    chosen = np.arange(size) * stretch + np.random.default_rng(seed).integers(0, stretch, size)
    return x[chosen], y[chosen]


# --- over blocks, and over devices ----------------------------------------------------------------


class Blocks(NamedTuple):
    """N examples that `read()` gives from the first to the last: x (R, D) and y, as often as asked.

    What it gives may be overwritten once the next is asked for.
    """

    examples: int
    read: Callable[[], Iterable[tuple[Any, np.ndarray]]]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all blocks."""
        total: tuple[Any, ...] | None = None
        for x, y in self.read():
            found = tuple(map(np.asarray, programs.run(function, Rows(x, y), *args)))
            total = found if total is None else _added(total, found, np.minimum)
        if total is None:
            raise InputError("blocks", "at least one", "none", "pass some examples")
        return total


class Partitioned(NamedTuple):
    """N examples over the devices of a mesh; the last N mod P rows are on every one."""

    x: Any
    labels: Array
    tail: Any
    tail_labels: np.ndarray
    mesh: Mesh

    @property
    def examples(self) -> int:
        """N."""
        return self.labels.shape[0] + self.tail_labels.shape[0]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all devices."""
        same = everywhere((self.tail, self.tail_labels, *args), self.mesh)
        return programs.run(
            partitioned, self.x, self.labels, *same, summed=function, mesh=self.mesh
        )


def partition(x: Any, y: np.ndarray, mesh: Mesh) -> Partitioned:
    """The rows of x (N, D) and y over a mesh with one axis; each process places its devices' own.

    Raises InputError for a mesh of several axes, or of more devices than rows.
    """
    if not isinstance(mesh, Mesh) or len(mesh.axis_names) != 1 or mesh.size > len(y):
        raise InputError(
            "mesh", f"a jax.sharding.Mesh with one axis and at most {len(y):,} devices", repr(mesh),
            "pass, for example, jax.make_mesh((jax.device_count(),), ('data',))",
        )  # fmt: skip
    x = like(x, np.asarray(values_of(x)))
    here = NamedSharding(mesh, P(mesh.axis_names[0]))
    even = len(y) // mesh.size * mesh.size

    def placed(array: np.ndarray) -> Array:
        return jax.make_array_from_callback(array.shape, here, lambda index: array[index])

    own = jax.tree.map(placed, x[:even])
    return Partitioned(own, placed(y[:even]), x[even:], y[even:], mesh)


def partitioned(
    x: Any, labels: Array, tail: Any, tail_labels: Array, *args: Any, summed: Callable,
    mesh: Mesh,
) -> tuple[Any, ...]:  # fmt: skip
    """A pass with one sum over the devices. The least margin is summed too: each has a place."""
    (axis,) = mesh.axis_names

    def part(x: Any, labels: Array, *args: Any) -> tuple[Any, ...]:
        loss, gradient, margin, *more = summed(lay_out_on_device(x, labels), *args)
        place = jnp.arange(mesh.size, dtype=jnp.int32)
        margins = jnp.where(place == lax.axis_index(axis), margin, 0)
        vector, back = ravel_pytree((loss, gradient, margins, *more))
        loss, gradient, margins, *more = back(lax.psum(vector, axis))
        return loss, gradient, jnp.min(margins), *more

    split = (P(axis), P(axis), *(P() for _ in args))
    sums = jax.shard_map(part, mesh=mesh, in_specs=split, out_specs=P(), check_vma=False)
    found = sums(x, labels, *args)
    if not tail.shape[0]:
        return found
    return _added(found, summed(Rows(tail, tail_labels), *args), jnp.minimum)


def _added(a: tuple[Any, ...], b: tuple[Any, ...], least: Callable) -> tuple[Any, ...]:
    """Two parts' findings together: everything is a sum, but the margin is the least."""
    loss, gradient, margin, *more = (
        least(p, q) if place == 2 else p + q for place, (p, q) in enumerate(zip(a, b, strict=True))
    )
    return loss, gradient, margin, *more


# --- what a block gives ---------------------------------------------------------------------------


def logits(theta: Array, x: Inputs) -> Array:
    """θ (D+1,) or (K, D+1), the bias last, on x (R, D): z (R,) or (K, R)."""
    axis = theta.ndim - 1
    if isinstance(x, Coded):
        scores = linear.product(x, theta[..., :-1].T).T
    else:
        scores = lax.dot_general(
            theta[..., :-1], x, (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
        )
    return scores + (theta[..., -1] if axis == 0 else theta[:, -1:])


def pullback(residual: Array, x: Inputs) -> Array:
    """rᵀ (x, 1): the gradient in θ."""
    weight = linear.pullback(residual.T, x).T if isinstance(x, Coded) else matmul(residual, x)
    return jnp.concatenate([weight, jnp.sum(residual, axis=-1)[..., None]], axis=-1)


def binary(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (R,) and the margin; soft labels have the margin −∞.

    `y` is (R,) in [0, 1]; or (R, 2), how much each example weighs as one of either class:
    m₀ ℓ(z, 0) + m₁ ℓ(z, 1) with r = m₀ σ(z) − m₁ σ(−z).
    """
    if y.ndim == 2:
        against, in_favour = y[:, 0], y[:, 1]
        e, right = jnp.exp(-jnp.abs(z)), z >= 0
        missed = jnp.where(right, against, in_favour)
        losses = (against + in_favour) * jnp.log1p(e) + jnp.where(missed == 0, 0, missed * abs(z))
        residual = jnp.where(right, against - in_favour * e, against * e - in_favour) / (1 + e)
        one_sided = jnp.where(in_favour == 0, jnp.where(against == 0, jnp.inf, -z), -jnp.inf)
        signed = jnp.where((against == 0) & (in_favour > 0), z, one_sided)
        return jnp.sum(losses), residual, jnp.min(signed)
    signed = jnp.where(y == 1, z, jnp.where(y == 0, -z, -jnp.inf))
    return *residuals.binary(z, y), jnp.min(signed)


def softmax(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (K, R) and the margin.

    `y` is (R,) integers; or (R, K) probabilities, or how much each example weighs as one of each
    class, whose margin is −∞.
    """
    if y.ndim == 2:
        return *residuals.categorical(z, y.T), jnp.asarray(-jnp.inf, z.dtype)
    chosen = y[None, :] == jnp.arange(z.shape[0], dtype=y.dtype)[:, None]
    rival = jnp.max(jnp.where(chosen, -jnp.inf, z), axis=0)
    score = jnp.sum(jnp.where(chosen, z, 0), axis=0)
    return *residuals.categorical(z, y), jnp.min(score - rival)


def curvature(z: Array) -> Array:
    """∂²ℓ/∂z² = σ(z) σ(−z) = e/(1 + e)², e = e^−|z|, of two classes (R,).

    Compiled with the residual, it has its exponential already.
    """
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)


def weights_of(y: Array) -> Array | float:
    """How much each example weighs, (R,); 1 where labels say only which class it is."""
    return 1.0 if y.ndim == 1 else jnp.sum(y, axis=1)


def scaled(x: Inputs, mean: Array, scale: Array, dtype: str) -> Any:
    """(x − m)/s, rounded to `dtype` at the end. Categories that are codes have m = 0 and s = 1."""
    if isinstance(x, Coded):
        starts = jnp.array(x.starts)
        return x.with_values(scaled(x.values, mean[starts], scale[starts], dtype))
    return ((x.astype(jnp.float64) - mean[None]) * (1 / scale)[None]).astype(dtype)


# --- passes ---------------------------------------------------------------------------------------


def value_and_gradient(rows: Rows, theta: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, its gradient in θ, and the least margin."""
    from_logits = binary if theta.ndim == 1 else softmax

    def body(carry: tuple, x: Inputs, y: Array) -> tuple:
        loss, residual, margin = from_logits(logits(theta, x), y)
        return carry[0] + loss, carry[1] + pullback(residual, x), jnp.minimum(carry[2], margin)

    return fold(rows, body, (jnp.zeros(()), jnp.zeros(theta.shape), jnp.asarray(jnp.inf)))


def with_hessian(
    rows: Rows, theta: Array, mean: Array, scale: Array
) -> tuple[Array, Array, Array, Array]:
    """The same for two classes, and Σ s_n a_n a_nᵀ (D+1, D+1) in float64 from float32 products.

    With categories as codes there are few products to take, and they are taken in float64.
    """

    def products(x: Inputs, s: Array) -> Array:
        if isinstance(x, Coded):
            return linear.gram(scaled(x, mean, scale, "float64"), s)
        root = jnp.sqrt(s.astype(jnp.float32))
        a = scaled(x, mean, scale, "float32")
        a = jnp.pad(a, ((0, 0), (0, 1)), constant_values=1.0) * root[:, None]
        a = lax.optimization_barrier(a)  # or XLA computes it for each product
        return matmul(a.T, a).astype(jnp.float64)

    def body(carry: tuple, x: Inputs, y: Array) -> tuple:
        z = logits(theta, x)
        loss, residual, margin = binary(z, y)
        return (
            carry[0] + loss,
            carry[1] + pullback(residual, x),
            jnp.minimum(carry[2], margin),
            carry[3] + products(x, curvature(z) * weights_of(y)),
        )

    size = theta.shape[0]
    empty = jnp.zeros(()), jnp.zeros(size), jnp.asarray(jnp.inf), jnp.zeros((size, size))
    return fold(rows, body, empty)


def moments(x: Inputs) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature of x (n, D), in float64.

    A constant one has its own size in place of a deviation, or 1; of a category that is a code the
    mean is taken to be 0 and the deviation 1, so that its rows stay sums of few.
    """
    if isinstance(x, Coded):
        columns, deviations = moments(x.values)
        numbers, places = jnp.array(x.numbers, int), jnp.array(x.starts)[jnp.array(x.numbers, int)]
        mean = jnp.zeros(x.shape[1]).at[places].set(columns[numbers])
        return mean, jnp.ones(x.shape[1]).at[places].set(deviations[numbers])
    x = x.astype(jnp.float64)
    mean = jnp.mean(x, axis=0)
    deviation = jnp.sqrt(jnp.mean(jnp.square(x - mean[None]), axis=0))
    size = jnp.abs(mean)
    return mean, jnp.where(deviation > 1e-12 * size, deviation, jnp.where(size > 0, size, 1.0))


# --- the objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaling:
    """Mean m and deviation s of each feature, (D,); any m and any s > 0 are right, these good."""

    mean: np.ndarray
    scale: np.ndarray

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        """∂E/∂v from ∂E/∂θ."""
        weight, bias = gradient[..., :-1], gradient[..., -1:]
        return np.concatenate([(weight - self.mean * bias) / self.scale, bias], axis=-1)

    def step(self, step: np.ndarray) -> np.ndarray:
        """A step in θ from one in v."""
        weight = step[..., :-1] / self.scale
        bias = step[..., -1] - weight @ self.mean
        return np.concatenate([weight, bias[..., None]], axis=-1)

    def coordinates(self, theta: np.ndarray) -> np.ndarray:
        """v from θ."""
        weight, bias = theta[..., :-1], theta[..., -1:]
        return np.concatenate([weight * self.scale, bias + weight @ self.mean[:, None]], axis=-1)

    def penalty(self, penalty: np.ndarray) -> np.ndarray:
        """The penalties λ_j (D+1,) of the v_j."""
        return np.append(penalty[:-1] / self.scale**2, penalty[-1])


class Evaluation(NamedTuple):
    """What one pass found at θ, in float64; the Hessian is that of the scaled coordinates."""

    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    margin: float
    hessian: np.ndarray | None = None

    @property
    def gradient_max(self) -> float:
        """max |∂E/∂θ|."""
        return float(np.max(np.abs(self.gradient)))

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.gradient).all())


@dataclass
class Objective:
    """E over `rows`; counts the passes, and those that took the Hessian too."""

    rows: Rows | Partitioned | Blocks
    penalty: np.ndarray
    scaling: Scaling
    programs: ProgramCache
    passes: int = field(default=0, init=False)
    hessians: int = field(default=0, init=False)

    def evaluate(self, theta: np.ndarray, hessian: bool = False) -> Evaluation:
        """Value, gradient and margin at θ, by one pass over the rows."""
        self.passes += 1
        self.hessians += hessian
        scaling = (self.scaling.mean, self.scaling.scale) if hessian else ()
        sums = with_hessian if hessian else value_and_gradient
        found = self.rows.sums(sums, self.programs, theta, *scaling)
        loss, gradient, margin, *products = found
        second = np.asarray(products[0]) / self.rows.examples if products else None
        if second is not None:
            second[np.diag_indices_from(second)] += self.scaling.penalty(self.penalty)
        penalised = self.penalty * theta
        return Evaluation(
            theta=theta,
            loss=float(loss) / self.rows.examples + 0.5 * float(np.sum(penalised * theta)),
            gradient=np.asarray(gradient) / self.rows.examples + penalised,
            margin=float(margin),
            hessian=second,
        )
