"""The inside of a loss: its intermediate values, their cotangents, and how they move.

A gradient is a sum over paths. Cut the loss L at an intermediate u, and the paths through u give
Jᵤᵀ L′(u), with Jᵤ the Jacobian of u and L′(u) its cotangent. A hand-derived gradient that goes
wrong in the middle of a chain has something else in place of L′(u): `hypotheses` needs all three.
Here they are taken in float64: the walk over the jaxpr adds to each u an ε that is 0, the
derivative in which is L′(u).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from handgrad.jaxprs import source_location

# Operations that move or relabel what already has a name.
_MOVES = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "neg", "stop_gradient",
     "optimization_barrier", "transpose", "real"}
)  # fmt: skip
_INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint"})
_CUSTOM_VJP = frozenset({"custom_vjp_call", "custom_vjp_call_jaxpr"})

# Run once on a small example: compiling costs more than computing.
QUICK = {"xla_backend_optimization_level": 0}

MAX_SIZE = 100_000
MAX_JACOBIAN = 10_000_000


Shift = Callable[[int, Any, Sequence[Any]], Any]
"""What to put in place of intermediate k, given its value and its operands."""


class Point(NamedTuple):
    """One intermediate: what made it, its value, L′ of it, and its Jacobian on chosen coordinates.

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


class Visited(NamedTuple):
    """What is known of an intermediate before its numbers are."""

    name: str
    made_by: str
    operands: tuple[int, ...]


def _program_inside(equation: Any) -> Any | None:
    """The program of a call that is nothing but its program; custom derivatives stay closed."""
    name = equation.primitive.name
    if name in _INLINED:
        return equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if name in _CUSTOM_VJP:  # not to be pushed forward; the program itself can be
        return equation.params.get("call_jaxpr", equation.params.get("fun_jaxpr"))
    return None


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating))


def called(params: dict) -> str:
    """The name of the function with a derivative of its own that an equation calls, or nothing."""
    program = params.get("call_jaxpr") or params.get("fun_jaxpr")
    info = getattr(getattr(program, "jaxpr", program), "debug_info", None)
    return str(getattr(info, "func_name", "") or "")


def _is_worth_a_name(equation: Any, value: Any) -> bool:
    if not _is_real(value) or np.size(value) > MAX_SIZE:
        return False
    if equation.primitive.name == "convert_element_type":
        return not jnp.issubdtype(equation.invars[0].aval.dtype, jnp.floating)
    return equation.primitive.name not in _MOVES


def _short_place(equation: Any) -> str:
    place = source_location(equation)
    return f" ({place.rsplit('/', 1)[-1]})" if " in " in place else ""


class _Walk:
    """One walk over the program; `shift` is called on every named intermediate."""

    def __init__(self, shift: Shift):
        self.shift, self.visited = shift, list[Visited]()

    def visit(self, value: Any, point: Visited, operands: Sequence[Any] = ()) -> Any:
        self.visited.append(point)
        return self.shift(len(self.visited) - 1, value, operands)

    def run(self, program: Any, arguments: Sequence[Any], labels: Sequence[int]) -> Any:
        """The outputs, each with the index of the intermediate it is (−1 for none)."""
        jaxpr = getattr(program, "jaxpr", program)
        known = {
            v: (c, -1) for v, c in zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True)
        }
        known |= dict(zip(jaxpr.invars, zip(arguments, labels, strict=True), strict=True))

        def read(atom: Any) -> tuple[Any, int]:
            return (atom.val, -1) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            values = [read(a)[0] for a in equation.invars]
            marks = [read(a)[1] for a in equation.invars]
            inside = _program_inside(equation)
            if inside is not None:
                outputs = self.run(inside, values, marks)
            else:
                outputs = self.apply(equation, values, marks)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return [read(a) for a in jaxpr.outvars]

    def apply(self, equation: Any, values: list[Any], marks: list[int]) -> list[tuple[Any, int]]:
        bound: Any = equation.primitive.get_bind_params(equation.params)
        functions, params = bound if isinstance(bound, tuple) else ([], bound)  # jax before 0.10
        out = equation.primitive.bind(*functions, *values, **params)
        labelled = []
        for value in out if equation.primitive.multiple_results else [out]:
            if _is_worth_a_name(equation, value):
                made = called(equation.params) or equation.primitive.name.removesuffix("_call")
                name = f"`{made}`{_short_place(equation)}"
                point = Visited(name, equation.primitive.name, tuple(marks))
                value = self.visit(value, point, values)
                labelled.append((value, len(self.visited) - 1))
            else:
                passed_on = marks[0] if equation.primitive.name in _MOVES else -1
                labelled.append((value, passed_on))
        return labelled


