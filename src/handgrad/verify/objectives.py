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
from handgrad._checks import called_by_keyword
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.interop import as_arrays, as_called, read_as
from handgrad.verify.api import read_loss, verify, with_known_leaves
from handgrad.verify.derivatives import DTYPES, judging, name_of, verify_hessian
from handgrad.verify.verdict import Verdict
from handgrad.verify.witnesses import check_at, round_to

CLOSE = 1e-5
"""Relative: how near in float32 two numbers are that are meant to be the same."""
MOST_CLASSES = 64
"""Predictions of one example whose second derivatives are bounded together."""
LABELS: tuple = (
    ({0, 1}, "0 and 1", ("2y − 1", lambda y: 2 * y - 1), "−1 and 1"),
    ({-1, 1}, "−1 and 1", ("(y + 1)/2", lambda y: (y + 1) / 2), "0 and 1"),
)
"""Labels of two classes: as they are, in words, how the others come of them, and these in words."""


@called_by_keyword(
    "an objective, then of= and at= by name",
    "verify_objective(objective, of=loss, at=(predictions, labels))", "of", "at",
)  # fmt: skip
@judging("objective", "predictions and labels", "objective(*at)")
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
    arrays = as_arrays(at)
    check_at(arrays)
    of = read_loss(of, at, 0)
    options["points"] = with_known_leaves(options.get("points"), at, of)

    def total(predictions: Any, labels: Any) -> jax.Array:
        return jnp.sum(of(predictions, labels))

    total = read_as(total, of)

    def part(index: int) -> Callable:
        def one(predictions: Any, labels: Any) -> Any:
            answer = objective(predictions, labels)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise InputError(
                    "objective", "a function that returns (grad, hess)", type(answer).__name__,
                    "return both, each in the shape of the predictions",
                )  # fmt: skip
            if index and np.shape(answer[index]) != np.shape(predictions):
                raise InputError(
                    "objective", f"hess of shape {np.shape(predictions)}, as the predictions have",
                    np.shape(answer[index]), "return one second derivative for each prediction",
                )  # fmt: skip
            return answer[index]

        return one

    first = verify(part(0), of=total, at=at, name=f"grad of {name}", **options)
    if not first.ok:
        misread = None if first.is_undecided else _misread(objective, total, arrays)
        return replace(first, cause=misread or first.cause)
    second = verify_hessian(
        part(1), of=total, at=at, diagonal=True, name=f"hess of {name}", **options
    )
    if second.ok:
        return _both(name, first, second, "hess is the second derivative")
    if second.hand not in ("different", "not traceable"):
        return second
    kind = _kind_of_hess(part(1), total, arrays, options.get("dtypes", DTYPES))
    if kind:
        return _both(name, first, second, kind)
    return second


def _both(name: str, first: Verdict, second: Verdict, kind: str) -> Verdict:
    """One verdict for the pair: that on grad, with what hess is."""
    return replace(
        first, name=name, compared=first.compared + second.compared, notes=(kind, *first.notes)
    )


def _misread(objective: Callable, total: Callable, at: tuple) -> str | None:
    """Whether grad would be right if predictions or labels were what the objective takes them for.

    Raw margins are often taken for probabilities, and labels of 0 and 1 for −1 and 1.
    """
    z, y = np.asarray(at[0], np.float64), np.asarray(at[1])
    margins = "the objective takes its predictions for probabilities, and they are raw margins: "
    with x64():
        truth = np.asarray(jax.grad(total)(jnp.asarray(z), y))
        readings: list[tuple[str, Any, Any]] = [
            (f"{margins}pass them through the sigmoid first", jax.nn.sigmoid(z), y)
        ]
        if z.ndim == 2:
            readings.append((f"{margins}pass them through the softmax first", jax.nn.softmax(z), y))
        for values, name, (mending, mend), other in LABELS:
            if z.ndim == 1 and set(np.unique(y).tolist()) == values:
                said = f"the objective takes labels of {other}, and they are {name}: pass {mending}"
                readings.append((said, z, mend(y)))
        for said, predictions, labels in readings:
            try:
                grad = _numbers(objective, (predictions, labels), "float64")[0]
            except Exception:
                return None
            if grad.shape == truth.shape and np.allclose(grad, truth, rtol=CLOSE, atol=1e-12):
                return said
    return None


