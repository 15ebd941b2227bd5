"""Variants of a loss: the same value, with one step of its derivative done as people do it wrong.

The loss is run again, equation by equation, loops included. Wherever a mistake is known to be made
(`rules`), a gate is put: closed, the equation y = f(x) is what it is; open, its value is the same
and its derivative is that of another function A(x), as the mistake would have it. The gates are
inputs of one program, compiled once: a variant is a gradient with one gate open, everywhere its
step is taken, or in one step of a loop alone. The numbers written in the loss are inputs too, apart
for the values and for the slopes, so that one may be exchanged for another.
"""

import math
import re
import time
from collections.abc import Iterator, Sequence
from itertools import combinations, islice, permutations, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad import jaxprs
from handgrad.verify.diagnosis.intermediates import INLINED, MOVES, TracedLoss, is_key, name_of
from handgrad.verify.diagnosis.relations import (
    Cause,
    ComparedLeaf,
    Context,
    close,
    is_exactly,
    name_ratio,
    wrong_leaves,
)
from handgrad.verify.diagnosis.rules import (
    RULE,
    Flow,
    Key,
    Mistaken,
    argument_of,
    mistaken_for,
    rules,
    slopes,
)
from handgrad.verify.witnesses import is_float, quick_options

MOST_EQUATIONS = 1_500
MOST_VARIANTS = 1_500
MOST_COORDINATES = 20_000
MOST_STEPS = 16
"""Steps of a loop that are looked at one by one."""
MOST_NUMBERS = 12
SECONDS = 5.0
"""For all variants at one point: of a loss that takes long, the first ones are tried."""
CUT, NUMBER = 20.0, 22.5
"""The costs: an operand held constant, another number in the loss."""
PARTIAL = 1.3
"""The cost of a mistake that would have made other leaves wrong, which are right."""
JOINING = frozenset({"add", "sub", "mul", "div", "max", "min", "select_n", "dot_general",
                     "concatenate", "pow", "atan2", "conv_general_dilated", "custom_jvp_call",
                     "add_any", "scatter-add", "scatter", "dynamic_update_slice", "cond",
                     "custom_linear_solve", "triangular_solve"})  # fmt: skip
FAR = 1e150
"""A bound that nothing reaches."""
RELABELS = MOVES - {"neg"}
MULTIPLYING = frozenset({"mul", "dot_general"})
AFTER = "what comes after the step in place of what was before it (shifted by one step)"
_PLACE = re.compile(r" \([^()]*:\d+ in [^()]*\)")


class Variant(NamedTuple):
    """A gate: what opening it says, and what that costs."""

    words: str
    cost: float
    step: str = ""
    """Gates of one step that each hold one operand constant share it."""
    length: int = 0
    """The number of steps of the loop that it stands in."""


class Inputs(NamedTuple):
    """What a variant is: how far each gate is open, in which step of a loop, and the numbers."""

    opened: Any
    only: Any
    """The step of a loop to which it is confined; -1 for all."""
    numbers: Any
    slopes: Any


class Opened(NamedTuple):
    """Gates to open together, and what that says."""

    variant: Variant
    gates: tuple[int, ...]
    only: int = -1


