"""The cost model against what it counts: messages passed one by one, and arrays laid out."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from handgrad.bench.cost import Machine, Work, all_reduce, step
from handgrad.errors import InputError
from handgrad.gradients import softmax_regression

MACHINE = Machine(
    read=3e9,
    gather=1e9,
    multiply=5e10,
    logits=2e8,
    memory=1e9,
    link=1e8,
    latency=1e-4,
    overhead=1e-5,
)


def ring(size, devices, machine):
    """Pass the chunks round, first to add and then to spread, counting their time."""
    held = [[{d} for _ in range(devices)] for d in range(devices)]
    seconds = 0.0
    for turn in range(2 * (devices - 1)):
        chunks = [(d - turn) % devices for d in range(devices)]
        sent = [(d, chunk, set(held[d][chunk])) for d, chunk in enumerate(chunks)]
        for d, chunk, what in sent:
            held[(d + 1) % devices][chunk] |= what
        seconds += machine.latency + size / devices / machine.link
    assert all(chunk == set(range(devices)) for of_one in held for chunk in of_one)
    return seconds


def tree(size, devices, machine):
    """Halve those who wait for a sum until one has it, and double those who know it again."""
    seconds, waiting = 0.0, devices
    while waiting > 1:
        waiting = -(-waiting // 2)
        seconds += 2 * (machine.latency + size / machine.link)
    return seconds


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8, 13])
@pytest.mark.parametrize("size", [4, 10**4, 10**8])
def test_an_all_reduce_is_the_better_of_its_two_ways(devices, size):
    ways = ring(size, devices, MACHINE), tree(size, devices, MACHINE)
    assert all_reduce(size, devices, MACHINE) == pytest.approx(min(ways))


def test_both_ways_are_taken():
    assert all_reduce(4, 64, MACHINE) < ring(4, 64, MACHINE)
    assert all_reduce(10**8, 16, MACHINE) < tree(10**8, 16, MACHINE)


def test_the_bytes_are_those_of_the_arrays():
    work = Work(examples=1_000, features=20, outputs=5, batch=100)
    params = softmax_regression.init(jax.random.key(0), 20, 5)
    assert work.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert work.reduced_bytes == 4 * (1 + work.parameters)
    x, y = np.zeros((1_000, 20), "float32"), np.zeros(1_000, "int32")
    held = x.nbytes + y.nbytes + 2 * 4 * work.parameters
    assert step(work, MACHINE).memory == held
    assert step(work, MACHINE).read == x.nbytes / 10 / MACHINE.gather


def test_more_examples_do_not_make_the_all_reduce_longer():
    small, large = (step(Work(n, 64), MACHINE, 8) for n in (10**3, 10**9))
    assert small.reduce == large.reduce > 0
    assert small.limit == "reduce"
    assert large.limit == "read"
    assert large.seconds == pytest.approx(large.overhead + large.read + large.logits + large.reduce)


def test_a_hessian_is_multiplied_and_sent():
    plain, newton = (Work(10**6, 500, hessian=h, itemsize=8) for h in (False, True))
    assert newton.reduced_bytes - plain.reduced_bytes == 8 * 501**2
    assert step(newton, MACHINE, 4).limit == "multiply"


@pytest.mark.parametrize("name", ["read", "gather", "multiply", "logits", "memory", "link"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_machine_has_limits(name, value):
    with pytest.raises(InputError, match=f"{name}: expected a finite number above 0"):
        replace(MACHINE, **{name: value})


def test_at_least_one_device():
    with pytest.raises(InputError, match="devices: expected a whole number above 0"):
        step(Work(10, 1), MACHINE, 0)
