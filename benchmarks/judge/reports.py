"""One public report of a wrong derivative, and what every witness says about it.

A row is a function, the point and the dtype of the report, the faulty formula written anew, and
the package's own derivative where that package is installed. The true derivative is never typed
in: it is taken from values of the function alone, in ball arithmetic. From it follows whether the
fault is still in the installed version, apart from any verdict.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from benchmarks.judge.trials import check_first_order, check_pullback, with_derivative
from handgrad import exact
from handgrad._precision import x64
from handgrad.errors import Undecided
from handgrad.verify import Verdict, verify

CHECKS = ("check_grads", "check_vjp", "gradcheck")
MOST_COORDINATES = 12
"""Of a large point, the truth of this many coordinates is taken."""
DIGITS = 20
EPS_ALLOWED, ALLOWED = 100, 1e-6
"""A number is right within a relative 1e-6, or a hundred epsilons of its dtype if that is more."""

PRESENT, FIXED, ABSENT = "present", "fixed", "not here"


@dataclass(frozen=True)
class Bug:
    """A reported derivative: of which function, where it is wrong, and how it comes out wrong."""

    report: str
    """Where it was reported, as owner/repository#number."""
    function: str
    """What is differentiated."""
    loss: Callable
    at: tuple
    faulty: Callable
    """The formula of the report, written anew."""
    dtype: str = "float64"
    argnums: int | tuple[int, ...] = 0
    live: Callable | None = field(default=None, kw_only=True)
    """The derivative of the package itself; None where it is not installed or cannot be asked."""

    @property
    def package(self) -> str:
        """The repository's name: jax, pytorch, xgboost, ..."""
        return self.report.split("/")[-1].split("#")[0]


@dataclass(frozen=True)
class Finding:
    """What came of one row."""

    bug: Bug
    truth: str
    """At the coordinate where the faulty formula is farthest off."""
    came: str
    """What the faulty formula gives there."""
    is_faulty: bool
    """Whether the formula written anew is wrong by the truth, before any judge is asked."""
    installed: str
    """PRESENT, FIXED or ABSENT."""
    convicted: bool
    """Whether our judge convicts the faulty formula."""
    live_verdict: bool | None
    """Whether our judge calls the package's own derivative right."""
    cause: str
    accused: dict[str, bool | None]
    """Which of the checks accuse the faulty formula; None where a check cannot be run."""

    @property
    def is_judged_well(self) -> bool:
        """The formula convicted; the live derivative right if it is, and convicted if not."""
        return self.convicted and self.live_verdict in (None, self.installed == FIXED)


# --- the truth, from values of the function alone -------------------------------------------------


def point(bug: Bug) -> tuple:
    """The arguments of the report, their floats rounded to its dtype."""

    def leaf(value: Any) -> Any:
        array = np.asarray(value)
        return array.astype(bug.dtype) if array.dtype.kind == "f" else array

    with x64():
        return tuple(jax.tree.map(leaf, arg, is_leaf=_is_array) for arg in bug.at)


def _is_array(value: Any) -> bool:
    return isinstance(value, list | float | int)


def truth(bug: Bug) -> list[tuple[float, float]]:
    """For each coordinate, up to a few, the left and the right derivative: one number, mostly."""
    with x64():
        at = tuple(jax.tree.map(_widened, arg) for arg in point(bug))
        chosen = {bug.argnums} if isinstance(bug.argnums, int) else set(bug.argnums)
        found = []
        for position in sorted(chosen):
            leaves, structure = jax.tree.flatten(at[position])
            for number, leaf in enumerate(leaves):
                for index in range(min(np.size(leaf), MOST_COORDINATES)):
                    unit = np.zeros(np.shape(leaf))
                    unit.ravel()[index] = 1.0
                    moved = [unit if i == number else None for i in range(len(leaves))]
                    direction = tuple(
                        jax.tree.unflatten(structure, moved)
                        if i == position
                        else jax.tree.map(_still, arg)
                        for i, arg in enumerate(at)
                    )
                    found.append(_slopes(bug.loss, at, direction))
        return found


def _widened(leaf: np.ndarray) -> np.ndarray:
    is_real = jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype("float64") if is_real else leaf


def _still(leaf: Any) -> None:
    return None


def _slopes(loss: Callable, at: tuple, direction: tuple) -> tuple[float, float]:
    try:
        value = exact.derivative(loss, at, direction, DIGITS).value
        return (_number(value),) * 2
    except Undecided:
        left, right = exact.one_sided(loss, at, direction, DIGITS)
        return _number(left), _number(right)


def _number(value: Any) -> float:
    ball = np.asarray(value, object).ravel()[0]
    return float(ball.mid()) if isinstance(ball, arb) else float(ball)


def is_right(value: float, slopes: tuple[float, float], dtype: str) -> bool:
    """Whether a number is the derivative, or lies between the slopes at a kink."""
    low, high = min(slopes), max(slopes)
    if math.isnan(value):
        return False
    if math.isinf(low) or math.isinf(high):
        return low <= value <= high
    info = jnp.finfo(dtype)
    room = max(ALLOWED, EPS_ALLOWED * float(info.eps)) * max(abs(low), abs(high))
    room = max(room, float(info.tiny))
    return low - room <= value <= high + room


