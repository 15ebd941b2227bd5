"""Hand against autodiff: what is right passes, what is wrong fails and is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.verify import agree


def squares(x):
    return jnp.sum(x * x)


def tree_loss(params):
    """One leaf (3,), one leaf (2, 2)."""
    return jnp.sum(params["a"] ** 2) + jnp.sum(params["b"] ** 3)


def tree_gradient(params):
    return {"a": 2 * params["a"], "b": 3 * params["b"] ** 2}


X = jnp.array([1.0, -2.0, 3.0])
TREE = {"a": X, "b": jnp.array([[1.0, 2.0], [3.0, 4.0]])}


# --- what is right --------------------------------------------------------------------------------


def test_a_right_gradient_agrees_in_every_coordinate_of_every_leaf_and_dtype():
    result = agree(tree_gradient, of=tree_loss, at=(TREE,))
    assert result.ok
    assert result.fault is None
    assert [(leaf.dtype, leaf.leaf, leaf.compared) for leaf in result.leaves] == [
        ("float32", "['a']", 3),
        ("float32", "['b']", 4),
        ("float64", "['a']", 3),
        ("float64", "['b']", 4),
    ]
    assert result.compared == 14


def test_half_precision_is_judged_on_request():
    result = agree(lambda x: 2 * x, of=squares, at=(X,), dtypes=("bfloat16", "float16"))
    assert result.ok
    assert [leaf.dtype for leaf in result.leaves] == ["bfloat16", "float16"]


def test_argnums_is_argnums():
    def loss(x, y):
        return jnp.sum(x * x * y)

    both = agree(lambda x, y: (2 * x * y, x * x), of=loss, at=(X, X), argnums=(0, 1))
    assert both.ok
    assert [leaf.leaf for leaf in both.leaves] == ["[0]", "[1]"] * 2
    assert agree(lambda x, y: x * x, of=loss, at=(X, X), argnums=1).ok
    assert not agree(lambda x, y: x * x, of=loss, at=(X, X), argnums=0).ok


def test_arguments_that_are_not_differentiated_may_be_integers():
    def loss(x, i):
        return x[i] ** 2

    result = agree(
        lambda x, i: jnp.zeros_like(x).at[i].set(2 * x[i]), of=loss, at=(X, jnp.int32(1))
    )
    assert result.ok


def test_what_the_inputs_explain_is_forgiven():
    """Σx is ill-conditioned here: x sums to 1e-6 of its size. Summing backwards is as right."""
    x = jnp.float32([1e3, -1e3, 1e-3])

    def loss(x):
        return jnp.sum(x) ** 2

    backwards = agree(lambda x: jnp.full_like(x, 2 * (x[2] + x[1] + x[0])), of=loss, at=(x,))
    assert backwards.ok
    assert backwards.leaves[0].conditioning_ulp > 1e4


def test_the_hand_form_passes_where_autodiff_is_at_fault():
    """The sigmoid at 17 in float32: autodiff gives 0, which is 2²³ ulp or more from the truth."""
    at = (jnp.float32(17),)
    by_hand = agree(lambda z: jax.nn.sigmoid(z) * jax.nn.sigmoid(-z), of=jax.nn.sigmoid, at=at)
    assert by_hand.ok
    leaf = by_hand.leaves[0]
    assert (leaf.dtype, leaf.leaf) == ("float32", "gradient")
    assert leaf.hand_max_ulp <= 4
    assert leaf.autodiff_max_ulp >= 2**23


def test_the_textbook_form_fails_there():
    def textbook(z):
        return jax.nn.sigmoid(z) * (1 - jax.nn.sigmoid(z))

    result = agree(textbook, of=jax.nn.sigmoid, at=(jnp.float32(17),))
    assert result.fault.startswith("float32 gradient: hand 0, autodiff 4.139937")


def test_sixty_four_bits_are_enabled_only_while_it_judges():
    agree(lambda x: 2 * x, of=squares, at=(X,))
    assert jnp.zeros(()).dtype == jnp.float32


# --- what is wrong --------------------------------------------------------------------------------


def planted(change):
    """The right gradient of `tree_loss` with `change` applied to its leaf b."""
    return lambda params: {**tree_gradient(params), "b": change(tree_gradient(params)["b"])}


WRONG = {
    "2.001 for 2": (lambda x: 2.001 * x, "float32 gradient[2]: hand 6.00299978, autodiff 6"),
    "one part in 1e3": (lambda x: (2 * x).at[2].mul(0.999), "float32 gradient[2]: hand 5.99399996"),
    "sign": (lambda x: (2 * x).at[1].mul(-1), "gradient[1]: hand 4, autodiff -4 (wrong sign)"),
    "nan": (lambda x: (2 * x).at[1].set(jnp.nan), "gradient[1]: hand nan, autodiff -4 (NaN)"),
    "infinity": (lambda x: (2 * x).at[2].set(jnp.inf), "gradient[2]: hand inf, autodiff 6"),
    "zero": (lambda x: (2 * x).at[0].set(0), "gradient[0]: hand 0, autodiff 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_coordinate_fails_and_is_named(name):
    gradient, words = WRONG[name]
    result = agree(gradient, of=squares, at=(X,))
    assert not result.ok
    assert result.structure == "ok"
    assert words in result.fault


def test_the_leaf_and_the_index_are_named():
    result = agree(planted(lambda b: b.at[1, 0].mul(1.001)), of=tree_loss, at=(TREE,))
    assert result.fault.startswith("float32 ['b'][1, 0]: hand 27.027")
    assert [(leaf.leaf, leaf.fault is None) for leaf in result.leaves] == [
        ("['a']", True),
        ("['b']", False),
    ] * 2
    assert result.leaves[1].worst_at == (1, 0)


def test_an_error_that_only_float64_can_see_is_seen_there():
    result = agree(lambda x: 2 * x * (1 + 1e-7), of=squares, at=(X,))
    assert result.fault.startswith("float64 gradient[")


def test_where_the_truth_is_zero_even_a_tiny_number_is_wrong():
    """The yardstick at 0 is the smallest subnormal: there is no absolute tolerance."""
    result = agree(lambda x: jnp.full_like(x, 1e-12), of=lambda x: jnp.sum(0 * x), at=(X,))
    assert "hand 9.99999996e-13, autodiff 0" in result.fault


STRUCTURE = {
    "wrong shape": (
        planted(lambda b: b.ravel()),
        "leaf ['b'] is float32[4], jax.grad gives float32[2, 2]",
    ),
    "broadcasts": (planted(lambda b: b[:1, :1]), "leaf ['b'] is float32[1, 1], jax.grad gives"),
    "wrong dtype": (
        planted(lambda b: b.astype("float16")),
        "leaf ['b'] is float16[2, 2], jax.grad",
    ),
    "missing leaf": (
        lambda p: {"a": 2 * p["a"]},
        "the gradient is PyTreeDef({'a': *}), jax.grad gives",
    ),
    "wrong tree": (lambda p: tuple(tree_gradient(p).values()), "the gradient is PyTreeDef((*, *))"),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_wrong_structure_fails_in_words_and_nothing_is_compared(name):
    gradient, words = STRUCTURE[name]
    result = agree(gradient, of=tree_loss, at=(TREE,))
    assert not result.ok
    assert result.compared == 0
    assert words in result.fault
    assert result.fault.startswith("float32: ")


def test_a_gradient_with_nothing_to_compare_fails():
    result = agree(lambda x: x, of=squares, at=(jnp.zeros(0),))
    assert not result.ok
    assert (result.compared, result.fault) == (0, "nothing to compare")


def test_a_gradient_that_ignores_the_dtype_it_is_judged_in_fails():
    """A constant of float32 comes back when float64 is asked."""
    result = agree(lambda x: jnp.zeros(3, "float32"), of=lambda x: jnp.sum(0 * x), at=(X,))
    assert result.fault == ("float64: leaf gradient is float32[3], jax.grad gives float64[3]")


# --- what cannot be judged ------------------------------------------------------------------------

REFUSED = {
    "at is not a tuple": ({"at": X}, "at: expected a tuple of arguments, got ArrayImpl; write at="),
    "argnums out of range": (
        {"at": (X,), "argnums": 1},
        "argnums: expected positions within 1 arguments, got 1",
    ),
    "integer leaf": (
        {"at": (jnp.arange(3),)},
        "argnums: expected floating leaves, got argument 0 of dtype int32; differentiate",
    ),
    "integer leaf in a tree": (
        {"at": ({"a": X, "n": jnp.arange(3)},), "of": lambda p: squares(p["a"])},
        "argnums: expected floating leaves, got argument 0['n'] of dtype int32",
    ),
    "loss is not a scalar": (
        {"at": (X,), "of": lambda x: x},
        "of: expected a loss with one real number as its value",
    ),
    "loss is an integer": ({"at": (X,), "of": lambda x: jnp.argmax(x)}, "of: expected a loss with"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_by_name(name):
    arguments, words = REFUSED[name]
    with pytest.raises(InputError) as refusal:
        agree(lambda x: x, **{"of": squares, **arguments})
    assert words in str(refusal.value)


# --- the reference --------------------------------------------------------------------------------


def test_the_reference_is_taken_at_the_rounded_point():
    """0.1 rounds: 1/x at the float32 is not 1/0.1, and the judged gradient sees the float32."""
    with x64():
        at = (jnp.array([0.1, 0.3]),)
    leaf = agree(lambda x: 1 / x, of=lambda x: jnp.sum(jnp.log(x)), at=at).leaves[0]
    assert leaf.hand_max_ulp <= 0.5
    assert leaf.autodiff_max_ulp <= 0.5


def test_the_same_seed_gives_the_same_answer():
    first, second = (agree(lambda x: 2 * x, of=squares, at=(X,), seed=3) for _ in range(2))
    assert first == second


def test_the_name_is_that_of_the_function_unless_one_is_given():
    assert agree(tree_gradient, of=tree_loss, at=(TREE,)).name == "tree_gradient"
    assert agree(tree_gradient, of=tree_loss, at=(TREE,), name="mine").name == "mine"


def test_a_point_of_numpy_arrays_will_do():
    assert agree(lambda x: 2 * x, of=squares, at=(np.array([1.0, 2.0]),)).ok


# --- NumPy, and what cannot be compared -----------------------------------------------------------


def test_numpy_is_read():
    def loss(w):
        w = w.copy()
        w[w < 0] *= 0.1
        return np.sum(np.exp(w))

    def gradient(w):
        slope = np.where(w < 0, 0.1, 1.0)
        return slope * np.exp(slope * w)

    assert agree(gradient, of=loss, at=(np.array([0.5, -1.0]),)).ok
    assert not agree(lambda w: 2 * gradient(w), of=loss, at=(np.array([0.5, -1.0]),)).ok


def test_a_point_beyond_the_dtype_is_refused():
    """All would be infinite there, whatever the factor."""
    with pytest.raises(InputError, match="more than float16 can hold"):
        agree(lambda x: 3 * x, of=squares, at=(np.array([1e6]),), dtypes=("float16",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtypes": "float32"}, "dtypes: expected some of"),
        ({"seed": -1}, "seed: expected 0 or more"),
        ({"argnums": (0, -1)}, "argnums: expected each position once"),
        ({"gradient": None}, "gradient: expected a function"),
        ({"gradient": lambda x: "abc"}, "gradient: expected an array of numbers, got str"),
        ({"gradient": lambda x: 1 / 0}, "gradient: .* ZeroDivisionError"),
        ({"of": lambda x: x}, r"of: expected a loss .*, got float32\[3\]; take"),
        ({"of": lambda x: None}, "of: expected a loss"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        agree(**{"gradient": lambda x: 2 * x, "of": squares, "at": (X,), **change})
