"""What a practitioner asks of a result: how well each class is told, and how far it can be trusted.

All figures are scikit-learn's, of probabilities (N, K) against class indices (N,).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handgrad.gradients.linear import Params

BINS = 10
"""Of the probability, each with as many examples, in which calibration is looked at."""
LARGEST = 5


@dataclass(frozen=True)
class Quality:
    """Of one set of examples.

    Attributes:
        classes: their names.
        counts: how many examples of each class there are.
        baseline: the share of the most frequent class: the accuracy of answering nothing else.
        accuracy: the share of right answers.
        recall: of each class, the share that is told; None for one without examples.
        confusion: (K, K), examples of class i that are taken for class j.
        log_loss: the mean of −log p of the right class, in nats.
        auc: the area under the ROC curve, the mean over classes against the rest; None where only
            one class has examples.
        calibration_error: the mean of |p − share that is right| over bins of p, p of the answer.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    baseline: float
    accuracy: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    log_loss: float
    auc: float | None
    calibration_error: float


def evaluate(p: NDArray[np.float64], y: NDArray[np.int32], classes: Sequence[str]) -> Quality:
    """The figures for probabilities p (N, K) and labels y (N,), which index `classes`.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.2, 0.8]])
    >>> found = evaluate(p, np.array([0, 0, 0, 1]), ("no", "yes"))
    >>> found.accuracy, found.baseline, found.recall[1], found.auc, found.confusion
    (0.75, 0.75, 1.0, 1.0, ((2, 1), (0, 1)))
    """
    from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

    labels = np.arange(len(classes))
    answers = p.argmax(axis=1)
    confusion = confusion_matrix(y, answers, labels=labels)
    counts = confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.diag(confusion) / counts
    present = counts > 0
    auc = None
    if present.sum() > 1:
        areas = [roc_auc_score(y == k, p[:, k]) for k in labels[present]]
        auc = float(np.mean(areas))
    # Divided by their sum, which is 1 to rounding in the dtype of the model.
    loss = log_loss(y, p / p.sum(axis=1, keepdims=True), labels=labels)
    return Quality(
        classes=tuple(classes),
        counts=tuple(counts.tolist()),
        baseline=float(counts.max() / counts.sum()),
        accuracy=float(np.mean(answers == y)),
        recall=tuple(float(r) if here else None for r, here in zip(recall, present, strict=True)),
        confusion=tuple(map(tuple, confusion.tolist())),
        log_loss=float(loss),
        auc=auc,
        calibration_error=calibration_error(p.max(axis=1), answers == y),
    )


def calibration_error(p: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The mean over examples of |mean p − share that is right| of the bin that an example is in."""
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    gaps = [len(b) * abs(float(np.mean(p[b])) - float(np.mean(right[b]))) for b in bins]
    return float(np.sum(gaps) / len(p))


def largest_coefficients(
    params: Any, features: Sequence[str], classes: Sequence[str], most: int = LARGEST
) -> list[tuple[str, str, float]]:
    """(class, feature, coefficient) of the largest weights of a linear model; none of an mlp.

    The features are standardised, so that sizes compare. One logit speaks for the second class;
    of K columns the mean over classes is taken away, which changes no probability.
    """
    if not isinstance(params, Params):
        return []
    weight = np.asarray(params.weight, np.float64)
    if weight.ndim == 1:
        weight, classes = weight[:, None], classes[1:]
    else:
        weight = weight - weight.mean(axis=1, keepdims=True)
    found = []
    for k, name in enumerate(classes):
        for place in np.argsort(-np.abs(weight[:, k]), kind="stable")[:most]:
            found.append((name, features[place], float(weight[place, k])))
    return found
