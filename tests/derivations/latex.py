"""The formulas of derivations executed: a line's LaTeX as a function of what its letters stand for.

A formula in prose drifts away from the code beside it. Read by this small parser, the LaTeX of a
line is itself computed, and can be held to the line's value as one line is to another.

It knows what most derivations are written in: sums, products, quotients, powers, indices and sums
over them, cases, ∂, inner products, (x_n, 1), and definitions that follow a formula. It has no
words for the layers of networks: what it does not know is `Unreadable`, never guessed.

Names stand for arrays, or for functions of the other names (ŷ of z); indices for integers. Where a
formula has a ∂, autodiff stands in for it, as it does in a line's value.
"""

import operator
import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from handgrad.gradients.sigmoid import sigmoid, softplus, step

Env = dict[str, Any]
"""What names stand for; 'sizes' has the size of every index, 'theta' is (w, b) in one array."""
Index = dict[str, Any]
"""The values of the indices that are bound."""
Formula = Callable[[Env, Index], Any]

TOKEN = re.compile(r"\\[a-zA-Z]+|\\\\|\\[,;]|\d+(?:\.\d+)?|[a-zA-Z]|\S")
SPACE = (r"\,", r"\;", r"\left", r"\right")
"""What is there for the eye alone."""
LETTERS = (r"\hat", r"\alpha", r"\lambda")
INDICES = set("ijkcmn")
ENDS = {"", *"+-)]}&,=<>:", r"\\", r"\neq", r"\rangle", r"\end"}
FUNCTIONS: dict[str, Callable] = {
    "softplus": softplus,
    "step": step,
    "relu": jax.nn.relu,
    r"\sigma": sigmoid,
    r"\tanh": jnp.tanh,
}
RELATIONS = {"=": operator.eq, r"\neq": operator.ne, "<": operator.lt, ">": operator.gt}


class Unreadable(Exception):
    """A formula with something in it that the reader does not know."""


# --- what the signs mean --------------------------------------------------------------------------


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


# --- the grammar ----------------------------------------------------------------------------------


