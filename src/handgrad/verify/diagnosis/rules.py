"""The mistakes made at one step of a derivative: for an equation y = f(x) other functions A(x).

A has the derivative that the mistake gives: a factor left out, the other branch of a maximum, an
index overwritten, a sum over the wrong axis. What is held constant in it stands for a number saved
on the way there. Where a rule `replaces`, A is wrong in its value too, as with a mask forgotten.
Another value that is easily taken for the right one goes along with it, as `mistaken`: the slice
beside it, the whole sum for the running one, the state after a step for the one before.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad import jaxprs
from handgrad.verify.diagnosis.intermediates import MOVES, name_of
from handgrad.verify.witnesses import is_float

RULE = 22.0
"""The cost of a wrong rule at one step."""
MOST_REPEATS = 1_024
"""Indices of a gather that are compared with each other."""
MOST_MISTAKEN = 4
UNARY = frozenset({"tanh", "logistic", "exp", "log", "sqrt", "rsqrt", "erf", "sin", "cos", "log1p",
                   "expm1", "square", "integer_pow", "custom_jvp_call"})  # fmt: skip
ELEMENTWISE = frozenset({"add", "sub", "mul", "div", "max", "min", "add_any"})

Key = tuple[Any, ...]


class Mistaken(NamedTuple):
    """A value that is easily taken for another: "this in place of that", and the value."""

    words: str
    value: Any


class Flow(NamedTuple):
    """A value on its way through the loss: whether it depends on what is differentiated."""

    value: Any
    name: str
    moving: bool
    is_mask: bool = False
    number: float | None = None
    """The number it is, where it was written in the loss."""
    given: bool = False
    """Whether it is an argument, or the state that a loop carries."""
    origin: Key = ()
    """What made it: the equation, whatever relabels it since."""
    mistaken: tuple[Mistaken, ...] = ()
    stopped: Any = None
    """What it was before a `stop_gradient`."""


class Rule(NamedTuple):
    """A value whose derivative is the wrong one, and the words for it."""

    value: Any
    words: str
    cost: float = RULE
    shared: Key | None = None
    """The key of a gate that opens at several steps at once."""
    replaces: bool = False
    """Whether the value is wrong too, and what comes after it is computed from that."""


def rules(equation: Any, flows: list[Flow], y: Any) -> Iterator[Rule]:
    """The mistakes that an equation invites."""
    name, step = equation.primitive.name, name_of(equation)
    yield from _of_stopped(equation, flows, y, step)
    if not any(flow.moving for flow in flows):
        return
    if name in ELEMENTWISE:
        yield from _of_wrong_axes(equation, flows, y)
        flows = [flow._replace(value=jnp.broadcast_to(flow.value, y.shape)) for flow in flows]
    made = {
        "mul": _of_product, "div": _of_quotient, "select_n": _of_branches, "max": _of_extreme,
        "min": _of_extreme, "dot_general": _of_matrices, "gather": _of_lookup,
        "conv_general_dilated": _of_convolution, "broadcast_in_dim": _of_broadcast,
        "cumsum": _of_running_sum, "cumlogsumexp": _of_running_sum, "reduce_sum": _of_sum,
        "rev": _of_order, "transpose": _of_order, "cholesky": _of_cholesky,
        "custom_linear_solve": _of_solve, "linear_solve": _of_solve,
    }.get(name)  # fmt: skip
    if made is not None:
        yield from made(equation, flows, y, step)
    elif (own := argument_of(equation, flows, y)) is not None:
        yield from _of_function(equation, flows, own, y, step)


def held(x: Any) -> Any:
    """A value as a number saved on the way there; an infinity, which only masks, counts as 0."""
    return lax.stop_gradient(jnp.where(jnp.isfinite(x), x, 0))


# --- factors --------------------------------------------------------------------------------------


def _of_product(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A factor left out, exchanged, with the wrong sign, or another number in its place."""
    a, b = flows
    for own, other in ((a, b), (b, a)):
        if not own.moving or own.value.shape != y.shape:
            continue
        rest = held(own.value) * (other.value - held(other.value)) if other.moving else 0.0
        for instead in _fitting(other.mistaken, y.shape):
            words = f"{instead.words}, on the way back through {step} to {own.name}"
            yield Rule(own.value * held(instead.value) + rest, words)
        if other.number is not None:
            continue
        kind = " (a mask)" if other.is_mask else ""
        words = f"a missing factor {other.name}{kind}, on the way back through {step}"
        yield Rule(own.value + rest, f"{words} to {own.name}", RULE - 0.1)
        if other.moving:
            words = f"of the product {step} only the derivative of {own.name} is left, without"
            yield Rule(own.value, f"{words} the factor {other.name}", RULE + 0.5)
            continue
        flipped = -own.value * held(other.value)
        words = f"sign flipped: that of {other.name}, in every product on the way back"
        yield Rule(flipped, words, RULE + 1, ("flipped", *other.origin))
        words = f"in {step} the derivative is taken to be {own.name}, not the other factor"
        yield Rule(own.value * held(own.value), words, RULE + 2)
        if other.is_mask:
            words = f"the mask {other.name} of {step} forgotten, and what follows is of all entries"
            yield Rule(own.value, words, RULE + 1.5, replaces=True)
    if a.moving and b.moving and a.value.shape == b.value.shape:
        wrong = a.value * held(a.value) + b.value * held(b.value)
        words = f"the factors of {step}, {a.name} and {b.name}, are exchanged in the product rule"
        yield Rule(wrong, f"{words}: each stands in place of the other", RULE + 1)


