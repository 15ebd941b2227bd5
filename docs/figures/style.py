"""What the figures have in common: colours that all eyes can tell apart, and plain axes."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.accuracy.every_logit import FAINT, INK
from handgrad.explain.training_figure import CLASS_COLOURS, HAND, OPTAX

ZERO, ONE = CLASS_COLOURS[:2]
"""Label 0 is blue, label 1 is orange, here as in the figure of a training run."""
GREEN, AMBER = HAND, OPTAX

__all__ = ["AMBER", "FAINT", "GREEN", "INK", "ONE", "ZERO", "page", "plain"]


def page(columns: int, width: float = 4.9, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def plain(axes: Axes, title: str, across: str, up: str) -> None:
    """A title, both labels with their units, two spines and a faint grid."""
    axes.set_title(title, loc="left", size=11, weight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.25)
