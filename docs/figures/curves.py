"""Figures of curves: the logarithm, the step and the sigmoid, scaling, and the product's underflow.

Every line is the package's own function at the points drawn, or, where floating point is the
subject, the very numbers that come out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import AMBER, FAINT, GREEN, INK, ONE, ZERO, page, plain
from handgrad._precision import x64
from handgrad.gradients import bernoulli, logistic, sigmoid, squared_error
from handgrad.gradients.linear import Params

CHORD = (0.04, 0.64)
"""The ends of the chord under log ŷ; its mirror image lies under log(1−ŷ)."""
SQUARES = {0.5: "½ x²", 1.0: "x²", 2.0: "2 x²", -1.0: "−x²: a maximum"}
HEIGHTS = np.array([-2.0, -1.2, -0.7, -0.3, 0.2, 0.6, 1.1, 1.9])
PASSED = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
"""Eight points on a line, and labels that no threshold parts: the least error has a place."""
COINS = 1_400


def logarithm_figure() -> Figure:
    """log ŷ and log(1−ŷ), to be climbed and concave; their negatives, to be descended."""
    figure, (climb, descend) = page(2)
    with x64():
        p = jnp.arange(2.0, 499.0) / 500
        for y, name, colour in ((1.0, "log ŷ", ONE), (0.0, "log(1 − ŷ)", ZERO)):
            value = bernoulli.log_trial(p, jnp.full_like(p, y))
            climb.plot(p, value, color=colour, linewidth=2.4, label=f"{name}   (y = {y:g})")
            ends = jnp.array(CHORD if y else (1 - CHORD[1], 1 - CHORD[0]))
            heights = bernoulli.log_trial(ends, jnp.full_like(ends, y))
            climb.plot(
                ends, heights, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), marker="o",
                markersize=4, label="a chord lies below" if y else "_mirrored chord",
            )  # fmt: skip
            descend.plot(p, -value, color=colour, linewidth=2.4, label=f"−{name}   (y = {y:g})")
    plain(climb, "Climbed: the logarithm of a trial", "prediction ŷ", "log-likelihood (nats)")
    plain(descend, "Descended: its negative", "prediction ŷ", "cross-entropy (nats)")
    climb.set_ylim(-5.2, 0.15)
    descend.set_ylim(-0.15, 5.2)
    climb.legend(frameon=False, loc="lower center")
    descend.legend(frameon=False, loc="upper center")
    for axes in (climb, descend):
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set_xlim(-0.02, 1.02)
    return figure


def sigmoid_figure() -> Figure:
    """The step and the sigmoid, and their slopes: descent needs one that is not 0."""
    figure, (values, slopes) = page(2)
    with x64():
        z = jnp.arange(-160.0, 161.0) / 20
        left, right = z[z < 0], z[z >= 0]
        for part, name in ((left, "step(z)"), (right, "_step")):
            values.plot(part, sigmoid.step(part), color=AMBER, linewidth=3.6, label=name)
            slopes.plot(
                part, sigmoid.step_derivative(part), color=AMBER, linewidth=3.6,
                label="step′(z) = 0, none at 0" if name[0] != "_" else name,
            )  # fmt: skip
        values.plot(z, sigmoid.sigmoid(z), color=GREEN, linewidth=2.2, label="σ(z) = 1/(1 + e⁻ᶻ)")
        slopes.plot(
            z, sigmoid.sigmoid_derivative(z), color=GREEN, linewidth=2.2, label="σ′(z) = σ(z) σ(−z)"
        )
    values.plot([0], [0], "o", color="white", markeredgecolor=AMBER, markeredgewidth=2)
    values.plot([0], [1], "o", color=AMBER)
    values.plot([0], [0.5], "o", color=GREEN)
    values.annotate("σ(0) = ½", (0, 0.5), (0.6, 0.45), color=INK)
    slopes.plot([0], [0], "o", color="white", markeredgecolor=AMBER, markeredgewidth=2)
    plain(values, "Predictions", "score z", "prediction ŷ")
    plain(slopes, "Their slopes", "score z", "dŷ/dz")
    slopes.set_ylim(-0.012, 0.3)
    for axes in (values, slopes):
        axes.legend(frameon=False, loc="upper left")
    return figure


def scaling_figure() -> Figure:
    """k x² and the sum and mean of cross-entropy: the place of a minimum does not depend on k."""
    figure, (squares, errors) = page(2)
    with x64():
        x = jnp.arange(-80.0, 81.0) / 40
        for k, width in zip(SQUARES, (1.4, 2.2, 3.0, 2.2), strict=True):
            squares.plot(
                x, squared_error.squared_error(x, jnp.zeros_like(x), k), linewidth=width,
                color=GREEN if k > 0 else ONE, linestyle="-" if k > 0 else (0, (4, 2)),
                label=SQUARES[k],
            )  # fmt: skip
        w = jnp.arange(-40.0, 201.0) / 40
        mean = jax.vmap(_error)(w)
        n = len(HEIGHTS)
        errors.plot(w, n * mean, color=ZERO, linewidth=2.4, label=f"summed over {n} points")
        errors.plot(w, mean, color=GREEN, linewidth=2.4, label="their mean")
        best = float(w[int(jnp.argmin(mean))])
    squares.axvline(0, color=FAINT, linewidth=0.9, linestyle=":")
    errors.axvline(best, color=FAINT, linewidth=0.9, linestyle=":")
    errors.annotate(f"both least at w = {best:.2f}", (best, 1.5), (best + 0.15, 1.45), color=INK)
    plain(squares, "k x² for some k", "x", "k x²")
    plain(errors, "Cross-entropy of one weight", "weight w", "error (nats, logarithmic)")
    errors.set_yscale("log")
    errors.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    errors.minorticks_off()
    squares.legend(frameon=False, loc="upper center", ncols=2)
    errors.legend(frameon=False, loc="upper right")
    squares.set_ylim(-4.4, 11)
    return figure


def _error(w: jax.Array) -> jax.Array:
    params = Params(w[None], jnp.zeros((), w.dtype))
    return logistic.loss(params, jnp.array(HEIGHTS)[:, None], jnp.array(PASSED))


def underflow_figure() -> Figure:
    """The likelihood of fair coins, which becomes 0, beside the sum of its logarithms."""
    figure, (products, sums) = page(2)
    n = np.arange(1, COINS + 1)
    products.plot(
        n,
        n * np.log10(0.5),
        color=FAINT,
        linewidth=1.2,
        linestyle=(0, (4, 2)),
        label="the real number",
    )
    for dtype, colour in (("float64", ZERO), ("float32", ONE)):
        product = np.cumprod(np.full(COINS, 0.5, dtype))
        alive = product > 0
        powers = np.log10(product[alive].astype(np.float64))
        products.plot(n[alive], powers, color=colour, linewidth=3, label=f"{dtype}")
        first = int(n[~alive][0])
        products.plot([first], powers[-1:], "X", color=colour, markersize=10)
        products.annotate(
            f"0 from {first:,} on", (first, powers[-1]), (10, 1), textcoords="offset points",
            color=INK,
        )  # fmt: skip
        total = np.cumsum(np.log(np.full(COINS, 0.5, dtype)), dtype=dtype)
        sums.plot(
            n, total, color=colour, linewidth=4 if dtype == "float64" else 1.8,
            linestyle="-" if dtype == "float64" else (0, (3, 3)), label=dtype,
        )  # fmt: skip
    sums.annotate(
        f"−{-total[-1]:.0f} nats", (COINS, total[-1]), (-12, -2), textcoords="offset points",
        ha="right", color=INK,
    )  # fmt: skip
    plain(products, "The product of many trials", "fair coins", "likelihood (power of ten)")
    plain(sums, "The sum of their logarithms", "fair coins", "log-likelihood (nats)")
    products.set_xlim(-60, 1.2 * COINS)
    products.legend(frameon=False, loc="lower left")
    sums.legend(frameon=False, loc="lower left")
    return figure
