"""The lanes: every row in one place, the same batches whatever the devices, what cannot be."""

import math

import jax
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients import logistic
from handgrad.train import fit
from handgrad.train.batches import Batches, schedule
from handgrad.train.lanes import lanes_for


@pytest.mark.parametrize("examples", [8, 15, 16, 17, 100])
@pytest.mark.parametrize(("size", "devices"), [(8, 1), (8, 4), (5, 5), ("all", 3)])
def test_every_row_lies_in_one_place(examples, size, devices):
    size = examples if size == "all" else size
    lanes = lanes_for(Batches(examples, size, True, (0,)), devices)
    assert lanes.count % devices == 0
    places = [lanes.places(lane) for lane in range(lanes.count)]
    assert {len(p) for p in places} == {lanes.rows}
    own = [p[: lanes.rows - (n >= lanes.count - lanes.short)] for n, p in enumerate(places)]
    assert sorted(np.concatenate(own)) == list(range(examples))
    assert lanes.rows * lanes.count - lanes.short == examples


@pytest.mark.parametrize("examples", [16, 17, 23, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_sees_every_row_of_a_lane_once(examples, shuffle):
    lanes = lanes_for(Batches(examples, 16, shuffle, (3, 4)), 2)
    for lane in range(lanes.count):
        held = lanes.rows - (lane >= lanes.count - lanes.short)
        steps = math.lcm(held, lanes.batch_rows) // lanes.batch_rows
        seen = lanes.indices(lane, 0, steps).ravel().reshape(-1, held)
        for epoch in seen:
            assert sorted(epoch) == list(range(held))
        np.testing.assert_array_equal(lanes.indices(lane, 1, 2), lanes.indices(lane, 0, 3)[1:])


def test_the_batches_do_not_depend_on_the_devices():
    batches = schedule(100, 32, True, jax.random.key(0))
    assert {lanes_for(batches, devices).count for devices in (1, 2, 4, 8)} == {8}
    one, other = (lanes_for(batches, 1).indices(lane, 0, 5) for lane in (0, 1))
    assert not np.array_equal(one, other)  # each lane has an order of its own


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("given", "argument", "words"),
    [
        ({"mesh": 10_000}, "mesh", "at most the"),
        ({"mesh": 0}, "mesh", "or 'all'"),
        ({"mesh": "some"}, "mesh", "or 'all'"),
        ({"mesh": True}, "mesh", "or 'all'"),
        ({"mesh": 1.0}, "mesh", "or 'all'"),
        ({"mesh": jax.sharding.Mesh(np.array(jax.devices())[:1].reshape(1, 1), ("a", "b"))},
         "mesh", "one axis"),
    ],
)  # fmt: skip
def test_devices_that_cannot_be(given, argument, words):
    x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    with pytest.raises(InputError, match=words) as error:
        fit(logistic.model(), x, y, batch_size="full", epochs=1, **given)
    assert error.value.argument == argument


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("examples", "size", "devices", "argument", "remedy"),
    [
        (100, 1, 2, "batch_size", "train on one device"),
        (100, 30, 8, "batch_size", "pass 32, say"),
        (10, 9, 8, "batch_size", "pass 8, say"),
        (3, 2, 4, "batch_size", "pass 'full'"),
        (3, 3, 4, "mesh", "use fewer devices"),
    ],
)
def test_batches_that_cannot_be_parted(examples, size, devices, argument, remedy):
    with pytest.raises(InputError, match=remedy) as error:
        lanes_for(Batches(examples, size, True, (0,)), devices)
    assert error.value.argument == argument


def test_one_device_of_a_mesh_is_the_plain_run_for_full_batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(51, 3)).astype("float32")
    y = (x @ [1, -2, 0.5] + rng.normal(size=51) > 0).astype("int32")
    runs = [fit(logistic.model(), x, y, batch_size="full", epochs=9, mesh=m) for m in (None, 1)]
    for a, b in zip(*(jax.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
