"""The inside of a program: its intermediate values, how they move, and what made a NaN among them.

A gradient is a sum over paths. Cut the loss L at an intermediate u, and the paths through u give
Jᵤᵀ L′(u), with Jᵤ the Jacobian of u and L′(u) its cotangent. A hand-derived gradient that goes
wrong in the middle of a chain has something else in place of L′(u): `hypotheses` needs all three.
Here they are taken in float64: the walk over the jaxpr adds to each u an ε that is 0, the
derivative in which is L′(u).

Where a NaN or an infinity comes from is read from the program of the gradient itself, run equation
by equation: the first operation that makes one of finite numbers.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.jaxprs import Program
from handgrad.verify.witnesses import is_float, quick_options

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
    operands: tuple[int, ...]
    value: np.ndarray
    cotangent: np.ndarray
    jacobian: np.ndarray

    @property
    def moves(self) -> bool:
        """Whether it depends on what is differentiated."""
        return bool(np.any(self.jacobian))


_Named = tuple[str, str, tuple[int, ...]]
"""An intermediate before its numbers are known: its name, what made it, its operands."""


class _Labelled(NamedTuple):
    """A value with the position of the intermediate it is, −1 for none."""

    value: Any
    source: int
    name: str = ""
    """The name of an array of whole numbers or truth values, until it is made one of reals."""


Shift = Callable[[int, Any], Any]
"""What to put in place of intermediate k, given its value."""


class TracedLoss(NamedTuple):
    """A traced loss with flat arguments, in float64; `argnums` are positions of leaves."""

    program: Program
    leaves: Sequence[Any]
    names: Sequence[str]
    argnums: Sequence[int]
    captured: Mapping[int, str] = {}
    """Names of constants of the program, by the id of each."""
    held: Mapping[str, np.ndarray] = {}
    """Arrays that the loss holds by name, whether or not they came into the program."""

    @property
    def moving(self) -> list[Any]:
        """The leaves that are differentiated."""
        return [jnp.asarray(self.leaves[i]) for i in self.argnums]

    def run(self, moving: Sequence[Any], shift: Shift) -> tuple[Any, list[_Named]]:
        """The value at other values of the moving leaves, with `shift` done to intermediates."""
        named: list[_Named] = []

        def visit(value: Any, own: _Named) -> _Labelled:
            named.append(own)
            return _Labelled(shift(len(named) - 1, value), len(named) - 1)

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
                    own = moved.name or name_of(equation), made_by, sources
                    outputs.append(visit(value, own))
                else:
                    source = sources[0] if made_by in MOVES else -1
                    outputs.append(_Labelled(value, source, moved.name))
            return outputs

        def constant(value: Any, aval: Any) -> _Labelled:
            own = jaxprs.as_arrays(value, aval)
            name = self.captured.get(id(value), "")
            if not name or not is_float(value):
                return _Labelled(own, -1, name)
            return visit(own, (name, "input", ()))

        given = [jnp.asarray(leaf) for leaf in self.leaves]
        for position, value in zip(self.argnums, moving, strict=True):
            given[position] = value
        inputs = [
            visit(value, (name, "input", ())) if is_float(value) else _Labelled(value, -1, name)
            for name, value in zip(self.names, given, strict=True)
        ]
        (output,) = jaxprs.run(self.program, inputs, apply, constant)
        return output.value, named


def _unlabelled(value: Any, aval: Any) -> _Labelled:
    return _Labelled(jaxprs.as_arrays(value, aval), -1)


def _is_worth_a_name(equation: Any, value: Any) -> bool:
    if not is_float(value) or np.size(value) > MAX_SIZE:
        return False
    if equation.primitive.name == "convert_element_type":
        return not jnp.issubdtype(equation.invars[0].aval.dtype, jnp.floating)
    return equation.primitive.name not in MOVES


def is_key(value: Any) -> bool:
    """Whether a value is one of JAX's typed random keys."""
    return jnp.issubdtype(getattr(value, "dtype", np.float64), jax.dtypes.prng_key)


def name_of(equation: Any) -> str:
    """The primitive, or the function with a derivative of its own, and the line it comes from."""
    program = equation.params.get("call_jaxpr") or equation.params.get("fun_jaxpr")
    info = getattr(getattr(program, "jaxpr", program), "debug_info", None)
    made = getattr(info, "func_name", "") or equation.primitive.name.removesuffix("_call")
    place = jaxprs.place_in_words(equation)
    return f"`{made}`" + (f" ({place})" if place else "")


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
    scalars = {abs(float(c)) for c in found if np.ndim(c) == 0 and is_float(c)}
    return {c for c in scalars if np.isfinite(c) and c not in (0.0, 1.0)}


