"""Hand and optax side by side on streams: what `comparison.compare` is for data in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from handgrad.data import Stream
from handgrad.gradients.model import Model
from handgrad.train.comparison import Comparison, Contender, check_gradient, compared, train_both
from handgrad.train.evaluation import right
from handgrad.train.running import Progress
from handgrad.train.stream_fitting import fit_stream
from handgrad.verify import Agreement

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
    kept: Callable[[str], dict[str, Any]] | None = None,
    **run: Any,
) -> Comparison:
    """Check the gradient that trains on a sample, train both sides alike, and compare.

    The arguments are those of `comparison.compare`; `run` goes to `fit_stream`. Both streams are in
    `dtype`.
    """
    key = jax.random.key(seed)
    params = pair[0].model.init(key, train.features, train.classes, dtype)
    check = check_gradient(pair[0].model, params, *train.sample(CHECKED), train.name)
    if checked:
        checked(check)
    shared = partial(fit_stream, stream=train, params=params, key=key, **run)
    results = train_both(pair, shared, progress, kept)

    def scores(side: Contender) -> tuple[float, float]:
        params = results[side.name].params
        return stream_accuracy(side.model, params, train), stream_accuracy(side.model, params, test)

    return compared(check, pair, results, scores)


def stream_accuracy(model: Model, params: Any, stream: Stream) -> float:
    """The share of examples that are classed right, by one pass."""
    predict = jax.jit(model.predict)
    hits = sum(int(np.sum(right(predict(params, x), y))) for x, y in stream.blocks())
    return hits / stream.examples
