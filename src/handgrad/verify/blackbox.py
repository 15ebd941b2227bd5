"""Gradients that cannot be traced: NumPy, PyTorch, scikit-learn. They are asked, not read.

Such a gradient gets NumPy arrays in the judged dtype. Nothing can be said of its algebra; its
numbers are held against the truth under a bound: `ALLOWANCE` times one ulp of the coordinate and
what the conditioning of the point costs.
"""

from collections.abc import Callable

import numpy as np

from handgrad.errors import InputError
from handgrad.verify.agreement import ALLOWANCE
from handgrad.verify.layout import Layout, rounded
from handgrad.verify.numerics import Sight, conditioning, error_ulp
from handgrad.verify.witnesses import named_leaves


def numpy_answer(gradient: Callable, layout: Layout, leaves: list, dtype: str) -> np.ndarray:
    """The gradient at these leaves as one row of float64. Raises InputError if it cannot be had."""
    args = layout.args(rounded(leaves, dtype))
    try:
        answer = gradient(*args)
    except Exception as fault:
        raise InputError(
            "gradient", "a function of the arguments in `at`", f"{type(fault).__name__}: {fault}",
            "call gradient(*at) by itself and mend what it raises",
        ) from fault  # fmt: skip
    named = named_leaves(answer)
    got = tuple(np.shape(np.asarray(leaf)) for _, leaf in named)
    if got != layout.shapes:
        raise InputError(
            "gradient", f"leaves of shapes {list(layout.shapes)}, as jax.grad gives", list(got),
            "return one array for each leaf of argnums",
        )  # fmt: skip
    rows = [np.ravel(np.asarray(leaf)).astype(np.float64) for _, leaf in named]
    return np.concatenate(rows)


def outside_bound(sights: list[Sight], layout: Layout, dtype: str) -> str | None:
    """The first coordinate of hand beyond the bound, in words, or None."""
    for sight in sights:
        for index, true in enumerate(sight.truth):
            spread = None if sight.spread is None else sight.spread[index]
            cost = conditioning(true, spread, dtype)
            bound = ALLOWANCE * (1 + cost)
            computed = float(sight.answers["hand"][index])
            error = error_ulp(computed, true, dtype)
            if true.is_zero() and computed == 0:
                continue
            if not error <= bound:
                return (
                    f"{dtype} {layout.coordinate(index)}: {computed:.9g} for "
                    f"{float(true.mid()):.9g}, {error:.3g} ulp where {bound:.3g} are allowed"
                )
    return None
