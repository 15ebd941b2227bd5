"""The normal form: a quotient of polynomials in x, exponentials, roots, and whatever else occurs.

e^x, tanh, σ, expm1, cosh are all rational in one exponential, so what differs only in the way it
was written has one normal form, and what cancels on paper has gone. Polynomials are those of
`flint`, with exact fractions: sums, products, greatest common divisors, factors.

>>> from handgrad.repair.terms import argument, function
>>> x = argument(0)
>>> s = function("logistic", x)
>>> field = Field()
>>> field.of(s * (1 - s)) == field.of(s * function("logistic", -x))
True
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx

from handgrad.repair.terms import (
    SYMBOLS,
    Expression,
    argument,
    constant,
    function,
    is_number,
    make,
    substitute,
)

ROOTS, EXPONENTIALS, OTHERS, ARGUMENTS = 6, 6, 18, 6
FIRST_EXPONENTIAL, FIRST_OTHER = ROOTS, ROOTS + EXPONENTIALS
FIRST_ARGUMENT = FIRST_OTHER + OTHERS
SIMPLE = 4096
"""Denominators up to this are kept as numbers; other constants stand as symbols."""
CONTEXT = fmpq_mpoly_ctx.get(
    tuple(f"g{i}" for i in range(FIRST_ARGUMENT + ARGUMENTS)), Ordering.lex
)
GENERATORS = CONTEXT.gens()
ONE, ZERO = CONTEXT.from_dict({(0,) * len(GENERATORS): 1}), CONTEXT.from_dict({})
POSITIVE = frozenset({"erfc", "i0e", "const", "sqrt_pi", "ln2", "abs", "cosh"})
"""Functions whose values are never negative."""

X = argument(0)
Polynomial = Any


class OutsideField(Exception):  # noqa: N818  (a limit, not a fault)
    """A term with more parts than the normal form has room for."""


class _Finer(Exception):  # noqa: N818
    """An exponent that is no whole multiple of the unit of its generator."""


@dataclass(frozen=True)
class Ratio:
    """num / den, in lowest terms."""

    num: Polynomial
    den: Polynomial

    @property
    def name(self) -> str:
        """The same for equal ratios: polynomials of flint have no hash."""
        return f"{self.num}/{self.den}"


@dataclass(frozen=True)
class Exponential:
    """exp (or exp2) of `unit` times an exponent."""

    base: str
    exponent: Ratio
    unit: Fraction


@dataclass(frozen=True)
class Mode:
    """How a normal form is written out."""

    down: frozenset[int] = frozenset()
    """The exponentials that are written as 1/E: these are divided through by their top power."""
    big: bool = False
    """Divided through by the top power of x."""
    conjugate: bool = False
    order: int = 0
    """0: one quotient of products; 1: exponentials first, then factor by factor; 2: as 0, with
    each exponential as the square of another, one half before the quotient and one after it."""
    side: int = 0
    """The sign of x, where it is known: e^x is e^−|x| left of 0, and so is e^−x right of it."""
    difference: str = "expm1"
    """E − 1 by expm1, as the tanh of (E − 1)/(E + 1), or as it is (cheaper, far from 0)."""


class Field:
    """The generators that occur, and what each stands for."""

    def __init__(self) -> None:
        self.roots: dict[int, Polynomial] = {}
        self.exponentials: dict[int, Exponential] = {}
        self.others: dict[int, Expression] = {}
        self.logs: dict[int, Ratio] = {}
        self.units: dict[Any, Fraction] = {}
        self._known: dict[Expression, Ratio] = {}

    # --- into the normal form -----------------------------------------------------------------

    def of(self, term: Expression) -> Ratio:
        """The normal form of a term. Raises OutsideField where there is no room for it."""
        for _ in range(8):
            try:
                return self._of(term)
            except _Finer:  # every exponential once more, in the smaller unit
                self._known.clear()
                self.exponentials.clear()
        raise OutsideField("no common unit of the exponents")

    def _of(self, term: Expression) -> Ratio:
        known = self._known.get(term)
        if known is None:
            known = self._known[term] = self._convert(term)
        return known

    def _convert(self, term: Expression) -> Ratio:
        op, args = term.op, term.args
        if op == "arg":
            if term.value >= ARGUMENTS:
                raise OutsideField("many arguments")
            return Ratio(GENERATORS[FIRST_ARGUMENT + term.value], ONE)
        if op == "const":
            return self._constant(term)
        if op in SYMBOLS:
            return self._other(term)
        if op == "pow":
            exponent = term.value
            if exponent.denominator == 1:
                return self._power(self._of(args[0]), int(exponent))
            if exponent.denominator == 2:
                return self._power(self._root(self._of(args[0])), int(2 * exponent))
            return self._other(self.plain(self._of(args[0])) ** exponent)
        if op == "power":
            return self._variable_power(*map(self._of, args))
        if op in REWRITTEN:
            return self._of(REWRITTEN[op](*args))
        operands = [self._of(arg) for arg in args]
        if op in RATIONAL:
            return RATIONAL[op](self, *operands)
        return self._other(make(op, tuple(map(self.plain, operands)), term.value))

    def _constant(self, term: Expression) -> Ratio:
        value = term.value
        if not isinstance(value, Fraction):
            raise OutsideField("an infinite constant")
        if value.denominator <= SIMPLE and abs(value.numerator) < 2**53:
            return Ratio(ONE * _rational(value), ONE)
        if value < 0:
            return self.multiply(Ratio(-ONE, ONE), self._constant(constant(-value)))
        return self._other(term)

    def _other(self, term: Expression) -> Ratio:
        return self._symbol(self.others, term)

    def _symbol(self, known: dict[int, Any], meaning: Any) -> Ratio:
        """The generator that stands for a function or a logarithm, a new one the first time."""
        index = next((i for i, other in known.items() if other == meaning), None)
        if index is None:
            index = FIRST_OTHER + len(self.others) + len(self.logs)
            if index >= FIRST_ARGUMENT:
                raise OutsideField("many functions")
            known[index] = meaning
        return Ratio(GENERATORS[index], ONE)

    def reduced(self, p: Polynomial) -> Polynomial:
        """The polynomial with R² replaced by what R is the root of."""
        for index in sorted(self.roots):
            if p.degrees()[index] >= 2:
                p = divmod(p, GENERATORS[index] ** 2 - self.roots[index])[1]
        return p

    def ratio(self, num: Polynomial, den: Polynomial) -> Ratio:
        """num / den in lowest terms. Raises OutsideField where den is 0."""
        num, den = self.reduced(num), self.reduced(den)
        if den.is_zero():
            raise OutsideField("a division by zero")
        if num.is_zero():
            return Ratio(ZERO, ONE)
        common = num.gcd(den)
        num, den = num / common, den / common
        lead = den.leading_coefficient()
        return Ratio(num / lead, den / lead)

    def add(self, a: Ratio, b: Ratio) -> Ratio:
        """a + b."""
        if a.den == b.den:
            return self.ratio(a.num + b.num, a.den)
        return self.ratio(a.num * b.den + b.num * a.den, a.den * b.den)

    def subtract(self, a: Ratio, b: Ratio) -> Ratio:
        """a − b."""
        return self.add(a, Ratio(-b.num, b.den))

    def multiply(self, a: Ratio, b: Ratio) -> Ratio:
        """a b."""
        return self.ratio(a.num * b.num, a.den * b.den)

    def divide(self, a: Ratio, b: Ratio) -> Ratio:
        """a / b."""
        return self.ratio(a.num * b.den, a.den * b.num)

    def _power(self, a: Ratio, exponent: int) -> Ratio:
        if abs(exponent) > 40:
            raise OutsideField("a high power")
        if exponent < 0:
            return self.divide(Ratio(ONE, ONE), self._power(a, -exponent))
        result = Ratio(ONE, ONE)
        for _ in range(exponent):
            result = self.multiply(result, a)
        return result

    def _root(self, a: Ratio) -> Ratio:
        if not self.is_positive(a.den):
            if not self.is_positive(-a.den):
                return self._other(function("sqrt", self.plain(a)))
            a = Ratio(-a.num, -a.den)
        if a.den.is_constant() and a.num.is_constant():
            return self._other(function("sqrt", self.plain(a)))
        inner, outer = self.reduced(a.num * a.den), Ratio(ONE, a.den)
        content = inner.leading_coefficient()
        square = _whole_root(abs(content))
        if square is not None and content > 0:
            inner, outer = inner / content, Ratio(ONE * square, a.den)
        index = next((i for i, known in self.roots.items() if known == inner), None)
        if index is None:
            index = ROOTS - 1 - len(self.roots)  # an outer root before the inner ones
            if index < 0:
                raise OutsideField("many roots")
            self.roots[index] = inner
        return self.multiply(Ratio(GENERATORS[index], ONE), outer)

    def _variable_power(self, base: Ratio, exponent: Ratio) -> Ratio:
        """b^(e + k) = b^e b^k for a whole number k."""
        whole, zero = 0, (0,) * len(GENERATORS)
        if exponent.den == ONE:
            number = exponent.num.to_dict().get(zero, fmpq(0))
            if number.q == 1:
                whole = int(number.p)
        rest = self.ratio(exponent.num - ONE * whole, exponent.den)
        if rest.num.is_zero():
            return self._power(base, whole)
        power = self._other(function("power", self.plain(base), self.plain(rest)))
        return self.multiply(power, self._power(base, whole))

    def _exp(self, a: Ratio, base: str = "exp") -> Ratio:
        result = Ratio(ONE, ONE)
        if a.den == ONE and base == "exp":
            for index, inner in self.logs.items():
                number = _coefficient(a.num, index)
                if number is not None and number.q == 1:
                    result = self.multiply(result, self._power(inner, int(number.p)))
                    a = Ratio(a.num - GENERATORS[index] * number, ONE)
        if a.num.is_zero():
            return result
        content = _content(a.num)
        exponent = Ratio(a.num / content, a.den)
        key = base, exponent.name
        amount = fraction(content)
        unit = self.units.get(key)
        if unit is None or (amount / unit).denominator != 1:
            finer = abs(amount) if unit is None else _common_divisor(abs(amount), unit)
            self.units[key] = finer
            if unit is not None:
                raise _Finer
            unit = finer
        meaning = Exponential(base, exponent, unit)
        place = next((i for i, known in self.exponentials.items() if known == meaning), None)
        if place is None:
            place = FIRST_EXPONENTIAL + len(self.exponentials)
            if place >= FIRST_OTHER:
                raise OutsideField("many exponentials")
            self.exponentials[place] = meaning
        return self.multiply(result, self._power(Ratio(GENERATORS[place], ONE), int(amount / unit)))

    def _log(self, a: Ratio) -> Ratio:
        """The sum of the logarithms of the factors that are surely positive, and of the rest."""
        total, rest = Ratio(ZERO, ONE), Ratio(ONE, ONE)
        for polynomial, sign in ((a.num, 1), (a.den, -1)):
            number, factors = polynomial.factor()
            rest = self.multiply(rest, self._power(Ratio(ONE * number, ONE), sign))
            for factor, exponent in factors:
                times = sign * int(exponent)
                index = _is_generator(factor)
                if index in self.exponentials and self.exponentials[index].base == "exp":
                    known = self.exponentials[index]
                    part = self.multiply(Ratio(ONE * _rational(known.unit), ONE), known.exponent)
                elif self.is_positive(factor):
                    part = self._symbol(self.logs, Ratio(factor, ONE))
                else:
                    rest = self.multiply(rest, self._power(Ratio(factor, ONE), times))
                    continue
                total = self.add(total, self.multiply(Ratio(ONE * times, ONE), part))
        if rest == Ratio(ONE, ONE):
            return total
        return self.add(total, self._symbol(self.logs, rest))

    def is_positive(self, p: Polynomial) -> bool:
        """Whether a polynomial is surely positive: every monomial is one of positive things."""
        for powers, number in monomials(p):
            if number <= 0:
                return False
            for index, power in enumerate(powers):
                if power % 2 and not (
                    index < FIRST_OTHER
                    or (index in self.others and self.others[index].op in POSITIVE)
                ):
                    return False
        return not p.is_zero()

    # --- out of it ----------------------------------------------------------------------------

    def plain(self, a: Ratio) -> Expression:
        """A term of this normal form, written without thought."""
        return self.write(a, Mode())

    def write(self, a: Ratio, mode: Mode) -> Expression:
        """A term of this normal form, in that mode."""
        if a.num.is_zero():
            return constant(0)
        if self.logs and mode.down:
            a = self._with_logs_divided(a, mode)
        number, factors = self._factors(a, mode)
        tangents: list[Expression] = []
        if mode.difference == "tanh":
            tangents, factors = self._tangents(factors)
        powers = Counter[int]()  # of generators, pulled out of the factors
        above: list[tuple[Expression, int]] = []
        below: list[tuple[Expression, int]] = []
        for factor, exponent in factors:
            term, pulled = self.polynomial(factor, mode)
            for index, power in pulled.items():
                powers[index] += power * exponent
            if not is_number(term, 1):
                (above if exponent > 0 else below).append((term, abs(exponent)))
        above += [(tangent, 1) for tangent in tangents]
        exponentials: list[Expression] = []
        for index, power in sorted(powers.items()):
            if power and index in self.exponentials:
                half = Fraction(power, 2) if mode.order == 2 else power
                exponentials.append(self.exponential(index, half, mode))
            elif power:
                term = self.generator(index, mode)
                if index == FIRST_ARGUMENT and mode.side < 0 and power % 2:
                    number = -number
                (above if power > 0 else below).append((term, abs(power)))
        return _assemble(number, exponentials, above, below, mode.order)

    def _factors(self, a: Ratio, mode: Mode) -> tuple[fmpq, list[tuple[Polynomial, int]]]:
        """A number and factors with their exponents, those below with negative ones."""
        number = fmpq(1)
        found: list[tuple[Polynomial, int]] = []
        for polynomial, sign in ((a.num, 1), (a.den, -1)):
            content, factors = polynomial.factor()
            number *= content**sign
            for factor, exponent in factors:
                exponent = sign * int(exponent)
                pair = self._conjugated(factor) if mode.conjugate else None
                if pair is None:
                    found.append((factor, exponent))
                    continue
                content, parts = pair[0].factor()
                number *= content**exponent
                found += [(part, exponent * int(count)) for part, count in parts]
                found.append((pair[1], -exponent))
        return number, found

    def _tangents(
        self, factors: list[tuple[Polynomial, int]]
    ) -> tuple[list[Expression], list[tuple[Polynomial, int]]]:
        """tanh(a/2) for each (E − 1)/(E + 1) with E = e^a, and the factors that are left."""
        found: list[Expression] = []
        left = dict(enumerate(factors))
        for index, known in self.exponentials.items():
            e = GENERATORS[index]
            minus = next((k for k, (p, n) in left.items() if p == e - ONE and n > 0), None)
            plus = next((k for k, (p, n) in left.items() if p == e + ONE and n < 0), None)
            if minus is None or plus is None or known.base != "exp":
                continue
            times = min(left[minus][1], -left[plus][1])
            half = scaled(self.write(known.exponent, Mode()), known.unit / 2)
            found += [function("tanh", half)] * times
            for k, change in ((minus, -times), (plus, times)):
                left[k] = left[k][0], left[k][1] + change
        return found, [(p, n) for p, n in left.values() if n]

    def constants(self) -> set[int]:
        """The generators that stand for constants."""
        return {i for i, term in self.others.items() if not term.args and term.op != "arg"}

    def at_infinity(self, a: Ratio) -> tuple[int, Expression]:
        """k and G with a = xᵏ G(1/x), G written in its argument; 'side' stands for the sign."""
        number, factors = self._factors(a, Mode())
        u, power = argument(0), 0
        result = constant(fraction(number))
        for factor, exponent in factors:
            degree, term = self._inverted(factor, u)
            power += degree * exponent
            result = result * term ** Fraction(exponent)
        return power, result

    def _inverted(self, p: Polynomial, u: Expression) -> tuple[int, Expression]:
        """The degree of a polynomial in x, and the polynomial over that power, in u = 1/x."""
        items = monomials(p)
        top = max(self._degree(powers) for powers, _ in items)
        total = constant(0)
        for powers, number in items:
            part = constant(fraction(number))
            for index, power in enumerate(powers):
                if not power or index == FIRST_ARGUMENT:
                    continue
                if index in self.roots:
                    _, inner = self._inverted(self.roots[index], u)
                    base = function("sqrt", inner)
                    if self._degree_of_root(index) % 2:
                        base = make("side") * base
                else:
                    base = self.generator(index, Mode())
                part = part * base ** Fraction(power)
            total = total + part * u ** Fraction(top - self._degree(powers))
        return top, total

    def _conjugated(self, p: Polynomial) -> tuple[Polynomial, Polynomial] | None:
        """a + bR as a² − b²R² and a − bR, if p has a root R, or two; else None."""
        roots = [i for i in self.roots if p.degrees()[i]]
        if not 1 <= len(roots) <= 2 or _is_generator(p) is not None:
            return None
        index = roots[0]
        slope = p.derivative(index)
        rest = p - slope * GENERATORS[index]
        if rest.is_zero() or slope.degrees()[index]:
            return None
        top = self.reduced(rest * rest - slope * slope * self.roots[index])
        return None if top.is_zero() else (top, rest - slope * GENERATORS[index])

    def exponential(self, index: int, power: int | Fraction, mode: Mode) -> Expression:
        """E^power, as one exponential."""
        known = self.exponentials[index]
        amount = known.unit * power
        exponent = self.write(known.exponent, Mode())
        if mode.side and _is_odd(known.exponent):
            exponent = substitute(exponent, {X: function("abs", X)})
            amount *= mode.side
        return function(known.base, scaled(exponent, amount))

    def generator(self, index: int, mode: Mode) -> Expression:
        """What a generator stands for; exponentials and roots divided through as asked."""
        if index == FIRST_ARGUMENT:
            return function("abs", X) if mode.side else X
        if index > FIRST_ARGUMENT:
            return argument(index - FIRST_ARGUMENT)
        if index in self.exponentials:
            sign = -1 if index in mode.down else 1
            if mode.order < 2:
                return self.exponential(index, sign, mode)
            half = self.exponential(index, Fraction(sign, 2), mode)
            return half * half
        if index in self.roots:
            term, _ = self.polynomial(self.roots[index], mode, whole=True)
            return function("sqrt", term)
        if index in self.logs:
            return self.logarithm(self.logs[index], mode)
        return self.others[index]

    def logarithm(self, inner: Ratio, mode: Mode) -> Expression:
        """log of a ratio; of a polynomial that is divided through, without the power of E."""
        if inner.den != ONE:
            return function("log", self.write(inner, mode))
        term, _ = self.polynomial(inner.num, replace(mode, big=False), whole=True)
        if term.op in ("add", "sub") and is_number(term.args[0], 1):
            return function("log1p", term.args[1] if term.op == "add" else -term.args[1])
        return function("log", term)

    def _with_logs_divided(self, a: Ratio, mode: Mode) -> Ratio:
        """log p replaced by log(p/Eᵏ) + k log E, where the mode divides p by Eᵏ."""
        new = list(GENERATORS)
        for index, inner in self.logs.items():
            if inner.den != ONE:
                continue
            for e, known in self.exponentials.items():
                top = max(powers[e] for powers, _ in monomials(inner.num))
                if e in mode.down and top and known.exponent.den == ONE:
                    unit = _rational(known.unit)
                    new[index] = new[index] + known.exponent.num * unit * top
        return self.ratio(a.num.compose(*new), a.den.compose(*new))

    def polynomial(
        self, p: Polynomial, mode: Mode, whole: bool = False
    ) -> tuple[Expression, dict[int, int]]:
        """A polynomial divided through as the mode asks, and the powers that it was divided by.

        `whole`: a generator alone is not pulled out as a power of itself.
        """
        single = _is_generator(p)
        if single is not None and not whole:
            if single == FIRST_ARGUMENT or single in self.exponentials:
                return constant(1), {single: 1}
            if single in self.roots and mode.big:
                return self._root_big(single, mode), {FIRST_ARGUMENT: self._degree_of_root(single)}
            return self.generator(single, mode), {}
        items = monomials(p)
        pulled: dict[int, int] = {}
        for index in self.exponentials:
            top = max(powers[index] for powers, _ in items)
            if index in mode.down and top:
                pulled[index] = top
                for powers, _ in items:
                    powers[index] = top - powers[index]
        degrees = [self._degree(powers) for powers, _ in items] if mode.big else [0]
        inverse = max(degrees) > 0 and len(items) > 1
        if inverse:
            pulled[FIRST_ARGUMENT] = top = max(degrees)
            for (powers, _), degree in zip(items, degrees, strict=True):
                powers[FIRST_ARGUMENT] = top - degree
        if mode.side < 0:  # in terms of |x|
            items = [(p, -n if p[FIRST_ARGUMENT] % 2 else n) for p, n in items]
        return self._sum(items, mode, inverse), pulled

    def _degree(self, powers: list[int]) -> int:
        """The power of x in a monomial, each root counted as the root of its top power."""
        own = powers[FIRST_ARGUMENT]
        return own + sum(powers[i] * self._degree_of_root(i) for i in self.roots)

    def _degree_of_root(self, index: int) -> int:
        degree = int(self.roots[index].degrees()[FIRST_ARGUMENT])
        if degree % 2:
            raise OutsideField("a root of an odd power")
        return degree // 2

    def _root_big(self, index: int, mode: Mode) -> Expression:
        """√p = |x|^d √(p/x^2d), without the power; with the sign of x^d."""
        term, _ = self.polynomial(self.roots[index], mode, whole=True)
        root = function("sqrt", term)
        if self._degree_of_root(index) % 2 == 0:
            return root
        return constant(mode.side) * root if mode.side else function("sign", X) * root

    def _sum(self, items: list, mode: Mode, inverse: bool) -> Expression:
        """Σ number · monomial: constants first; E^k − 1 by expm1; powers of x by Horner."""
        if len(items) == 2 and (found := self._expm1(items, mode, inverse)) is not None:
            return found
        by_power: dict[int, list] = {}
        for powers, number in items:
            by_power.setdefault(powers[FIRST_ARGUMENT], []).append((powers, number))
        if inverse or len(by_power) < 2 or max(by_power) < 2:
            return self._monomials(items, mode, inverse)
        total, previous = constant(0), max(by_power)
        x = self.generator(FIRST_ARGUMENT, mode)
        for power in sorted(by_power, reverse=True):  # Horner
            flat = [
                ([*powers[:FIRST_ARGUMENT], 0, *powers[FIRST_ARGUMENT + 1 :]], number)
                for powers, number in by_power[power]
            ]
            total = math.prod([x] * (previous - power), start=total)
            total = self._monomials(flat, mode, False) + total
            previous = power
        return math.prod([x] * previous, start=total)

    def _monomials(self, items: list, mode: Mode, inverse: bool) -> Expression:
        """A sum: positive monomials before negative ones, low powers before high ones."""
        ordered = sorted(items, key=lambda item: (item[1] < 0, sum(item[0]), [-p for p in item[0]]))
        first, *rest = (self._monomial(powers, number, mode, inverse) for powers, number in ordered)
        for part in rest:
            first = first - -part if is_number(part) and part.value < 0 else first + part
        return first

    def _expm1(self, items: list, mode: Mode, inverse: bool) -> Expression | None:
        (first, a), (second, b) = items
        if a != -b or inverse or mode.difference == "minus":
            return None
        differing = [i for i in range(len(first)) if first[i] != second[i]]
        if len(differing) != 1 or differing[0] not in self.exponentials or sum(first) * sum(second):
            return None
        (index,) = differing
        power = first[index] or second[index]
        number = a if first[index] else b
        known = self.exponentials[index]
        if known.base != "exp":
            return None
        exponent = self.exponential(index, -power if index in mode.down else power, mode).args[0]
        return scaled(function("expm1", exponent), fraction(number))

    def _monomial(self, powers: Any, number: fmpq, mode: Mode, inverse: bool) -> Expression:
        symbols: list[Expression] = []
        parts: list[Expression] = []
        halves: list[Expression] = []
        for index, power in enumerate(powers):
            if not power or (inverse and index == FIRST_ARGUMENT):
                continue
            sign = -1 if index in mode.down else 1
            if index in self.exponentials and power == 1 and mode.order == 2:
                halves.append(self.exponential(index, Fraction(sign, 2), mode))
            elif index in self.exponentials and power > 2 and mode.order < 2:
                parts.append(self.exponential(index, sign * power, mode))
            else:
                big = index in self.roots and mode.big
                base = self._root_big(index, mode) if big else self.generator(index, mode)
                target = symbols if base.op in ("const", *SYMBOLS) else parts
                target += [base] * power
        # a rounded product of constants would not be the function: each meets a variable first
        alternating = [part for pair in zip_longest(symbols, parts) for part in pair if part]
        if alternating:  # what is tiny beside what is large: neither half is lost
            factors = [*halves, *alternating, *halves]
        else:
            factors = [half * half for half in halves]
        result = scaled(math.prod(factors, start=constant(1)), fraction(number))
        if inverse:
            for _ in range(powers[FIRST_ARGUMENT]):
                result = result / self.generator(FIRST_ARGUMENT, mode)
        return result


RATIONAL: dict[str, Callable[..., Ratio]] = {
    "add": Field.add, "sub": Field.subtract, "mul": Field.multiply, "div": Field.divide,
    "neg": lambda field, a: Ratio(-a.num, a.den), "log": Field._log, "sqrt": Field._root,
    "exp": Field._exp, "exp2": lambda field, a: field._exp(a, "exp2"),
}  # fmt: skip
"""Operations that stay within the field, or add one generator to it."""
exp, log = partial(function, "exp"), partial(function, "log")
REWRITTEN: dict[str, Callable[[Expression], Expression]] = {
    "expm1": lambda a: exp(a) - 1,
    "logistic": lambda a: exp(a) / (exp(a) + 1),
    "tanh": lambda a: (exp(a + a) - 1) / (exp(a + a) + 1),
    "sinh": lambda a: (exp(a) - exp(-a)) / 2,
    "cosh": lambda a: (exp(a) + exp(-a)) / 2,
    "log1p": lambda a: log(1 + a),
    "rsqrt": lambda a: 1 / function("sqrt", a),
    "tan": lambda a: function("sin", a) / function("cos", a),
}
"""Functions by those that have a generator."""


# --- small parts ------------------------------------------------------------------------------


def _is_odd(exponent: Ratio) -> bool:
    """Whether an exponent is a polynomial in x of odd powers alone, times numbers and symbols."""
    arguments = range(FIRST_ARGUMENT + 1, len(GENERATORS))
    return exponent.den.is_constant() and all(
        powers[FIRST_ARGUMENT] % 2 and not any(powers[i] for i in arguments)
        for powers, _ in monomials(exponent.num)
    )


def fraction(number: fmpq) -> Fraction:
    """A number of flint as one of Python."""
    return Fraction(int(number.p), int(number.q))


def _rational(number: Fraction) -> fmpq:
    return fmpq(number.numerator, number.denominator)


def monomials(p: Polynomial) -> list[tuple[list[int], fmpq]]:
    """The monomials of a polynomial: the powers of the generators, and the number before them."""
    return [([int(power) for power in powers], number) for powers, number in p.to_dict().items()]


def scaled(term: Expression, amount: Fraction) -> Expression:
    """amount · term, the denominator as a division where it is no power of two."""
    if amount < 0:
        return -scaled(term, -amount)
    if term.op == "mul" and is_number(term.args[0]):
        amount, term = amount * term.args[0].value, term.args[1]
    simple = amount.denominator & (amount.denominator - 1) == 0
    if simple or is_number(term):
        return constant(amount) * term
    return (constant(amount.numerator) * term) / constant(amount.denominator)


def _assemble(
    number: fmpq, exponentials: list[Expression], above: list, below: list, order: int
) -> Expression:
    amount = fraction(number)
    if order == 1:
        result = scaled(math.prod(exponentials, start=constant(1)), amount)
        numerators = [term for term, power in above for _ in range(power)]
        denominators = [term for term, power in below for _ in range(power)]
        for divisor, factor in zip_longest(denominators, numerators, fillvalue=constant(1)):
            result = result / divisor * factor
        return result
    top, bottom = (
        [term * term if power == 2 else term**power for term, power in side]
        for side in (above, below)
    )
    simple = amount.denominator & (amount.denominator - 1) == 0
    numerator = abs(amount) if simple else Fraction(amount.numerator, 1)
    if not simple:
        bottom = [constant(amount.denominator), *bottom]
    head = [] if order == 2 else exponentials
    between = constant(abs(numerator)) * math.prod([*top, *head], start=constant(1))
    between = between / math.prod(bottom, start=constant(1))
    if order == 2:
        between = math.prod([*exponentials, between, *exponentials], start=constant(1))
    return -between if amount < 0 else between


def _is_generator(p: Polynomial) -> int | None:
    """The index of the generator that a polynomial is, or None."""
    items = monomials(p)
    if len(items) != 1 or items[0][1] != 1 or sum(items[0][0]) != 1:
        return None
    return items[0][0].index(1)


def _coefficient(p: Polynomial, index: int) -> fmpq | None:
    """The number before a generator that occurs in one monomial alone and by itself."""
    found = [(powers, n) for powers, n in monomials(p) if powers[index]]
    if len(found) != 1 or sum(found[0][0]) != 1:
        return None
    return found[0][1]


def _content(p: Polynomial) -> fmpq:
    """The rational number that makes p primitive, with the sign of the leading coefficient."""
    numbers = [number for _, number in monomials(p)]
    top = math.gcd(*(int(n.p) for n in numbers))
    bottom = math.lcm(*(int(n.q) for n in numbers))
    sign = 1 if p.leading_coefficient() > 0 else -1
    return fmpq(sign * top, bottom)


def _common_divisor(a: Fraction, b: Fraction) -> Fraction:
    return Fraction(
        math.gcd(a.numerator * b.denominator, b.numerator * a.denominator),
        a.denominator * b.denominator,
    )


def _whole_root(number: fmpq) -> fmpq | None:
    top, bottom = math.isqrt(int(number.p)), math.isqrt(int(number.q))
    exact = top * top == int(number.p) and bottom * bottom == int(number.q)
    return fmpq(top, bottom) if exact else None
