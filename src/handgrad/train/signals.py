"""Ctrl-C and SIGTERM noted, and acted on between two chunks: nothing is cut off halfway."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Noted:
    """The handler: remembers the first signal; a second one is a KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """As Python calls a handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def noted() -> Iterator[Noted]:
    """Signals are noted in what this gives, or in what an outer `noted` gave.

    Outside the main thread, where Python allows no handlers, none is.
    """
    outer = signal.getsignal(signal.SIGINT)
    if isinstance(outer, Noted):
        yield outer
        return
    handler, before = Noted(), {}
    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, handler)
    except ValueError:
        pass
    try:
        yield handler
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
