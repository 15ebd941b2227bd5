"""Hand and optax side by side on streams: what `comparison.compare` is for data in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from handgrad.data import Stream
from handgrad.train.comparison import Comparison, Contender, Outcome
from handgrad.train.evaluation import parameter_difference, right
from handgrad.train.fitting import FitResult
from handgrad.train.running import Progress
from handgrad.train.stream_fitting import fit_stream
from handgrad.verify import Agreement, agree

CHECKED = 4_096
"""Examples that the gradient is checked on, spread over the whole stream."""


def compare(
    pair: tuple[Contender, Contender],
    train: Stream,
    test: Stream,
    *,
    dtype: str,
    seed: int = 0,
    checked: Callable[[Agreement], None] | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    **run: Any,
) -> Comparison:
    """Check the gradient that trains on a sample, train both sides alike, and compare.

    The arguments are those of `comparison.compare`; `run` goes to `fit_stream`. Both streams are in
    `dtype`.
    """
    hand, _ = pair
    key = jax.random.key(seed)
    params = hand.model.init(key, train.features, train.classes, dtype)

    @jax.jit
    def trained_by(*at: Any) -> Any:
        return hand.model.value_and_gradient(*at)[1]

    sample = train.sample(CHECKED)
    check = agree(trained_by, of=hand.model.loss, at=(params, *sample), name=train.name)
    if checked:
        checked(check)
    results = {}
    for side in pair:
        report = partial(progress, side.name) if progress else None
        results[side.name] = fit_stream(
            side.model, train, optimizer=side.rule, params=params, key=key, progress=report, **run
        )
    outcomes = [_outcome(side, results[side.name], train, test) for side in pair]
    difference = parameter_difference(results["hand"].params, results["optax"].params)
    return Comparison(check, outcomes[0], outcomes[1], difference, results)


def _outcome(side: Contender, result: FitResult, train: Stream, test: Stream) -> Outcome:
    history = result.history
    return Outcome(
        loss=result.loss,
        train_accuracy=stream_accuracy(side, result.params, train),
        test_accuracy=stream_accuracy(side, result.params, test),
        steps_per_second=history.steps_per_second,
        steps=len(history.batch_losses),
        stopped=history.stopped,
        compile_seconds=history.compile_seconds,
    )


def stream_accuracy(side: Contender, params: Any, stream: Stream) -> float:
    """The share of examples that are classed right, by one pass."""
    predict = jax.jit(side.model.predict)
    hits = sum(int(np.sum(right(predict(params, x), y))) for x, y in stream.blocks())
    return hits / stream.examples
