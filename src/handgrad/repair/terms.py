"""Terms: a scalar function as a small expression, and its derivative, by the rules of calculus.

A term is an operation on terms; equal terms are one object, so a shared part is evaluated once.
Constants are exact fractions. The same term is evaluated in two arithmetics: over arrays in a
dtype (`on_arrays`, what the printed code does) and over balls that enclose (`on_balls`); and it is
printed as readable `jax.numpy`, with no more parentheses than Python needs.

>>> x = argument(0)
>>> print(derivative(function("log1p", function("exp", x))))
(exp(x) * (1 / (1 + exp(x))))
"""

import builtins
import functools
import keyword
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

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

    def __add__(self, other: "Term") -> "Expression":
        """a + b, without zeros and double signs."""
        a, b = self, as_term(other)
        if is_number(a, 0):
            return b
        if b.op == "neg":
            return a - b.args[0]
        if a.op == "neg":
            return b - a.args[0]
        return a if is_number(b, 0) else _folded("add", a, b)

    def __sub__(self, other: "Term") -> "Expression":
        """a − b, and 0 for a − a."""
        a, b = self, as_term(other)
        if is_number(b, 0):
            return a
        if is_number(a, 0):
            return -b
        if a is b:
            return constant(0)
        return a + b.args[0] if b.op == "neg" else _folded("sub", a, b)

    def __mul__(self, other: "Term") -> "Expression":
        """a b, the signs outside."""
        a, b = self, as_term(other)
        if is_number(a, 0) or is_number(b, 0):
            return constant(0)
        for one, factor in ((b, a), (a, b)):
            if is_number(factor, 1):
                return one
            if is_number(factor, -1):
                return -one
        if "neg" in (a.op, b.op):
            product = _size(a) * _size(b)
            return product if a.op == b.op else -product
        for one, inverse in ((a, b), (b, a)):
            if inverse.op == "div" and inverse.args[1] is one:  # 1/a may be too small for a·(1/a)
                return inverse.args[0]
        return _folded("mul", a, b)

    def __truediv__(self, other: "Term") -> "Expression":
        """a / b, the signs outside."""
        a, b = self, as_term(other)
        if is_number(b, 0):
            return make("div", (a, b))
        if is_number(a, 0):
            return constant(0)
        if is_number(b, 1):
            return a
        if "neg" in (a.op, b.op):
            ratio = _size(a) / _size(b)
            return ratio if a.op == b.op else -ratio
        return _folded("div", a, b)

    def __neg__(self) -> "Expression":
        if self.op == "neg":
            return self.args[0]
        return constant(-self.value) if self.op == "const" else make("neg", (self,))

    def __pow__(self, exponent: int | Fraction) -> "Expression":
        exponent = Fraction(exponent)
        if exponent == 0:
            return constant(1)
        if exponent == 1:
            return self
        if exponent == Fraction(1, 2):
            return function("sqrt", self)
        if exponent.denominator == 1 and is_number(self) and abs(exponent) < 64:
            return constant(self.value ** int(exponent))
        return make("pow", (self,), exponent)

    def __radd__(self, other: int) -> "Expression":
        return as_term(other) + self

    def __rsub__(self, other: int) -> "Expression":
        return as_term(other) - self

    __rmul__ = __mul__

    def __rtruediv__(self, other: int) -> "Expression":
        return as_term(other) / self

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


Term = Expression | int | Fraction
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


def _folded(op: str, a: Expression, b: Expression) -> Expression:
    """An operation of two terms; of two numbers the number."""
    if not (is_number(a) and is_number(b)):
        return make(op, (a, b))
    return constant(Fraction(a.value, b.value) if op == "div" else ARITHMETIC[op](a.value, b.value))


