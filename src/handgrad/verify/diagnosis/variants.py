"""Variants of a loss: the same value, with one step of its derivative done as people do it wrong.

The loss is run again, equation by equation, loops included. Wherever a mistake is known to be made,
a gate is put: closed, the equation y = f(x) is what it is; open, its value is the same and its
derivative is that of another function A(x), as the mistake would have it: a factor left out, an
operand held constant, an index overwritten, a sum taken in the wrong direction, the other branch of
a maximum. The gates are inputs of one
program, compiled once: a variant is a gradient with one gate open, everywhere its step is taken.
The numbers written in the loss are inputs too, so that one may be exchanged for another.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad import jaxprs
from handgrad.verify.diagnosis.intermediates import (
    INLINED,
    MOVES,
    QUICK,
    TracedLoss,
    name_of,
)
from handgrad.verify.diagnosis.relations import (
    Cause,
    ComparedLeaf,
    Context,
    close,
    is_exactly,
    name_ratio,
)

MOST_EQUATIONS = 1_500
MOST_VARIANTS = 600
MOST_COORDINATES = 20_000
MOST_REPEATS = 1_024
"""Indices of a gather that are compared with each other."""
CUT, RULE, NUMBER = 20.0, 22.0, 22.5
"""The costs: an operand held constant, a wrong rule at one step, another number in the loss."""
UNARY = frozenset({"tanh", "logistic", "exp", "log", "sqrt", "rsqrt", "erf", "sin", "cos", "log1p",
                   "expm1", "square", "integer_pow", "custom_jvp_call"})  # fmt: skip
JOINING = frozenset({"add", "sub", "mul", "div", "max", "min", "select_n", "dot_general",
                     "concatenate", "pow", "atan2", "conv_general_dilated", "custom_jvp_call",
                     "add_any", "scatter-add", "scatter", "dynamic_update_slice", "cond",
                     "custom_linear_solve", "triangular_solve"})  # fmt: skip
ELEMENTWISE = frozenset({"add", "sub", "mul", "div", "max", "min", "add_any"})


Key = tuple[Any, ...]


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


class Variant(NamedTuple):
    """A gate: what opening it says, and what that costs."""

    words: str
    cost: float
    step: str = ""
    """Gates of one step that each hold one operand constant share it."""


class Gates:
    """The gates of a loss, numbered in the order in which they were first met."""

    def __init__(self) -> None:
        self.numbers: dict[Key, int] = {}
        self.variants: list[Variant] = []
        self.written: list[float] = []
        self.consumers: dict[Key, dict[int, str]] = {}
        """For the state of a loop the gates of all steps that use it, with their names."""

    def gate(self, key: Key, variant: Variant, choice: Any) -> Any:
        """The gate of this key, from the vector of all; a closed one where there are too many."""
        if key not in self.numbers:
            if len(self.variants) >= MOST_VARIANTS:
                return None
            self.numbers[key] = len(self.variants)
            self.variants.append(variant)
        number = self.numbers[key]
        return None if choice is None else choice[number]

    def opened(self) -> Iterator[tuple[Variant, tuple[int, ...]]]:
        """What can be opened: each gate; those that say the same, together; all but one."""
        alike: dict[str, list[int]] = {}
        for k, variant in enumerate(self.variants):
            yield variant, (k,)
            alike.setdefault(variant.words, []).append(k)
        for words, numbers in alike.items():
            if len(numbers) > 1:
                words = words.replace("the derivative of ", "the derivative of every ", 1)
                yield Variant(words, self.variants[numbers[0]].cost + 0.5), tuple(numbers)
        for steps in self.consumers.values():
            for k, step in steps.items() if len(steps) > 1 else ():
                words = f"of the paths through time only that into {step} is taken: the others are"
                words += " forgotten, as if the state of `scan` were a constant there"
                yield Variant(words, CUT + 1), tuple(n for n in steps if n != k)

    def number(self, value: float) -> int:
        """The position of a number written in the loss."""
        if value not in self.written:
            self.written.append(value)
        return self.written.index(value)


class Walk:
    """One run of a loss with gates; `choice` and `numbers` are their inputs, None to count them."""

    def __init__(self, loss: TracedLoss, gates: Gates, choice: Any, numbers: Any) -> None:
        self.loss, self.gates, self.choice, self.numbers = loss, gates, choice, numbers

    def value(self, moving: Sequence[Any]) -> Any:
        """The value of the loss."""
        given = [jnp.asarray(leaf) if not _is_key(leaf) else leaf for leaf in self.loss.leaves]
        for position, own in zip(self.loss.argnums, moving, strict=True):
            given[position] = own
        flows = [
            Flow(
                v,
                name,
                i in self.loss.argnums,
                is_mask=_is_mask(self.loss.leaves[i]),
                given=True,
                origin=("given", i),
            )
            for i, (v, name) in enumerate(zip(given, self.loss.names, strict=True))
        ]
        (output,) = self.run(self.loss.program, flows, ())
        return output.value

    def run(self, program: Any, flows: Sequence[Flow], path: Key) -> list[Flow]:
        """The outputs of a program called from `path`."""
        return jaxprs.run(
            program, flows, lambda equation, own: self.apply(equation, own, path), self.constant
        )

    def constant(self, value: Any, aval: Any) -> Flow:
        """What flows out of a literal: if it is a real number, it is an input too."""
        array = jaxprs.as_arrays(value, aval)
        if np.size(value) != 1 or not _is_real(value) or isinstance(value, jax.core.Tracer):
            name, _ = self.loss.captured.get(
                id(value), (f"an array {list(np.shape(value))} of the loss", None)
            )
            return Flow(array, name, False, _is_mask(value), origin=("constant", id(value)))
        number = float(np.ravel(np.asarray(value))[0])
        if self.numbers is not None and math.isfinite(number) and number not in (0.0, 1.0, -1.0):
            position = self.gates.number(number)
            if position < len(self.numbers):
                array = jnp.reshape(self.numbers[position], np.shape(array)).astype(array.dtype)
        return Flow(array, f"{number:.6g}", False, number=number)

    def apply(self, equation: Any, flows: list[Flow], path: Key) -> list[Flow]:
        """The outputs of one equation, with its gates."""
        here = (*path, id(equation))
        inside = jaxprs.called_program(equation, INLINED)
        if inside is not None:
            return self.run(inside, flows, here)
        name = equation.primitive.name
        if name == "scan":
            return self.scan(equation, flows, here)
        moving = any(flow.moving for flow in flows)
        several = sum(flow.moving for flow in flows) > 1 or name == "custom_jvp_call"
        flows = [
            self.cut(equation, flows, i, here)
            if flow.moving and _is_real(flow.value)
            and (flow.origin[:1] == ("state",) or (name in JOINING and (several or flow.given)))
            else flow
            for i, flow in enumerate(flows)
        ]  # fmt: skip
        outputs = jaxprs.bind(equation, [flow.value for flow in flows])
        relabels = name in MOVES and name != "neg"
        if moving and len(outputs) == 1 and _is_real(outputs[0]):
            outputs = [self.with_rules(equation, flows, outputs[0], here)]
            if not relabels:
                words = f"the path through {name_of(equation)} forgotten, as if it were a constant"
                key = (*here, "node")
                outputs = [self.held(outputs[0], key, Variant(words, CUT + 0.2))]
        first = flows[0] if flows else Flow(None, "", False)
        made = first.name if relabels else name_of(equation)
        is_mask = (relabels and first.is_mask) or (
            name == "convert_element_type"
            and (first.is_mask or jnp.result_type(first.value) == np.bool_)
        )
        number = first.number if relabels or name == "convert_element_type" else None
        origin = first.origin if relabels else here
        return [Flow(v, made, moving, is_mask, number, origin=origin) for v in outputs]

    def cut(self, equation: Any, flows: list[Flow], index: int, here: Key) -> Flow:
        """An operand that may be held constant."""
        flow, step = flows[index], name_of(equation)
        name = equation.primitive.name
        what = f"the path through {flow.name} into {step}"
        if name == "div" and index == 1:
            what = f"the path through {flow.name}, the denominator of {step},"
        words = f"{what} forgotten, as if it were a constant"
        variant = Variant(words, CUT, f"{here}")
        key = (*here, "cut", index)
        value = self.held(flow.value, key, variant)
        if flow.origin[:1] == ("state",) and key in self.gates.numbers:
            self.gates.consumers.setdefault(flow.origin, {})[self.gates.numbers[key]] = step
        return flow._replace(value=value)

    def held(self, value: Any, key: Key, variant: Variant) -> Any:
        """A value that is held constant where its gate is open."""
        s = self.gates.gate(key, variant, self.choice)
        if s is None:
            return value
        return _gated(value, jnp.zeros_like(value), s)

    def scan(self, equation: Any, flows: list[Flow], here: Key) -> list[Flow]:
        """A loop: its body is run with gates, which may hold what it carries constant."""
        constants, carried = jaxprs.scan_counts(equation.params)
        body, step = jaxprs.closed(equation.params["jaxpr"]), name_of(equation)
        fixed, carry = flows[:constants], flows[constants : constants + carried]
        inputs = flows[constants + carried :]
        flags = [flow.moving for flow in flows]
        for _ in range(carried + 1):  # what one step makes of it, the next one carries
            moved = self._moving(body, flags)
            new = [a or b for a, b in zip(flags[constants:], moved[:carried], strict=False)]
            flags[constants : constants + carried] = new[:carried]

        def turn(state: Sequence[Any], row: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            own = []
            for k, value in enumerate(state):
                moving = flags[constants + k]
                if moving and _is_real(value):
                    words = f"the path through time, what {step} carries from step to step,"
                    words += " forgotten, as if it were a constant"
                    variant = Variant(words, CUT, f"{here}")
                    value = self.held(value, (*here, "carry", k), variant)
                state_name, origin = f"the state of {step}", ("state", *here, k)
                own.append(Flow(value, state_name, moving, given=True, origin=origin))
            rows = [
                flow._replace(value=v, origin=(*here, "row", k))
                for k, (flow, v) in enumerate(zip(inputs, row, strict=True))
            ]
            outputs = self.run(body, [*fixed, *own, *rows], here)
            values = [
                jnp.asarray(flow.value, v.aval.dtype) if not _is_key(flow.value) else flow.value
                for flow, v in zip(outputs, body.jaxpr.outvars, strict=True)
            ]
            return values[:carried], values[carried:]

        state, rows = lax.scan(
            turn, [flow.value for flow in carry], [flow.value for flow in inputs],
            equation.params["length"], equation.params["reverse"],
        )  # fmt: skip
        moved = self._moving(body, flags)
        return [
            Flow(value, step, moving) for value, moving in zip([*state, *rows], moved, strict=True)
        ]

    def _moving(self, body: Any, flags: Sequence[bool]) -> list[bool]:
        """Which outputs of a program depend on the operands that move."""

        def apply(equation: Any, operands: list[bool]) -> list[bool]:
            return [any(operands)] * len(equation.outvars)

        return jaxprs.run(body, list(flags), apply, lambda value, aval: False)

    def with_rules(self, equation: Any, flows: list[Flow], output: Any, here: Key) -> Any:
        """The output, with a gate for each mistake that is made at such a step."""
        result = output
        for number, rule in enumerate(_rules(equation, flows, output)):
            key = rule.shared or (*here, number)
            s = self.gates.gate(key, Variant(rule.words, rule.cost), self.choice)
            if s is not None:
                result = _gated(result, rule.value, s)
        return result


@jax.custom_jvp
def _gated(value: Any, other: Any, s: Any) -> Any:
    """`value`, with the derivative of `other` where the gate s is open."""
    return value


@_gated.defjvp
def _gated_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    value, _, s = primals
    own, other, _ = tangents
    return value, own + s.astype(own.dtype) * (other - own)


@jax.custom_vjp
def _masked_by_cotangent(x: Any) -> Any:
    """The identity, whose cotangent passes where it is positive itself."""
    return x


_masked_by_cotangent.defvjp(lambda x: (x, None), lambda _, c: (jnp.where(c > 0, c, 0),))


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jax.dtypes.prng_key)


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating))


def _is_mask(value: Any) -> bool:
    """Whether an array holds 0 and 1 alone, and both."""
    if isinstance(value, jax.core.Tracer) or _is_key(value) or np.size(value) < 2:
        return False
    array = np.asarray(value)
    return bool(np.isin(array, (0, 1)).all() and array.any() and not array.all())


# --- the mistakes made at one step ----------------------------------------------------------------


class Rule(NamedTuple):
    """A value whose derivative is the wrong one, and the words for it."""

    value: Any
    words: str
    cost: float = RULE
    shared: Key | None = None
    """The key of a gate that opens at several steps at once."""


def _rules(equation: Any, flows: list[Flow], y: Any) -> Iterator[Rule]:
    """The mistakes that an equation invites."""
    name, step = equation.primitive.name, name_of(equation)
    if name in ELEMENTWISE:
        yield from _of_wrong_axes(equation, flows, y)
        flows = [flow._replace(value=jnp.broadcast_to(flow.value, y.shape)) for flow in flows]
    made = {
        "mul": _of_product, "div": _of_quotient, "select_n": _of_branches, "max": _of_extreme,
        "min": _of_extreme, "dot_general": _of_matrices, "gather": _of_lookup,
        "conv_general_dilated": _of_convolution, "broadcast_in_dim": _of_broadcast,
        "cumsum": _of_running_sum, "cumlogsumexp": _of_running_sum,
    }.get(name)  # fmt: skip
    if made is not None:
        yield from made(equation, flows, y, step)
    elif name in ("rev", "transpose") and y.shape == flows[0].value.shape:
        what = "reversal" if name == "rev" else "transposition"
        yield Rule(flows[0].value, f"the {what} by {step} forgotten on the way back: reversed")
    elif name == "reduce_sum" and flows[0].value.ndim == 2 and y.ndim == 1:
        other = 1 - equation.params["axes"][0]
        wrong = jnp.sum(flows[0].value, axis=other)
        if wrong.shape == y.shape:
            yield Rule(wrong, f"{step} taken over axis {other}: the wrong axis on the way back")
    elif name in UNARY and len(flows) == 1 and y.shape == flows[0].value.shape:
        yield from _of_function(flows[0], y, step)


def _held(x: Any) -> Any:
    return lax.stop_gradient(x)


def _of_product(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    a, b = flows
    for own, other in ((a, b), (b, a)):
        if not own.moving or own.value.shape != y.shape:
            continue
        rest = _held(own.value) * (other.value - _held(other.value)) if other.moving else 0.0
        if other.number is not None:
            if other.number != -1:
                words = f"the factor {other.number:.6g} of the loss forgotten on the way back"
                yield Rule(own.value + rest, words, RULE, ("number", other.number))
            continue
        kind = " (a mask)" if other.is_mask else ""
        words = f"a missing factor {other.name}{kind}, on the way back through {step}"
        yield Rule(own.value + rest, f"{words} to {own.name}", RULE - 0.1)
        if not other.moving:
            flipped = -own.value * _held(other.value)
            words = f"the sign of {other.name} flipped in every product on the way back"
            yield Rule(flipped, words, RULE + 1, ("flipped", *other.origin))
            words = f"in {step} the derivative is taken to be {own.name}, not the other factor"
            yield Rule(own.value * _held(own.value), words, RULE + 2)
        else:
            words = f"of the product {step} only the derivative of {own.name} is left, without"
            yield Rule(own.value, f"{words} the factor {other.name}", RULE + 0.5)
    if a.moving and b.moving and a.value.shape == b.value.shape:
        wrong = a.value * _held(a.value) + b.value * _held(b.value)
        words = f"the factors of {step}, {a.name} and {b.name}, are exchanged in the product rule"
        yield Rule(wrong, words, RULE + 1)


def _of_quotient(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    a, b = flows
    if a.moving and a.value.shape == y.shape and b.number is None:
        rest = y - a.value / _held(b.value) if not b.moving else a.value * 0
        if b.moving:
            rest = _held(a.value) / b.value
        words = f"a missing factor 1/{b.name}: not divided by the denominator of {step}"
        yield Rule(a.value + rest, words)
    if b.moving and b.value.shape == y.shape:
        rest = a.value / _held(b.value) if a.moving else 0.0
        words = f"the denominator {b.name} of {step} is not squared in the quotient rule"
        yield Rule(rest - _held(a.value) / _held(b.value) * b.value, words)


def _of_branches(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    which, *cases = flows
    if len(cases) != 2 or jnp.result_type(which.value) != np.bool_:
        return
    x, z = (case.value - _held(case.value) if case.moving else jnp.zeros_like(y) for case in cases)
    names = " and ".join(case.name for case in cases if case.moving)
    yield Rule(x + z, f"the mask of {step} ignored on the way back to {names}: not zero at its 0s")
    words = f"the mask of {step} is taken the wrong way round on the way back: the other branch"
    yield Rule(lax.select_n(which.value, z, x), words)


def _of_extreme(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    a, b = (flow.value - _held(flow.value) if flow.moving else jnp.zeros_like(y) for flow in flows)
    first = flows[0].value > flows[1].value
    if equation.primitive.name == "min":
        first = ~first
    names = " and ".join(flow.name for flow in flows if flow.moving)
    yield Rule(a + b, f"the mask of {step}, 1[v > 0], ignored on the way back to {names}")
    words = f"the other branch of {step} on the way back to {names}: on the wrong side, 1[v < 0]"
    yield Rule(jnp.where(first, b, 0) + jnp.where(first, 0, a), words)
    words = f"{step} passes on what comes back where that is positive, 1[c > 0], not 1[v > 0]"
    yield Rule(_masked_by_cotangent(a + b), words)


def _of_matrices(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    numbers, precision = equation.params["dimension_numbers"], equation.params["precision"]
    for i in (0, 1):
        matrix, other = flows[i].value, flows[1 - i]
        if not other.moving or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            continue
        turned = [_held(matrix).T, other.value] if i == 0 else [other.value, _held(matrix).T]
        rest = [flows[0].value, flows[1].value]
        rest[1 - i] = _held(other.value)
        wrong = lax.dot_general(turned[0], turned[1], numbers, precision=precision)
        if flows[i].moving:
            wrong = wrong + lax.dot_general(rest[0], rest[1], numbers, precision=precision)
        words = f"{flows[i].name} is not transposed on the way back through {step} to {other.name}"
        if wrong.shape == y.shape:
            yield Rule(wrong, words)


def _of_convolution(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    numbers = equation.params["dimension_numbers"]
    for i, spec in ((0, numbers.lhs_spec), (1, numbers.rhs_spec)):
        other = flows[1 - i]
        if not other.moving:
            continue
        kept = _held(flows[i].value)
        flipped = jnp.flip(kept, spec[2:])
        changes = [(flipped, "not reversed (flipped)", "")]
        changes += [(flipped, "not reversed (flipped)", "padding")] if i == 1 else []
        changes += [
            (jnp.roll(kept, by, axis), f"shifted by {by} (an offset of the padding)", "")
            for axis in spec[2:]
            for by in (1, -1)
        ]
        for changed, words, also in changes:
            values = [changed, other.value] if i == 0 else [other.value, changed]
            turned = equation
            if also:
                padding = tuple((high, low) for low, high in equation.params["padding"])
                turned = equation.replace(params={**equation.params, "padding": padding})
            wrong = jaxprs.bind(turned, values)[0]
            if flows[i].moving:
                rest = [flows[0].value, flows[1].value]
                rest[1 - i] = _held(other.value)
                wrong = wrong + jaxprs.bind(equation, rest)[0]
            yield Rule(wrong, f"{flows[i].name} is {words} on the way back through {step}")


def _of_lookup(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    index = flows[1].value
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


def _of_broadcast(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
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


def _of_running_sum(equation: Any, flows: list[Flow], y: Any, step: str) -> Iterator[Rule]:
    x, params = flows[0].value, equation.params
    run = lax.cumsum if equation.primitive.name == "cumsum" else lax.cumlogsumexp
    other = run(x, axis=params["axis"], reverse=not params["reverse"])
    words = f"{step} (`{equation.primitive.name}`) runs in the wrong direction on the way back"
    yield Rule(other, f"{words}: not reversed")
    if equation.primitive.name == "cumsum":
        whole = jnp.broadcast_to(jnp.sum(x, axis=params["axis"], keepdims=True), x.shape)
        yield Rule(whole, f"{step} (`cumsum`) taken to be the whole sum on the way back")


def _of_wrong_axes(equation: Any, flows: list[Flow], y: Any) -> Iterator[Rule]:
    """A vector beside a square matrix, its derivative summed over the wrong axis."""
    for i, flow in enumerate(flows):
        long = [axis for axis, n in enumerate(flow.value.shape) if n > 1]
        if not flow.moving or flow.value.shape == y.shape or len(long) != 1:
            continue
        for axis, n in enumerate(y.shape):
            if axis != long[0] and n == flow.value.shape[long[0]]:
                turned = jnp.moveaxis(flow.value, long[0], axis)
                values = [_held(other.value) for other in flows]
                own = jnp.broadcast_to(values[i], y.shape)
                values[i] = own + jnp.broadcast_to(turned - _held(turned), y.shape)
                words = f"what comes back to {flow.name} is summed over the wrong axis, {long[0]}"
                yield Rule(jaxprs.bind(equation, values)[0], f"{words} in place of axis {axis}")


def _of_function(flow: Flow, y: Any, step: str) -> Iterator[Rule]:
    x, between = flow.value, f"the derivative of {step} with respect to {flow.name}"
    yield Rule(x, f"{between} forgotten", RULE + 1)
    if step.startswith("`sqrt`"):
        words = f"the derivative of {step} is 1/2, a missing factor 1/√: not divided by the norm"
        yield Rule(x / 2, words)
        yield Rule(x / 2, words.replace(step, "every `sqrt`"), RULE + 0.5, ("root",))
    for v, which in ((y, "its value"), (x, "its argument")):
        for formula, slope in (
            ("v(1 − v)", v * (1 - v)), ("1 − v²", 1 - v * v), ("v", v), ("1 − v", 1 - v),
        ):  # fmt: skip
            words = f"{between} taken to be {formula}, v being {which}"
            yield Rule(x * _held(slope), words, RULE + 3)


# --- trying them ----------------------------------------------------------------------------------


class Variants:
    """The variants of a loss, compiled once; `at` gives their gradients at any point."""

    def __init__(self, loss: TracedLoss) -> None:
        self.loss, self.gates = loss, Gates()
        moving = loss.moving
        counting = np.zeros(0)
        jax.eval_shape(lambda m: Walk(loss, self.gates, None, counting).value(m), moving)
        self.closed = np.zeros(len(self.gates.variants))
        self.numbers = np.array(self.gates.written)
        gradient = jax.grad(
            lambda m, choice, numbers: Walk(loss, self.gates, choice, numbers).value(m)
        )
        self._gradient = jax.jit(gradient, compiler_options=QUICK)

    def gradient(
        self,
        moving: Sequence[Any],
        opened: tuple[int, ...] = (),
        numbers: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """The gradient with some gates open, or with other numbers in the loss."""
        choice = self.closed.copy()
        choice[list(opened)] = 1.0
        given = self.numbers if numbers is None else numbers
        answer = self._gradient(moving, jnp.asarray(choice), jnp.asarray(given))
        return [np.asarray(leaf) for leaf in jax.device_get(answer)]

    def other_numbers(self) -> Iterator[tuple[str, np.ndarray]]:
        """The numbers of the loss with one changed, or two exchanged, and the words for it."""
        for k, number in enumerate(self.numbers):
            if 0 < number < 1:
                words = (
                    f"{1 - number:.6g} in place of {number:.6g}: the sides are exchanged (1 − c)"
                )
                yield words, np.where(np.arange(len(self.numbers)) == k, 1 - number, self.numbers)
        for i, k in combinations(range(len(self.numbers)), 2):
            changed = self.numbers.copy()
            changed[[i, k]] = changed[[k, i]]
            words = f"the factors {self.numbers[i]:.6g} and {self.numbers[k]:.6g} are exchanged"
            yield words, changed


def variants_of(loss: TracedLoss) -> Variants | None:
    """The variants of a loss; None where it is too large, or holds what cannot be run again."""
    size = sum(int(np.size(leaf)) for leaf in loss.moving)
    equations = sum(1 for _ in jaxprs.equations(loss.program))
    if not 0 < size <= MOST_COORDINATES or equations > MOST_EQUATIONS:
        return None
    try:
        return Variants(loss)
    except (TypeError, NotImplementedError, ValueError):
        return None


def variant_causes(
    variants: Variants,
    moving: Sequence[Any],
    leaves: Sequence[ComparedLeaf],
    wrong: Sequence[int],
    context: Context,
) -> Iterator[Cause]:
    """The variants whose gradient is hand, on each leaf that is wrong."""
    known = [~leaf.unknown for leaf in leaves]
    truth = [leaf.truth for leaf in leaves]
    shares: dict[str, list[tuple[int, list[np.ndarray]]]] = {}
    for late, (variant, opened) in enumerate(variants.gates.opened()):
        answer = [a * own for a, own in zip(variants.gradient(moving, opened), known, strict=True)]
        share = [t - a for t, a in zip(truth, answer, strict=True)]
        if all(close(a, t, 1e-12).all() for a, t in zip(answer, truth, strict=True)):
            continue
        whole = all(close(leaf.hand, a).all() for leaf, a in zip(leaves, answer, strict=True))
        cost = variant.cost + 1e-4 * late + (0.0 if whole else 0.3)
        for i in wrong:
            if close(leaves[i].hand, answer[i]).all():
                yield Cause(cost, variant.words, i, leaves[i].hand.size)
            elif variant.step:
                yield from _scaled(variant, cost, i, leaves[i], share[i], context)
        if variant.step:
            shares.setdefault(variant.step, []).append((opened[0], share))
    yield from _exchanged(variants, shares, leaves, wrong)
    for words, numbers in variants.other_numbers():
        other = variants.gradient(moving, (), numbers)
        answer = [a * own for a, own in zip(other, known, strict=True)]
        for i in wrong:
            if close(leaves[i].hand, answer[i]).all():
                yield Cause(NUMBER, words, i, leaves[i].hand.size)


def _scaled(
    variant: Variant,
    cost: float,
    number: int,
    leaf: ComparedLeaf,
    share: np.ndarray,
    context: Context,
) -> Iterator[Cause]:
    """What one path gives, times a factor that means something."""
    excess = leaf.hand - leaf.truth
    top = np.unravel_index(np.argmax(np.abs(share)), share.shape)
    if not share[top]:
        return
    factor = float(excess[top] / share[top])
    if not close(excess, factor * share, 1e-8).all() or is_exactly(factor, -1.0):
        return
    if named := name_ratio(1 + factor, context):
        path = variant.words.removesuffix(" forgotten, as if it were a constant")
        yield Cause(cost + 1 + named[0], f"{path}: {named[1]}", number, leaf.hand.size)


def _exchanged(
    variants: Variants,
    shares: dict[str, list[tuple[int, list[np.ndarray]]]],
    leaves: Sequence[ComparedLeaf],
    wrong: Sequence[int],
) -> Iterator[Cause]:
    """Two paths into one step whose weights are exchanged: the first a times too large, the second
    1/a times."""
    for paths in shares.values():
        for (k, one), (_, two) in permutations(paths, 2):
            for i in wrong:
                excess = (leaves[i].hand - leaves[i].truth).ravel()
                basis = np.stack([one[i].ravel(), two[i].ravel()], axis=1)
                if len(excess) < 3 or not np.isfinite(basis).all():
                    continue
                if np.linalg.matrix_rank(basis) < 2:
                    continue
                (a, b), *_ = np.linalg.lstsq(basis, excess, rcond=None)
                if not close(basis @ [a, b], excess, 1e-8).all():
                    continue
                step = variants.gates.variants[k].words.split(" into ")[-1].split(" forgot")[0]
                if is_exactly((1 + a) * (1 + b), 1.0):
                    words = f"the factors of the two terms of {step} are exchanged"
                    yield Cause(RULE + 1, words, i, len(excess), 1)
                elif is_exactly(a, 1.0) and is_exactly(b, -1.0):
                    words = (
                        f"of the two paths into {step} one is counted twice, the other forgotten"
                    )
                    yield Cause(RULE + 1, f"{words}: as if it were symmetric", i, len(excess), 1)