class Gates:
    """The gates of a loss, numbered in the order in which they were first met."""

    def __init__(self) -> None:
        self.positions: dict[Key, int] = {}
        self.variants: list[Variant] = []
        self.written: list[float] = []
        self.divisors: set[float] = set()
        self.bounds: set[float] = set()
        self.consumers: dict[Key, dict[int, str]] = {}
        """For the state of a loop the gates of all steps that use it, with their names."""

    def position(self, key: Key, variant: Variant) -> int | None:
        """The position of the gate of this key; None where there are too many."""
        if key not in self.positions:
            if len(self.variants) >= MOST_VARIANTS:
                return None
            self.positions[key] = len(self.variants)
            self.variants.append(variant)
        return self.positions[key]

    def opened(self) -> Iterator[Opened]:
        """What can be opened: each gate; those that say the same, together; all but one."""
        alike: dict[str, list[int]] = {}
        anywhere: dict[str, list[int]] = {}
        for k, variant in enumerate(self.variants):
            alike.setdefault(variant.words, []).append(k)
            anywhere.setdefault(_PLACE.sub("", variant.words), []).append(k)
        for k, variant in enumerate(self.variants):
            same = alike[variant.words]
            which = f" (number {same.index(k) + 1} of {len(same)})" if len(same) > 1 else ""
            yield Opened(variant._replace(words=variant.words + which), (k,))
            for step in _steps(variant.length):
                words = f"{variant.words}{which}, in step {step + 1} of {variant.length} alone"
                yield Opened(variant._replace(words=words, cost=variant.cost + 0.8), (k,), step)
        for words, gates in (alike | anywhere).items():
            if len(gates) > 1:
                every = words.replace("the derivative of ", "the derivative of every ", 1)
                yield Opened(Variant(every, self.variants[gates[0]].cost + 0.5), tuple(gates))
        for steps in self.consumers.values():
            for k, into in steps.items() if len(steps) > 1 else ():
                words = f"of the paths through time only that into {into} is taken: the others are"
                words += " forgotten, as if the state of `scan` were a constant there"
                yield Opened(Variant(words, CUT + 1), tuple(n for n in steps if n != k))

    def number(self, value: float) -> int:
        """The position of a number written in the loss."""
        if value not in self.written:
            self.written.append(value)
        return self.written.index(value)


def _steps(length: int) -> Sequence[int]:
    """Steps of a loop that may have been forgotten alone: all of a short one, or its ends."""
    return range(length) if length <= MOST_STEPS else (0, length - 1)


class Unrolled:
    """What the steps of an unrolled loop use and make: by the place of the equation, in order."""

    def __init__(self) -> None:
        self.made: dict[Key, list[Flow]] = {}
        self.used: dict[Key, list[Flow]] = {}

    def add(self, equation: Any, flows: Sequence[Flow], output: Flow) -> None:
        """Take down an equation as it is run."""
        place = _place(equation)
        self.made.setdefault(place, []).append(output)
        for i, flow in enumerate(flows) if equation.primitive.name in MULTIPLYING else ():
            self.used.setdefault((*place, i), []).append(flow)

    def after(self, flow: Flow, used: Key, number: int) -> Any:
        """What the next step has where this one has `flow`, its use `number`; None if unknown."""
        uses = self.used.get(used, [])
        if number + 1 < len(uses):
            return uses[number + 1].value
        for made in self.made.values() if number else ():
            order = [own.origin for own in made]
            if flow.origin in order[:-1]:
                return made[order.index(flow.origin) + 1].value
        return None


def _place(equation: Any) -> Key:
    """Where in the source an equation stands, whichever turn of a Python loop traced it."""
    spans = tuple((frame.file, frame.span) for frame in jaxprs.frames(equation))
    return equation.primitive.name, spans