def values(bug: Bug, gradient: Callable) -> list[float]:
    """The first coordinates of a gradient at the point, in the dtype of the report, compiled."""
    with x64(bug.dtype == "float64"):
        at = point(bug)
        try:
            chosen = jax.jit(gradient)(*at)
        except (jax.errors.JAXTypeError, TypeError, ValueError):  # NumPy, PyTorch, scikit-learn
            chosen = gradient(*at)
        parts = (chosen,) if isinstance(bug.argnums, int) else tuple(chosen)
        return [
            float(number)
            for part in parts
            for leaf in jax.tree.leaves(part)
            for number in np.asarray(leaf, np.float64).ravel()[:MOST_COORDINATES]
        ]


# --- the judges -----------------------------------------------------------------------------------


def judged(bug: Bug, gradient: Callable) -> Verdict:
    """Our verdict on a gradient in the dtype and at the point of the report, without a search."""
    return verify(
        gradient,
        of=bug.loss,
        at=point(bug),
        argnums=bug.argnums,
        dtypes=(bug.dtype,),
        evaluations=0,
        name=bug.function,
    )


def accusations(bug: Bug) -> dict[str, bool | None]:
    """Which of the usual checks fail the function with the faulty derivative, as they come."""
    with x64(bug.dtype == "float64"):
        f, chosen = as_reported(bug)
        return {
            "check_grads": _fails(check_first_order, f, chosen),
            "check_vjp": _fails(check_pullback, f, chosen),
            "gradcheck": by_gradcheck(bug),
        }


def as_reported(bug: Bug) -> tuple[Callable, tuple]:
    """The function with the faulty derivative, and what it is differentiated in."""
    at = jax.tree.map(jnp.asarray, point(bug))
    return with_derivative(bug.loss, bug.faulty, at, bug.argnums)


def _fails(check: Callable, f: Callable, args: tuple) -> bool | None:
    try:
        check(f, args)
    except AssertionError:
        return True
    except Exception:  # it has no answer: infinities among its own numbers, a dtype it knows not
        return None
    return False


def by_gradcheck(bug: Bug) -> bool | None:
    """`torch.autograd.gradcheck` on the same values and the same faulty derivative."""
    if not has("torch"):
        return None
    import torch

    with x64(bug.dtype == "float64"):
        f, chosen = as_reported(bug)
        leaves, structure = jax.tree.flatten(chosen)

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, *tensors: Any) -> Any:
                context.save_for_backward(*tensors)
                args = jax.tree.unflatten(structure, [_taken(t) for t in tensors])
                return torch.tensor(np.asarray(f(*args)))

            @staticmethod
            def backward(context: Any, cotangent: Any) -> Any:
                tensors = context.saved_tensors
                args = jax.tree.unflatten(structure, [_taken(t) for t in tensors])
                slopes = jax.tree.leaves(jax.grad(f, tuple(range(len(args))))(*args))
                return tuple(torch.tensor(np.asarray(s)) * cotangent for s in slopes)

        tensors = tuple(torch.tensor(np.asarray(leaf), requires_grad=True) for leaf in leaves)
        try:
            return not torch.autograd.gradcheck(Function.apply, tensors, raise_exception=False)
        except Exception:
            return None


def _taken(tensor: Any) -> jax.Array:
    """A tensor's numbers, for JAX."""
    return jnp.asarray(tensor.detach().numpy())


def has(package: str) -> bool:
    """Whether a package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# --- a row ----------------------------------------------------------------------------------------


def find(bug: Bug) -> Finding:
    """The truth, the formula of the report and the live derivative before it, and the judges."""
    try:
        with np.errstate(all="ignore"):
            return _find(bug)
    except Exception as error:
        error.add_note(f"in the row of {bug.report}, {bug.function}")
        raise


def _find(bug: Bug) -> Finding:
    slopes = truth(bug)
    came = values(bug, bug.faulty)
    right = [is_right(v, s, bug.dtype) for v, s in zip(came, slopes, strict=True)]
    worst = right.index(False) if False in right else 0
    verdict = judged(bug, bug.faulty)
    installed, live = ABSENT, None
    if bug.live is not None:
        told = zip(values(bug, bug.live), slopes, strict=True)
        installed = FIXED if all(is_right(v, s, bug.dtype) for v, s in told) else PRESENT
        live = judged(bug, bug.live).ok
    low, high = slopes[worst]
    return Finding(
        bug,
        f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}",
        f"{came[worst]:.6g}",
        False in right,
        installed,
        not verdict.ok and verdict.hand in ("identical", "different", "not traceable"),
        live,
        _cause(verdict),
        accusations(bug),
    )


def _cause(verdict: Verdict) -> str:
    """What the verdict names, without the numbers that stand in columns of their own."""
    said = verdict.cause or verdict.fault or "nothing"
    return said.split(": gradient")[0].split(" in float")[0]
