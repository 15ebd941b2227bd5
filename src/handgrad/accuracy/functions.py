"""The functions of the atlas: the scalar functions of JAX and optax that have a derivative.

An entry is a function in one of its arguments, found by its name in the installed packages: what
an older JAX lacks is left out and named. Where JAX computes a function by an approximation (a
polynomial, a truncated series), the truth is not what it traces to but its definition, here in
balls. Three forms of a derivative are compared: what `jax.grad` gives (default), the same with
`AccuracyMode.HIGHEST` where `jax.lax` offers it, and the derivative of this package (handgrad).
"""

import functools
import importlib
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
from flint import arb
from jax import lax

from handgrad import losses
from handgrad.accuracy.formulas import labelled
from handgrad.errors import InputError
from handgrad.exact.series import UNIVARIATE, Taylor
from handgrad.gradients import bernoulli, sigmoid

DEFAULT, HIGHEST, HANDGRAD = "default", "highest", "handgrad"

Elementwise = Callable[..., Any]


class Function(NamedTuple):
    """A function in one of its arguments."""

    name: str
    """Such as "jnp.tanh", or "jnp.hypot, x" for the first of two arguments."""
    function: Elementwise
    arguments: int = 1
    argnum: int = 0
    taylor: Callable[..., Taylor] | None = None
    """Its definition, where JAX approximates it: f, f′ and f″/2 from balls."""
    highest: Elementwise | None = None
    """The function with AccuracyMode.HIGHEST."""
    own: Elementwise | None = None
    """Its derivative in this package, of all arguments."""

    def implementations(self, order: int) -> dict[str, Elementwise]:
        """Each form of the derivative of this order; of order 0, the function."""
        found = {DEFAULT: derived(self.function, order, self.argnum)}
        if self.highest is not None:
            found[HIGHEST] = derived(self.highest, order, self.argnum)
        if self.own is not None and order > 0:
            found[HANDGRAD] = derived(self.own, order - 1, self.argnum)
        return found


def derived(function: Elementwise, order: int, argnum: int = 0) -> Elementwise:
    """`jax.grad`, as often as the order says."""
    return functools.reduce(lambda f, _: jax.grad(f, argnum), range(order), function)


# --- definitions in balls ---------------------------------------------------------------------


def _expi(x: arb) -> Taylor:
    slope = x.exp() / x
    return x.ei(), slope, slope * (1 - 1 / x) / 2


def _exp1(x: arb) -> Taylor:
    if not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    slope = (-x).exp() / x
    return x.expint(arb(1)), -slope, slope * (1 + 1 / x) / 2


def _expn_2(x: arb) -> Taylor:
    """E₂, whose derivatives are −E₁ and E₀ = e^−x/x."""
    if not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    return x.expint(arb(2)), -x.expint(arb(1)), (-x).exp() / x / 2


def _sine_integral(x: arb) -> Taylor:
    if x.is_zero():
        return arb(0), arb(1), arb(0)
    slope = x.sin() / x
    return x.si(), slope, (x.cos() - slope) / x / 2


def _cosine_integral(x: arb) -> Taylor:
    if not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    slope = x.cos() / x
    return x.ci(), slope, -(x.sin() + slope) / x / 2


def _fresnel_sine(x: arb) -> Taylor:
    angle = x**2 / 2
    return x.fresnel_s(), angle.sin_pi(), arb.pi() * x * angle.cos_pi() / 2


def _fresnel_cosine(x: arb) -> Taylor:
    angle = x**2 / 2
    return x.fresnel_c(), angle.cos_pi(), -arb.pi() * x * angle.sin_pi() / 2


def _spence(x: arb) -> Taylor:
    """Li₂(1 − x), with the slope log x / (1 − x)."""
    if x == 1:
        return arb(0), arb(-1), arb(1) / 4
    if not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    slope = x.log() / (1 - x)
    return (1 - x).polylog(arb(2)), slope, (1 / x + slope) / (1 - x) / 2


