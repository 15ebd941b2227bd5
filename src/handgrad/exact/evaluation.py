"""Any JAX function in real arithmetic: trace once, then raise the precision until it suffices."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flint import arb, ctx

from handgrad import jaxprs
from handgrad._checks import dtype_of, floating_dtype
from handgrad._precision import x64
from handgrad.errors import InputError, Undecided
from handgrad.exact.balls import are_accurate, as_balls, kind, parts
from handgrad.exact.interpreter import Interpreter, Rules
from handgrad.exact.movement import DIRECT
from handgrad.jaxprs import Program

# Bits beyond those asked for, so that ordinary rounding needs no second run.
GUARD_BITS = 64
MAX_BITS = 1 << 15
MOST_DIGITS = 100_000
NUMBER_SECONDS, PRODUCT_SECONDS, BYTES = 4e-7, 3e-8, 120
"""What a ball costs on an ordinary core of 2025, and a product of two within a matrix product."""


class Traced(NamedTuple):
    """A traced function: its program, the flat arguments it was traced for, its output's tree."""

    jaxpr: Program
    leaves: list[Any]
    out_tree: Any


class Effort(NamedTuple):
    """What one evaluation of a program takes: an estimate from its shapes."""

    numbers: float
    """Balls that are made on the way."""
    products: float
    """Products of two balls within matrix products and convolutions."""

    @property
    def seconds(self) -> float:
        """Of one core, at the precision of 60 digits."""
        return NUMBER_SECONDS * self.numbers + PRODUCT_SECONDS * self.products

    @property
    def bytes(self) -> float:
        """Of memory, where all balls are kept."""
        return BYTES * self.numbers


def effort_of(program: Any) -> Effort:
    """The effort of a program; that of a while loop is taken for one iteration.

    >>> effort_of(trace(lambda a, b: a @ b, np.ones((2, 3)), np.ones((3, 5))).jaxpr)
    Effort(numbers=31, products=30)
    """
    program = jaxprs.closed(program)
    numbers: float = sum(map(_real_size, program.in_avals))
    products: float = 0
    for equation in jaxprs.equations(program, lambda equation: []):
        outputs = sum(_real_size(variable.aval) for variable in equation.outvars)
        name, inside = equation.primitive.name, jaxprs.sub_jaxprs(equation)
        if inside:
            times = equation.params["length"] if name == "scan" else 1
            parts = [effort_of(part) for part in inside]
            numbers += times * sum(part.numbers for part in parts)
            products += times * sum(part.products for part in parts)
        elif name not in DIRECT:
            numbers += outputs
            products += outputs * _contracted(equation)
    return Effort(numbers, products)


def _real_size(aval: Any) -> int:
    return math.prod(aval.shape) if kind(getattr(aval, "dtype", np.dtype(bool))) == "real" else 0


def _contracted(equation: Any) -> int:
    """How many products make up one entry of a matrix product or a convolution; else 0."""
    params, name = equation.params, equation.primitive.name
    if name == "dot_general":
        (axes, _), _ = params["dimension_numbers"]
        return math.prod(equation.invars[0].aval.shape[axis] for axis in axes)
    if name == "conv_general_dilated":
        shape, axes = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
        return math.prod(shape[axis] for axis in axes[1:])
    return 0


def bits_of(digits: float) -> int:
    """Binary digits enough for decimal ones.

    >>> bits_of(60)
    200
    """
    if not isinstance(digits, int | float) or not 1 <= digits <= MOST_DIGITS:
        raise InputError("digits", f"1 to {MOST_DIGITS:,}", repr(digits), "60 is the custom here")
    return math.ceil(digits * math.log2(10))


def is_ball_array(leaf: Any) -> bool:
    """Whether an argument is given as balls already."""
    return isinstance(leaf, arb) or (isinstance(leaf, np.ndarray) and leaf.dtype == object)


def abstract(leaf: Any, dtype: Any) -> Any:
    """The shape and dtype a leaf is traced with: floats as `dtype`, the rest as it is."""
    if is_ball_array(leaf):
        return jax.ShapeDtypeStruct(np.shape(leaf), dtype)
    if isinstance(leaf, bool | int | float):  # weak, as in any JAX function
        plain = np.dtype(type(leaf)) if not isinstance(leaf, float) else dtype
        canonical = jax.dtypes.canonicalize_dtype(plain)
        return jax.ShapeDtypeStruct((), canonical, weak_type=not isinstance(leaf, bool))
    own = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if kind(own) == "real":
        return jax.ShapeDtypeStruct(np.shape(leaf), dtype)
    if isinstance(own, np.dtype):
        own = jax.dtypes.canonicalize_dtype(own)
    return jax.ShapeDtypeStruct(np.shape(leaf), own)


