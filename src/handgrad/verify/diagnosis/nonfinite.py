"""Where a NaN or an infinity comes from: the first operation that makes one of finite numbers.

The program of a gradient is run equation by equation. Each value remembers what made the NaN or the
infinity in it, and whether its zeros are those that a `where` puts in place of a branch that it
does not take: 0 times the infinite derivative of that branch is the usual NaN of autodiff.
"""

import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.jaxprs import Program
from handgrad.verify.witnesses import is_float

BRANCH_NOT_TAKEN = "the branch that a `where` does not take"


class _Traced(NamedTuple):
    """A value, what made the NaN and the infinity in it, and the `where` that put zeros into it."""

    value: Any
    nan: str = ""
    infinity: str = ""
    masked_by: str = ""


def origin(program: Program, leaves: Sequence[Any], index: int) -> str | None:
    """What made the coordinate `index` of a gradient NaN or infinite, in words; None if nothing.

    >>> program = jax.make_jaxpr(lambda x: 0 * jnp.log(x))(jnp.zeros(2))
    >>> "makes NaN of 0 · inf" in origin(program, [np.zeros(2)], 0)
    True
    """
    given = [_Traced(jnp.asarray(leaf) if is_float(leaf) else leaf) for leaf in leaves]
    try:
        outputs = jaxprs.run(program, given, _apply, _constant)
    except (TypeError, NotImplementedError):
        return None
    for output in outputs:
        size = int(np.size(output.value))
        if index < size:
            number = float(np.ravel(np.asarray(output.value, np.float64))[index])
            made = output.nan if np.isnan(number) else output.infinity
            return None if np.isfinite(number) else made or None
        index -= size
    return None


def _constant(value: Any, aval: Any) -> _Traced:
    return _Traced(jaxprs.as_arrays(value, aval))


def _apply(equation: Any, operands: list[_Traced]) -> list[_Traced]:
    inside = jaxprs.called_program(equation)
    if inside is not None:
        return jaxprs.run(inside, operands, _apply, _constant)
    values = [operand.value for operand in operands]
    outputs = jaxprs.bind(equation, values)
    name = equation.primitive.name
    nan = next((o.nan for o in operands if o.nan and _has(np.isnan, o.value)), "")
    infinity = next((o.infinity for o in operands if o.infinity), "")
    masked_by = next((o.masked_by for o in operands if o.masked_by), "")
    if name == "select_n" and any(_is_zero(value) for value in values[1:]):
        masked_by = jaxprs.place_in_words(equation) or "a `where`"
    traced = []
    for value in outputs:
        if not nan and _has(np.isnan, value):
            nan = _inside(equation, values) or _made_nan(equation, operands)
        if not infinity and _has(np.isinf, value):
            given = ", divided by 0" if name == "div" else _of_extreme(values)
            infinity = f"{_named(equation)} makes an infinity{given}"
        traced.append(_Traced(value, nan, infinity, masked_by))
    return traced


def _made_nan(equation: Any, operands: list[_Traced]) -> str:
    """What an operation made NaN of: 0 · inf, the logarithm of a negative number."""
    made = f"{_named(equation)} makes NaN"
    name = equation.primitive.name
    infinite = next((o for o in operands if _has(np.isinf, o.value)), None)
    if infinite is None:
        given = _of_extreme([operand.value for operand in operands])
        return f"{made} of 0 / 0" if name == "div" else f"{made}{given}"
    zero = next((o for o in operands if o is not infinite and _has(_zeros, o.value)), None)
    if name in ("sub", "add", "add_any", "reduce_sum", "cumsum"):
        made += " of inf − inf"
    elif name == "div" and zero is None:
        made += " of inf / inf"
    elif zero is not None:
        made += " of 0 · inf"
    since = infinite.infinity.replace(" makes an infinity", "", 1)
    made += f"; the infinity is from {since}" if since else "; the infinity was given"
    if zero is not None and zero.masked_by:
        made += f"; the 0 is {BRANCH_NOT_TAKEN} ({zero.masked_by})"
    return made


def _inside(equation: Any, values: list[Any]) -> str:
    """What made NaN within a loop or a branch."""
    found: list[str] = []

    def run(program: Program, operands: Sequence[Any]) -> list[Any]:
        outputs = jaxprs.run(program, [_Traced(value) for value in operands], _apply, _constant)
        found.extend(output.nan for output in outputs if output.nan)
        return [output.value for output in outputs]

    try:
        jaxprs.enter(equation, values, run)
    except (TypeError, NotImplementedError):
        return ""
    return found[0] if found else ""


def _named(equation: Any) -> str:
    place = jaxprs.place_in_words(equation)
    return f"`{equation.primitive.name}`" + (f" ({place})" if place else "")


def _of_extreme(values: Sequence[Any]) -> str:
    """' of 0', ' of -1': the operand at fault of an operation of one number, as far as it shows."""
    floats = [np.ravel(np.asarray(v, np.float64)) for v in values if _is_real(v) and np.size(v)]
    if len(floats) == 1:
        least = float(np.min(floats[0]))
        return f" of {least:.9g}" if least <= 0 else f" of {float(np.max(floats[0])):.9g}"
    return ""


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating))


def _has(test: Callable, value: Any) -> bool:
    return _is_real(value) and bool(np.any(test(np.asarray(value, np.float64))))


def _zeros(value: np.ndarray) -> np.ndarray:
    return value == 0


def _is_zero(value: Any) -> bool:
    return _is_real(value) and not np.any(np.asarray(value))


def origin_in_numpy(gradient: Callable, args: tuple) -> str | None:
    """Which line of a gradient in NumPy makes NaN or an infinity, in words; None if none shows."""
    copies = jax.tree.map(lambda a: np.array(a) if isinstance(a, np.ndarray) else a, args)
    raising = (
        np.errstate(all="ignore", invalid="raise"),
        np.errstate(invalid="ignore", divide="raise", over="raise"),
    )
    for errors in raising:
        try:
            with errors:
                gradient(*copies)
        except FloatingPointError as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            file = frame.filename.replace("\\", "/").rsplit("/", 1)[-1]
            return f"{error} ({file}:{frame.lineno} in {frame.name})"
        except Exception:
            return None
    return None