def constants_of(program: Any) -> set[float]:
    """The numbers written in the loss: literals and scalar constants, calls included."""
    jaxpr = getattr(program, "jaxpr", program)
    found = {float(c) for c in getattr(program, "consts", ()) if np.ndim(c) == 0 and _is_real(c)}
    for equation in jaxpr.eqns:
        inside = _program_inside(equation)
        found |= constants_of(inside) if inside is not None else set()
        atoms = (a for a in equation.invars if isinstance(a, Literal))
        found |= {float(a.val) for a in atoms if np.ndim(a.val) == 0 and _is_real(a.val)}
    return {abs(c) for c in found if np.isfinite(c) and abs(c) not in (0.0, 1.0)}


def _directions(shapes: Sequence[tuple[int, ...]], chosen: Sequence[np.ndarray]) -> list[Any]:
    """One unit vector for each chosen coordinate, leaf by leaf: arrays (coordinates, *shape)."""
    total, start, stacks = sum(map(len, chosen)), 0, []
    for shape, rows in zip(shapes, chosen, strict=True):
        stack = np.zeros((total, int(np.prod(shape, dtype=int))))
        stack[np.arange(start, start + len(rows)), rows] = 1.0
        stacks.append(jnp.asarray(stack.reshape(total, *shape)))
        start += len(rows)
    return stacks


class Loss(NamedTuple):
    """A traced loss with flat arguments, in float64; `argnums` are positions of leaves."""

    program: Any
    leaves: Sequence[Any]
    names: Sequence[str]
    argnums: Sequence[int]

    @property
    def moving(self) -> list[Any]:
        """The leaves that are differentiated."""
        return [jnp.asarray(self.leaves[i]) for i in self.argnums]

    def run(self, moving: Sequence[Any], shift: Shift) -> tuple[Any, list[Visited]]:
        """The value at other values of the moving leaves, with `shift` done to intermediates."""
        walk, given, labels = _Walk(shift), [jnp.asarray(leaf) for leaf in self.leaves], []
        for i, value in zip(self.argnums, moving, strict=True):
            given[i] = value
        for i, value in enumerate(given):
            labels.append(len(walk.visited) if _is_real(value) else -1)
            if _is_real(value):
                given[i] = walk.visit(value, Visited(self.names[i], "input", ()))
        return walk.run(self.program, given, labels)[0][0], walk.visited


def intermediates(loss: Loss, chosen: Sequence[np.ndarray]) -> list[Point]:
    """The points of a loss; `chosen` are flat coordinates of each moving leaf.

    They are the columns of the Jacobians, in this order. A loss too large for that has no points.
    """
    visited: list[Visited] = []

    def values(moving: list[Any]) -> list[Any]:
        seen: list[Any] = []

        def keep(_: int, u: Any, operands: Sequence[Any]) -> Any:
            seen.append(u)
            return u

        visited[:] = loss.run(moving, keep)[1]
        return seen

    def everything(moving: list[Any], directions: list[Any]) -> tuple[Any, Any, Any]:
        seen = values(moving)
        zeros = [jnp.zeros_like(u) for u in seen]
        cotangents = jax.grad(lambda shifts: loss.run(moving, lambda k, u, _: u + shifts[k])[0])(
            zeros
        )
        push = jax.vmap(lambda *along: jax.jvp(values, (moving,), (list(along),))[1])
        return seen, cotangents, push(*directions)

    moving = loss.moving
    columns = sum(map(len, chosen))
    size = sum(np.prod(u.shape, dtype=int) for u in jax.eval_shape(values, moving))
    if columns == 0 or size * columns > MAX_JACOBIAN:
        return []
    directions = _directions([np.shape(m) for m in moving], chosen)
    answers = jax.device_get(jax.jit(everything, compiler_options=QUICK)(moving, directions))
    return [
        Point(
            v.name, v.made_by, np.asarray(u), np.asarray(c),
            np.reshape(j, (columns, -1)).T, v.operands,
        )
        for v, u, c, j in zip(visited, *answers, strict=True)
    ]  # fmt: skip
