"""Forms of one formula: exact ones in some tens of ways, and series where none keeps its digits.

A power series has a bounded remainder: what is left near a root or a removable singularity. A model
of order n on |u| ≤ r is c₀ + c₁u + … + cₙ₋₁uⁿ⁻¹ + ρ uⁿ, where the ball ρ encloses what is left for
every such u. Sums, products and quotients of models are models, and so are functions of one, by
Taylor's theorem; numerator and denominator that vanish together are divided by u first.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from flint import arb, arb_series, ctx

from handgrad.repair.normal import (
    FIRST_ARGUMENT,
    GENERATORS,
    Field,
    Mode,
    OutsideField,
    Ratio,
    fraction,
    monomials,
)
from handgrad.repair.terms import (
    SYMBOLS,
    Expression,
    argument,
    as_ball,
    ball_at,
    constant,
    function,
    make,
    on_arrays,
    substitute,
    subterms,
)
from handgrad.verify.ulp import ulp

X = argument(0)
COSTS = {
    "abs": 0.01, "add": 0.012, "and": 0.01, "arg": 0.0, "cbrt": 19.0, "ceil": 0.02, "const": 0.0,
    "cos": 6.5, "div": 0.1, "eq": 0.01, "erf": 0.2, "erfc": 0.8, "exp": 0.2, "exp2": 0.3,
    "expm1": 0.6, "ge": 0.01, "gt": 0.01, "held": 0.06, "i0e": 1.0, "i1e": 1.0, "le": 0.01,
    "log": 0.2, "log1p": 0.6, "logistic": 0.35, "lt": 0.01, "max": 0.02, "min": 0.02, "mul": 0.012,
    "ne": 0.01, "neg": 0.005, "or": 0.01, "pow": 0.03, "power": 4.5, "round": 0.05, "rsqrt": 0.12,
    "sign": 0.02, "sin": 6.5, "sqrt": 0.1, "sub": 0.012, "tanh": 0.15, "where": 0.05,
}  # fmt: skip
"""Nanoseconds an element on one core, above reading and writing it."""
OTHER_COST = 1.0


@dataclass(frozen=True)
class Form:
    """A term that may serve between two inputs; a series only there."""

    term: Expression
    kind: str = "exact"
    low: float = -np.inf
    high: float = np.inf
    truncation: float = 0.0
    """What a series leaves out, relative to the value."""

    @property
    def cost(self) -> float:
        """A guess in nanoseconds."""
        return cost_of(self.term)


def cost_of(*together: Expression) -> float:
    """The same of terms computed together: a shared part once."""
    parts = subterms(*together)
    return sum(COSTS.get(part.op, OTHER_COST) for part in parts if part.args)


# --- exact forms ------------------------------------------------------------------------------


def exact_forms(term: Expression, dtype: str = "float32") -> list[Form]:
    """The term as it is, and its normal form in all modes."""
    field = Field()
    found = [Form(term)]
    try:
        ratio = field.of(term)
    except OutsideField:
        return found
    written = _written(field, ratio)
    for place in _labels(ratio):
        written += _blended(field, term, place)
    found += written
    found += saturated(
        [*found, *(replace(form, term=with_split_exponents(form.term)) for form in found)], dtype
    )
    joint: dict[Expression, Form] = {}
    for form in found:  # an even function has one form on both sides
        known = joint.setdefault(form.term, form)
        low, high = min(known.low, form.low), max(known.high, form.high)
        joint[form.term] = replace(known, low=low, high=high)
    return list(joint.values())


def _modes(field: Field) -> Iterator[Mode]:
    indices = list(field.exponentials)[:2]
    directions = [
        frozenset(chosen)
        for size in range(len(indices) + 1)
        for chosen in itertools.combinations(indices, size)
    ]
    sides = (0, -1, 1)
    conjugates = (False, True) if field.roots else (False,)
    orders = (0, 1, 2) if indices else (0, 1)
    differences = ("expm1", "tanh", "minus") if indices else ("expm1",)
    for options in itertools.product(
        directions, (False, True), conjugates, orders, sides, differences
    ):
        yield Mode(*options)


def _written(field: Field, ratio: Ratio) -> list[Form]:
    found = []
    for mode in _modes(field):
        low = 0.0 if mode.side > 0 else -np.inf
        high = 0.0 if mode.side < 0 else np.inf
        try:
            found.append(Form(field.write(ratio, mode), low=low, high=high))
        except OutsideField:
            continue
    return found


def _labels(ratio: Ratio) -> list[int]:
    """The arguments beside x in which a ratio is linear."""
    tops, bottoms = ratio.num.degrees(), ratio.den.degrees()
    places = range(1, len(GENERATORS) - FIRST_ARGUMENT)
    return [
        i for i in places
        if tops[FIRST_ARGUMENT + i] == 1 and bottoms[FIRST_ARGUMENT + i] == 0
    ]  # fmt: skip


def _blended(field: Field, term: Expression, place: int) -> list[Form]:
    """(1 − y)·f(y = 0) + y·f(y = 1), in all modes: nothing cancels at a hard label."""
    y = argument(place)
    ends = [field.of(substitute(term, {y: constant(value)})) for value in (0, 1)]
    columns = [_written(field, end) for end in ends]
    return [
        replace(at_zero, term=(1 - y) * at_zero.term + y * at_one.term)
        for at_zero in columns[0]
        for at_one in columns[1]
        if (at_zero.low, at_zero.high) == (at_one.low, at_one.high)
    ]


SPLIT_STEPS = {1: Fraction(1, 16), 2: Fraction(1, 16), 3: Fraction(1, 4), 4: Fraction(1, 2)}
"""For each degree the step of a grid on which a polynomial up to 128 is exact in float32."""
FRACTION_BITS = 17
SATURATED = 760.0
"""An exponent at which an exponential is 0 in float64, and so in all narrower dtypes."""


def with_split_exponents(term: Expression) -> Expression:
    """e^p(x) as e^t (1 + lost), with t the rounded exponent and `lost` what was rounded off.

    The error of e^p is that of p, which is up to half an ulp of p: 44 ulp at p = 88. At h, next
    to x on a grid, q(h) has no rounding error, for q next to p; p − q(h) is small, and is
    (p − q)(h) + (x − h) (p(x) − p(h))/(x − h). What their sum t rounds off is exact.
    """
    new: dict[Expression, Expression] = {}
    for part in subterms(term):
        numbers = _polynomial_exponent(part) if part.op == "exp" else None
        if numbers is None:
            continue
        degree = len(numbers) - 1
        step, x = SPLIT_STEPS[degree], X
        h = constant(step) * function("round", x * constant(1 / step))
        grid = [step**k * 2**FRACTION_BITS for k in range(degree + 1)]
        main = [Fraction(round(c * g)) / g for c, g in zip(numbers, grid, strict=True)]
        rest = [c - m for c, m in zip(numbers, main, strict=True)]
        slope = constant(numbers[1])
        powers = {2: x + h, 3: x * x + h * (x + h), 4: (x + h) * (x * x + h * h)}
        for k in range(2, degree + 1):
            slope = slope + constant(numbers[k]) * powers[k]
        small = _horner(rest, h) + (x - h) * slope
        near = _horner(main, h)
        exponent = near + small
        lost = small - (exponent - near)
        new[part] = function("exp", exponent) * (1 + lost)  # e^t · lost may be too small a number
    return substitute(term, new) if new else term


def _polynomial_exponent(part: Expression) -> list[Fraction] | None:
    """The coefficients of the exponent, from x⁰ on, if it is a polynomial of degree 1 to 4.

    None for a power of two times x, which is exact.
    """
    field = Field()
    try:
        ratio = field.of(part.args[0])
    except OutsideField:
        return None
    if not ratio.den.is_constant():
        return None
    scale = fraction(ratio.den.leading_coefficient())
    numbers = [Fraction(0)] * 5
    for powers, number in monomials(ratio.num):
        degree = powers[FIRST_ARGUMENT]
        amount = fraction(number) / scale
        for index, power in enumerate(powers):
            if not power or index == FIRST_ARGUMENT:
                continue
            symbol = field.others.get(index)
            if symbol is None or symbol.op != "const":
                return None
            amount *= symbol.value**power
        if degree > 4:
            return None
        numbers[degree] += amount
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    exact = len(numbers) <= 2 and _is_power_of_two(abs(numbers[-1]))
    return None if len(numbers) == 1 or exact else numbers


def _is_power_of_two(number: Fraction) -> bool:
    return all(n and n & (n - 1) == 0 for n in (number.numerator, number.denominator))


def _horner(numbers: Sequence[Fraction | float], x: Expression) -> Expression:
    total = constant(numbers[-1])
    for number in reversed(numbers[:-1]):
        total = constant(number) + x * total
    return total


def saturated(forms: Sequence[Form], dtype: str) -> list[Form]:
    """The forms with x held to where all of their exponentials are 0 or infinite: 0 · ∞ is NaN.

    Without exponentials, where it has a root: to where 2x² does not overflow.
    """
    exact = [form for form in forms if form.kind == "exact"]
    every = list(subterms(*(form.term for form in exact)))
    parts = [part for part in every if part.op == "exp"]
    if any(part.op == "arg" and part is not X for part in subterms(*parts)):
        return []
    with np.errstate(over="ignore", invalid="ignore"):
        bound = _saturation(parts)
    if not parts and any(part.op == "sqrt" for part in every):
        bound = 0.9 * float(np.sqrt(float(jnp.finfo(dtype).max) / 2))
        bound = float(f"{bound:.2g}")
    if bound is None:
        return []
    held = function("min", function("max", X, constant(-bound)), constant(bound))
    return [replace(form, term=substitute(form.term, {X: held})) for form in exact]


def _saturation(exponentials: Sequence[Expression]) -> float | None:
    """A power of two beyond which these exponentials are all surely 0 or infinite."""
    for power in range(4, 40):
        sizes = [
            abs(float(on_arrays(part.args[0], [side * np.float64(2.0**power)])))
            for part in exponentials
            for side in (1, -1)
        ]
        if sizes and min(sizes) > SATURATED:
            return 2.0**power
    return None


# --- far out ----------------------------------------------------------------------------------


def leading_forms(term: Expression, dtype: str) -> list[Form]:
    """c xᵏ, the leading term at infinity, from where on what it leaves out is below half an ulp.

    In u = 1/x the term is u⁻ᵏ G(u); G(u)/G(0) − 1 is bounded over the ball [0, 1/L].
    """
    field = Field()
    try:
        ratio = field.of(term)
        if field.exponentials or field.logs or field.others.keys() - field.constants():
            return []
        power, inner = field.at_infinity(ratio)
    except OutsideField:
        return []
    found = []
    small = 2.0 ** -(int(jnp.finfo(dtype).nmant) + 3)
    for side in (1, -1):
        own = substitute(inner, {make("side"): constant(side)})
        at_zero = ball_at(own, arb(0))
        if not at_zero.is_finite() or at_zero.contains(0):
            continue
        for exponent in range(4, 60, 2):
            u = arb(0).union(arb(side * 2.0**-exponent))
            value = ball_at(own, u)
            missing = abs(value / at_zero - 1)
            if missing < small:
                amount = constant(float(at_zero.mid()))
                leading = amount * X ** max(power, 0)
                for _ in range(-power):  # x² overflows where the quotient is a number
                    leading = leading / X
                ends = (2.0**exponent, np.inf) if side > 0 else (-np.inf, -(2.0**exponent))
                found.append(Form(leading, "series", *ends, float(missing.abs_upper())))
                break
    return found


TAILS = (10.0, 14.0, 20.0, 28.0)
TAIL_TERMS = range(2, 7)


def tail_forms(term: Expression, dtype: str) -> list[Form]:
    """erfc far out by its asymptotic series, where the function itself is no number any more.

    erfc z = e^(−z²)/(z√π) (1 − 1/(2z²) + 3/(2z²)² − …); what is left out has the sign of the next
    term and is smaller, for z > 0. Its weight in the whole is bounded as in `leading_forms`.
    """
    field = Field()
    try:
        ratio = field.of(term)
    except OutsideField:
        return []
    tails = [part for part in subterms(term) if part.op == "erfc"]
    places = [i for i, known in field.others.items() if known.op == "erfc"]
    if len(tails) != 1 or len(places) != 1:
        return []
    (erfc,), (index,) = tails, places
    if ratio.num.degrees()[index] != 1 or ratio.den.degrees()[index]:
        return []
    weight = field.plain(field.ratio(ratio.num.derivative(index), ratio.den))
    z = erfc.args[0]
    small = 2.0 ** -(int(jnp.finfo(dtype).nmant) + 3)
    for start, count in itertools.product(TAILS, TAIL_TERMS):
        series_term, sign = constant(1), 1
        for k in range(1, count):
            sign *= -(2 * k - 1)
            series_term = series_term + constant(sign) / (2 * z * z) ** Fraction(k)
        tail = function("exp", -(z * z)) / (z * make("sqrt_pi")) * series_term
        whole = substitute(term, {erfc: tail})
        for side in (1, -1):
            if not ball_at(z, arb(side * start)) > 0:
                continue
            left_out = abs(sign * (2 * count - 1)) / (2 * ball_at(z, arb(start)) ** 2) ** count
            bound = _most(weight * tail, whole, side, start)
            if bound is not None and bound * left_out < small / 2:
                ends = (start, np.inf) if side > 0 else (-np.inf, -start)
                truncation = 2 * float((bound * left_out).abs_upper())
                return [
                    replace(form, kind="series", low=ends[0], high=ends[1], truncation=truncation)
                    for form in exact_forms(whole, dtype)
                    if form.low <= ends[0] and ends[1] <= form.high
                ]
    return []


def _most(part: Expression, whole: Expression, side: int, start: float) -> arb | None:
    """A bound of |part / whole| from side · start on, if it does not grow; None if unknown."""
    field = Field()
    try:
        power, inner = field.at_infinity(field.divide(field.of(part), field.of(whole)))
    except OutsideField:
        return None
    own = substitute(inner, {make("side"): constant(side)})
    value = abs(ball_at(own, arb(0).union(arb(side / start)))) * arb(start) ** power
    return value if power <= 0 and value.is_finite() else None


# --- power series -----------------------------------------------------------------------------

PRECISION = 256
SPARE = 8
"""Terms more than the degree asked for: a quotient 0/0 uses some up."""
DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18)
PARTS = 32
"""Parts of an interval over each of which the values of a model are enclosed."""
MOST_TERMS = DEGREES[-1] + SPARE

Model = list[arb]


class NoSeries(Exception):  # noqa: N818
    """A term that has no power series there, or none that is known."""


def model(term: Expression, centre: arb, radius: float, order: int) -> Model:
    """The model of a term in x = centre + u. Raises NoSeries where there is none."""
    u = arb(0, radius)
    known: dict[Expression, Model] = {}
    for part in subterms(term):
        operands = [known[arg] for arg in part.args]
        if part.op == "arg" and part.value == 0:
            known[part] = [centre, arb(1), *[arb(0)] * (order - 1)]
        elif part.op == "const":
            known[part] = [as_ball(part.value), *[arb(0)] * order]
        elif part.op in SYMBOLS:
            known[part] = [SYMBOLS[part.op].ball(), *[arb(0)] * order]
        elif part.op == "pow":
            known[part] = _power(operands[0], part.value, u)
        elif part.op in OPERATIONS:
            known[part] = OPERATIONS[part.op](*operands, u)
        else:
            raise NoSeries(part.op)
    return known[term]


def _fit(a: Model, b: Model, u: arb) -> tuple[Model, Model]:
    order = min(len(a), len(b)) - 1
    return _shortened(a, order, u), _shortened(b, order, u)


def _shortened(a: Model, order: int, u: arb) -> Model:
    rest = arb(0)
    for coefficient in reversed(a[order:]):
        rest = rest * u + coefficient
    return [*a[:order], rest]


def _add(a: Model, b: Model, u: arb) -> Model:
    return [x + y for x, y in zip(*_fit(a, b, u), strict=True)]


def _subtract(a: Model, b: Model, u: arb) -> Model:
    return [x - y for x, y in zip(*_fit(a, b, u), strict=True)]


def _range(a: Model, u: arb) -> arb:
    """All values of a model: those over each part of the ball, together."""
    width = u.rad() / PARTS
    centres = (width * (2 * k + 1 - PARTS) for k in range(PARTS))
    values = [_shortened(a, 0, arb(centre.mid(), width))[0] for centre in centres]
    return functools.reduce(arb.union, values)


def _multiply(a: Model, b: Model, u: arb) -> Model:
    a, b = _fit(a, b, u)
    return _shortened(_convolved(a, b), len(a) - 1, u)


def _convolved(a: Sequence[arb], b: Sequence[arb]) -> list[arb]:
    product = [arb(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def _compose(outer: Callable[[arb_series], arb_series], a: Model, u: arb) -> Model:
    """g(a) by Taylor's theorem: the last coefficient over all values that a takes."""
    order = len(a) - 1
    moving = [arb(0), *a[1:]]
    cap, ctx.cap = ctx.cap, order + 1  # flint cuts series off there
    try:
        at_centre = outer(arb_series([a[0], 1], prec=order + 1))
        anywhere = outer(arb_series([_range(a, u), 1], prec=order + 1))
    except (ValueError, ZeroDivisionError) as error:
        raise NoSeries(str(error)) from None
    finally:
        ctx.cap = cap
    result = [anywhere[order], *[arb(0)] * order]
    for k in reversed(range(order)):
        result = _multiply(result, moving, u)
        result[0] += at_centre[k]
    if not all(coefficient.is_finite() for coefficient in result):
        raise NoSeries("not finite")
    return result


