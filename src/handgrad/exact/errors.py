"""What exact evaluation raises when it cannot answer."""

from handgrad._errors import HandgradError


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
