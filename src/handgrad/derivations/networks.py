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
from jax import lax, random

from handgrad._types import Array, Features, Key
from handgrad.derivations.linear_models import LAMBDA, error, labels, residual, split
from handgrad.derivations.steps import (
    Derivation,
    Limit,
    Step,
    definition,
    derive,
    drawn,
    indices,
    normal,
    slope,
    still_open,
)
from handgrad.gradients import linear_cross_entropy
from handgrad.gradients import mlp as house
from handgrad.gradients.linear import Params as Layer
from handgrad.gradients.linear import affine
from handgrad.gradients.mlp import ACTIVATIONS, Params

LOCAL: dict[str, tuple[str, str, Callable[[Array, Array], Array]]] = {
    "tanh": (
        r"(1 - a^{({k})} \circ a^{({k})})",
        "tanh′ = 1 − tanh², elementwise",
        lambda z, a: 1 - jnp.square(a),
    ),
    "sigmoid": (
        r"a^{({k})} \circ (1 - a^{({k})})",
        "σ′ = σ(1 − σ), elementwise",
        lambda z, a: a * (1 - a),
    ),
    "relu": (
        r"[z^{({k})} > 0]",
        "relu′ is 1 above 0 and 0 below, elementwise",
        lambda z, a: jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z)),
    ),
}
"""φ′ in terms of a = φ(z) or of z: as LaTeX at layer {k}, in words, and as a function."""

Layers = tuple[Layer, ...]
Cotangent = Callable[[Array, Array], Array]
"""What E says to the logits z, for labels y."""


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
        return error(self.up_to_z(params.layers, x), y) + self.l2 / 2 * ridge

    def slope(self, z: Array) -> Array:
        """φ′(z), worked out."""
        derivative = LOCAL[self.activation][2]
        return derivative(z, ACTIVATIONS[self.activation].value(z))

    def open_slope(self, z: Array) -> Array:
        """φ′(z), not worked out yet."""
        return slope(ACTIVATIONS[self.activation].value, z)

    def line(
        self, top: Cotangent, level: int, last: Callable[[Array], Array] | None = None
    ) -> Callable[[Params, Features, Array], Params]:
        """∂E/∂θ with the layers above `level` worked out, and what is below left open.

        `top` is the cotangent of the logits. The chain has come down to z of layer `level` through
        `last`, which is φ′ there; without it, only to a.
        """

        def line(params: Params, x: Features, y: Array) -> Params:
            layers, worked = params.layers, list[Layer]()
            r = top(self.up_to_z(layers, x), y)
            for depth in range(len(layers), level, -1):
                below = layers[: depth - 1]
                worked.insert(0, Layer(self.up_to_a(below, x).T @ r, jnp.sum(r, axis=0)))
                if below:
                    weight = layers[depth - 1].weight
                    r = r[:, None] * weight[None, :] if r.ndim == 1 else r @ weight.T
                    through = last if len(below) == level else self.slope
                    r = r if through is None else r * through(self.up_to_z(below, x))
            reached = self.up_to_z if last or level == len(layers) else self.up_to_a
            rest = still_open(r, lambda q: reached(q, x), layers[:level]) if level else ()
            return self.with_penalty((*rest, *worked), layers)

        return line

    def with_penalty(self, data: Layers, layers: Layers) -> Params:
        """Derivatives of the data with those of ½ λ Σ W² beside them."""
        if self.l2 == 0:
            return Params(data)
        pairs = zip(data, layers, strict=True)
        return Params(tuple(Layer(g.weight + self.l2 * own.weight, g.bias) for g, own in pairs))


def _mean(cotangent: Cotangent) -> Cotangent:
    return lambda z, y: cotangent(z, y) / z.shape[0]