def _dawsn(x: arb) -> Taylor:
    value = arb.const_sqrt_pi() / 2 * (-(x**2)).exp() * x.erfi()
    slope = 1 - 2 * x * value
    return value, slope, -value - x * slope


def _erfcx(x: arb) -> Taylor:
    value = (x**2).exp() * x.erfc()
    slope = 2 * x * value - 2 / arb.const_sqrt_pi()
    return value, slope, value + x * slope


def _ndtri(p: arb) -> Taylor:
    if not (p > 0 and p < 1):
        return arb.nan(), arb.nan(), arb.nan()
    x = -arb(2).sqrt() * (2 * p).erfcinv()
    slope = (2 * arb.pi()).sqrt() * (x**2 / 2).exp()
    return x, slope, x * slope**2 / 2


def _log_ndtr(x: arb) -> Taylor:
    below = (-x / arb(2).sqrt()).erfc() / 2
    slope = (-(x**2) / 2).exp() / (2 * arb.pi()).sqrt() / below
    return below.log(), slope, -slope * (x + slope) / 2


def _gamma(x: arb) -> Taylor:
    """Γ, Γψ and Γ(ψ² + ψ′)/2."""
    if x.is_integer() and not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    value, (psi, bend, _) = x.gamma(), UNIVARIATE["digamma"](x)
    return value, value * psi, value * (psi**2 + bend) / 2


def _factorial(x: arb) -> Taylor:
    """Γ(1 + x), and by convention 0 left of 0."""
    return _gamma(x + 1) if x > 0 else (arb.nan(), arb.nan(), arb.nan())


def _sinc(x: arb) -> Taylor:
    """sin πx / πx, with π itself: of a rounded one, the zeros are elsewhere."""
    if x.is_zero():
        return arb(1), arb(0), -(arb.pi() ** 2) / 6
    value = x.sinc_pi()
    slope = (x.cos_pi() - value) / x
    return value, slope, -(arb.pi() ** 2 * value + 2 * slope / x) / 2


def _betaln(a: arb, b: arb) -> Taylor:
    """log Γ(a) + log Γ(b) − log Γ(a + b) in a, for positive numbers."""
    if not (a > 0 and b > 0):
        return arb.nan(), arb.nan(), arb.nan()
    slope = a.digamma() - (a + b).digamma()
    bend = arb(2).zeta(a) - arb(2).zeta(a + b)
    return a.lgamma() + b.lgamma() - (a + b).lgamma(), slope, bend / 2


def _beta(a: arb, b: arb) -> Taylor:
    log, slope, half = _betaln(a, b)
    value = log.exp()
    return value, value * slope, value * (slope**2 / 2 + half)


def _poch_in_z(z: arb, m: arb) -> Taylor:
    """Γ(z + m) / Γ(z), where both are of positive numbers."""
    if not (z > 0 and z + m > 0):
        return arb.nan(), arb.nan(), arb.nan()
    value = ((z + m).lgamma() - z.lgamma()).exp()
    slope = (z + m).digamma() - z.digamma()
    bend = arb(2).zeta(z + m) - arb(2).zeta(z)
    return value, value * slope, value * (slope**2 + bend) / 2


def _poch_in_m(z: arb, m: arb) -> Taylor:
    if not (z > 0 and z + m > 0):
        return arb.nan(), arb.nan(), arb.nan()
    value, slope = ((z + m).lgamma() - z.lgamma()).exp(), (z + m).digamma()
    return value, value * slope, value * (slope**2 + arb(2).zeta(z + m)) / 2


def _of_the_second(symmetric: Callable[..., Taylor]) -> Callable[..., Taylor]:
    return lambda a, b: symmetric(b, a)


DEFINED_OF_TWO: dict[str, tuple[Callable[..., Taylor], Callable[..., Taylor]]] = {
    "jax.scipy.special.beta": (_beta, _of_the_second(_beta)),
    "jax.scipy.special.betaln": (_betaln, _of_the_second(_betaln)),
    "jax.scipy.special.poch": (_poch_in_z, _poch_in_m),
}
"""Functions of gamma functions, in either argument."""

