"""`python -m benchmarks.judge.objectives`: public reports on objectives of boosting, replayed.

Each is an objective (grad, hess) that was posted because training went wrong, or because its second
derivatives were doubted, written anew and given to `verify_objective`, which has to name the fault;
and, where something was wrong, the objective as it should be, which has to be right. Where a report
shows no data the point is an ordinary one. Exit code 1 if one is not named.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax.nn import softplus

from benchmarks.judge.bugs_boosting import (
    DELTA,
    LIGHTGBM,
    SPREAD,
    STARTS,
    STEPS,
    XGBOOST,
    fair,
    fair_of_label_minus_score,
    huber,
    huber_of_label_minus_score,
    log_cosh,
    logistic,
    root_mean_square_log,
    square,
)
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, table, track, write_json
from handgrad.errors import InputError
from handgrad.verify import Verdict, verify_objective

Pair = tuple[Any, Any]
TWO_CLASSES = (np.array([0.5, -1.5, 2.0, -0.3]), np.array([1.0, 0.0, 1.0, 0.0]))
CONFIDENT = (np.array([0.5, -1.5, 17.0, -40.0]), np.array([1.0, 0.0, 1.0, 0.0]))
THREE_CLASSES = (np.array([[0.2, -1.0, 0.7], [2.0, 0.0, -3.0]]), np.array([2, 0]))
NUMBERS = (np.array(STARTS), np.array(STEPS))
SPREAD_NUMBERS = (np.array(STARTS), np.array(SPREAD))
AMOUNTS = (np.array([0.5, 2.0, 7.0]), np.array([1.0, 3.0, 2.5]))
BETA = 4.0
"""The weight of a positive example."""


@dataclass(frozen=True)
class Report:
    """An objective as it was posted, what has to be said of it, and how it is mended."""

    report: str
    """Where it was posted, as owner/repository#number."""
    objective: str
    """In words."""
    loss: Callable
    at: tuple
    posted: Callable[[Any, Any], Pair]
    named: str
    """A pattern that the cause, or the note on hess, has to fit."""
    right: bool = False
    """Whether it is right after all: as a bound, or held from below."""
    mended: Callable[[Any, Any], Pair] | None = None


@dataclass(frozen=True)
class Reading:
    """What `verify_objective` said of a report."""

    report: Report
    verdict: Verdict
    said: str
    is_named: bool
    mended_ok: bool | None


def sigmoid(z: Any) -> Any:
    """1/(1 + e⁻ᶻ), as it is written in such objectives."""
    return 1 / (1 + np.exp(-z))


def stable(z: Any, y: Any) -> Pair:
    """Binary cross-entropy in a form that keeps its digits at confident logits."""
    p, q = sigmoid(z), sigmoid(-z)
    return (1 - y) * p - y * q, p * q


def exponential(score: Any, label: Any) -> Any:
    """exp(−t s) for the label t = 2y − 1."""
    return jnp.exp(-(2 * label - 1) * score)


def exponential_of_label(score: Any, label: Any) -> Pair:
    """The derivatives for labels of −1 and 1."""
    e = np.exp(-label * score)
    return -label * e, e


def clipped(score: Any, label: Any) -> Pair:
    """In the precision of the scores: p − y, and p(1 − p) but no less than 1e-16."""
    p = sigmoid(score)
    return p - label, np.maximum(p * (1 - p), 1e-16)


def margin_as_probability(score: Any, label: Any) -> Pair:
    """p − y and p(1 − p) with the raw score for p."""
    return score - label, score * (1 - score)


def weighted(score: Any, label: Any) -> Any:
    """Cross-entropy in which a positive example counts `BETA` times."""
    return BETA * label * softplus(-score) + (1 - label) * softplus(score)


def weighted_derivatives(p: Any, label: Any) -> Pair:
    """Of that loss, for a probability p."""
    weight = (BETA - 1) * label + 1
    return weight * p - BETA * label, weight * p * (1 - p)


def root_mean_square_log_posted(score: Any, label: Any) -> Pair:
    """1 + y where 1 + s is due, and a second derivative from it."""
    n, r = len(label), np.log1p(score) - np.log1p(label)
    root = np.sqrt(np.mean(r**2))
    grad = r / (n * root) / (1 + label)
    return grad, ((1 / (score + 1) * (label + 1) * n) - grad**2) / root


