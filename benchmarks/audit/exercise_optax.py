"""Calls that reach the derivative rules of optax."""

import jax
import jax.numpy as jnp
import optax

X = jnp.float32([0.9, -0.4, 0.3, 1.1])


def test_projections():
    jax.jit(jax.jacobian(optax.projections.projection_simplex))(X)
    jax.jit(optax.projections.projection_l1_ball)(X)
    jax.jit(optax.projections.projection_l1_sphere)(X)


def test_losses():
    labels = jnp.float32([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
    logits = jnp.float32([[0.4, -1.0, 2.0], [0.1, 0.3, -0.6]])
    jax.jit(jax.grad(lambda z: optax.losses.kl_divergence(z, labels).sum()))(logits)
    jax.jit(jax.grad(lambda z: optax.losses.safe_softmax_cross_entropy(z, labels).sum()))(logits)
    jax.jit(jax.grad(lambda z: optax.losses.convex_kl_divergence(z, labels).sum()))(logits)
    jax.jit(jax.grad(lambda z: optax.losses.multiclass_sparsemax_loss(z, jnp.int32([0, 2])).sum()))(
        logits
    )
    jax.jit(optax.losses.ctc_loss)(
        jnp.ones((1, 4, 3)), jnp.zeros((1, 4)), jnp.int32([[1, 2]]), jnp.zeros((1, 2))
    )


def test_scale_gradient():
    jax.jit(jax.grad(lambda x: optax.scale_gradient(x, 0.5).sum()))(X)


def test_numerics():
    jax.jit(jax.grad(lambda x: optax.safe_norm(x, 0.0)))(X)
