"""The stream of examples: every example once an epoch, whatever the size of a batch."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad.errors import InputError
from handgrad.train.batches import Batches, size_of

SIZES = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
SEEDS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(SIZES, st.integers(1, 5), SEEDS)
def test_every_epoch_is_a_permutation(sizes, epochs, seed):
    n, size = sizes
    batches = Batches(n, size, True, seed)
    if batches.full:
        return
    steps = batches.steps(epochs)
    assert steps * size >= epochs * n > (steps - 1) * size
    seen = batches.indices(0, steps).ravel()[: epochs * n].reshape(epochs, n)
    assert (np.sort(seen, axis=1) == np.arange(n)).all()


@given(SIZES, st.integers(1, 30), st.data(), SEEDS, st.booleans())
def test_the_stream_depends_on_seed_and_step_alone(sizes, steps, data, seed, shuffle):
    n, size = sizes
    whole = Batches(n, size, shuffle, seed).indices(0, steps)
    cut = data.draw(st.integers(0, steps - 1))
    again = Batches(n, size, shuffle, seed)
    parts = [again.indices(cut, steps - cut), again.indices(0, cut)] if cut else [whole]
    assert (np.concatenate(parts[::-1]) == whole).all()
    assert whole.dtype == np.int32


@given(SIZES, st.integers(1, 60))
def test_in_order_means_in_order(sizes, steps):
    n, size = sizes
    if size < n:
        seen = Batches(n, size, False, (0, 0)).indices(0, steps).ravel()
        assert (seen == np.arange(steps * size) % n).all()


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = Batches(100, 50, True, (0, 1)).indices(0, 4).reshape(2, 100)
    assert (first != second).any()
    assert (first != Batches(100, 50, True, (0, 2)).indices(0, 2).ravel()).any()


def test_a_full_batch_picks_nothing():
    batches = Batches(7, 7, True, (0, 0))
    assert batches.full
    assert batches.indices(3, 5).shape == (5, 0)
    assert batches.steps(11) == 11


def test_the_key_decides_the_order():
    one, two = (Batches.of(9, 2, True, jax.random.key(seed)) for seed in (1, 2))
    assert one == Batches.of(9, 2, True, jax.random.key(1))
    assert one.seed != two.seed


@pytest.mark.parametrize(
    ("given", "examples", "size"),
    [(None, 500, 32), (None, 7, 7), ("full", 500, 500), (3, 5, 3), (np.int64(3), 5, 3), (5, 5, 5)],
)
def test_the_size_of_a_batch(given, examples, size):
    found = size_of(given, examples)
    assert found == size
    assert type(found) is int


@pytest.mark.parametrize("given", [0, -1, 2.0, "many", True, "", np.float64(2), [2], np.array([2])])
def test_a_size_that_is_none(given):
    with pytest.raises(InputError, match=r"batch_size: expected 'full' or a whole number above 0"):
        size_of(given, 10)


def test_a_batch_beyond_the_data():
    with pytest.raises(
        InputError, match=r"batch_size: expected at most the 1,000 training .* got 1001; pass 'fu"
    ):
        size_of(1001, 1000)


def test_more_steps_than_can_be_counted():
    """Refused at once: rules of update count steps in 32 bits, and nobody would see the end."""
    batches = Batches(10, 5, True, (0,))
    assert batches.steps(2**30 - 1) == 2**31 - 2
    for epochs in (2**30, 10**18, 10**30):
        with pytest.raises(InputError, match="epochs: expected at most 2,147,483,647 steps, got"):
            batches.steps(epochs)
