"""What is covered, what is an approximation of JAX's, what is not, and the way out: a rule."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import jax.scipy.special as sp
import jax.scipy.stats as st
import mpmath as mp
import numpy as np
import pytest
from flint import arb

from handgrad.exact import Coverage, UnsupportedPrimitive, approximations, evaluate, trace
from handgrad.exact.interpreter import WITHOUT_A_RULE


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
    found = approximations(trace(f, x).jaxpr)
    assert any(name.split()[0].rpartition(".")[2] in listed for listed in found), found


def test_exact_functions_are_no_approximations():
    def f(x):
        return jax.nn.softplus(x) + sp.erf(x) + sp.gammaln(x) + sp.log_ndtr(x) * 0

    assert list(approximations(trace(f, 1.5).jaxpr)) == ["jax.scipy.special.log_ndtr, below -20"]
    assert approximations(trace(jax.grad(jax.nn.logsumexp), np.ones(3)).jaxpr) == {}


@pytest.mark.parametrize("transformed", [jax.vmap, jax.jit, jax.grad], ids=lambda f: f.__name__)
def test_an_approximation_is_found_inside_transformations(transformed):
    x = 0.3 if transformed is jax.grad else np.array([0.3, 0.6])
    found = approximations(trace(transformed(lambda x: sp.ndtri(x)), x).jaxpr)
    assert "jax.scipy.special.ndtri" in found


def test_the_differentiable_primitives_are_counted():
    """In a process of its own: languages of kernels, which others load, have primitives as well."""
    program = "import json; from handgrad.exact import coverage; print(json.dumps(coverage()))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    counted = Coverage(*json.loads(ran.stdout))
    assert str(counted).startswith(
        f"{counted.covered} of {counted.total} differentiable primitives"
    )
    assert counted.total == counted.covered + len(counted.missing) > 200
    assert counted.covered >= 0.9 * counted.total
    assert set(counted.missing) >= {"pure_callback", "io_callback", "ffi_call"}


def called_back(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), x.dtype), x)


def qr_of_a_complex_matrix(x):
    return jnp.linalg.qr(jax.lax.complex(x * jnp.eye(2), jnp.ones((2, 2), x.dtype)))[1].real


UNSUPPORTED = {
    "nextafter": (lambda x: jnp.nextafter(x, 2.0), "no next one"),
    "pure_callback": (called_back, "cannot see into"),
    "qr": (qr_of_a_complex_matrix, "real matrices"),
    "max": (lambda x: jnp.maximum(jax.lax.complex(x, x), 1j).real, "of complex numbers"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_primitives_name_themselves_the_reason_and_the_remedy(name):
    f, reason = UNSUPPORTED[name]
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(UnsupportedPrimitive, match=rf"'{name}'.*{reason}.*rules=\{{") as caught,
    ):
        evaluate(f, 1.5)
    assert caught.value.primitive == name
    assert not {"nextafter", "pure_callback"} - set(WITHOUT_A_RULE)


def test_a_rule_of_the_users_own_fills_a_gap():
    def identity(x, towards):
        return x

    result = evaluate(lambda x: jnp.nextafter(x, 2.0) * 2, 1.5, rules={"nextafter": identity})
    assert result[()] == 3


def test_a_rule_of_the_users_own_takes_precedence():
    def sine_of_nothing(x, **params):
        return np.full(x.shape, arb(7), dtype=object)

    assert evaluate(jnp.sin, 1.5, rules={"sin": sine_of_nothing})[()] == 7
