"""The statements of "Neural networks" on likelihood and cross-entropy, binary and for classes."""

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import jax.numpy as jnp
import numpy as np
from flint import arb

from benchmarks.notes import readings as nr
from benchmarks.notes.checks import (
    along,
    balls,
    code,
    decimal,
    decimals,
    direction,
    exactly,
    figures,
    formula,
    gradient,
    measured,
    proportional,
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
from handgrad._types import Array
from handgrad.catalogue import NEURAL
from handgrad.gradients import bernoulli, cross_entropy

BLUE, IS_BLUE = decimals("0.9 0.6 0.3 0.2"), np.array([0.0, 1.0, 0.0, 1.0])
"""P(blue) of the four points, and whether they are."""
DOORS, GIFTS = decimals("0.8 0.7 0.1"), np.array([1.0, 1.0, 0.0])
OUTCOMES = [np.array(bits, np.float64) for bits in product((1, 0), repeat=3)]
P = decimals("0.0084 0.05 0.3024 0.504 0.75 0.99")
"""Probabilities of an outcome, rising."""
SOFT = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
ONE_HOT = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
DOORS_AT = (np.array([0.8, 0.7, 0.1]), GIFTS)


def better_model() -> tuple:
    """Which prediction gives the accepted student the higher likelihood."""
    chances = zip(("80%", "55%"), decimals("0.80 0.55"), strict=True)
    found = {name: balls(bernoulli.trial, p, np.float64(1.0))[0] for name, p in chances}
    best = max(found, key=lambda name: float(found[name]))
    return best, f"likelihoods {', '.join(map(shown, found.values()))}"


def products_of_tenths(figure: str) -> Finding:
    """Whether four probabilities in tenths have this product, and which."""
    wanted = round(float(figure) * 10**4)
    ways = [c for c in combinations_with_replacement(range(1, 10), 4) if np.prod(c) == wanted]
    found = "; ".join(" × ".join(f"0.{digit}" for digit in way) for way in ways)
    return Finding(bool(ways), f"of tenths: {found or 'no four'}")


def higher() -> tuple:
    """The second figure against the first."""
    (ratio,) = balls(lambda a, b: b / a, P[0], P[2])
    return "higher" if ratio > 1 else "lower", f"{shown(ratio)} times the other"


def accurate_and_likely() -> tuple:
    """Two models of four points: who is right more often, and whose P(all) is higher."""
    models = decimals("0.51 0.51 0.51 0.51"), decimals("0.99 0.99 0.99 0.49")
    right = [sum(bool(p > arb("0.5")) for p in model) for model in models]
    all_ = [balls(bernoulli.likelihood, model, np.ones(4))[0] for model in models]
    goes_along = (right[0] > right[1]) == bool(all_[0] > all_[1])
    words = "; ".join(
        f"{r} of 4 right, P(all) {shown(p)}" for r, p in zip(right, all_, strict=True)
    )
    return "goes along" if goes_along else "does not", words


def same_best_model() -> tuple:
    """The most likely of many models, and the one of least error."""
    models = np.random.default_rng(0).uniform(0.05, 0.95, (20, 4))
    likely = [balls(bernoulli.likelihood, p, IS_BLUE)[0] for p in models]
    errors = [balls(bernoulli.negative_log_likelihood, p, IS_BLUE)[0] for p in models]
    order = [np.argsort([float(v) for v in values]) for values in (likely, errors)]
    same = list(order[0]) == list(order[1][::-1])
    return (
        same,
        f"20 models sorted by error and by likelihood: {'opposite' if same else 'other'} orders",
    )


def most_likely_doors() -> tuple:
    """The outcome of the highest probability."""
    chance = [balls(bernoulli.likelihood, DOORS, y)[0] for y in OUTCOMES]
    best = max(range(8), key=lambda i: float(chance[i]))
    outcome = tuple(OUTCOMES[best].astype(int).tolist())
    return outcome, f"of the eight, {outcome}: {shown(chance[best])}"


def outcomes_in_order() -> tuple:
    """Cross-entropy along the eight outcomes, from the least probable to the most."""
    chance = [balls(bernoulli.likelihood, DOORS, y)[0] for y in OUTCOMES]
    error = [balls(bernoulli.negative_log_likelihood, DOORS, y)[0] for y in OUTCOMES]
    order = sorted(range(8), key=lambda i: float(chance[i]))
    way = direction([error[i] for i in order])
    return (
        way,
        f"{way}: P {shown(chance[order[0]])} … {shown(chance[order[-1]])}, {shown(error[order[0]])} … {shown(error[order[-1]])} nats",
    )


def sum_of_outcomes(p: Array) -> Array:
    """The probabilities of the eight outcomes, added."""
    return sum((bernoulli.likelihood(p, jnp.array(y)) for y in OUTCOMES), jnp.zeros(()))


def entropy(p: Array) -> Array:
    """Σ over the outcomes of P (−ln P): one number for the three doors."""
    parts = [
        bernoulli.likelihood(p, jnp.array(y)) * bernoulli.negative_log_likelihood(p, jnp.array(y))
        for y in OUTCOMES
    ]
    return sum(parts, jnp.zeros(()))


def of_each_door(p: Array) -> Array:
    """−Σ [p ln p + (1−p) ln(1−p)]."""
    return -jnp.sum(p * jnp.log(p) + (1 - p) * jnp.log(1 - p))


def of_certain_mistake() -> tuple:
    """The cost of an event that was called impossible."""
    (cost,) = balls(cross_entropy.binary_from_probabilities, np.float64(0.0), np.float64(1.0))
    return "finite" if cost.is_finite() else "infinite", f"−ln 0 = {shown(cost)}"


def least_where_alike() -> tuple:
    """Cross-entropy as p goes from the outcome to its opposite."""
    values = along(
        lambda t: nr.bracketed(jnp.abs(jnp.array(GIFTS) - t), jnp.array(GIFTS)),
        decimals("0.001 0.1 0.4 0.7 0.99"),
    )
    return direction(
        values
    ), f"{direction(values)} as p leaves the outcome: {shown(values[0])} … {shown(values[-1])}"


def summed_to(first: str, second: str) -> Callable:
    """−Σ_{i ≤ first} Σ_{j ≤ second} y_ij ln p_ij, for m examples (rows) and n classes (columns)."""

    def double_sum(y: list, p: list) -> float:
        limit = {"m": len(y), "n": len(y[0])}
        cells = product(range(limit[first]), range(limit[second]))
        return -sum(y[i][j] * np.log(p[i][j]) for i, j in cells)

    return double_sum


def over_rows(y: list, p: list) -> float:
    """The cross-entropies of the examples, added."""
    return -sum(y[i][j] * np.log(p[i][j]) for i in range(len(y)) for j in range(len(y[0])))


# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(NEURAL, "Maximum Likelihood",
        agrees("accepted_student", "for an accepted student, the model that said 80% beats the one that said 55%", "80%", measured(better_model)),
        agrees("red_or_blue", "P(red) = 1 − P(blue)", lambda p: 1 - p, formula(lambda p: bernoulli.trial(p, jnp.zeros_like(p)), (BLUE,))),
        agrees("four_points", "P(all) = 0.1 × 0.6 × 0.7 × 0.2 = 0.0084", ("0.0084",), figures(bernoulli.likelihood, BLUE, IS_BLUE)),
        agrees("other_model", "the P(all) of the other model is 0.3024", "0.3024", products_of_tenths),
        agrees("much_higher", "0.3024 is much higher than 0.0084", "higher", measured(higher)),
        differs(MISTAKE, "accuracy_is_likelihood", "P(all) says how accurate a model is", "goes along", measured(accurate_and_likely),
            "how probable it makes the labels: a model may be right more often and less likely", "does not"),
        agrees("maximum_is_minimum", "to maximise the probability is to minimise the error", True, measured(same_best_model)),
    ),
    *section(NEURAL, "Cross Entropy",
        agrees("log_of_product", "log(ab) = log(a) + log(b)", lambda p: jnp.sum(jnp.log(p)), formula(lambda p: jnp.log(jnp.prod(p)), (BLUE,))),
        agrees("larger_is_worse", "the larger the negative logarithm, the more wrong the point", "falls", trend(lambda p: -jnp.log(p), P)),
        agrees("sum_of_negative_logs", "cross entropy is the sum of the negative logarithms",
            lambda p, y: -jnp.sum(jnp.log(bernoulli.trial(p, y))), formula(bernoulli.negative_log_likelihood, (BLUE, IS_BLUE), (DOORS, GIFTS))),
        agrees("lower_probability", "a lower probability has a higher cross entropy", "falls", measured(outcomes_in_order)),
    ),
    *section(NEURAL, "Cross Entropy Example",
        agrees("doors", "0.8 × 0.7 × 0.9 = 0.504", ("0.504",), figures(bernoulli.likelihood, DOORS, GIFTS)),
        agrees("doors_half", "that is roughly 50%", ("0.5",), figures(bernoulli.likelihood, DOORS, GIFTS)),
        agrees("likeliest_doors", "taking the likelier side of each door gives the likeliest outcome, (1, 1, 0)", (1, 1, 0), measured(most_likely_doors)),
        differs(MISTAKE, "brackets", "−Σ y ln p + (1−y) ln(1−p), without brackets", nr.unbracketed_gradient, gradient(bernoulli.negative_log_likelihood, DOORS_AT),
            "−Σ [y ln p + (1−y) ln(1−p)], here and in both formulas of the error function", nr.bracketed_gradient),
        agrees("doors_formula", "with brackets it is what the example computes", nr.bracketed, formula(lambda p, y: -jnp.log(p[0]) - jnp.log(p[1]) - jnp.log(1 - p[2]), (DOORS, GIFTS))),
        agrees("doors_figure", "CE[(1, 1, 0), (0.8, 0.7, 0.1)] = 0.69", ("0.69",), figures(bernoulli.negative_log_likelihood, DOORS, GIFTS)),
        agrees("eight_outcomes", "the outcomes in the table are all that can happen", lambda p: jnp.ones(()), formula(sum_of_outcomes, (DOORS,))),
        agrees("likely_outcomes_cost_little", "the more probable of the eight outcomes, the lower its cross entropy", "falls", measured(outcomes_in_order)),
        differs(WORDING, "called_entropies", "what an outcome has is an entropy", lambda p: bernoulli.negative_log_likelihood(p, jnp.array(GIFTS)), formula(entropy, (DOORS,)),
            "−ln P is the cross entropy of one outcome; the entropy is its mean over all of them", of_each_door),
        differs(MISTAKE, "float_", "the code of cross entropy runs", nr.CROSS_ENTROPY_FLOAT_, code(("0.69",), GIFTS, [0.8, 0.7, 0.1]),
            "np.float64, or np.asarray: NumPy 2 has no np.float_", nr.CROSS_ENTROPY_FLOAT64),
        differs(FLOATS, "certain_and_right", "the code of cross entropy, np.float_ mended, takes any p: (1, 0) for y = (1, 0)", nr.CROSS_ENTROPY_FLOAT64, code(("0.00",), np.array([1.0, 0.0]), [1.0, 0.0]),
            "the event that happened alone: 0 · log 0 is NaN in floats", nr.CROSS_ENTROPY_OF_THE_EVENT),
        differs(TOO_STRONG, "certain_mistake", "cross entropy is a number that says how wrong a point is, for any p in [0, 1]", "finite", measured(of_certain_mistake),
            "a certain mistake, p = 0 and y = 1, has none: log 0 is −∞", "infinite"),
        agrees("similarity", "it tells how much the outcome and the probabilities are alike", "rises", measured(least_where_alike)),
    ),
    *section(NEURAL, "Multi-Class Cross Entropy",
        agrees("classes", "−Σᵢ Σⱼ yᵢⱼ ln pᵢⱼ", lambda y, p: -jnp.sum(y * jnp.log(p)), formula(lambda y, p: jnp.sum(cross_entropy.categorical_from_probabilities(p, y)), (ONE_HOT, SOFT))),
        agrees("two_classes", "with two classes it is the binary formula", lambda p, y: cross_entropy.categorical_from_probabilities(jnp.stack([p, 1 - p]), jnp.stack([y, 1 - y])),
            formula(cross_entropy.binary_from_probabilities, (decimal("0.8"), np.float64(1.0)), (decimal("0.3"), np.float64(0.0)))),
        differs(WORDING, "letters", "i runs to n and j to m, where the error function has m examples and n classes", summed_to("n", "m"), exactly(over_rows, (ONE_HOT.tolist(), SOFT.tolist())),
            "i to m and j to n", summed_to("m", "n")),
        differs(MISTAKE, "inversely_proportional", "cross entropy is inversely proportional to the probability of the outcome", lambda p: 1 / p,
            proportional(lambda p: -jnp.log(p), *((p,) for p in P)), "it falls as the probability rises: it is −ln P", lambda p: -2 * jnp.log(p)),
    ),
)
# fmt: on