def _divide(a: Model, b: Model, u: arb) -> Model:
    """q with a − q b = uⁿ r, the remainder r over all values of b; 0/0 is divided by u first."""
    while b[0].is_zero():
        if not a[0].is_zero() or len(a) < 3 or len(b) < 3:
            raise NoSeries("a pole")
        a, b = a[1:], b[1:]
    a, b = _fit(a, b, u)
    order, everywhere = len(a) - 1, _range(b, u)
    if everywhere.contains(0):
        raise NoSeries("a pole")
    quotient: list[arb] = []
    for k in range(order):
        done = sum((quotient[j] * b[k - j] for j in range(k)), arb(0))
        quotient.append((a[k] - done) / b[0])
    product = _convolved(quotient, b)
    left = [a[order] - product[order], *(-x for x in product[order + 1 :])]
    return [*quotient, _shortened(left, 0, u)[0] / everywhere]


def _power(a: Model, exponent: Fraction, u: arb) -> Model:
    if exponent.denominator != 1:
        rational = arb(exponent.numerator) / exponent.denominator
        return _compose(lambda s: (s.log() * rational).exp(), a, u)
    result = [arb(1), *[arb(0)] * (len(a) - 1)]
    for _ in range(abs(int(exponent))):
        result = _multiply(*_fit(result, a, u), u)
    return result if exponent > 0 else _divide([arb(1), *[arb(0)] * (len(a) - 1)], result, u)


