"""The animation of who still pushes: the perceptron beside gradient descent, step by step.

Both start from the same line and see all points at every step. The area of a disc is |y − ŷ|,
which is how hard its point pushes: 0 or 1 for the perceptron, which stops once every point is on
its side; never quite 0 for the sigmoid, which keeps moving the line away from all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.style import INK, ONE, ZERO, plain
from handgrad._precision import x64
from handgrad.data import Dataset, load, standardise
from handgrad.gradients import logistic, perceptron, sigmoid
from handgrad.gradients.cross_entropy import binary_residual
from handgrad.gradients.linear import Params

LEARNING_RATE = 0.5
START = (np.array([0.9, 0.7]), 0.2)
SHOWN = (*range(16), *range(16, 40, 3), *(round(40 * 1.3**k) for k in range(20)))
"""The steps that become frames: all at first, then ever fewer."""
LARGEST = 300.0
"""The area of a disc, in square points, where |y − ŷ| = 1."""
FRAMES_A_SECOND = 5
HELD = 2.0


@dataclass(frozen=True)
class Moving:
    """A figure that `show(frame)` draws anew for each of its frames."""

    figure: Figure
    show: Callable[[int], None]
    frames: int
    frames_a_second: int
    held: float
    """Seconds that the last frame stays."""


@dataclass(frozen=True)
class Run:
    """One model on its way: its parameters at the steps shown."""

    name: str
    model: ModuleType
    residual: Callable
    """ŷ − y of a logit and a label, without cancellation: a faint push must not look like none."""
    path: tuple[Params, ...]


def flowers() -> Dataset:
    """Two species of iris by their sepals, standardised: a line parts them, narrowly."""
    data = load("iris")
    kept = data.y < 2
    pair = Dataset(
        data.name, data.x[kept, :2], data.y[kept], data.feature_names[:2], data.class_names[:2],
        data.source,
    )  # fmt: skip
    return standardise(pair)[0]


def jump(z: jax.Array, y: jax.Array) -> jax.Array:
    """step(z) − y."""
    return sigmoid.step(z) - y


def run(name: str, model: ModuleType, residual: Callable, data: Dataset) -> Run:
    """Gradient descent from START on all points, by the model's hand-derived gradient."""
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    params = Params(*map(jnp.asarray, START))
    gradient, path = jax.jit(model.gradient), []
    for step in range(max(SHOWN) + 1):
        if step in SHOWN:
            path.append(params)
        slope = gradient(params, x, y)
        params = Params(*(p - LEARNING_RATE * g for p, g in zip(params, slope, strict=True)))
    return Run(name, model, residual, tuple(path))


def pushes(run: Run, frame: int, data: Dataset) -> np.ndarray:
    """|y − ŷ| of every point."""
    z = run.model.logits(run.path[frame], jnp.asarray(data.x))
    return np.abs(np.asarray(run.residual(z, jnp.asarray(data.y, z.dtype))))


def draw_panel(axes: Axes, run: Run, data: Dataset) -> Callable[[int], None]:
    """The plane coloured by ŷ, the points, a disc on each that pushes, and the line.

    The function that is returned shows a frame: it changes what moves, and no more.
    """
    low, high = data.x.min(axis=0) - 0.5, data.x.max(axis=0) + 0.5
    across, up = np.meshgrid(np.linspace(low[0], high[0], 90), np.linspace(low[1], high[1], 90))
    grid = jnp.asarray(np.stack([across.ravel(), up.ravel()], axis=1))
    predict = jax.jit(run.model.predict)
    ends = to_rgba_array([ZERO, ONE])[:, :3]
    image = axes.imshow(
        np.ones((*across.shape, 3)), origin="lower", aspect="auto",
        extent=(low[0], high[0], low[1], high[1]), interpolation="bilinear",
    )  # fmt: skip
    colours = np.where(data.y == 1, ONE, ZERO)
    first, second = data.x.T
    discs = axes.scatter(
        first, second, s=np.ones(data.examples), c=colours, alpha=0.45, linewidths=0
    )
    axes.scatter(first, second, s=9, c=colours, edgecolors="white", linewidths=0.3)
    ends_across = np.array([low[0], high[0]])
    (line,) = axes.plot(ends_across, [0, 0], color=INK, linewidth=1.8)
    plain(axes, run.name, "sepal length (standardised)", "sepal width (standardised)")
    axes.grid(visible=False)
    said = axes.text(
        0.98, 0.98, "", transform=axes.transAxes, va="top", ha="right", color=INK, size=10,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])

    def show(frame: int) -> None:
        p = np.asarray(predict(run.path[frame], grid)).reshape((*across.shape, 1))
        image.set_data(1 - 0.3 * ((1 - p) * (1 - ends[0]) + p * (1 - ends[1])))
        pushed = pushes(run, frame, data)
        discs.set_sizes(LARGEST * pushed)
        weight, bias = np.asarray(run.path[frame].weight), float(run.path[frame].bias)
        line.set_ydata(-(weight[0] * ends_across + bias) / weight[1])
        said.set_text(
            f"step {SHOWN[frame]:,}\nwrong: {int(np.sum(pushed > 0.5))} of {data.examples}\n"
            f"pushing: {int(np.sum(pushed > 0))}, {pushed.sum():.2f} in all"
        )

    return show


def pushing_animation() -> Moving:
    """Perceptron on the left, gradient descent on the right; the last frame is held."""
    figure = Figure(figsize=(10.0, 4.8))
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.11, top=0.84, wspace=0.17)
    panels = figure.subplots(1, 2)
    figure.suptitle(
        "Who still pushes the line? The area of a disc is |y − ŷ|",
        size=12,
        color=INK,
        x=0.06,
        ha="left",
    )
    with x64():
        data = flowers()
        runs = (
            run("Perceptron", perceptron, jump, data),
            run("Gradient descent on cross-entropy", logistic, binary_residual, data),
        )
    figure.legend(
        handles=[
            Line2D([], [], linestyle="", marker="o", color=colour, label=f"{species} (y = {y})")
            for y, (species, colour) in enumerate(zip(data.class_names, (ZERO, ONE), strict=True))
        ],
        loc="upper right", ncols=2, frameon=False, labelcolor=INK,
    )  # fmt: skip

    with x64():
        shows = [draw_panel(axes, one, data) for axes, one in zip(panels, runs, strict=True)]

    def show(frame: int) -> None:
        with x64():
            for show_panel in shows:
                show_panel(frame)

    return Moving(figure, show, len(SHOWN), FRAMES_A_SECOND, HELD)
