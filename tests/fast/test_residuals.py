"""The fused forms of cross-entropy against those that a reader meets in `gradients`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.fast import residuals
from handgrad.gradients import cross_entropy


@pytest.mark.digits
def test_one_exponential_gives_both_loss_and_residual(dtype):
    z, y = np.meshgrid([0.0, -0.0, 1e-3, 1, 17, 40, 88, 1e4, np.inf], [0.0, 0.25, 1.0])
    z, y = (jnp.asarray(np.concatenate([part, part]), dtype) for part in (z, y))
    z = z.at[: len(z) // 2].multiply(-1)
    each = jax.jit(jax.vmap(jax.vmap(lambda z, y: residuals.binary(z[None], y[None]))))
    loss, residual = each(z, y)
    expected = cross_entropy.binary(z, y), cross_entropy.binary_residual(z, y)
    for got, wanted in zip((loss, residual[..., 0]), expected, strict=True):
        assert got.dtype == dtype
        eps = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(got, wanted, rtol=8 * eps, atol=eps / 4)