OPERATIONS: dict[str, Callable[..., Model]] = {
    "add": _add, "sub": _subtract, "mul": _multiply, "div": _divide,
    "neg": lambda a, u: [-x for x in a],
    **{name: functools.partial(_compose, outer) for name, outer in {
        "exp": arb_series.exp, "log": arb_series.log, "sqrt": arb_series.sqrt,
        "rsqrt": arb_series.rsqrt, "sin": arb_series.sin, "cos": arb_series.cos,
        "tan": arb_series.tan, "atan": arb_series.atan, "asin": arb_series.asin,
        "acos": arb_series.acos, "erf": arb_series.erf, "erfc": arb_series.erfc,
        "lgamma": arb_series.lgamma,
        "expm1": lambda s: s.exp() - 1,
        "log1p": lambda s: (1 + s).log(),
        "logistic": lambda s: 1 / (1 + (-s).exp()),
        "tanh": lambda s: 1 - 2 / (1 + (2 * s).exp()),
        "sinh": lambda s: (s.exp() - (-s).exp()) / 2,
        "cosh": lambda s: (s.exp() + (-s).exp()) / 2,
        "asinh": lambda s: (s + (s * s + 1).sqrt()).log(),
        "atanh": lambda s: ((1 + s).log() - (1 - s).log()) / 2,
        "exp2": lambda s: (s * arb(2).log()).exp(),
    }.items()},
}  # fmt: skip


