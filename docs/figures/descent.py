"""The figure of descent: the error of logistic regression as a surface over two weights.

Two measures of tumours, standardised, and a bias that is held at 0: so the surface is the whole
of the error, and a step along −∇E is a step of the picture.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from figures.style import AMBER, GREEN, INK, plain
from handgrad._precision import x64
from handgrad.data import Dataset, load, standardise
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params

MEASURES = ("mean radius", "mean texture")
START = (3.0, 1.5)
RATES = ((1.0, 60, GREEN), (8.0, 60, AMBER))
"""Learning rate, steps and colour of each path."""
EXTENT = (-5.2, 3.6, -3.2, 2.4)
NEWTON_STEPS = 12
LIFT = 0.02
"""By which a path is drawn above the surface, to be seen."""
PALE = LinearSegmentedColormap.from_list("pale", ["#cfdfee", "#f7f9fb", "#f1d5cb"])


def tumours() -> Dataset:
    """The two measures, standardised."""
    (data,) = standardise(load("breast-cancer"))
    columns = [data.feature_names.index(name) for name in MEASURES]
    return Dataset(data.name, data.x[:, columns], data.y, MEASURES, data.class_names, data.source)


def error_at(weights: jax.Array, data: Dataset) -> jax.Array:
    """E of two weights and no bias."""
    params = Params(weights, jnp.zeros((), weights.dtype))
    return logistic.loss(params, jnp.asarray(data.x), jnp.asarray(data.y))


def path(data: Dataset, rate: float, steps: int) -> np.ndarray:
    """(steps + 1, 2): gradient descent on the weights from START, by the hand-derived gradient."""
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    weights, places, gradient = jnp.array(START), [], jax.jit(logistic.gradient)
    for _ in range(steps + 1):
        places.append(np.asarray(weights))
        params = Params(weights, jnp.zeros((), weights.dtype))
        weights = weights - rate * gradient(params, x, y).weight
    return np.stack(places)


def minimum(data: Dataset) -> np.ndarray:
    """The weights of least error, by Newton's method."""
    x, y, weights = jnp.asarray(data.x), jnp.asarray(data.y), jnp.zeros(2)
    hessian, gradient = jax.jit(logistic.hessian), jax.jit(logistic.gradient)
    for _ in range(NEWTON_STEPS):
        params = Params(weights, jnp.zeros((), weights.dtype))
        curvature: Any = hessian(params, x, y).weight
        slope = gradient(params, x, y).weight
        weights = weights - jnp.linalg.solve(curvature.weight, slope)
    return np.asarray(weights)


def surface_figure() -> Figure:
    """The surface in relief, and from above, with two paths of descent."""
    figure = Figure(figsize=(10.8, 4.8), layout="constrained")
    relief: Any = figure.add_subplot(1, 2, 1, projection="3d")
    above = figure.add_subplot(1, 2, 2)
    first, second = np.meshgrid(
        np.linspace(EXTENT[0], EXTENT[1], 81), np.linspace(EXTENT[2], EXTENT[3], 81)
    )
    with x64():
        data = tumours()
        errors = jax.jit(jax.vmap(partial(error_at, data=data)))
        grid = jnp.asarray(np.stack([first.ravel(), second.ravel()], axis=1))
        height = np.asarray(errors(grid)).reshape(first.shape)
        least = minimum(data)
        paths = [path(data, rate, steps) for rate, steps, _ in RATES]
        heights = [np.asarray(errors(jnp.asarray(places))) for places in paths]
        floor = float(errors(jnp.asarray(least[None]))[0])
    relief.plot_surface(
        first, second, height, cmap=PALE, linewidth=0.2, edgecolor="#b8c4d0", alpha=0.85
    )
    levels = floor + np.geomspace(0.01, height.max() - floor, 12)
    above.contourf(first, second, height, [floor, *levels], cmap=PALE)
    lines = above.contour(first, second, height, levels, colors="#9fb0c0", linewidths=0.8)
    above.clabel(lines, levels[3::2], fmt="%.2f", fontsize=7.5)
    for (rate, steps, colour), (across, up), high in zip(
        RATES, (places.T for places in paths), heights, strict=True
    ):
        name = f"α = {rate:g}, {steps} steps: {high[-1]:.3f} nats"
        relief.plot(across, up, high + LIFT, color=colour, marker="o", markersize=2.5, zorder=5)
        above.plot(across, up, color=colour, marker="o", markersize=3.5, label=name)
    above.plot(
        *least[:, None], "x", color=INK, markersize=9, markeredgewidth=2,
        label=f"least error: {floor:.3f} nats",
    )  # fmt: skip
    finish(relief, above)
    return figure


def finish(relief: Any, above: Axes) -> None:
    """Titles, labels and limits."""
    labels = [f"weight of {measure}" for measure in MEASURES]
    plain(above, "From above: two rates", *labels)
    above.legend(loc="upper left", framealpha=0.9, fontsize=8.5)
    above.set_xlim(EXTENT[:2])
    above.set_ylim(EXTENT[2:])
    relief.set_title(
        "The error over two weights (breast-cancer)", loc="left", size=11, weight="bold", color=INK
    )
    relief.set_xlabel(labels[0], color=INK, size=8.5)
    relief.set_ylabel(labels[1], color=INK, size=8.5, labelpad=7)
    relief.set_zlabel("error (nats)", color=INK, size=8.5)
    relief.tick_params(labelsize=7.5, colors=INK)
    relief.view_init(30, -112)
