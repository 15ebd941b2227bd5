"""The statements of "Neural networks" on lines and scores: from the error to one-hot encoding."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from benchmarks.notes import readings as nr
from benchmarks.notes.checks import (
    along,
    balls,
    code,
    direction,
    exactly,
    figures,
    formula,
    measured,
    shown,
    trend,
)
from benchmarks.notes.records import (
    FLOATS,
    MISTAKE,
    TOO_STRONG,
    Statement,
    agrees,
    differs,
    section,
)
from handgrad._types import Array
from handgrad.catalogue import NEURAL
from handgrad.exact import derivative
from handgrad.gradients import (
    cross_entropy,
    logistic,
    mlp,
    perceptron,
    sigmoid,
    softmax,
    squared_error,
)
from handgrad.gradients.linear import Params

XOR = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
XOR_LABELS = (0, 0, 1, 1)
RISING = np.array([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
"""Distances from the line."""
SCORES = tuple((np.float64(z),) for z in (-30.0, -1.5, 0.0, 2.0, 40.0))
TABLE = np.array([2.0, 1.0, 0.0])


def score(first: Array, second: Array) -> Array:
    """4x₁ + 5x₂ − 9, the score of the example."""
    return 4 * first + 5 * second - 9


HALF_POINTS = (np.array([1.0, -4.0]), np.array([1.0, 5.0]))


def opposite_corners(weight: Array, bias: Array) -> Array:
    """The sum of the scores of the points of class 0."""
    return jnp.sum(logistic.logits(Params(weight, bias), jnp.array(XOR[:2])))


def other_corners(weight: Array, bias: Array) -> Array:
    """The sum of the scores of the points of class 1."""
    return jnp.sum(logistic.logits(Params(weight, bias), jnp.array(XOR[2:])))


def bent_by_hidden_units() -> tuple:
    """The labels that two hidden units give to the corners."""
    hidden = nr.params_of(np.array([[8.0, 8.0], [8.0, 8.0]]), np.array([-4.0, -12.0]))
    params = mlp.Params((hidden, nr.params_of(np.array([4.0, -4.0]), np.array(-4.0))))
    values = balls(lambda x: mlp.predict(params, x), XOR)
    return tuple(int(v > 0.5) for v in values), f"ŷ at the corners: {', '.join(map(shown, values))}"


def walk(rate: float = 0.5, steps: int = 12) -> list[float]:
    """The error along gradient descent at this rate."""
    params, x, y = nr.data()
    errors = []
    for _ in range(steps):
        value, slope = logistic.value_and_gradient(Params(*map(jnp.asarray, params)), x, y)
        errors.append(float(value))
        params = Params(*(p - rate * np.asarray(g) for p, g in zip(params, slope, strict=True)))
    return errors


def downhill() -> tuple:
    """The walk, in a word."""
    errors = walk()
    return direction(errors), f"12 steps: {errors[0]:.4f} → {errors[-1]:.4f} nats"


def valleys_of(residual: Callable) -> list[float]:
    """Where the slope in w turns from down to up, for the logits w x + c of three points."""
    x, c, y = np.array([4.0, -4.0, 8.0]), np.array([0.0, 2.0, -8.0]), np.array([0.0, 0.0, 1.0])
    grid = np.arange(-16, 33) / 8 + 1 / 64
    slopes = along(lambda w: jnp.sum(x * residual(w * x + c, jnp.array(y))), grid)
    return [float(w) for w, a, b in zip(grid, slopes, slopes[1:], strict=False) if a < 0 < b]


def valleys() -> tuple:
    """How many valleys squared error and cross-entropy have on the same points."""
    squared = valleys_of(squared_error.from_logits_gradient)
    crossed = valleys_of(cross_entropy.binary_residual)
    words = f"squared error turns up at w ≈ {', '.join(f'{w:.1f}' for w in squared)}"
    return len(
        squared
    ) > 1, f"{words}, cross-entropy at {', '.join(f'{w:.1f}' for w in crossed)} only"


def staircase() -> tuple:
    """The slope of the share of mistakes along each weight, by differences in balls."""
    params, x, y = nr.data()
    share = lambda w: perceptron.mistakes(Params(w, params.bias), x, y)
    slopes = {float(derivative(share, params.weight, axis).value[()]) for axis in np.eye(3)}
    (height,) = balls(share, params.weight)
    return (
        slopes,
        f"{shown(height)} of the points wrong, slopes {', '.join(f'{v:g}' for v in slopes)}",
    )


def kinked() -> tuple:
    """Whether subgradient descent on the perceptron's loss, which has a kink, gets anywhere."""
    x, y = (
        jnp.array([[1.0, 4.0], [2.0, 1.5], [1.0, -1.5], [2.0, 0.5]]),
        jnp.array([1.0, 1.0, 0.0, 0.0]),
    )
    params = Params(jnp.zeros(2), jnp.zeros(()))
    before, steps = float(perceptron.mistakes(params, x, y)), 0
    while float(perceptron.mistakes(params, x, y)) > 0 and steps < 100:
        g = perceptron.gradient(params, x, y)
        params, steps = Params(*(p - a for p, a in zip(params, g, strict=True))), steps + 1
    after = float(perceptron.mistakes(params, x, y))
    words = f"from the kink at 0: mistakes {before:.0%} → {after:.0%} in {steps} steps"
    return "needed" if after else "not needed", words


def errors_of_steps() -> tuple:
    """The values that cross-entropy takes when the predictions are 0 and 1."""
    z = jnp.array([-2.0, -0.5, 0.5, 2.0])
    losses = cross_entropy.binary_from_probabilities(sigmoid.step(z), jnp.ones(4))
    found = set((0.0 + np.asarray(losses)).tolist())
    return found, f"cross-entropy of step predictions is {' or '.join(f'{v:g}' for v in found)}"