ORDER = 2.5
"""Of the incomplete gamma functions."""


def _gammainc(x: arb) -> Taylor:
    """P(a, x), with the slope x^(a−1) e^−x / Γ(a)."""
    if not x > 0:
        return arb.nan(), arb.nan(), arb.nan()
    a = arb(ORDER)
    density = ((a - 1) * x.log() - x - a.lgamma()).exp()
    return x.gamma_lower(a, regularized=1), density, density * ((a - 1) / x - 1) / 2


def _gammaincc(x: arb) -> Taylor:
    _, first, second = _gammainc(x)
    return x.gamma_upper(arb(ORDER), regularized=1), -first, -second


DEFINED: dict[str, Callable[..., Taylor]] = {
    "dawsn": _dawsn, "erfcx": _erfcx, "exp1": _exp1, "expi": _expi, "factorial": _factorial,
    "gamma": _gamma, "log_ndtr": _log_ndtr, "ndtri": _ndtri, "sinc": _sinc, "spence": _spence,
}  # fmt: skip
"""What is approximated, or computed by way of something else."""

REFUSED: dict[str, str] = {
    "jax.scipy.special.bernoulli": "of an integer alone",
    "jax.scipy.special.bessel_jn": "an array for one number",
    "jax.scipy.special.comb": "two gamma functions of three arguments: no rule as a power series",
    "jax.scipy.special.erfcinv": "approximated by JAX, and no definition in balls is here yet",
    "jax.scipy.special.gammainc, a": "its series takes too long at every pair of numbers",
    "jax.scipy.special.gammaincc, a": "its series takes too long at every pair of numbers",
    "jax.scipy.special.hyp1f1": "approximated by JAX, and no definition in balls is here yet",
    "jax.scipy.special.hyp2f1": "approximated by JAX, and no definition in balls is here yet",
    "jax.scipy.special.multigammaln": "of an integer dimension, which must be known",
    "jax.scipy.special.owens_t": "approximated by JAX, and no definition in balls is here yet",
    "jax.scipy.special.sph_harm_y": "complex",
    "jax.scipy.special.wofz": "complex",
}
"""Functions of numbers that have a derivative and are not in the atlas, and why."""


# --- the table --------------------------------------------------------------------------------

