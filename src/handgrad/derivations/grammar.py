"""The grammar of a formula: LaTeX to functions, a method for each kind of phrase; see `reading`."""

import jax.numpy as jnp

from handgrad.derivations import meaning
from handgrad.derivations.meaning import Formula, Unreadable
from handgrad.derivations.tokens import Tokens

LETTERS = (r"\hat", r"\alpha", r"\lambda")
INDICES = set("ijkcmn")
ENDS = {"", *"+-)]}&,=<>:", r"\\", r"\neq", r"\rangle", r"\end"}


class Reader:
    """Recursive descent over the tokens of a formula, each of which is looked at once."""

    def __init__(self, latex: str):
        self.tokens = Tokens(latex)
        self.within_bars = False

    def sum(self) -> Formula:
        """Terms with their signs."""
        parts = [(self.sign(), self.product())]
        while self.tokens.peek() in ("+", "-"):
            parts.append((self.sign(), self.product()))
        return meaning.sum_of(parts)

    def sign(self) -> int:
        """−1 for a minus, else 1."""
        return -1 if not self.tokens.accept("+") and self.tokens.accept("-") else 1

    def product(self) -> Formula:
        """Factors side by side; a Σ or a ∂/∂z takes all that follow."""
        factors: list[Formula] = []
        while self.tokens.peek() not in ENDS and not (
            self.within_bars and self.tokens.peek() == "|"
        ):
            if not (self.tokens.accept(r"\cdot") or self.tokens.accept(r"\circ")):
                factors.append(self.factor())
        if not factors:
            raise Unreadable(f"nothing before {self.tokens.peek() or 'the end'}")
        return meaning.product_of(factors)

    def factor(self) -> Formula:
        """An atom with its powers and primes; a logarithm takes one factor."""
        if self.tokens.peek() in (r"\sum", r"\prod"):
            return self.over_indices()
        if self.tokens.accept(r"\log"):
            inner = self.factor()
            return lambda env, idx: jnp.log(inner(env, idx))
        if self.tokens.accept("e", "^"):
            power = self.group()
            return lambda env, idx: jnp.exp(power(env, idx))
        base = self.fraction() if self.tokens.accept(r"\frac") else self.atom()
        while self.tokens.peek() in ("^", "'"):
            base = (
                meaning.derivative(base, "z", ()) if self.tokens.take() == "'" else self.power(base)
            )
        return base

    def power(self, base: Formula) -> Formula:
        """An exponent, or ⊤ for a column made a row."""
        if self.tokens.accept("{", r"\top", "}"):
            return lambda env, idx: jnp.atleast_2d(base(env, idx).T)
        exponent = self.group()
        return lambda env, idx: jnp.power(base(env, idx), exponent(env, idx))

    def group(self) -> Formula:
        """What stands in braces, or one atom without."""
        if not self.tokens.accept("{"):
            return self.atom()
        inner = self.sum()
        self.tokens.take("}")
        return inner

    def over_indices(self) -> Formula:
        """Σ_n, Σ_{i ≠ j} or Σ_{n: condition}, of the product that follows."""
        kind = self.tokens.take()
        self.tokens.take("_")
        braced = self.tokens.accept("{")
        letter, only = self.tokens.take(), None
        if self.tokens.accept(r"\neq"):
            only = meaning.compared(r"\neq", meaning.index_of(letter, ()), self.index())
        elif self.tokens.accept(":"):
            only = self.condition()
        if braced:
            self.tokens.take("}")
        return meaning.over_index(
            kind, letter, meaning.sum_of([(self.sign(), self.product())]), only
        )

    def fraction(self) -> Formula:
        r"""A quotient, ∂f/∂z, or ∂/∂z of the product that follows."""
        self.tokens.take("{")
        if not self.tokens.accept(r"\partial"):
            top = self.sum()
            self.tokens.take("}")
            bottom = self.group()
            return lambda env, idx: top(env, idx) / bottom(env, idx)
        inner = None if self.tokens.peek() == "}" else self.product()
        for token in ("}", "{", r"\partial"):
            self.tokens.take(token)
        if self.tokens.accept("("):  # (w, b)
            self.tokens.until(")")
            name, letters = "theta", []
        else:
            name, letters = self.name(), self.indices()
        self.tokens.take("}")
        return meaning.derivative(inner or self.product(), name, letters)

    def name(self) -> str:
        """A letter, with its hat."""
        return "hat " + self.tokens.take() if self.tokens.accept(r"\hat") else self.tokens.take()

    def index(self) -> Formula:
        """A letter that is an index, or data that holds one, as c_n."""
        return meaning.index_of(self.tokens.take(), self.indices())

    def indices(self) -> list[Formula]:
        """What stands below a name."""
        if not self.tokens.accept("_"):
            return []
        if not self.tokens.accept("{"):
            return [self.index()]
        found = []
        while not self.tokens.accept("}"):
            found.append(self.index())
        return found

    def atom(self) -> Formula:
        """A number, a name, a function, or something in brackets."""
        token = self.tokens.peek()
        if self.tokens.accept("|"):
            self.within_bars = True
            inner = self.sum()
            self.within_bars = False
            self.tokens.take("|")
            return lambda env, idx: jnp.abs(inner(env, idx))
        if self.tokens.accept(r"\langle"):
            left, right = self.pair(r"\rangle")
            return lambda env, idx: jnp.sum(left(env, idx) * right(env, idx))
        if self.tokens.accept(r"\delta"):
            holds = meaning.compared("=", *self.indices())
            return lambda env, idx: jnp.where(holds(env, idx), 1.0, 0.0)
        if self.tokens.accept(r"\ell"):
            self.tokens.take("(")
            z, y = self.pair(")")
            return lambda env, idx: env["loss"](z(env, idx), y(env, idx))
        if token in ("(", "["):
            return self.bracket()
        if token == r"\begin":
            return self.cases()
        if token in (r"\sigma", r"\tanh", r"\mathrm", r"\max"):
            return self.function()
        if token[:1].isdigit():
            number = float(self.tokens.take())
            return lambda env, idx: number
        if token.isalpha() or token in LETTERS:
            return meaning.named(self.name(), self.indices())
        raise Unreadable(token or "the end")

    def pair(self, end: str) -> tuple[Formula, Formula]:
        """Two sums with a comma between, and the end."""
        left = self.sum()
        self.tokens.take(",")
        right = self.sum()
        self.tokens.take(end)
        return left, right

    def bracket(self) -> Formula:
        """Brackets around a sum, or around several that are stacked: (x_n, 1)."""
        self.tokens.take("(", "[")
        parts = [self.sum()]
        while self.tokens.accept(","):
            parts.append(self.sum())
        self.tokens.take(")", "]")
        return parts[0] if len(parts) == 1 else meaning.joined(parts)

    def function(self) -> Formula:
        """σ(z), σ′(z), tanh²z, softplus(z), max(a, b), max_k z_k, argmax_k z_k."""
        name = self.tokens.take()
        if name == r"\mathrm":
            self.tokens.take("{")
            name = "".join(self.tokens.until("}"))
        if name in (r"\max", "argmax") and self.tokens.accept("_"):
            choose, letter = (jnp.argmax if name == "argmax" else jnp.max), self.tokens.take()
            every = meaning.for_each(letter, self.product())
            return lambda env, idx: choose(every(env, idx))
        if name == r"\max":
            self.tokens.take("(")
            one, other = self.pair(")")
            return lambda env, idx: jnp.maximum(one(env, idx), other(env, idx))
        if name not in meaning.FUNCTIONS:
            raise Unreadable(name)
        prime = self.tokens.accept("'")
        exponent = self.group() if self.tokens.accept("^") else None
        return meaning.applied(name, prime, exponent, self.atom())

    def cases(self) -> Formula:
        r"""\begin{cases} value & condition \\ ... \end{cases}."""
        if "".join(self.tokens.until("}")) != r"\begin{cases":
            raise Unreadable("an environment other than cases")
        rows = []
        while not self.tokens.accept(r"\end"):
            value = self.sum()
            self.tokens.take("&")
            rows.append((value, self.condition()))
            self.tokens.accept(r"\\")
        self.tokens.until("}")
        return meaning.chosen(rows)

    def condition(self) -> Formula:
        """A relation of two sums or of two indices."""
        left, relation = self.side(), self.tokens.take(*meaning.RELATIONS)
        return meaning.compared(relation, left, self.side())

    def side(self) -> Formula:
        """A sum; a letter that is no name but an index stands alone."""
        alone = self.tokens.peek() in INDICES and self.tokens.peek(1) != "_"
        return self.index() if alone else self.sum()
