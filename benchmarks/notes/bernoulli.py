"""The statements of "How did binary cross-entropy loss come into existence?", in its order."""

from fractions import Fraction
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from flint import arb

from benchmarks.notes import readings as nr
from benchmarks.notes.checks import (
    along,
    balls,
    decimal,
    decimals,
    direction,
    exactly,
    formula,
    gradient,
    measured,
    shown,
    trend,
)
from benchmarks.notes.records import (
    MISTAKE,
    WORDING,
    Finding,
    Statement,
    agrees,
    differs,
    section,
)
from handgrad.catalogue import BINARY
from handgrad.gradients import bernoulli, cross_entropy
from handgrad.gradients.sigmoid import sigmoid

P = decimals("0.1 0.25 0.5 0.6 0.8 0.99")
"""Probabilities that rise from left to right."""
THREE, HAPPENED = decimals("0.8 0.7 0.1"), np.array([1.0, 1.0, 0.0])
EACH = tuple((decimal(p), np.float64(y)) for p in ("0.8", "0.3", "0.97") for y in (0, 1))
MANY = 1_100
AT_FLOATS = (np.array([0.8, 0.7, 0.1]), HAPPENED)
TITLE = "How Did Binary Cross-Entropy Loss Come into Existence"


def binary_mean(p: jnp.ndarray, y: jnp.ndarray) -> jnp.ndarray:
    """Binary cross-entropy: the mean over the trials."""
    return jnp.mean(cross_entropy.binary_from_probabilities(p, y))


def loss_when(y: float) -> list[arb]:
    """Cross-entropy of a label along rising predictions."""
    return along(lambda p: cross_entropy.binary_from_probabilities(p, jnp.float64(y)), P)


def good_predictions() -> tuple:
    """Which way the loss goes as ŷ rises, for both labels."""
    both = direction(loss_when(1.0)), direction(loss_when(0.0))
    return both, f"as ŷ rises the loss {both[0]} for y = 1, {both[1]} for y = 0"


def values_of_expression() -> tuple:
    """The values that the expression takes at ŷ = 0.8."""
    found = {shown(balls(bernoulli.trial, decimal("0.8"), np.float64(y))[0]) for y in (0, 1)}
    return found, f"at ŷ = 0.8 it is {' or '.join(sorted(found))}"


def pairs_counted(a: int, b: int) -> Fraction:
    """P(both), by counting the pairs of two urns with ten balls, a and b of them marked."""
    both = [(i, j) for i in range(10) for j in range(10) if i < a and j < b]
    return Fraction(len(both), 100)


def product_of_many() -> tuple:
    """The product of many trials in float64."""
    value = float(np.prod(np.full(MANY, 0.5)))
    return value, f"{MANY:,} fair coins in float64: {value:g}"


def sum_of_many() -> tuple:
    """The sum of the logarithms of as many."""
    value = float(np.sum(np.log(np.full(MANY, 0.5))))
    (true,) = balls(lambda n: n * jnp.log(0.5 * n / n), np.float64(MANY))
    near = abs(value - float(true.mid())) < 1e-9
    return "finite" if near else "lost", f"their logarithms add up to {value:.4f}"


def range_of_predictions() -> tuple:
    """The interval of ŷ = σ(z) over real scores, and log ŷ at its lower end."""
    ends = along(sigmoid, np.array([-100.0, 100.0]))
    (log0,) = balls(jnp.log, np.float64(0.0))
    open_ = ends[0] > 0 and ends[1] < 1 and not log0.is_finite()
    return "(0, 1)" if open_ else "[0, 1]", f"σ(±100) is neither 0 nor 1; log 0 is {shown(log0)}"


def best_log() -> tuple:
    """Where log ŷ and log(1−ŷ) are largest on a grid that holds the ends, and how large."""
    grid = np.linspace(0, 1, 101)
    found = []
    for inside in (grid, 1 - grid):
        values = [-np.inf if v == 0 else float(arb(float(v)).log()) for v in inside]
        top = int(np.argmax(values))
        found.append((float(grid[top]), values[top]))
    words = " and ".join(f"{value:g} at ŷ = {where:g}" for where, value in found)
    return tuple(found), f"the largest values are {words}"


def bend_of_log() -> tuple:
    """Whether the middle of each chord lies below the curve, for log ŷ and log(1−ŷ)."""
    below = True
    for a, b in pairwise(P):
        for f in (lambda p: p.log(), lambda p: (1 - p).log()):
            below = below and bool((f(a) + f(b)) / 2 < f((a + b) / 2))
    return (
        "concave" if below else "not concave",
        f"five chords of both curves lie {'below' if below else 'not below'} them",
    )


def descent_on_negative() -> tuple:
    """−log σ(z) along steps of gradient descent from z = −1."""
    z, losses = jnp.float32(-1.0), []
    for _ in range(20):
        losses.append(float(cross_entropy.binary(z, jnp.float32(1.0))))
        z = z - 0.5 * cross_entropy.binary_residual(z, jnp.float32(1.0))
    return direction(losses), f"20 steps of descent: {losses[0]:.3f} → {losses[-1]:.3f}"