def root_mean_square_log_derivatives(score: Any, label: Any) -> Pair:
    """Both derivatives: that of the root of the mean square, and its diagonal."""
    n, r = len(label), np.log1p(score) - np.log1p(label)
    root = np.sqrt(np.mean(r**2))
    grad = r / (n * root * (1 + score))
    return grad, (1 - r) / (n * root * (1 + score) ** 2) - grad**2 / root


def cross_entropy(score: Any, label: Any) -> Any:
    """−log softmax(s) of the right class."""
    return -jnp.sum(jax.nn.log_softmax(score) * jax.nn.one_hot(label, 3, dtype=score.dtype), 1)


def softmax_objective(factor: float, floor: float) -> Callable[[Any, Any], Pair]:
    """p − y and factor · p(1 − p), no less than a floor."""

    def objective(score: Any, label: Any) -> Pair:
        e = np.exp(score - np.max(score, 1, keepdims=True))
        p = e / np.sum(e, 1, keepdims=True)
        one_hot = np.eye(3, dtype=p.dtype)[label]
        return p - one_hot, np.maximum(factor * p * (1 - p), floor)

    return objective


def minus(objective: Callable[[Any, Any], Pair]) -> Callable[[Any, Any], Pair]:
    """The objective with grad of the other sign."""
    return lambda score, label: (-objective(score, label)[0], objective(score, label)[1])


def fair_posted(score: Any, label: Any) -> Pair:
    """Of label − score; the second derivative is right."""
    size = np.abs(label - score)
    return fair_of_label_minus_score(score, label), 1 / (1 + size) ** 2


def square_posted(score: Any, label: Any) -> Pair:
    """Of label − score."""
    return 2 * (label - score), 2 * np.ones_like(score)


def huber_posted(score: Any, label: Any) -> Pair:
    """Of label − score, the second derivative too."""
    inside = np.abs(label - score) <= DELTA
    return huber_of_label_minus_score(score, label), np.where(inside, -1.0, 0.0)


def huber_grad_mended(score: Any, label: Any) -> Pair:
    """With grad of the other sign, and hess as posted."""
    return minus(huber_posted)(score, label)


def huber_mended(score: Any, label: Any) -> Pair:
    """With both of the other sign."""
    grad, hess = huber_posted(score, label)
    return -grad, -hess


def log_cosh_posted(score: Any, label: Any) -> Pair:
    """Of label − score; 1 − tanh² is right, but has no digits where tanh is nearly 1."""
    grad = np.tanh(label - score)
    return grad, 1 - grad**2


def log_cosh_mended(score: Any, label: Any) -> Pair:
    """Of score − label, with 1/cosh²."""
    return np.tanh(score - label), 1 / np.cosh(score - label) ** 2


DOUBLED = "an upper bound of it, 2 times its diagonal"
MARGINS = "raw margins: pass them through the sigmoid"

