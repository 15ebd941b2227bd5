"""One gradient of logistic or softmax regression over all the data, beside memory's speed."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import (
    Contender,
    by_torch,
    compiled,
    equal_to,
    fastest,
    installed,
    missing,
    plain,
    race,
    ratio,
    readers,
)
from handgrad.fast import one_pass
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

TITLE = "the gradient of logistic and softmax regression, from one read of the data"
SHAPES = ((1_000_000, 64, 1), (100_000, 512, 1), (1_000_000, 64, 10), (100_000, 512, 10))
TOLERANCE = 1e-4
"""Sums of a million float32 products, in whatever order: relative to the largest coordinate."""


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each shape."""
    for examples, features, classes in SHAPES[:: 2 if quick else 1]:
        yield measure(examples // 50 if quick else examples, features, classes, quick)


def measure(examples: int, features: int, classes: int, quick: bool = False) -> Report:
    """All contenders at one shape."""
    params, x, y = problem(examples, features, classes)
    reference = softmax_regression if classes > 1 else logistic
    held, labels = jnp.asarray(x), jnp.asarray(y)

    at = params, held, labels
    baseline = compiled("optax + jax.grad", jax.value_and_grad(optax_loss(classes)), *at)
    check = equal_to(baseline.answer, TOLERANCE)
    began = time.perf_counter()
    packed = jax.block_until_ready(one_pass.pack(x, y))
    packing = time.perf_counter() - began
    gradient = one_pass.value_and_gradient
    by_rows = compiled("one pass", partial(gradient, form="xla"), *at, check=check)
    by_blocks = compiled("one pass, packed", gradient, params, packed, check=check)
    ours = [by_rows, by_blocks]
    if installed("numba") is not None:
        ours.append(compiled("one pass, numba", partial(gradient, form="numba"), *at, check=check))
    unfused = compiled("handgrad, plain", reference.value_and_gradient, *at, check=check)
    others, left_out = peers(params, x, y, classes, check)
    limits = readers(held, params.weight)
    timings = race([baseline, *ours, unfused, *others, *limits], quick=quick)
    slow, fast = timings[baseline.name], fastest([timings[c.name] for c in ours])
    read = fastest([timings[limit.name] for limit in limits])
    best = fastest([slow, *(timings[other.name] for other in others)])
    plain_pass, packed_pass = (timings[c.name].quartiles.median for c in (by_rows, by_blocks))
    gained = plain_pass - packed_pass
    rows = [row(t, slow, of_read=ratio(read, t).median) for t in timings.values()]
    binary = classes == 1
    bars = [
        Bar("times as fast as optax + jax.grad", 2.5 if binary else 2.0, ratio(slow, fast).median),
        Bar(f"times as fast as the best peer, {best.name}", 1.4 if binary else 1.3,
            ratio(best, fast).median),
    ]  # fmt: skip
    if binary:
        bars.append(Bar("of the speed of reading x once", 0.65, ratio(read, fast).median))
    repaid = f"after {packing / gained:.0f} passes" if gained > 0 else "never"
    speed = held.nbytes / read.quartiles.median / 1e9
    notes = [
        f"packing took {packing:.2f} s, paid back beside the plain pass {repaid}",
        f"x is {held.nbytes / 1e6:,.0f} MB, read at {speed:.1f} GB/s",
        *left_out,
        *missing(["torch", "numba"]),
    ]
    kind = f"{classes} classes" if classes > 1 else "binary"
    title = f"{examples:,} × {features} float32, {kind}"
    return Report("one_pass", title, rows, bars, notes, {"kind": "roofline"})


def problem(examples: int, features: int, classes: int) -> tuple[Params, np.ndarray, np.ndarray]:
    """Normal features, random labels, and weights at which the residuals are of all sizes."""
    rng = np.random.default_rng(0)
    outputs = (classes,) if classes > 1 else ()
    weight = rng.standard_normal((features, *outputs), np.float32) / 8
    x = rng.standard_normal((examples, features), np.float32)
    labels = rng.integers(0, max(classes, 2), examples)
    y = labels.astype(np.int32 if classes > 1 else np.float32)
    return Params(jnp.asarray(weight), jnp.zeros(outputs, jnp.float32)), x, y


def optax_loss(classes: int) -> Callable[[Params, Any, Any], jax.Array]:
    """The loss of logistic or of softmax regression, as it is usually written with optax."""
    per_example = optax.sigmoid_binary_cross_entropy
    if classes > 1:
        per_example = optax.softmax_cross_entropy_with_integer_labels

    def loss(params: Params, x: Any, y: Any) -> jax.Array:
        return jnp.mean(per_example(x @ params.weight + params.bias, y))

    return loss


def peers(
    params: Params, x: np.ndarray, y: np.ndarray, classes: int, check: Any
) -> tuple[list[Contender], list[str]]:
    """NumPy, and PyTorch by hand, by autograd and compiled, where it is; notes of who cannot."""
    weight, bias = np.asarray(params.weight), np.asarray(params.bias)
    n = np.float32(len(x))

    def by_numpy() -> Any:
        z = x @ weight + bias
        if classes > 1:
            z -= z.max(axis=1, keepdims=True)
            e = np.exp(z)
            total = e.sum(axis=1, keepdims=True)
            value = np.mean(np.log(total[:, 0]) - z[np.arange(len(x)), y])
            r = e / total
            r[np.arange(len(x)), y] -= 1
        else:
            value = np.mean(np.logaddexp(0, z) - y * z)
            r = 1 / (1 + np.exp(-z)) - y
        return value, (x.T @ r / n, r.sum(axis=0) / n)

    found = [plain("NumPy", by_numpy, check)]
    torch: Any = installed("torch")
    if torch is None:
        return found, []
    tx, tw, tb = torch.from_numpy(x), torch.tensor(weight), torch.tensor(bias)
    ty = torch.from_numpy(y.astype(np.int64) if classes > 1 else y)
    functional = torch.nn.functional

    def torch_loss(w: Any, b: Any) -> Any:
        if classes > 1:
            return functional.cross_entropy(tx @ w + b, ty)
        return functional.binary_cross_entropy_with_logits(tx @ w + b, ty)

    def by_hand() -> Any:
        z = tx @ tw + tb
        if classes > 1:
            value = functional.cross_entropy(z, ty)
            r = torch.softmax(z, 1)
            r[torch.arange(len(x)), ty] -= 1
        else:
            value = functional.binary_cross_entropy_with_logits(z, ty)
            r = torch.sigmoid(z) - ty
        r /= float(n)
        return float(value), ((tx.T @ r).numpy(), r.sum(0).numpy())

    leaves = tw.clone().requires_grad_(), tb.clone().requires_grad_()
    by_itself, notes = by_torch(torch_loss, leaves, check)
    return [*found, plain("PyTorch, by hand", by_hand, check), *by_itself], notes
