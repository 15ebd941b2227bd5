"""What `check` refuses, and what it says of lines that cannot be compared."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from handgrad._precision import x64
from handgrad.derivations import Limit, Step, check, derivation
from handgrad.derivations.steps import derive
from handgrad.errors import InputError

ENTRY = derivation("relu")
ROOT = derivation("sigmoid")


def lines(*values, example=None):
    steps = tuple(Step("=", f"reason {i}", v) for i, v in enumerate(values, 1))
    return replace(ROOT, steps=steps, example=example or ROOT.example)


@pytest.mark.parametrize("digits", [0, 1001, 60.0])
def test_digits_that_cannot_be_asked_for(digits):
    with pytest.raises(InputError, match="digits: expected 1 to 1,000"):
        check(ROOT, digits=digits)


def test_one_line_proves_nothing():
    with pytest.raises(
        InputError, match="derivation: expected two lines or more, got 1 in sigmoid"
    ):
        check(lines(jnp.sin))


@pytest.mark.parametrize("digits", [10, 200])
def test_as_many_digits_as_are_asked_for(digits):
    assert check(ROOT, digits=digits).digits == digits


def test_another_key_gives_other_points():
    assert check(ROOT, key=jax.random.key(7)).ok
    seen = []
    check(lines(lambda z: z, lambda z: z, example=lambda key: seen.append(key) or (z_of(key),)))
    assert len({str(jax.random.key_data(key)) for key in seen}) == 3


def z_of(key):
    return jax.random.normal(key, (2,))


def test_a_line_of_another_shape_is_wrong():
    checked = check(lines(lambda z: z, lambda z: z[:2]))
    assert checked.fault == "line 2 (reason 2): it is an array[2] where line 1 is an array[3]"
    assert (checked.first_wrong, checked.digits) == (2, 0)


def test_a_line_with_other_leaves_is_wrong():
    checked = check(lines(lambda z: {"a": z}, lambda z: {"b": z}))
    assert checked.fault == "line 2 (reason 2): it is ['b'][3] where line 1 is ['a'][3]"


def test_a_sum_that_was_never_split_is_named_with_its_place():
    checked = check(lines(lambda z: jnp.stack([z, 2 * z]), lambda z: jnp.stack([z, 3 * z])))
    assert checked.first_wrong == 2
    assert ", at [1, 0] of point 1" in checked.fault


def test_a_line_without_a_value_equals_nothing_not_even_itself():
    checked = check(lines(lambda z: jnp.log(-jnp.abs(z)), lambda z: jnp.log(-jnp.abs(z))))
    assert not checked.ok
    assert "no number where line 1 has no number" in checked.fault


def test_at_a_kink_the_first_line_has_no_value():
    def at_zero(key):
        return (jnp.zeros(2),)

    checked = check(replace(ENTRY, example=at_zero))
    assert checked.first_wrong == 2
    assert "kink" in checked.fault


def test_nothing_to_compare_is_not_agreement():
    checked = check(lines(lambda z: z[:0], lambda z: z[:0]))
    assert not checked.ok
    assert "nothing to compare" in checked.fault


def test_lines_are_formula_reason_and_value():
    def written(*lines):
        return derive("name", "Title", "z", *lines, given=ROOT.given, example=ROOT.example).steps

    good = Step("= z", "definition", abs)
    assert written(good, "= -z", "the other sign", abs) == (
        good,
        Step("= -z", "the other sign", abs),
    )
    for parts in (("= z", abs), ("= z", "reason", "value"), ("= z", "reason", abs, "= 2 z")):
        with pytest.raises(TypeError, match="expected a formula, a reason and a value, got"):
            written(*parts)


def test_the_limit_in_floats_has_the_structure_of_a_gradient():
    entry = derivation("logistic")
    args = entry.example(jax.random.key(1))
    limit, last = entry.steps[0].value(*args), jax.eval_shape(entry.steps[-1].value, *args)
    assert jax.tree.structure(limit) == jax.tree.structure(last)
    assert [a.dtype for a in jax.tree.leaves(limit)] == ["float32", "float32"]


def test_the_limit_in_floats_is_the_number_nearest_to_the_truth():
    with x64():
        limit = Limit(lambda z: jnp.sum(jnp.exp(z)))(jnp.array([0.0, 1.0]))
        assert limit.tolist() == [1.0, 2.718281828459045]


def test_a_jacobian_has_a_row_for_each_output():
    limit = Limit(lambda z: jnp.stack([z[0] * z[1], z[0], z[1] ** 2]))
    assert limit(jnp.array([2.0, 3.0])).tolist() == [[3.0, 2.0], [1.0, 0.0], [0.0, 6.0]]


def test_the_limit_is_refused_under_jit():
    with pytest.raises(InputError, match="args: expected numbers, got the tracers"):
        jax.jit(Limit(jnp.sum))(jnp.ones(2))
