"""The check of the derivations, checked: a wrong line planted in each is caught and named."""

import zlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.judge.mutations import mutant, mutations
from handgrad._precision import x64
from handgrad.derivations import DERIVATIONS, Step, check, derivation
from handgrad.derivations.checking import examples

NAMES = [entry.name for entry in DERIVATIONS]
ALGEBRA = ("sign", "factor", "dropped term", "swapped operands", "replaced", "constant dropped")
SAMPLE = ("likelihood", "step", "residual", "softmax_jacobian", "logistic", "mlp_tanh_binary")
"""One of each kind; all have every kind of mistake planted in every line by `make proofs`."""
FLAT = {"step"}
"""Zero on every line: no sign, factor or term can be wrong in it, only something added."""


def generator(name, salt=0):
    return np.random.default_rng([zlib.crc32(name.encode()), salt])


def with_line(entry, number, value):
    """The derivation with the value of one line, counted from 1, replaced."""
    steps = list(entry.steps)
    steps[number - 1] = replace(steps[number - 1], value=value)
    return replace(entry, steps=tuple(steps))


def differs(value, other, points):
    """Whether two functions differ at all points by what even floats can see."""
    for args in points:
        rows = [
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(f(*args))])
            for f in (value, other)
        ]
        if not (np.abs(rows[0] - rows[1]) > 1e-6 * np.abs(rows[1]).max()).any():
            return False
    return True


def wrong_algebra(value, points, rng, operators=ALGEBRA):
    """A line with one operation of its own changed, and what was changed; None if none shows."""
    found = [m for m in mutations(value, points[0]) if m.operator in operators]
    for index in rng.permutation(len(found)):
        changed = mutant(value, found[index])
        if differs(changed, value, points):
            return changed, f"{found[index].operator}, {found[index].detail}"
    return None


def nudged(value, rng, size):
    """A line with one coordinate changed by `size` of itself, or of 1 where it is 0."""

    def line(*args):
        leaves, tree = jax.tree.flatten(value(*args))
        chosen = int(draws[0] * len(leaves))
        leaf = leaves[chosen]
        place = jnp.arange(leaf.size).reshape(leaf.shape) == int(draws[1] * leaf.size)
        error = jnp.where(leaf == 0, jnp.ones_like(leaf), leaf) * jnp.asarray(size, leaf.dtype)
        leaves[chosen] = leaf + jnp.where(place, error, jnp.zeros_like(leaf))
        return jax.tree.unflatten(tree, leaves)

    draws = rng.random(2)
    return line


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_a_wrong_sign_factor_or_term_in_a_middle_line_is_caught_and_named(name):
    entry, rng = derivation(name), generator(name)
    points = examples(entry)
    number = int(rng.integers(2, len(entry.steps)))  # neither the first nor the last
    with x64():
        planted = wrong_algebra(entry.steps[number - 1].value, points, rng)
    assert (planted is None) == (name in FLAT)
    if planted is None:
        planted = nudged(entry.steps[number - 1].value, rng, 1.0), "1 added"
    wrong, what = planted
    checked = check(with_line(entry, number, wrong))
    assert not checked.ok, what
    assert checked.first_wrong == number, what
    assert checked.fault.startswith(f"line {number} ({entry.steps[number - 1].reason}): "), what
    later = [line.number for line in checked.lines if not line.agrees]
    assert later == [number, number + 1], what  # the line after does not equal the wrong one


@pytest.mark.slow
@pytest.mark.usefixtures("right_lines_once")
def test_one_mistake_of_every_kind_in_every_line_is_caught_and_named():
    planted = 0
    for entry in DERIVATIONS:
        points = examples(entry)
        for number in range(2, len(entry.steps) + 1):
            for operator in ALGEBRA:
                value, rng = entry.steps[number - 1].value, generator(entry.name, number)
                with x64():
                    found = wrong_algebra(value, points, rng, (operator,))
                if found:
                    checked = check(with_line(entry, number, found[0]))
                    assert checked.first_wrong == number, (entry.name, found[1])
                    planted += 1
    assert planted >= 1_000


@pytest.mark.parametrize(
    "name",
    [*SAMPLE, *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n not in SAMPLE)],
)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_an_error_in_the_fiftieth_digit_of_any_line_is_caught(name):
    entry = derivation(name)
    for number in range(2, len(entry.steps) + 1):
        value = entry.steps[number - 1].value
        checked = check(with_line(entry, number, nudged(value, generator(name, number), 1e-50)))
        assert checked.first_wrong == number
        assert checked.digits < 60


def test_a_step_of_descent_with_the_wrong_sign_is_no_step_of_descent():
    def as_one_reads(params, rate, x, y):
        plus = rate * (y + jax.nn.sigmoid(jnp.sum(params.weight * x) + params.bias))
        return type(params)(params.weight + plus * x, params.bias + plus)

    checked = check(with_line(derivation("descent_step"), 3, as_one_reads))
    assert checked.first_wrong == 3
    assert checked.fault.startswith("line 3 (two minus signs: ")


def test_a_right_line_in_another_form_is_let_through():
    entry = derivation("residual")
    value = entry.steps[5].value
    assert check(with_line(entry, 6, lambda z, y: (value(z, y) + value(z, y)) / 2)).ok


def test_a_loss_with_a_false_derivative_rule_fools_autodiff_and_not_the_first_line():
    from handgrad.derivations import Limit

    @jax.custom_jvp
    def cube(z):
        return jnp.sum(z**3)

    cube.defjvp(lambda primals, tangents: (cube(*primals), jnp.sum(tangents[0])))
    first = Step("=", "definition", Limit(cube))
    by_autodiff = Step("=", "autodiff", jax.grad(cube))
    right = Step("=", "power rule", lambda z: 3 * z**2)
    entry = derivation("sigmoid")
    assert check(replace(entry, steps=(first, right))).ok
    checked = check(replace(entry, steps=(first, by_autodiff)))
    assert checked.fault.startswith("line 2 (autodiff): 1.0")
