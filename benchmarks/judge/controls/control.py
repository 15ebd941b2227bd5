"""A control: a right gradient of a public layer or loss, and the same with a mistake people make.

Each is made by a function `layer()` whose docstring says "the layer; the mistake". Its gradient
takes `wrong=True` for the mistake. `cause` is what a person would call it: the diagnosis has to
contain one of these phrases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from benchmarks.judge.trials import (
    accused_by_jax,
    accused_by_torch,
    check_first_order,
    check_pullback,
)
from handgrad.verify import Verdict, verify
from handgrad.verify.mathematics import RIGHT

CHECKS: dict[str, Callable[..., bool]] = {
    "check_grads float32": partial(accused_by_jax, dtype="float32", check=check_first_order),
    "check_grads float64": partial(accused_by_jax, dtype="float64", check=check_first_order),
    "check_vjp float64": partial(accused_by_jax, dtype="float64", check=check_pullback),
}
if find_spec("torch"):
    CHECKS["gradcheck"] = accused_by_torch


@dataclass(frozen=True)
class Control:
    """A loss, its gradient, right and wrong, the point, and phrases of which one is the cause."""

    loss: Callable
    gradient: Callable
    at: tuple
    cause: tuple[str, ...]
    argnums: int | tuple[int, ...] = 0

    @property
    def wrong(self) -> Callable:
        """The gradient with the mistake in it."""
        return partial(self.gradient, wrong=True)


@dataclass(frozen=True)
class Outcome:
    """What became of one control before the judge, and before the checks beside."""

    family: str
    name: str
    layer: str
    mistake: str
    black_box: bool
    right: str
    """'right', 'accused', 'undecided' or 'crashed'."""
    wrong: str
    """'caught', 'missed', 'undecided' or 'crashed'."""
    expected: tuple[str, ...]
    cause: str
    named: bool
    said: str
    """What the judge says of the right gradient, where it does not call it right."""
    accused_by: tuple[str, ...] = ()
    missed_by: tuple[str, ...] = ()


def draw(seed: int, *shapes: tuple[int, ...]) -> Any:
    """Standard normal numbers to three decimals: one array, or one for each shape."""
    rng = np.random.default_rng(seed)
    arrays = [np.round(rng.normal(size=shape), 3) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def try_control(
    family: str, make: Callable[[], Control], beside: bool = True, evaluations: int = 0
) -> Outcome:
    """One control before the judge; with `beside`, before the other checks too.

    `evaluations` are those of the search around the right gradient, in each dtype.
    """
    control = make()
    layer, _, mistake = (make.__doc__ or "").partition("; ")
    right = _judged(control, control.gradient, evaluations)
    wrong = _judged(control, control.wrong, 0)
    cause = (wrong.cause if isinstance(wrong, Verdict) else None) or ""
    checks = CHECKS if beside else {}
    accusers = [_accusers(control, g, checks) for g in (control.gradient, control.wrong)]
    return Outcome(
        family=family,
        name=make.__name__,
        layer=layer,
        mistake=mistake.rstrip("."),
        black_box=isinstance(right, Verdict)
        and (right.hand == "not traceable" or "the gradient was read through NumPy" in right.notes),
        right=_status(right, "right", "accused"),
        wrong=_status(wrong, "missed", "caught"),
        expected=control.cause,
        cause=cause,
        named=any(phrase.lower() in cause.lower() for phrase in control.cause),
        said="" if isinstance(right, Verdict) and right.ok else str(right),
        accused_by=accusers[0],
        missed_by=tuple(name for name in checks if name not in accusers[1]),
    )


def _judged(control: Control, gradient: Callable, evaluations: int) -> Verdict | Exception:
    """The verdict, or what the judge raised: one crash must not end the table."""
    try:
        return verify(
            gradient,
            of=control.loss,
            at=control.at,
            argnums=control.argnums,
            evaluations=evaluations,
        )
    except Exception as error:
        return error


def _status(found: Verdict | Exception, if_right: str, if_wrong: str) -> str:
    if isinstance(found, Exception):
        return "crashed"
    if found.ok:
        return if_right
    settled = found.hand in ("different", "not traceable", *RIGHT)
    return if_wrong if settled else "undecided"


def _accusers(control: Control, gradient: Callable, checks: dict) -> tuple[str, ...]:
    """Those of the checks that fail the loss with this gradient."""
    return tuple(
        name
        for name, accuses in checks.items()
        if accuses(control.loss, gradient, control.at, control.argnums)
    )


def softmax(z: Any, axis: int = -1) -> Any:
    """Probabilities along an axis, of NumPy arrays or JAX arrays."""
    xp = np if isinstance(z, np.ndarray) else jax.numpy
    e = xp.exp(z - xp.max(z, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def sigmoid(z: Any) -> Any:
    """σ of NumPy arrays or JAX arrays, without overflow."""
    xp = np if isinstance(z, np.ndarray | np.generic | float) else jax.numpy
    return 0.5 * (1 + xp.tanh(z / 2))
