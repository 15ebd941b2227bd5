"""The statements of "Neural networks" from the error function to gradient descent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._types import Array
from handgrad.catalogue import NEURAL, total
from handgrad.evidence import floats as fl
from handgrad.evidence import notes_readings as nr
from handgrad.evidence import wrong_binary as wb
from handgrad.evidence.notes_checks import (
    Check,
    balls,
    direction,
    exactly,
    formula,
    measured,
    shown,
    trend,
)
from handgrad.evidence.notes_judging import code, floats, gradient
from handgrad.evidence.notes_records import Finding, Statement, agrees, differs, section
from handgrad.evidence.notes_scores import HALF_POINTS, XOR, XOR_LABELS, score, walk
from handgrad.gradients import cross_entropy, logistic, perceptron, sigmoid, softmax_regression
from handgrad.gradients.linear import Params

DATA = nr.data()
POINT = (np.array([1.5, -0.5]), np.float64(0.25), np.array([0.75, 2.0]), np.float64(1.0))
"""w, b, x and y of one point."""
OTHER = (np.array([-2.0, 1.0]), np.float64(-1.0), np.array([0.5, 3.0]), np.float64(0.0))
POINTS = (POINT, OTHER)
ALPHA = 0.1
CLASSES = (np.array([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]]), np.array([0.0, 0.5, -0.25]),
           np.array([[1.0, -2.0], [0.5, 0.75]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))  # fmt: skip
EXERCISE = "Student exercise (udacity/deep-learning #290)"


def one(w: Array, b: Array, x: Array, y: Array) -> Array:
    """−y ln ŷ − (1−y) ln(1−ŷ) of one point."""
    return logistic.loss(Params(w, b), x[None, :], y[None])


def prediction(w: Array, b: Array, x: Array, y: Array) -> Array:
    """ŷ of one point, by the package."""
    return logistic.predict(Params(w, b), x[None, :])[0]


def y_hat(w: Array, b: Array, x: Array) -> Array:
    """ŷ = σ(W₁x₁ + … + Wₙxₙ + b), as printed."""
    return 1 / (1 + jnp.exp(-sum((w[i] * x[i] for i in range(x.shape[0])), b)))


def push(w: Array, b: Array, x: Array, y: Array) -> Params:
    """The package's gradient at one point."""
    return logistic.gradient(Params(w, b), x[None, :], y[None])


def updated(w: Array, b: Array, x: Array, y: Array) -> Params:
    """One step of gradient descent with the package's gradient."""
    return Params(*(p - ALPHA * g for p, g in zip((w, b), push(w, b, x, y), strict=True)))


def moved_weights(residual: Callable[[Array, Array], Array]) -> Callable:
    """w + α r(y, ŷ) x for one point."""
    return lambda w, b, x, y: w + ALPHA * residual(y, y_hat(w, b, x)) * x


def is_line(expression: Callable[[Array], Array]) -> Finding:
    """Whether an expression vanishes on the line 4x₁ + 5x₂ = 9, as its equation's left side does."""
    values = balls(lambda a, b: expression(score(a, b)), *HALF_POINTS)
    return Finding(all(v == 0 for v in values), f"{', '.join(map(shown, values))} on the line")


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


def small_when_right() -> tuple:
    """The gradients of a well classified point far out, and of a badly classified one near 0."""
    w, b = np.array([0.02, 0.0]), np.float64(0.0)
    good, bad = np.array([200.0, 100.0]), np.array([-0.05, 0.0])
    norm = lambda x: balls(
        lambda x: jnp.sqrt(sum(jnp.sum(g * g) for g in push(w, b, x, jnp.ones(())))), x
    )[0]
    chance = [balls(lambda x: prediction(w, b, x, None), x)[0] for x in (good, bad)]
    found = [norm(good), norm(bad)]
    word = "smaller" if found[0] < found[1] else "larger"
    return (
        word,
        f"ŷ = {shown(chance[0])}: ‖∇E‖ = {shown(found[0])}; ŷ = {shown(chance[1])}: {shown(found[1])}; y = 1",
    )