def _of_quotient(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A denominator left out or not squared, or another number in its place."""
    a, b = flows
    if b.number is not None:
        return
    if a.moving and a.value.shape == y.shape:
        rest = held(a.value) / b.value if b.moving else 0.0
        words = f"a missing factor 1/{b.name}: not divided by the denominator of {step}"
        yield Rule(a.value + rest, words)
    if b.moving and b.value.shape == y.shape:
        rest = a.value / held(b.value) if a.moving else 0.0
        words = f"the denominator {b.name} of {step} is not squared in the quotient rule"
        yield Rule(rest - held(a.value) / held(b.value) * b.value, words)
    for instead in _fitting(b.mistaken, y.shape):
        by = held(instead.value)
        wrong = a.value / by if a.moving else jnp.zeros_like(y)
        if b.moving:
            wrong = wrong - held(a.value) / by**2 * b.value
        yield Rule(wrong, f"{instead.words}, in the denominator of {step}")


def _of_stopped(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A path that the loss itself holds constant, as softmax does its maximum, is counted."""
    for i, flow in enumerate(flows):
        if flow.stopped is not None and equation.primitive.name not in MOVES:
            values = [flow.stopped if j == i else other.value for j, other in enumerate(flows)]
            words = f"the path through {flow.name} into {step}, a constant by `stop_gradient`,"
            yield Rule(jaxprs.bind(equation, values)[0], f"{words} is counted", RULE + 0.5)


# --- masks and branches ---------------------------------------------------------------------------


def _of_branches(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A mask ignored, turned round or one off: on the way back, or in the values as well."""
    which, *cases = flows
    if len(cases) != 2 or jnp.result_type(which.value) != np.bool_:
        return
    x, z = (case.value - held(case.value) if case.moving else jnp.zeros_like(y) for case in cases)
    names = " and ".join(case.name for case in cases if case.moving)
    yield Rule(x + z, f"the mask of {step} ignored on the way back to {names}: not zero at its 0s")
    words = f"the mask of {step} is taken the wrong way round on the way back: the other branch"
    yield Rule(lax.select_n(which.value, z, x), words)
    if which.moving or not which.value.shape:
        return
    for case in cases:
        if case.moving:
            words = f"the mask of {step} forgotten, and {case.name} is taken everywhere"
            yield Rule(case.value, words, RULE + 0.5, replaces=True)
    for axis, n in enumerate(which.value.shape):
        for by in (1, -1):
            rows = np.clip(np.arange(n) + by, 0, n - 1)
            shifted = jnp.take(which.value, rows, axis=axis)
            chosen = lax.select_n(shifted, *(case.value for case in cases))
            words = f"the mask of {step} is shifted by {-by} along axis {axis}: one off"
            yield Rule(chosen, words, RULE + 0.6, replaces=True)


def _of_extreme(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """The mask of a maximum ignored, turned round, or made of what comes back."""
    a, b = (flow.value - held(flow.value) if flow.moving else jnp.zeros_like(y) for flow in flows)
    first = flows[0].value > flows[1].value
    if equation.primitive.name == "min":
        first = ~first
    names = " and ".join(flow.name for flow in flows if flow.moving)
    words = f"the derivative of {step} taken to be 1, also in place of 0: its mask, 1[v > 0],"
    yield Rule(a + b, f"{words} is ignored on the way back to {names}")
    words = f"the other branch of {step} on the way back to {names}: on the wrong side, 1[v < 0]"
    yield Rule(jnp.where(first, b, 0) + jnp.where(first, 0, a), words)
    words = f"{step} passes on what comes back where that is positive, 1[c > 0], not 1[v > 0]"
    yield Rule(_masked_by_cotangent(a + b), words)


@jax.custom_vjp
def _masked_by_cotangent(x: Any) -> Any:
    """The identity, whose cotangent passes where it is positive itself."""
    return x


_masked_by_cotangent.defvjp(lambda x: (x, None), lambda _, c: (jnp.where(c > 0, c, 0),))


# --- axes and order -------------------------------------------------------------------------------


def _of_wrong_axes(equation: Any, flows: list[Flow], y: Any) -> Iterator[Rule]:
    """A vector beside a square matrix, its derivative summed over the wrong axis."""
    for i, flow in enumerate(flows):
        long = [axis for axis, n in enumerate(flow.value.shape) if n > 1]
        if not flow.moving or flow.value.shape == y.shape or len(long) != 1:
            continue
        for axis, n in enumerate(y.shape):
            if axis != long[0] and n == flow.value.shape[long[0]]:
                turned = jnp.moveaxis(flow.value, long[0], axis)
                values = [held(other.value) for other in flows]
                own = jnp.broadcast_to(values[i], y.shape)
                values[i] = own + jnp.broadcast_to(turned - held(turned), y.shape)
                words = f"what comes back to {flow.name} is summed over the wrong axis, {long[0]}"
                yield Rule(jaxprs.bind(equation, values)[0], f"{words} in place of axis {axis}")


def _of_broadcast(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A vector spread over a square, its derivative summed over the wrong axis."""
    x, dims = flows[0].value, equation.params["broadcast_dimensions"]
    long = [axis for axis, n in enumerate(x.shape) if n > 1]
    if len(long) != 1:
        return
    own = dims[long[0]]
    for axis, n in enumerate(y.shape):
        if axis != own and n == x.shape[long[0]]:
            shape = tuple(n if a == axis else 1 for a in range(y.ndim))
            words = f"{flows[0].name} is summed over axis {own} in place of axis {axis}: wrong axis"
            yield Rule(jnp.broadcast_to(x.reshape(shape), y.shape), words)


def _of_sum(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A sum over the rows for one over the columns."""
    x, axes = flows[0].value, equation.params["axes"]
    if x.ndim == 2 and y.ndim == 1 and x.shape[0] == x.shape[1]:
        other = 1 - axes[0]
        words = f"{step} taken over axis {other}: the wrong axis on the way back"
        yield Rule(jnp.sum(x, axis=other), words)


def _of_running_sum(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A running sum in the wrong direction, or the whole one for it."""
    x, params = flows[0].value, equation.params
    run = lax.cumsum if equation.primitive.name == "cumsum" else lax.cumlogsumexp
    other = run(x, axis=params["axis"], reverse=not params["reverse"])
    words = f"{step} (`{equation.primitive.name}`) runs in the wrong direction on the way back"
    yield Rule(other, f"{words}: not reversed")
    if equation.primitive.name == "cumsum":
        whole = jnp.broadcast_to(jnp.sum(x, axis=params["axis"], keepdims=True), x.shape)
        yield Rule(whole, f"{step} (`cumsum`) taken to be the whole sum on the way back")


def _of_order(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A reversal or a transposition that is not undone."""
    if y.shape == flows[0].value.shape:
        what = "reversal" if equation.primitive.name == "rev" else "transposition"
        yield Rule(flows[0].value, f"the {what} by {step} forgotten on the way back: reversed")


def _of_lookup(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A permutation that is not undone; what is looked up twice, overwritten and not added."""
    index = flows[1].value
    if y.shape == flows[0].value.shape:
        words = f"the order (a permutation) of {step} is not undone on the way back"
        yield Rule(flows[0].value, words)
    rows = index.reshape(-1, index.shape[-1])
    if not 1 < len(rows) <= MOST_REPEATS or y.shape[: index.ndim - 1] != index.shape[:-1]:
        return
    same = jnp.all(rows[:, None] == rows[None], axis=-1)
    order = jnp.arange(len(rows))
    for later, which in ((order[None] > order[:, None], "last"),
                         (order[None] < order[:, None], "first")):  # fmt: skip
        keep = ~jnp.any(same & later, axis=1)
        shape = index.shape[:-1] + (1,) * (y.ndim - index.ndim + 1)
        words = f"where {step} looks an entry up twice only the {which} counts: overwritten"
        yield Rule(y * keep.reshape(shape), f"{words}, not added")


# --- matrices and kernels -------------------------------------------------------------------------


def _with_operand(
    equation: Any, flows: list[Flow], i: int, changed: Any, turned: Any = None
) -> Any:
    """The output with `changed` for operand i in the derivative of the other one.

    `turned` is the equation that this derivative is of, if it is another one.
    """
    values = [flow.value for flow in flows]
    wrong = jaxprs.bind(
        equation if turned is None else turned, [*values[:i], changed, *values[i + 1 :]]
    )[0]
    if flows[i].moving:
        values[1 - i] = held(values[1 - i])
        wrong = wrong + jaxprs.bind(equation, values)[0]
    return wrong


def _of_matrices(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A square matrix not transposed on the way back, or another one in its place."""
    for i in (0, 1):
        matrix, other = flows[i], flows[1 - i]
        if not other.moving:
            continue
        where = f"on the way back through {step} to {other.name}"
        if matrix.value.ndim == 2 and matrix.value.shape[0] == matrix.value.shape[1]:
            wrong = _with_operand(equation, flows, i, held(matrix.value).T)
            yield Rule(wrong, f"{matrix.name} is not transposed {where}")
        for instead in _fitting(matrix.mistaken, matrix.value.shape):
            wrong = _with_operand(equation, flows, i, held(instead.value))
            yield Rule(wrong, f"{instead.words}, {where}")


def _of_cholesky(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """L Φ(L⁻¹ dS L⁻ᵀ), where Φ takes the lower triangle and half of the diagonal: not halved."""
    low = held(y)
    inverse = jnp.linalg.inv(low)
    inner = inverse @ flows[0].value @ jnp.swapaxes(inverse, -1, -2)
    words = f"the diagonal is not halved in the derivative of {step}: twice too large there"
    yield Rule(low @ jnp.tril(inner), words)


def _of_solve(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """Solved with the matrix, not with its transpose: A⁻ᵀ(db − dA x) goes forwards."""
    programs, values = equation.params["jaxprs"], [flow.value for flow in flows]
    ends = np.cumsum([0, *equation.params["const_lengths"], len(values)])
    matrix, _, _, turned, right = (values[i:k] for i, k in pairwise(ends))
    if programs.transpose_solve is None or len(right) != 1:
        return
    (back,) = jaxprs.run(programs.matvec, [*matrix, held(y)], jaxprs.bind)
    turned = [held(v) if is_float(v) else v for v in turned]
    (wrong,) = jaxprs.run(programs.transpose_solve, [*turned, right[0] - back], jaxprs.bind)
    yield Rule(wrong, f"the matrix of {step} is not transposed on the way back")


def _of_convolution(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    """A kernel not flipped, an offset of the padding forgotten, the first channel for all."""
    for i in (0, 1):
        for changed, words, padding in _other_kernels(equation, held(flows[i].value), i):
            if padding is None or not flows[1 - i].moving:
                continue
            turned = equation.replace(params={**equation.params, "padding": padding})
            wrong = _with_operand(equation, flows, i, changed, turned)
            yield Rule(wrong, f"{flows[i].name} is {words} on the way back through {step}")


def _other_kernels(equation: Any, kept: Any, i: int) -> Iterator[tuple[Any, str, tuple | None]]:
    """What is taken for operand i of a convolution: the array, the words, the padding."""
    params, numbers = equation.params, equation.params["dimension_numbers"]
    padding, spec = tuple(params["padding"]), (numbers.lhs_spec, numbers.rhs_spec)[i]
    flipped, words = jnp.flip(kept, spec[2:]), "not reversed (flipped)"
    yield flipped, words, padding
    if i == 1:  # a filter in time runs the other way: as far ahead as it went back
        back = [kept.shape[axis] - 1 for axis in spec[2:]]
        yield flipped, f"{words} and reaches ahead", _moved(padding, back)
        yield flipped, f"{words} and reaches back", _moved(padding, [-n for n in back])
    for by in (1, -1):
        words = f"shifted by {by} (an offset of the padding)"
        yield kept, words, _moved(padding, [by] * len(padding))
        for axis in spec[2:]:
            yield jnp.roll(kept, by, axis), f"rolled, {words} along axis {axis},", padding
    if params["feature_group_count"] > 1:
        first = jnp.take(kept, np.array([0]), axis=spec[1] if i == 0 else spec[0])
        yield jnp.broadcast_to(first, kept.shape), "taken at its first channel for all", padding


def _moved(padding: Sequence[tuple[int, int]], by: Sequence[int]) -> tuple | None:
    """A padding with `by` more before each axis, and as much less behind; None below 0."""
    moved = tuple((low + k, high - k) for (low, high), k in zip(padding, by, strict=True))
    return moved if min(map(min, moved), default=0) >= 0 else None


# --- functions of one argument --------------------------------------------------------------------


def argument_of(equation: Any, flows: list[Flow], y: Any) -> Flow | None:
    """The one operand of an elementwise function that moves; None for anything else."""
    moving = [flow for flow in flows if flow.moving]
    if equation.primitive.name in UNARY and len(moving) == 1 and moving[0].value.shape == y.shape:
        return moving[0]
    return None


def _of_function(equation: Any, flows: list[Flow], own: Flow, y: Any, step: str) -> Iterator[Rule]:
    """The derivative of a function taken at another number than its argument."""
    if step.startswith("`sqrt`"):
        words = f"the derivative of {step} is 1/2, a missing factor 1/√: not divided by the norm"
        yield Rule(own.value / 2, words)

    def value(x: Any) -> Any:
        return jaxprs.bind(equation, [x if flow is own else flow.value for flow in flows])[0]

    for instead in _fitting(own.mistaken, y.shape):
        along = own.value - held(own.value)
        _, wrong = jax.jvp(value, (held(instead.value),), (along,))
        words = f"the derivative of {step} is taken at {instead.words}"
        yield Rule(wrong, words, RULE + 1.5)


def slopes(x: Any, y: Any) -> Iterator[tuple[str, Any, float]]:
    """What is taken for the derivative of y = f(x): words, the slope, its cost above a rule's."""
    yield "forgotten", jnp.ones_like(y), 1.0
    for v, which in ((y, "its value"), (x, "its argument")):
        for formula, slope in (
            ("v(1 − v)", v * (1 - v)), ("1 − v²", 1 - v * v), ("v", v), ("1 − v", 1 - v),
            ("v²", v * v),
        ):  # fmt: skip
            yield f"taken to be {formula}, v being {which}", slope, 3.0
    for v, which in ((y, "its value"), (x, "its argument")):
        s, t = lax.logistic(v), lax.tanh(v)
        yield f"taken to be v(1 − v), v being σ({which})", s * (1 - s), 3.5
        yield f"taken to be 1 − v², v being tanh({which})", 1 - t * t, 3.5


# --- what is easily taken for a value -------------------------------------------------------------


def mistaken_for(equation: Any, flows: list[Flow], y: Any) -> tuple[Mistaken, ...]:
    """What people take in place of the output y of an equation."""
    name = equation.primitive.name
    made = {"slice": _neighbours, "reduce_sum": _other_sums, "cumsum": _whole_sum,
            "mul": _without_number, "div": _without_number, "add": _without_number,
            "sub": _without_number}.get(name)  # fmt: skip
    found = [] if made is None else list(made(equation, flows, y))
    if name in MOVES | {"rev"}:  # goes along with what is only moved
        found += [
            instead._replace(value=jaxprs.bind(equation, [instead.value])[0])
            for instead in flows[0].mistaken
            if jnp.shape(instead.value) == jnp.shape(flows[0].value)
        ]
    return tuple(found[:MOST_MISTAKEN])


def _fitting(mistaken: Sequence[Mistaken], shape: tuple[int, ...]) -> Iterator[Mistaken]:
    """Those that can stand in this shape."""
    for instead in mistaken:
        try:
            fits = np.broadcast_shapes(jnp.shape(instead.value), shape) == shape
        except ValueError:
            continue
        if fits:
            yield instead


def _neighbours(equation: Any, flows: list[Flow], y: Any) -> Iterator[Mistaken]:
    """The slice one place further, or one before: today's value for yesterday's."""
    x, params = flows[0].value, equation.params
    start, stop = params["start_indices"], params["limit_indices"]
    for axis, by in product(range(x.ndim), (1, -1)):
        if start[axis] + by >= 0 and stop[axis] + by <= x.shape[axis]:
            first, last = list(start), list(stop)
            first[axis], last[axis] = start[axis] + by, stop[axis] + by
            words = f"a slice of {flows[0].name} shifted by {by} along axis {axis} (off by one)"
            beside = lax.slice(x, first, last, params["strides"])
            yield Mistaken(f"{words} in place of {name_of(equation)}", beside)


def _other_sums(equation: Any, flows: list[Flow], y: Any) -> Iterator[Mistaken]:
    """A sum over everything for one over some axes; the length for the number of valid entries."""
    x, step = flows[0].value, name_of(equation)
    if flows[0].is_mask:
        count = x.size // max(1, y.size)
        words = f"{count} in place of the number of valid entries, {step}: a mean over"
        yield Mistaken(f"{words} the wrong count", jnp.full_like(y, count))
    if y.size > 1 and equation.params["axes"]:
        words = f"one sum over everything in place of {step} over axis {equation.params['axes'][0]}"
        yield Mistaken(words, jnp.broadcast_to(jnp.sum(x), y.shape))


def _whole_sum(equation: Any, flows: list[Flow], y: Any) -> Iterator[Mistaken]:
    """The whole sum for the running one."""
    whole = jnp.sum(flows[0].value, axis=equation.params["axis"], keepdims=True)
    words = f"the whole sum in place of the running one of {name_of(equation)}"
    yield Mistaken(words, jnp.broadcast_to(whole, y.shape))


def _without_number(equation: Any, flows: list[Flow], y: Any) -> Iterator[Mistaken]:
    """An operand without the number that is added to it, or that it is multiplied by."""
    for own, other in (flows, flows[::-1]):
        first = own is flows[0] or equation.primitive.name in ("add", "mul")
        if other.number is not None and own.moving and first and own.value.shape == y.shape:
            is_factor = equation.primitive.name in ("mul", "div")
            number = f"{'factor' if is_factor else 'constant'} {other.number:.6g}"
            words = f"{own.name} in place of {name_of(equation)}, the {number} forgotten"
            yield Mistaken(words, own.value)
