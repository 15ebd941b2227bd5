"""The table of contents: every hand-derived gradient beside the loss it claims to belong to.

An elementwise function f enters as the loss Σ f, whose gradient is f′ coordinate by coordinate; a
Jacobian product enters as ⟨cotangent, f⟩; a Hessian-vector product as ⟨∇E, v⟩ (the three functions
in `derivations.steps`). So every line of the table is one scalar loss and one gradient, and
whoever judges needs to know nothing else.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad import fast, losses
from handgrad._checks import find_named, require_rank
from handgrad._notebook import card, cut, details, facts
from handgrad._types import Array, Coded, Key
from handgrad.derivations import derivation
from handgrad.derivations.latex import as_html as derivation_as_html
from handgrad.derivations.latex import as_mathml
from handgrad.derivations.steps import along, paired, total
from handgrad.gradients import (
    bernoulli,
    cross_entropy,
    linear_cross_entropy,
    logistic,
    mlp,
    perceptron,
    sigmoid,
    softmax,
    softmax_regression,
    squared_error,
)
from handgrad.gradients.linear import Params

NEURAL = "Neural networks"
BINARY = "How did binary cross-entropy loss come into existence?"


@dataclass(frozen=True)
class Case:
    """One gradient: `gradient(*example(key))` claims to be `jax.grad(loss, argnums)(*example(key))`."""

    name: str
    loss: Callable[..., Array]
    gradient: Callable
    example: Callable[[Key], tuple]
    """Draws arguments from the domain, in the default float dtype."""
    derivation: str
    """The name of the derivation whose last line is this gradient."""
    source: str
    argnums: int | tuple[int, ...] = 0

    def __repr__(self) -> str:
        return (
            f"Case(name={self.name!r}, loss={name_of(self.loss)}, "
            f"gradient={name_of(self.gradient)}, derivation={self.derivation!r}, "
            f"argnums={self.argnums})"
        )

    def _repr_html_(self) -> str:
        return as_html(self)


def as_html(entry: Case) -> str:
    """A case for a notebook: what it claims, and the derivation that leads there."""
    found = derivation(entry.derivation)
    claims = [
        ("loss", name_of(entry.loss)),
        ("gradient", name_of(entry.gradient)),
        ("claims", f"gradient(*at) is jax.grad(loss, {entry.argnums})(*at)"),
        ("source", entry.source),
    ]
    return card(
        f"{entry.name}: {found.title}",
        as_mathml(found.of),
        as_mathml(found.steps[-1].formula),
        facts(claims),
        details(f"the derivation, in {len(found.steps)} lines", derivation_as_html(found)),
    )


def name_of(function: Callable) -> str:
    """Where a function is defined and its name; of a partial one with what was bound.

    >>> name_of(partial(logistic.loss, l2=0.3))
    'handgrad.gradients.logistic.loss(l2=0.3)'
    """
    if isinstance(function, partial):
        bound = [
            *map(cut, function.args),
            *(f"{name}={cut(value)}" for name, value in function.keywords.items()),
        ]
        return f"{name_of(function.func)}({', '.join(bound)})"
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{function.__module__}.{name.replace('.<locals>', '')}"


# --- the drop-in losses under autodiff -------------------------------------------------------------


def summed_derivative(loss: Callable) -> Callable:
    """jax.grad through a drop-in loss: what a user of `handgrad.losses` gets."""
    return jax.grad(total(loss))


def in_blocks(params: Params, x: Array, y: Array) -> Params:
    """The one-pass gradient over blocks of five examples, the last one shorter."""
    return fast.one_pass.gradient(params, fast.one_pass.pack(x, y, rows=5))


by_rows = partial(fast.one_pass.gradient, rows=5)

DRAWN = 64
"""Normal numbers drawn at once: the most that an array of an example has."""


def in_codes(params: Params, x: Array, y: Array, gradient: Callable) -> Params:
    """The gradient of features whose last two columns, one-hot, are kept as a code."""
    require_rank("x", x, 2, "(N, 3)")
    code = jnp.argmax(x[:, 1:], axis=1, keepdims=True).astype(x.dtype)
    return gradient(params, Coded(jnp.concatenate([x[:, :1], code], axis=1), (0, 2)), y)


# --- points of each domain ------------------------------------------------------------------------


def _normal(key: Key, shape: tuple[int, ...]) -> Array:
    """As `random.normal`: the first of many numbers, drawn by one program for all shapes."""
    return random.normal(key, (DRAWN,))[: math.prod(shape)].reshape(shape)


def _logits(key: Key, shape: tuple[int, ...] = (7,)) -> tuple:
    return (3 * _normal(key, shape),)


def _pair(key: Key, shape: tuple[int, ...] = (4, 5)) -> tuple:
    a, b = random.split(key)
    return _normal(a, shape), 2 * _normal(b, shape)


def _hard(key: Key, shape: tuple[int, ...] = (8,)) -> tuple:
    a, b = random.split(key)
    z = 3 * _normal(a, shape)
    return z, random.bernoulli(b, 0.5, shape).astype(z.dtype)


def _soft(key: Key) -> tuple:
    a, b = random.split(key)
    return 3 * _normal(a, (8,)), random.uniform(b, (8,))


def _trials(key: Key) -> tuple:
    z, y = _hard(key, (6,))
    return sigmoid.sigmoid(z / 3), y  # 1 − p keeps enough digits to judge a float32 by


def _soft_trials(key: Key) -> tuple:
    z, y = _soft(key)
    return sigmoid.sigmoid(z / 3), y


def _classes(key: Key, shape: tuple[int, int] = (6, 4)) -> tuple:
    a, b = random.split(key)
    return 2 * _normal(a, shape), random.randint(b, shape[:1], 0, shape[1])


def _soft_classes(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * _normal(a, (6, 4)), softmax.softmax(2 * _normal(b, (6, 4)))


def _probabilities(key: Key) -> tuple:
    z, y = _soft_classes(key)
    return softmax.softmax(z), y


def _data(key: Key, init: Callable, classes: int = 2, soft: bool = False) -> tuple:
    """Parameters, features (12, 3) and labels for a model of the house."""
    a, b, c = random.split(key, 3)
    x = _normal(b, (12, 3))
    if classes > 2:
        labels = 2 * _normal(c, (12, classes))
        y = softmax.softmax(labels) if soft else jnp.argmax(labels, axis=1)
    else:
        y = random.uniform(c, (12,)) if soft else random.bernoulli(c, 0.5, (12,)).astype(x.dtype)
    return init(a, 3, classes), x, y


def _one_hot(key: Key, init: Callable, classes: int = 2) -> tuple:
    """The same, but that the last two features are a category of two, one-hot."""
    params, x, y = _data(key, init, classes)
    second = (x[:, 1:2] > 0).astype(x.dtype)
    return params, jnp.concatenate([x[:, :1], 1 - second, second], axis=1), y


def _data_and_tangent(key: Key, init: Callable, classes: int = 2) -> tuple:
    params, x, y = _data(key, init, classes)
    return params, init(random.fold_in(key, 1), 3, classes), x, y


def _tokens(key: Key) -> tuple:
    a, b, c = random.split(key, 3)
    labels = random.randint(c, (6,), 0, 11)
    return _normal(a, (6, 5)), _normal(b, (5, 11)) / 2, labels


_two_layers = partial(mlp.init, hidden=(5,))
_three_layers = partial(mlp.init, hidden=(5, 4))
_ridge = 0.3

# fmt: off
# --- the table: name, loss, gradient, example, derivation, source, argnums ----------------------------
CASES = (
    Case("bernoulli_trial", total(bernoulli.trial), bernoulli.trial_gradient, _soft_trials, "bernoulli_trial", BINARY),
    Case("likelihood", bernoulli.likelihood, bernoulli.likelihood_gradient, _trials, "likelihood", BINARY),
    Case("log_likelihood", bernoulli.log_likelihood, bernoulli.log_likelihood_gradient, _trials, "log_likelihood", BINARY),
    Case("negative_log_likelihood", bernoulli.negative_log_likelihood, bernoulli.negative_log_likelihood_gradient, _soft_trials, "negative_log_likelihood", BINARY),
    Case("scaled_square", total(partial(squared_error.squared_error, scale=3.0)), partial(squared_error.squared_error_gradient, scale=3.0), _hard, "scaled_square", BINARY),
    Case("sigmoid_squared_error", total(squared_error.from_logits), squared_error.from_logits_gradient, _soft, "sigmoid_squared_error", NEURAL),
    Case("step", total(sigmoid.step), sigmoid.step_derivative, _logits, "step", NEURAL),
    Case("sigmoid", total(sigmoid.sigmoid), sigmoid.sigmoid_derivative, _logits, "sigmoid", NEURAL),
    Case("sigmoid_textbook", total(sigmoid.sigmoid), sigmoid.sigmoid_derivative_textbook, _logits, "sigmoid", NEURAL),
    Case("softplus", total(sigmoid.softplus), sigmoid.softplus_derivative, _logits, "softplus", NEURAL),
    Case("log_sigmoid", total(sigmoid.log_sigmoid), sigmoid.log_sigmoid_derivative, _logits, "log_sigmoid", NEURAL),
    Case("tanh", total(sigmoid.tanh), sigmoid.tanh_derivative, _logits, "tanh", NEURAL),
    Case("relu", total(sigmoid.relu), sigmoid.relu_derivative, _logits, "relu", NEURAL),
    Case("softmax", paired(softmax.softmax), softmax.softmax_vjp, _pair, "softmax", NEURAL, 1),
    Case("log_softmax", paired(softmax.log_softmax), softmax.log_softmax_vjp, _pair, "log_softmax", NEURAL, 1),
    Case("logsumexp", total(softmax.logsumexp), softmax.logsumexp_gradient, partial(_logits, shape=(3, 4)), "logsumexp", NEURAL),
    Case("binary_cross_entropy", total(cross_entropy.binary), cross_entropy.binary_residual, _hard, "residual", NEURAL),
    Case("binary_cross_entropy_soft", total(cross_entropy.binary), cross_entropy.binary_residual, _soft, "residual", NEURAL),
    Case("binary_cross_entropy_textbook", total(cross_entropy.binary), cross_entropy.binary_residual_textbook, _hard, "residual", NEURAL),
    Case("binary_cross_entropy_label", total(cross_entropy.binary), cross_entropy.binary_label_derivative, _soft, "label_derivative", NEURAL, 1),
    Case("binary_from_probabilities", total(cross_entropy.binary_from_probabilities), cross_entropy.binary_from_probabilities_gradient, _trials, "binary_from_probabilities", BINARY),
    Case("categorical_cross_entropy", total(cross_entropy.categorical), cross_entropy.categorical_residual, _classes, "softmax_residual_index", NEURAL),
    Case("categorical_cross_entropy_soft", total(cross_entropy.categorical), cross_entropy.categorical_residual, _soft_classes, "softmax_residual", NEURAL),
    Case("categorical_cross_entropy_textbook", total(cross_entropy.categorical), cross_entropy.categorical_residual_textbook, _classes, "softmax_residual_index", NEURAL),
    Case("categorical_cross_entropy_label", total(cross_entropy.categorical), cross_entropy.categorical_label_derivative, _soft_classes, "class_label_derivative", NEURAL, 1),
    Case("categorical_from_probabilities", total(cross_entropy.categorical_from_probabilities), cross_entropy.categorical_from_probabilities_gradient, _probabilities, "categorical_from_probabilities", NEURAL),
    Case("loss_sigmoid_binary", total(cross_entropy.binary), summed_derivative(losses.sigmoid_binary_cross_entropy), _soft, "residual", NEURAL),
    Case("loss_softmax", total(cross_entropy.categorical), summed_derivative(losses.softmax_cross_entropy), _soft_classes, "softmax_residual", NEURAL),
    Case("loss_softmax_integer", total(cross_entropy.categorical), summed_derivative(losses.softmax_cross_entropy_with_integer_labels), _classes, "softmax_residual_index", NEURAL),
    Case("logistic", logistic.loss, logistic.gradient, partial(_data, init=logistic.init), "logistic", NEURAL),
    Case("logistic_soft", logistic.loss, logistic.gradient, partial(_data, init=logistic.init, soft=True), "logistic", NEURAL),
    Case("logistic_l2", partial(logistic.loss, l2=_ridge), partial(logistic.gradient, l2=_ridge), partial(_data, init=logistic.init), "logistic_l2", NEURAL),
    Case("logistic_hvp", along(logistic.gradient), logistic.hvp, partial(_data_and_tangent, init=logistic.init), "logistic_hvp", NEURAL),
    Case("logistic_codes", logistic.loss, partial(in_codes, gradient=logistic.gradient), partial(_one_hot, init=logistic.init), "logistic", NEURAL),
    Case("softmax_regression", softmax_regression.loss, softmax_regression.gradient, partial(_data, init=softmax_regression.init, classes=4), "softmax_regression", NEURAL),
    Case("softmax_regression_soft", softmax_regression.loss, softmax_regression.gradient, partial(_data, init=softmax_regression.init, classes=4, soft=True), "softmax_regression", NEURAL),
    Case("softmax_regression_l2", partial(softmax_regression.loss, l2=_ridge), partial(softmax_regression.gradient, l2=_ridge), partial(_data, init=softmax_regression.init, classes=4), "softmax_regression_l2", NEURAL),
    Case("softmax_regression_hvp", along(softmax_regression.gradient), softmax_regression.hvp, partial(_data_and_tangent, init=softmax_regression.init, classes=4), "softmax_regression_hvp", NEURAL),
    Case("softmax_regression_codes", softmax_regression.loss, partial(in_codes, gradient=softmax_regression.gradient), partial(_one_hot, init=softmax_regression.init, classes=4), "softmax_regression", NEURAL),
    Case("perceptron", perceptron.loss, perceptron.gradient, partial(_data, init=logistic.init), "perceptron", NEURAL),
    Case("mlp_tanh_binary", mlp.loss, mlp.gradient, partial(_data, init=_two_layers), "mlp_tanh_binary", NEURAL),
    Case("mlp_sigmoid_multiclass", partial(mlp.loss, activation="sigmoid"), partial(mlp.gradient, activation="sigmoid"), partial(_data, init=_two_layers, classes=4), "mlp_sigmoid_multiclass", NEURAL),
    Case("mlp_relu_deep", partial(mlp.loss, activation="relu", l2=_ridge), partial(mlp.gradient, activation="relu", l2=_ridge), partial(_data, init=_three_layers, classes=4), "mlp_relu_deep", NEURAL),
    Case("linear_cross_entropy", linear_cross_entropy.loss, linear_cross_entropy.gradient, _tokens, "linear_cross_entropy", NEURAL, (0, 1)),
    Case("linear_cross_entropy_chunked", linear_cross_entropy.loss, partial(fast.linear_cross_entropy.gradient, chunk=4), _tokens, "linear_cross_entropy", NEURAL, (0, 1)),
    Case("loss_linear_softmax", linear_cross_entropy.loss, jax.grad(partial(losses.linear_softmax_cross_entropy, chunk=4), (0, 1)), _tokens, "linear_cross_entropy", NEURAL, (0, 1)),
    Case("one_pass_logistic", logistic.loss, in_blocks, partial(_data, init=logistic.init), "logistic", NEURAL),
    Case("one_pass_logistic_soft", logistic.loss, in_blocks, partial(_data, init=logistic.init, soft=True), "logistic", NEURAL),
    Case("one_pass_rows_logistic", logistic.loss, by_rows, partial(_data, init=logistic.init), "logistic", NEURAL),
    Case("one_pass_rows_softmax_regression", softmax_regression.loss, by_rows, partial(_data, init=softmax_regression.init, classes=4), "softmax_regression", NEURAL),
    Case("one_pass_softmax_regression", softmax_regression.loss, in_blocks, partial(_data, init=softmax_regression.init, classes=4), "softmax_regression", NEURAL),
    Case("one_pass_softmax_regression_soft", softmax_regression.loss, in_blocks, partial(_data, init=softmax_regression.init, classes=4, soft=True), "softmax_regression", NEURAL),
)
# fmt: on


def case(name: str) -> Case:
    """The case called `name`; raises InputError, with the closest names, if there is none."""
    return find_named(CASES, name, "case", "a name from the catalogue")