def least_error_on_xor() -> tuple:
    """The least error of a line on xor: E is convex, so where its gradient is 0."""
    x, y, zero = XOR, np.array(XOR_LABELS, np.float64), Params(np.zeros(2), np.float64(0.0))
    flat = all(b == 0 for b in balls(logistic.gradient, zero, x, y))
    (error,) = balls(logistic.loss, zero, x, y)
    (bends,) = balls(
        lambda p, v: sum(jnp.sum(a * b) for a, b in zip(v, logistic.hvp(p, v, x, y), strict=True)),
        zero,
        Params(np.array([1.0, 2.0]), np.float64(-0.5)),
    )
    small = not (flat and bends > 0 and error > 0.5)
    return (
        "ends" if small else "need not end",
        f"on xor ∇E is 0 at w = 0 and E is convex: its least value is {shown(error)}",
    )


def right_points() -> tuple:
    """What the perceptron's gradient is at points on their side."""
    params = Params(np.array([1.0, 2.0]), np.float64(-0.5))
    x, y = np.array([[1.0, 1.0], [4.0, -1.0], [-3.0, 0.25]]), np.array([1.0, 1.0, 0.0])
    found = {float(b) for b in balls(perceptron.gradient, params, x, y)}
    return found, f"three points on their side: {', '.join(f'{v:g}' for v in found)}"


def comes_back() -> tuple:
    """How often a point that was on its side is wrong again, and moves the line, later on."""
    x = jnp.array([[-2.0, 3.0], [2.0, 4.0], [1.0, 2.0], [4.0, 3.0]])
    y, params = jnp.array([1.0, 1.0, 0.0, 0.0]), Params(jnp.zeros(2), jnp.zeros(()))
    was_right, again = set(), 0
    for step in range(60):
        i = step % 4
        moved = perceptron.rule(params, x[i], y[i])
        again += i in was_right and bool(jnp.any(moved.weight != params.weight))
        params = moved
        sides = np.asarray(logistic.logits(params, x)) * np.array([1, 1, -1, -1]) > 0
        was_right |= set(np.flatnonzero(sides).tolist())
    words = f"in 60 turns, {again} steps by points that had been right; in the end {sides.sum()} of 4 are"
    return "again" if again else "never", words


def keeps_pushing() -> tuple:
    """The residual of points ever further on the right side, in exact arithmetic."""
    z = np.array([1.0, 17.0, 100.0, 1000.0])
    values = balls(lambda z: cross_entropy.binary_residual(z, jnp.ones(4)), z)
    word = "always" if all(v < 0 for v in values) else "until it is 0"
    return word, f"residuals at z = 1, 17, 100, 1000: {', '.join(map(shown, values))}"


def chance_rises(f: Callable) -> Finding:
    """Whether a point deeper in the region of its class is more probable."""
    return trend(f, np.array([0.5, 1.0, 2.0, 4.0, 8.0]))("rises")


AT_17 = (np.array([17.0]), np.array([1.0]))
AT_20 = (np.array([20.0]), np.array([1.0]))
judged: Check = gradient(logistic.loss, DATA)

# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(NEURAL, "Error function",
        agrees("mean_error", "E(W, b) = −(1/m) Σ (1−y) ln(1−σ(Wx+b)) + y ln σ(Wx+b), brackets understood", nr.mean_over_points, formula(logistic.loss, DATA)),
        agrees("mean_error_of_classes", "for classes, −(1/m) Σᵢ Σⱼ yᵢⱼ ln ŷᵢⱼ",
            lambda w, b, x, y: -jnp.mean(jnp.sum(y * jnp.log(jax.nn.softmax(x @ w + b[None, :])), axis=1)),
            formula(lambda w, b, x, y: softmax_regression.loss(Params(w, b), x, y), CLASSES)),
        differs("sum_and_mean", "cross entropy, a sum over the points, is the error function, a mean", wb.not_averaged, judged, "divide by m: the gradient shrinks with it, and α means something else", wb.right),
        differs("log_of_sigmoid", "the logarithm is taken of σ(Wx+b)", fl.residual_from_probability, floats(total(cross_entropy.binary), AT_20),
            "of the score, −ln σ(z) = ln(1 + e⁻ᶻ): σ rounds to 1, and ln(1 − σ) is ln 0", cross_entropy.binary_residual),
        differs("certain_by_rounding", "the code of cross entropy gives the error of σ(40) where y = 0", nr.CROSS_ENTROPY_OF_SIGMOID, code(("40.00",), 0.0, 40.0),
            "from the score: σ(40) is 1 in float64", nr.CROSS_ENTROPY_OF_SCORE),
    ),
    *section(NEURAL, "Minimizing the error function",
        differs("weights_are_predictions", "the random weights to start from are σ(Wx+b)", lambda p, x: sigmoid.sigmoid(logistic.logits(p, x)).shape,
            exactly(lambda p, x: p.weight.shape, DATA[:2]), "W and b; σ(Wx+b) are the predictions, one for each point", lambda p, x: p.weight.shape),
        differs("descend_the_gradient", "the gradient is to be descended", nr.of_gradient_itself, judged, "the error is to be descended, against its gradient", wb.right),
        agrees("line_moves", "moving the line against the gradient lowers the error", "falls", measured(lambda: (direction(walk(ALPHA)), f"{direction(walk(ALPHA))} with α = 0.1"))),
        differs("line", "the separating line is σ(W′x+b′)", sigmoid.sigmoid, is_line, "W′x + b′ = 0, where σ(W′x+b′) = ½", lambda z: z),
    ),
    *section(NEURAL, "Gradient descent",
        agrees("vector_of_partials", "∇E is the vector sum of the partial derivatives", nr.sum_of_partials, judged),
        agrees("uphill", "along ∇E the error rises, along −∇E it falls", "rises", measured(up_and_down)),
        agrees("prediction", "ŷ = σ(W₁x₁ + … + Wₙxₙ + b)", lambda w, b, x, y: y_hat(w, b, x), formula(prediction, *POINTS)),
        agrees("entries", "∇E has an entry for each weight and one for the bias", lambda p: p.weight.shape[0] + 1,
            exactly(lambda p: sum(np.size(leaf) for leaf in wb.right(p, *map(jnp.asarray, DATA[1:]))), (DATA[0],))),
        agrees("learning_rate", "α = 0.1 avoids dramatic changes", ("falls", "turns"), measured(descends)),
        agrees("update", "W′ = W − α ∂E/∂W and b′ = b − α ∂E/∂b", updated, formula(lambda w, b, x, y: (w - ALPHA * jax.grad(one)(w, b, x, y), b - ALPHA * jax.grad(one, 1)(w, b, x, y)), *POINTS)),
        agrees("error_of_a_point", "the error of a point is −y ln ŷ − (1−y) ln(1−ŷ)", lambda w, b, x, y: nr.of_each_point(y, y_hat(w, b, x)), formula(one, *POINTS)),
        agrees("average", "the error is the average over the points", lambda p, x, y: jnp.mean(cross_entropy.binary(logistic.logits(p, x), y)), formula(nr.mean_over_points, DATA)),
        agrees("sigmoid_slope", "σ′(x) = σ(x)(1 − σ(x))", sigmoid.sigmoid_derivative_textbook, gradient(total(sigmoid.sigmoid), (np.array([-3.0, 0.0, 0.5, 4.0]),))),
        differs("sigmoid_slope_computed", "computed so, in float32, at 17", sigmoid.sigmoid_derivative_textbook, floats(total(sigmoid.sigmoid), AT_17[:1]), "σ(x) σ(−x)", sigmoid.sigmoid_derivative),
        agrees("slope_of_prediction", "∂ŷ/∂wⱼ = ŷ(1 − ŷ) xⱼ", lambda w, b, x, y: y_hat(w, b, x) * (1 - y_hat(w, b, x)) * x, gradient(prediction, POINT)),
        agrees("slope_in_weight", "∂E/∂wⱼ = −(y − ŷ) xⱼ", lambda w, b, x, y: -(y - y_hat(w, b, x)) * x, gradient(one, POINT)),
        agrees("slope_in_bias", "∂E/∂b = −(y − ŷ)", lambda w, b, x, y: -(y - y_hat(w, b, x)), gradient(one, POINT, 1)),
        differs("misplaced_bracket", "the gradient is (−(y − ŷx₁, …, −(y − ŷ)xₙ, −(y − ŷ))): its first bracket closes after the last", nr.misplaced_bracket, judged,
            "(−(y − ŷ)x₁, …, −(y − ŷ)xₙ, −(y − ŷ))", wb.right),
        agrees("gradient", "∇E = −(y − ŷ)(x₁, …, xₙ, 1)", lambda w, b, x, y: (-(y - y_hat(w, b, x)) * x, -(y - y_hat(w, b, x))), gradient(one, POINT, (0, 1))),
        agrees("multiple_of_the_point", "the gradient is a number times the point, and that number a multiple of y − ŷ",
            lambda w, b, x, y: push(w, b, x, y).bias * x, formula(lambda w, b, x, y: push(w, b, x, y).weight, *POINTS)),
        agrees("closer_is_smaller", "the closer the prediction to the label, the smaller the gradient (of that point)", "falls",
            trend(lambda t: jnp.sqrt(sum((jnp.sum(g * g) for g in push(t * jnp.array([0.5, 0.25]), t, jnp.array([1.0, 2.0]), jnp.ones(()))), jnp.zeros(()))), np.array([-4.0, -1.0, 0.0, 1.0, 4.0]))),
        differs("well_classified_is_small", "a well classified point has a small gradient, a poorly classified one a large one", "smaller", measured(small_when_right),
            "the residual is small; the gradient is that times the point, whose length has a say", "larger"),
    ),
    *section(NEURAL, "Gradient descent step",
        agrees("step", "w′ = w − α[−(y − ŷ) x]", lambda w, b, x, y: w - ALPHA * (-(y - y_hat(w, b, x)) * x), formula(lambda *a: updated(*a).weight, *POINTS)),
        differs("step_sign", "which is w + α(y + ŷ) x", wb.through(wb.sum_of_label_and_prediction), judged, "w + α(y − ŷ) x", wb.right),
        differs("bias_step", "the bias moves by α(y + ŷ) xᵢ", nr.bias_with_both_faults, judged, "by α(y − ŷ): its entry of (x, 1) is 1", wb.right),
    ),
    *section(NEURAL, "Gradient descent algorithm",
        agrees("loop_weight", "wᵢ′ = wᵢ − α(ŷ − y) xᵢ", moved_weights(lambda y, p: -(p - y)), formula(lambda *a: updated(*a).weight, *POINTS)),
        differs("loop_bias_feature", "bᵢ′ = bᵢ − α(ŷ − y) xᵢ", wb.bias_times_feature, judged, "b′ = b − α(ŷ − y)", wb.right),
        differs("loop_bias_sum", "that update stands inside the loop over the features", nr.bias_in_the_loop, judged, "after the loop, once for each point", wb.right),
        differs("loop_bias_often", "mended to α(ŷ − y), it may stay inside the loop", nr.bias_once_a_feature, judged, "outside: inside it the bias moves n times as far", wb.right),
        differs("until_small", "repeating until the error is small ends", "ends", measured(least_error_on_xor), "until the gradient is small: the least error need not be", "need not end"),
        agrees("like_the_perceptron", "it is very like the perceptron's algorithm: a step in place of σ",
            lambda w, b, x, y: w + ALPHA * (y - sigmoid.step(jnp.sum(w * x) + b)) * x, formula(lambda w, b, x, y: perceptron.rule(Params(w, b), x, y, ALPHA).weight, *POINTS, (*POINT[:3], np.float64(0.0)))),
        differs("perceptron_never_again", "once a point is classified correctly, the perceptron's later steps never need it", "never", measured(comes_back),
            "as long as it stays on its side: other points may move the line past it again", "again"),
        agrees("perceptron_stops", "a point on its side has no say in the perceptron's algorithm", {0.0}, measured(right_points)),
        agrees("descent_keeps_pushing", "in gradient descent it keeps pushing the line away", "always", measured(keeps_pushing)),
        differs("pushing_textbook", "in float32 too, with y − ŷ as printed, at a score of 17", cross_entropy.binary_residual_textbook, floats(total(cross_entropy.binary), AT_17),
            "with (1−y)σ(z) − yσ(−z), which is ŷ − y without its cancellation", cross_entropy.binary_residual),
        agrees("pushing_accurate", "in float32 too, with the accurate residual", cross_entropy.binary_residual, floats(total(cross_entropy.binary), AT_17)),
        differs("perceptron_probability", "the perceptron makes a point deeper in the blue region more probably blue", sigmoid.step, chance_rises, "the sigmoid does; the perceptron says 0 or 1", sigmoid.sigmoid),
    ),
    *section(EXERCISE, "Weight update",
        differs("student_exercise", "descending cross-entropy moves the weights by (y − ŷ) ŷ(1 − ŷ) x, and the bias not at all", wb.student_exercise, judged,
            "by (y − ŷ)(x, 1): the factor ŷ(1 − ŷ) belongs to squared error", wb.right),
    ),
)
# fmt: on
