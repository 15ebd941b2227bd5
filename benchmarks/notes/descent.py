"""The statements of "Neural networks" from the error function to gradient descent."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge import wrong_binary as wb
from benchmarks.judge import wrong_numerics as fl
from benchmarks.notes import readings as nr
from benchmarks.notes.checks import (
    Check,
    balls,
    code,
    direction,
    exactly,
    floats,
    formula,
    gradient,
    measured,
    shown,
    trend,
)
from benchmarks.notes.records import (
    FLOATS,
    MISTAKE,
    TOO_STRONG,
    WORDING,
    Finding,
    Statement,
    agrees,
    differs,
    section,
)
from benchmarks.notes.scores import HALF_POINTS, score, walk
from handgrad._precision import x64
from handgrad._types import Array
from handgrad.catalogue import NEURAL, total
from handgrad.gradients import cross_entropy, logistic, sigmoid, softmax_regression
from handgrad.gradients.linear import Params

DATA = nr.data()
POINT = (np.array([1.5, -0.5]), np.float64(0.25), np.array([0.75, 2.0]), np.float64(1.0))
"""w, b, x and y of one point."""
OTHER = (np.array([-2.0, 1.0]), np.float64(-1.0), np.array([0.5, 3.0]), np.float64(0.0))
POINTS = (POINT, OTHER)
ALPHA = 0.1
CLASSES = (np.array([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]]), np.array([0.0, 0.5, -0.25]),
           np.array([[1.0, -2.0], [0.5, 0.75]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))  # fmt: skip


def one(w: Array, b: Array, x: Array, y: Array) -> Array:
    """−y ln ŷ − (1−y) ln(1−ŷ) of one point."""
    return logistic.loss(Params(w, b), x[None, :], y[None])


def prediction(w: Array, b: Array, x: Array, y: Array) -> Array:
    """ŷ of one point, by the package."""
    return logistic.predict(Params(w, b), x[None, :])[0]


def y_hat(w: Array, b: Array, x: Array) -> Array:
    """ŷ = σ(W₁x₁ + … + Wₙxₙ + b), as printed."""
    return 1 / (1 + jnp.exp(-sum((w[i] * x[i] for i in range(x.shape[0])), b)))


def entries(params: Params, x: Array, y: Array) -> int:
    """How many numbers ∇E has."""
    with x64():
        return sum(map(np.size, wb.right(*jax.tree.map(jnp.asarray, (params, x, y)))))


def push(w: Array, b: Array, x: Array, y: Array) -> Params:
    """The package's gradient at one point."""
    return logistic.gradient(Params(w, b), x[None, :], y[None])


def updated(w: Array, b: Array, x: Array, y: Array) -> Params:
    """One step of gradient descent with the package's gradient."""
    return Params(*(p - ALPHA * g for p, g in zip((w, b), push(w, b, x, y), strict=True)))


def is_line(expression: Callable[[Array], Array]) -> Finding:
    """Whether an expression vanishes on the line 4x₁ + 5x₂ = 9, as its equation's left side does."""
    values = balls(lambda a, b: expression(score(a, b)), *HALF_POINTS)
    return Finding(
        all(v == 0 for v in values),
        f"at two points of 4x₁ + 5x₂ = 9 it is {' and '.join(map(shown, values))}, not 0",
    )


def as_many_as_weights(claimed: Callable) -> Finding:
    """Whether there are as many numbers as weights."""
    params, x = DATA[0], DATA[1]
    said = np.shape(claimed(Params(*map(jnp.asarray, params)), x))
    words = f"{said[0]} numbers for {len(x)} points; there are {params.weight.size} weights"
    return Finding(said == params.weight.shape, words)


def descends() -> tuple:
    """The error under α = 0.1, and under α = 100."""
    found = tuple(direction(walk(rate, 20)) for rate in (ALPHA, 100.0))
    return found, f"20 steps: the error {found[0]} with α = 0.1, {found[1]} with α = 100"


