"""Calls that reach the derivative rules of equinox."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp

X = jnp.float32([0.9, -0.4, 0.3])


def test_errors():
    jax.jit(lambda x: eqx.error_if(x, x.sum() > 100, "too large"))(X)


def test_nextafter():
    jax.jit(lambda x: (eqxi.nextafter(x), eqxi.prevbefore(x)))(X)


def test_loops():
    def loop(kind, x):
        return eqxi.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x), kind=kind, max_steps=8
        )[1]

    for kind in ("lax", "checkpointed", "bounded"):
        jax.jit(lambda x, kind=kind: loop(kind, x))(X)
    for kind in ("checkpointed", "bounded"):
        jax.jit(jax.grad(lambda x, kind=kind: loop(kind, x).sum()))(X)


def test_backward_nan():
    jax.jit(jax.grad(lambda x: eqx.debug.backward_nan(x).sum()))(X)


def test_closure_to_pytree():
    jax.jit(lambda x: eqxi.nondifferentiable(x))(X)
    jax.jit(eqxi.nondifferentiable_backward)(X)


def test_filter_custom_vjp():
    @eqx.filter_custom_vjp
    def f(x):
        return x**2

    @f.def_fwd
    def forward(perturbed, x):
        return f(x), None

    @f.def_bwd
    def backward(kept, c, perturbed, x):
        return 2 * x * c

    jax.jit(jax.grad(lambda x: f(x).sum()))(X)
