"""Terms: a scalar function as a small expression, and its derivative, by the rules of calculus.

A term is an operation on terms; equal terms are one object, so a shared part is evaluated once.
Constants are exact fractions. The same term is evaluated in two arithmetics: over arrays in a
dtype (`on_arrays`, what the printed code does) and over balls that enclose (`on_balls`).

>>> x = argument(0)
>>> print(derivative(function("log1p", function("exp", x))))
(exp(x) * (1 / (1 + exp(x))))
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb
from jax.scipy import special

from handgrad.errors import Undecided
from handgrad.exact import balls
from handgrad.exact.elementwise import arctanh, cbrt, divide, logarithm, power
from handgrad.exact.special import bessel_i0e, bessel_i1e, digamma, erf, erfc, lgamma


@dataclass(frozen=True, eq=False)
class Expression:
    """`op` of `args`; `value` is the number of a constant, the place of an argument, a power."""

    op: str
    args: tuple["Expression", ...] = ()
    value: Any = None

    def __add__(self, other: "Expression | int") -> "Expression":
        return add(self, as_term(other))

    def __radd__(self, other: int) -> "Expression":
        return add(as_term(other), self)

    def __sub__(self, other: "Expression | int") -> "Expression":
        return subtract(self, as_term(other))

    def __rsub__(self, other: int) -> "Expression":
        return subtract(as_term(other), self)

    def __mul__(self, other: "Expression | int | Fraction") -> "Expression":
        return multiply(self, as_term(other))

    __rmul__ = __mul__

    def __truediv__(self, other: "Expression | int") -> "Expression":
        return quotient(self, as_term(other))

    def __rtruediv__(self, other: int) -> "Expression":
        return quotient(as_term(other), self)

    def __neg__(self) -> "Expression":
        return negate(self)

    def __pow__(self, exponent: int | Fraction) -> "Expression":
        return raised(self, Fraction(exponent))

    def __str__(self) -> str:
        if self.op == "arg":
            return "x" if self.value == 0 else f"y{self.value}"
        if self.op == "const":
            return number_text(self.value)
        if self.op in INFIX:
            return "(" + f" {INFIX[self.op]} ".join(map(str, self.args)) + ")"
        if self.op == "pow":
            return f"{self.args[0]}**{number_text(self.value)}"
        return f"{self.op}({', '.join(map(str, self.args))})"

    __repr__ = __str__


INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip


@functools.lru_cache(maxsize=200_000)
def make(op: str, args: tuple[Expression, ...] = (), value: Any = None) -> Expression:
    """The one term of this form."""
    return Expression(op, args, value)


def number_text(value: Any) -> str:
    """A fraction as Python that gives its float: the shortest decimal, or a quotient like 1/3."""
    if isinstance(value, float):
        return f"jnp.{value}" if value > 0 else f"-jnp.{-value}"
    if value.denominator == 1 and abs(value) < 10**9:
        return str(value.numerator)
    number = float(value)
    if Fraction(number) == value or value.denominator > 10**6:
        text = repr(number)
        return text[:-2] if text.endswith(".0") and len(text) < 12 else text
    return f"({value.numerator} / {value.denominator})"


# --- building ---------------------------------------------------------------------------------


def argument(place: int) -> Expression:
    """The argument at that place; 0 is the one that is differentiated."""
    return make("arg", (), place)


def constant(value: Any) -> Expression:
    """A constant; infinities stay floats."""
    number = float(value) if isinstance(value, float | np.floating) else value
    infinite = isinstance(number, float) and not np.isfinite(number)
    return make("const", (), number if infinite else Fraction(number))


def as_term(value: Any) -> Expression:
    """A term, or a number as one."""
    return value if isinstance(value, Expression) else constant(value)


def is_number(term: Expression, value: int | None = None) -> bool:
    """Whether a term is a finite constant, of that value if one is given."""
    known = term.op == "const" and isinstance(term.value, Fraction)
    return known and (value is None or term.value == value)


def _folded(function: Callable[..., Any], *terms: Expression) -> Expression | None:
    if all(map(is_number, terms)):
        return constant(function(*(term.value for term in terms)))
    return None


def add(a: Expression, b: Expression) -> Expression:
    """a + b, without zeros and double signs."""
    if is_number(a, 0):
        return b
    if b.op == "neg":
        return subtract(a, b.args[0])
    if a.op == "neg":
        return subtract(b, a.args[0])
    return a if is_number(b, 0) else _folded(operator.add, a, b) or make("add", (a, b))


def subtract(a: Expression, b: Expression) -> Expression:
    """a − b, and 0 for a − a."""
    if is_number(b, 0):
        return a
    if is_number(a, 0):
        return negate(b)
    if a is b:
        return constant(0)
    if b.op == "neg":
        return add(a, b.args[0])
    return _folded(operator.sub, a, b) or make("sub", (a, b))


def multiply(a: Expression, b: Expression) -> Expression:
    """a b, the signs outside."""
    if is_number(a, 0) or is_number(b, 0):
        return constant(0)
    if is_number(a, 1):
        return b
    if is_number(b, 1):
        return a
    if is_number(a, -1):
        return negate(b)
    if is_number(b, -1):
        return negate(a)
    if a.op == "neg" or b.op == "neg":
        product = multiply(_size(a), _size(b))
        return product if a.op == b.op else negate(product)
    for one, other in ((a, b), (b, a)):
        if other.op == "div" and other.args[1] == one:  # 1/a may be too small for a·(1/a)
            return other.args[0]
    return _folded(operator.mul, a, b) or make("mul", (a, b))


def quotient(a: Expression, b: Expression) -> Expression:
    """a / b, the signs outside."""
    if is_number(a, 0) and not is_number(b, 0):
        return constant(0)
    if is_number(b, 1):
        return a
    if is_number(b, 0):
        return make("div", (a, b))
    if a.op == "neg" or b.op == "neg":
        result = quotient(_size(a), _size(b))
        return result if a.op == b.op else negate(result)
    return _folded(Fraction, a, b) or make("div", (a, b))


def _size(a: Expression) -> Expression:
    return a.args[0] if a.op == "neg" else a


def negate(a: Expression) -> Expression:
    """−a."""
    if a.op == "neg":
        return a.args[0]
    return constant(-a.value) if a.op == "const" else make("neg", (a,))


def raised(a: Expression, exponent: Fraction) -> Expression:
    """a**exponent for a constant fraction."""
    if exponent == 0:
        return constant(1)
    if exponent == 1:
        return a
    if exponent == Fraction(1, 2):
        return function("sqrt", a)
    if exponent.denominator == 1 and is_number(a) and abs(exponent) < 64:
        return constant(a.value ** int(exponent))
    return make("pow", (a,), exponent)


def where(condition: Expression, a: Expression, b: Expression) -> Expression:
    """a where the condition holds, else b."""
    if condition.op == "const":
        return a if condition.value else b
    return a if a is b else make("where", (condition, a, b))


def function(name: str, *args: Expression) -> Expression:
    """A named function, or a comparison, of terms."""
    if name in COMPARISONS:
        return _comparison(name, *args)
    if name in ("max", "min") and args[0] is args[1]:
        return args[0]
    if is_number(args[0]) and name in AT_EXACT and (args[0].value, name) in EXACT:
        return constant(EXACT[args[0].value, name])
    if all(map(is_number, args)) and name in ("abs", "sign", "max", "min"):
        fold: Any = {"abs": abs, "sign": np.sign, "max": max, "min": min}[name]
        return constant(fold(*(arg.value for arg in args)))
    return make(name, args)


COMPARISONS = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
EXACT = {
    (0, "exp"): 1, (0, "log1p"): 0, (0, "expm1"): 0, (0, "tanh"): 0, (1, "log"): 0, (0, "sin"): 0,
    (0, "cos"): 1, (0, "sqrt"): 0, (1, "sqrt"): 1, (0, "erf"): 0, (0, "erfc"): 1, (0, "asinh"): 0,
    (0, "atan"): 0,
}  # fmt: skip
AT_EXACT = {name for _, name in EXACT}


def _comparison(name: str, a: Expression, b: Expression) -> Expression:
    """A comparison of real numbers: none is infinite, none is NaN."""
    if a is b:
        return constant(int(name in ("le", "ge", "eq")))
    if a.op == b.op == "const":
        return constant(int(COMPARISONS[name](a.value, b.value)))
    for other, flipped in ((a, True), (b, False)):
        if other.op == "const" and isinstance(other.value, float):
            ends = (other.value, 0.0) if flipped else (0.0, other.value)
            return constant(int(COMPARISONS[name](*ends)))
    return make(name, (a, b))


# --- the functions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Elementary:
    """A function of one real number: as printed, over arrays, over balls, and its derivative."""

    source: str
    array: Callable[..., Any]
    ball: Callable[..., Any]
    derivative: Callable[[Expression], Expression]


def _sign_of(a: Expression) -> Expression:
    return function("sign", a)


def _gauss(a: Expression) -> Expression:
    """2/√π · exp(−a²)."""
    return constant(2) / make("sqrt_pi") * function("exp", -(a * a))


FUNCTIONS: dict[str, Elementary] = {
    "exp": Elementary("jnp.exp", jnp.exp, arb.exp, lambda a: function("exp", a)),
    "exp2": Elementary(
        "jnp.exp2", jnp.exp2, lambda a: arb(2) ** a, lambda a: make("ln2") * function("exp2", a)
    ),
    "expm1": Elementary("jnp.expm1", jnp.expm1, arb.expm1, lambda a: function("exp", a)),
    "log": Elementary("jnp.log", jnp.log, logarithm, lambda a: 1 / a),
    "log2": Elementary(
        "jnp.log2", jnp.log2, lambda a: logarithm(a) / arb(2).log(), lambda a: 1 / (make("ln2") * a)
    ),
    "log1p": Elementary("jnp.log1p", jnp.log1p, arb.log1p, lambda a: 1 / (1 + a)),
    "tanh": Elementary(
        "jnp.tanh", jnp.tanh, arb.tanh, lambda a: 1 - function("tanh", a) * function("tanh", a)
    ),
    "logistic": Elementary(
        "jax.nn.sigmoid", jax.nn.sigmoid, lambda a: 1 / (1 + (-a).exp()),
        lambda a: function("logistic", a) * function("logistic", -a),
    ),
    "sqrt": Elementary("jnp.sqrt", jnp.sqrt, arb.sqrt, lambda a: 1 / (2 * function("sqrt", a))),
    "rsqrt": Elementary(
        "jax.lax.rsqrt", jax.lax.rsqrt, arb.rsqrt, lambda a: -1 / (2 * a * function("sqrt", a))
    ),
    "cbrt": Elementary("jnp.cbrt", jnp.cbrt, cbrt, lambda a: function("cbrt", a) / (3 * a)),
    "sin": Elementary("jnp.sin", jnp.sin, arb.sin, lambda a: function("cos", a)),
    "cos": Elementary("jnp.cos", jnp.cos, arb.cos, lambda a: -function("sin", a)),
    "tan": Elementary(
        "jnp.tan", jnp.tan, arb.tan, lambda a: 1 / (function("cos", a) * function("cos", a))
    ),
    "sinh": Elementary("jnp.sinh", jnp.sinh, arb.sinh, lambda a: function("cosh", a)),
    "cosh": Elementary("jnp.cosh", jnp.cosh, arb.cosh, lambda a: function("sinh", a)),
    "asin": Elementary(
        "jnp.arcsin", jnp.arcsin, arb.asin, lambda a: 1 / function("sqrt", (1 - a) * (1 + a))
    ),
    "acos": Elementary(
        "jnp.arccos", jnp.arccos, arb.acos, lambda a: -1 / function("sqrt", (1 - a) * (1 + a))
    ),
    "atan": Elementary("jnp.arctan", jnp.arctan, arb.atan, lambda a: 1 / (1 + a * a)),
    "asinh": Elementary(
        "jnp.arcsinh", jnp.arcsinh, arb.asinh, lambda a: 1 / function("sqrt", a * a + 1)
    ),
    "acosh": Elementary(
        "jnp.arccosh", jnp.arccosh, arb.acosh,
        lambda a: 1 / (function("sqrt", a - 1) * function("sqrt", a + 1)),
    ),
    "atanh": Elementary("jnp.arctanh", jnp.arctanh, arctanh, lambda a: 1 / ((1 - a) * (1 + a))),
    "erf": Elementary("jax.scipy.special.erf", special.erf, erf, _gauss),
    "erfc": Elementary("jax.scipy.special.erfc", special.erfc, erfc, lambda a: -_gauss(a)),
    "i0e": Elementary(
        "jax.scipy.special.i0e", special.i0e, bessel_i0e,
        lambda a: function("i1e", a) - _sign_of(a) * function("i0e", a),
    ),
    "i1e": Elementary(
        "jax.scipy.special.i1e", special.i1e, bessel_i1e,
        lambda a: function("i0e", a) - function("i1e", a) / a - _sign_of(a) * function("i1e", a),
    ),
    "lgamma": Elementary(
        "jax.scipy.special.gammaln", special.gammaln, lgamma, lambda a: function("digamma", a)
    ),
    "abs": Elementary("jnp.abs", jnp.abs, abs, _sign_of),
    "sign": Elementary("jnp.sign", jnp.sign, balls.sign, lambda a: constant(0)),
    "round": Elementary("jnp.round", jnp.round, balls.round_half_even, lambda a: constant(0)),
}  # fmt: skip
FUNCTIONS["digamma"] = Elementary(
    "jax.scipy.special.digamma", special.digamma, digamma, lambda a: make("trigamma", (a,))
)

SYMBOLS: dict[str, tuple[float, Callable[[], Any]]] = {
    "ln2": (float(np.log(2.0)), lambda: arb(2).log()),
    "sqrt_pi": (float(np.sqrt(np.pi)), lambda: arb.pi().sqrt()),
}
"""Constants that are no fractions: the nearest float, and the ball."""


def derivative(term: Expression) -> Expression:
    """∂term/∂x, by the rules of calculus; a comparison is constant."""

    @functools.cache
    def of(term: Expression) -> Expression:
        op, args = term.op, term.args
        if op == "arg":
            return constant(int(term.value == 0))
        if op in ("const", *SYMBOLS, *COMPARISONS, "and", "or", "not"):
            return constant(0)
        if op in ("add", "sub"):
            return make_binary(op, of(args[0]), of(args[1]))
        if op == "neg":
            return -of(args[0])
        if op == "mul":
            return of(args[0]) * args[1] + args[0] * of(args[1])
        if op == "div":
            top = of(args[0]) / args[1]
            inner = of(args[1])
            return top if is_number(inner, 0) else top - args[0] * inner / (args[1] * args[1])
        if op == "pow":
            return constant(term.value) * args[0] ** (term.value - 1) * of(args[0])
        if op == "power":
            base, exponent = args
            if not is_number(of(exponent), 0):
                log = function("log", base)
                return term * (of(exponent) * log + exponent * of(base) / base)
            return exponent * function("power", base, exponent - 1) * of(base)
        if op == "where":
            return where(args[0], of(args[1]), of(args[2]))
        if op in ("max", "min"):
            larger = function("gt" if op == "max" else "lt", *args)
            return where(larger, of(args[0]), of(args[1]))
        inner = of(args[0])
        if is_number(inner, 0):
            return constant(0)
        return inner * FUNCTIONS[op].derivative(args[0])

    return of(term)


def make_binary(op: str, a: Expression, b: Expression) -> Expression:
    """One of the four operations by its name."""
    return {"add": add, "sub": subtract, "mul": multiply, "div": quotient}[op](a, b)


def subterms(*terms: Expression) -> Iterator[Expression]:
    """Every term within some, once each, operands before what they are operands of."""
    seen: set[Expression] = set()

    def visit(term: Expression) -> Iterator[Expression]:
        if term not in seen:
            seen.add(term)
            for arg in term.args:
                yield from visit(arg)
            yield term

    for term in terms:
        yield from visit(term)


def depends(term: Expression) -> bool:
    """Whether x occurs in a term."""
    return argument(0) in set(subterms(term))


def rebuild(term: Expression, args: Sequence[Expression]) -> Expression:
    """The same operation on other operands, simplified as it is built."""
    if term.op in ("add", "sub", "mul", "div"):
        return make_binary(term.op, *args)
    if term.op == "neg":
        return -args[0]
    if term.op == "pow":
        return raised(args[0], term.value)
    if term.op == "where":
        return where(*args)
    return function(term.op, *args) if args else term


def substitute(term: Expression, new: dict[Expression, Expression]) -> Expression:
    """The term with some of its parts replaced."""
    made: dict[Expression, Expression] = {}
    for part in subterms(term):
        made[part] = new.get(part) or rebuild(part, [made[arg] for arg in part.args])
    return made[term]


# --- two arithmetics --------------------------------------------------------------------------

Values = dict[Expression, Any]


def as_function(term: Expression) -> Callable[..., Any]:
    """The term as a function of arrays."""
    return lambda *args: on_arrays(term, args)


def on_arrays(term: Expression, args: Sequence[Any], known: Values | None = None) -> Any:
    """The value of a term over arrays, one operation of JAX after another.

    `known` holds what is evaluated already, and gets what is evaluated now.
    """
    known = {} if known is None else known
    for part in subterms(term):
        if part not in known:
            known[part] = _array(part, [known[arg] for arg in part.args], args)
    return known[term]


def _array(term: Expression, operands: list[Any], args: Sequence[Any]) -> Any:
    op = term.op
    if op == "arg":
        return args[term.value]
    if op == "const":
        return float(term.value)
    if op in SYMBOLS:
        return SYMBOLS[op][0]
    if op in FUNCTIONS:
        return FUNCTIONS[op].array(*operands)
    if op == "pow":
        exponent = term.value
        whole = exponent.denominator == 1
        return operands[0] ** (int(exponent) if whole else float(exponent))
    return ARRAY_OPERATIONS[op](*operands)


ARRAY_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "neg": operator.neg, "where": jnp.where, "max": jnp.maximum, "min": jnp.minimum,
    "power": jnp.power, "and": jnp.logical_and, "or": jnp.logical_or, "not": jnp.logical_not,
    **COMPARISONS,
}  # fmt: skip


def on_balls(term: Expression, args: Sequence[np.ndarray]) -> np.ndarray:
    """The value of a term over object arrays of `flint.arb`; NaN where nothing is decided."""
    known: Values = {}
    for part in subterms(term):
        operands = [known[arg] for arg in part.args]
        if part.op == "arg":
            known[part] = args[part.value]
        elif part.op in SYMBOLS:
            known[part] = SYMBOLS[part.op][1]()
        elif part.op == "const":
            known[part] = as_ball(part.value)
        elif part.op == "pow":
            exponent = as_ball(part.value)
            known[part] = np.frompyfunc(lambda a, p=exponent: power(a, p), 1, 1)(*operands)
        else:
            known[part] = BALL_OPERATIONS[part.op](*operands)
    return known[term]


def ball_at(term: Expression, point: arb) -> Any:
    """The value of a term in x alone at one ball."""
    return np.asarray(on_balls(term, [np.array(point, object)]))[()]


def as_ball(value: Any) -> arb:
    """A constant as a ball: exact for a dyadic fraction."""
    if isinstance(value, float):
        return balls.POS_INF if value > 0 else balls.NEG_INF
    return arb(value.numerator) / arb(value.denominator)


def _decided(function: Callable[..., Any]) -> Callable[..., Any]:
    def careful(*operands: Any) -> Any:
        try:
            return function(*operands)
        except Undecided:
            return balls.NAN

    return careful


def _compare(name: str) -> Callable[[arb, arb], Any]:
    yes, no = {
        "lt": (operator.lt, operator.ge), "le": (operator.le, operator.gt),
        "gt": (operator.gt, operator.le), "ge": (operator.ge, operator.lt),
        "eq": (operator.eq, operator.ne), "ne": (operator.ne, operator.eq),
    }[name]  # fmt: skip
    return lambda a, b: True if yes(a, b) else False if no(a, b) else None


def _choose(condition: Any, a: arb, b: arb) -> arb:
    return balls.NAN if condition is None else a if condition else b


BALL_OPERATIONS: dict[str, Callable[..., Any]] = {
    name: np.frompyfunc(_decided(rule), operands, 1)
    for name, (rule, operands) in dict[str, tuple[Any, int]]({
        "add": (operator.add, 2), "sub": (operator.sub, 2), "mul": (operator.mul, 2),
        "div": (divide, 2), "neg": (operator.neg, 1), "where": (_choose, 3),
        "max": (balls.maximum, 2), "min": (balls.minimum, 2), "power": (power, 2),
        "and": (lambda a, b: None if a is None or b is None else a and b, 2),
        "or": (lambda a, b: None if a is None or b is None else a or b, 2),
        "not": (lambda a: None if a is None else not a, 1),
        **{name: (_compare(name), 2) for name in COMPARISONS},
        **{name: (known.ball, 1) for name, known in FUNCTIONS.items()},
    }).items()
}  # fmt: skip
