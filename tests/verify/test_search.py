"""The search: errors that one example does not show are found, in bit space, again and again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.verify import verify
from handgrad.verify.search import extremes, first_generation, from_ordinal, mutate, ordinal

pytestmark = pytest.mark.usefixtures("without_diagnosis")

INSIDE = (np.array([0.5, -1.0]),)


def softplus_total(z):
    return jnp.sum(jax.nn.softplus(z))


def wrong_beyond_6(z):
    return jnp.where(jnp.abs(z) < 6, jax.nn.sigmoid(z), 2 * jax.nn.sigmoid(z))


def test_an_error_in_the_tail_is_found_and_placed():
    verdict = verify(wrong_beyond_6, of=softplus_total, at=INSIDE)
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert verdict.evidence.place.startswith("right at the point given, wrong at an input that")
    assert abs(float(verdict.evidence.own)) >= 6
    assert all(row.evaluations >= 2_000 for row in verdict.numerics)


def test_drawn_points_find_it_too():
    verdict = verify(
        wrong_beyond_6, of=softplus_total, at=INSIDE, evaluations=0,
        points=lambda key: (20 * jax.random.normal(key, (2,)),),
    )  # fmt: skip
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert "right at the point given, wrong at drawn point" in verdict.evidence.place


def test_without_search_and_points_it_is_missed():
    """What one example cannot show: the reason why a search is the default."""
    verdict = verify(wrong_beyond_6, of=softplus_total, at=INSIDE, evaluations=0)
    assert verdict.ok
    assert [row.evaluations for row in verdict.numerics] == [0, 0]


def test_only_what_is_differentiated_is_varied():
    def loss(w, y):
        return jnp.sum(jax.nn.softplus(w) - y * w)

    labels = np.array([0.0, 1.0])
    verdict = verify(
        lambda w, y: jnp.where(y > 0, -jax.nn.sigmoid(-w), jax.nn.sigmoid(w)),
        of=loss, at=(*INSIDE, labels), evaluations=400,
    )  # fmt: skip
    assert verdict.ok
    for row in verdict.numerics:
        ((name, numbers),) = row.hand_worst_at.inputs
        assert (name, len(numbers)) == ("w", 2)


def test_what_the_dtype_cannot_carry_is_no_fault():
    """x² overflows from 1.8e19 on in float32: such points are discarded, and counted."""
    verdict = verify(
        lambda x: 4 * x**3, of=lambda x: jnp.sum((x * x) ** 2), at=INSIDE, dtypes=("float32",),
        strict=True,
    )  # fmt: skip
    (row,) = verdict.numerics
    assert verdict.ok, str(verdict)
    assert (row.hand_bad, row.autodiff_bad) == (0, 0)


def test_the_search_finds_the_cancellation_that_the_example_does_not_show():
    """1 − σ(z) cancels from 17 on."""

    def textbook(z):
        return jax.nn.sigmoid(z) * (1 - jax.nn.sigmoid(z))

    verdict = verify(
        textbook, of=lambda z: jnp.sum(jax.nn.sigmoid(z)), at=INSIDE, dtypes=("float32",)
    )
    (row,) = verdict.numerics
    assert (verdict.hand, verdict.ok) == ("identical", True)
    assert row.hand_bad > 0
    assert row.hand_max_ulp > 1e6
    assert float.fromhex(row.hand_worst_at.own) > 10
    assert row.hand_ulp < 10


# --- bits -----------------------------------------------------------------------------------------

DTYPES = ["float64", "float32", "float16", jnp.bfloat16]


@settings(derandomize=True)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_numbered_in_order(value):
    x = np.array([value], np.float32)
    number = ordinal(x)
    assert from_ordinal(number, x.dtype) == x
    after = np.nextafter(x, np.float32(np.inf))
    if np.isfinite(after):
        assert from_ordinal(number + 1, x.dtype) == after


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_the_points_tried_are_finite_normal_and_repeatable(dtype):
    base = np.array([0.5, -1.0, 3.0]).astype(dtype)
    generations = []
    for _ in range(2):
        rng = np.random.default_rng(0)
        rows = first_generation(base, 64, rng)
        assert (rows[0] == base).all()
        generations.append(np.concatenate([rows, mutate(rows, base, rng)]))
    assert generations[0].tobytes() == generations[1].tobytes()
    wide = np.abs(generations[0].astype(np.float64))
    assert wide.max() <= float(jnp.finfo(dtype).max)
    assert not ((wide > 0) & (wide < float(jnp.finfo(dtype).tiny))).any()


def test_the_thresholds_of_float32_are_among_the_extremes():
    values = extremes(np.dtype("float32")).astype(float)
    for threshold in (0.0, 17.0, -88.72284, 15.942385, float(np.finfo(np.float32).max)):
        assert np.isclose(values, threshold, rtol=1e-6).any(), threshold
