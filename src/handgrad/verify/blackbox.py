"""Gradients that cannot be traced (NumPy, PyTorch, scikit-learn): called, not traced.

Such a gradient gets NumPy arrays in the judged dtype. Nothing can be said of its algebra; its
numbers are held against the truth under a bound: `ALLOWANCE` times one ulp of the coordinate and
what the conditioning of the point costs.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.verify.agreement import ALLOWANCE
from handgrad.verify.numerics import PointResult, conditioning, error_ulp
from handgrad.verify.witnesses import Layout, Problem, describe_error, named_leaves, rounded


@dataclass(frozen=True)
class BlackBoxEvaluator:
    """Hand by calling it with NumPy arrays, autodiff beside it, at one point after another."""

    problem: Problem

    def answers(self, rows: np.ndarray, leaves: list, dtype: str) -> dict[str, np.ndarray]:
        """The answers of hand and of autodiff at every row, as float64."""
        layout = self.problem.layout
        points = [rounded(layout.replaced(leaves, row), dtype) for row in rows]
        return {
            "hand": np.stack([self._hand(layout.args(point)) for point in points]),
            "autodiff": np.stack([self._autodiff(layout.args(point), dtype) for point in points]),
        }

    def _hand(self, args: tuple) -> np.ndarray:
        """The gradient as one row. Raises InputError if it cannot be had."""
        shapes = self.problem.layout.shapes
        try:
            answer = self.problem.gradient(*args)
        except Exception as error:
            raise InputError(
                "gradient", "a function of the arguments in `at`", describe_error(error),
                "call gradient(*at) by itself and mend what it raises",
            ) from error  # fmt: skip
        leaves = [np.asarray(leaf) for _, leaf in named_leaves(answer)]
        got = tuple(np.shape(leaf) for leaf in leaves)
        if got != shapes:
            raise InputError(
                "gradient", f"leaves of shapes {list(shapes)}, as jax.grad gives", list(got),
                "return one array for each leaf of argnums",
            )  # fmt: skip
        return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in leaves])

    def _autodiff(self, args: tuple, dtype: str) -> np.ndarray:
        with x64(dtype == "float64"):
            leaves = jax.tree.leaves(self.problem.autodiff(*jax.tree.map(jnp.asarray, args)))
            return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves])


def outside_bound(points: list[PointResult], layout: Layout, dtype: str) -> str | None:
    """The first coordinate of hand beyond the bound, in words, or None."""
    for point in points:
        for index, true in enumerate(point.truth):
            bound = ALLOWANCE * (1 + conditioning(true, point.enclosure(index), dtype))
            computed = float(point.answers["hand"][index])
            error = error_ulp(computed, true, dtype)
            if not error <= bound and not (true.is_zero() and computed == 0):
                return (
                    f"{dtype} {layout.coordinate(index)}: {computed:.9g} for "
                    f"{float(true.mid()):.9g}, {error:.3g} ulp where {bound:.3g} are allowed"
                )
    return None
