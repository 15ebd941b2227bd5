"""The gradient of logistic regression over gigabytes of rows, beside the speed of reading them.

One read of x is the least that can be done, and XLA's two products take two. What was tried to come
closer: blocks of rows that a cache holds between the products, and a kernel of our own in Pallas,
which keeps a tile of rows in registers. Float32 products are taken without TF32, as the digits of
the gradient ask for; PyTorch's default is the same.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.experimental import pallas as pl

from benchmarks.accelerator import by_torch
from benchmarks.accelerator.runner import first_line, shape_by_shape
from handgrad.bench.one_pass import TOLERANCE, optax_loss
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import Contender, compiled, equal_to, fastest, race, ratio, readers
from handgrad.fast import one_pass
from handgrad.fast.residuals import binary
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params

SHAPES = ((28 * 2**20, 64), (30 * 2**17, 512))
"""Rows and features: 7.5 and 8 GB."""
SMALL = (4_096, 64)
OF_READ = 0.85
"""Of the speed of reading x once, asked for."""
BLOCKS = (2**25, 2**28)
"""Bytes of the blocks of rows that are tried."""


def race_shapes(small: bool, seconds: float) -> Iterator[Report]:
    """A report for each shape, as many as there is time for."""

    def at(shape: tuple[int, ...], left: float) -> Report:
        examples, features = shape
        with jax.default_matmul_precision("highest"):
            return measure(examples, features, small, left / 4)

    yield from shape_by_shape((SMALL,) if small else SHAPES, seconds, seconds / 4, at)


def problem(examples: int, features: int) -> tuple[Params, jax.Array, jax.Array]:
    """Normal features and random labels, drawn on the device."""
    keys = random.split(random.key(0), 3)
    x = random.normal(keys[0], (examples, features))
    y = random.bernoulli(keys[1], shape=(examples,)).astype(jnp.float32)
    return Params(random.normal(keys[2], (features,)) / 8, jnp.zeros(())), x, y


def measure(examples: int, features: int, small: bool = False, seconds: float = 20.0) -> Report:
    """All contenders at one shape; the time of `seconds` is that of the race alone."""
    at = problem(examples, features)
    params, x, _ = at
    baseline = compiled("optax + jax.grad", jax.value_and_grad(optax_loss(1)), *at)
    check = equal_to(baseline.answer, TOLERANCE)
    gradient = one_pass.value_and_gradient
    ours = compiled("one pass", gradient, *at, check=check)
    plainly = compiled("handgrad, plain", logistic.value_and_gradient, *at, check=check)
    tried, notes = attempts(at, check, small)
    others, left_out = by_torch.taking_part(peers, at, check)
    limits = readers(x, params.weight)
    contenders = [baseline, ours, plainly, *tried, *others, *limits]
    timings = race(contenders, seconds, small)
    slow, fast = timings[baseline.name], timings[ours.name]
    read = fastest([timings[limit.name] for limit in limits])
    rows = [row(t, slow, of_read=ratio(read, t).median) for t in timings.values()]
    best = fastest([slow, *(timings[other.name] for other in others)])
    bars = [
        Bar("of the speed of reading x once", OF_READ, ratio(read, fast).median),
        Bar("times as fast as optax + jax.grad", 1.0, ratio(slow, fast).median),
        Bar(f"times as fast as the best peer, {best.name}", 1.0, ratio(best, fast).median),
    ]
    speed = x.nbytes / read.quartiles.median / 1e9
    notes += [f"x is {x.nbytes / 1e9:,.2f} GB, read at {speed:,.0f} GB/s", *left_out]
    title = f"{examples:,} × {features} float32, binary"
    return Report("one_pass", title, rows, bars, notes, {"kind": "roofline"})


def attempts(at: tuple, check: Any, small: bool) -> tuple[list[Contender], list[str]]:
    """Blocks of several sizes, and the kernel; notes of what could not be compiled."""
    x = at[1]
    found, notes = [], []
    row_bytes = x.dtype.itemsize * x.shape[1]
    programs: dict[str, Any] = {
        f"tried: blocks of {size // 2**20} MB": partial(
            one_pass.value_and_gradient, rows=min(len(x), size // row_bytes)
        )
        for size in BLOCKS
    }
    programs["tried: a kernel, one read"] = partial(
        in_one_kernel, interpret=jax.default_backend() == "cpu"
    )
    for name, program in programs.items():
        try:
            found.append(compiled(name, program, *at, check=check))
        except Exception as fault:  # what a compiler cannot do, or does wrong, has no time
            notes.append(f"{name} is left out: {first_line(fault)}")
    return found, notes


def peers(torch: Any, at: tuple, check: Any) -> tuple[list[Contender], list[str]]:
    """PyTorch by autograd and compiled."""
    params, x, y = at
    tx, ty = by_torch.tensor(x), by_torch.tensor(y)
    functional = torch.nn.functional

    def torch_loss(w: Any, b: Any) -> Any:
        return functional.binary_cross_entropy_with_logits(tx @ w + b, ty)

    return by_torch.contenders(torch_loss, (params.weight, params.bias), check)


# --- a kernel of our own --------------------------------------------------------------------------

OF_A_PROGRAM = 2**20
"""Numbers of x that one program of the kernel reads."""
OF_A_TILE = 2**11
"""Numbers of x that it holds at once, in registers."""


def in_one_kernel(
    params: Params, x: jax.Array, y: jax.Array, interpret: bool = False
) -> tuple[jax.Array, Params]:
    """(E, ∇E) from one read of x, whose features and rows are powers of two or nearly so.

    Each program goes through its rows tile by tile: while a tile is in registers, its logits, its
    losses and its share of the gradient are taken. The programs' sums are added up in the end.
    """
    examples, features = x.shape
    rows = min(examples, OF_A_PROGRAM // features)
    tile = min(rows, max(1, OF_A_TILE // features))
    programs = examples // rows
    if programs * rows != examples or rows % tile:
        raise ValueError(f"{examples} rows do not divide into programs of {rows}, tiles of {tile}")

    def kernel(x_ref: Any, y_ref: Any, w_ref: Any, b_ref: Any, *sums: Any) -> None:
        w, b = w_ref[:], b_ref[0]

        def step(number: jax.Array, so_far: tuple) -> tuple:
            by_weight, by_bias, total = so_far
            here = pl.ds(number * tile, tile)
            block, labels = x_ref[here, :], y_ref[here]
            z = jnp.sum(block * w[None, :], axis=1) + b
            losses, r = binary(z, labels)
            share = jnp.sum(r[:, None] * block, axis=0)
            return by_weight + share, by_bias + jnp.sum(r), total + losses

        zero = jnp.zeros((), x.dtype)
        found = lax.fori_loop(0, rows // tile, step, (jnp.zeros(features, x.dtype), zero, zero))
        sums[0][0, :] = found[0]
        sums[1][0] = found[1]
        sums[2][0] = found[2]

    each = pl.BlockSpec((1,), lambda i: (i,))
    every = pl.BlockSpec((1,), lambda i: (0,))
    alone = jax.ShapeDtypeStruct((programs,), x.dtype)
    by_weight, by_bias, total = pl.pallas_call(
        kernel,
        grid=(programs,),
        in_specs=[
            pl.BlockSpec((rows, features), lambda i: (i, 0)),
            pl.BlockSpec((rows,), lambda i: (i,)),
            pl.BlockSpec((features,), lambda i: (0,)),
            every,
        ],
        out_specs=[pl.BlockSpec((1, features), lambda i: (i, 0)), each, each],
        out_shape=[jax.ShapeDtypeStruct((programs, features), x.dtype), alone, alone],
        interpret=interpret,
    )(x, y, params.weight, params.bias[None])
    gradient = Params(jnp.sum(by_weight, axis=0) / examples, jnp.sum(by_bias) / examples)
    return jnp.sum(total) / examples, gradient
