"""What a dtype can be asked: the range of the real numbers that the loss passes through.

At weights of 1e38 the score itself overflows, and no form of the gradient can be blamed for what
follows: such points are discarded, and counted. Where a number on the way is subnormal, a device
that flushes subnormals to zero loses it: such points are set apart, and only NaN and infinities
count there. What a better formula can avoid is not excused, since the numbers looked at are the
real values of the loss, not their float images.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive
from handgrad.exact.evaluation import as_operand
from handgrad.exact.interpreter import Interpreter
from handgrad.verify.programs import Programs

BITS = 128


class Watch(Interpreter):
    """An interpreter that remembers the range of the real numbers it has passed through."""

    largest, smallest = 0.0, np.inf

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation, having looked at them."""
        outputs = super().apply(equation, operands)
        for output in outputs:
            if isinstance(output, np.ndarray) and output.dtype == object:
                for ball in output.ravel():
                    if ball.is_finite() and not ball.contains(0):
                        exponent = sum(map(int, _exponents(ball)))
                        self.largest = max(self.largest, exponent)
                        self.smallest = min(self.smallest, exponent)
        return outputs


def _exponents(ball: arb) -> tuple[int, int]:
    mantissa, exponent = ball.mid().man_exp()
    return int(exponent), abs(int(mantissa)).bit_length()


def passes_through(programs: Programs, leaves: list, dtype: str, both_fail: bool) -> str:
    """'no value', 'overflow', 'subnormal' or 'normal': where the loss leads, in real numbers.

    Where hand and autodiff both fail, what they have in common is looked at too: a point is
    excused if each of them leads out of range, and not if only one of them does.
    """
    path = _path(programs, programs.loss, leaves, dtype)
    if path != "normal" or not both_fail or programs.hand is None:
        return path
    paths = {_path(programs, p, leaves, dtype) for p in (programs.hand, programs.autodiff)}
    if "normal" in paths:
        return "normal"
    return "overflow" if paths == {"overflow"} else "subnormal"


def _path(programs: Programs, program: Traced, leaves: list, dtype: str) -> str:
    watch = Watch(programs.rules)
    variables = program.jaxpr.jaxpr.invars
    operands = [as_operand(leaf, v) for leaf, v in zip(leaves, variables, strict=True)]
    try:
        with ctx.workprec(BITS):
            outputs = watch.run(program.jaxpr, operands)
    except (Undecided, UnsupportedPrimitive):
        return "normal"
    if not all(ball.is_finite() for output in outputs for ball in np.ravel(output)):
        return "no value"
    info = jnp.finfo(dtype)
    if watch.largest > info.maxexp:
        return "overflow"
    return "subnormal" if watch.smallest <= info.minexp else "normal"