def check_leaves(name: str, tree: Any) -> None:
    """Raise InputError unless every leaf is an array of real numbers, integers, keys or balls."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        called = f"{name}{jax.tree_util.keystr(path)}"
        if isinstance(leaf, np.ndarray) and leaf.dtype == object:
            if not all(isinstance(ball, arb) for ball in leaf.ravel()):
                raise InputError(called, "balls in an object array", "others", "pass flint.arb")
        elif not isinstance(leaf, arb) and kind(dtype_of(called, leaf)) == "complex":
            raise InputError(called, "real numbers", "complex ones", "pass both parts")


def trace(f: Callable[..., Any], *args: Any, dtype: Any = "float64") -> Traced:
    """The program of f at arguments of these shapes, with every float traced as `dtype`.

    Constants that the trace folds are rounded to `dtype`, and random draws differ between
    dtypes: trace at float64 for the mathematics, at the judged dtype for the numerics.
    """
    with x64():
        dtype = np.dtype(floating_dtype(dtype))
    leaves, tree = jax.tree.flatten(args)
    with x64(dtype == np.float64):
        check_leaves("args", args)
        specs = [abstract(leaf, dtype) for leaf in leaves]
        try:
            jaxpr, out = jax.make_jaxpr(f, return_shape=True)(*jax.tree.unflatten(tree, specs))
        except Exception as fault:
            raise InputError(
                "f", "a function that JAX can trace at these arguments",
                f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}",
                "call f(*args) by itself",
            ) from fault  # fmt: skip
    return Traced(jaxpr, leaves, jax.tree.structure(out))


def as_operand(leaf: Any, variable: Any) -> Any:
    """A flat argument as the interpreter wants it: balls for floats, arrays for integers."""
    dtype = variable.aval.dtype
    if kind(dtype) == "real":
        return as_balls(np.asarray(leaf, dtype=object) if isinstance(leaf, arb) else leaf)
    return np.asarray(leaf, dtype=dtype) if isinstance(dtype, np.dtype) else leaf


def evaluate_bits(
    jaxpr: Program,
    leaves: Sequence[Any],
    bits: int,
    *,
    rules: Rules | None = None,
    constants: str = "exact",
    max_bits: int = MAX_BITS,
) -> list[Any]:
    """`evaluate_jaxpr` with its accuracy in bits."""
    operands = [as_operand(leaf, v) for leaf, v in zip(leaves, jaxpr.jaxpr.invars, strict=True)]
    interpreter = Interpreter(rules or {}, constants)
    working, before = bits + GUARD_BITS, None
    while True:
        last = 2 * working > max(max_bits, 2 * bits)
        try:
            with x64(), ctx.workprec(working):
                outputs = interpreter.run(jaxpr, operands)
                balls = _balls(outputs)
                if last or are_accurate(balls, bits):
                    return outputs
                blurred = constants != "exact" or not all(map(arb.is_exact, _balls(operands)))
                if blurred and before is not None and _stalled(before, balls):
                    return outputs
            before = balls
        except Undecided:
            if last:
                raise
        working *= 2


def evaluate_jaxpr(
    jaxpr: Program,
    leaves: Sequence[Any],
    digits: int = 60,
    rules: Rules | None = None,
    constants: str = "exact",
    max_bits: int = MAX_BITS,
) -> list[Any]:
    """The flat outputs of a traced function at flat arguments; see `evaluate` for the promise.

    Trace once, evaluate at many points:

    >>> traced = trace(lambda x: x * x, 0.5)
    >>> [str(evaluate_jaxpr(traced.jaxpr, [x], digits=20)[0][()]) for x in (0.5, 3.0)]
    ['0.250000000000000', '9.00000000000000']
    """
    return evaluate_bits(
        jaxpr, leaves, bits_of(digits), rules=rules, constants=constants, max_bits=max_bits
    )


def evaluate(
    f: Callable[..., Any],
    *args: Any,
    digits: int = 60,
    rules: Rules | None = None,
    dtype: Any = "float64",
    constants: str = "exact",
) -> Any:
    """The outputs of a JAX function in real arithmetic, as object arrays of `flint.arb`.

    Complex outputs are arrays of `flint.acb`; an argument is given as its two parts.

    Every output ball contains the real value of the traced program at the exact values of the
    float arguments. An argument may also be an object array of balls: the output then contains
    the value for every choice of reals inside. Integer and boolean outputs are NumPy arrays.

    Accuracy: the working precision is doubled until each ball has a relative radius of at most
    10^−digits; or, if it contains 0, until it lies within 10^−digits of the smallest positive
    float64, 2^−1074; or until 2^15 bits are reached, where the balls are returned as they are.
    With inexact inputs or constants, which set their own limit, doubling ends as soon as it stops
    helping. A NaN says that no enclosure was found: usually that there is no real value.

    `constants="rounded"` widens constants that fill their mantissa (√2, 0.1) by one ulp, since the
    trace has rounded them; integers and short binary fractions stay exact. `rules` maps names
    of primitives to rules(*operands, **params), which take precedence over those here.

    Raises `Undecided` where a branch depends on a comparison that no precision settles, and
    `UnsupportedPrimitive` for a primitive without a rule.

    >>> import jax.numpy as jnp
    >>> evaluate(lambda x: jnp.exp(x) - 1 - x, 1e-30, digits=20)[()].str(20, radius=False)
    '5.0000000000000008334e-61'
    """
    traced = trace(f, *args, dtype=dtype)
    outputs = evaluate_jaxpr(traced.jaxpr, traced.leaves, digits, rules, constants)
    return jax.tree.unflatten(traced.out_tree, outputs)


def _balls(arrays: Sequence[Any]) -> list[arb]:
    balls = [
        ball
        for array in arrays
        if isinstance(array, np.ndarray) and array.dtype == object
        for ball in array.ravel().tolist()
    ]
    if all(type(ball) is arb for ball in balls):
        return balls
    return [part for ball in balls for part in parts(ball)]


def _stalled(before: list[arb], after: list[arb]) -> bool:
    """Whether twice the precision has not halved one radius: the inputs set the limit."""
    return all(
        new.is_finite() and (new.is_exact() or not new.rad() < old.rad() / 2)
        for old, new in zip(before, after, strict=True)
    )
