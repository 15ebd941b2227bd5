r"""What a derivation is: one quantity, line by line, each line with its reason and its value.

Every line equals the one before it, as real numbers; `checking` holds it to that. The value of a
line is computed as the line is written: what the line has worked out is worked out in its value,
and what it still leaves as a ∂ is left to `still_open`, which the next lines then do without.

The first line is a derivative by its definition, lim (f(x + h) − f(x − h)) / 2h. It is taken from
values of f alone, in ball arithmetic, at steps small enough that the digits asked for stand still
(`exact.derivative`). No rule of differentiation is in it, ours or JAX's, so the lines that follow
are measured against something that was not derived.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from handgrad import exact
from handgrad._checks import require_floating, require_same_shape, require_tangent
from handgrad._precision import x64
from handgrad._types import Array, Key
from handgrad.errors import InputError
from handgrad.gradients.linear import Params
from handgrad.verify.witnesses import Argnums, Layout

NEURAL = "Neural networks"
BINARY = "How did binary cross-entropy loss come into existence?"
"""The notes that derivations follow."""
FLOAT_DIGITS = 20
"""Asked for where a limit is wanted as floats: more than any of them holds."""


@dataclass(frozen=True)
class Step:
    """One line of a derivation."""

    formula: str
    """LaTeX without dollar signs: what the line says, from its '=' on."""
    reason: str
    """Why it equals the line before, in plain words: 'chain rule', 'σ′ = σ(1 − σ)', ..."""
    value: Callable[..., Any]
    """The value of the line at the derivation's arguments: an array, or a tree of arrays."""


@dataclass(frozen=True)
class Derivation:
    """A quantity, what its symbols mean, where to try it, and the lines that lead to its end."""

    name: str
    title: str
    of: str
    """LaTeX of what is derived: the left side of the first line."""
    given: str
    """Symbols and shapes, in a sentence or two."""
    example: Callable[[Key], tuple]
    """Draws arguments for the lines, in the default float dtype, away from any kink."""
    steps: tuple[Step, ...]
    source: str

    def __repr__(self) -> str:
        return f"Derivation(name={self.name!r}, title={self.title!r}, steps={len(self.steps)})"


