"""How well a run did: hand beside optax on the same data, and what a practitioner asks of a model.

`compare` checks the gradient on these data, trains both sides in one loop, and says what differs.
`evaluate` says how well each class is told, and how far it can be trusted: all figures are
scikit-learn's, of probabilities (N, K) against class indices (N,).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from handgrad._types import Model
from handgrad.data import Dataset
from handgrad.errors import HandgradError, InputError
from handgrad.gradients.linear import Params
from handgrad.scale.streams import Stream
from handgrad.train.api import FitResult, accuracy, fit
from handgrad.train.log import History, Progress
from handgrad.train.optimizers import OPTAX, baseline, cross_entropy, perceptron_loss, resolve
from handgrad.train.saved import ModelSettings
from handgrad.train.streaming import fit_stream, stream_accuracy
from handgrad.verify import Agreement, agree

CHECKED = 4_096
"""Examples of a stream that the gradient is checked on."""


@dataclass(frozen=True)
class Side:
    """One side: a model with its gradient, and an update rule."""

    name: str
    model: Model
    rule: optax.GradientTransformation


@dataclass(frozen=True)
class Performance:
    """Of one side: losses in nats, accuracies as shares, steps per second without compiling."""

    loss: float
    train_accuracy: float
    test_accuracy: float
    steps_per_second: float
    steps: int
    stopped: str
    compile_seconds: float


@dataclass(frozen=True)
class ParameterDifference:
    """The largest difference between two sets of parameters, and how large that is."""

    absolute: float
    relative: float
    """Divided by the largest parameter."""


@dataclass(frozen=True)
class Comparison:
    """Everything `handgrad train` reports."""

    check: Agreement
    hand: Performance
    optax: Performance
    difference: ParameterDifference
    results: dict[str, FitResult]


class StoppedError(HandgradError):
    """A side with a checkpoint was stopped by a signal: the other one waits until it is resumed."""

    def __init__(self, side: str, history: History):
        self.side, self.history = side, history
        super().__init__(f"{side} stopped at step {history.end:,}")


def contenders(
    name: str,
    optimizer: str,
    learning_rate: float,
    l2: float = 0.0,
    hidden: tuple[int, ...] = (16,),
    activation: str = "tanh",
) -> tuple[Side, Side]:
    """The hand-derived model with the update rule by hand, and the optax baseline of both."""
    model = ModelSettings(name, l2, hidden, activation).model()
    if name == "perceptron" and l2 != 0:
        raise InputError("l2", "0 for the perceptron", l2, "leave the penalty out")
    loss = perceptron_loss if name == "perceptron" else cross_entropy
    ours = Side("hand", model, resolve(optimizer, learning_rate))
    return ours, Side("optax", baseline(model, l2, loss), OPTAX[optimizer](learning_rate))


def check_labels_suit(name: str, data: Dataset | Stream) -> None:
    """Raise InputError if a model of that name cannot learn labels of that kind."""
    if name in ("logistic", "perceptron") and data.classes != 2:
        raise InputError(
            "model", f"softmax or mlp for {data.classes} classes", repr(name), "name one of those"
        )
    if name == "softmax" and data.soft:
        raise InputError(
            "model", "logistic or mlp for soft binary labels", repr(name), "name one of those"
        )


def compare(
    pair: tuple[Side, Side],
    train: Dataset | Stream,
    test: Dataset | Stream,
    *,
    dtype: str,
    seed: int = 0,
    on_check: Callable[[Agreement], None] | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    options_of: Callable[[str], dict[str, Any]] | None = None,
    **run: Any,
) -> Comparison:
    """Check the gradient that trains, on the training data; train both sides alike, and compare.

    `train` and `test` are in memory, or both streams, in `dtype`. `on_check` is called with the
    result of the check before any training. `run` goes to `fit` or `fit_stream`: batch_size,
    epochs, tol, shuffle, mesh; so does what `options_of` gives for a side: its checkpoint, its log.
    Both sides start at the same parameters and see the same batches. Raises StoppedError if a
    signal stops a side that has a checkpoint.
    """
    hand, _ = pair
    key = jax.random.key(seed)
    params = hand.model.init(key, train.features, train.classes, dtype)

    @jax.jit
    def gradient(*at: Any) -> Any:
        return hand.model.value_and_gradient(*at)[1]

    at = params, *_examples(train, dtype)
    check = agree(gradient, of=hand.model.loss, at=at, name=train.name)
    if on_check:
        on_check(check)
    results = {}
    for side in pair:
        report = partial(progress, side.name) if progress else None
        own = run | (options_of(side.name) if options_of else {})
        own |= {"optimizer": side.rule, "params": params, "key": key, "progress": report}
        results[side.name] = (
            fit_stream(side.model, train, **own)
            if isinstance(train, Stream)
            else fit(side.model, train.x.astype(dtype, copy=False), train.y, **own)
        )
        if own.get("checkpoint") and results[side.name].history.stopped == "interrupted":
            raise StoppedError(side.name, results[side.name].history)
    ours, theirs = (_performance(side, results[side.name], train, test, dtype) for side in pair)
    difference = parameter_difference(results["hand"].params, results["optax"].params)
    return Comparison(check, ours, theirs, difference, results)


def parameter_difference(a: Any, b: Any) -> ParameterDifference:
    """max |a − b|, also over max |a|, across all leaves of two trees of one structure."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    arrays = [(np.asarray(p, np.float64), np.asarray(q, np.float64)) for p, q in pairs]
    largest = max(float(np.max(np.abs(p))) for p, _ in arrays)
    difference = max(float(np.max(np.abs(p - q))) for p, q in arrays)
    return ParameterDifference(difference, difference / largest if largest else difference)


def _examples(data: Dataset | Stream, dtype: str) -> tuple[Any, np.ndarray]:
    """All of them, or a sample spread over the whole stream."""
    if isinstance(data, Stream):
        return data.sample(CHECKED)
    return data.x.astype(dtype, copy=False), data.y


def _performance(
    side: Side, result: FitResult, train: Dataset | Stream, test: Dataset | Stream, dtype: str
) -> Performance:
    def score(data: Dataset | Stream) -> float:
        if isinstance(data, Stream):
            return stream_accuracy(side.model, result.params, data)
        return accuracy(side.model, result.params, data.x.astype(dtype), data.y)

    run = result.history
    return Performance(
        result.loss, score(train), score(test), run.steps_per_second, run.end, run.stopped,
        run.compile_seconds,
    )  # fmt: skip


# --- what a practitioner asks -----------------------------------------------------------------

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
