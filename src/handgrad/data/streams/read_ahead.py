"""Reading ahead: while one window of rows is worked on, a thread reads the next.

The buffers are few and used in turn, so memory does not grow with the file; they begin at a page,
so that JAX can work on them where they are. What goes wrong in the thread is raised by `get`.
"""

import mmap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from handgrad.data.streams.working_copy import WorkingCopy

Ranges = list[tuple[int, int]]
BUFFERS = 3
"""One worked on, one at hand, one being read."""


class ReadAhead:
    """Window `number` holds the rows of the ranges plan(number), at most `rows` in all."""

    def __init__(self, copy: WorkingCopy, plan: Callable[[int], Ranges], rows: int):
        self._copy, self._plan = copy, plan
        self._buffers = [
            (aligned((rows, copy.features), copy.dtype), aligned((rows,), copy.label_dtype))
            for _ in range(BUFFERS)
        ]
        self._turn = 0
        self._current: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None
        self._next: tuple[int, Future[tuple[np.ndarray, np.ndarray]]] | None = None
        self._thread = ThreadPoolExecutor(1, "handgrad-read-ahead")

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """x (R, D) and y (R,) of a window; the next one is now being read.

        They are overwritten once the window after the next is asked for: be done with them then.
        """
        if self._current is not None and self._current[0] == number:
            return self._current[1]
        if self._next is None or self._next[0] != number:
            self._give_up()
            self._submit(number)
        assert self._next is not None
        found = self._next[1].result()
        self._current = number, found
        self._submit(number + 1)
        return found

    def close(self) -> None:
        """Stop reading. The thread is gone when this returns."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, number: int) -> None:
        buffers = self._buffers[self._turn]
        self._turn = (self._turn + 1) % BUFFERS
        self._next = number, self._thread.submit(self._read, number, *buffers)

    def _read(self, number: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        done = 0
        for begin, end in self._plan(number):
            until = done + end - begin
            self._copy.read(begin, x[done:until], y[done:until])
            done = until
        return x[:done], y[:done]

    def _give_up(self) -> None:
        """Wait for a window that is not wanted any more, and take back its buffer."""
        if self._next is not None:
            self._next[1].exception()
            self._turn = (self._turn - 1) % BUFFERS


def ring(examples: int, rows: int) -> Callable[[int], Ranges]:
    """The plan that reads all examples in order, `rows` at a time, again and again."""
    count = -(-examples // rows)

    def plan(number: int) -> Ranges:
        begin = number % count * rows
        return [(begin, min(begin + rows, examples))]

    return plan


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros that begins at a page of memory."""
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, int(np.prod(shape))).reshape(shape)
