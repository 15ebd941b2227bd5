"""Logistic and softmax regression: loss and gradient from one read of the features.

The gradient needs x twice, for z = x W + b and for xᵀ r, and x is larger than any cache. Cut into
blocks of rows that stay in cache, each is read from memory once: its logits, residuals and its
share of the gradient are taken while it is near, and the shares are summed.

    E = (1/N) Σ_blocks Σ_n ℓ(z_n, y_n) + ½ λ ‖W‖²,   ∇E = (1/N) Σ_blocks (x_n, 1)ᵀ r_n + (λ W, 0)

An array x (N, D) is read where it lies, block after block, as one flat view cut into rows. `pack`
keeps the blocks features first, (D, R), each an array of its own, and pays for that once. Their
products are faster, and XLA works on several blocks at a time, some of which then leave the cache.
`Coded` features are read where they lie, too: a row has fewer numbers than features.

With the extra `numba` there is a third way, `fast.kernel`: machine code that takes a block through
all of this in the cache of one core. `value_and_gradient` says when it is taken.

Equals: `logistic.value_and_gradient`, and `softmax_regression.value_and_gradient`.
"""

import os
import time
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from handgrad._checks import (
    Shaped,
    dtype_of,
    require_axis,
    require_binary_labels,
    require_choice,
    require_class_labels,
    require_dtype_of_x,
    require_examples,
    require_floating,
    require_params,
    require_rank,
    require_size,
    shape_of,
)
from handgrad._types import ArrayLike, Coded, DTypeLike, Features, Inputs, Scalar, like, values_of
from handgrad.errors import InputError, MissingExtraError
from handgrad.fast.residuals import FEW, binary, categorical
from handgrad.gradients import linear
from handgrad.gradients.linear import Params, matmul, penalty, penalty_gradient

ROW_BYTES = 3_500_000
"""Of a block of rows: it stays in the last cache, and is large enough for all cores to share."""
WIDE_BYTES = 5_000_000
"""Of a block of rows and its logits, where the classes are many."""
BLOCK_BYTES = 8 * 2**20
"""Of a packed block: it fits the last cache of most machines."""
MOST_FLAT = 2**31 - 1
"""Numbers in x whose places 32 bits can count; where there are more, blocks are cut from rows."""
MOST_BLOCKS = 128
"""The program is unrolled over the blocks: more of them would take long to compile."""
FORMS = ("auto", "xla", "numba")
VARIABLE = "HANDGRAD_ONE_PASS"
"""The environment's variable that says what 'auto' is: 'xla', 'numba', or as measured."""
LARGE = 2**25
"""Bytes of x from which 'auto' compares the forms: below, a pass takes less than 10 ms."""
SAMPLE = 2**24
"""Bytes of x on which it compares them, in a few runs of milliseconds."""
WORTHWHILE = 1.3
"""Times as fast as XLA's that the compiled kernel must be, for 'auto' to take it."""


