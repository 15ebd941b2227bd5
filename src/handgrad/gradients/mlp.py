"""A multilayer perceptron: hidden layers that bend the line, and backpropagation by hand.

    a⁰ = x;   zˡ = aˡ⁻¹ Wˡ + bˡ,   aˡ = φ(zˡ)  for the hidden layers;   logits = z of the last

The last layer is logistic regression on the hidden features (one logit, two classes) or softmax
regression on them (K logits). Backwards, with r the cotangent of zˡ:

    ∂E/∂(Wˡ, bˡ) = (aˡ⁻¹, 1)ᵀ r          r ← (r Wˡᵀ) ∘ φ′(zˡ⁻¹)

`forward` returns what `backward` will need; `backward` takes the cotangent first. With relu there
is a kink wherever a hidden z is 0, and φ′(0) = 0 is taken.

Source: "Neural networks", section on non-linear regions; the chain rule as derived there for one
layer, applied once a layer.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float

from handgrad._checks import MOST, require_key, require_size
from handgrad._types import DTypeLike, Features, Key, Scalar
from handgrad.errors import InputError
from handgrad.gradients import cross_entropy, linear
from handgrad.gradients.activations import activation as activation_called
from handgrad.gradients.cross_entropy import BinaryLabels, ClassLabels
from handgrad.gradients.model import Model
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import softmax

Logits = Float[Array, " N"] | Float[Array, "N K"]


class Params(NamedTuple):
    """One `linear.Params` for each layer, input first."""

    layers: tuple[linear.Params, ...]


class Residuals(NamedTuple):
    """What the forward pass keeps: the input of every layer, and every hidden z."""

    inputs: tuple[Array, ...]
    hidden: tuple[Array, ...]


def init(
    key: Key,
    features: int,
    classes: int = 2,
    dtype: DTypeLike | None = None,
    *,
    hidden: Sequence[int] = (16,),
) -> Params:
    """Weights w ~ N(0, 1/fan-in), zero biases; two classes take one logit, K > 2 take K."""
    if any(not isinstance(width, int) or width < 1 for width in hidden):
        raise InputError("hidden", "sizes of 1 or more", tuple(hidden), "pass e.g. (16,)")
    if any(width > MOST for width in hidden):
        raise InputError("hidden", f"sizes of at most {MOST:,}", tuple(hidden), "pass e.g. (16,)")
    require_size("classes", classes)
    require_key(key)
    if classes < 2:
        raise InputError("classes", "2 or more", classes, "pass the number of classes")
    widths = (features, *hidden)
    outputs = [(width,) for width in hidden] + [() if classes == 2 else (classes,)]
    keys = random.split(key, len(widths))
    layers = zip(keys, widths, outputs, strict=True)
    return Params(tuple(linear.init(k, n, out, dtype) for k, n, out in layers))


def check_layers(params: Params) -> None:
    """Raise InputError unless `params` has layers, each as wide as the next one takes."""
    layers = getattr(params, "layers", None)
    if not isinstance(layers, tuple | list) or not layers:
        raise InputError("params", "layers", type(params).__name__, "pass what init returns")
    for depth, layer in enumerate(layers):
        linear.check_params(layer, f"params.layers[{depth}]")
    for depth in range(1, len(layers)):
        before, after = layers[depth - 1], layers[depth]
        if jnp.shape(before.weight)[1:] != jnp.shape(after.weight)[:1]:
            raise InputError(
                f"params.layers[{depth}].weight", "the width of the layer before, "
                f"{jnp.shape(before.weight)[1:]}", f"shape {jnp.shape(after.weight)}",
                "pass what init returns",
            )  # fmt: skip


def forward(params: Params, x: Features, activation: str = "tanh") -> tuple[Logits, Residuals]:
    """Logits, (N,) or (N, K), and the residuals that `backward` takes."""
    check_layers(params)
    linear.check_features(x, params.layers[0].weight)
    act, a = activation_called(activation), x
    inputs, hidden = [x], []
    for layer in params.layers[:-1]:
        z = linear.affine(layer, a)
        a = act.value(z)
        hidden.append(z)
        inputs.append(a)
    return linear.affine(params.layers[-1], a), Residuals(tuple(inputs), tuple(hidden))


def backward(
    cotangent: Logits, residuals: Residuals, params: Params, activation: str = "tanh"
) -> Params:
    """Cotangents of all layers, from the cotangent of the logits: last layer first."""
    act, r = activation_called(activation), cotangent
    layers = [linear.affine_pullback(r, residuals.inputs[-1])]
    for depth in range(len(params.layers) - 1, 0, -1):
        r = linear.affine_pullback_input(r, params.layers[depth])
        r = r * act.derivative(residuals.hidden[depth - 1])
        layers.append(linear.affine_pullback(r, residuals.inputs[depth - 1]))
    return Params(tuple(reversed(layers)))


def logits(params: Params, x: Features, activation: str = "tanh") -> Logits:
    """The scores of the last layer: (N,) for two classes, (N, K) for more."""
    return forward(params, x, activation)[0]


def predict(params: Params, x: Features, activation: str = "tanh") -> Logits:
    """Probabilities: σ of one logit, or softmax of K."""
    z = logits(params, x, activation)
    return sigmoid(z) if z.ndim == 1 else softmax(z)


def _value_and_residual(z: Array, y: Array) -> tuple[Scalar, Array]:
    """Mean cross-entropy of logits z and its derivative in z: binary for (N,), else categorical."""
    if z.ndim == 1:
        value, residual = cross_entropy.binary_with_residual(z, y)
    else:
        value, residual = cross_entropy.categorical(z, y), cross_entropy.categorical_residual(z, y)
    return jnp.mean(value), residual / z.shape[0]


def _penalty(params: Params, l2: float) -> Scalar:
    zero = jnp.zeros((), params.layers[0].weight.dtype)
    return sum((linear.penalty(layer.weight, l2) for layer in params.layers), zero)


def value_and_gradient(
    params: Params,
    x: Features,
    y: BinaryLabels | ClassLabels,
    l2: float = 0.0,
    activation: str = "tanh",
) -> tuple[Scalar, Params]:
    """(E, ∇E) by one forward and one backward pass. Raises InputError if shapes do not fit."""
    z, residuals = forward(params, x, activation)
    value, residual = _value_and_residual(z, y)
    data = backward(residual, residuals, params, activation)
    layers = tuple(
        g._replace(weight=g.weight + linear.penalty_gradient(layer.weight, l2))
        for g, layer in zip(data.layers, params.layers, strict=True)
    )
    return value + _penalty(params, l2), Params(layers)


def loss(
    params: Params,
    x: Features,
    y: BinaryLabels | ClassLabels,
    l2: float = 0.0,
    activation: str = "tanh",
) -> Scalar:
    """E: mean cross-entropy in nats, plus ½ λ Σ_l ‖Wˡ‖². Raises InputError if shapes do not fit."""
    value, _ = _value_and_residual(logits(params, x, activation), y)
    return value + _penalty(params, l2)


def gradient(
    params: Params,
    x: Features,
    y: BinaryLabels | ClassLabels,
    l2: float = 0.0,
    activation: str = "tanh",
) -> Params:
    """∇E by backpropagation. Raises InputError if the shapes do not fit."""
    return value_and_gradient(params, x, y, l2, activation)[1]


def model(
    hidden: Sequence[int] = (16,), activation: str = "tanh", l2: float = 0.0
) -> Model[Params]:
    """An MLP with hidden sizes, activation and penalty bound: the record that `fit` trains."""
    activation_called(activation)
    if not isinstance(hidden, Sequence) or isinstance(hidden, str | bytes):
        raise InputError("hidden", "a tuple of sizes", repr(hidden), "pass (16,), say")
    return Model(
        init=partial(init, hidden=tuple(hidden)),
        logits=partial(logits, activation=activation),
        predict=partial(predict, activation=activation),
        loss=partial(loss, l2=l2, activation=activation),
        gradient=partial(gradient, l2=l2, activation=activation),
        value_and_gradient=partial(value_and_gradient, l2=l2, activation=activation),
    )