class Reader:
    """Recursive descent over the tokens of a formula, with a method for each kind of phrase."""

    def __init__(self, latex: str):
        self.left = [token for token in TOKEN.findall(latex) if token not in SPACE]
        self.within_bars = False

    def peek(self, ahead: int = 0) -> str:
        """A token to come; '' past the end."""
        return self.left[ahead] if len(self.left) > ahead else ""

    def take(self, *wanted: str) -> str:
        """The next token, which must be one of these, if any are given."""
        if not self.left or (wanted and self.left[0] not in wanted):
            raise Unreadable(f"{self.peek() or 'the end'} where {' or '.join(wanted)} should be")
        return self.left.pop(0)

    def accept(self, *tokens: str) -> bool:
        """Whether these tokens come next; they are taken then."""
        if tuple(self.left[: len(tokens)]) != tokens:
            return False
        del self.left[: len(tokens)]
        return True

    def until(self, end: str) -> list[str]:
        """The tokens before the next `end`, which is taken too."""
        found = []
        while not self.accept(end):
            found.append(self.take())
        return found

    def sum(self) -> Formula:
        """Terms with their signs."""
        parts = [(self.sign(), self.product())]
        while self.peek() in ("+", "-"):
            parts.append((self.sign(), self.product()))
        return sum_of(parts)

    def sign(self) -> int:
        """−1 for a minus, else 1."""
        return -1 if not self.accept("+") and self.accept("-") else 1

    def product(self) -> Formula:
        """Factors side by side; a Σ or a ∂/∂z takes all that follow."""
        factors: list[Formula] = []
        while self.peek() not in ENDS and not (self.within_bars and self.peek() == "|"):
            if not (self.accept(r"\cdot") or self.accept(r"\circ")):
                factors.append(self.factor())
        if not factors:
            raise Unreadable(f"nothing before {self.peek() or 'the end'}")
        return product_of(factors)

    def factor(self) -> Formula:
        """An atom with its powers and primes; a logarithm takes one factor."""
        if self.peek() in (r"\sum", r"\prod"):
            return self.over_indices()
        if self.accept(r"\log"):
            inner = self.factor()
            return lambda env, idx: jnp.log(inner(env, idx))
        if self.accept("e", "^"):
            power = self.group()
            return lambda env, idx: jnp.exp(power(env, idx))
        base = self.fraction() if self.accept(r"\frac") else self.atom()
        while self.peek() in ("^", "'"):
            base = derivative(base, "z", ()) if self.take() == "'" else self.power(base)
        return base

    def power(self, base: Formula) -> Formula:
        """An exponent, or ⊤ for a column made a row."""
        if self.accept("{", r"\top", "}"):
            return lambda env, idx: jnp.atleast_2d(base(env, idx).T)
        exponent = self.group()
        return lambda env, idx: jnp.power(base(env, idx), exponent(env, idx))

    def group(self) -> Formula:
        """What stands in braces, or one atom without."""
        if not self.accept("{"):
            return self.atom()
        inner = self.sum()
        self.take("}")
        return inner

    def over_indices(self) -> Formula:
        """Σ_n, Σ_{i ≠ j} or Σ_{n: condition}, of the product that follows."""
        kind = self.take()
        self.take("_")
        braced = self.accept("{")
        letter, only = self.take(), None
        if self.accept(r"\neq"):
            only = compared(r"\neq", index_of(letter, ()), self.index())
        elif self.accept(":"):
            only = self.condition()
        if braced:
            self.take("}")
        return over_index(kind, letter, sum_of([(self.sign(), self.product())]), only)

    def fraction(self) -> Formula:
        r"""A quotient, ∂f/∂z, or ∂/∂z of the product that follows."""
        self.take("{")
        if not self.accept(r"\partial"):
            top = self.sum()
            self.take("}")
            bottom = self.group()
            return lambda env, idx: top(env, idx) / bottom(env, idx)
        inner = None if self.peek() == "}" else self.product()
        for token in ("}", "{", r"\partial"):
            self.take(token)
        if self.accept("("):  # (w, b)
            self.until(")")
            name, letters = "theta", []
        else:
            name, letters = self.name(), self.indices()
        self.take("}")
        return derivative(inner or self.product(), name, letters)

    def name(self) -> str:
        """A letter, with its hat."""
        return "hat " + self.take() if self.accept(r"\hat") else self.take()

    def index(self) -> Formula:
        """A letter that is an index, or data that holds one, as c_n."""
        return index_of(self.take(), self.indices())

    def indices(self) -> list[Formula]:
        """What stands below a name."""
        if not self.accept("_"):
            return []
        if not self.accept("{"):
            return [self.index()]
        found = []
        while not self.accept("}"):
            found.append(self.index())
        return found

    def atom(self) -> Formula:
        """A number, a name, a function, or something in brackets."""
        token = self.peek()
        if self.accept("|"):
            self.within_bars = True
            inner = self.sum()
            self.within_bars = False
            self.take("|")
            return lambda env, idx: jnp.abs(inner(env, idx))
        if self.accept(r"\langle"):
            left, right = self.pair(r"\rangle")
            return lambda env, idx: jnp.sum(left(env, idx) * right(env, idx))
        if self.accept(r"\delta"):
            holds = compared("=", *self.indices())
            return lambda env, idx: jnp.where(holds(env, idx), 1.0, 0.0)
        if self.accept(r"\ell"):
            self.take("(")
            z, y = self.pair(")")
            return lambda env, idx: env["loss"](z(env, idx), y(env, idx))
        if token in ("(", "["):
            return self.bracket()
        if token == r"\begin":
            return self.cases()
        if token in (r"\sigma", r"\tanh", r"\mathrm", r"\max"):
            return self.function()
        if token[:1].isdigit():
            number = float(self.take())
            return lambda env, idx: number
        if token.isalpha() or token in LETTERS:
            return named(self.name(), self.indices())
        raise Unreadable(token or "the end")

    def pair(self, end: str) -> tuple[Formula, Formula]:
        """Two sums with a comma between, and the end."""
        left = self.sum()
        self.take(",")
        right = self.sum()
        self.take(end)
        return left, right

    def bracket(self) -> Formula:
        """Brackets around a sum, or around several that are stacked: (x_n, 1)."""
        self.take("(", "[")
        parts = [self.sum()]
        while self.accept(","):
            parts.append(self.sum())
        self.take(")", "]")
        return parts[0] if len(parts) == 1 else joined(parts)

    def function(self) -> Formula:
        """σ(z), σ′(z), tanh²z, softplus(z), max(a, b), max_k z_k, argmax_k z_k."""
        name = self.take()
        if name == r"\mathrm":
            self.take("{")
            name = "".join(self.until("}"))
        if name in (r"\max", "argmax") and self.accept("_"):
            choose, letter = (jnp.argmax if name == "argmax" else jnp.max), self.take()
            every = for_each(letter, self.product())
            return lambda env, idx: choose(every(env, idx))
        if name == r"\max":
            self.take("(")
            one, other = self.pair(")")
            return lambda env, idx: jnp.maximum(one(env, idx), other(env, idx))
        if name not in FUNCTIONS:
            raise Unreadable(name)
        prime = self.accept("'")
        exponent = self.group() if self.accept("^") else None
        return applied(name, prime, exponent, self.atom())

    def cases(self) -> Formula:
        r"""\begin{cases} value & condition \\ ... \end{cases}."""
        if "".join(self.until("}")) != r"\begin{cases":
            raise Unreadable("an environment other than cases")
        rows = []
        while not self.accept(r"\end"):
            value = self.sum()
            self.take("&")
            rows.append((value, self.condition()))
            self.accept(r"\\")
        self.until("}")
        return chosen(rows)

    def condition(self) -> Formula:
        """A relation of two sums or of two indices."""
        left, relation = self.side(), self.take(*RELATIONS)
        return compared(relation, left, self.side())

    def side(self) -> Formula:
        """A sum; a letter that is no name but an index stands alone."""
        alone = self.peek() in INDICES and self.peek(1) != "_"
        return self.index() if alone else self.sum()


# --- reading --------------------------------------------------------------------------------------


def read(latex: str) -> Formula:
    """The function of (names, indices) that a formula says, with the definitions it ends in.

    Raises Unreadable for what the reader does not know, when read or when computed.
    """
    main, *definitions = latex.removeprefix("=").split(r", \quad ")
    body = _whole(Reader(main))
    more = dict(_definition(Reader(text)) for text in definitions)
    return lambda env, idx: body({**env, **more}, idx)


def _whole(reader: Reader) -> Formula:
    value = reader.sum()
    while reader.accept("="):  # the same again, in other letters
        reader.sum()
    if reader.peek():
        raise Unreadable(f"{reader.peek()} is left over")
    return value


def _definition(reader: Reader) -> tuple[str, Callable]:
    name, letters = reader.name(), []
    if reader.accept("_"):
        letters = reader.until("}") if reader.accept("{") else [reader.take()]
    reader.take("=")
    return name, definition(_whole(reader), letters)
