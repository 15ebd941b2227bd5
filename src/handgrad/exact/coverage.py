"""What exact evaluation cannot do, each with its reason.

In the first list the evaluation succeeds, and encloses what JAX really traces; but JAX traces an
approximation made for float64 (a polynomial, a truncated series), so the balls stand next to the
mathematical function and not around it. In the second there is no rule at all.
"""

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

WITHOUT_A_RULE: dict[str, str] = {
    "complex numbers (fft, eig, sph_harm_y, wofz)": "balls here are real",
    "eigh, svd, qr, schur": "no enclosure of the iterations; svd and eigh choose signs freely",
    "random_gamma (jax.random.gamma, beta, dirichlet)": "a rejection loop over float draws",
    "nextafter": "real numbers have no next one",
    "reduce, reduce_window with an operation of the user's": "write a rule for the one at hand",
    "pure_callback, io_callback, Pallas and custom kernels": "programs JAX cannot see into",
}
