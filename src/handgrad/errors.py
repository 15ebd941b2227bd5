"""The exceptions of handgrad, and how their messages are built.

Every message answers four questions: which argument, what was expected, what came, and what to
do about it.
"""

from typing import Any


class HandgradError(Exception):
    """The base of every error that handgrad raises on purpose; survives pickling.

    >>> import pickle
    >>> copy = pickle.loads(pickle.dumps(DivergedError(step=3, loss=float("inf"))))
    >>> copy.step, str(copy)[:34]
    (3, 'training diverged: the loss is inf')
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call the class with its message alone.
        return _restore, (type(self), self.args, self.__dict__)


class InputError(HandgradError, ValueError):
    """An argument that cannot be used, with the remedy in the message.

    >>> print(InputError("learning_rate", "a finite number above 0", "0.0", "pass for example 0.1"))
    learning_rate: expected a finite number above 0, got 0.0; pass for example 0.1
    """

    def __init__(self, argument: str, expected: str, got: Any, remedy: str):
        self.argument, self.expected, self.got, self.remedy = argument, expected, got, remedy
        super().__init__(f"{argument}: expected {expected}, got {got}; {remedy}")


class NotFollowed(InputError):  # noqa: N818  (a limit, not a fault)
    """A step of a function of NumPy or PyTorch that cannot be followed, with its line.

    >>> print(NotFollowed("a branch", "write np.where", "my.py", 3, "if x > 0:"))
    function: expected one that can be followed, got a branch in my.py:3, `if x > 0:`; write
    np.where
    """

    def __init__(
        self, step: str, remedy: str, file: str = "", line: int = 0, source: str = "",
        argument: str = "function",
    ):  # fmt: skip
        self.step, self.file, self.line, self.source = step, file, line, source
        place = f" in {file}:{line}, `{source}`" if file else ""
        super().__init__(argument, "one that can be followed", f"{step}{place}", remedy)


class MissingExtraError(HandgradError, ImportError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str):
        self.feature, self.extra = feature, extra
        super().__init__(
            f"{feature} needs packages that are not installed; "
            f"install them with: pip install 'handgrad[{extra}]'"
        )


class DivergedError(HandgradError, ArithmeticError):
    """Training met a loss that is not finite, or ended far above where it began.

    The step, counted from 1, is in the message.
    """

    def __init__(self, step: int, loss: float):
        self.step, self.loss = step, loss
        super().__init__(
            f"training diverged: the loss is {loss:.4g} at step {step}; "
            "lower the learning rate, standardise the features, or look for outliers"
        )


class Undecided(HandgradError):  # noqa: N818  (a verdict, not a fault)
    """A question about real numbers that no precision up to the limit could settle.

    A comparison of equal numbers that were computed in different ways, a kink, a tie. `primitive`
    and `where` say which operation asked, once the interpreter has filled them in.
    """

    def __init__(self, reason: str, primitive: str | None = None, where: str | None = None):
        self.reason, self.primitive, self.where = reason, primitive, where
        place = f"{primitive}: " if primitive else ""
        super().__init__(f"{place}{reason}" + (f" (at {where})" if where else ""))


class UnsupportedPrimitive(HandgradError, NotImplementedError):  # noqa: N818
    """A primitive that has no rule in real arithmetic.

    >>> print(UnsupportedPrimitive("svd"))
    no exact rule for the primitive 'svd'; pass one: rules={'svd': rule}, where
    rule(*operands, **params) takes object arrays of flint.arb and returns the output or outputs
    """

    def __init__(self, primitive: str, reason: str = "", where: str | None = None):
        self.primitive, self.reason, self.where = primitive, reason, where
        super().__init__(
            f"no exact rule for the primitive '{primitive}'"
            + (f": {reason}" if reason else "")
            + (f" (at {where})" if where else "")
            + f"; pass one: rules={{'{primitive}': rule}}, where rule(*operands, **params) takes "
            "object arrays of flint.arb and returns the output or outputs"
        )


def _restore(kind: type[HandgradError], args: tuple, state: dict[str, Any]) -> HandgradError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


# --- the exceptions of others ---------------------------------------------------------------------


def describe_error(error: BaseException) -> str:
    """The kind of an exception and its first line."""
    try:
        words = (str(error).strip().splitlines() or [""])[0]
    except Exception:  # the user's own exception, whose text raises
        words = "(no message)"
    return f"{type(error).__name__}: {one_line(words)}"


def one_line(text: str) -> str:
    r"""The text with line ends and whatever else would steer a terminal written out.

    >>> one_line("right\nNOT")
    'right\\nNOT'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
