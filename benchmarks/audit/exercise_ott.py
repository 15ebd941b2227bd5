"""Calls that reach the derivative rules of ott."""

import jax
import jax.numpy as jnp
from ott.geometry import costs, pointcloud, regularizers
from ott.math import matrix_square_root, utils
from ott.problems.linear import linear_problem
from ott.solvers.linear import implicit_differentiation, sinkhorn

X = jnp.float32([[0.3, -1.2, 0.5], [1.1, 0.4, -0.7]])
SPD = jnp.float32([[1.5, 0.3, 0.1], [0.3, 1.1, -0.2], [0.1, -0.2, 0.9]])


def test_norm():
    jax.jit(lambda x: utils.norm(x))(X[0])
    jax.jit(lambda x: utils.norm(x, axis=-1))(X)
    jax.jit(lambda x: utils.norm(x, 1, -1, True))(X)
    jax.jit(lambda x: utils.norm(x, jnp.inf, -1))(X)


def test_logsumexp():
    b = jnp.float32([[0.3, 1.2, 0.5], [1.1, 0.4, 0.7]])
    jax.jit(lambda x: utils.logsumexp(x, axis=-1))(X)
    jax.jit(lambda x, b: utils.logsumexp(x, axis=1, keepdims=True, b=b))(X, b)
    jax.jit(lambda x, b: utils.logsumexp(x, axis=1, b=b, return_sign=True))(X, b * X)
    jax.jit(lambda x, b: utils.logsumexp(x, axis=1, keepdims=True, b=b, return_sign=True))(X, b)


def test_logsumexp_of_nothing():
    jax.jit(lambda x: utils.logsumexp(x, axis=0))(jnp.full((4, 2), -jnp.inf))


def test_softmin():
    jax.jit(lambda x: utils.softmin(x, 0.4, -1))(X)
    jax.jit(lambda x: utils.softmin(x, 0.4))(X)


def test_lambertw():
    jax.jit(utils.lambertw)(jnp.float32([0.2, 1.4, 5.0]))


def test_square_roots():
    jax.jit(lambda a: matrix_square_root.sqrtm(a, 1e-6))(SPD)
    jax.jit(matrix_square_root.sqrtm_only)(SPD)
    jax.jit(matrix_square_root.inv_sqrtm_only)(SPD)


def test_legendre():
    cost = costs.RegTICost(regularizers.L1())
    jax.jit(cost.h_legendre)(X[0])


def test_sinkhorn():
    def cost(x, implicit):
        geometry = pointcloud.PointCloud(x, X + 0.3, epsilon=0.5)
        solver = sinkhorn.Sinkhorn(
            threshold=1e-5, max_iterations=200,
            implicit_diff=implicit_differentiation.ImplicitDiff() if implicit else None,
        )  # fmt: skip
        return solver(linear_problem.LinearProblem(geometry)).reg_ot_cost

    for implicit in (True, False):
        jax.jit(jax.grad(lambda x, implicit=implicit: cost(x, implicit)))(X)