def backpropagation(network: Network, depth: int, loss: str, end: str) -> tuple[Step, ...]:
    """The lines for a network of `depth` layers; `loss` and `end` are LaTeX of ℓ and of r."""
    ridge, data = (r" + (\lambda W, 0)", "E_0") if network.l2 else ("", "E")
    squares = r" + \frac{\lambda}{2} \sum_l \| W^{(l)} \|^2" if network.l2 else ""
    penalty = "; the penalty has λW as its derivative (power rule)" if network.l2 else ""
    top = f"({depth})"
    open_top = rf"\frac{{\partial z^{{{top}}}}}{{\partial \theta}}"
    house_loss = partial(house.loss, activation=network.activation, l2=network.l2)
    every = ", for every weight and every bias"
    steps = [
        definition(r"E(\ldots, {}, \ldots)", r"\theta_i", house_loss, every),
        Step(
            rf"= \frac{{\partial}}{{\partial \theta}} \left[ {loss}{squares} \right]",
            "the error: the mean of cross-entropy" + (", and the penalty" if penalty else ""),
            lambda params, x, y: slope(lambda p: network.error(p, x, y), params),
        ),
        Step(
            rf"= \left\langle \frac{{\partial {data}}}{{\partial z^{{{top}}}}}, {open_top}"
            rf" \right\rangle{ridge}",
            "chain rule: E depends on θ through the logits" + penalty,
            network.line(lambda z, y: slope(lambda t: error(t, y), z), depth),
        ),
        Step(
            rf"= \left\langle r^{{{top}}}, {open_top} \right\rangle{ridge}, \quad"
            rf" r^{{{top}}} = \frac{{1}}{{N}} (\hat y - y)",
            "the residual of cross-entropy",
            network.line(_mean(residual), depth),
        ),
    ]
    for level in range(depth, 1, -1):
        steps += _one_layer_down(network, level, depth, ridge)
    return (
        *steps,
        Step(
            _whole(depth) + ridge,
            "z of layer 1 is linear in W and b, and x is a constant: nothing is left open",
            network.line(_mean(residual), 0),
        ),
        Step(
            _whole(depth) + ridge + rf", \quad r^{{{top}}} = \frac{{1}}{{N}} {end}",
            "1 − ŷ is what the other classes have: the form that keeps its digits",
            network.line(_mean(split), 0),
        ),
    )


def _own(level: int) -> str:
    below = f"a^{{({level - 1})}}" if level > 1 else "x"
    return rf"({below}, 1)^{{\top}} r^{{({level})}}"


def _whole(depth: int) -> str:
    return r"= \left( " + ", ".join(_own(level) for level in range(1, depth + 1)) + r" \right)"


