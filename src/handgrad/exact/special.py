"""Rules of the special functions: error, gamma, beta, zeta and Bessel functions.

Most are flint's own enclosures. The derivative of the incomplete gamma function in its order has
no closed form; its power series is summed here with a bound on the tail.
"""

import functools
from typing import Any

import numpy as np
from flint import acb, arb, arb_series, ctx

from handgrad.errors import Undecided
from handgrad.exact import balls
from handgrad.exact.balls import NAN, NEG_INF, ONE, POS_INF, ZERO, boxed
from handgrad.exact.elementwise import Rule, elementwise, predicate


def erf(x: arb) -> arb:
    """erf(x)."""
    return balls.sign(x) if balls.is_infinite(x) else x.erf()


def erfc(x: arb) -> arb:
    """1 − erf(x), without the cancellation."""
    return 1 - balls.sign(x) if balls.is_infinite(x) else x.erfc()


def erf_inv(x: arb) -> arb:
    """The inverse of erf, ±∞ at exactly ±1."""
    if x == 1 or x == -1:
        return POS_INF if x > 0 else NEG_INF
    return x.erfinv()


def lgamma(x: arb) -> arb:
    """log|Γ(x)|: by reflection left of 0, +∞ at the poles."""
    if x == POS_INF or (x.is_exact() and x.is_integer() and x <= 0):
        return POS_INF
    if x > 0:
        return x.lgamma()
    return (arb.pi() / abs(x.sin_pi())).log() - (1 - x).lgamma()


def digamma(x: arb) -> arb:
    """Γ′(x)/Γ(x)."""
    return POS_INF if x == POS_INF else x.digamma()


def polygamma(n: arb, x: arb) -> arb:
    """The derivative of digamma of order n."""
    if not (x < 0 and n.is_exact() and n.is_integer()):
        return acb(x).polygamma(acb(n)).real
    if x.is_exact() and x.is_integer():
        return arb.nan()  # a pole
    # flint would sum |x| terms: by reflection, and (cot πx)⁽ⁿ⁾ from the power series at x
    order = int(float(n))
    cotangent = arb_series([x, 1], prec=order + 1).cot_pi()[order] * arb(order + 1).gamma()
    return (-1) ** order * polygamma(n, 1 - x) - arb.pi() * cotangent


def igamma(a: arb, x: arb) -> arb:
    """P(a, x), the regularised lower incomplete gamma function."""
    if x.is_zero() or x == POS_INF:
        return ZERO if x.is_zero() else ONE
    if _has_short_series(a, x):
        return _igamma_series(a, x)
    return x.gamma_lower(a, regularized=1)


def igammac(a: arb, x: arb) -> arb:
    """Q(a, x) = 1 − P(a, x)."""
    if x.is_zero() or x == POS_INF:
        return ONE if x.is_zero() else ZERO
    if not _has_short_series(a, x):
        return x.gamma_upper(a, regularized=1)
    # Q is about x^a e^(−x) / Γ(a), and that is what cancels in 1 − P
    size = (x - a * x.log() + a.lgamma()) / arb(2).log()
    with ctx.workprec(ctx.prec + max(0, int(float(size.mid())) + 32)):
        return 1 - _igamma_series(a, x)


def igamma_grad_a(a: arb, x: arb) -> arb:
    """∂P(a, x)/∂a."""
    if x.is_zero() or x == POS_INF:
        return ZERO
    if not (a > 0 and x > 0 and a.is_finite() and x.is_finite()):
        return NAN
    return _igamma_series(a, x, in_order=True)


LARGEST_FOR_FLINT = 50
MOST_TERMS = 100_000


def _has_short_series(a: arb, x: arb) -> bool:
    """Whether the power series is the better way: flint's own gives up at large orders."""
    if not (a > 0 and x > 0 and a.is_finite() and x < MOST_TERMS):
        return False
    return bool(a > LARGEST_FOR_FLINT) or bool(x > LARGEST_FOR_FLINT)


