"""Shards: every row in one place, the same batches whatever the devices, what cannot be."""

import math

import jax
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients import logistic
from handgrad.scale.sharding import Shards
from handgrad.train import fit
from handgrad.train.batches import Batches, ShardedBatches


@pytest.mark.parametrize("examples", [8, 15, 16, 17, 100])
@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_every_row_lies_in_one_place(examples, count):
    shards = Shards(examples, count)
    places = [shards.rows_of(shard) for shard in range(count)]
    assert {len(p) for p in places} == {shards.rows}
    own = [p[: shards.held(number)] for number, p in enumerate(places)]
    assert sorted(np.concatenate(own)) == list(range(examples))
    assert shards.rows * count - shards.short == examples


@pytest.mark.parametrize("examples", [16, 17, 23, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_sees_every_row_of_a_shard_once(examples, shuffle):
    sharded = ShardedBatches.over(Batches(examples, 16, shuffle, (3, 4)), 2)
    each = 16 // sharded.shards.count
    for shard in range(sharded.shards.count):
        held = sharded.shards.held(shard)
        seen = (
            sharded.shard_indices(shard, 0, math.lcm(held, each) // each).ravel().reshape(-1, held)
        )
        for epoch in seen:
            assert sorted(epoch) == list(range(held))
        np.testing.assert_array_equal(
            sharded.shard_indices(shard, 1, 2), sharded.shard_indices(shard, 0, 3)[1:]
        )


def test_the_batches_do_not_depend_on_the_devices():
    batches = Batches.of(100, 32, True, jax.random.key(0))
    by_devices = {devices: ShardedBatches.over(batches, devices) for devices in (1, 2, 4, 8)}
    assert {sharded.shards.count for sharded in by_devices.values()} == {8}
    one, other = (by_devices[1].shard_indices(shard, 0, 5) for shard in (0, 1))
    assert not np.array_equal(one, other)  # each shard has an order of its own
    for devices, sharded in by_devices.items():
        rows = [
            np.concatenate([sharded.shards.rows_of(s) for s in range(n, n + 8 // devices)])[
                sharded.device_indices(n * devices // 8, devices, 0, 5)
            ]
            for n in range(0, 8, 8 // devices)
        ]
        if devices == 1:
            expected = rows[0]
        np.testing.assert_array_equal(np.concatenate(rows, axis=1), expected)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (10_000, "at most the"),
        (0, "or 'all'"),
        ("some", "or 'all'"),
        (True, "or 'all'"),
        (1.0, "or 'all'"),
        (jax.sharding.Mesh(np.array(jax.devices())[:1].reshape(1, 1), ("a", "b")), "one axis"),
    ],
)
def test_devices_that_cannot_be(given, words):
    x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    with pytest.raises(InputError, match=words) as error:
        fit(logistic.model(), x, y, batch_size="full", epochs=1, mesh=given)
    assert error.value.argument == "mesh"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("examples", "size", "devices", "argument", "remedy"),
    [
        (100, 1, 2, "batch_size", "train on one device"),
        (100, 30, 8, "batch_size", "pass 32, or"),
        (10, 9, 8, "batch_size", "pass 8, or"),
        (3, 2, 4, "batch_size", "pass 'full'"),
        (3, 3, 4, "mesh", "use fewer devices"),
    ],
)
def test_batches_that_cannot_be_divided(examples, size, devices, argument, remedy):
    with pytest.raises(InputError, match=remedy) as error:
        ShardedBatches.over(Batches(examples, size, True, (0,)), devices)
    assert error.value.argument == argument


@pytest.mark.parametrize("batch_size", ["full", 16])
def test_one_device_of_a_mesh(batch_size):
    """For full batches it is the plain run, bit for bit; else it draws its batches from shards."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(51, 3)).astype("float32")
    y = (x @ [1, -2, 0.5] + rng.normal(size=51) > 0).astype("int32")
    runs = [fit(logistic.model(), x, y, batch_size=batch_size, epochs=9, mesh=m) for m in (None, 1)]
    same = [
        np.array_equal(a, b)
        for a, b in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True)
    ]
    assert all(same) == (batch_size == "full")
