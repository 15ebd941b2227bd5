"""The inside of a loss: its intermediate values, their cotangents, and how they move.

A gradient is a sum over paths. Cut the loss L at an intermediate u, and the paths through u give
Jᵤᵀ L′(u), with Jᵤ the Jacobian of u and L′(u) its cotangent. A hand-derived gradient that goes
wrong in the middle of a chain has something else in place of L′(u): `hypotheses` needs all three.
Here they are taken in float64: the walk over the jaxpr adds to each u an ε that is 0, the
derivative in which is L′(u).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.jaxprs import Program
from handgrad.verify.witnesses import quick_options

# Operations that move or relabel what already has a name.
MOVES = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "neg", "stop_gradient",
     "optimization_barrier", "transpose", "real"}
)  # fmt: skip
# Calls that are nothing but their program. A custom_jvp stays closed; a custom_vjp cannot be pushed
# forward, but the program inside can.
INLINED = jaxprs.CALLS | jaxprs.REMATERIALIZED | (jaxprs.CUSTOM_CALLS - {"custom_jvp_call"})

MAX_SIZE = 100_000
MAX_JACOBIAN = 10_000_000


class Intermediate(NamedTuple):
    """What made a value, the value, L′ of it, and its Jacobian on chosen coordinates.

    `jacobian` is (size, coordinates). `made_by` is a primitive's name, or "input".
    """

    name: str
    made_by: str
    value: np.ndarray
    cotangent: np.ndarray
    jacobian: np.ndarray
    operands: tuple[int, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether it depends on what is differentiated."""
        return bool(np.any(self.jacobian))


class _Named(NamedTuple):
    """What is known of an intermediate before its numbers are."""

    name: str
    made_by: str
    operands: tuple[int, ...]


class _Labelled(NamedTuple):
    """A value with the position of the intermediate it is, −1 for none."""

    value: Any
    source: int
    name: str = ""
    """The name of an array of whole numbers or truth values, until it is made one of reals."""


Shift = Callable[[int, Any, Sequence[Any]], Any]
"""What to put in place of intermediate k, given its value and its operands."""


class TracedLoss(NamedTuple):
    """A traced loss with flat arguments, in float64; `argnums` are positions of leaves."""

    program: Program
    leaves: Sequence[Any]
    names: Sequence[str]
    argnums: Sequence[int]
    captured: Mapping[int, tuple[str, Any]] = {}
    """Constants of the program: by the id of each, its name and the array."""
    held: Mapping[str, np.ndarray] = {}
    """Arrays that the loss holds by name, whether or not they came into the program."""

    @property
    def moving(self) -> list[Any]:
        """The leaves that are differentiated."""
        return [jnp.asarray(self.leaves[i]) for i in self.argnums]

    def run(self, moving: Sequence[Any], shift: Shift) -> tuple[Any, list[_Named]]:
        """The value at other values of the moving leaves, with `shift` done to intermediates."""
        named: list[_Named] = []

        def visit(value: Any, own: _Named, operands: Sequence[Any] = ()) -> _Labelled:
            named.append(own)
            return _Labelled(shift(len(named) - 1, value, operands), len(named) - 1)

        def apply(equation: Any, operands: list[_Labelled]) -> list[_Labelled]:
            inside = jaxprs.called_program(equation, INLINED)
            if inside is not None:
                return jaxprs.run(inside, operands, apply, _unlabelled)
            values = [operand.value for operand in operands]
            sources = tuple(operand.source for operand in operands)
            made_by = equation.primitive.name
            moved = operands[0] if made_by in MOVES | {"convert_element_type"} else _Labelled(0, -1)
            outputs = []
            for value in jaxprs.bind(equation, values):
                if _is_worth_a_name(equation, value):
                    own = _Named(moved.name or name_of(equation), made_by, sources)
                    outputs.append(visit(value, own, values))
                elif made_by in MOVES:
                    outputs.append(_Labelled(value, sources[0], moved.name))
                else:
                    outputs.append(_Labelled(value, -1, moved.name))
            return outputs

        def constant(value: Any, aval: Any) -> _Labelled:
            own = jaxprs.as_arrays(value, aval)
            name, _ = self.captured.get(id(value), ("", None))
            if not name or not _is_real(value):
                return _Labelled(own, -1, name)
            return visit(own, _Named(name, "input", ()))

        given = [jnp.asarray(leaf) for leaf in self.leaves]
        for position, value in zip(self.argnums, moving, strict=True):
            given[position] = value
        inputs = [
            visit(value, _Named(name, "input", ()))
            if _is_real(value)
            else _Labelled(value, -1, name)
            for name, value in zip(self.names, given, strict=True)
        ]
        (output,) = jaxprs.run(self.program, inputs, apply, constant)
        return output.value, named


