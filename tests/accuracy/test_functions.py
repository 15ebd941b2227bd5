"""The table of the atlas: how much it holds, and its definitions in balls against mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flint import arb, ctx

from handgrad.accuracy import functions
from handgrad.accuracy.functions import (
    DEFINED,
    DEFINED_OF_TWO,
    HANDGRAD,
    HIGHEST,
    OWN_DERIVATIVES,
    REFUSED,
    WITH_ACCURACY,
    choose,
    find,
    missing,
    table,
)
from handgrad.errors import InputError


def test_the_table_holds_more_than_ninety_functions_each_of_which_can_be_called():
    everything = table()
    assert len({name.partition(",")[0] for name in everything}) >= 90
    for entry in everything.values():
        shapes = [jax.ShapeDtypeStruct((), jnp.float32)] * entry.arguments
        for order in (0, 1):
            for form, function in entry.implementations(order).items():
                out = jax.eval_shape(function, *shapes)
                assert (out.shape, out.dtype) == ((), jnp.float32), (entry.name, form)
    # what a newer or older JAX lacks is named, and is not in it
    assert not set(missing()) & set(everything)
    assert set(OWN_DERIVATIVES) <= set(everything)
    assert all(find(name.partition(",")[0]) is None or name not in everything for name in REFUSED)


def test_every_form_that_is_offered_is_there():
    found = table()["jnp.tanh"].implementations(1)
    assert HANDGRAD in found
    assert HIGHEST in found or not hasattr(jax.lax, "AccuracyMode")
    assert set(WITH_ACCURACY) <= set(table())
    assert HANDGRAD not in table()["jnp.tanh"].implementations(0)


def third(a, x):
    """P(a, x)."""
    return mpmath.gammainc(a, 0, x, regularized=True)


MPMATH = {
    "dawsn": (lambda x: mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-x * x) * mpmath.erfi(x), (0.7, 3)),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), (-1.5, 4)),
    "exp1": (mpmath.e1, (0.3, 7)),
    "expi": (mpmath.ei, (-2.5, 0.7)),
    "factorial": (mpmath.factorial, (0.5, 3.25)),
    "gamma": (mpmath.gamma, (-2.5, 3.25)),
    "log_ndtr": (lambda x: mpmath.log(mpmath.ncdf(x)), (-9, 1.5)),
    "ndtri": (lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1), (0.125, 0.75)),
    "sinc": (mpmath.sincpi, (0.75, 3)),
    "spence": (lambda x: mpmath.polylog(2, 1 - x), (0.25, 1.5)),
    "_gammainc": (lambda x: third(mpmath.mpf(2.5), x), (0.7, 30)),
    "_gammaincc": (lambda x: 1 - third(mpmath.mpf(2.5), x), (0.7, 30)),
    "_expn_2": (lambda x: mpmath.expint(2, x), (0.3, 7)),
    "_sine_integral": (mpmath.si, (-2.5, 9)),
    "_cosine_integral": (mpmath.ci, (0.3, 9)),
    "_fresnel_sine": (mpmath.fresnels, (-1.25, 3)),
    "_fresnel_cosine": (mpmath.fresnelc, (-1.25, 3)),
}


def agree(ball, true):
    return abs(mpmath.mpf(ball.mid().str(40, radius=False)) - true) <= abs(true) * mpmath.mpf(
        "1e-12"
    ) + mpmath.mpf("1e-12")


@pytest.mark.parametrize("name", MPMATH)
def test_a_definition_is_that_of_mpmath_with_its_derivatives(name):
    taylor = DEFINED.get(name) or getattr(functions, name)
    f, points = MPMATH[name]
    ctx.prec, before = 160, ctx.prec
    try:
        with mpmath.workdps(40):
            for x in points:
                found = taylor(arb(x))
                for order, (ball, factor) in enumerate(zip(found, (1, 1, 2), strict=True)):
                    assert agree(ball * factor, mpmath.diff(f, mpmath.mpf(x), order)), (x, order)
    finally:
        ctx.prec = before


@pytest.mark.parametrize("name", DEFINED_OF_TWO)
def test_a_definition_of_two_arguments_too(name):
    f = {
        "jax.scipy.special.beta": mpmath.beta,
        "jax.scipy.special.betaln": lambda a, b: mpmath.log(mpmath.beta(a, b)),
        "jax.scipy.special.poch": mpmath.rf,
    }[name]
    x, y = mpmath.mpf(1.75), mpmath.mpf(0.625)
    with mpmath.workdps(40):
        for argnum, taylor in enumerate(DEFINED_OF_TWO[name]):
            found = taylor(arb(1.75), arb(0.625))
            for order, (ball, factor) in enumerate(zip(found, (1, 1, 2), strict=True)):
                of = tuple(order if place == argnum else 0 for place in (0, 1))
                assert agree(ball * factor, mpmath.diff(f, (x, y), of)), (argnum, order)


def test_everything_that_is_defined_is_tested():
    assert set(DEFINED) <= set(MPMATH)


def test_names_are_found_without_their_modules():
    assert [entry.name for entry in choose(["tanh"])] == ["jnp.tanh"]
    assert [entry.name for entry in choose(["jnp.hypot", "relu"])] == [
        "jnp.hypot, x", "jnp.hypot, y", "jax.nn.relu",
    ]  # fmt: skip
    assert len(choose([])) == len(table())
    assert np.isfinite(float(choose(["polygamma"])[0].function(jnp.float32(2))))


@pytest.mark.bad_input
def test_a_name_that_means_nothing_is_refused_with_a_better_one():
    with pytest.raises(InputError, match="try tanh or tan"):
        choose(["tanhh"])
    with pytest.raises(InputError, match="got 'hyp2f1'; it is approximated by JAX"):
        choose(["hyp2f1"])
