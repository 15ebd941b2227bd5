"""Derivatives of scikit-learn's models that were reported wrong; the live ones are its own."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.judge.reports import Bug
from handgrad._types import Array

PLANE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
HIDDEN, OUTPUTS = 2, 3
INPUTS = np.array([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.8], [0.1, 0.2]])
TARGETS = np.array([[0.1, 1.0, -0.4], [0.7, -0.2, 0.3], [0.0, 0.5, 0.9], [-1.0, 0.2, 0.6]])
SHAPES = ((2, HIDDEN), (HIDDEN, OUTPUTS), (HIDDEN,), (OUTPUTS,))
WEIGHTS = np.random.default_rng(3).normal(size=sum(int(np.prod(shape)) for shape in SHAPES))


def total_rbf(length: Array) -> Array:
    """Σ exp(−½‖x − x′‖²/ℓ²) over all pairs."""
    squares = jnp.sum((PLANE[:, None] - PLANE[None]) ** 2, -1)
    return jnp.sum(jnp.exp(-0.5 * squares / length**2))


def total_rbf_in_logarithm(length: Array) -> Array:
    """The derivative in log ℓ: ℓ times that in ℓ."""
    squares = jnp.sum((PLANE[:, None] - PLANE[None]) ** 2, -1)
    return jnp.sum(jnp.exp(-0.5 * squares / length**2) * squares / length**2)


def total_dot_product(sigma: Array) -> Array:
    """Σ ⟨x, x′⟩ + σ² over all pairs."""
    return jnp.sum(PLANE @ PLANE.T + sigma**2)


def _kernel_slope(name: str) -> Any:
    """What a kernel of scikit-learn gives for its gradient, added up over all pairs."""

    def derivative(parameter: Any) -> Any:
        from sklearn.gaussian_process import kernels

        kernel = getattr(kernels, name)(float(parameter))
        return np.float64(kernel(PLANE, eval_gradient=True)[1].sum())

    return derivative


def _unpacked(packed: Any) -> list:
    parts, start = [], 0
    for shape in SHAPES:
        size = int(np.prod(shape))
        parts.append(packed[start : start + size].reshape(shape))
        start += size
    return parts


def perceptron_loss(packed: Array) -> Array:
    """½ mean (y − ŷ)² over examples and outputs, one hidden layer of tanh."""
    w, v, b, c = _unpacked(packed)
    predicted = jnp.tanh(INPUTS @ w + b) @ v + c
    return 0.5 * jnp.mean((TARGETS - predicted) ** 2)


def perceptron_gradient_of_sum(packed: Array) -> Array:
    """The gradient of ½ Σ over outputs of the mean over examples: too large by their number."""
    w, v, b, c = _unpacked(packed)
    hidden = jnp.tanh(INPUTS @ w + b)
    residual = (hidden @ v + c - TARGETS) / INPUTS.shape[0]
    back = (residual @ v.T) * (1 - hidden**2)
    parts = (INPUTS.T @ back, hidden.T @ residual, back.sum(0), residual.sum(0))
    return jnp.concatenate([part.ravel() for part in parts])


def perceptron_live(packed: Any) -> Any:
    """What `MLPRegressor` gives its L-BFGS."""
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), activation="tanh", solver="lbfgs", alpha=0.0, max_iter=1
    )
    with np.errstate(all="ignore"):
        _fit_quietly(model)
    model.coefs_ = [np.zeros(shape) for shape in SHAPES[:2]]
    model.intercepts_ = [np.zeros(shape) for shape in SHAPES[2:]]
    layers: list[Any] = [INPUTS, *(np.empty((len(INPUTS), n)) for n in (HIDDEN, OUTPUTS))]
    return model._loss_grad_lbfgs(
        np.array(packed, np.float64), INPUTS, TARGETS, None, layers, [None, None],
        [np.zeros(shape) for shape in SHAPES[:2]], [np.zeros(shape) for shape in SHAPES[2:]],
    )[1]  # fmt: skip


def _fit_quietly(model: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(INPUTS, TARGETS)


# fmt: off
SKLEARN = (
    Bug("scikit-learn/scikit-learn#11113", "RBF kernel in ℓ", total_rbf, (2.0,), total_rbf_in_logarithm, live=_kernel_slope("RBF")),
    Bug("scikit-learn/scikit-learn#18702", "DotProduct kernel in σ", total_dot_product, (1.5,), lambda sigma: 9 * 2 * sigma**2, live=_kernel_slope("DotProduct")),
    Bug("scikit-learn/scikit-learn#8349", "MLPRegressor, 3 outputs", perceptron_loss, (WEIGHTS,), perceptron_gradient_of_sum, live=perceptron_live),
)
# fmt: on