class Packed(NamedTuple):
    """N examples as blocks: features (D, R), labels (R,) or (K, R); the last may be shorter."""

    x: tuple[Array, ...]
    y: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return sum(block.shape[1] for block in self.x), self.x[0].shape[0]


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
    _check_examples(x, y, rows)
    if isinstance(x, Coded):
        remedy = "pass x itself to value_and_gradient, or data with one-hot columns"
        raise InputError("x", "an array of features", "codes, which are packed already", remedy)
    examples, features = shape_of(x)
    rows = rows or rows_of_block(examples, features, jnp.result_type(x).itemsize)
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
    params: Params,
    x: Inputs | Packed,
    y: ArrayLike | None = None,
    l2: float = 0.0,
    rows: int | None = None,
    form: str = "auto",
) -> tuple[Scalar, Params]:
    """(E, ∇E), as the reference gives them, for x (N, D) with y, or for `pack(x, y)` without.

    The weight's shape decides: (D,) is logistic regression, (D, K) softmax regression. Labels as
    there: (N,) in [0, 1], or (N,) integers or (N, K) probabilities. `rows` is how many rows of an
    array are a block of XLA's.

    `form` is 'xla', 'numba', which needs the extra of that name, float32, a CPU, one label for each
    row and no more than 32 classes, or 'auto': numba where it can be used, x has 32 MB or more, and
    it was at least 1.3 times as fast on 16 MB of as many features and classes, which is measured
    once in a process. The environment's HANDGRAD_ONE_PASS=xla or =numba is what 'auto' is instead.

    Raises InputError if the shapes do not fit, or a form that is asked for cannot be used.

    >>> x, y = jnp.array([[1.0, 1.0], [-4.0, 5.0]]), jnp.array([1.0, 0.0])
    >>> params = Params(jnp.array([4.0, 5.0]), jnp.array(-9.0))
    >>> value_and_gradient(params, x, y)[1].weight.tolist()
    [-1.25, 1.0]
    """
    require_params(params)
    params = Params(jnp.asarray(params.weight), jnp.asarray(params.bias))
    require_choice("form", form, FORMS)
    if isinstance(x, Packed):
        if form == "numba":
            raise InputError("form", "'xla', as the blocks are XLA's", "'numba'", "pass x and y")
        sums = _packed(params, x, y, rows)
    else:
        sums = _from_rows(params, x, y, rows, form)
    examples = x.shape[0]
    total, gradient = jax.tree.map(lambda part: part / examples, sums)
    weight = gradient.weight + penalty_gradient(params.weight, l2)
    return total + penalty(params.weight, l2), gradient._replace(weight=weight)


def _packed(
    params: Params, packed: Packed, y: ArrayLike | None, rows: int | None
) -> tuple[Scalar, Params]:
    """Σ ℓ and its gradient over packed blocks."""
    if y is not None:
        raise InputError("y", "None, as `pack` has the labels", type(y).__name__, "leave it out")
    if rows is not None:
        raise InputError("rows", "None, as `pack` has cut the blocks", repr(rows), "leave it out")
    label = packed.y[0]
    _check(params, packed.shape, (packed.shape[0], *label.shape[:-1]), label.dtype)
    residual = binary if params.weight.ndim == 1 else categorical
    sums = jnp.zeros((), params.weight.dtype), jax.tree.map(jnp.zeros_like, params)
    for block, labels in zip(packed.x, packed.y, strict=True):
        losses, r = residual(matmul(params.weight.T, block) + params.bias[..., None], labels)
        share = losses, Params(matmul(block, r.T), jnp.sum(r, axis=-1))
        sums = jax.tree.map(jnp.add, sums, share)
    return sums


def _from_rows(
    params: Params, x: Inputs, y: ArrayLike | None, rows: int | None, form: str
) -> tuple[Scalar, Params]:
    """The same for an array, in the form that is asked for, or that suits."""
    _check_examples(x, y, rows)
    x, y = jax.tree.map(jnp.asarray, x), jnp.asarray(y)
    _check(params, x.shape, y.shape, y.dtype)
    require_dtype_of_x(params, x)
    if _takes_kernel(params, x, y, rows, form):
        return _by_kernel(params, x, y)
    return _by_rows(params, x, y, rows)


# --- machine code ---------------------------------------------------------------------------------


def _takes_kernel(params: Params, x: Inputs, y: Array, rows: int | None, form: str) -> bool:
    """Whether it is `fast.kernel`. Raises InputError where that is asked for and cannot be used."""
    installed = find_spec("numba") is not None
    unfit = _unfit(params, x, y, rows)
    if form == "numba":
        if unfit:
            raise InputError("form", "'xla' or 'auto'", f"'numba' with {unfit}", "leave it out")
        if not installed:
            raise MissingExtraError("one pass compiled by numba", "numba")
    if form != "auto":
        return form == "numba"
    form = form_of_environment()
    if form == "xla" or unfit or not installed:
        return False
    if form == "numba":
        return True
    classes = 0 if params.weight.ndim == 1 else params.weight.shape[1]
    return 4 * x.size >= LARGE and times_as_fast(x.shape[1], classes) >= WORTHWHILE