def _numbers(objective: Callable, at: tuple, dtype: str) -> list[np.ndarray]:
    """What the objective returns at a point rounded to a dtype, given as NumPy arrays or as JAX's.

    It is a list with hess alone for a function that returns that.
    """
    point, objective = round_to(at, dtype), as_called(objective)
    try:
        answer = objective(*jax.tree.map(np.asarray, point))
    except Exception:
        answer = objective(*point)
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return [np.asarray(part, np.float64) for part in parts]


def _kind_of_hess(
    hess: Callable, total: Callable, at: tuple, dtypes: tuple[str, ...]
) -> str | None:
    """What hess is if it is not the second derivative: held from below, or a bound.

    None if it is neither, or is something else in one of the dtypes asked.
    """
    z = np.asarray(at[0], np.float64)
    with x64():
        (given,) = _numbers(hess, at, "float64")
        if given.shape != z.shape or not np.isfinite(given).all():
            return None
        for dtype in dtypes:
            (rounded,) = _numbers(hess, at, dtype)
            nearness = float(jnp.finfo(dtype).eps) ** 0.5
            if not np.allclose(rounded, given, rtol=nearness, atol=0.0):
                return None
        blocks = _curvature(total, z, at[1])
    if blocks is None:
        return None
    diagonal = np.array([[float(block[i, i].mid()) for i in range(len(block))] for block in blocks])
    diagonal = diagonal.reshape(z.shape)
    same = np.abs(given - diagonal) <= CLOSE * np.abs(diagonal)
    if same.any() and not same.all():
        floors = np.unique(given[~same])
        if len(floors) == 1 and (diagonal[~same] < floors[0]).all() and floors[0] > 0:
            return f"hess is the second derivative, held from below by {floors[0]:.3g}"
    rows = given.reshape(len(blocks), -1)
    if all(_bounds(row, block) for row, block in zip(rows, blocks, strict=True)):
        ratios = given / np.where(diagonal == 0, np.nan, diagonal)
        times = f", {ratios.flat[0]:.6g} times its diagonal" if np.ptp(ratios) < CLOSE else ""
        return (
            f"hess is not the second derivative but an upper bound of it{times}: diag(hess) − ∂²L "
            f"is positive semidefinite at each example, shown in ball arithmetic"
        )
    return None


def _curvature(total: Callable, z: np.ndarray, y: Any) -> list[np.ndarray] | None:
    """∂²L in the predictions of each example, as balls: (K, K) for each.

    None for too many classes, and for a loss in which examples are mixed: its second derivatives
    along a combination of the examples are not that combination of those along each.
    """
    slope = jax.grad(total)
    classes = 1 if z.ndim == 1 else z.shape[1]
    if classes > MOST_CLASSES:
        return None
    weights = np.linspace(0.5, 1.5, len(z))

    def column(z: Any, y: Any, weights: Any, k: Any) -> Any:
        unit = weights[:, None] * (jnp.arange(classes) == k).astype(z.dtype)[None, :]
        return jax.jvp(lambda z: slope(z, y), (z,), (unit.reshape(z.shape),))[1]

    def columns(z: Any, y: Any, weights: Any) -> Any:
        return jnp.stack([column(z, y, weights, k) for k in range(classes)])

    found, weighted = (
        np.asarray(exact.evaluate(columns, z, y, w)).reshape(classes, len(z), classes)
        for w in (np.ones(len(z)), weights)
    )
    if not all(
        ball.overlaps(found[index] * float(weights[index[1]]))
        for index, ball in np.ndenumerate(weighted)
    ):
        return None
    return list(np.moveaxis(found, 0, 2))


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