def scaled_square(factor: str) -> str:
    """What k x² has at x = 0."""
    k, x = Fraction(factor), [Fraction(i, 10) for i in range(-20, 21)]
    values = [k * v * v for v in x]
    if max(values) == min(values):
        return "flat"
    ends = {"minimum": min(values), "maximum": max(values)}
    return next((n for n, v in ends.items() if [x[values.index(v)]] == [0]), "neither")


def scaled_squares(*factors: str) -> tuple:
    """The same for several factors."""
    found = tuple(scaled_square(k) for k in factors)
    return found, "; ".join(f"k = {k}: {what}" for k, what in zip(factors, found, strict=True))


def same_minimum() -> tuple:
    """Where Σ and (1/n) Σ are least over a common ŷ, three of four labels being 1."""
    y, grid = np.array([1.0, 1.0, 1.0, 0.0]), np.linspace(0.05, 0.95, 19)
    sums = [float(bernoulli.negative_log_likelihood(jnp.full(4, p), jnp.array(y))) for p in grid]
    where = (
        round(float(grid[int(np.argmin(sums))]), 2),
        round(float(grid[int(np.argmin(np.array(sums) / 4))]), 2),
    )
    return where[0] == where[1], f"least at ŷ = {where[0]} summed, {where[1]} divided by n"


def address_of_title(slug: str) -> Finding:
    """How many words of an address are in the title of the article."""
    words = slug.split("-")
    shared = [word for word in words if word in TITLE.lower().replace("-", " ").split()]
    return Finding(bool(shared), f"{len(shared)} of its {len(words)} words are in the title")


def surname(author: str) -> Finding:
    """The surname as BibTeX takes it: what stands before the comma."""
    found = author.split(",")[0].strip()
    return Finding(found == "Shukla", f"BibTeX takes {found} for the surname")


