"""What cannot be enclosed to 60 digits, and the way out: a rule of the user's."""

import jax
import jax.numpy as jnp
import jax.scipy.special as sp
import jax.scipy.stats as st
import mpmath as mp
import numpy as np
import pytest
from flint import arb

from handgrad.exact import UnsupportedPrimitive, evaluate
from handgrad.exact.coverage import APPROXIMATED_BY_JAX, WITHOUT_A_RULE


def hyp1f1(x):
    with jax.numpy_dtype_promotion("standard"):
        return sp.hyp1f1(1.5, 2.5, x)


# JAX's own approximation is enclosed: near the function to float64's accuracy, and no nearer.
APPROXIMATED = {
    "dawsn": (
        lambda x: sp.dawsn(x),
        lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x),
        1.5,
    ),
    "erfcx gradient": (
        lambda x: jax.grad(sp.erfcx)(x),
        lambda x: 2 * x * mp.exp(x * x) * mp.erfc(x) - 2 / mp.sqrt(mp.pi),
        1.5,
    ),
    "expi": (sp.expi, mp.ei, 1.5),
    "exp1": (sp.exp1, mp.e1, 1.5),
    "fresnel": (lambda x: sp.fresnel(x)[0], mp.fresnels, 1.5),
    "hyp1f1": (hyp1f1, lambda x: mp.hyp1f1(1.5, 2.5, x), 0.75),
    "log_ndtr": (sp.log_ndtr, lambda x: mp.log(mp.ncdf(x)), -25.0),
    "ndtri": (sp.ndtri, lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), 0.3),
    "norm.ppf": (st.norm.ppf, lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), 0.3),
    "sici": (lambda x: sp.sici(x)[0], mp.si, 1.5),
    "spence": (sp.spence, lambda x: mp.polylog(2, 1 - x), 1.5),
    "zeta gradient": (
        jax.grad(lambda q: sp.zeta(3.5, q)),
        lambda q: -3.5 * mp.zeta(4.5, q),
        0.25,
    ),
}


@pytest.mark.parametrize("name", APPROXIMATED)
def test_jax_traces_an_approximation(name):
    f, truth, x = APPROXIMATED[name]
    try:
        ball = evaluate(f, x)[()]
    except AttributeError:
        if hasattr(sp, "dawsn"):  # as in the JAX that the gate runs with
            raise
        pytest.skip("an older JAX lacks the function, or cannot trace it")
    with mp.workdps(100):
        value = truth(mp.mpf(x))
        off = abs(mp.mpf(ball.mid().str(80, radius=False)) / value - 1)
        assert mp.mpf(10) ** -50 < off < mp.mpf(10) ** -11
    assert ball.rel_accuracy_bits() > 190
    assert any(name.split()[0] in listed for listed in APPROXIMATED_BY_JAX)


UNSUPPORTED = {
    "svd": lambda x: jnp.linalg.svd(x * jnp.eye(2))[1],
    "eigh": lambda x: jnp.linalg.eigvalsh(x * jnp.eye(2)),
    "qr": lambda x: jnp.linalg.qr(x * jnp.eye(2))[1],
    "complex": lambda x: jax.lax.complex(x, x).real,
    "random_gamma": lambda x: jax.random.gamma(jax.random.key(0), x),
    "nextafter": lambda x: jnp.nextafter(x, 2.0),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_primitives_name_themselves_and_the_remedy(name):
    if name == "random_gamma" and jax.__version_info__ < (0, 10):
        pytest.skip("a loop there")
    with pytest.raises(UnsupportedPrimitive, match=rf"'{name}'.*rules=\{{") as caught:
        evaluate(UNSUPPORTED[name], 1.5)
    assert caught.value.primitive == name
    assert any(name in listed for listed in WITHOUT_A_RULE)


def test_a_rule_of_the_users_own_fills_a_gap():
    def identity(x, towards):
        return x

    result = evaluate(lambda x: jnp.nextafter(x, 2.0) * 2, 1.5, rules={"nextafter": identity})
    assert result[()] == 3


def test_a_rule_of_the_users_own_takes_precedence():
    def sine_of_nothing(x, **params):
        return np.full(x.shape, arb(7), dtype=object)

    assert evaluate(jnp.sin, 1.5, rules={"sin": sine_of_nothing})[()] == 7
