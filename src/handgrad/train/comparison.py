"""Hand and optax side by side: the check on this very data, two runs of one loop, what differs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from handgrad._errors import HandgradError, InputError
from handgrad.data import Dataset
from handgrad.gradients import logistic, mlp, perceptron, softmax_regression
from handgrad.gradients.model import Model
from handgrad.train import optax_baseline
from handgrad.train.evaluation import ParameterDifference, accuracy, parameter_difference
from handgrad.train.fitting import FitResult, fit
from handgrad.train.optimizers import resolve
from handgrad.train.running import History, Progress
from handgrad.verify import Agreement, agree

MODELS = ("logistic", "softmax", "perceptron", "mlp")


@dataclass(frozen=True)
class Contender:
    """One side: a model with its gradient, an update rule, and, after `fit`, how it did."""

    name: str
    model: Model
    rule: optax.GradientTransformation


@dataclass(frozen=True)
class Outcome:
    """How one side did; losses in nats, accuracies as shares, steps a second without compiling."""

    loss: float
    train_accuracy: float
    test_accuracy: float
    steps_per_second: float
    steps: int
    stopped: str
    compile_seconds: float


@dataclass(frozen=True)
class Comparison:
    """Everything `handgrad train` reports."""

    check: Agreement
    hand: Outcome
    optax: Outcome
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
) -> tuple[Contender, Contender]:
    """The hand-derived model with the update rule by hand, and the optax baseline of both."""
    loss: Callable = optax_baseline.cross_entropy
    if name == "logistic":
        model = logistic.model(l2)
    elif name == "softmax":
        model = softmax_regression.model(l2)
    elif name == "mlp":
        model = mlp.model(hidden, activation, l2)
    elif name == "perceptron":
        if l2 != 0:
            raise InputError("l2", "0 for the perceptron", l2, "leave the penalty out")
        model, loss = perceptron.model(), optax_baseline.perceptron
    else:
        raise InputError("model", f"one of {', '.join(MODELS)}", repr(name), "name one")
    rule = resolve(optimizer, learning_rate)
    theirs = optax_baseline.baseline(model, l2, loss)
    return (
        Contender("hand", model, rule),
        Contender("optax", theirs, optax_baseline.OPTAX[optimizer](learning_rate)),
    )


def check_labels_suit(name: str, data: Dataset) -> None:
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
    pair: tuple[Contender, Contender],
    train: Dataset,
    test: Dataset,
    *,
    dtype: str,
    seed: int = 0,
    checked: Callable[[Agreement], None] | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    kept: Callable[[str], dict[str, Any]] | None = None,
    **run: Any,
) -> Comparison:
    """Check the gradient that trains, on the training data; train both sides alike, and compare.

    `checked` is told the outcome of the check before any training. `run` goes to `fit`: batch_size,
    epochs, tol, shuffle; so does what `kept` gives for a side: its checkpoint, its log. Both sides
    start at the same parameters and see the same batches. Raises StoppedError if a signal stops a
    side that has a checkpoint.
    """
    x, y = np.asarray(train.x, dtype), train.y
    key = jax.random.key(seed)
    params = pair[0].model.init(key, x.shape[1], train.classes, dtype)
    check = check_gradient(pair[0].model, params, x, y, train.name)
    if checked:
        checked(check)
    results = train_both(
        pair, partial(fit, x=x, y=y, params=params, key=key, **run), progress, kept
    )

    def score(side: Contender, data: Dataset) -> float:
        return accuracy(side.model, results[side.name].params, data.x.astype(dtype), data.y)

    return compared(check, pair, results, lambda side: (score(side, train), score(side, test)))


def check_gradient(model: Model, params: Any, x: Any, y: Any, name: str) -> Agreement:
    """The gradient that trains, compiled as it trains, against autodiff at these examples."""

    @jax.jit
    def trained_by(*at: Any) -> Any:
        return model.value_and_gradient(*at)[1]

    return agree(trained_by, of=model.loss, at=(params, x, y), name=name)


def train_both(
    pair: tuple[Contender, Contender],
    train: Callable[..., FitResult],
    progress: Callable[[str, Progress], None] | None,
    kept: Callable[[str], dict[str, Any]] | None,
) -> dict[str, FitResult]:
    """`train`, which is `fit` given all that both share, for each side. See `compare`."""
    results = {}
    for side in pair:
        own = kept(side.name) if kept else {}
        report = partial(progress, side.name) if progress else None
        result = train(model=side.model, optimizer=side.rule, progress=report, **own)
        if own.get("checkpoint") and result.history.stopped == "interrupted":
            raise StoppedError(side.name, result.history)
        results[side.name] = result
    return results


def compared(
    check: Agreement,
    pair: tuple[Contender, Contender],
    results: dict[str, FitResult],
    accuracies: Callable[[Contender], tuple[float, float]],
) -> Comparison:
    """How both did; `accuracies` are those of a side on the training and the test part."""

    def outcome(side: Contender) -> Outcome:
        history = results[side.name].history
        on_train, on_test = accuracies(side)
        return Outcome(
            loss=results[side.name].loss,
            train_accuracy=on_train,
            test_accuracy=on_test,
            steps_per_second=history.steps_per_second,
            steps=history.end,
            stopped=history.stopped,
            compile_seconds=history.compile_seconds,
        )

    difference = parameter_difference(results["hand"].params, results["optax"].params)
    return Comparison(check, outcome(pair[0]), outcome(pair[1]), difference, results)
