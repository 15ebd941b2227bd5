"""Complex numbers: pairs of balls (`flint.acb`), their functions, and the Fourier transform.

What moves entries, adds them up or selects among them serves complex numbers too and lies with the
real numbers. A zero has no sign here: on the branch cut of a logarithm or a root the value is that
from above. A complex NaN is never settled.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from flint import acb, arb

from handgrad.exact.balls import ZERO, as_balls, boxed, equal, kind
from handgrad.exact.elementwise import Rule, logistic, one_minus_square


def as_complex(x: Any) -> np.ndarray:
    """An array of numbers or balls as complex balls; those that are stay the same objects."""
    return boxed(np.frompyfunc(lambda b: b if isinstance(b, acb) else acb(b), 1, 1)(as_balls(x)))


def entrywise(function: Callable[..., Any], operands: int = 1) -> Rule:
    """A rule that applies `function` to complex balls, entry by entry; parameters are ignored."""
    ufunc = np.frompyfunc(function, operands, 1)

    def rule(*arrays: Any, **params: Any) -> np.ndarray:
        return boxed(ufunc(*map(as_complex, arrays)))

    return rule


def are_equal(a: acb, b: acb) -> bool:
    """Whether both parts are equal."""
    return a is b or (equal(a.real, b.real) and equal(a.imag, b.imag))


def power(z: acb, w: acb) -> acb:
    """z**w on the principal branch."""
    if z.is_zero():
        return acb(1) if w.is_zero() else acb(0) if w.real > 0 else acb(arb.nan())
    return z**w


def integer_pow(z: Any, *, y: int, **params: Any) -> np.ndarray:
    """z**y for a constant integer y."""
    return boxed(np.frompyfunc(lambda ball: _whole_power(ball, int(y)), 1, 1)(as_complex(z)))


def _whole_power(z: acb, y: int) -> acb:
    """z**y; python-flint gives NaN for a ball around exactly 0."""
    result = z**y
    if result.is_finite() or not z.is_finite() or y < 1:
        return result
    return functools.reduce(operator.mul, [z] * y)


def absolute(z: acb) -> arb:
    """|z|."""
    return ZERO if z.is_zero() else abs(z)


def sign(z: acb) -> acb:
    """z/|z|, and 0 at 0."""
    return z if z.is_zero() else z / abs(z)


# --- Fourier transforms -------------------------------------------------------------------------


def transform(z: np.ndarray, axis: int, inverse: bool) -> np.ndarray:
    """Σ z_j exp(∓2πi jk/n) along an axis; the inverse divides by n."""
    moved = np.moveaxis(z, axis, -1)
    result = np.empty(moved.shape, dtype=object)
    for place in np.ndindex(moved.shape[:-1]):
        result[place] = acb.dft(moved[place].tolist(), inverse=inverse)
    return np.moveaxis(result, -1, axis)


def fft(x: Any, *, fft_type: Any, fft_lengths: Any, **params: Any) -> np.ndarray:
    """The four transforms of JAX over the last axes, as many as there are lengths."""
    name = getattr(fft_type, "name", str(fft_type)).upper().rpartition(".")[-1]
    axes = range(x.ndim - len(fft_lengths), x.ndim)
    z = as_complex(x)
    inverse = name in ("IFFT", "IRFFT")
    for axis in axes[:-1] if name == "IRFFT" else axes:
        z = transform(z, axis, inverse)
    if name == "RFFT":
        return z[..., : fft_lengths[-1] // 2 + 1]
    if name != "IRFFT":
        return z
    # the half that is not given mirrors the other; what should be real is taken as that
    length = fft_lengths[-1]
    half = z[..., : length // 2 + 1].copy()
    for index in {0, length // 2} if length % 2 == 0 else {0}:
        half[..., index] = real(half[..., index])
    mirrored = conj(half[..., 1 : (length + 1) // 2])[..., ::-1]
    return real(transform(np.concatenate([half, mirrored], axis=-1), x.ndim - 1, inverse))


def real(z: Any, **params: Any) -> np.ndarray:
    """The real parts."""
    return boxed(np.frompyfunc(lambda ball: ball.real, 1, 1)(z))


def imag(z: Any, **params: Any) -> np.ndarray:
    """The imaginary parts."""
    return boxed(np.frompyfunc(lambda ball: ball.imag, 1, 1)(z))


def conj(z: Any, **params: Any) -> np.ndarray:
    """The complex conjugates."""
    return boxed(np.frompyfunc(acb.conjugate, 1, 1)(as_complex(z)))


def convert_element_type(z: Any, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """Complex numbers of any width are the same numbers; real ones are their real parts."""
    return real(z) if kind(new_dtype) == "real" else as_complex(z)


def is_finite(z: Any, **params: Any) -> np.ndarray:
    """Whether both parts are finite."""
    return np.asarray(np.frompyfunc(acb.is_finite, 1, 1)(z), dtype=bool)


def predicate(function: Callable[[acb, acb], bool]) -> Rule:
    """A rule that asks a question of pairs of entries."""
    ufunc = np.frompyfunc(function, 2, 1)

    def rule(*arrays: Any, **params: Any) -> np.ndarray:
        return np.asarray(ufunc(*map(as_complex, arrays)), dtype=bool)

    return rule


RULES: dict[str, Rule] = {
    **{
        name: entrywise(getattr(acb, name))
        for name in (
            "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1",
            "log", "log1p", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
        )
    },
    "abs": entrywise(absolute),
    "add": entrywise(acb.__add__, 2),
    "add_any": entrywise(acb.__add__, 2),
    "complex": entrywise(lambda re, im: acb(re.real, im.real), 2),
    "conj": conj,
    "convert_element_type": convert_element_type,
    "div": entrywise(acb.__truediv__, 2),
    "eq": predicate(are_equal),
    "fft": fft,
    "imag": imag,
    "integer_pow": integer_pow,
    "is_finite": is_finite,
    "logistic": entrywise(logistic),
    "mul": entrywise(acb.__mul__, 2),
    "ne": predicate(lambda a, b: not are_equal(a, b)),
    "neg": entrywise(acb.__neg__),
    "one_minus_square": entrywise(one_minus_square),
    "pow": entrywise(power, 2),
    "real": real,
    "sign": entrywise(sign),
    "square": entrywise(lambda z: z * z),
    "sub": entrywise(acb.__sub__, 2),
}  # fmt: skip

# Rules for real numbers that serve complex ones as they stand.
SHARED = frozenset({
    "cumprod", "cumsum", "conv_general_dilated", "dot_general", "empty", "empty2", "iota",
    "lu", "reduce_prod", "reduce_sum", "scatter-add", "scatter-mul", "scatter-sub", "scatter_add",
    "scatter_mul", "scatter_sub", "reduce_window_sum", "triangular_solve", "cholesky",
    "tridiagonal_solve", "qr", "eigh", "svd",
})  # fmt: skip
