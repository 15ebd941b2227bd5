"""The figure of a training run: loss curves of both sides, and the decision boundary."""

import io
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from handgrad._types import Coded, Model
from handgrad.data import Dataset
from handgrad.train import FitResult

HAND, OPTAX = "#0b6e4f", "#ffb03b"
LONGEST = 60
"""Letters of a name that a figure shows."""
CLASS_COLOURS = ("#3d5a80", "#e07a5f", "#81b29a", "#f2cc8f", "#6d597a")


def training_figure(
    results: dict[str, FitResult], model: Model, data: Dataset, dtype: str,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:  # fmt: skip
    """Loss on all training data against steps; beside it, for two features, the boundary.

    `held_out` are probabilities (N, K) and labels (N,) of the test part: their ROC and calibration.
    """
    in_columns = not isinstance(data.x, Coded)
    plane = in_columns and data.features == 2 and data.classes <= len(CLASS_COLOURS)
    panels = 1 + plane + (0 if held_out is None else 2)
    figure = Figure(figsize=(2.3 + 4.1 * panels, 4.4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if held_out is not None:
        draw_roc(axes[-2], *held_out, data.class_names)
        draw_calibration(axes[-1], *held_out)
    draw_losses(axes[0], results, f"{as_written(data.name)}: loss by hand and by optax")
    if plane:
        draw_boundary(axes[1], model, results["hand"].params, data, dtype)
    return figure


def draw_losses(axes: Axes, results: dict[str, FitResult], title: str = "") -> None:
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
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    _label(axes, title, "step", "training loss (nats an example)")


def _label(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)


def draw_roc(axes: Axes, p: np.ndarray, y: np.ndarray, class_names: Sequence[str]) -> None:
    """Of each class against the rest; of two classes, the second."""
    from sklearn.metrics import roc_curve

    shown = range(1, 2) if p.shape[1] == 2 else range(min(p.shape[1], len(CLASS_COLOURS)))
    for k in shown:
        if 0 < (y == k).sum() < len(y):
            wrong, right, _ = roc_curve(y == k, p[:, k])
            name = as_written(class_names[k])
            axes.plot(wrong, right, color=CLASS_COLOURS[k], linewidth=2, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right")
    _label(
        axes, "ROC, test part", "share of the others taken for it",
        "share of the class that is told",
    )  # fmt: skip


def draw_calibration(axes: Axes, p: np.ndarray, y: np.ndarray) -> None:
    """How often the answer is right, against how probable it was said to be."""
    from sklearn.calibration import calibration_curve

    best = p.max(axis=1)
    right, said = calibration_curve(
        p.argmax(axis=1) == y, np.clip(best, 0, 1), n_bins=10, strategy="quantile"
    )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.plot(said, right, color=HAND, marker="o", linewidth=1.6)
    low = max(0.0, min(float(said.min()), float(right.min())) - 0.05)
    axes.set(xlim=(low, 1.02), ylim=(low, 1.02))
    _label(axes, "calibration, test part", "probability of the answer", "share that is right")


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
    rgb = to_rgba_array(colours)[:, :3]
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
            first, second, color=colour, s=14, edgecolor="white", linewidth=0.4,
            label=as_written(name),
        )  # fmt: skip
    axes.legend(loc="best", framealpha=0.85)
    across, up = (f"{as_written(name)} (standardised)" for name in data.feature_names)
    axes.set(title="decision boundary, training points", xlabel=across, ylabel=up)


def as_written(name: str) -> str:
    """A name from a user's file as text: a dollar begins no formula."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST])
    return kept.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=144, format="png")
    return buffer.getvalue()
