r"""Three networks, backpropagated: tanh with one logit, sigmoid with K, and two layers of relu.

How a line follows from the one before is in `mlp`; here is what each network is.
"""

from functools import partial

import jax.numpy as jnp
from jax import random

from handgrad._types import Key
from handgrad.derivations.logistic import LAMBDA
from handgrad.derivations.mlp import Network, backpropagation
from handgrad.derivations.steps import Derivation
from handgrad.gradients import mlp as house

SOURCE = "Neural networks"
_GIVEN = (
    "θ holds W and b of every layer, φ = {phi}; x is (N, D), a⁰ = x, zˡ = aˡ⁻¹Wˡ + bˡ, aˡ = φ(zˡ). "
    "{ends} E is the mean over the examples, in nats. Each line holds the derivatives of all "
    "layers; θ_≤k are the parameters of the first k."
)
_BINARY_END = "There is one logit an example, ŷ = σ(z²), and y is (N,) in {0, 1}."
_CLASSES_END = "There are K logits an example, ŷ = softmax(z), and y are indices, or one-hot rows."
_BINARY = (
    r"\frac{1}{N} \sum_n \left( -y_n \log \hat y_n - (1-y_n) \log (1-\hat y_n) \right)",
    r"\left[ (1-y) \, \sigma(z) - y \, \sigma(-z) \right]",
)
_CLASSES = (
    r"-\frac{1}{N} \sum_n \sum_i y_{ni} \log \hat y_{ni}",
    r"\left[ \hat y_k \sum_{i \neq k} y_i - y_k \sum_{i \neq k} \hat y_i \right]",
)


def _example(key: Key, hidden: tuple[int, ...], classes: int) -> tuple:
    a, b, c, d = random.split(key, 4)
    layers = house.init(a, 2, classes, hidden=hidden).layers
    keys = random.split(d, len(layers))
    # With biases of 0 a layer that is dead for one example would put the next on its kink.
    params = house.Params(
        tuple(
            layer._replace(bias=random.normal(k, layer.bias.shape))
            for k, layer in zip(keys, layers, strict=True)
        )
    )
    x = random.normal(b, (2, 2))
    labels = random.randint(c, (2,), 0, classes)
    return params, x, labels if classes > 2 else labels.astype(jnp.zeros(()).dtype)


TANH = Derivation(
    name="mlp_tanh_binary",
    title="Backpropagation through one tanh layer to one logit",
    of=r"\frac{\partial E}{\partial \theta}",
    given=_GIVEN.format(phi="tanh", ends=_BINARY_END),
    example=partial(_example, hidden=(2,), classes=2),
    steps=backpropagation(Network("tanh"), 2, *_BINARY),
    source=SOURCE,
)

SIGMOID = Derivation(
    name="mlp_sigmoid_multiclass",
    title="Backpropagation through one sigmoid layer to K logits",
    of=r"\frac{\partial E}{\partial \theta}",
    given=_GIVEN.format(phi="σ", ends=_CLASSES_END),
    example=partial(_example, hidden=(2,), classes=3),
    steps=backpropagation(Network("sigmoid"), 2, *_CLASSES),
    source=SOURCE,
)

RELU = Derivation(
    name="mlp_relu_deep",
    title="Backpropagation through two relu layers, with a penalty on the weights",
    of=r"\frac{\partial E}{\partial \theta}",
    given=_GIVEN.format(phi="relu", ends=_CLASSES_END)
    + " E₀ is E without its penalty, ½ λ times the squares of all W, λ = 0.3; W in (λW, 0) is each"
    " layer's own. relu has a declared kink wherever a hidden z is 0: the points here lie off it.",
    example=partial(_example, hidden=(3, 2), classes=3),
    steps=backpropagation(Network("relu", LAMBDA), 3, *_CLASSES),
    source=SOURCE,
)