def compile_chain(
    loss: TracedLoss, chosen: Sequence[np.ndarray]
) -> Callable[[Sequence[Any]], list[Intermediate]]:
    """The intermediates of a loss at any values of its moving leaves, compiled once.

    `chosen` are flat coordinates of each moving leaf: the columns of the Jacobians, in this order.
    A loss too large for that has none.
    """
    named: list[_Named] = []
    columns = sum(map(len, chosen))

    def values(moving: Sequence[Any]) -> list[Any]:
        seen: list[Any] = []

        def keep(_: int, u: Any) -> Any:
            seen.append(u)
            return u

        named[:] = loss.run(moving, keep)[1]
        return seen

    size = sum(np.prod(u.shape, dtype=int) for u in jax.eval_shape(values, loss.moving))
    if columns == 0 or size * columns > MAX_JACOBIAN:
        return lambda moving: []

    def everything(moving: list[Any], directions: list[Any]) -> tuple[Any, Any, Any]:
        seen = values(moving)
        zeros = [jnp.zeros_like(u) for u in seen]
        cut = jax.grad(lambda shifts: loss.run(moving, lambda k, u: u + shifts[k])[0])
        push = jax.vmap(lambda *along: jax.jvp(values, (moving,), (list(along),))[1])
        return seen, cut(zeros), push(*directions)

    directions = _directions([np.shape(m) for m in loss.moving], chosen)
    compiled = jax.jit(everything, compiler_options=quick_options())

    def at(moving: Sequence[Any]) -> list[Intermediate]:
        answers = jax.device_get(compiled(list(moving), directions))
        return [
            Intermediate(name, made_by, operands, np.asarray(u), np.asarray(c), stacked.T)
            for (name, made_by, operands), u, c, j in zip(named, *answers, strict=True)
            for stacked in [np.reshape(j, (columns, -1))]
        ]

    return at


def _directions(shapes: Sequence[tuple[int, ...]], chosen: Sequence[np.ndarray]) -> list[Any]:
    """One unit vector for each chosen coordinate, leaf by leaf: arrays (coordinates, *shape)."""
    total, start, stacks = sum(map(len, chosen)), 0, []
    for shape, rows in zip(shapes, chosen, strict=True):
        stack = np.zeros((total, int(np.prod(shape, dtype=int))))
        stack[np.arange(start, start + len(rows)), rows] = 1.0
        stacks.append(jnp.asarray(stack.reshape(total, *shape)))
        start += len(rows)
    return stacks


# --- where a NaN or an infinity comes from --------------------------------------------------------


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
    rows = [np.ravel(np.asarray(output.value, np.float64)) for output in outputs]
    number = np.concatenate(rows)[index]
    output = outputs[np.repeat(np.arange(len(rows)), list(map(len, rows)))[index]]
    made = output.nan if np.isnan(number) else output.infinity
    return None if np.isfinite(number) else made or None


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
    if name == "select_n" and any(is_float(v) and not np.any(np.asarray(v)) for v in values[1:]):
        masked_by = jaxprs.place_in_words(equation) or "a `where`"
    traced = []
    for value in outputs:
        if not nan and _has(np.isnan, value):
            nan = _inside(equation, values) or _made_nan(equation, operands)
        if not infinity and _has(np.isinf, value):
            given = ", divided by 0" if name == "div" else _of_extreme(values)
            infinity = f"{name_of(equation)} makes an infinity{given}"
        traced.append(_Traced(value, nan, infinity, masked_by))
    return traced


def _made_nan(equation: Any, operands: list[_Traced]) -> str:
    """What an operation made NaN of: 0 · inf, the logarithm of a negative number."""
    made = f"{name_of(equation)} makes NaN"
    name = equation.primitive.name
    infinite = next((o for o in operands if _has(np.isinf, o.value)), None)
    if infinite is None:
        given = _of_extreme([operand.value for operand in operands])
        return f"{made} of 0 / 0" if name == "div" else f"{made}{given}"
    zero = next((o for o in operands if o is not infinite and _has(np.logical_not, o.value)), None)
    if name in ("sub", "add", "add_any", "reduce_sum", "cumsum"):
        made += " of inf − inf"
    elif name == "div" and zero is None:
        made += " of inf / inf"
    elif zero is not None:
        made += " of 0 · inf"
    since = infinite.infinity.replace(" makes an infinity", "", 1)
    made += f"; the infinity is from {since}" if since else "; the infinity was given"
    if zero is not None and zero.masked_by:
        made += f"; the 0 is the branch that a `where` does not take ({zero.masked_by})"
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


def _of_extreme(values: Sequence[Any]) -> str:
    """' of 0', ' of -1': the operand at fault of an operation of one number, as far as it shows."""
    floats = [np.ravel(np.asarray(v, np.float64)) for v in values if is_float(v) and np.size(v)]
    if len(floats) == 1:
        least = float(np.min(floats[0]))
        return f" of {least:.9g}" if least <= 0 else f" of {float(np.max(floats[0])):.9g}"
    return ""


def _has(test: Callable, value: Any) -> bool:
    return is_float(value) and bool(np.any(test(np.asarray(value, np.float64))))


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
