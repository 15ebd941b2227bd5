r"""The Hessian of softmax regression along a matrix V: the Jacobian of softmax once more.

∇E is a sum over points of (p − y) times the point; the labels are constants and drop out, so what
is left to differentiate is p, and its Jacobian is known.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import along
from handgrad.derivations.softmax_products import rows_sum
from handgrad.derivations.softmax_regression import (
    GIVEN,
    SOURCE,
    as_rows,
    example,
    mean_open,
    mean_push,
    probabilities,
    through_jacobian,
)
from handgrad.derivations.steps import Derivation, Step, still_open
from handgrad.gradients import softmax_regression as house
from handgrad.gradients.linear import affine


def _example_along(key: Key) -> tuple:
    params, x, y = example(key)
    return params, example(random.fold_in(key, 1))[0], x, y


def _centred(p: Array, u: Array) -> Array:
    return p * (u - rows_sum(p * u))


HVP = Derivation(
    name="softmax_regression_hvp",
    title="The Hessian of softmax regression times a matrix",
    of=r"\frac{\partial}{\partial (W, b)} \langle \nabla E, V \rangle",
    given=GIVEN + " V = (V_W, V_b) is constant, with the structure of (W, b); u = xV_W + V_b.",
    example=_example_along,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\langle \nabla E(\ldots, W_{dk}+h, \ldots), V \rangle"
            r" - \langle \nabla E(\ldots, W_{dk}-h, \ldots), V \rangle}{2h}",
            "definition of the partial derivative, for every weight and every bias",
            Limit(along(house.gradient)),
        ),
        Step(
            r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i (p_{ni} - y_{ni})"
            r" u_{ni}",
            "the gradient of softmax regression; the inner product goes into the sum",
            lambda params, v, x, y: still_open(
                jnp.ones((), x.dtype),
                lambda q: (
                    jnp.sum((probabilities(q, x) - as_rows(y, probabilities(q, x))) * affine(v, x))
                    / x.shape[0]
                ),
                params,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \sum_i u_{ni} \frac{\partial p_{ni}}{\partial (W, b)}",
            "x, y and V are constants: the labels drop out",
            lambda params, v, x, y: still_open(
                affine(v, x) / x.shape[0], lambda q: probabilities(q, x), params
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \sum_k \sum_i u_{ni} p_{ni} (\delta_{ik} - p_{nk})"
            r" \frac{\partial z_{nk}}{\partial (W, b)}",
            "chain rule over the K logits; the Jacobian of softmax",
            lambda params, v, x, y: mean_open(
                through_jacobian(probabilities(params, x), affine(v, x)), params, x
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \sum_k p_{nk} \left( u_{nk} - \langle p_n, u_n \rangle \right)"
            r" \frac{\partial z_{nk}}{\partial (W, b)}",
            "δ picks one term of the sum over i; p_nk is a common factor",
            lambda params, v, x, y: mean_open(
                _centred(probabilities(params, x), affine(v, x)), params, x
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n (x_n, 1)^{\top}"
            r" \left[ p_n \circ \left( u_n - \langle p_n, u_n \rangle \right) \right]",
            "z is linear: ∂z_k/∂W_dk = x_d, ∂z_k/∂b_k = 1",
            lambda params, v, x, y: mean_push(_centred(probabilities(params, x), affine(v, x)), x),
        ),
    ),
    source=SOURCE,
)
