"""The figure of a training run: loss curves of both sides, and the decision boundary."""

import io
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from handgrad._types import Model
from handgrad.data import Dataset
from handgrad.train import FitResult

HAND, OPTAX = "#0b6e4f", "#ffb03b"
LONGEST = 60
"""Letters of a name that a figure shows."""
CLASS_COLOURS = ("#3d5a80", "#e07a5f", "#81b29a", "#f2cc8f", "#6d597a")


def training_figure(
    results: dict[str, FitResult], model: Model, data: Dataset, dtype: str
) -> Figure:
    """Loss on all training data against steps; beside it, for two features, the boundary."""
    plane = data.features == 2 and data.classes <= len(CLASS_COLOURS)
    figure = Figure(figsize=(10.5 if plane else 6.4, 4.4), layout="constrained")
    axes = figure.subplots(1, 2 if plane else 1, squeeze=False)[0]
    draw_losses(axes[0], results)
    axes[0].set_title(f"{as_written(data.name)}: loss by hand and by optax")
    if plane:
        draw_boundary(axes[1], model, results["hand"].params, data, dtype)
    return figure


def draw_losses(axes: Axes, results: dict[str, FitResult]) -> None:
    """Both curves, the second dashed over the first: where they agree both stay visible."""
    styles = {"hand": (HAND, "-", 3.6), "optax": (OPTAX, (0, (3, 3)), 1.8)}
    for name, result in results.items():
        colour, dashes, width = styles[name]
        history = result.history
        axes.plot(
            history.steps, history.losses, label=name, color=colour, linestyle=dashes,
            linewidth=width, marker="o" if len(history.steps) == 1 else None, markersize=3 * width,
        )  # fmt: skip
    losses = np.concatenate([result.history.losses for result in results.values()])
    if (losses > 0).all():
        axes.set_yscale("log")
        narrow = losses.max() < 10 * losses.min()
        subs = (1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats an example)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def draw_boundary(axes: Axes, model: Model, params: Any, data: Dataset, dtype: str) -> None:
    """The plane coloured by the predicted class, deeper where it is surer, and the points."""
    low, high = data.x.min(axis=0) - 0.4, data.x.max(axis=0) + 0.4
    first, second = np.meshgrid(
        np.linspace(low[0], high[0], 240), np.linspace(low[1], high[1], 240)
    )
    grid = jnp.asarray(np.stack([first.ravel(), second.ravel()], axis=1), dtype)
    p = np.asarray(model.predict(params, grid), np.float64)
    p = np.stack([1 - p, p], axis=1) if p.ndim == 1 else p
    colours = CLASS_COLOURS[: data.classes]
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    shade = 1 - 0.55 * p @ (1 - rgb)  # white, coloured by how probable each class is
    axes.imshow(
        shade.reshape(*first.shape, 3), origin="lower", aspect="auto", interpolation="bilinear",
        extent=(low[0], high[0], low[1], high[1]),
    )  # fmt: skip
    if data.classes == 2:
        axes.contour(first, second, p[:, 1].reshape(first.shape), [0.5], colors="black")
    labels = np.round(data.y).astype(int)
    for number, (name, colour) in enumerate(zip(data.class_names, colours, strict=True)):
        first, second = data.x[labels == number].T
        axes.scatter(
            first,
            second,
            color=colour,
            s=14,
            edgecolor="white",
            linewidth=0.4,
            label=as_written(name),
        )
    axes.legend(loc="best", framealpha=0.85)
    axes.set_xlabel(f"{as_written(data.feature_names[0])} (standardised)")
    axes.set_ylabel(f"{as_written(data.feature_names[1])} (standardised)")
    axes.set_title("decision boundary, training points")


def as_written(name: str) -> str:
    """A name from a user's file as text: a dollar begins no formula."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST])
    return kept.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=144, format="png")
    return buffer.getvalue()