def _one_layer_down(network: Network, level: int, depth: int, ridge: str) -> list[Step]:
    """The affine map of layer `level`, then the activation below it, as far as φ′."""
    worked = ", ".join(_own(above) for above in range(level, depth + 1))
    handed = rf"r^{{({level})}} W^{{({level}) \top}}"
    down = partial(network.line, _mean(residual), level - 1)
    k, (latex, reason, _) = level - 1, LOCAL[network.activation]

    def formula(cotangent: str, at: str, where: str = "") -> str:
        rest = rf"\frac{{\partial {at}^{{({k})}}}}{{\partial \theta_{{\leq {k}}}}}"
        inner = rf"\left\langle {cotangent}, {rest} \right\rangle, {worked}"
        return rf"= \left( {inner} \right){ridge}{where}"

    local = latex.replace("{k}", str(k))
    return [
        Step(
            formula(handed, "a"),
            f"product rule for a W + b at layer {level}: its own parameters, and r Wᵀ handed down",
            down(),
        ),
        Step(
            formula(rf"{handed} \circ \varphi'(z^{{({k})}})", "z"),
            f"chain rule: a = φ(z) at layer {k}, elementwise",
            down(network.open_slope),
        ),
        Step(
            formula(f"r^{{({k})}}", "z", rf", \quad r^{{({k})}} = {handed} \circ {local}"),
            reason,
            down(network.slope),
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
    x, y = random.normal(b, (2, 2)), random.randint(c, (2,), 0, classes)
    return params, x, y if classes > 2 else y.astype(jnp.zeros(()).dtype)


def _derive(
    name: str, title: str, network: Network, hidden: tuple[int, ...], classes: int, more: str = ""
) -> Derivation:
    phi = "σ" if network.activation == "sigmoid" else network.activation
    lines = backpropagation(network, len(hidden) + 1, *(_BINARY if classes == 2 else _CLASSES))
    return derive(
        name,
        title,
        r"\frac{\partial E}{\partial \theta}",
        *lines,
        given=_GIVEN.format(phi=phi, ends=_BINARY_END if classes == 2 else _CLASSES_END) + more,
        example=partial(_example, hidden=hidden, classes=classes),
    )


TANH = _derive(
    "mlp_tanh_binary",
    "Backpropagation through one tanh layer to one logit",
    Network("tanh"),
    hidden=(2,),
    classes=2,
)
SIGMOID = _derive(
    "mlp_sigmoid_multiclass",
    "Backpropagation through one sigmoid layer to K logits",
    Network("sigmoid"),
    hidden=(2,),
    classes=3,
)
RELU = _derive(
    "mlp_relu_deep",
    "Backpropagation through two relu layers, with a penalty on the weights",
    Network("relu", LAMBDA),
    hidden=(3, 2),
    classes=3,
    more=" E₀ is E without its penalty, ½ λ times the squares of all W, λ = 0.3; W in (λW, 0) is "
    "each layer's own. relu has a declared kink wherever a hidden z is 0: the points here lie off "
    "it.",
)


# --- the output layer of a language model ---------------------------------------------------------
#
# Two cotangents, and how to take them in the forward pass: the residual of each token needs its own
# logits and nobody else's. So the gradient may be taken chunk by chunk while the logits of a chunk
# are at hand, and the logits of all tokens are never held at once; what is carried from chunk to
# chunk is the sum for the weight.

CHUNK = 2
"""Tokens in a chunk: any number that divides T would do."""


def _both_open(weights: Array, hidden: Array, weight: Array) -> tuple[Array, Array]:
    """Σ weights ∂z/∂h and Σ weights ∂z/∂W of z = hW, not worked out yet."""
    return (
        still_open(weights, lambda h: h @ weight, hidden),
        still_open(weights, lambda w: hidden @ w, weight),
    )


def _residual(hidden: Array, weight: Array, y: Array) -> Array:
    """R = (p − y)/T."""
    return residual(hidden @ weight, y) / y.shape[0]


def _by_chunks(hidden: Array, weight: Array, y: Array) -> tuple[Array, Array]:
    """(rows of R_c Wᵀ joined, Σ_c h_cᵀ R_c)."""
    rows, total = [], jnp.zeros_like(weight)
    for start in range(0, hidden.shape[0], CHUNK):
        part = hidden[start : start + CHUNK]
        r = residual(part @ weight, y[start : start + CHUNK]) / hidden.shape[0]
        rows.append(r @ weight.T)
        total = total + part.T @ r
    return jnp.concatenate(rows), total


def _in_the_forward_pass(hidden: Array, weight: Array, y: Array) -> tuple[Array, Array]:
    """One scan: log-sum-exp of a chunk serves its loss and its residual; Σ h_cᵀ R_c is carried."""
    tokens, features = hidden.shape

    def one_chunk(carry: tuple[Array, Array], chunk: tuple) -> tuple[tuple[Array, Array], Array]:
        (loss, gradient), (part, c) = carry, chunk
        z = part @ weight
        lse = jnp.log(jnp.sum(jnp.exp(z), axis=1, keepdims=True))
        picked = labels(z, c)
        loss = loss + jnp.sum(picked * (lse - z)) / tokens
        r = (jnp.exp(z - lse) - picked) / tokens
        return (loss, gradient + part.T @ r), r @ weight.T

    start = (jnp.zeros((), hidden.dtype), jnp.zeros_like(weight))
    chunks = (hidden.reshape(-1, CHUNK, features), y.reshape(-1, CHUNK))
    (_, by_weight), by_hidden = lax.scan(one_chunk, start, chunks)
    return by_hidden.reshape(hidden.shape), by_weight


def _split(hidden: Array, weight: Array, y: Array) -> Array:
    """R, split by label."""
    return split(hidden @ weight, y) / y.shape[0]


LINEAR_CROSS_ENTROPY = derive(
    "linear_cross_entropy",
    "The output layer of a language model, and its gradient in the forward pass",
    r"\left( \frac{\partial E}{\partial h}, \frac{\partial E}{\partial W} \right)",
    r"= \lim_{\varepsilon \to 0}"
    r" \frac{E(\ldots + \varepsilon \ldots) - E(\ldots - \varepsilon \ldots)}{2 \varepsilon}",
    "definition of the partial derivative, for every entry of h and of W",
    Limit(linear_cross_entropy.loss, (0, 1)),
    r"= -\frac{\partial}{\partial (h, W)} \frac{1}{T} \sum_t \sum_v y_{tv} \log p_{tv}",
    "the error: the mean of categorical cross-entropy",
    lambda h, w, y: slope(lambda both: error(both[0] @ both[1], y), (h, w)),
    r"= \sum_t \sum_v \frac{\partial E}{\partial z_{tv}}"
    r" \cdot \frac{\partial z_{tv}}{\partial (h, W)}",
    "chain rule over the logits",
    lambda h, w, y: _both_open(slope(lambda z: error(z, y), h @ w), h, w),
    r"= \sum_t \sum_v R_{tv} \frac{\partial z_{tv}}{\partial (h, W)},"
    r" \quad R_{tv} = \frac{1}{T} (p_{tv} - y_{tv})",
    "the residual of softmax cross-entropy",
    lambda h, w, y: _both_open(_residual(h, w, y), h, w),
    r"= \left( R W^{\top}, \sum_t \sum_v R_{tv} \frac{\partial z_{tv}}{\partial W} \right)",
    "z_tv = Σ_d h_td W_dv: ∂z_tv/∂h_td = W_dv, and other tokens are not in it",
    lambda h, w, y: (
        _residual(h, w, y) @ w.T,
        still_open(_residual(h, w, y), lambda b: h @ b, w),
    ),
    r"= \left( R W^{\top}, h^{\top} R \right)",
    "∂z_tv/∂W_dv = h_td, and other words are not in it",
    lambda h, w, y: (_residual(h, w, y) @ w.T, h.T @ _residual(h, w, y)),
    r"= \left( [R_1 W^{\top}; R_2 W^{\top}; \ldots], \sum_c h_c^{\top} R_c \right)",
    "a sum over tokens is a sum over chunks of tokens, and R_c needs no other chunk",
    _by_chunks,
    r"= \left( [R_1 W^{\top}; R_2 W^{\top}; \ldots], \sum_c h_c^{\top} R_c \right),"
    r" \quad R_c = \frac{1}{T} \left( e^{z_c - \mathrm{lse}(z_c)} - y_c \right)",
    "p = e^(z − lse): the log-sum-exp that the loss needs anyway gives the residual, so one"
    " pass takes both, and each chunk's logits are forgotten",
    _in_the_forward_pass,
    r"= \left( R W^{\top}, h^{\top} R \right), \quad R_{tv} = \frac{1}{T}"
    r" \left( p_{tv} \sum_{u \neq v} y_{tu} - y_{tv} \sum_{u \neq v} p_{tu} \right)",
    "1 − p is the sum of the others: the form that keeps its digits",
    lambda h, w, y: (_split(h, w, y) @ w.T, h.T @ _split(h, w, y)),
    given="h is (T, D), one row per token; W is (D, V), V words; y are the T words that came, as "
    "indices, and y_tv the same one-hot. z = hW, p = softmax(z), E is the mean over tokens in "
    "nats. T is even, for chunks of two tokens.",
    example=drawn(normal(4, 2, scale=1), normal(2, 3, scale=1), indices(4, classes=3)),
)