# --- a polynomial for the code ----------------------------------------------------------------


def series_forms(term: Expression, centre: arb, is_root: bool, dtype: str) -> list[Form]:
    """Polynomials about `centre`, one for each radius at which some degree does for the dtype.

    About a root the centre is the nearest number of the dtype, so that x − centre is exact, and
    the polynomial begins with the tiny value there.
    """
    found: list[Form] = []
    try:
        field = Field()
        term = field.plain(field.of(term))  # one quotient: parts of it may have poles
    except OutsideField:
        return found
    middle = float(np.asarray(float(centre.mid())).astype(jnp.dtype(dtype)))
    spacing = float(ulp(middle, dtype)) if is_root else 0.0
    with ctx.workprec(PRECISION):
        for halvings in range(-1, 12):
            radius = 2.0**-halvings
            try:
                coefficients = model(term, arb(middle), radius, MOST_TERMS)
            except NoSeries:
                continue
            polynomial = _polynomial(coefficients, radius, spacing, jnp.finfo(dtype).nmant + 3)
            if polynomial is None:
                continue
            first, numbers, bound = polynomial
            ends = middle - radius, middle + radius
            written = _as_term(X - constant(middle), first, numbers)
            found.append(Form(written, "series", *ends, bound))
            if len(numbers) <= 3:
                break
    return found


