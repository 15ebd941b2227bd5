"""Terms: a scalar function as a small expression, and its derivative, by the rules of calculus.

A term is an operation on terms; equal terms are one object, so a shared part is evaluated once.
Constants are exact fractions. The same term is evaluated in two arithmetics: over arrays in a
dtype (`on_arrays`, what the printed code does) and over balls that enclose (`on_balls`).

>>> x = argument(0)
>>> print(derivative(function("log1p", function("exp", x))))
(exp(x) / (1 + exp(x)))
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
class Term:
    """`op` of `args`; `value` is the number of a constant, the place of an argument, a power."""

    op: str
    args: tuple["Term", ...] = ()
    value: Any = None

    def __add__(self, other: "Term | int") -> "Term":
        return add(self, as_term(other))

    def __radd__(self, other: int) -> "Term":
        return add(as_term(other), self)

    def __sub__(self, other: "Term | int") -> "Term":
        return subtract(self, as_term(other))

    def __rsub__(self, other: int) -> "Term":
        return subtract(as_term(other), self)

    def __mul__(self, other: "Term | int | Fraction") -> "Term":
        return multiply(self, as_term(other))

    __rmul__ = __mul__

    def __truediv__(self, other: "Term | int") -> "Term":
        return quotient(self, as_term(other))

    def __rtruediv__(self, other: int) -> "Term":
        return quotient(as_term(other), self)

    def __neg__(self) -> "Term":
        return negate(self)

    def __pow__(self, exponent: int | Fraction) -> "Term":
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
def make(op: str, args: tuple[Term, ...] = (), value: Any = None) -> Term:
    """The one term of this form."""
    return Term(op, args, value)


def number_text(value: Any) -> str:
    """A fraction as Python that gives it back: the shortest decimal where it is a float."""
    if isinstance(value, float):
        return f"jnp.{value}" if value > 0 else f"-jnp.{-value}"
    if value.denominator == 1 and abs(value) < 10**9:
        return str(value.numerator)
    number = float(value)
    if Fraction(number) == value:
        text = repr(number)
        return text[:-2] if text.endswith(".0") and len(text) < 12 else text
    return f"({value.numerator} / {value.denominator})"


# --- building ---------------------------------------------------------------------------------


def argument(place: int) -> Term:
    """The argument at that place; 0 is the one that is differentiated."""
    return make("arg", (), place)


def constant(value: Any) -> Term:
    """A constant; infinities stay floats."""
    number = float(value) if isinstance(value, float | np.floating) else value
    infinite = isinstance(number, float) and not np.isfinite(number)
    return make("const", (), number if infinite else Fraction(number))


def as_term(value: Any) -> Term:
    """A term, or a number as one."""
    return value if isinstance(value, Term) else constant(value)


def is_number(term: Term, value: int | None = None) -> bool:
    """Whether a term is a finite constant, of that value if one is given."""
    known = term.op == "const" and isinstance(term.value, Fraction)
    return known and (value is None or term.value == value)


def _folded(function: Callable[..., Any], *terms: Term) -> Term | None:
    if all(map(is_number, terms)):
        return constant(function(*(term.value for term in terms)))
    return None


def add(a: Term, b: Term) -> Term:
    """a + b, without zeros and double signs."""
    if is_number(a, 0):
        return b
    if b.op == "neg":
        return subtract(a, b.args[0])
    if a.op == "neg":
        return subtract(b, a.args[0])
    return a if is_number(b, 0) else _folded(operator.add, a, b) or make("add", (a, b))


def subtract(a: Term, b: Term) -> Term:
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


def multiply(a: Term, b: Term) -> Term:
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
    return _folded(operator.mul, a, b) or make("mul", (a, b))


def quotient(a: Term, b: Term) -> Term:
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


def _size(a: Term) -> Term:
    return a.args[0] if a.op == "neg" else a


def negate(a: Term) -> Term:
    """−a."""
    if a.op == "neg":
        return a.args[0]
    return constant(-a.value) if a.op == "const" else make("neg", (a,))


def raised(a: Term, exponent: Fraction) -> Term:
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


def where(condition: Term, a: Term, b: Term) -> Term:
    """a where the condition holds, else b."""
    if condition.op == "const":
        return a if condition.value else b
    return a if a is b else make("where", (condition, a, b))


def function(name: str, *args: Term) -> Term:
    """A named function, or a comparison, of terms."""
    if name in COMPARISONS:
        return _comparison(name, *args)
    if name in ("max", "min") and args[0] is args[1]:
        return args[0]
    if is_number(args[0]) and name in AT_EXACT and (args[0].value, name) in EXACT:
        return constant(EXACT[args[0].value, name])
    if all(map(is_number, args)) and name in ("abs", "sign", "max", "min"):
        fold = {"abs": abs, "sign": np.sign, "max": max, "min": min}[name]
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


def _comparison(name: str, a: Term, b: Term) -> Term:
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
class Function:
    """A function of one real number: as printed, over arrays, over balls, and its derivative."""

    source: str
    array: Callable[..., Any]
    ball: Callable[..., Any]
    derivative: Callable[[Term], Term]


def _sign_of(a: Term) -> Term:
    return function("sign", a)


def _gauss(a: Term) -> Term:
    """2/√π · exp(−a²)."""
    return constant(2) / make("sqrt_pi") * function("exp", -(a * a))


FUNCTIONS: dict[str, Function] = {
    "exp": Function("jnp.exp", jnp.exp, arb.exp, lambda a: function("exp", a)),
    "exp2": Function(
        "jnp.exp2", jnp.exp2, lambda a: arb(2) ** a, lambda a: make("ln2") * function("exp2", a)
    ),
    "expm1": Function("jnp.expm1", jnp.expm1, arb.expm1, lambda a: function("exp", a)),
    "log": Function("jnp.log", jnp.log, logarithm, lambda a: 1 / a),
    "log2": Function(
        "jnp.log2", jnp.log2, lambda a: logarithm(a) / arb(2).log(), lambda a: 1 / (make("ln2") * a)
    ),
    "log1p": Function("jnp.log1p", jnp.log1p, arb.log1p, lambda a: 1 / (1 + a)),
    "tanh": Function(
        "jnp.tanh", jnp.tanh, arb.tanh, lambda a: 1 - function("tanh", a) * function("tanh", a)
    ),
    "logistic": Function(
        "jax.nn.sigmoid", jax.nn.sigmoid, lambda a: 1 / (1 + (-a).exp()),
        lambda a: function("logistic", a) * function("logistic", -a),
    ),
    "sqrt": Function("jnp.sqrt", jnp.sqrt, arb.sqrt, lambda a: 1 / (2 * function("sqrt", a))),
    "rsqrt": Function(
        "jax.lax.rsqrt", jax.lax.rsqrt, arb.rsqrt, lambda a: -1 / (2 * a * function("sqrt", a))
    ),
    "cbrt": Function("jnp.cbrt", jnp.cbrt, cbrt, lambda a: function("cbrt", a) / (3 * a)),
    "sin": Function("jnp.sin", jnp.sin, arb.sin, lambda a: function("cos", a)),
    "cos": Function("jnp.cos", jnp.cos, arb.cos, lambda a: -function("sin", a)),
    "tan": Function(
        "jnp.tan", jnp.tan, arb.tan, lambda a: 1 / (function("cos", a) * function("cos", a))
    ),
    "sinh": Function("jnp.sinh", jnp.sinh, arb.sinh, lambda a: function("cosh", a)),
    "cosh": Function("jnp.cosh", jnp.cosh, arb.cosh, lambda a: function("sinh", a)),
    "asin": Function(
        "jnp.arcsin", jnp.arcsin, arb.asin, lambda a: 1 / function("sqrt", (1 - a) * (1 + a))
    ),
    "acos": Function(
        "jnp.arccos", jnp.arccos, arb.acos, lambda a: -1 / function("sqrt", (1 - a) * (1 + a))
    ),
    "atan": Function("jnp.arctan", jnp.arctan, arb.atan, lambda a: 1 / (1 + a * a)),
    "asinh": Function(
        "jnp.arcsinh", jnp.arcsinh, arb.asinh, lambda a: 1 / function("sqrt", a * a + 1)
    ),
    "acosh": Function(
        "jnp.arccosh", jnp.arccosh, arb.acosh,
        lambda a: 1 / (function("sqrt", a - 1) * function("sqrt", a + 1)),
    ),
    "atanh": Function("jnp.arctanh", jnp.arctanh, arctanh, lambda a: 1 / ((1 - a) * (1 + a))),
    "erf": Function("jax.scipy.special.erf", special.erf, erf, _gauss),
    "erfc": Function("jax.scipy.special.erfc", special.erfc, erfc, lambda a: -_gauss(a)),
    "i0e": Function(
        "jax.scipy.special.i0e", special.i0e, bessel_i0e,
        lambda a: function("i1e", a) - _sign_of(a) * function("i0e", a),
    ),
    "i1e": Function(
        "jax.scipy.special.i1e", special.i1e, bessel_i1e,
        lambda a: function("i0e", a) - function("i1e", a) / a - _sign_of(a) * function("i1e", a),
    ),
    "lgamma": Function(
        "jax.scipy.special.gammaln", special.gammaln, lgamma, lambda a: function("digamma", a)
    ),
    "abs": Function("jnp.abs", jnp.abs, abs, _sign_of),
    "sign": Function("jnp.sign", jnp.sign, balls.sign, lambda a: constant(0)),
    "round": Function("jnp.round", jnp.round, balls.round_half_even, lambda a: constant(0)),
}  # fmt: skip
FUNCTIONS["digamma"] = Function(
    "jax.scipy.special.digamma", special.digamma, digamma, lambda a: make("trigamma", (a,))
)

SYMBOLS: dict[str, tuple[float, Callable[[], Any]]] = {
    "ln2": (float(np.log(2.0)), lambda: arb(2).log()),
    "sqrt_pi": (float(np.sqrt(np.pi)), lambda: arb.pi().sqrt()),
}
"""Constants that are no fractions: the nearest float, and the ball."""


def derivative(term: Term, place: int = 0) -> Term:
    """∂term/∂(argument at that place), by the rules of calculus; a comparison is constant."""

    @functools.cache
    def of(term: Term) -> Term:
        op, args = term.op, term.args
        if op == "arg":
            return constant(int(term.value == place))
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
        if op == "power":  # a variable exponent, which must not depend on x
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


def make_binary(op: str, a: Term, b: Term) -> Term:
    """One of the four operations by its name."""
    return {"add": add, "sub": subtract, "mul": multiply, "div": quotient}[op](a, b)


def subterms(*terms: Term) -> Iterator[Term]:
    """Every term within some, once each, operands before what they are operands of."""
    seen: set[Term] = set()

    def visit(term: Term) -> Iterator[Term]:
        if term not in seen:
            seen.add(term)
            for arg in term.args:
                yield from visit(arg)
            yield term

    for term in terms:
        yield from visit(term)


def depends(term: Term, place: int = 0) -> bool:
    """Whether the argument at that place occurs in a term."""
    return argument(place) in set(subterms(term))


def rebuild(term: Term, args: Sequence[Term]) -> Term:
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


def substitute(term: Term, new: dict[Term, Term]) -> Term:
    """The term with some of its parts replaced."""
    made: dict[Term, Term] = {}
    for part in subterms(term):
        made[part] = new.get(part) or rebuild(part, [made[arg] for arg in part.args])
    return made[term]


# --- two arithmetics --------------------------------------------------------------------------

Values = dict[Term, Any]


def on_arrays(term: Term, args: Sequence[Any], known: Values | None = None) -> Any:
    """The value of a term over arrays, one operation of JAX after another.

    `known` holds what is evaluated already, and gets what is evaluated now.
    """
    known = {} if known is None else known
    for part in subterms(term):
        if part not in known:
            known[part] = _array(part, [known[arg] for arg in part.args], args)
    return known[term]


def _array(term: Term, operands: list[Any], args: Sequence[Any]) -> Any:
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


def on_balls(term: Term, args: Sequence[np.ndarray]) -> np.ndarray:
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
    name: np.frompyfunc(_decided(function), operands, 1)
    for name, (function, operands) in {
        "add": (operator.add, 2), "sub": (operator.sub, 2), "mul": (operator.mul, 2),
        "div": (divide, 2), "neg": (operator.neg, 1), "where": (_choose, 3),
        "max": (balls.maximum, 2), "min": (balls.minimum, 2), "power": (power, 2),
        "and": (lambda a, b: None if a is None or b is None else a and b, 2),
        "or": (lambda a, b: None if a is None or b is None else a or b, 2),
        "not": (lambda a: None if a is None else not a, 1),
        **{name: (_compare(name), 2) for name in COMPARISONS},
        **{name: (known.ball, 1) for name, known in FUNCTIONS.items()},
    }.items()
}  # fmt: skip
