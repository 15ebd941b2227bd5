"""The statements of "Neural networks" on the step and the algorithm; the student exercise."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from benchmarks.judge import wrong_binary as wb
from benchmarks.notes import readings as nr
from benchmarks.notes.checks import balls, floats, formula, measured, shown, trend
from benchmarks.notes.descent import ALPHA, AT_17, POINT, POINTS, judged, updated, y_hat
from benchmarks.notes.records import (
    FLOATS,
    MISTAKE,
    TOO_STRONG,
    Finding,
    Statement,
    agrees,
    differs,
    section,
)
from benchmarks.notes.scores import XOR, XOR_LABELS
from handgrad._types import Array
from handgrad.catalogue import NEURAL, total
from handgrad.gradients import cross_entropy, logistic, perceptron, sigmoid
from handgrad.gradients.linear import Params

EXERCISE = "Student exercise (udacity/deep-learning #290)"


def moved_weights(residual: Callable[[Array, Array], Array]) -> Callable:
    """w + α r(y, ŷ) x for one point."""
    return lambda w, b, x, y: w + ALPHA * residual(y, y_hat(w, b, x)) * x


def curvature(params: Params, along: Params) -> Array:
    """⟨v, ∇²E v⟩ on xor."""
    product = logistic.hvp(params, along, jnp.array(XOR), jnp.array(XOR_LABELS, jnp.float64))
    return jnp.sum(along.weight * product.weight) + along.bias * product.bias


def least_error_on_xor() -> tuple:
    """The least error of a line on xor: E is convex, so where its gradient is 0."""
    x, y, zero = XOR, np.array(XOR_LABELS, np.float64), nr.params_of(np.zeros(2), np.float64(0.0))
    flat = all(b == 0 for b in balls(logistic.gradient, zero, x, y))
    (error,) = balls(logistic.loss, zero, x, y)
    (bend,) = balls(curvature, zero, nr.params_of(np.array([1.0, 2.0]), np.float64(-0.5)))
    word = "need not end" if flat and bend > 0 and error > 0.5 else "ends"
    return word, f"on xor ∇E is 0 at w = 0 and E is convex: its least value is {shown(error)}"


def right_points() -> tuple:
    """What the perceptron's gradient is at points on their side."""
    params = nr.params_of(np.array([1.0, 2.0]), np.float64(-0.5))
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


# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(NEURAL, "Gradient Descent Step",
        agrees("step", "w′ = w − α[−(y − ŷ) x]", lambda w, b, x, y: w - ALPHA * (-(y - y_hat(w, b, x)) * x), formula(lambda *a: updated(*a).weight, *POINTS)),
        differs(MISTAKE, "step_sign", "the step w − α[−(y − ŷ) x] is w + α(y + ŷ) x", wb.through(wb.sum_of_label_and_prediction), judged, "w + α(y − ŷ) x", wb.right),
        differs(MISTAKE, "bias_step", "the bias moves by α(y + ŷ) xᵢ", nr.bias_with_both_faults, judged, "by α(y − ŷ): its entry of (x, 1) is 1", wb.right),
    ),
    *section(NEURAL, "Gradient Descent Algorithm",
        agrees("loop_weight", "wᵢ′ = wᵢ − α(ŷ − y) xᵢ", moved_weights(lambda y, p: -(p - y)), formula(lambda *a: updated(*a).weight, *POINTS)),
        differs(MISTAKE, "loop_bias_feature", "bᵢ′ = bᵢ − α(ŷ − y) xᵢ", wb.bias_times_feature, judged, "b′ = b − α(ŷ − y)", wb.right),
        differs(MISTAKE, "loop_bias_sum", "the bias is updated inside the loop over the features", nr.bias_in_the_loop, judged, "after the loop, once for each point", wb.right),
        differs(MISTAKE, "loop_bias_often", "mended to b′ = b − α(ŷ − y), the update may stay inside the loop", nr.bias_once_a_feature, judged, "outside: inside it the bias moves n times as far", wb.right),
        differs(TOO_STRONG, "until_small", "repeating until the error is small ends", "ends", measured(least_error_on_xor), "until the gradient is small: the least error need not be", "need not end"),
        agrees("like_the_perceptron", "it is very like the perceptron's algorithm: a step in place of σ",
            lambda w, b, x, y: w + ALPHA * (y - sigmoid.step(jnp.sum(w * x) + b)) * x, formula(lambda w, b, x, y: perceptron.rule(Params(w, b), x, y, ALPHA).weight, *POINTS, (*POINT[:3], np.float64(0.0)))),
        differs(TOO_STRONG, "perceptron_never_again", "once a point is classified correctly, the perceptron's later steps never need it", "never", measured(comes_back),
            "as long as it stays on its side: other points may move the line past it again", "again"),
        agrees("perceptron_stops", "a point on its side has no say in the perceptron's algorithm", {0.0}, measured(right_points)),
        agrees("descent_keeps_pushing", "in gradient descent it keeps pushing the line away", "always", measured(keeps_pushing)),
        differs(FLOATS, "pushing_textbook", "right points keep pushing in float32 too, by y − ŷ as printed: score 17", cross_entropy.binary_residual_textbook, floats(total(cross_entropy.binary), AT_17),
            "with (1−y)σ(z) − yσ(−z), which is ŷ − y without its cancellation", cross_entropy.binary_residual),
        agrees("pushing_accurate", "right points keep pushing in float32 too, by the accurate residual: score 17", cross_entropy.binary_residual, floats(total(cross_entropy.binary), AT_17)),
        differs(MISTAKE, "perceptron_probability", "the perceptron makes a point deeper in the blue region more probably blue", sigmoid.step, chance_rises, "the sigmoid does; the perceptron says 0 or 1", sigmoid.sigmoid),
    ),
    *section(EXERCISE, "Weight update",
        differs(MISTAKE, "student_exercise", "descending cross-entropy moves the weights by (y − ŷ) ŷ(1 − ŷ) x, and the bias not at all", wb.student_exercise, judged,
            "by (y − ŷ)(x, 1): the factor ŷ(1 − ŷ) belongs to squared error", wb.right),
    ),
)
# fmt: on
