"""What the signs of a formula mean, as functions of what its letters stand for; for `reading`.

Names stand for arrays, or for functions of the other names (ŷ of z); indices for integers. Where a
formula has a ∂, autodiff stands in for it, as it does in a line's value.
"""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from handgrad.errors import HandgradError
from handgrad.gradients.sigmoid import sigmoid, softplus, step

Env = dict[str, Any]
"""What names stand for; 'sizes' has the size of every index, 'theta' is (w, b) in one array."""
Index = dict[str, Any]
"""The values of the indices that are bound."""
Formula = Callable[[Env, Index], Any]

FUNCTIONS: dict[str, Callable] = {
    "softplus": softplus,
    "step": step,
    "relu": jax.nn.relu,
    r"\sigma": sigmoid,
    r"\tanh": jnp.tanh,
}
RELATIONS = {"=": operator.eq, r"\neq": operator.ne, "<": operator.lt, ">": operator.gt}


class Unreadable(HandgradError):  # noqa: N818  (no fault of the formula)
    """A formula with something in it that the reader does not know."""


def named(name: str, letters: Sequence[Formula]) -> Formula:
    """A name at its indices, if it has any."""

    def value(env: Env, idx: Index) -> Any:
        if name not in env:
            raise Unreadable(f"{name} stands for nothing")
        whole = env[name](env) if callable(env[name]) else env[name]
        return whole[tuple(at(env, idx) for at in letters)] if letters else whole

    return value


def index_of(letter: str, letters: Sequence[Formula]) -> Formula:
    """A bound index, or a name that holds one."""
    data = named(letter, letters)
    return lambda env, idx: idx[letter] if letter in idx else data(env, idx)


def derivative(f: Formula, name: str, letters: Sequence[Formula]) -> Formula:
    """∂f/∂name: elementwise, or with indices a coordinate of the gradient, or all of ∂/∂(w, b)."""

    def value(env: Env, idx: Index) -> Any:
        def g(t: Any) -> Any:
            return f({**env, name: t}, idx)

        x = named(name, ())(env, idx)
        if name == "theta":
            return jax.jacfwd(g)(x)
        if letters:
            slopes = jax.grad(lambda t: g(t) + 0 * jnp.sum(t))(x)
            return slopes[tuple(at(env, idx) for at in letters)]
        return jax.vjp(lambda t: g(t) + 0 * t, x)[1](jnp.ones_like(x))[0]

    return value


def applied(name: str, prime: bool, exponent: Formula | None, argument: Formula) -> Formula:
    """A function, or its derivative, of an argument; tanh² z is the square of tanh z."""
    function = FUNCTIONS[name]

    def value(env: Env, idx: Index) -> Any:
        at = argument(env, idx)
        said = jax.vjp(function, at)[1](jnp.ones_like(at))[0] if prime else function(at)
        return said if exponent is None else jnp.power(said, exponent(env, idx))

    return value


def times(a: Any, b: Any) -> Any:
    """A product; of a column and a row their outer product, of a matrix and what fits it, @."""
    row_a, row_b = (jnp.ndim(v) == 2 and v.shape[0] == 1 for v in (a, b))
    if jnp.ndim(a) == 2 and not row_a and jnp.ndim(b) and a.shape[1] == b.shape[0]:
        return a @ b
    if row_a or (row_b and jnp.ndim(a) == 1):
        return jnp.ravel(a)[:, None] * jnp.ravel(b)[None, :]
    return a * b


def product_of(factors: Sequence[Formula]) -> Formula:
    """The factors multiplied, from the left."""
    return lambda env, idx: reduce(times, (f(env, idx) for f in factors))


def sum_of(parts: Sequence[tuple[int, Formula]]) -> Formula:
    """The terms with their signs."""
    return lambda env, idx: sum(sign * f(env, idx) for sign, f in parts)


def joined(parts: Sequence[Formula]) -> Formula:
    """(a, b): the second stands below the first, a number for a row of it."""

    def value(env: Env, idx: Index) -> Any:
        first, *rest = (jnp.asarray(1.0 * f(env, idx)) for f in parts)
        first = first if first.ndim else first[None]
        rows = [jnp.broadcast_to(part, (1, *first.shape[1:])) for part in rest]
        return jnp.concatenate([first, *rows])

    return value


def for_each(letter: str, body: Formula) -> Formula:
    """The body for every value of an index, stacked."""

    def value(env: Env, idx: Index) -> Any:
        return jnp.stack([body(env, {**idx, letter: i}) for i in range(env["sizes"][letter])])

    return value


def over_index(kind: str, letter: str, body: Formula, only: Formula | None) -> Formula:
    """Σ or Π of the body over the values of an index for which `only` holds."""
    neutral, choose = (0.0, jnp.sum) if kind == r"\sum" else (1.0, jnp.prod)

    def term(env: Env, idx: Index) -> Any:
        value = body(env, idx)
        return value if only is None else jnp.where(only(env, idx), value, neutral)

    return lambda env, idx: choose(for_each(letter, term)(env, idx), axis=0)


def chosen(rows: Sequence[tuple[Formula, Formula]]) -> Formula:
    """The value of the row whose condition holds; NaN if none does."""

    def value(env: Env, idx: Index) -> Any:
        whole: Any = jnp.nan
        for said, holds in rows:
            whole = jnp.where(holds(env, idx), said(env, idx), whole)
        return whole

    return value


def compared(relation: str, left: Formula, right: Formula) -> Formula:
    """Whether the relation holds."""
    test = RELATIONS[relation]
    return lambda env, idx: jnp.asarray(test(left(env, idx), right(env, idx)))


def definition(value: Formula, letters: Sequence[str]) -> Callable[[Env], Any]:
    """A definition as a function of the names, with an axis for each letter it is given for."""
    for letter in reversed(letters):
        value = for_each(letter, value)
    return lambda env: value(env, {})