# --- the first line -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """∂of/∂(the arguments at `argnums`) by definition; of may have many outputs, as in a Jacobian.

    Called with numbers it gives the limit rounded to their dtype, in the structure that
    `jax.jacobian(of, argnums)` has (for a scalar that is `jax.grad`'s).

    >>> square = Limit(lambda x: jnp.sum(x**2))
    >>> square(jnp.array([3.0, -0.5])).tolist()
    [6.0, -1.0]
    """

    of: Callable[..., Any]
    argnums: Argnums = 0

    def __call__(self, *args: Any) -> Any:
        """The limit in floats. Raises InputError under jit, where there is no number to move."""
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
            raise InputError(
                "args", "numbers", "the tracers of jit or grad",
                "call the first line outside; its limit is taken from values",
            )  # fmt: skip
        specs, tree = jax.tree.flatten(self.shape(args))
        floats = [
            jnp.asarray(np.vectorize(lambda ball: float(ball.mid()), otypes=[float])(a), spec.dtype)
            for a, spec in zip(self.balls(args, FLOAT_DIGITS), specs, strict=True)
        ]
        return jax.tree.unflatten(tree, floats)

    def shape(self, args: tuple) -> Any:
        """Shapes and dtypes of the limit, in its structure."""
        n = self.argnums
        moved: Any = args[n] if isinstance(n, int) else tuple(args[i] for i in n)

        def by_arguments(output: Any) -> Any:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((*output.shape, *x.shape), x.dtype), moved
            )

        return jax.tree.map(by_arguments, jax.eval_shape(self.of, *args))

    def balls(self, args: tuple, digits: int) -> list[np.ndarray]:
        """The flat leaves of the limit as object arrays of balls, to `digits` digits.

        Raises `Undecided` at a kink.
        """
        with x64():
            traced, layout = exact.trace(self.of, *args), Layout.of(args, self.argnums)
        columns = []
        for index in range(layout.size):
            moves = layout.moves(traced.leaves, np.eye(1, layout.size, index)[0])
            columns.append(exact.derivative_jaxpr(traced.jaxpr, traced.leaves, moves, digits)[0])
        matrix = np.stack(columns, axis=1)  # every output by every coordinate
        leaves, row = [], 0
        for output in traced.jaxpr.out_avals:
            rows = matrix[row : row + output.size]
            row += output.size
            ends = np.cumsum(layout.sizes)[:-1]
            for shape, block in zip(layout.shapes, np.split(rows, ends, axis=1), strict=True):
                leaves.append(block.reshape((*output.shape, *shape)))
        return leaves


def definition(of: str, at: str, f: Callable, more: str = "", argnums: Argnums = 0) -> Step:
    r"""The first line: (of(at + h) − of(at − h))/2h, where `of` is LaTeX with {} in place of `at`.

    >>> definition(r"\ell({}, y)", "z", jnp.sin).formula.split("to 0} ")[1]
    '\\frac{\\ell(z+h, y) - \\ell(z-h, y)}{2h}'
    """
    ahead, behind = (of.replace("{}", f"{at}{sign}h") for sign in "+-")
    kind = "partial derivative" if r"\ldots" in of else "derivative"
    formula = rf"= \lim_{{h \to 0}} \frac{{{ahead} - {behind}}}{{2h}}"
    return Step(formula, f"definition of the {kind}{more}", Limit(f, argnums))


# --- what a line has not worked out yet -----------------------------------------------------------


def still_open(weights: Array, f: Callable, at: Any) -> Any:
    """⟨weights, ∂f/∂at⟩: a derivative that a line names and has not worked out yet.

    Autodiff stands in for it. That proves nothing, and need not: the first line of a derivation is
    the truth without autodiff, and the last has nothing left open.
    """
    return jax.vjp(f, at)[1](weights)[0]


def slope(f: Callable, at: Any) -> Any:
    """Σ ∂f/∂at: df/dz of an elementwise function, the gradient of a scalar one, not worked out."""
    value, back = jax.vjp(f, at)
    return back(jnp.ones_like(value))[0]


# --- from functions to scalar losses: what has a gradient is one real number ----------------------
#
# An elementwise function f enters as Σ f, whose gradient is f′ coordinate by coordinate; a Jacobian
# product as ⟨cotangent, f⟩; a Hessian-vector product as ⟨∇E, v⟩.


def total(f: Callable) -> Callable:
    """Σ f(...): its gradient is the elementwise derivative."""

    def total_of_f(*args: Array) -> Array:
        return jnp.sum(f(*args))

    return total_of_f


def paired(f: Callable) -> Callable:
    """⟨c, f(z)⟩ as a function of (c, z): its gradient in z is the vjp of f at c."""

    def paired_with_f(cotangent: Array, z: Array) -> Array:
        value = f(z)
        require_floating("cotangent", cotangent)
        require_same_shape("cotangent", cotangent, "what it is paired with", value)
        return jnp.sum(cotangent * value)

    return paired_with_f


def along(gradient: Callable) -> Callable:
    """⟨∇E(params), v⟩ as a function of (params, v, x, y): its gradient is the Hessian times v."""

    def gradient_along(params: Params, v: Params, x: Array, y: Array) -> Array:
        require_tangent(v, params)
        products = jax.tree.map(lambda g, t: jnp.sum(g * t), gradient(params, x, y), v)
        return sum(jax.tree.leaves(products), jnp.zeros((), x.dtype))

    return gradient_along


# --- how lines are written ------------------------------------------------------------------------


def derive(
    name: str, title: str, of: str, *lines: Any,
    given: str, example: Callable[[Key], tuple], source: str = NEURAL,
) -> Derivation:  # fmt: skip
    """A derivation from its lines: a formula, a reason and a value each; a Step stays as it is.

    >>> found = derive("twice", "Twice", "2 z", "= z + z", "definition", lambda z: z + z,
    ...                given="z is a number.", example=drawn(normal()))
    >>> [step.reason for step in found.steps]
    ['definition']
    """
    steps: list[Step] = []
    rest = list(lines)
    while rest:
        if isinstance(rest[0], Step):
            steps.append(rest.pop(0))
            continue
        line, rest = rest[:3], rest[3:]
        if [callable(part) for part in line] != [False, False, True]:
            raise TypeError(f"expected a formula, a reason and a value, got {line}")
        steps.append(Step(*line))
    return Derivation(name, title, of, given, example, tuple(steps), source)


def in_terms_of(*quantities: Callable) -> Callable[[Callable], Callable]:
    """Lines that are written in quantities of their own: ŷ and y, for example, where z is given.

    >>> in_prediction = in_terms_of(jnp.tanh, lambda z: z)
    >>> in_prediction(lambda prediction, z: prediction - z)(0.0).item()
    0.0
    """

    def written(line: Callable) -> Callable:
        return lambda *args: line(*(quantity(*args) for quantity in quantities))

    return written


# --- where a derivation is tried ------------------------------------------------------------------

Draw = Callable[[Key], Array]


def drawn(*draws: Draw) -> Callable[[Key], tuple[Array, ...]]:
    """An example with one array from each of `draws`, by keys of their own."""

    def example(key: Key) -> tuple[Array, ...]:
        keys = random.split(key, len(draws)) if len(draws) > 1 else [key]
        return tuple(draw(k) for draw, k in zip(draws, keys, strict=True))

    return example


def normal(*shape: int, scale: float = 2.0) -> Draw:
    """Logits, for example: numbers around 0."""
    return lambda key: scale * random.normal(key, shape)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Draw:
    """Soft labels, for example."""
    return lambda key: random.uniform(key, shape, minval=low, maxval=high)


def indices(*shape: int, classes: int) -> Draw:
    """The class of each example."""
    return lambda key: random.randint(key, shape, 0, classes)
