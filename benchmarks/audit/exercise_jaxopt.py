"""Calls that reach the derivative rules of jaxopt."""

import jax
import jax.numpy as jnp
import jaxopt
from jaxopt import perturbations, projection

X = jnp.float32([0.9, -0.4, 0.3, 1.1])


def test_projections():
    jax.jit(jax.jacobian(projection.projection_simplex))(X)
    jax.jit(projection.projection_l1_ball)(X)
    jax.jit(lambda x: projection.projection_sparse_simplex(x, 2))(X)
    jax.jit(lambda x: projection.projection_hyperplane(x, (jnp.float32([1, 2, 0.5, 1]), 1.0)))(X)
    jax.jit(
        lambda x: projection.projection_transport(
            x, (jnp.float32([0.4, 0.6]), jnp.float32([0.3, 0.7]))
        )
    )(X.reshape(2, 2))


def test_isotonic():
    from jaxopt import isotonic

    jax.jit(isotonic.isotonic_l2_pav)(X)


def test_implicit():
    def loss(w, l2):
        return jnp.sum((w - X) ** 2 * jnp.float32([1, 2, 3, 4])) + l2 * jnp.sum(w**2)

    solver = jaxopt.LBFGS(fun=loss, maxiter=60, tol=1e-6, implicit_diff=True)
    jax.jit(lambda l2: solver.run(jnp.zeros(4), l2).params)(jnp.float32(0.7))
    descent = jaxopt.GradientDescent(fun=loss, maxiter=200, tol=1e-6, implicit_diff=True)
    jax.jit(lambda l2: descent.run(jnp.zeros(4), l2).params)(jnp.float32(0.7))


def test_bisection():
    def optimality(x, a):
        return x**3 + x - a

    solver = jaxopt.Bisection(optimality, lower=0.0, upper=2.0, check_bracket=False, maxiter=60)
    jax.jit(lambda a: solver.run(a=a).params)(jnp.float32(1.4))


def test_perturbed():
    def argmax(x):
        return jax.nn.one_hot(jnp.argmax(x), 4)

    pert = perturbations.make_perturbed_argmax(argmax, num_samples=50, sigma=0.3)
    jax.jit(pert)(X, jax.random.PRNGKey(0))