class Walk:
    """One run of a loss with gates: without `inputs` to count them, without `past` to see it."""

    def __init__(
        self, loss: TracedLoss, gates: Gates, inputs: Inputs | None, past: Unrolled | None = None
    ) -> None:
        self.loss, self.gates, self.inputs, self.past = loss, gates, inputs, past
        self.unrolled = Unrolled()
        self.loop: tuple[Any, int] | None = None
        """The step of the loop that is run through, and their number."""

    def value(self, moving: Sequence[Any]) -> Any:
        """The value of the loss."""
        loss = self.loss
        flows = [
            Flow(jnp.asarray(leaf), name, False, _is_mask(leaf), given=True, origin=("given", i))
            for i, (leaf, name) in enumerate(zip(loss.leaves, loss.names, strict=True))
        ]
        for i, own in zip(loss.argnums, moving, strict=True):
            flows[i] = flows[i]._replace(value=own, moving=True)
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
        if np.size(value) != 1 or not is_float(value) or isinstance(value, jax.core.Tracer):
            unnamed = f"an array {list(np.shape(value))} of the loss"
            name = self.loss.captured.get(id(value), unnamed)
            return Flow(array, name, False, _is_mask(value), origin=("constant", id(value)))
        number = float(np.ravel(np.asarray(value))[0])
        position = self.position(number)
        if position is not None and self.inputs is not None:
            array = jnp.reshape(self.inputs.numbers[position], array.shape).astype(array.dtype)
        return Flow(array, f"{number:.6g}", False, number=number)

    def position(self, number: float) -> int | None:
        """The position of a number among the inputs; None for one that means nothing."""
        if not math.isfinite(number) or number in (0.0, 1.0, -1.0):
            return None
        position = self.gates.number(number)
        known = self.inputs is not None and position < len(self.inputs.numbers)
        return position if known else None

    def apply(self, equation: Any, flows: list[Flow], path: Key) -> list[Flow]:
        """The outputs of one equation, with its gates."""
        here = (*path, id(equation))
        inside = jaxprs.called_program(equation, INLINED)
        if inside is not None:
            return self.run(inside, flows, here)
        name = equation.primitive.name
        if self.past is None:
            outputs = jaxprs.bind(equation, [flow.value for flow in flows])
            origin = flows[0].origin if flows and name in MOVES else here
            plain = [Flow(value, "", False, origin=origin) for value in outputs]
            if name not in MOVES and len(plain) == 1:
                self.unrolled.add(equation, flows, plain[0])
            return plain
        if name == "scan":
            return self.scan(equation, flows, here)
        if name in ("max", "min", "clamp"):
            self.gates.bounds |= {flow.number for flow in flows if flow.number is not None}
        flows = self.with_next(equation, flows)
        moving = name != "stop_gradient" and any(flow.moving for flow in flows)
        several = sum(flow.moving for flow in flows) > 1 or name == "custom_jvp_call"
        flows = [
            self.cut(equation, flows, i, here)
            if flow.moving and is_float(flow.value)
            and (flow.origin[:1] == ("state",) or (name in JOINING and (several or flow.given)))
            else flow
            for i, flow in enumerate(flows)
        ]  # fmt: skip
        outputs = jaxprs.bind(equation, [flow.value for flow in flows])
        if name == "sort":
            outputs = self.turned(equation, outputs, here)
        relabels = name in RELABELS
        mistaken: tuple = ()
        if len(outputs) == 1 and is_float(outputs[0]):
            mistaken = mistaken_for(equation, flows, outputs[0])
            outputs = [self.with_rules(equation, flows, outputs[0], here)]
            if moving and not relabels:
                words = f"the path through {name_of(equation)} forgotten, as if it were a constant"
                key = (*here, "node")
                outputs = [self.held(outputs[0], key, Variant(words, CUT + 0.2))]
        first = flows[0] if flows else Flow(None, "", False)
        made = self.name(equation, flows)
        converts = name == "convert_element_type"
        is_mask = (relabels or converts) and first.is_mask
        is_mask = is_mask or (converts and jnp.result_type(first.value) == np.bool_)
        number = first.number if relabels or converts else None
        origin = first.origin if relabels else here
        stopped = first.value if name == "stop_gradient" and first.moving else None
        if name in MOVES and first.stopped is not None:
            (stopped,) = jaxprs.bind(equation, [first.stopped])
        return [
            Flow(v, made, moving, is_mask, number, False, origin, mistaken, stopped)
            for v in outputs
        ]

    def name(self, equation: Any, flows: list[Flow]) -> str:
        """What the output of an equation is called: what is moved or guarded keeps its name."""
        name = equation.primitive.name
        known = bool(flows) and "`" not in flows[0].name
        if name == "transpose" and known:
            return f"{flows[0].name}ᵀ"
        if name in RELABELS or (name == "convert_element_type" and known):
            return flows[0].name
        guarded = name == "select_n" and flows[0].name.startswith("`is_finite`")
        bounded = name in ("max", "min") and any(math.isinf(flow.number or 0) for flow in flows)
        own = [flow.name for flow in flows if flow.moving and is_float(flow.value)]
        return own[0] if own and (guarded or bounded) else name_of(equation)

    def with_next(self, equation: Any, flows: list[Flow]) -> list[Flow]:
        """The factors of a product in an unrolled loop, with those of the step that comes next."""
        multiplies = equation.primitive.name in MULTIPLYING
        if self.past is None or self.loop is not None or not multiplies:
            return flows
        found, place = [], _place(equation)
        for i, flow in enumerate(flows):
            key = (*place, i)
            number = len(self.unrolled.used.setdefault(key, []))
            self.unrolled.used[key].append(flow)
            value = self.past.after(flow, key, number)
            if value is not None and value.shape == flow.value.shape:
                later = Mistaken(AFTER, lax.stop_gradient(value))
                flow = flow._replace(mistaken=(*flow.mistaken, later))
            found.append(flow)
        return found

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
        if flow.origin[:1] == ("state",) and key in self.gates.positions:
            self.gates.consumers.setdefault(flow.origin, {})[self.gates.positions[key]] = step
        return flow._replace(value=value)

    def gate(self, key: Key, variant: Variant) -> Any:
        """How far the gate of this key is open; None while they are counted."""
        step, length = self.loop or (None, 0)
        position = self.gates.position(key, variant._replace(length=length))
        if position is None or self.inputs is None:
            return None
        opened = lax.index_in_dim(self.inputs.opened, position, keepdims=False)
        only = self.inputs.only
        return opened if step is None else jnp.where((only < 0) | (only == step), opened, 0)

    def held(self, value: Any, key: Key, variant: Variant) -> Any:
        """A value that is held constant where its gate is open."""
        s = self.gate(key, variant)
        return value if s is None else _gated(value, jnp.zeros_like(value), s)

    def turned(self, equation: Any, outputs: list[Any], here: Key) -> list[Any]:
        """What a sort gives, or the same in falling order."""
        words = f"{name_of(equation)} in the reverse order, and what follows in that order"
        s = self.gate((*here, "reverse"), Variant(words, RULE + 1))
        if s is None:
            return outputs
        axis = equation.params["dimension"]
        return [jnp.where(s > 0, jnp.flip(output, axis), output) for output in outputs]

    def with_rules(self, equation: Any, flows: list[Flow], output: Any, here: Key) -> Any:
        """The output, with a gate for each mistake that is made at such a step."""
        result = self.with_slope(equation, flows, output)
        for number, rule in enumerate(rules(equation, flows, output)):
            key = rule.shared or (*here, number)
            s = self.gate(key, Variant(rule.words, rule.cost))
            if s is not None and rule.replaces:
                result = jnp.where(s > 0, rule.value, result)
            elif s is not None:
                result = _gated(result, rule.value, s)
        own = argument_of(equation, flows, output)
        if own is None:
            return result
        every, slope = 0.0, jnp.zeros_like(output)
        for words, value, cost in slopes(own.value, output):
            variant = Variant(f"the derivative of {name_of(equation)} {words}", RULE + cost)
            s = self.gate((*here, words), variant)
            if s is not None:
                value = lax.stop_gradient(value).astype(output.dtype)
                chosen = lax.select(s > 0, value, jnp.zeros_like(output))
                every, slope = every + s, slope + chosen
        return _gated(result, own.value * slope, every) if self.inputs is not None else result

    def with_slope(self, equation: Any, flows: list[Flow], output: Any) -> Any:
        """c x or x / c, with a c of its own for the derivative."""
        name = equation.primitive.name
        if name not in ("mul", "div") or len(flows) != 2:
            return output
        for own, other in (flows, flows[::-1]) if name == "mul" else (flows,):
            position = None if other.number is None else self.position(other.number)
            if name == "div" and other.number is not None:
                self.gates.divisors.add(other.number)
            if position is not None and self.inputs is not None and own.moving:
                x, c = jnp.broadcast_to(own.value, output.shape), self.inputs.slopes[position]
                return _gated(output, x * c if name == "mul" else x / c, jnp.ones(()))
        return output

    def scan(self, equation: Any, flows: list[Flow], here: Key) -> list[Flow]:
        """A loop: its body is run with gates, which may hold what it carries constant."""
        constants, carried = jaxprs.scan_counts(equation.params)
        body, step = jaxprs.closed(equation.params["jaxpr"]), name_of(equation)
        fixed, carry = flows[:constants], flows[constants : constants + carried]
        inputs = flows[constants + carried :]
        length, outer = equation.params["length"], self.loop
        flags = [flow.moving for flow in flows]
        for _ in range(carried + 1):  # what one step makes of it, the next one carries
            moved = self._moving(body, flags)
            new = [a or b for a, b in zip(flags[constants:], moved[:carried], strict=False)]
            flags[constants : constants + carried] = new[:carried]

        def turn(state: Sequence[Any], row: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            index, row = row[0], row[1:]
            self.loop = (index, length)
            own = []
            plain = Walk(self.loss, self.gates, self.inputs)
            given = [*(flow.value for flow in fixed), *state, *row]
            after = plain.run(body, [Flow(v, "", False) for v in given], here)
            for k, value in enumerate(state):
                moving = flags[constants + k]
                if moving and is_float(value):
                    words = f"the path through time, what {step} carries from step to step,"
                    words += " forgotten, as if it were a constant"
                    variant = Variant(words, CUT, f"{here}")
                    value = self.held(value, (*here, "carry", k), variant)
                state_name, origin = f"the state of {step}", ("state", *here, k)
                mistaken = (Mistaken(AFTER, lax.stop_gradient(after[k].value)),)
                own.append(Flow(value, state_name, moving, False, None, True, origin, mistaken))
            rows = [
                Flow(v, flow.name, flow.moving, flow.is_mask, origin=(*here, "row", k))
                for k, (flow, v) in enumerate(zip(inputs, row, strict=True))
            ]
            outputs = self.run(body, [*fixed, *own, *rows], here)
            self.loop = outer
            values = [
                jnp.asarray(flow.value, v.aval.dtype) if not is_key(flow.value) else flow.value
                for flow, v in zip(outputs, body.jaxpr.outvars, strict=True)
            ]
            return values[:carried], values[carried:]

        state, rows = lax.scan(
            turn, [flow.value for flow in carry],
            [jnp.arange(length), *(flow.value for flow in inputs)],
            length, equation.params["reverse"],
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


@jax.custom_jvp
def _gated(value: Any, other: Any, s: Any) -> Any:
    """`value`, with the derivative of `other` where the gate s is open."""
    return value


@_gated.defjvp
def _gated_jvp(primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    value, _, s = primals
    own, other, _ = tangents
    return value, jnp.where(s > 0, other, own)


def _is_mask(value: Any) -> bool:
    """Whether an array holds 0 and 1 alone, and both."""
    if isinstance(value, jax.core.Tracer) or is_key(value) or np.size(value) < 2:
        return False
    array = np.asarray(value)
    return bool(np.isin(array, (0, 1)).all() and array.any() and not array.all())


# --- trying them ----------------------------------------------------------------------------------


class Variants:
    """The variants of a loss, compiled once; `gradient` gives their gradients at any point."""

    def __init__(self, loss: TracedLoss) -> None:
        self.gates = Gates()

        def value(moving: list[Any], inputs: Inputs | None) -> Any:
            plain = Walk(loss, self.gates, inputs)
            plain.value(lax.stop_gradient(moving))
            return Walk(loss, self.gates, inputs, plain.unrolled).value(moving)

        jax.eval_shape(lambda moving: value(moving, None), loss.moving)
        numbers = np.array(self.gates.written)
        self.closed = Inputs(np.zeros(len(self.gates.variants)), np.array(-1), numbers, numbers)
        self._gradient = jax.jit(jax.grad(value), compiler_options=quick_options())
        self.gradient(loss.moving, self.closed)  # compiled: JAX differentiates no `while_loop`
        start = time.perf_counter()
        self.gradient(loss.moving, self.closed)
        self.most = int(SECONDS / (time.perf_counter() - start))

    def gradient(self, moving: Sequence[Any], inputs: Inputs) -> list[np.ndarray]:
        """The gradient with some gates open, or with other numbers in the loss."""
        answer = self._gradient(moving, inputs)
        return [np.asarray(leaf) for leaf in jax.device_get(answer)]

    def every(self, context: Context) -> Iterator[tuple[Opened, Inputs]]:
        """The variants, as many as there is time for: some gates open, or other numbers."""
        return islice(self._every(context), self.most)

    def _every(self, context: Context) -> Iterator[tuple[Opened, Inputs]]:
        for late, opened in enumerate(self.gates.opened()):
            choice = self.closed.opened.copy()
            choice[list(opened.gates)] = 1.0
            variant = opened.variant._replace(cost=opened.variant.cost + 1e-4 * late)
            inputs = self.closed._replace(opened=choice, only=np.array(opened.only))
            yield opened._replace(variant=variant), inputs
        for words, cost, inputs in self._other_numbers(context):
            yield Opened(Variant(words, cost), ()), inputs

    def _other_numbers(self, context: Context) -> Iterator[tuple[str, float, Inputs]]:
        """One number, or bound, of the loss forgotten, 1 minus it for it, or two exchanged."""
        numbers, on_the_way_back = self.closed.numbers, " on the way back"
        for k, number in enumerate(numbers):
            if number in self.gates.bounds:
                words = f"the bound {number:.12g} of the loss forgotten: beyond it the slope is 0"
                for far in (-FAR, FAR):
                    yield words, RULE, self._with({k: far}, values=True)
            if f"{abs(number):.6g}" in ("0", "1"):  # no factor that anybody forgets
                continue
            divides = number in self.gates.divisors
            words = f"the factor {'1/' if divides else ''}{number:.6g} of the loss forgotten"
            named = name_ratio(number if divides else 1 / number, context)
            more = f": {named[1]}" if named and not named[1].startswith("the factor") else ""
            yield f"{words}{on_the_way_back}{more}", RULE, self._with({k: 1.0}, slopes=True)
            inside = f"{words} inside a function, not in front of its derivative"
            yield inside, RULE + 2, self._with({k: 1.0}, values=True)
            words = f"the constant {number:.6g} of the loss forgotten in the values"
            yield words, RULE + 2, self._with({k: 0.0}, values=True)
            if 0 < number < 1:
                words = (
                    f"{1 - number:.6g} in place of {number:.6g}: the sides are exchanged (1 − c)"
                )
                yield words, NUMBER, self._with({k: 1 - number}, values=True, slopes=True)
                yield words + on_the_way_back, NUMBER, self._with({k: 1 - number}, slopes=True)
        for i, k in combinations(range(min(len(numbers), MOST_NUMBERS)), 2):
            words = f"the factors {numbers[i]:.6g} and {numbers[k]:.6g} are exchanged"
            turned = {i: numbers[k], k: numbers[i]}
            yield words, NUMBER, self._with(turned, values=True, slopes=True)
            yield words + on_the_way_back, NUMBER, self._with(turned, slopes=True)

    def _with(
        self, changed: dict[int, float], values: bool = False, slopes: bool = False
    ) -> Inputs:
        """The inputs with other numbers, in the values or as slopes."""
        numbers = self.closed.numbers.copy()
        numbers[list(changed)] = list(changed.values())
        old = self.closed.numbers
        return self.closed._replace(
            numbers=numbers if values else old, slopes=numbers if slopes else old
        )


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
    context: Context,
) -> Iterator[Cause]:
    """The variants whose gradient is hand, on each leaf that is wrong."""
    leaves = _comparable(leaves, variants.gradient(moving, variants.closed))
    wrong = wrong_leaves(leaves)
    known = [~leaf.unknown for leaf in leaves]
    truth = [leaf.truth for leaf in leaves]
    shares: dict[str, list[tuple[int, list[np.ndarray]]]] = {}
    for (variant, gates, only), inputs in variants.every(context):
        answer = [
            np.where(own, a, 0.0)
            for a, own in zip(variants.gradient(moving, inputs), known, strict=True)
        ]
        if all(close(a, t, 1e-12).all() for a, t in zip(answer, truth, strict=True)):
            continue
        share = [t - a for t, a in zip(truth, answer, strict=True)]
        whole = all(close(leaf.hand, a).all() for leaf, a in zip(leaves, answer, strict=True))
        cost = variant.cost + (0.0 if whole else PARTIAL)
        for i in wrong:
            if close(leaves[i].hand, answer[i]).all():
                size = leaves[i].hand.size
                yield Cause(cost, variant.words, i, size, int(size == 1))
            elif variant.step and only < 0:
                yield from _scaled(variant, cost, i, leaves[i], share[i], context)
        if variant.step and only < 0:
            shares.setdefault(variant.step, []).append((gates[0], share))
    yield from _masked_as_zero(variants, moving, leaves)
    yield from _exchanged(variants, shares, leaves)


def _comparable(leaves: Sequence[ComparedLeaf], own: Sequence[np.ndarray]) -> list[ComparedLeaf]:
    """The leaves without the coordinates at which the loss's `own` slope is another one.

    At a kink any subgradient is right, and the truth may be another than the loss's own rules give.
    """
    return [
        ComparedLeaf.of(
            leaf.name, leaf.hand, np.where(close(a, leaf.truth), leaf.truth, np.nan), leaf.value
        )
        for leaf, a in zip(leaves, own, strict=True)
    ]


def _masked_as_zero(
    variants: Variants, moving: Sequence[Any], leaves: Sequence[ComparedLeaf]
) -> Iterator[Cause]:
    """Entries that −∞ takes out, counted as if they were 0."""
    if all(np.isfinite(m).all() for m in moving):
        return
    filled = [jnp.where(jnp.isfinite(m), m, 0.0) for m in moving]
    answer = variants.gradient(filled, variants.closed)
    for i in wrong_leaves(leaves):
        if close(leaves[i].hand, np.where(leaves[i].unknown, 0.0, answer[i])).all():
            words = "what is masked by an infinity is counted, as if it were 0: the mask forgotten"
            yield Cause(RULE, words, i, leaves[i].hand.size)


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
        path = re.sub(",? forgotten, as if it were a constant", "", variant.words)
        yield Cause(cost + 1 + named[0], f"{path}: {named[1]}", number, leaf.hand.size)


def _exchanged(
    variants: Variants,
    shares: dict[str, list[tuple[int, list[np.ndarray]]]],
    leaves: Sequence[ComparedLeaf],
) -> Iterator[Cause]:
    """Two paths into one step whose weights are exchanged: the first a times too large, the second
    1/a times."""
    pairs = (pair for paths in shares.values() for pair in permutations(paths, 2))
    for ((k, one), (_, two)), i in product(pairs, wrong_leaves(leaves)):
        excess = (leaves[i].hand - leaves[i].truth).ravel()
        basis = np.stack([one[i].ravel(), two[i].ravel()], axis=1)
        if len(excess) < 3 or not np.isfinite(basis).all() or np.linalg.matrix_rank(basis) < 2:
            continue
        (a, b), *_ = np.linalg.lstsq(basis, excess, rcond=None)
        if not close(basis @ [a, b], excess, 1e-8).all():
            continue
        step = variants.gates.variants[k].words.split(" into ")[-1].split(" forgot")[0]
        if is_exactly((1 + a) * (1 + b), 1.0):
            words = f"the factors of the two terms of {step} are exchanged"
            yield Cause(RULE + 1, words, i, len(excess), 1)
        elif is_exactly(a, 1.0) and is_exactly(b, -1.0):
            words = f"of the two paths into {step} one is counted twice, the other forgotten"
            yield Cause(RULE + 1, f"{words}: as if it were symmetric", i, len(excess), 1)
