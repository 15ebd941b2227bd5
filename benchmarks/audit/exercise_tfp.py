"""Calls that reach the derivative rules of TensorFlow Probability on JAX."""

import jax
import jax.numpy as jnp
import pytest
import tensorflow_probability.substrates.jax as tfp

tfm, tfd, tfb = tfp.math, tfp.distributions, tfp.bijectors
X = jnp.float32([-1.3, 0.7])
POSITIVE = jnp.float32([0.8, 1.7])
UNIT = jnp.float32([0.35, 0.6])
KEY = jax.random.PRNGKey(0)

CALLS = {
    "betainc": lambda: tfm.betainc(POSITIVE, POSITIVE[::-1], UNIT),
    "dawsn": lambda: tfm.dawsn(X),
    "erfcx": lambda: tfm.erfcx(X),
    "logerfc": lambda: tfm.logerfc(X),
    "logerfcx": lambda: tfm.logerfcx(X),
    "igammainv": lambda: tfm.igammainv(POSITIVE, UNIT),
    "igammacinv": lambda: tfm.igammacinv(POSITIVE, UNIT),
    "round_exponential_bump": lambda: tfm.round_exponential_bump_function(UNIT),
    "lambertw": lambda: tfm.lambertw(POSITIVE),
    "log_gamma_correction": lambda: tfm.log_gamma_correction(POSITIVE + 8),
    "log_gamma_difference": lambda: tfm.log_gamma_difference(POSITIVE, POSITIVE + 9),
    "lbeta": lambda: tfm.lbeta(POSITIVE, POSITIVE[::-1]),
    "owens_t": lambda: tfm.owens_t(X, POSITIVE),
    "bessel_iv_ratio": lambda: tfm.bessel_iv_ratio(POSITIVE, POSITIVE[::-1]),
    "bessel_ive": lambda: tfm.bessel_ive(POSITIVE, POSITIVE[::-1]),
    "bessel_kve": lambda: tfm.bessel_kve(POSITIVE, POSITIVE[::-1]),
    "log_bessel_ive": lambda: tfm.log_bessel_ive(POSITIVE, POSITIVE[::-1]),
    "log_bessel_kve": lambda: tfm.log_bessel_kve(POSITIVE, POSITIVE[::-1]),
    "hyp2f1": lambda: tfm.hypergeometric.hyp2f1_small_argument(
        UNIT, POSITIVE, POSITIVE + 1, UNIT / 2
    ),
    "log_cosh": lambda: tfm.log_cosh(X),
    "log_cumsum_exp": lambda: tfm.log_cumsum_exp(X),
    "log_add_exp": lambda: tfm.log_add_exp(X, UNIT),
    "log_sub_exp": lambda: tfm.log_sub_exp(POSITIVE + 2, UNIT),
    "softplus_inverse": lambda: tfm.softplus_inverse(POSITIVE),
    "smootherstep": lambda: tfm.smootherstep(UNIT),
    "softplus bijector": lambda: tfb.Softplus(hinge_softness=0.7).forward(X),
    "sigmoid bijector": lambda: tfb.Sigmoid(low=-1.0, high=2.0).forward(X),
    "sqrt_with_finite_grads": lambda: tfp.math.psd_kernels.MaternOneHalf().apply(
        POSITIVE[:, None], POSITIVE[::-1, None]
    ),
    "maximum": lambda: tfd.Uniform(0.0, 2.0).cdf(POSITIVE),
    "von mises cdf": lambda: tfd.VonMises(0.2, POSITIVE).cdf(UNIT),
    "von mises sample": lambda: tfd.VonMises(0.2, POSITIVE).sample(seed=KEY),
    "gamma sample": lambda: tfd.Gamma(POSITIVE, 1.5).sample(seed=KEY),
    "exp gamma sample": lambda: tfd.ExpGamma(POSITIVE, 1.5).sample(seed=KEY),
    "beta sample": lambda: tfd.Beta(POSITIVE, 1.5).sample(seed=KEY),
    "student t cdf": lambda: tfd.StudentT(POSITIVE + 1, 0.2, 1.3).cdf(X),
    "student t quantile": lambda: tfd.StudentT(POSITIVE + 1, 0.2, 1.3).quantile(UNIT),
    "student t sample": lambda: tfd.StudentT(POSITIVE + 1, 0.2, 1.3).sample(seed=KEY),
    "inverse gaussian": lambda: tfd.InverseGaussian(POSITIVE, 1.2).sample(seed=KEY),
    "inverse gaussian cdf": lambda: tfd.InverseGaussian(POSITIVE, 1.2).cdf(UNIT),
    "two-piece normal": lambda: tfd.TwoPieceNormal(0.2, 1.1, POSITIVE).sample(seed=KEY),
    "noncentral chi2 cdf": lambda: tfd.NoncentralChi2(POSITIVE + 1, 0.8).cdf(POSITIVE),
    "noncentral chi2 quantile": lambda: tfd.NoncentralChi2(POSITIVE + 1, 0.8).quantile(UNIT),
    "noncentral chi2 sample": lambda: tfd.NoncentralChi2(POSITIVE + 1, 0.8).sample(seed=KEY),
    "mixture sample": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.3, 0.7]), tfd.Normal([0.0, 1.0], [1.0, 0.5]),
        reparameterize=True,
    ).sample(seed=KEY),
    "scan": lambda: tfp.math.scan_associative(jnp.add, X),
    "exp_igammac": lambda: tfp.experimental.math.exp_pade_4_4(X),
    "pinv": lambda: tfm.hpsd_solve(jnp.eye(3, dtype="float32") * 2, jnp.ones((3, 1))),
    "scalar inverse": lambda: tfp.experimental.bijectors.ScalarFunctionWithInferredInverse(
        lambda x: x**3 + x
    ).inverse(POSITIVE),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call(call):
    jax.block_until_ready(jax.jit(call)())
