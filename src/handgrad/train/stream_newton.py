"""Newton's method on a stream: each pass reads the file once."""

from handgrad._precision import x64
from handgrad.fast import newton
from handgrad.scale.streams import Stream
from handgrad.train.stream_fitting import check_stream

SAMPLE = 65_536
"""Examples in memory, from all over the stream: what Newton starts on and scales by."""


def newton_stream(
    stream: Stream, l2: float = 0.0, *, tol: float = 1e-9, max_passes: int = 200, seed: int = 0
) -> newton.Optimum:
    """The optimum of logistic or softmax regression over the rows of `stream`, as `newton.fit`.

    The memory it takes does not grow with the stream. The rows are those of the stream, so features
    are standardised, and in its dtype; sums are in float64. Raises InputError for what is no
    stream, and for options that cannot be used.
    """
    with x64():  # as Newton has it
        check_stream(stream)
    classes = None if stream.soft or stream.classes == 2 else stream.classes
    blocks = newton.Blocks(stream.examples, stream.blocks)
    sample = stream.sample(SAMPLE)
    return newton.fit_blocks(blocks, sample, classes, l2, tol=tol, max_passes=max_passes, seed=seed)
