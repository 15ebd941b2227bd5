"""Calls that reach the derivative rules of lineax and optimistix."""

import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx

X = jnp.float32([0.9, -0.4, 0.3])
A = jnp.float32([[2.0, 0.3, -0.4], [0.1, 1.5, 0.7], [0.6, -0.2, 1.1]])


def test_norms():
    jax.jit(lx.internal.two_norm)(X)
    jax.jit(lx.internal.rms_norm)({"a": X, "b": A})
    jax.jit(lx.internal.max_norm)(X)
    jax.jit(lx.internal.two_norm)(jnp.zeros(5))


def test_solves():
    def solve(a, b, solver):
        return lx.linear_solve(lx.MatrixLinearOperator(a), b, solver).value

    for solver in (lx.LU(), lx.QR(), lx.SVD(), lx.GMRES(rtol=1e-6, atol=1e-6)):
        jax.jit(jax.grad(lambda a, b, s=solver: solve(a, b, s).sum()))(A, X)


def test_roots():
    def residual(y, a):
        return y**3 + y - a

    def minimised(y, a):
        return (y - a) ** 2 + 0.1 * y**4

    newton = optx.Newton(rtol=1e-6, atol=1e-6)
    jax.jit(jax.grad(lambda a: optx.root_find(residual, newton, jnp.float32(1), a).value))(
        jnp.float32(1.7)
    )
    bfgs = optx.BFGS(rtol=1e-6, atol=1e-6)
    jax.jit(jax.grad(lambda a: optx.minimise(minimised, bfgs, jnp.float32(1), a).value))(
        jnp.float32(1.7)
    )
    fixed = optx.FixedPointIteration(rtol=1e-6, atol=1e-6)
    jax.jit(jax.grad(lambda a: optx.fixed_point(lambda y, a: jnp.cos(a * y), fixed, a, a).value))(
        jnp.float32(0.7)
    )