def _polynomial(
    coefficients: Model, radius: float, spacing: float, digits: int
) -> tuple[int, list[float], float] | None:
    """The first power, the numbers from it on, and the bound; None where no degree does.

    With a spacing h > 0 the root is within h/2 of the centre: f = c₀ + u q(u) with
    |c₀| ≤ h max|q|/2, and at inputs |u| ≥ h that |f| ≥ |u| (min|q| − |c₀|/h).
    """
    u = arb(0, radius)
    known = (k for k, c in enumerate(coefficients[:-1]) if not c.contains(0))
    first = 1 if spacing else next(known, None)
    if first is None or (any(not c.is_zero() for c in coefficients[:first]) and not spacing):
        return None
    whole = _range(coefficients[first:], u).abs_lower()  # f / u^first, everywhere
    if spacing:
        whole = (whole - abs(coefficients[0]) / spacing).lower()
    if not whole > 0:
        return None
    for degree in DEGREES:
        stop = first + degree
        if stop >= len(coefficients):
            break
        kept = _shortened(coefficients, stop, u)
        bound = abs(kept[stop]) * arb(radius) ** (stop - first) / whole
        numbers = kept[0 if spacing else first : stop]
        zeros = [k for k, c in enumerate(numbers) if c.contains(0)]  # left out, if not quite zero
        bound += sum((abs(numbers[k]) * arb(radius) ** k for k in zeros), arb(0)) / whole
        if bound < arb(2) ** -digits:
            return (
                0 if spacing else first,
                [0.0 if c.contains(0) else float(c.mid()) for c in numbers],
                float(bound.abs_upper()),
            )
    return None


def _as_term(u: Expression, first: int, numbers: list[float]) -> Expression:
    """u^first Σ cₖ uᵏ by Horner's scheme, in u² where every other number is 0."""
    step = 2 if len(numbers) > 2 and not any(numbers[1::2]) else 1
    return math.prod([u] * first, start=_horner(numbers[::step], u * u if step == 2 else u))


def root_between(term: Expression, low: float, high: float) -> arb | None:
    """The root of a term that changes its sign between two inputs, to 180 bits; None if unsure."""
    with ctx.workprec(PRECISION):
        a, b = arb(low), arb(high)
        sign = _sign(term, a)
        if not sign:
            return None
        for _ in range(180):
            middle = ((a + b) / 2).mid()
            there = _sign(term, middle)
            if there == 0:
                return middle
            a, b = (middle, b) if there == sign else (a, middle)
        return a.union(b)


def _sign(term: Expression, at: arb) -> int:
    """The sign of a term at a point; 0 where the balls do not tell."""
    with ctx.workprec(4 * PRECISION):
        value = ball_at(term, at)
    return 1 if value > 0 else -1 if value < 0 else 0
