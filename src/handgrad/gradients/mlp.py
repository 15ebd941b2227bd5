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

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from jax import random
from jaxtyping import Array

from handgrad._checks import require_choice, require_init, require_layers, require_sizes
from handgrad._types import (
    BinaryLabels,
    ClassLabels,
    DTypeLike,
    Inputs,
    Key,
    Logits,
    Model,
    Scalar,
    Weights,
)
from handgrad.gradients import cross_entropy, linear, logistic, softmax_regression
from handgrad.gradients.sigmoid import (
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh,
    tanh_derivative,
)
from handgrad.gradients.softmax import softmax

Labels = BinaryLabels | ClassLabels


class Activation(NamedTuple):
    """An elementwise function beside its derivative, both taking z."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
}


def find_activation(name: str) -> Activation:
    """The activation called `name`. Raises InputError for any other name."""
    require_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


class Params(NamedTuple):
    """One `linear.Params` for each layer, input first."""

    layers: tuple[linear.Params, ...]


class Activations(NamedTuple):
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
    require_init(key, features, hidden)
    *keys, last = random.split(key, len(hidden) + 1)
    widths = (features, *hidden)
    layers = [
        linear.init(key, before, (width,), dtype)
        for key, before, width in zip(keys, widths, hidden, strict=False)
    ]
    output = logistic if classes == 2 else softmax_regression
    return Params((*layers, output.init(last, widths[-1], classes, dtype)))


# --- forward and backward -------------------------------------------------------------------------


def forward(params: Params, x: Inputs, activation: str = "tanh") -> tuple[Logits, Activations]:
    """Logits, (N,) or (N, K), and the activations that `backward` takes."""
    require_layers(params, x)
    phi, a = find_activation(activation), x
    inputs: list[Any] = [x]
    hidden = []
    for layer in params.layers[:-1]:
        z = linear.affine(layer, a)
        a = phi.value(z)
        hidden.append(z)
        inputs.append(a)
    return linear.affine(params.layers[-1], a), Activations(tuple(inputs), tuple(hidden))


def backward(
    cotangent: Logits, activations: Activations, params: Params, activation: str = "tanh"
) -> Params:
    """Cotangents of all layers, from the cotangent of the logits: last layer first."""
    phi, r = find_activation(activation), cotangent
    layers = [linear.affine_pullback(r, activations.inputs[-1])]
    for depth in range(len(params.layers) - 1, 0, -1):
        r = linear.affine_pullback_input(r, params.layers[depth])
        r = r * phi.derivative(activations.hidden[depth - 1])
        layers.append(linear.affine_pullback(r, activations.inputs[depth - 1]))
    return Params(tuple(reversed(layers)))


def logits(params: Params, x: Inputs, activation: str = "tanh") -> Logits:
    """The scores of the last layer: (N,) for two classes, (N, K) for more."""
    return forward(params, x, activation)[0]


def predict(params: Params, x: Inputs, activation: str = "tanh") -> Logits:
    """Probabilities: σ of one logit, or softmax of K."""
    z = logits(params, x, activation)
    return sigmoid(z) if z.ndim == 1 else softmax(z)


def _error(z: Logits, y: Labels, params: Params, l2: float, sample_weight: Array | None) -> Scalar:
    losses = cross_entropy.binary(z, y) if z.ndim == 1 else cross_entropy.categorical(z, y)
    squares = sum(linear.penalty(layer.weight, l2) for layer in params.layers)
    return linear.mean_loss(losses, sample_weight) + squares


def _residual(z: Logits, y: Labels) -> Logits:
    if z.ndim == 1:
        return cross_entropy.binary_residual(z, y)
    return cross_entropy.categorical_residual(z, y)


def loss(
    params: Params,
    x: Inputs,
    y: Labels,
    l2: float = 0.0,
    activation: str = "tanh",
    sample_weight: Weights | None = None,
) -> Scalar:
    """E: mean cross-entropy in nats, plus ½ λ Σ_l ‖Wˡ‖². Raises InputError if shapes do not fit."""
    return _error(logits(params, x, activation), y, params, l2, sample_weight)


def value_and_gradient(
    params: Params,
    x: Inputs,
    y: Labels,
    l2: float = 0.0,
    activation: str = "tanh",
    sample_weight: Weights | None = None,
) -> tuple[Scalar, Params]:
    """(E, ∇E) by one forward and one backward pass. Raises InputError if shapes do not fit."""
    z, activations = forward(params, x, activation)
    residual = linear.mean_residual(_residual(z, y), sample_weight)
    data = backward(residual, activations, params, activation)
    layers = tuple(
        linear.with_penalty(g, layer.weight, l2)
        for g, layer in zip(data.layers, params.layers, strict=True)
    )
    return _error(z, y, params, l2, sample_weight), Params(layers)


def gradient(
    params: Params,
    x: Inputs,
    y: Labels,
    l2: float = 0.0,
    activation: str = "tanh",
    sample_weight: Weights | None = None,
) -> Params:
    """∇E by backpropagation. Raises InputError if the shapes do not fit."""
    return value_and_gradient(params, x, y, l2, activation, sample_weight)[1]


def model(
    hidden: Sequence[int] = (16,), activation: str = "tanh", l2: float = 0.0
) -> Model[Params]:
    """An MLP with hidden sizes, activation and penalty bound: the record that `fit` trains."""
    require_sizes("hidden", hidden)
    find_activation(activation)
    return Model(
        init=partial(init, hidden=tuple(hidden)),
        logits=partial(logits, activation=activation),
        predict=partial(predict, activation=activation),
        loss=partial(loss, l2=l2, activation=activation),
        gradient=partial(gradient, l2=l2, activation=activation),
        value_and_gradient=partial(value_and_gradient, l2=l2, activation=activation),
    )
