"""The exceptions of handgrad, and how their messages are built.

Every message answers four questions: which argument, what was expected, what came, and what to
do about it.
"""

from typing import Any


class HandgradError(Exception):
    """The base of every error that handgrad raises on purpose."""


class InputError(HandgradError, ValueError):
    """An argument that cannot be used, with the remedy in the message.

    >>> print(InputError("learning_rate", "a finite number above 0", "0.0", "pass 0.1, say"))
    learning_rate: expected a finite number above 0, got 0.0; pass 0.1, say
    """

    def __init__(self, argument: str, expected: str, got: Any, remedy: str):
        self.argument, self.expected, self.got, self.remedy = argument, expected, got, remedy
        super().__init__(f"{argument}: expected {expected}, got {got}; {remedy}")


class MissingExtraError(HandgradError, ImportError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str):
        self.feature, self.extra = feature, extra
        super().__init__(
            f"{feature} needs packages that are not installed; "
            f"install them with: pip install 'handgrad[{extra}]'"
        )


class DivergedError(HandgradError, ArithmeticError):
    """Training met a loss that is not finite; the step, counted from 1, is in the message."""

    def __init__(self, step: int, loss: float):
        self.step, self.loss = step, loss
        super().__init__(
            f"training diverged: the loss is {loss} at step {step}; "
            "lower the learning rate, standardise the features, or look for outliers"
        )
