"""What of JAX exact evaluation covers: counted, and what is only near the function it is called.

A program can be evaluated exactly and still not be the function of its name: JAX traces some
functions as approximations made for float64 (a polynomial, a truncated series). The balls enclose
what was traced, and stand next to the mathematical function, at a relative distance near 1e-15.
`approximations` finds those in a program.
"""

from typing import NamedTuple

from jax.interpreters import ad

from handgrad import jaxprs
from handgrad.exact.interpreter import has_rule

APPROXIMATED_BY_JAX: dict[str, str] = {
    "jax.scipy.special.bernoulli": "a table of float64 numbers",
    "jax.scipy.special.dawsn": "rational approximations",
    "jax.scipy.special.erfcx, its gradient": "rational approximations beside the exact value",
    "jax.scipy.special.exp1": "rational approximations, a series that stops at 2^-53",
    "jax.scipy.special.expi": "rational approximations",
    "jax.scipy.special.expn": "a series and a continued fraction that stop at 2^-53",
    "jax.scipy.special.fresnel": "rational approximations",
    "jax.scipy.special.hyp1f1": "a series that stops at 2^-53",
    "jax.scipy.special.hyp2f1": "a series that stops at 2^-53",
    "jax.scipy.special.log_ndtr, below -20": "the first terms of an asymptotic series",
    "jax.scipy.special.ndtri": "rational approximations",
    "jax.scipy.special.owens_t": "a quadrature rule with fixed nodes",
    "jax.scipy.special.sici": "rational approximations",
    "jax.scipy.special.spence": "rational approximations; jax.grad gives NaN above 1",
    "jax.scipy.special.zeta, its gradient": "the first terms of the Euler-Maclaurin series",
    "jax.scipy.stats.norm.ppf, isf": "rational approximations",
    "jax.scipy.stats.poisson.entropy": "a truncated sum, and an asymptotic series",
    "jax.scipy.linalg.expm": "a Padé approximant with scaling",
}
"""The functions of JAX that are approximations, and of what kind."""


def approximations(program: jaxprs.Program) -> dict[str, str]:
    """The entries of APPROXIMATED_BY_JAX that a program was traced from.

    >>> import jax
    >>> list(approximations(jax.make_jaxpr(jax.scipy.special.ndtri)(0.3)))
    ['jax.scipy.special.ndtri']
    """
    names = {name.split(",")[0]: name for name in APPROXIMATED_BY_JAX}
    called = {
        name for equation in jaxprs.equations(program) for name in jaxprs.library_frames(equation)
    }
    return {names[name]: APPROXIMATED_BY_JAX[names[name]] for name in names if name in called}


class Coverage(NamedTuple):
    """How many of JAX's differentiable primitives have a rule, and which have not."""

    covered: int
    total: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        missing = ", ".join(self.missing)
        return (
            f"{self.covered} of {self.total} differentiable primitives; without a rule: {missing}"
        )


def coverage() -> Coverage:
    """The primitives that JAX can differentiate or transpose, held against the rules here.

    >>> coverage().covered > 190
    True
    """

    names = sorted({p.name for p in (*ad.primitive_jvps, *ad.primitive_transposes)})
    missing = tuple(name for name in names if not has_rule(name))
    return Coverage(len(names) - len(missing), len(names), missing)
