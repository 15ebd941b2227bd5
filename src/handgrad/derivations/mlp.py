r"""Backpropagation, layer by layer: the chain rule once for each layer, last layer first.

A network is z^(l) = a^(l−1) W^(l) + b^(l) and a^(l) = φ(z^(l)), with a^(0) = x and the last z as
logits. What E says to z^(l) is its cotangent r^(l). Each line takes one more link of the chain: an
affine map gives its own parameters (a, 1)ᵀ r and hands r Wᵀ down, an activation multiplies that by
φ′. What is below is left open until its turn. All derivations here are made by the same function,
for networks of any depth: tanh with one logit, sigmoid with K, and two layers of relu.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.logistic import LAMBDA
from handgrad.derivations.residual import textbook
from handgrad.derivations.softmax_regression import EVERY, as_rows, split
from handgrad.derivations.steps import Derivation, Limit, Step, definition, slope, still_open
from handgrad.gradients import mlp as house
from handgrad.gradients.linear import Params as Layer
from handgrad.gradients.linear import affine
from handgrad.gradients.mlp import ACTIVATIONS, Params
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import softmax

Layers = tuple[Layer, ...]


@dataclass(frozen=True)
class LocalDerivative:
    """φ′ in terms of a = φ(z) or of z: as LaTeX at layer {k}, in words, and as a function."""

    latex: str
    reason: str
    derivative: Callable[[Array, Array], Array]


LOCAL = {
    "tanh": LocalDerivative(
        r"(1 - a^{({k})} \circ a^{({k})})",
        "tanh′ = 1 − tanh², elementwise",
        lambda z, a: 1 - jnp.square(a),
    ),
    "sigmoid": LocalDerivative(
        r"a^{({k})} \circ (1 - a^{({k})})",
        "σ′ = σ(1 − σ), elementwise",
        lambda z, a: a * (1 - a),
    ),
    "relu": LocalDerivative(
        r"[z^{({k})} > 0]",
        "relu′ is 1 above 0 and 0 below, elementwise",
        lambda z, a: jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z)),
    ),
}


@dataclass(frozen=True)
class Network:
    """What a line needs to know besides the parameters."""

    activation: str
    l2: float = 0.0

    def up_to_z(self, layers: Layers, x: Features) -> Array:
        """z of the last of these layers."""
        return affine(layers[-1], self.up_to_a(layers[:-1], x))

    def up_to_a(self, layers: Layers, x: Features) -> Array:
        """a of the last of these layers; x if there is none."""
        return ACTIVATIONS[self.activation].value(self.up_to_z(layers, x)) if layers else x

    def error(self, params: Params, x: Features, y: Array) -> Array:
        """The mean of cross-entropy, as the textbook writes it, and ½ λ Σ W²."""
        ridge = sum(jnp.sum(jnp.square(layer.weight)) for layer in params.layers)
        return _data_error(self.up_to_z(params.layers, x), y) + self.l2 / 2 * ridge

    def lines_from(
        self, residual: Callable[[Array, Array], Array], level: int, to: str = "z",
        last_slope: str = "worked",
    ) -> Callable[[Params, Features, Array], Params]:  # fmt: skip
        """∂E/∂θ with the layers above `level` worked out, and what is below left open.

        `residual` is the cotangent of the logits; `to` says whether the chain has come down to z or
        only to a of layer `level`; `last_slope` whether the φ′ met last is worked out.
        """

        def line(params: Params, x: Features, y: Array) -> Params:
            layers = params.layers
            r = residual(self.up_to_z(layers, x), y)
            worked: list[Layer] = []
            for depth in range(len(layers), level, -1):
                a = self.up_to_a(layers[: depth - 1], x)
                worked.insert(0, Layer(a.T @ r, jnp.sum(r, axis=0)))
                if depth > 1:
                    weight = layers[depth - 1].weight
                    r = r[:, None] * weight[None, :] if r.ndim == 1 else r @ weight.T
                if depth - 1 > level or (depth - 1 == level and level > 0 and to == "z"):
                    z = self.up_to_z(layers[: depth - 1], x)
                    unworked = depth - 1 == level and last_slope == "open"
                    r = r * self._slope(z, a, unworked)
            below = self.up_to_z if to == "z" else self.up_to_a
            rest = still_open(r, lambda lower: below(lower, x), layers[:level]) if level else ()
            return self._with_penalty(Params((*rest, *worked)), params)

        return line

    def _slope(self, z: Array, a: Array, unworked: bool) -> Array:
        if unworked:
            return slope(ACTIVATIONS[self.activation].value, z)
        return LOCAL[self.activation].derivative(z, a)

    def _with_penalty(self, data: Params, params: Params) -> Params:
        if self.l2 == 0:
            return data
        return Params(
            tuple(
                Layer(g.weight + self.l2 * layer.weight, g.bias)
                for g, layer in zip(data.layers, params.layers, strict=True)
            )
        )


def _data_error(z: Array, y: Array) -> Array:
    if z.ndim == 1:
        return jnp.sum(textbook(sigmoid(z), y)) / z.shape[0]
    return -jnp.sum(as_rows(y, z) * jnp.log(softmax(z))) / z.shape[0]


def _residual_open(z: Array, y: Array) -> Array:
    return slope(lambda t: _data_error(t, y), z)


def _residual(z: Array, y: Array) -> Array:
    """(ŷ − y)/N."""
    if z.ndim == 1:
        return (sigmoid(z) - y) / z.shape[0]
    return (softmax(z) - as_rows(y, z)) / z.shape[0]


def _split_residual(z: Array, y: Array) -> Array:
    if z.ndim == 1:
        return ((1 - y) * sigmoid(z) - y * sigmoid(-z)) / z.shape[0]
    return split(softmax(z), as_rows(y, z)) / z.shape[0]


def backpropagation(network: Network, depth: int, loss: str, end: str) -> tuple[Step, ...]:
    """The lines for a network of `depth` layers; `loss` and `end` are LaTeX of ℓ and of r."""
    ridge, data = (r" + (\lambda W, 0)", "E_0") if network.l2 else ("", "E")
    lines_from, top = network.lines_from, f"({depth})"
    open_top = rf"\frac{{\partial z^{{{top}}}}}{{\partial \theta}}"
    steps = [
        definition(
            r"E(\ldots, {}, \ldots)", r"\theta_i",
            Limit(partial(house.loss, activation=network.activation, l2=network.l2)), EVERY,
        ),
        Step(
            r"= \frac{\partial}{\partial \theta} \left[ " + loss
            + (r" + \frac{\lambda}{2} \sum_l \| W^{(l)} \|^2" if network.l2 else "") + r" \right]",
            "the error: the mean of cross-entropy" + (", and the penalty" if network.l2 else ""),
            lambda params, x, y: slope(lambda p: network.error(p, x, y), params),
        ),
        Step(
            rf"= \left\langle \frac{{\partial {data}}}{{\partial z^{{{top}}}}}, {open_top}"
            r" \right\rangle" + ridge,
            "chain rule: E depends on θ through the logits"
            + ("; the penalty has λW as its derivative (power rule)" if network.l2 else ""),
            lines_from(_residual_open, depth),
        ),
        Step(
            rf"= \left\langle r^{{{top}}}, {open_top} \right\rangle{ridge}, \quad"
            rf" r^{{{top}}} = \frac{{1}}{{N}} (\hat y - y)",
            "the residual of cross-entropy",
            lines_from(_residual, depth),
        ),
    ]  # fmt: skip
    for level in range(depth, 0, -1):
        steps += _one_layer_down(network, level, depth, ridge)
    steps.append(
        Step(
            _whole(depth) + ridge + rf", \quad r^{{{top}}} = \frac{{1}}{{N}} {end}",
            "1 − ŷ is what the other classes have: the form that keeps its digits",
            lines_from(_split_residual, 0),
        )
    )
    return tuple(steps)


def _own(level: int) -> str:
    below = f"a^{{({level - 1})}}" if level > 1 else "x"
    return rf"({below}, 1)^{{\top}} r^{{({level})}}"


def _whole(depth: int) -> str:
    return r"= \left( " + ", ".join(_own(level) for level in range(1, depth + 1)) + r" \right)"


def _one_layer_down(network: Network, level: int, depth: int, ridge: str) -> list[Step]:
    """The affine map of layer `level`, then the activation below it, as far as φ′."""
    worked = ", ".join(_own(above) for above in range(level, depth + 1))
    handed = rf"r^{{({level})}} W^{{({level}) \top}}"
    down = network.lines_from
    if level == 1:
        reason = "z of layer 1 is linear in W and b, and x is a constant: nothing is left open"
        return [Step(_whole(depth) + ridge, reason, down(_residual, 0))]
    k, local = level - 1, LOCAL[network.activation]

    def formula(cotangent: str, at: str, where: str = "") -> str:
        rest = rf"\frac{{\partial {at}^{{({k})}}}}{{\partial \theta_{{\leq {k}}}}}"
        inner = rf"\left\langle {cotangent}, {rest} \right\rangle, {worked}"
        return rf"= \left( {inner} \right){ridge}{where}"

    slope_in_words = local.latex.replace("{k}", str(k))
    return [
        Step(
            formula(handed, "a"),
            f"product rule for a W + b at layer {level}: its own parameters, and r Wᵀ handed down",
            down(_residual, k, "a"),
        ),
        Step(
            formula(rf"{handed} \circ \varphi'(z^{{({k})}})", "z"),
            f"chain rule: a = φ(z) at layer {k}, elementwise",
            down(_residual, k, "z", "open"),
        ),
        Step(
            formula(f"r^{{({k})}}", "z", rf", \quad r^{{({k})}} = {handed} \circ {slope_in_words}"),
            local.reason,
            down(_residual, k),
        ),
    ]


# --- the networks ---------------------------------------------------------------------------------

_GIVEN = (
    "θ holds W and b of every layer, φ = {phi}; x is (N, D), a⁰ = x, zˡ = aˡ⁻¹Wˡ + bˡ, aˡ = φ(zˡ). "
    "{ends} E is the mean over the examples, in nats. Each line holds the derivatives of all "
    "layers; θ_≤k are the parameters of the first k."
)
_BINARY_END = "There is one logit per example, ŷ = σ(z²), and y is (N,) in {0, 1}."
_CLASSES_END = "There are K logits per example, ŷ = softmax(z), and y are indices, or one-hot rows."
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
)

SIGMOID = Derivation(
    name="mlp_sigmoid_multiclass",
    title="Backpropagation through one sigmoid layer to K logits",
    of=r"\frac{\partial E}{\partial \theta}",
    given=_GIVEN.format(phi="σ", ends=_CLASSES_END),
    example=partial(_example, hidden=(2,), classes=3),
    steps=backpropagation(Network("sigmoid"), 2, *_CLASSES),
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
)
