"""How many of its 24 bits each number of a tape loses in float32.

The arguments are rounded to float32. From there every value and every cotangent is computed twice:
in float32, and in exact arithmetic, by the rules that autodiff has. The error in ulp, as bits: 0
for a number that is the nearest float32, 24 for one of which nothing is right.

>>> import jax
>>> found = lost_bits(lambda z: 1 - jax.nn.sigmoid(z), (17.0,))
>>> [round(bits) for bits in found.values[1:]]  # σ(17), and what 1 − σ(17) leaves of it
[0, 24]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import exact, jaxprs
from handgrad._precision import x64
from handgrad.errors import InputError, Undecided, UnsupportedPrimitive, describe_error
from handgrad.exact.evaluation import effort_of
from handgrad.explain.summary import is_float
from handgrad.explain.tape import Tape
from handgrad.verify.ulp import ulp_error

MANTISSA = 24
DIGITS = 17
MOST_NUMBERS = 20_000
"""In exact arithmetic, all that is computed on the way."""

Bits = tuple[float | None, ...]


@dataclass(frozen=True)
class LostBits:
    """For each argument and each output of an equation, in order: the worst entry's lost bits."""

    values: Bits = ()
    cotangents: Bits = ()
    """None where no cotangent arrives, and where the truth is not finite."""
    note: str = ""
    """Why there are none, or what they are of."""
    primitives: tuple[str, ...] = ()
    """Of the equations, in order."""


def lost_bits(f: Callable, at: tuple) -> LostBits:
    """The bits that the float leaves of `at` and all that f computes of them lose in float32."""
    leaves, tree = jax.tree.flatten(at)

    def flat(*arrays: Any) -> Any:
        return f(*jax.tree.unflatten(tree, arrays))

    try:
        narrow = exact.trace(flat, *leaves, dtype="float32").jaxpr
        wide = exact.trace(flat, *leaves, dtype="float64").jaxpr
        primitives = _primitives(wide)
        if _primitives(narrow) != primitives:
            return LostBits(note="not measured: in float32 the loss is another program")
        rounded = [np.asarray(x, np.float32) if is_float(x) else x for x in leaves]
        widened = [np.asarray(x, np.float64) if is_float(x) else x for x in rounded]
        traced = exact.trace(_both_passes(wide), *widened)
        effort = effort_of(traced.jaxpr)
        if effort.numbers + effort.products > MOST_NUMBERS:
            return LostBits(note="not measured: too large for exact arithmetic")
        with x64(False):
            computed = jax.jit(_both_passes(narrow))(*rounded)
        balls = exact.evaluate_jaxpr(traced.jaxpr, traced.leaves, DIGITS, max_bits=4096)
        values, cotangents = jax.tree.unflatten(traced.out_tree, balls)
    except (InputError, Undecided, UnsupportedPrimitive) as error:
        return LostBits(note=f"not measured: {str(error).splitlines()[0]}")
    except Exception as error:  # a loss that runs in one precision only: the page goes without
        return LostBits(note=f"not measured: {describe_error(error)}")
    return LostBits(
        tuple(map(_bits, computed[0], values)),
        tuple(map(_bits, computed[1], cotangents)),
        "float32 as compiled, against exact arithmetic at arguments rounded to float32",
        tuple(primitives),
    )


def by_value(found: LostBits, tape: Tape) -> dict[str, Any]:
    """The same as data, by index of the tape's values, if it is of the same equations.

    A cotangent only where the tape has one.
    """
    if not found.values or found.primitives != tuple(e.primitive for e in tape.equations):
        return {"note": found.note}
    order = [*tape.inputs, *(index for e in tape.equations for index in e.outputs)]
    values: list[float | None] = [None] * len(tape.values)
    cotangents = list(values)
    for index, value, cotangent in zip(order, found.values, found.cotangents, strict=True):
        values[index] = value
        cotangents[index] = None if tape.values[index].cotangent is None else cotangent
    if all(bits is None for bits in values):
        return {"note": found.note}
    return {"values": values, "cotangents": cotangents, "note": found.note}


def _primitives(program: Any) -> list[str]:
    """The primitives that run, in order; what a call holds in its place."""
    names: list[str] = []
    with x64():  # for its constants
        _run(program, program.in_avals, lambda e, _: names.append(e.primitive.name))
    return names


def _run(program: Any, operands: Sequence[Any], apply: Callable[[Any, list], Any]) -> list[Any]:
    """The equations that the outputs depend on, calls opened: those of the tape, in its order."""
    live = {id(e) for e in jaxprs.live_equations(program, [True] * len(program.out_avals))}

    def enter(equation: Any, taken: list[Any]) -> list[Any]:
        if id(equation) not in live:
            return [None] * len(equation.outvars)
        called = jaxprs.called_program(equation, jaxprs.CALLS)
        if called is not None:
            return _run(called, taken, apply)
        return apply(equation, taken) or [None] * len(equation.outvars)

    return jaxprs.run(program, operands, enter)


def _both_passes(program: Any) -> Callable[..., tuple[list, list]]:
    """(values, cotangents) of the arguments and of all outputs of equations, from the arguments.

    The cotangent of a value is the derivative by a shift of it; where nothing real is computed
    there is None.
    """

    def forward(shifts: list | None, arguments: Sequence[Any]) -> tuple[Any, list]:
        met: list[Any] = []

        def keep(array: Any) -> Any:
            if not is_float(array):
                met.append(None)
                return array
            shifted = array if shifts is None else array + shifts[len(met)]
            met.append(shifted)
            return shifted

        def apply(equation: Any, operands: list) -> list:
            return [keep(array) for array in jaxprs.bind(equation, operands)]

        pairs = zip(arguments, program.in_avals, strict=True)
        kept = [keep(jaxprs.as_arrays(x, aval)) for x, aval in pairs]
        (loss,) = _run(program, kept, apply)
        return loss, met

    def both(*arguments: Any) -> tuple[list, list]:
        _, met = forward(None, arguments)
        zeros = [None if array is None else jnp.zeros_like(array) for array in met]
        loss, pull = jax.vjp(lambda shifts: forward(shifts, arguments)[0], zeros)
        (cotangents,) = pull(jnp.ones_like(loss))
        return met, cotangents

    return both


def _bits(computed: Any, truth: Any) -> float | None:
    """The lost bits of the worst entry."""
    if computed is None or not np.size(truth):
        return None
    middle = np.vectorize(lambda ball: float(ball.mid()) if ball.is_finite() else np.nan)
    true = np.asarray(middle(np.asarray(truth, object)), np.float64)
    if not np.isfinite(true).all():
        return None
    worst = float(ulp_error(np.asarray(computed), true, "float32").max())
    return float(np.clip(np.log2(max(1.0, 2 * worst)), 0.0, MANTISSA))