def up_and_down() -> tuple:
    """The error a little along the gradient, and a little against it."""
    params, x, y = DATA
    slope = [np.float64(float(b.mid())) for b in balls(logistic.gradient, params, x, y)]
    errors = [
        balls(
            logistic.loss,
            Params(params.weight + t * np.array(slope[:3]), params.bias + t * slope[3]),
            x,
            y,
        )[0]
        for t in (-0.125, 0.0, 0.125)
    ]
    return direction(errors), f"against, at, along: {', '.join(map(shown, errors))}"


def length(gradient: Params) -> Array:
    """‖∇E‖ of one point."""
    return jnp.sqrt(jnp.sum(jnp.square(gradient.weight)) + jnp.square(gradient.bias))


def small_when_right() -> tuple:
    """The gradients of a well classified point far out, and of a badly classified one near 0."""
    w: Any = np.array([0.0625, 0.0])
    b: Any = np.float64(-2.0)
    y: Any = np.float64(1.0)
    words, lengths = [], []
    for point in (np.array([96.0, 96.0]), np.array([0.0, 0.25])):
        lengths += balls(lambda x: length(push(w, b, x, y)), point)
        (chance,) = balls(lambda x: prediction(w, b, x, y), point)
        words.append(f"ŷ = {shown(chance)}: ‖∇E‖ = {shown(lengths[-1])}")
    return "smaller" if lengths[0] < lengths[1] else "larger", f"y = 1; {'; '.join(words)}"


AT_17 = (np.array([17.0]), np.array([1.0]))
AT_20 = (np.array([20.0]), np.array([1.0]))
judged: Check = gradient(logistic.loss, DATA)

# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(NEURAL, "Error Function",
        agrees("mean_error", "E(W, b) = −(1/m) Σ (1−y) ln(1−σ(Wx+b)) + y ln σ(Wx+b), brackets understood", nr.mean_over_points, formula(logistic.loss, DATA)),
        agrees("mean_error_of_classes", "for classes, −(1/m) Σᵢ Σⱼ yᵢⱼ ln ŷᵢⱼ",
            lambda w, b, x, y: -jnp.mean(jnp.sum(y * jnp.log(jax.nn.softmax(x @ w + b[None, :])), axis=1)),
            formula(lambda w, b, x, y: softmax_regression.loss(Params(w, b), x, y), CLASSES)),
        differs(MISTAKE, "sum_and_mean", "cross entropy, a sum over the points, is the error function, a mean", wb.not_averaged, judged, "divide by m: the gradient shrinks with it, and α means something else", wb.right),
        differs(FLOATS, "log_of_sigmoid", "the logarithm is taken of σ(Wx+b)", fl.residual_from_probability, floats(total(cross_entropy.binary), AT_20),
            "of the score, −ln σ(z) = ln(1 + e⁻ᶻ): σ rounds to 1, and ln(1 − σ) is ln 0", cross_entropy.binary_residual),
        differs(FLOATS, "certain_by_rounding", "the code of cross entropy gives the error of ŷ = σ(40) where y = 0", nr.CROSS_ENTROPY_OF_SIGMOID, code(("40.00",), 0.0, 40.0),
            "from the score: σ(40) is 1 in float64", nr.CROSS_ENTROPY_OF_SCORE),
    ),
    *section(NEURAL, "Minimizing the Error Function",
        differs(WORDING, "weights_are_predictions", "the random weights to start from are σ(Wx+b)", lambda p, x: sigmoid.sigmoid(logistic.logits(p, x)), as_many_as_weights, "W and b; σ(Wx+b) are the predictions, one for each point", lambda p, x: p.weight),
        differs(WORDING, "descend_the_gradient", "minimising the error means descending its gradient function", nr.of_gradient_itself, judged, "the error is to be descended, against its gradient", wb.right),
        agrees("line_moves", "moving the line against the gradient lowers the error", "falls", measured(lambda: (direction(walk(ALPHA)), f"{direction(walk(ALPHA))} with α = 0.1"))),
        differs(MISTAKE, "line", "the separating line is σ(W′x+b′)", sigmoid.sigmoid, is_line, "W′x + b′ = 0, where σ(W′x+b′) = ½", lambda z: z),
    ),
    *section(NEURAL, "Gradient Descent",
        agrees("vector_of_partials", "∇E is the vector sum of the partial derivatives", nr.sum_of_partials, judged),
        agrees("uphill", "along ∇E the error rises, along −∇E it falls", "rises", measured(up_and_down)),
        agrees("prediction", "ŷ = σ(W₁x₁ + … + Wₙxₙ + b)", lambda w, b, x, y: y_hat(w, b, x), formula(prediction, *POINTS)),
        agrees("entries", "∇E has an entry for each weight and one for the bias", lambda p, x, y: p.weight.shape[0] + 1,
            exactly(entries, DATA)),
        agrees("learning_rate", "α = 0.1 avoids dramatic changes", ("falls", "turns"), measured(descends)),
        agrees("update", "W′ = W − α ∂E/∂W and b′ = b − α ∂E/∂b", updated, formula(lambda w, b, x, y: (w - ALPHA * jax.grad(one)(w, b, x, y), b - ALPHA * jax.grad(one, 1)(w, b, x, y)), *POINTS)),
        agrees("error_of_a_point", "the error of a point is −y ln ŷ − (1−y) ln(1−ŷ)", lambda w, b, x, y: nr.of_each_point(y, y_hat(w, b, x)), formula(one, *POINTS)),
        agrees("average", "the error is the average over the points", lambda p, x, y: jnp.mean(cross_entropy.binary(logistic.logits(p, x), y)), formula(nr.mean_over_points, DATA)),
        agrees("sigmoid_slope", "σ′(x) = σ(x)(1 − σ(x))", sigmoid.sigmoid_derivative_textbook, gradient(total(sigmoid.sigmoid), (np.array([-3.0, 0.0, 0.5, 4.0]),))),
        differs(FLOATS, "sigmoid_slope_computed", "σ′ may be computed as σ(x)(1 − σ(x)): float32, x = 17", sigmoid.sigmoid_derivative_textbook, floats(total(sigmoid.sigmoid), AT_17[:1]), "σ(x) σ(−x)", sigmoid.sigmoid_derivative),
        agrees("slope_of_prediction", "∂ŷ/∂wⱼ = ŷ(1 − ŷ) xⱼ", lambda w, b, x, y: y_hat(w, b, x) * (1 - y_hat(w, b, x)) * x, gradient(prediction, POINT)),
        agrees("slope_in_weight", "∂E/∂wⱼ = −(y − ŷ) xⱼ", lambda w, b, x, y: -(y - y_hat(w, b, x)) * x, gradient(one, POINT)),
        agrees("slope_in_bias", "∂E/∂b = −(y − ŷ)", lambda w, b, x, y: -(y - y_hat(w, b, x)), gradient(one, POINT, 1)),
        differs(MISTAKE, "misplaced_bracket", "the gradient is (−(y − ŷx₁, …, −(y − ŷ)xₙ, −(y − ŷ))): its first bracket closes after the last", nr.misplaced_bracket, judged,
            "(−(y − ŷ)x₁, …, −(y − ŷ)xₙ, −(y − ŷ))", wb.right),
        agrees("gradient", "∇E = −(y − ŷ)(x₁, …, xₙ, 1)", lambda w, b, x, y: (-(y - y_hat(w, b, x)) * x, -(y - y_hat(w, b, x))), gradient(one, POINT, (0, 1))),
        agrees("multiple_of_the_point", "the gradient is a number times the point, and that number a multiple of y − ŷ",
            lambda w, b, x, y: push(w, b, x, y).bias * x, formula(lambda w, b, x, y: push(w, b, x, y).weight, *POINTS)),
        agrees("closer_is_smaller", "the closer the prediction to the label, the smaller the gradient (of that point)", "falls",
            trend(lambda t: length(push(t * jnp.array([0.5, 0.25]), t, jnp.array([1.0, 2.0]), jnp.ones(()))), np.array([-4.0, -1.0, 0.0, 1.0, 4.0]))),
        differs(TOO_STRONG, "well_classified_is_small", "a well classified point has a small gradient, a poorly classified one a large one", "smaller", measured(small_when_right),
            "the residual is small; the gradient is that times the point, whose length has a say", "larger"),
    ),
)
# fmt: on
