"""The figure of every float32 logit: error against logit, a panel for each gradient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from handgrad.accuracy.every_logit import LIMIT_ULP, UNIT_EDGES, SweepResult, binned
from handgrad.accuracy.formulas import LIBRARY, NAIVE, STABLE, TEXTBOOK

STYLES: dict[str, tuple[str, float, Any]] = {
    NAIVE: ("#9aa5b1", 1.4, "-"),
    TEXTBOOK: ("#f0b95b", 4.2, "-"),
    STABLE: ("#0b6e4f", 2.2, "-"),
    LIBRARY: ("#d1495b", 1.5, (0, (3, 1.2))),
}
"""Colour, width and dashes, drawn in this order: where formulas agree, both stay visible."""
SHOWN = 112  # beyond, every formula is constant
LOWEST, NO_DIGIT, TOP = 0.35, 2.0**24, 2.0**31.5
STRIPS = {NAIVE: 2.0**30, TEXTBOOK: 2.0**28.7, LIBRARY: 2.0**27.4, STABLE: 2.0**26.1}
"""Above the errors, a strip for each formula where it gives a NaN, an infinity or a wrong sign."""
INK, FAINT = "#22313f", "#8795a1"


def error_figure(results: Sequence[SweepResult], subtitle: str) -> Figure:
    """Small multiples on one scale: error in ulp (logarithmic) against the logit."""
    targets = list(dict.fromkeys(r.target for r in results))
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(4.3 * columns + 0.6, 3.7 * rows + 1.2))
    figure.subplots_adjust(
        left=0.075, right=0.985, bottom=0.5 / (3.7 * rows + 1.2),
        top=1 - 1.05 / (3.7 * rows + 1.2), wspace=0.07, hspace=0.17,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, target in zip(grid, targets, strict=False):
        _draw_target(axes, target, [r for r in results if r.target == target])
    for axes in grid[len(targets) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("largest error (ulp)", color=INK)
    for axes in grid[-columns:]:
        axes.set_xlabel("logit z", color=INK)
    height = figure.get_size_inches()[1]
    figure.text(
        0.075, 1 - 0.18 / height, "How wrong is the gradient, at every float32 logit?",
        size=15, weight="bold", color=INK, va="top",
    )  # fmt: skip
    figure.text(0.075, 1 - 0.5 / height, subtitle, size=9.5, color=FAINT, va="top")
    handles = [
        Line2D([], [], color=colour, linewidth=width, linestyle=dashes, label=name)
        for name, (colour, width, dashes) in STYLES.items()
    ]
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.1 / height),
        ncols=4, frameon=False, labelcolor=INK, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _draw_target(axes: Axes, target: str, results: Sequence[SweepResult]) -> None:
    """One gradient: a step line for each formula, and a strip above it where the formula breaks."""
    truth = np.full(len(UNIT_EDGES) - 1, np.nan)
    by_form = {r.form: r for r in results}
    for name, (colour, width, dashes) in STYLES.items():
        if name not in by_form:
            continue
        worst, failing = binned(by_form[name], UNIT_EDGES)
        truth = np.fmax(truth, worst)
        axes.stairs(
            np.clip(worst, LOWEST, NO_DIGIT), UNIT_EDGES, baseline=None, color=colour,
            linewidth=width, linestyle=dashes,
        )  # fmt: skip
        axes.stairs(
            np.where(failing, STRIPS[name] * 1.4, np.nan), UNIT_EDGES, baseline=STRIPS[name] / 1.4,
            fill=True, color=colour, linewidth=0,
        )  # fmt: skip
    shade = np.where(np.isnan(truth), TOP, np.nan)  # the truth is below the normal numbers there
    axes.stairs(shade, UNIT_EDGES, baseline=LOWEST, fill=True, color="#f1f3f5", zorder=0)
    axes.axhline(LIMIT_ULP, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.axhline(NO_DIGIT, color="#d5dbe1", linewidth=0.8, zorder=1)
    axes.set_yscale("log", base=10)
    axes.set_xlim(-SHOWN, SHOWN)
    axes.set_ylim(LOWEST, TOP)
    axes.set_yticks([0.5, LIMIT_ULP, 100, 1e4, 1e6, NO_DIGIT, 2.0**28])
    axes.set_yticklabels(["½", "4", "100", "10⁴", "10⁶", "no digit", "NaN, ∞, sign"])
    axes.minorticks_off()
    axes.set_xticks(range(-100, 101, 50))
    axes.set_title(target, loc="left", size=11, weight="bold", color=INK, pad=5)
    axes.tick_params(colors=INK, length=0, labelsize=8.5)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color="#e6eaee", linewidth=0.7)
    axes.set_axisbelow(True)
