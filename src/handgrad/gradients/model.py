"""Model: the frozen record of functions that every trainable model provides.

The formulas are plain functions of (params, x, y, ...). What varies from user to user (a penalty,
hidden sizes, an activation) is bound once, by the `model(...)` function of each file; what comes
out has the same fields for all of them, and is all that training needs to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """A trainable model as functions; `params` is a NamedTuple of arrays only.

    `x` is (N, D); `y` is (N,) in [0, 1] for a binary model, (N,) integers or (N, K) probabilities
    for K classes. Losses are means over examples, in nats.
    """

    init: Callable[..., Any]
    """init(key, features, classes=2, dtype=None) -> params: random weights, zero biases."""
    logits: Callable[[Any, Any], Any]
    """logits(params, x) -> (N,) or (N, K) scores."""
    predict: Callable[[Any, Any], Any]
    """predict(params, x) -> (N,) or (N, K) probabilities."""
    loss: Callable[[Any, Any, Any], Any]
    """loss(params, x, y) -> scalar."""
    gradient: Callable[[Any, Any, Any], Any]
    """gradient(params, x, y) -> the structure of params."""
    value_and_gradient: Callable[[Any, Any, Any], tuple[Any, Any]]
    """value_and_gradient(params, x, y) -> (loss, gradient), sharing one forward pass."""
    hessian: Callable[[Any, Any, Any], Any] | None = None
    """hessian(params, x, y) -> the structure that jax.hessian returns."""
    hvp: Callable[[Any, Any, Any, Any], Any] | None = None
    """hvp(params, tangent, x, y) -> Hessian times tangent, in the structure of params."""