JNP = (
    "abs", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "cos",
    "cosh", "deg2rad", "exp", "exp2", "expm1", "floor", "i0", "log", "log10", "log1p", "log2",
    "nan_to_num", "negative", "positive", "rad2deg", "reciprocal", "rint", "sign", "sin", "sinc",
    "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip
NN = (
    "celu", "elu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log1mexp",
    "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus",
    "sparse_plus", "sparse_sigmoid", "squareplus",
)  # fmt: skip
SPECIAL = (
    "dawsn", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp1", "expi", "factorial",
    "gamma", "gammaln", "i0e", "i1", "i1e", "log_ndtr", "logit", "ndtr", "ndtri", "spence",
)  # fmt: skip
ONE = (
    *(f"jnp.{name}" for name in JNP), *(f"jax.nn.{name}" for name in NN), "lax.rsqrt",
    *(f"jax.scipy.special.{name}" for name in SPECIAL),
)  # fmt: skip
"""Functions of one argument."""

WITH_ACCURACY = {
    "jax.nn.sigmoid": "logistic", "jnp.cbrt": "cbrt", "jnp.cos": "cos", "jnp.exp": "exp",
    "jnp.exp2": "exp2", "jnp.expm1": "expm1", "jnp.log": "log", "jnp.log1p": "log1p",
    "jnp.sin": "sin", "jnp.sqrt": "sqrt", "jnp.tan": "tan", "jnp.tanh": "tanh",
    "lax.rsqrt": "rsqrt",
}  # fmt: skip
"""Functions that are one primitive of `jax.lax` which takes an accuracy."""

TWO: dict[str, tuple[str, str]] = {
    "jnp.arctan2": ("y", "x"), "jnp.copysign": ("x", "y"), "jnp.divide": ("x", "y"),
    "jnp.fmod": ("x", "y"), "jnp.hypot": ("x", "y"), "jnp.logaddexp": ("x", "y"),
    "jnp.logaddexp2": ("x", "y"), "jnp.maximum": ("x", "y"), "jnp.power": ("x", "y"),
    "jnp.remainder": ("x", "y"), "jax.scipy.special.beta": ("a", "b"),
    "jax.scipy.special.betaln": ("a", "b"), "jax.scipy.special.boxcox": ("x", "λ"),
    "jax.scipy.special.boxcox1p": ("x", "λ"), "jax.scipy.special.kl_div": ("p", "q"),
    "jax.scipy.special.poch": ("z", "m"), "jax.scipy.special.rel_entr": ("p", "q"),
    "jax.scipy.special.xlog1py": ("x", "y"), "jax.scipy.special.xlogy": ("x", "y"),
    "optax.huber_loss": ("prediction", "target"), "optax.l2_loss": ("prediction", "target"),
    "optax.squared_error": ("prediction", "target"),
}  # fmt: skip
"""Functions of two arguments, and what these are called. Of optax the first is differentiated."""

OWN_DERIVATIVES: dict[str, Elementwise] = {
    "jax.nn.log_sigmoid": sigmoid.log_sigmoid_derivative,
    "jax.nn.relu": sigmoid.relu_derivative,
    "jax.nn.sigmoid": sigmoid.sigmoid_derivative,
    "jax.nn.softplus": sigmoid.softplus_derivative,
    "jax.scipy.special.xlogy, y": bernoulli.xlogy_derivative,
    "jnp.power, x": bernoulli.power_derivative,
    "jnp.tanh": sigmoid.tanh_derivative,
}


def _at_label(loss: Elementwise | None, label: float) -> Elementwise | None:
    """A loss at a constant label."""
    return loss and labelled(loss, label)


def _bound(path: str, *first: float, part: int | None = None) -> Elementwise | None:
    """A function with its first arguments given; of several results, one."""
    function = find(path)
    if function is None:
        return None

    def bound(x: Any) -> Any:
        found = function(*first, x)
        return found if part is None else found[part]

    return bound


def _variants() -> dict[str, tuple[Elementwise | None, Callable[..., Taylor] | None]]:
    """Functions with a parameter, a label or several results, each by a name of its own."""
    special = "jax.scipy.special"
    gelu = find("jax.nn.gelu")
    focal, binary = "optax.sigmoid_focal_loss", "optax.sigmoid_binary_cross_entropy"
    return {
        "jax.nn.gelu": (gelu, None),
        "jax.nn.gelu, exact": (gelu and functools.partial(gelu, approximate=False), None),
        f"{special}.betainc, a = 2, b = 3": (_bound(f"{special}.betainc", 2.0, 3.0), None),
        f"{special}.expn, n = 2": (_bound(f"{special}.expn", 2), _expn_2),
        f"{special}.fresnel, sine": (_bound(f"{special}.fresnel", part=0), _fresnel_sine),
        f"{special}.fresnel, cosine": (_bound(f"{special}.fresnel", part=1), _fresnel_cosine),
        f"{special}.gammainc, a = {ORDER}": (_bound(f"{special}.gammainc", ORDER), _gammainc),
        f"{special}.gammaincc, a = {ORDER}": (_bound(f"{special}.gammaincc", ORDER), _gammaincc),
        f"{special}.polygamma, n = 1": (_bound(f"{special}.polygamma", 1), None),
        f"{special}.sici, sine": (_bound(f"{special}.sici", part=0), _sine_integral),
        f"{special}.sici, cosine": (_bound(f"{special}.sici", part=1), _cosine_integral),
        f"{special}.zeta, x = 3": (_bound(f"{special}.zeta", 3.0), None),
        "lax.integer_pow, 3": (lambda x: lax.integer_pow(x, 3), None),
        "lax.integer_pow, -2": (lambda x: lax.integer_pow(x, -2), None),
        "optax.hinge_loss, y = 1": (_at_label(find("optax.hinge_loss"), 1), None),
        "optax.log_cosh": (find("optax.log_cosh"), None),
        "optax.perceptron_loss, y = 1": (_at_label(find("optax.perceptron_loss"), 1), None),
        f"{binary}, y = 0": (_at_label(find(binary), 0), None),
        f"{binary}, y = 1": (_at_label(find(binary), 1), None),
        f"{focal}, y = 0": (_at_label(find(focal), 0), None),
        f"{focal}, y = 1": (_at_label(find(focal), 1), None),
    }


def find(path: str) -> Elementwise | None:
    """A function by its dotted name; None where the installed version has none."""
    module, _, name = path.rpartition(".")
    module = {"jnp": "jax.numpy", "lax": "jax.lax"}.get(module, module)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if callable(found) else None


@functools.cache
def table() -> dict[str, Function]:
    """Every function of the atlas that is installed, by name, in the order of the alphabet."""
    found: dict[str, Function] = {}
    for path in ONE:
        function = find(path)
        if function is not None:
            definition = DEFINED.get(path.rpartition(".")[2])
            found[path] = Function(path, function, taylor=definition, highest=_highest(path))
    for name, (function, definition) in _variants().items():
        if function is not None:
            found[name] = Function(name, function, taylor=definition)
    for path, arguments in TWO.items():
        function = find(path)
        for argnum, argument in enumerate(arguments):
            if function is not None and not (argnum and path.startswith("optax")):
                name, defined = f"{path}, {argument}", DEFINED_OF_TWO.get(path, (None, None))
                found[name] = Function(name, function, 2, argnum, taylor=defined[argnum])
    ours, theirs = losses.sigmoid_binary_cross_entropy, "optax.sigmoid_binary_cross_entropy"
    own = {f"{theirs}, y = {y}": jax.grad(labelled(ours, y)) for y in (0, 1)} | OWN_DERIVATIVES
    found = {name: entry._replace(own=own.get(name)) for name, entry in found.items()}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def _highest(path: str) -> Elementwise | None:
    name, mode = WITH_ACCURACY.get(path), getattr(lax, "AccuracyMode", None)
    if name is None or mode is None:
        return None
    return functools.partial(getattr(lax, name), accuracy=mode.HIGHEST)


def missing() -> list[str]:
    """The functions of the table that the installed versions lack."""
    variants = [name for name, (function, _) in _variants().items() if function is None]
    return sorted([path for path in (*ONE, *TWO) if find(path) is None] + variants)


def choose(names: Iterable[str]) -> list[Function]:
    """The functions that are meant by `names`: whole, or without module, argument and parameter.

    Raises InputError for a name that means none. No names at all mean every function.

    >>> [function.name for function in choose(["tanh", "hypot"])]
    ['jnp.tanh', 'jnp.hypot, x', 'jnp.hypot, y']
    """
    everything = table()
    chosen: dict[str, Function] = {}
    for name in names:
        meant = {full: entry for full, entry in everything.items() if name in _spellings(full)}
        if not meant:
            reason = next((why for full, why in REFUSED.items() if name in _spellings(full)), None)
            if reason is not None:
                raise InputError("NAMES", "a function of the atlas", repr(name), f"it is {reason}")
            shorter = {s for full in everything for s in _spellings(full)}
            close = get_close_matches(name, shorter, 3) or ["tanh"]
            raise InputError(
                "NAMES", "functions of the atlas", repr(name), f"try {' or '.join(close)}"
            )
        chosen |= meant
    return list(chosen.values()) if chosen else list(everything.values())


def _spellings(full: str) -> set[str]:
    path = full.partition(",")[0]
    return {full, path, path.rpartition(".")[2]}