# fmt: off
STATEMENTS: tuple[Statement, ...] = (
    *section(BINARY, "Properties of binary classification problem",
        agrees("classes_complement", "an example is in one of two classes: their probabilities sum to 1",
            lambda p: jnp.ones(()),
            formula(lambda p: bernoulli.trial(p, jnp.ones(())) + bernoulli.trial(p, jnp.zeros(())), *((decimal(p),) for p in ("0.8", "0.3")))),
        agrees("independent", "one outcome has no say in another: P(second | first) = P(second)",
            lambda p, y: bernoulli.trial(p, y)[1],
            formula(lambda p, y: bernoulli.likelihood(p, y) / bernoulli.trial(p, y)[0], (P[:2], HAPPENED[1:]), (P[3:5], HAPPENED[:2]))),
        agrees("order_has_no_say", "independence makes the calculation easier: the order of the examples has no say",
            lambda p, y: bernoulli.likelihood(p[::-1], y[::-1]), formula(bernoulli.likelihood, (THREE, HAPPENED))),
    ),
    *section(BINARY, "Basics of Bernoulli trials",
        agrees("other_class", "the other class has probability 1 − ŷ",
            lambda p: 1 - p, formula(lambda p: bernoulli.trial(p, jnp.zeros_like(p)), (P,))),
        agrees("good_classifier", "a good ŷ is high where y = 1 and low where y = 0", ("falls", "rises"), measured(good_predictions)),
        agrees("maximise_complement", "to lower ŷ is to raise 1 − ŷ", "falls", trend(lambda p: 1 - p, P)),
        agrees("single_expression", "one expression serves both labels, ŷ^y (1−ŷ)^(1−y)",
            lambda p, y: jnp.power(p, y) * jnp.power(1 - p, 1 - y), formula(lambda p, y: jnp.where(y == 1, p, 1 - p), *EACH)),
        differs(WORDING, "called_a_trial", "that expression is a Bernoulli trial", {"0", "1"}, measured(values_of_expression),
            "the probability of the outcome of a trial; the outcome itself is 0 or 1", {"0.8", "0.2"}),
        agrees("multiplied", "the trials multiply", lambda p, y: jnp.prod(bernoulli.trial(p, y)), formula(bernoulli.likelihood, (THREE, HAPPENED))),
    ),
    *section(BINARY, "Probability of multiple independent events",
        agrees("product_of_events", "P(A and B) = P(A) P(B)",
            lambda a, b: Fraction(a, 10) * Fraction(b, 10), exactly(pairs_counted, *((a, b) for a in range(11) for b in range(11)))),
    ),
    *section(BINARY, "Properties of logarithm",
        agrees("product_rule", "log(ab) = log a + log b", lambda a, b: jnp.log(a) + jnp.log(b), formula(lambda a, b: jnp.log(a * b), (P[0], P[4]), (P[1], P[3]))),
        agrees("power_rule", "log(aᵇ) = b log a", lambda a, b: b * jnp.log(a), formula(lambda a, b: jnp.log(jnp.power(a, b)), (P[0], P[4]), (P[1], P[3]))),
    ),
    *section(BINARY, "Why do we take a log of Bernoulli trials?",
        agrees("product_vanishes", "the product of many probabilities comes out as 0", 0.0, measured(product_of_many)),
        agrees("sum_survives", "the sum of their logarithms does not", "finite", measured(sum_of_many)),
        agrees("product_to_sum", "the product rule turns the product into a sum", lambda p: jnp.sum(jnp.log(p)), formula(lambda p: jnp.log(jnp.prod(p)), (P,))),
        differs(WORDING, "sum_of_values", "in place of the product of the values, their sum is taken", jnp.sum,
            formula(lambda p: jnp.log(jnp.prod(p)), (P,)), "the sum of their logarithms", lambda p: jnp.sum(jnp.log(p))),
    ),
    *section(BINARY, "Why do we take a negative log of Bernoulli trial?",
        differs(MISTAKE, "called_the_loss", "the logarithm of the trial is the value of the loss", bernoulli.log_trial,
            formula(cross_entropy.binary_from_probabilities, *EACH), "its negative is the loss", lambda p, y: -bernoulli.log_trial(p, y)),
        differs(MISTAKE, "minimise_log", "log ŷ and log(1−ŷ) have to be minimised", bernoulli.log_likelihood_gradient,
            gradient(bernoulli.negative_log_likelihood, AT_FLOATS), "maximised; their negatives are minimised", bernoulli.negative_log_likelihood_gradient),
        differs(WORDING, "closed_interval", "ŷ may take every value in [0, 1]", "[0, 1]", measured(range_of_predictions),
            "(0, 1): at the ends one of the two logarithms does not exist", "(0, 1)"),
        agrees("best_is_zero", "both curves have their best value 0, at ŷ = 1 and at ŷ = 0", ((1.0, 0.0), (0.0, 0.0)), measured(best_log)),
        agrees("concave", "both curves are concave", "concave", measured(bend_of_log)),
        agrees("ascent_is_descent", "gradient ascent on the logarithm is gradient descent on its negative",
            lambda p, y: p + 0.125 * bernoulli.log_likelihood_gradient(p, y),
            formula(lambda p, y: p - 0.125 * bernoulli.negative_log_likelihood_gradient(p, y), (THREE, HAPPENED))),
        agrees("descent_finds_it", "descent on the negative goes to the optimum", "falls", measured(descent_on_negative)),
    ),
    *section(BINARY, "Single Bernoulli Trial",
        agrees("log_of_trial", "the logarithm of the trial is y log ŷ + (1−y) log(1−ŷ)",
            lambda p, y: y * jnp.log(p) + (1 - y) * jnp.log(1 - p), formula(lambda p, y: jnp.log(bernoulli.trial(p, y)), *EACH)),
        agrees("negative_of_trial", "its negative is −y log ŷ − (1−y) log(1−ŷ)",
            lambda p, y: nr.of_each_point(y, p), formula(cross_entropy.binary_from_probabilities, *EACH)),
    ),
    *section(BINARY, "Multiple Independent Bernoulli Trials",
        agrees("log_of_many", "the logarithm of the product is the sum over the trials",
            lambda p, y: jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)), formula(lambda p, y: jnp.log(bernoulli.likelihood(p, y)), (THREE, HAPPENED))),
        agrees("negative_of_many", "its negative is what is minimised", nr.bracketed, formula(bernoulli.negative_log_likelihood, (THREE, HAPPENED))),
    ),
    *section(BINARY, "Scaling a Function",
        agrees("scaling", "k x² has its minimum where x² has it", ("minimum",) * 4, measured(lambda: scaled_squares("1/2", "1", "2", "10"))),
        differs(MISTAKE, "any_factor", "scaling by a factor never moves a minimum or maximum", ("minimum",) * 3, measured(lambda: scaled_squares("2", "0", "-1")),
            "a factor above 0; the −1 of the negative logarithm is one that turns a maximum into a minimum", ("minimum", "flat", "maximum")),
        agrees("divided_by_n", "dividing by the number of examples moves no minimum", True, measured(same_minimum)),
        differs(MISTAKE, "log_likelihood_over_n", "the log-likelihood divided by n is binary cross-entropy", nr.mean_log_likelihood_gradient,
            gradient(binary_mean, AT_FLOATS), "the negative log-likelihood divided by n", nr.mean_negative_log_likelihood_gradient),
    ),
    *section(BINARY, "Citation",
        differs(MISTAKE, "citation_address", "the address in the BibTeX entry is that of the article", "probability-vs-likelihood",
            address_of_title, "an address that belongs to this article: the title shares no word with it", TITLE.lower().replace(" ", "-")),
        differs(MISTAKE, "citation_author", "the author in the BibTeX entry is the one cited, Shukla", "Pratik, Shukla",
            surname, "in BibTeX the surname comes before the comma", "Shukla, Pratik"),
    ),
)
# fmt: on