def form_of_environment() -> str:
    """What HANDGRAD_ONE_PASS says, or 'auto'. Raises InputError for anything else."""
    form = os.environ.get(VARIABLE, "auto")
    require_choice(VARIABLE, form, FORMS)
    return form


def _unfit(params: Params, x: Inputs, y: Array, rows: int | None) -> str:
    """What keeps the kernel from taking these arguments, or nothing."""
    reasons = {
        f"the device {jax.default_backend()}": jax.default_backend() != "cpu",
        "several devices": jax.device_count() > 1,  # XLA would not split its work among them
        f"dtype {x.dtype}": x.dtype != jnp.float32,
        "a label for each class": y.ndim == 2,
        "one class": params.weight.shape[1:] == (1,),
        f"more than {FEW} classes": params.weight.shape[1:] > (FEW,),
        "rows": rows is not None,
        "codes": isinstance(x, Coded),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


@cache
def times_as_fast(features: int, classes: int) -> float:
    """The kernel's speed as times of XLA's, on `SAMPLE` bytes; `classes` is 0 for binary labels.

    Measured at the first call in a process, which compiles both: in milliseconds after that.
    """
    examples = max(1, SAMPLE // (4 * features))
    outputs = (classes,) if classes else ()
    forms = (_by_kernel, partial(_by_rows, rows=None))
    best = [np.inf, np.inf]
    with jax.ensure_compile_time_eval():
        params = Params(jnp.zeros((features, *outputs), np.float32), jnp.zeros(outputs, np.float32))
        x = jnp.ones((examples, features), np.float32)
        y = jnp.zeros(examples, np.int32 if classes else np.float32)
        programs = [jax.jit(form).lower(params, x, y).compile() for form in forms]
        for _ in range(8):
            for number, program in enumerate(programs):
                began = time.perf_counter()
                jax.block_until_ready(program(params, x, y))
                best[number] = min(best[number], time.perf_counter() - began)
    kernel, xla = best
    return xla / kernel


@jax.custom_jvp
def _by_kernel(params: Params, x: Array, y: Array) -> tuple[Scalar, Params]:
    """(Σ ℓ, its gradient) by machine code, which has no derivative: that is taken of XLA's form."""
    from handgrad.fast import kernel

    return kernel.sums(params, x, y)


@_by_kernel.defjvp
def _by_kernel_jvp(primals: tuple, tangents: tuple) -> tuple:
    return jax.jvp(partial(_by_rows, rows=None), primals, tangents)


# --- blocks of rows -------------------------------------------------------------------------------


def _by_rows(params: Params, x: Inputs, y: Array, rows: int | None) -> tuple[Scalar, Params]:
    """(Σ ℓ, its gradient) by XLA, which cuts blocks faster from a flat array than from a matrix."""
    values = values_of(x)
    examples, columns = values.shape
    wide = params.weight.ndim == 2 and params.weight.shape[1] > FEW
    size = min(examples, rows or _rows_at_once(values, params.weight.shape[1] if wide else 0))
    whole = examples // size
    share: Any = _rows_first if wide or isinstance(x, Coded) else _classes_first

    def cut(number: Array) -> Inputs:
        if values.size > MOST_FLAT:
            block = lax.dynamic_slice_in_dim(values, number * size, size)
        else:
            begin, flat = number * (size * columns), values.reshape(-1)
            block = lax.dynamic_slice_in_dim(flat, begin, size * columns).reshape(size, columns)
        return like(x, block)

    def step(sums: tuple, numbered: tuple[Array, Array]) -> tuple[tuple, None]:
        number, labels = numbered
        return jax.tree.map(jnp.add, sums, share(params, cut(number), labels)), None

    across = jnp.zeros(params.weight.T.shape, params.weight.dtype)
    sums = jnp.zeros((), x.dtype), Params(across, jnp.zeros_like(params.bias))
    labels = y[: whole * size].reshape(whole, size, *y.shape[1:])
    sums, _ = lax.scan(step, sums, (jnp.arange(whole), labels))
    if examples % size:
        rest = share(params, x[whole * size :], y[whole * size :])
        sums = jax.tree.map(jnp.add, sums, rest)
    return sums[0], sums[1]._replace(weight=sums[1].weight.T)


def _rows_at_once(x: Array, classes: int) -> int:
    """The rows of a block of x; with many classes their logits count too, and outgrow it.

    On an accelerator a block is all of x: to start a block's programs takes about 20 µs, in which
    its memory moves more bytes than a cache holds that could save the second read.
    """
    if jax.default_backend() != "cpu":
        return x.shape[0]
    numbers = (WIDE_BYTES if classes else ROW_BYTES) // x.dtype.itemsize
    rows = numbers // (x.shape[1] + classes)
    return max(1, rows if rows < 16 else rows // 16 * 16)


def _classes_first(params: Params, block: Array, labels: Array) -> tuple[Array, Params]:
    """(Σ ℓ, its gradient) over a block of rows (R, D), by logits (R,) or (K, R); ∂/∂W is (K, D).

    XLA would turn rᵀ x, transposed at once, into xᵀ r, which takes up to twice as long.
    """
    residual = binary if params.weight.ndim == 1 else categorical
    z = lax.dot_general(
        params.weight, block, (((0,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
    )
    losses, r = residual(z + params.bias[..., None], labels.T)
    return losses, Params(matmul(r, block), jnp.sum(r, axis=-1))


def _rows_first(params: Params, block: Inputs, labels: Array) -> tuple[Array, Params]:
    """The same by logits (R,) or (R, K): the softmax of a row reads its logits from one place."""
    z = linear.affine(params, block)
    losses, r = binary(z, labels) if z.ndim == 1 else categorical(z, labels, axis=1)
    gradient = linear.affine_pullback(r, block)
    return losses, gradient._replace(weight=gradient.weight.T)


def gradient(
    params: Params,
    x: Inputs | Packed,
    y: ArrayLike | None = None,
    l2: float = 0.0,
    rows: int | None = None,
    form: str = "auto",
) -> Params:
    """∇E alone; see `value_and_gradient`."""
    return value_and_gradient(params, x, y, l2, rows, form)[1]


def _check_examples(x: Inputs | np.ndarray, y: ArrayLike | None, rows: int | None) -> None:
    """Raise InputError unless x is (N, D) and floating, y has N rows, and `rows` is a size."""
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    if y is None:
        raise InputError("y", "labels beside an array of features", "None", "pass y")
    dtype_of("y", y)
    if len(shape_of(y)) not in (1, 2):
        raise InputError("y", "shape (N,) or (N, K)", f"shape {shape_of(y)}", "reshape the labels")
    require_axis("y", y, 0, shape_of(x)[0], "examples, as x has")
    if rows is not None:
        require_size("rows", rows, remedy="pass 4096, or leave it")


def _check(
    params: Params, x_shape: tuple[int, ...], y_shape: tuple[int, ...], y_dtype: DTypeLike
) -> None:
    """Raise InputError unless the parameters fit the features, and the labels the logits."""
    require_axis("params.weight", params.weight, 0, x_shape[1], "features, as x has")
    outputs, dtype = shape_of(params.weight)[1:], jnp.result_type(params.weight)
    check = require_class_labels if outputs else require_binary_labels
    logits = Shaped((x_shape[0], *outputs), dtype)
    check(Shaped(y_shape, y_dtype), logits)