def _size(a: Expression) -> Expression:
    return a.args[0] if a.op == "neg" else a


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
    if is_number(args[0]) and (args[0].value, name) in EXACT:
        return constant(EXACT[args[0].value, name])
    if name in FOLDED and all(map(is_number, args)):
        return constant(FOLDED[name](*(arg.value for arg in args)))
    return make(name, args)


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "neg": operator.neg,
}  # fmt: skip
FOLDED: dict[str, Callable[..., Any]] = {"abs": abs, "sign": np.sign, "max": max, "min": min}
COMPARISONS = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
EXACT = {
    (0, "exp"): 1, (0, "log1p"): 0, (0, "expm1"): 0, (0, "tanh"): 0, (1, "log"): 0, (0, "sin"): 0,
    (0, "cos"): 1, (0, "sqrt"): 0, (1, "sqrt"): 1, (0, "erf"): 0, (0, "erfc"): 1, (0, "asinh"): 0,
    (0, "atan"): 0,
}  # fmt: skip


def _comparison(name: str, a: Expression, b: Expression) -> Expression:
    """A comparison of real numbers: none is infinite, none is NaN."""
    if a is b:
        return constant(int(name in ("le", "ge", "eq")))
    if a.op == b.op == "const":
        return constant(int(COMPARISONS[name](a.value, b.value)))
    ends = [t.value if t.op == "const" and isinstance(t.value, float) else 0.0 for t in (a, b)]
    return constant(int(COMPARISONS[name](*ends))) if any(ends) else make(name, (a, b))


# --- the functions ----------------------------------------------------------------------------


class Elementary(NamedTuple):
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


class Symbol(NamedTuple):
    """A constant that is no fraction: as printed, the nearest float, and the ball."""

    source: str
    number: float
    ball: Callable[[], arb]


SYMBOLS = {
    "ln2": Symbol("jnp.log(2)", float(np.log(2.0)), lambda: arb(2).log()),
    "sqrt_pi": Symbol("jnp.sqrt(jnp.pi)", float(np.sqrt(np.pi)), lambda: arb.pi().sqrt()),
}


def derivative(term: Expression) -> Expression:
    """∂term/∂x, by the rules of calculus; a comparison is constant."""

    @functools.cache
    def of(term: Expression) -> Expression:
        op, args = term.op, term.args
        if op == "arg":
            return constant(int(term.value == 0))
        if op in ("const", *SYMBOLS, *COMPARISONS, "and", "or", "not"):
            return constant(0)
        if op in ("add", "sub", "neg"):
            return ARITHMETIC[op](*map(of, args))
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
    return argument(0) in subterms(term)


def rebuild(term: Expression, args: Sequence[Expression]) -> Expression:
    """The same operation on other operands, simplified as it is built."""
    if term.op in ARITHMETIC:
        return ARITHMETIC[term.op](*args)
    if term.op == "pow":
        return args[0] ** term.value
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
        return SYMBOLS[op].number
    if op in FUNCTIONS:
        return FUNCTIONS[op].array(*operands)
    if op == "pow":
        exponent = term.value
        whole = exponent.denominator == 1
        return operands[0] ** (int(exponent) if whole else float(exponent))
    return ARRAY_OPERATIONS[op](*operands)


ARRAY_OPERATIONS: dict[str, Callable[..., Any]] = {
    **ARITHMETIC, **COMPARISONS, "where": jnp.where, "max": jnp.maximum, "min": jnp.minimum,
    "power": jnp.power, "and": jnp.logical_and, "or": jnp.logical_or, "not": jnp.logical_not,
}  # fmt: skip


def on_balls(term: Expression, args: Sequence[np.ndarray]) -> np.ndarray:
    """The value of a term over object arrays of `flint.arb`; NaN where nothing is decided."""
    known: Values = {}
    for part in subterms(term):
        operands = [known[arg] for arg in part.args]
        if part.op == "arg":
            known[part] = args[part.value]
        elif part.op in SYMBOLS:
            known[part] = SYMBOLS[part.op].ball()
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
        **{name: (rule, 1 + (name != "neg")) for name, rule in ARITHMETIC.items()},
        "div": (divide, 2), "where": (_choose, 3), "max": (balls.maximum, 2),
        "min": (balls.minimum, 2), "power": (power, 2),
        "and": (lambda a, b: None if a is None or b is None else a and b, 2),
        "or": (lambda a, b: None if a is None or b is None else a or b, 2),
        "not": (lambda a: None if a is None else not a, 1),
        **{name: (_compare(name), 2) for name in COMPARISONS},
        **{name: (known.ball, 1) for name, known in FUNCTIONS.items()},
    }).items()
}  # fmt: skip