def step_values() -> tuple:
    """The values that a step function takes."""
    values = np.asarray(sigmoid.step(jnp.linspace(-4.0, 4.0, 33)))
    found = set(values.tolist())
    return found, f"33 scores from −4 to 4: {', '.join(f'{v:g}' for v in sorted(found))}"


def column_counts(names: Sequence[str]) -> int:
    """How many columns, each with a 1 somewhere, one-hot rows of these names have."""
    categories = sorted(set(names))
    rows = [[float(name == category) for category in categories] for name in names]
    assert all(sum(row) == 1 for row in rows)
    return sum(any(column) for column in zip(*rows, strict=True))


def inside() -> tuple:
    """Whether σ is between 0 and 1 at all scores, in balls."""
    values = along(sigmoid.sigmoid, np.array([-100.0, -17.0, 0.0, 17.0, 100.0]))
    return all(0 < v < 1 for v in values), f"σ(17) = {values[3].str(12, radius=False)}, not 1"


NAMES = (("dog", "cat", "dog"), ("red", "blue", "green", "blue"), tuple("abcde"))

# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(NEURAL, "Neural Networks",
        agrees("building_block", "the perceptron's affine score is what networks are built of",
            lambda w, b, x, y: mlp.loss(mlp.Params((Params(w, b),)), x, y),
            formula(lambda w, b, x, y: logistic.loss(Params(w, b), x, y), (*nr.data()[0], *nr.data()[1:]))),
    ),
    *section(NEURAL, "Non-Linear Regions",
        agrees("no_line_for_xor", "some classes need more than a line: on xor the scores of both classes have one sum, whatever the line",
            opposite_corners, formula(other_corners, (np.array([0.5, -3.0]), np.array(0.25)), (np.array([-7.0, 2.0]), np.array(1.5)))),
        agrees("hidden_units_bend", "a network parts what no line parts", XOR_LABELS, measured(bent_by_hidden_units)),
        agrees("downhill", "improving the model is walking downhill on the error", "falls", measured(downhill)),
        agrees("local_minima", "a walk may end in a valley that is not the lowest", True, measured(valleys)),
        agrees("no_staircase", "an error like a staircase cannot be descended: it is flat", {0.0}, measured(staircase)),
        differs(TOO_STRONG, "must_be_differentiable", "the error has to be differentiable", "needed", measured(kinked),
            "a subgradient is enough: relu and the perceptron have kinks", "not needed"),
        agrees("continuous_predictions", "a continuous error needs continuous predictions", {0.0, float("inf")}, measured(errors_of_steps)),
        agrees("further_is_surer", "the further from the line, the more extreme the probability", "rises", trend(lambda z: jnp.abs(sigmoid.sigmoid(z) - 0.5), RISING)),
    ),
    *section(NEURAL, "Sigmoid Function",
        agrees("step_function", "a step function makes predictions discrete", {0.0, 1.0}, measured(step_values)),
        agrees("zero_to_one", "σ(Wx + b) is a number from 0 to 1 at every point", True, measured(inside)),
        agrees("sigmoid", "sigmoid(x) = 1/(1 + e⁻ˣ)", lambda z: 1 / (1 + jnp.exp(-z)), formula(sigmoid.sigmoid, *SCORES)),
        agrees("example_scores", "4x₁ + 5x₂ − 9 is 0 at (1, 1) and at (−4, 5)", ("0", "0"), figures(score, *HALF_POINTS)),
        agrees("example_half", "both points have a probability of 50%", ("0.50", "0.50"), figures(lambda a, b: sigmoid.sigmoid(score(a, b)), *HALF_POINTS)),
    ),
    *section(NEURAL, "Sigmoid Function (softmax)",
        agrees("softmax_of_two", "softmax does for more classes what the sigmoid does for two",
            sigmoid.sigmoid, formula(lambda z: softmax.softmax(jnp.stack([z, jnp.zeros_like(z)]))[0], *SCORES)),
        agrees("softmax", "P(i) = e^Zᵢ / (e^Z₁ + … + e^Zₙ)", lambda z: jnp.exp(z) / jnp.sum(jnp.exp(z)), formula(softmax.softmax, (TABLE,), (np.array([-3.0, 0.5, 9.0, 9.5]),))),
        agrees("softmax_sums", "what comes out are probabilities: they sum to 1", lambda z: jnp.ones(()), formula(lambda z: jnp.sum(softmax.softmax(z)), (TABLE,))),
        agrees("softmax_table", "scores 2, 1, 0 have the probabilities 0.67, 0.24, 0.09", ("0.67", "0.24", "0.09"), figures(softmax.softmax, TABLE)),
        differs(MISTAKE, "softmax_code", "the code of softmax returns the probabilities", nr.SOFTMAX_WITHOUT_APPEND, code(("0.67", "0.24", "0.09"), TABLE),
            "its loop has no body: append each power over their sum", nr.SOFTMAX_WITH_APPEND),
        differs(FLOATS, "softmax_overflows", "the code of softmax, its loop mended, takes any scores: 1000 and 0", nr.SOFTMAX_WITH_APPEND, code(("1.00", "0.00"), np.array([1000.0, 0.0])),
            "subtract the largest score first, which changes no probability", nr.SOFTMAX_SHIFTED),
    ),
    *section(NEURAL, "One-Hot Encoding",
        agrees("one_hot", "names become columns of numbers, one for each category", lambda names: len(set(names)), exactly(column_counts, *((names,) for names in NAMES))),
    ),
)
# fmt: on