def _unlabelled(value: Any, aval: Any) -> _Labelled:
    return _Labelled(jaxprs.as_arrays(value, aval), -1)


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating))


def _is_worth_a_name(equation: Any, value: Any) -> bool:
    if not _is_real(value) or np.size(value) > MAX_SIZE:
        return False
    if equation.primitive.name == "convert_element_type":
        return not jnp.issubdtype(equation.invars[0].aval.dtype, jnp.floating)
    return equation.primitive.name not in MOVES


def name_of(equation: Any) -> str:
    """The primitive, or the function with a derivative of its own, and the line it comes from."""
    made = called_name(equation.params) or equation.primitive.name.removesuffix("_call")
    place = jaxprs.place_in_words(equation)
    return f"`{made}`" + (f" ({place})" if place else "")


def called_name(params: dict) -> str:
    """The name of the function with a derivative of its own that an equation calls, or nothing."""
    program = params.get("call_jaxpr") or params.get("fun_jaxpr")
    info = getattr(getattr(program, "jaxpr", program), "debug_info", None)
    return str(getattr(info, "func_name", "") or "")


def constants_of(program: Program) -> set[float]:
    """The numbers written in the loss: literals and scalar constants, calls included."""
    programs = [program]

    def inlined(equation: Any) -> list[Program]:
        inside = jaxprs.called_program(equation, INLINED)
        programs.extend([inside] if inside else [])
        return [inside] if inside else []

    found = [
        atom.val
        for equation in jaxprs.equations(program, inlined)
        for atom in equation.invars
        if isinstance(atom, jaxprs.Literal)
    ]
    found += [constant for each in programs for constant in each.consts]
    scalars = {abs(float(c)) for c in found if np.ndim(c) == 0 and _is_real(c)}
    return {c for c in scalars if np.isfinite(c) and c not in (0.0, 1.0)}


class Chain:
    """The intermediates of a loss, compiled once for one point after another.

    `chosen` are flat coordinates of each moving leaf: the columns of the Jacobians, in this order.
    A loss too large for that has none.
    """

    def __init__(self, loss: TracedLoss, chosen: Sequence[np.ndarray]) -> None:
        self.columns = sum(map(len, chosen))
        self.named: list[_Named] = []
        shapes = jax.eval_shape(lambda moving: self._values(loss, moving), loss.moving)
        size = sum(np.prod(u.shape, dtype=int) for u in shapes)
        self.is_empty = self.columns == 0 or size * self.columns > MAX_JACOBIAN
        if self.is_empty:
            return

        def everything(moving: list[Any], directions: list[Any]) -> tuple[Any, Any, Any]:
            seen = self._values(loss, moving)
            zeros = [jnp.zeros_like(u) for u in seen]
            cotangents = jax.grad(
                lambda shifts: loss.run(moving, lambda k, u, _: u + shifts[k])[0]
            )(zeros)
            push = jax.vmap(
                lambda *along: jax.jvp(
                    lambda moved: self._values(loss, moved), (moving,), (list(along),)
                )[1]
            )
            return seen, cotangents, push(*directions)

        self._directions = _directions([np.shape(m) for m in loss.moving], chosen)
        self._everything = jax.jit(everything, compiler_options=quick_options())

    def _values(self, loss: TracedLoss, moving: list[Any]) -> list[Any]:
        seen: list[Any] = []

        def keep(_: int, u: Any, operands: Sequence[Any]) -> Any:
            seen.append(u)
            return u

        self.named[:] = loss.run(moving, keep)[1]
        return seen

    def at(self, moving: Sequence[Any]) -> list[Intermediate]:
        """The intermediates at these values of the moving leaves."""
        if self.is_empty:
            return []
        answers = jax.device_get(self._everything(list(moving), self._directions))
        return [
            Intermediate(
                own.name, own.made_by, np.asarray(u), np.asarray(c),
                np.reshape(j, (self.columns, -1)).T, own.operands,
            )
            for own, u, c, j in zip(self.named, *answers, strict=True)
        ]  # fmt: skip


def _directions(shapes: Sequence[tuple[int, ...]], chosen: Sequence[np.ndarray]) -> list[Any]:
    """One unit vector for each chosen coordinate, leaf by leaf: arrays (coordinates, *shape)."""
    total, start, stacks = sum(map(len, chosen)), 0, []
    for shape, rows in zip(shapes, chosen, strict=True):
        stack = np.zeros((total, int(np.prod(shape, dtype=int))))
        stack[np.arange(start, start + len(rows)), rows] = 1.0
        stacks.append(jnp.asarray(stack.reshape(total, *shape)))
        start += len(rows)
    return stacks
