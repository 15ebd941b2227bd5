"""Objectives of boosting libraries: (gradient, second derivatives) by prediction.

Such a library divides by the second derivatives, and many objectives give it something else: an
upper bound of the curvature, under which each step is safe, or a floor under a small number. What
is returned is therefore told apart: the second derivative itself; the same held from below; a
bound, proved here as such; or none of these.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad import exact
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.interop import as_jax
from handgrad.verify.api import verify, with_known_leaves
from handgrad.verify.derivatives import name_of, verify_hessian
from handgrad.verify.verdict import Verdict

CLOSE = 1e-5
"""Relative: how near in float32 two numbers are that are meant to be the same."""
MOST_CLASSES = 64
"""Predictions of one example whose second derivatives are bounded together."""


def verify_objective(objective: Callable, *, of: Callable, at: tuple, **options: Any) -> Verdict:
    """Judge `objective(predictions, labels)`, which returns (grad, hess) as boosting libraries ask.

    `of(predictions, labels)` is the loss, one number, or one for each example (their sum is meant);
    predictions, (N,) or (N, K), are raw margins; grad and hess have their shape. grad is judged as
    any gradient is; hess as the diagonal of the second derivatives. Where it is not that, it is
    still right as a bound: if diag(hess) − ∂²L is positive semidefinite in the predictions of each
    example, shown in ball arithmetic at the point given, or as the diagonal held from below by one
    number. The notes say which. `options` are those of `handgrad.verify`.

    >>> def loss(z, y):
    ...     return jnp.sum(jax.nn.softplus(z) - y * z)
    >>> def objective(z, y):
    ...     p = 1 / (1 + np.exp(-z))
    ...     return p - y, p * (1 - p)
    >>> at = (np.array([0.3, -1.2]), np.array([1.0, 0.0]))
    >>> verify_objective(objective, of=loss, at=at).ok
    True
    """
    if not isinstance(at, tuple) or len(at) != 2 or np.ndim(at[0]) not in (1, 2):
        raise InputError(
            "at", "(predictions, labels), the predictions of shape (N,) or (N, K)",
            [np.shape(leaf) for leaf in at] if isinstance(at, tuple) else type(at).__name__,
            "pass raw margins and labels as arrays",
        )  # fmt: skip
    name = options.pop("name", None) or name_of(objective)
    of = as_jax(of, at)
    options["points"] = with_known_leaves(options.get("points"), at, of)

    def total(predictions: Any, labels: Any) -> jax.Array:
        return jnp.sum(of(predictions, labels))

    def part(index: int) -> Callable:
        def one(predictions: Any, labels: Any) -> Any:
            answer = objective(predictions, labels)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise InputError(
                    "objective", "a function that returns (grad, hess)", type(answer).__name__,
                    "return both, each in the shape of the predictions",
                )  # fmt: skip
            return answer[index]

        return one

    first = verify(part(0), of=total, at=at, name=f"grad of {name}", **options)
    if not first.ok:
        meant = _on_probabilities(objective, total, at)
        return replace(first, cause=meant or first.cause)
    second = verify_hessian(
        part(1), of=total, at=at, diagonal=True, name=f"hess of {name}", **options
    )
    if second.ok:
        return _both(name, first, second, "hess is the second derivative")
    if second.hand not in ("different", "not traceable"):
        return second
    kind = _kind_of_hess(part(1), total, at)
    if kind:
        return _both(name, first, second, kind)
    return second


def _both(name: str, first: Verdict, second: Verdict, kind: str) -> Verdict:
    """One verdict for the pair: that on grad, with what hess is."""
    return replace(
        first, name=name, compared=first.compared + second.compared, notes=(kind, *first.notes)
    )


def _on_probabilities(objective: Callable, total: Callable, at: tuple) -> str | None:
    """Whether grad would be right if the predictions were probabilities."""
    z, y = (np.asarray(leaf) for leaf in at)
    z = z.astype(np.float64)
    with x64():
        truth = np.asarray(jax.grad(total)(jnp.asarray(z), y))
        for link, function in (("sigmoid", jax.nn.sigmoid), ("softmax", jax.nn.softmax)):
            if link == "softmax" and z.ndim == 1:
                continue
            try:
                grad = np.asarray(objective(np.asarray(function(z)), y)[0], np.float64)
            except Exception:
                return None
            if grad.shape == truth.shape and np.allclose(grad, truth, rtol=CLOSE, atol=1e-12):
                return (
                    f"the objective takes its predictions for probabilities, and they are raw "
                    f"margins: pass them through the {link} first"
                )
    return None


def _kind_of_hess(hess: Callable, total: Callable, at: tuple) -> str | None:
    """What hess is if it is not the second derivative: held from below, or a bound."""
    z = np.asarray(at[0], np.float64)
    with x64():
        given = np.asarray(hess(z, at[1]), np.float64)
        if given.shape != z.shape or not np.isfinite(given).all():
            return None
        blocks = _curvature(total, z, at[1])
    diagonal = np.array([[float(block[i, i].mid()) for i in range(len(block))] for block in blocks])
    diagonal = diagonal.reshape(z.shape)
    same = np.abs(given - diagonal) <= CLOSE * np.abs(diagonal)
    if same.any() and not same.all():
        floors = np.unique(given[~same])
        if len(floors) == 1 and (diagonal[~same] < floors[0]).all() and floors[0] > 0:
            return f"hess is the second derivative, held from below by {floors[0]:.3g}"
    rows = given.reshape(len(blocks), -1)
    if all(_bounds(row, block) for row, block in zip(rows, blocks, strict=True)):
        ratios = given / diagonal
        times = f", {ratios.flat[0]:.6g} times its diagonal" if np.ptp(ratios) < CLOSE else ""
        return (
            f"hess is not the second derivative but an upper bound of it{times}: diag(hess) − ∂²L "
            f"is positive semidefinite at each example, shown in ball arithmetic"
        )
    return None


def _curvature(total: Callable, z: np.ndarray, y: Any) -> list[np.ndarray]:
    """∂²L in the predictions of each example, as balls: (K, K) for each."""
    slope = jax.grad(total)
    classes = 1 if z.ndim == 1 else z.shape[1]
    if classes > MOST_CLASSES:
        return []

    def column(z: Any, y: Any, k: Any) -> Any:
        unit = jnp.broadcast_to((jnp.arange(classes) == k).astype(z.dtype), (len(z), classes))
        return jax.jvp(lambda z: slope(z, y), (z,), (unit.reshape(z.shape),))[1]

    def columns(z: Any, y: Any) -> Any:
        return jnp.stack([column(z, y, k) for k in range(classes)])

    found = exact.evaluate(columns, z, y)
    return list(np.moveaxis(np.asarray(found).reshape(classes, len(z), classes), 0, 2))


def _bounds(given: np.ndarray, block: np.ndarray) -> bool:
    """Whether diag(given) − block is positive semidefinite: surely, by a Cholesky decomposition.

    An eigenvalue of exactly 0, as common shifts of all logits give it, is met by a step of 1e-9.
    """
    size = len(block)
    rest = np.array([[-block[i, j] for j in range(size)] for i in range(size)], dtype=object)
    for i in range(size):
        rest[i, i] = arb(float(given[i])) * (1 + arb(10) ** -9) - block[i, i]
    for k in range(size):
        if not rest[k, k] > 0:
            return False
        for i in range(k + 1, size):
            rest[i, k + 1 :] = rest[i, k + 1 :] - rest[k, k + 1 :] * (rest[i, k] / rest[k, k])
    return True