def _igamma_series(a: arb, x: arb, in_order: bool = False) -> arb:
    """P(a, x) = Σ t_n with t_n = x^(a+n) e^(−x) / Γ(a + n + 1), or its derivative in a.

    ∂P/∂a = Σ t_n (log x − ψ(a + n + 1)). From n = N on, where a + N + 1 ≥ 2x and ≥ 1, each t is at
    most half the one before, and |ψ(y)| ≤ log y + 1, log(y + k) ≤ log y + k for y ≥ 1: the tails
    from N on are at most 2 t_N and t_N (2 |log x| + 2 log(a + N + 1) + 4).
    """
    log_x = x.log()
    term = (a * log_x - x - (a + 1).lgamma()).exp()
    psi = (a + 1).digamma() if in_order else ZERO
    total, n = ZERO, 0
    small = arb((1, -ctx.prec))
    while True:
        y = a + n + 1
        if y >= 2 * x and y >= 1:
            tail = term * (2 * abs(log_x) + 2 * y.log() + 4 if in_order else 2)
            if tail <= small * abs(total).abs_lower() or n > 10 * ctx.prec + 4 * x:
                return total + arb(0, tail.abs_upper())
        if in_order:
            total += term * (log_x - psi)
            psi += 1 / y
        else:
            total += term
        term *= x / y
        n += 1


def random_gamma_grad(a: arb, x: arb) -> arb:
    """dx/da of a gamma variate at a fixed quantile: −(∂P/∂a) / (∂P/∂x)."""
    density = ((a - 1) * x.log() - x - a.lgamma()).exp()
    return -igamma_grad_a(a, x) / density


def incomplete_beta(a: arb, b: arb, x: arb) -> arb:
    """I_x(a, b), the regularised incomplete beta function."""
    if x.is_zero() or x == 1:
        return ZERO if x.is_zero() else ONE
    return x.beta_lower(a, b, regularized=1)


def bessel_i0e(x: arb) -> arb:
    """exp(−|x|) I₀(x)."""
    return x.bessel_i(0) * (-abs(x)).exp()


def bessel_i1e(x: arb) -> arb:
    """exp(−|x|) I₁(x)."""
    return x.bessel_i(1) * (-abs(x)).exp()


# flint may give up at one precision and succeed at the next: NaN is never final here.
entrywise = functools.partial(elementwise, nan_is_final=False)

RULES: dict[str, Rule] = {
    "bessel_i0e": entrywise(bessel_i0e),
    "bessel_i1e": entrywise(bessel_i1e),
    "digamma": entrywise(digamma),
    "erf": entrywise(erf),
    "erf_inv": entrywise(erf_inv, outside=lambda x: abs(x) > 1),
    "erfc": entrywise(erfc),
    "igamma": entrywise(igamma, 2),
    "igamma_grad_a": entrywise(igamma_grad_a, 2),
    "igammac": entrywise(igammac, 2),
    "lgamma": entrywise(lgamma),
    "polygamma": entrywise(polygamma, 2),
    "random_gamma_grad": entrywise(random_gamma_grad, 2),
    "regularized_incomplete_beta": entrywise(incomplete_beta, 3),
    "zeta": entrywise(arb.zeta, 2),  # Hurwitz' Σ (q + k)^(−s) over k ≥ 0
}


# --- functions of JAX ---------------------------------------------------------------------------


def exp_neg_sq(x: arb) -> arb:
    """exp(−x²)."""
    return (-x * x).exp()


def frexp(x: Any) -> list[np.ndarray]:
    """m and n with x = m · 2ⁿ and 1/2 ≤ |m| < 1; both 0 for x = 0."""
    exponents = np.frompyfunc(_binary_exponent, 1, 1)(x)
    return [ldexp(x, -exponents), np.asarray(exponents, dtype=np.int32)]


def ldexp(x: Any, exponents: np.ndarray) -> np.ndarray:
    """x · 2ⁿ."""
    return boxed(np.frompyfunc(lambda x, n: x * arb((1, int(n))), 2, 1)(x, exponents))


def _binary_exponent(x: arb) -> int:
    if x.is_zero() or not x.is_finite():
        return 0
    ends = [abs(x).lower(), abs(x).upper()]
    lower, upper = (_top_bit(end) if end > 0 else None for end in ends)
    if lower is None or lower != upper:
        raise Undecided(f"the binary exponent of {balls.short(x)} is open")
    return lower


def _top_bit(x: arb) -> int:
    mantissa, exponent = x.mid().man_exp()
    return int(exponent) + abs(int(mantissa)).bit_length()


# JAX computes these by way of the bits of a float. Here they are what they stand for.
FUNCTIONS: dict[str | None, Rule] = {
    "jax.lax.erf.exp_neg_sq": entrywise(exp_neg_sq),
    "jax.numpy.ufuncs._frexp": frexp,
    "jax.numpy.ufuncs.Frexp": frexp,
    "jax.numpy.ufuncs.Ldexp": ldexp,
    "jax.numpy.ufuncs.signbit": predicate(lambda x: balls.less(x, ZERO), 1),
}