# fmt: off
REPORTS = (
    Report(f"{XGBOOST}#2072", "exponential loss", exponential, TWO_CLASSES, exponential_of_label, "takes labels of −1 and 1, and they are 0 and 1", mended=lambda s, y: exponential_of_label(s, 2 * y - 1)),
    Report(f"{XGBOOST}#2602", "Huber", huber, SPREAD_NUMBERS, huber_posted, "sign flipped", mended=huber_mended),
    Report(f"{XGBOOST}#2602", "Huber, grad mended", huber, SPREAD_NUMBERS, huber_grad_mended, "sign flipped", mended=huber_mended),
    Report(f"{XGBOOST}#2602", "squared error", square, SPREAD_NUMBERS, square_posted, "sign flipped", mended=minus(square_posted)),
    Report(f"{XGBOOST}#2955", "log loss at confident scores", logistic, CONFIDENT, clipped, "float32", mended=stable),
    Report(f"{XGBOOST}#2955", "its hess, grad mended", logistic, CONFIDENT, lambda s, y: (stable(s, y)[0], np.maximum(stable(s, y)[1], 1e-16)), "held from below by 1e-16", right=True),
    Report(f"{XGBOOST}#2995", "log loss", logistic, TWO_CLASSES, margin_as_probability, MARGINS, mended=stable),
    Report(f"{XGBOOST}#3037", "fair loss", fair, NUMBERS, fair_posted, "sign flipped", mended=minus(fair_posted)),
    Report(f"{XGBOOST}#3037", "squared error", square, NUMBERS, square_posted, "sign flipped", mended=minus(square_posted)),
    Report(f"{XGBOOST}#4402", "RMSLE", root_mean_square_log, AMOUNTS, root_mean_square_log_posted, "an extra factor exp v", mended=root_mean_square_log_derivatives),
    Report(f"{XGBOOST}#5769", "multi:softprob", cross_entropy, THREE_CLASSES, softmax_objective(2.0, 1e-16), DOUBLED, right=True),
    Report(f"{XGBOOST}#10105", "its example custom_softmax", cross_entropy, THREE_CLASSES, softmax_objective(2.0, 1e-6), DOUBLED, right=True),
    Report(f"{LIGHTGBM}#1154", "multiclass", cross_entropy, THREE_CLASSES, softmax_objective(2.0, 0.0), DOUBLED, right=True),
    Report(f"{LIGHTGBM}#1230", "weighted log loss", weighted, TWO_CLASSES, weighted_derivatives, MARGINS, mended=lambda s, y: weighted_derivatives(sigmoid(s), y)),
    Report(f"{XGBOOST}#1743", "log cosh", log_cosh, NUMBERS, log_cosh_posted, "sign flipped", mended=log_cosh_mended),
    Report(f"{XGBOOST}#1743", "log cosh, grad mended", log_cosh, NUMBERS, minus(log_cosh_posted), "no digit is right in float32", mended=log_cosh_mended),
)
# fmt: on


def read(report: Report) -> Reading:
    """What is said of the objective as posted, and whether it is right when mended."""
    with np.errstate(all="ignore"):
        verdict = judged(report, report.posted)
        mended = None if report.mended is None else judged(report, report.mended).ok
    said = verdict.notes[0] if verdict.ok else str(verdict.fault)
    is_named = verdict.ok == report.right and re.search(report.named, said) is not None
    return Reading(report, verdict, said, is_named, mended)


def judged(report: Report, objective: Callable) -> Verdict:
    """The verdict on an objective at the point of the report, without a search."""
    return verify_objective(
        objective, of=report.loss, at=report.at, evaluations=0, name=report.objective
    )


def objectives(
    json: Annotated[Path | None, typer.Option(help="Write every row to this file.")] = None,
    only: Annotated[str, typer.Option(help="Only reports with this text.")] = "",
) -> None:
    """Replay public reports on objectives of XGBoost and LightGBM."""
    check_writable("--json", json, ".json")
    chosen = [report for report in REPORTS if only in f"{report.report} {report.objective}"]
    if not chosen:
        raise InputError("--only", "part of a report or of a name", repr(only), "pass xgboost")
    readings = list(track(map(read, chosen), "reports", len(chosen)))
    rows = table("report", "objective", "as posted", "named", "mended", gap=2)
    for reading in readings:
        rows.add_row(*list(as_data(reading).values())[:-1])
    print(rows)
    for reading in readings:
        print(f"{reading.report.report} {reading.report.objective}: {reading.said}", markup=False)
    named = sum(reading.is_named for reading in readings)
    mended = [reading.mended_ok for reading in readings if reading.mended_ok is not None]
    print(f"{named} of {len(readings)} named; {sum(mended)} of {len(mended)} right when mended")
    if json:
        write_json(json, {"rows": [as_data(reading) for reading in readings]})
    if named < len(readings) or not all(mended):
        raise typer.Exit(WRONG)


def as_data(reading: Reading) -> dict[str, str]:
    """A row, in words."""
    return {
        "report": reading.report.report,
        "objective": reading.report.objective,
        "as posted": "right" if reading.verdict.ok else "wrong",
        "named": "yes" if reading.is_named else "NO",
        "mended": {True: "right", False: "NOT right", None: "-"}[reading.mended_ok],
        "said": reading.said,
    }


if __name__ == "__main__":
    run_script(objectives)
