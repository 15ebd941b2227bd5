"""Calls that reach the derivative rules of jax.nn, jax.scipy.special, jax.numpy and jax.lax."""

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import pytest

X = jnp.float32([-2.3, -0.4, 0.7, 1.9])
POSITIVE = jnp.float32([0.3, 0.8, 1.7, 3.2])
UNIT = jnp.float32([0.1, 0.35, 0.6, 0.92])
MATRIX = jnp.float32([[2.0, 0.3, -0.4], [0.1, 1.5, 0.7], [0.6, -0.2, 1.1]])

CALLS = {
    "relu": lambda: jax.nn.relu(X),
    "relu6": lambda: jax.nn.relu6(X * 4),
    "log1mexp": lambda: jax.nn.log1mexp(POSITIVE),
    "softmax": lambda: jax.nn.softmax(X),
    "softmax where": lambda: jax.nn.softmax(X, where=X > -1),
    "softmax of a matrix": lambda: jax.nn.softmax(MATRIX, axis=0),
    "log_softmax": lambda: jax.nn.log_softmax(X),
    "logit": lambda: special.logit(UNIT),
    "xlogy": lambda: special.xlogy(POSITIVE, UNIT),
    "xlog1py": lambda: special.xlog1py(POSITIVE, UNIT),
    "entr": lambda: special.entr(UNIT),
    "rel_entr": lambda: special.rel_entr(UNIT, POSITIVE),
    "kl_div": lambda: special.kl_div(UNIT, POSITIVE),
    "zeta": lambda: special.zeta(POSITIVE + 1, POSITIVE),
    "zeta of a number": lambda: special.zeta(jnp.float32(2.5), POSITIVE),
    "log_ndtr": lambda: special.log_ndtr(X * 3),
    "expi": lambda: special.expi(POSITIVE),
    "sici": lambda: special.sici(POSITIVE),
    "exp1": lambda: special.exp1(POSITIVE),
    "expn": lambda: special.expn(np.int32([1, 2, 3, 4]), POSITIVE),
    "poch": lambda: special.poch(POSITIVE, jnp.float32(1.4)),
    "hyp1f1": lambda: special.hyp1f1(UNIT, POSITIVE, X),
    "hyp2f1": lambda: special.hyp2f1(UNIT, POSITIVE, POSITIVE + 1, UNIT / 2),
    "owens_t": lambda: special.owens_t(X, UNIT),
    "erfcx": lambda: special.erfcx(X),
    "dawsn": lambda: special.dawsn(X),
    "wofz": lambda: special.wofz(X + 0.3j),
    "fresnel": lambda: special.fresnel(X),
    "i0": lambda: jnp.i0(X),
    "sinc": lambda: jnp.sinc(X),
    "sinc at 0": lambda: jax.grad(lambda x: jnp.sinc(x))(jnp.float32(0.0)),
    "frexp": lambda: jnp.frexp(X),
    "det": lambda: jnp.linalg.det(MATRIX),
    "det of a large matrix": lambda: jnp.linalg.det(
        jnp.eye(5, dtype="float32") + 0.1 * jnp.arange(25, dtype="float32").reshape(5, 5) % 0.7
    ),
    "slogdet": lambda: jnp.linalg.slogdet(MATRIX),
    "slogdet by qr": lambda: jnp.linalg.slogdet(MATRIX, method="qr"),
    "slogdet of a large matrix": lambda: jnp.linalg.slogdet(
        jnp.eye(5, dtype="float32") + 0.1 * jnp.arange(25, dtype="float32").reshape(5, 5) % 0.7
    ),
    "pinv": lambda: jnp.linalg.pinv(MATRIX[:, :2]),
    "pinv of a symmetric matrix": lambda: jnp.linalg.pinv(MATRIX + MATRIX.T, hermitian=True),
    "logaddexp": lambda: jnp.logaddexp(X, UNIT),
    "logaddexp2": lambda: jnp.logaddexp2(X, UNIT),
    "logsumexp": lambda: special.logsumexp(X),
    "custom_root": lambda: jax.lax.custom_root(
        lambda y: y**3 - POSITIVE[1], jnp.float32(1.0),
        lambda f, y: jax.lax.fori_loop(0, 60, lambda _, y: y - f(y) / (3 * y**2), y),
        lambda g, y: y / g(jnp.float32(1.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call(call):
    jax.block_until_ready(jax.jit(call)())
