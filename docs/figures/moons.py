"""The figure of a bent boundary: the two moons parted by a line, and by hidden layers."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import FAINT, INK
from handgrad._types import Model
from handgrad.data import Dataset, load, split, standardise
from handgrad.explain.training_figure import draw_boundary
from handgrad.gradients import logistic, mlp
from handgrad.train import accuracy, fit

MODELS: dict[str, Model] = {
    "Logistic regression": logistic.model(),
    "MLP, 3 hidden units": mlp.model((3,)),
    "MLP, 16 hidden units": mlp.model((16,)),
}


def moons() -> tuple[Dataset, Dataset]:
    """Training and test points, standardised by the training points."""
    train, test = standardise(*split(load("moons")))
    return train, test


def moons_figure() -> Figure:
    """Three models, trained by hand-derived gradients, each with its boundary and its accuracy."""
    train, test = moons()
    figure = Figure(figsize=(13.2, 4.6), layout="constrained")
    panels = figure.subplots(1, len(MODELS), sharex=True, sharey=True)
    x = jnp.asarray(train.x, jnp.float32)
    for axes, (name, model) in zip(panels, MODELS.items(), strict=True):
        result = fit(model, x, train.y, optimizer="adam", learning_rate=0.02, epochs=150)
        draw_boundary(axes, model, result.params, train, "float32")
        share = accuracy(model, result.params, test.x.astype(np.float32), test.y)
        axes.set_title("")  # draw_boundary's own
        axes.set_title(f"{name}: {share:.1%} right", loc="left", size=11, weight="bold", color=INK)
        if axes is not panels[0]:
            axes.set_ylabel("")
            axes.get_legend().remove()
    figure.supxlabel(
        "drawn: the training points; accuracy: on the test points", size=9, color=FAINT
    )
    return figure