# --- as code ----------------------------------------------------------------------------------

LONGEST = 74
"""Characters of an expression, so that its line has at most the 88 of the usual formatters."""
COMPARISON, OR, AND, SUM, PRODUCT, SIGN, POWER, ATOM = range(8)
PRECEDENCE = {"add": SUM, "sub": SUM, "mul": PRODUCT, "div": PRODUCT, "neg": SIGN, "pow": POWER,
              "and": AND, "or": OR, **dict.fromkeys(COMPARISONS, COMPARISON)}  # fmt: skip
SHORT_NAMES = {
    "exp": "e", "expm1": "m", "sqrt": "r", "log": "l", "log1p": "l", "tanh": "t", "logistic": "s",
    "where": "w", "sin": "sin", "cos": "cos", "round": "near", "abs": "a", "lt": "left",
    "eq": "at", "and": "middle", "or": "outer", "ge": "right", "gt": "right", "sub": "d",
    "add": "p", "mul": "q", "div": "q",
}  # fmt: skip
NAMED_FUNCTIONS = {
    "where": "jnp.where", "max": "jnp.maximum", "min": "jnp.minimum", "power": "jnp.power",
    "not": "jnp.logical_not",
}  # fmt: skip


class Writer:
    """Writes terms, with names for what has one."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = list(arguments)
        self.names: dict[Expression, str] = {}

    def text(self, term: Expression) -> tuple[str, int]:
        """The expression and how tightly it binds."""
        op, args = term.op, term.args
        if term in self.names:
            return self.names[term], ATOM
        if op == "arg":
            return self.arguments[term.value], ATOM
        if op == "const":
            text = number_text(term.value)
            return text, SIGN if text.startswith("-") else ATOM
        if op in SYMBOLS:
            return SYMBOLS[op].source, ATOM
        if op == "neg":
            inner = self._at(args[0], PRODUCT)
            return f"-({inner})" if inner.startswith("-") else f"-{inner}", SIGN
        if op == "pow" or (op == "mul" and args[0] is args[1] and args[0].op != "const"):
            return self._power(term)
        if op in INFIX:
            own = PRECEDENCE[op]
            left = self._at(args[0], own)
            right = self._at(args[1], own + 1)
            return f"{left} {INFIX[op]} {right}", own
        name = NAMED_FUNCTIONS.get(op) or FUNCTIONS[op].source
        return f"{name}({', '.join(self.text(arg)[0] for arg in args)})", ATOM

    def _at(self, term: Expression, least: int) -> str:
        text, tight = self.text(term)
        return text if tight >= least else f"({text})"

    def _power(self, term: Expression) -> tuple[str, int]:
        exponent = term.value if term.op == "pow" else Fraction(2)
        base = self._at(term.args[0], ATOM)
        power = number_text(exponent)
        simple = re.fullmatch(r"[\w.]+", base) and re.fullmatch(r"-?[\w.]+", power)
        return f"{base}**{power}" if simple else f"{base} ** {power}", POWER


def statements(term: Expression, arguments: Sequence[str]) -> list[str]:
    """Lines that assign the shared parts, and a last one that returns the term.

    >>> e = function("exp", -argument(0))
    >>> print("\\n".join(statements(e / ((1 + e) * (1 + e)), ["x"])))
    e = jnp.exp(-x)
    p = 1 + e
    return e / p**2
    """
    writer = Writer(arguments)
    taken = {*arguments, *keyword.kwlist, *dir(builtins), "jax", "jnp"}
    uses = Counter(arg for part in subterms(term) for arg in part.args)
    lines: list[str] = []

    def assign(part: Expression) -> None:
        name = _fresh(SHORT_NAMES.get(part.op, part.op), taken)
        lines.append(f"{name} = {writer.text(part)[0]}")
        writer.names[part] = name

    for part in subterms(term):
        if not part.args:
            continue
        while len(text := writer.text(part)[0]) > LONGEST:  # the longest operand gets a name
            operands = [arg for arg in part.args if arg.args and arg not in writer.names]
            if not operands:
                break
            assign(max(operands, key=lambda arg: len(writer.text(arg)[0])))
        if part is not term and uses[part] > 1 and part.op != "neg" and len(text) > 3:
            assign(part)
    return [*lines, f"return {writer.text(term)[0]}"]


def _fresh(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}{number}"
    taken.add(name)
    return name


IMPORTS = "import jax\nimport jax.numpy as jnp\n"
WIDENING = '''

def in_float32(f):
    """f, half precisions computed in float32 and rounded once at the end."""

    def wide(*args):
        dtype = jnp.result_type(*args)
        wider = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        return f(*(jnp.asarray(arg, wider) for arg in args)).astype(dtype)

    return wide
'''


def definition(
    name: str, arguments: Sequence[str], words: str, body: Sequence[str], widen: bool
) -> str:
    """A function with a docstring, after two empty lines."""
    lines = [
        f"def {name}({', '.join(arguments)}):",
        *(f"    {line}" for line in (f'"""{words}"""', *body)),
    ]
    return "\n".join(["", "", *(["@in_float32"] if widen else []), *lines, ""])


def rule(name: str, arguments: Sequence[str], moving: str) -> str:
    """The function of that name: `value`, whose tangent in the first argument is `moving`."""
    inputs, tangents = ", ".join(arguments), [f"d{argument}" for argument in arguments]
    comma = "," if len(arguments) == 1 else ""
    lines = [
        "", "", "@jax.custom_jvp", f"def {name}({inputs}):", f"    return value({inputs})", "", "",
        f"@{name}.defjvp", f"def {name}_jvp(primals, tangents):",
        f"    ({inputs}{comma}), ({', '.join(tangents)}{comma}) = primals, tangents",
    ]  # fmt: skip
    if len(arguments) > 1:
        others, moved = ", ".join(arguments[1:]), ", ".join(tangents[1:])
        comma = "," if len(arguments) == 2 else ""
        lines += [
            "", f"    def along({others}):", f"        return value({inputs})", "",
            f"    _, rest = jax.jvp(along, ({others}{comma}), ({moved}{comma}))",
        ]  # fmt: skip
        moving += " + rest"
    return "\n".join([*lines, f"    return {name}({inputs}), {moving}", ""])


def module(
    name: str,
    arguments: Sequence[str],
    value: Expression,
    slope: Expression,
    reduction: str,
    widen: bool,
) -> str:
    """A module that runs by itself: the value, its derivative, and the function with that rule.

    `reduction` is what comes of the entries: '' (nothing), 'sum' or 'mean'.
    """
    x, inputs = arguments[0], ", ".join(arguments)
    entry = name if not reduction else f"{name}_entry"
    words = "The function at each entry.", f"Its derivative in {x} at each entry."
    parts = [
        IMPORTS, WIDENING if widen else "",
        definition("value", arguments, words[0], statements(value, arguments), widen),
        definition("derivative", arguments, words[1], statements(slope, arguments), widen),
        rule(entry, arguments, f"derivative({inputs}) * d{x}"),
    ]  # fmt: skip
    if reduction:
        parts.append(f"\n\ndef {name}({inputs}):\n    return jnp.{reduction}({entry}({inputs}))\n")
    return "".join(parts)


def load(source: str) -> dict[str, Any]:
    """What a printed module defines."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<handgrad repair>", "exec"), namespace)
    return namespace
