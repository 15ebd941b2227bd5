"""Array aliases, axis letters, and the record of functions that every trainable model is.

The letters, wherever a shape is written: N examples, D features, K classes, H hidden units,
T tokens, V vocabulary.

The formulas are plain functions of (params, x, y, ...). What varies from user to user (a penalty,
hidden sizes, an activation) is bound once, by the `model(...)` function of each file; what comes
out has the same fields for all of them, and is all that training needs to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = [
    "Array", "ArrayLike", "BinaryLabels", "ClassLabels", "DTypeLike", "Elementwise", "Features",
    "Key", "Logits", "Model", "Rows", "Scalar", "Weights",
]  # fmt: skip

Key = PRNGKeyArray
Scalar = Float[Array, ""]
Features = Float[Array, "N D"]
Logits = Float[Array, " N"] | Float[Array, "N K"]
Elementwise = Float[Array, "*shape"]
"""Arrays of one shape, whatever it is: arguments and results."""
Rows = Float[Array, "*batch K"]
"""Arrays of one shape whose last axis is that of the classes."""
BinaryLabels = Float[Array, "*shape"] | Int[Array, "*shape"] | Bool[Array, "*shape"]
Weights = Float[Array, " N"]
"""How much each example counts in the mean."""
ClassLabels = Int[Array, "*batch"] | Float[Array, "*batch K"]

Params = TypeVar("Params")


@dataclass(frozen=True)
class Model(Generic[Params]):
    """A trainable model as functions; `params` is a NamedTuple of arrays only.

    `x` is (N, D); `y` is (N,) in [0, 1] for a binary model, (N,) integers or (N, K) probabilities
    for K classes. Losses are means over examples, in nats.
    """

    init: Callable[..., Params]
    """init(key, features, classes=2, dtype=None) -> params: random weights, zero biases."""
    logits: Callable[[Params, Any], Array]
    """logits(params, x) -> (N,) or (N, K) scores."""
    predict: Callable[[Params, Any], Array]
    """predict(params, x) -> (N,) or (N, K) probabilities."""
    loss: Callable[[Params, Any, Any], Array]
    """loss(params, x, y) -> scalar."""
    gradient: Callable[[Params, Any, Any], Params]
    """gradient(params, x, y) -> the structure of params."""
    value_and_gradient: Callable[..., tuple[Array, Params]]
    """value_and_gradient(params, x, y) -> (loss, gradient), sharing one forward pass.

    Where it takes a `sample_weight` (N,) too, examples count so much in the mean.
    """
    hessian: Callable[[Params, Any, Any], Any] | None = None
    """hessian(params, x, y) -> the structure that jax.hessian returns."""
    hvp: Callable[[Params, Params, Any, Any], Params] | None = None
    """hvp(params, tangent, x, y) -> Hessian times tangent, in the structure of params."""
