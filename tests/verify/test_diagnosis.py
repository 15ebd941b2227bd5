"""The diagnosis by itself: planted mistakes, with jax.grad in float64 as the truth.

The judge hands it truth from balls; to the last digits that is the same.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.verify.diagnosis import diagnose, ratios
from handgrad.verify.diagnosis.intermediates import constants_of, origin, origin_in_numpy
from handgrad.verify.diagnosis.relations import Context, name_ratio
from handgrad.verify.witnesses import Layout

W = np.array([0.3, -1.2, 0.8, 0.5])
X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.random.default_rng(1).normal(size=6)


def mean_square(w, x, y):
    return jnp.mean(jnp.square(x @ w - y))


def with_decay(w, x, y):
    return mean_square(w, x, y) + 0.5 * 0.25 * jnp.sum(w * w)


def two_leaves(params, x, y):
    a, b = params
    return jnp.mean(jnp.square(jnp.tanh(x @ a) @ b - y))


@functools.cache
def slope_of(loss, argnums=0):
    return jax.jit(jax.grad(loss, argnums))


def truth_of(loss, at, argnums=0):
    with x64():
        return jax.tree.map(np.asarray, slope_of(loss, argnums)(*at))


def told(spoil, loss=mean_square, at=(W, X, Y)):
    truth = truth_of(loss, at)
    return diagnose(loss, at, 0, spoil(truth), truth)


PLANTED = {
    "sign flipped (ratio −1)": lambda g: -g,
    "twice too large (ratio 2)": lambda g: 2 * g,
    "half of what it should be": lambda g: g / 2,
    "6 times too large, 6 being axis 0 of x": lambda g: 6 * g,
    "6 times too small, 6 being axis 0 of x": lambda g: g / 6,
    "divided by 4 (axis 0 of w) in place of 6 (axis 0 of x)": lambda g: g * 6 / 4,
    "divided by 5 in place of 6 (ratio 6/5)": lambda g: g * 6 / 5,
    "a factor √6 too much": lambda g: g * np.sqrt(6),
    "sign flipped, and 6 times too large": lambda g: -6 * g,
    "a constant factor 1.7": lambda g: 1.7 * g,
    "forgotten: zero where the truth is not": lambda g: 0 * g,
    "NaN at [2]": lambda g: np.where(np.arange(4) == 2, np.nan, g),
    "an infinity at [1]": lambda g: np.where(np.arange(4) == 1, np.inf, g),
    "an additive constant 0.5": lambda g: g + 0.5,
    "an extra linear term λ·w, λ = 0.37": lambda g: g + 0.37 * W,
    "reversed along axis 0": lambda g: g[::-1],
    "shifted by 1 along axis 0": lambda g: np.roll(g, 1),
    "the right numbers at the wrong coordinates": lambda g: g[[1, 0, 3, 2]],
    "divided by its own norm": lambda g: g / np.linalg.norm(g),
    "the absolute value of the truth": np.abs,
    "only the sign of the truth": np.sign,
    "sign flipped (ratio −1) at [3] only": lambda g: g * [1, 1, 1, -1],
    "only coordinate [1] differs: ratio 1.000001": lambda g: g * [1, 1 + 1e-6, 1, 1],
    "only coordinate [0] differs: zero in place of": lambda g: g * [0, 1, 1, 1],
}


@pytest.mark.parametrize("words", PLANTED)
def test_a_planted_mistake_is_named(words):
    assert words in told(PLANTED[words])


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("λ·w is missing, λ = 0.25", lambda g: g - 0.25 * W),
        ("an extra linear term λ·w, λ = 0.25", lambda g: g + 0.25 * W),
        ("sign flipped (ratio −1)", lambda g: g - 0.5 * W),
        ("6 times too small", lambda g: g - 0.25 * W * 5 / 6),
        ("0.25·w, which is right: 6 times too large", lambda g: 6 * g - 5 * 0.25 * W),
    ],
)
def test_weight_decay(words, spoil):
    assert words in told(spoil, with_decay)


def test_a_square_leaf_transposed():
    at = (X[:4], np.ones((4, 4)))
    loss = lambda a, b: jnp.sum(jnp.sin(a @ b))
    truth = truth_of(loss, at)
    assert diagnose(loss, at, 0, truth.T, truth) == "transposed"
    flat = truth.T.reshape(4, 4).copy()
    assert "transposed" in diagnose(loss, at, 0, flat, truth)


def test_leaves_are_named_and_swaps_seen():
    at = ({"a": W, "b": W + 1}, X, Y)

    def loss(params, x, y):
        return jnp.mean(jnp.square(jnp.tanh(x @ params["a"]) + x @ params["b"] - y))

    truth = truth_of(loss, at)
    swapped = {"a": truth["b"], "b": truth["a"]}
    assert "params['a'] and params['b'] are swapped" in diagnose(loss, at, 0, swapped, truth)
    twice = {"a": truth["a"], "b": truth["b"] * 2}
    assert diagnose(loss, at, 0, twice, truth) == "params['b']: twice too large (ratio 2)"
    both = {"a": -truth["a"], "b": truth["b"] * 2}
    found = diagnose(loss, at, 0, both, truth)
    assert "['a']: sign flipped" in found
    assert "['b']: twice too large" in found


def test_arguments_give_the_names_where_there_are_several():
    truth = truth_of(mean_square, (W, X, Y), (0, 2))
    hand = (truth[0], 6 * truth[1])
    found = diagnose(mean_square, (W, X, Y), (0, 2), hand, truth)
    assert found.startswith("y: 6 times too large")


def test_nothing_is_said_of_a_right_gradient():
    assert told(lambda g: g * (1 + 1e-15)) is None


@pytest.mark.parametrize("seed", range(2))
def test_noise_gets_no_cause(seed):
    """A hundred thousand hypotheses, and none fits what no mistake has made."""
    noise = np.random.default_rng(seed).normal(size=4)
    assert told(lambda g: g + noise) is None
    assert told(lambda g: g * (1 + noise)) is None


def test_a_coordinate_without_a_truth_is_left_out():
    truth = truth_of(mean_square, (W, X, Y))
    holed = np.where(np.arange(4) == 1, np.nan, truth)
    assert diagnose(mean_square, (W, X, Y), 0, 2 * truth, holed) == "twice too large (ratio 2)"


def test_one_coordinate_is_not_fitted():
    at = (np.array(0.7), X[:, 0], Y)
    loss = lambda w, x, y: jnp.mean(jnp.square(w * x - y))
    truth = truth_of(loss, at)
    assert diagnose(loss, at, 0, 1.2345 * truth, truth) is None
    assert "ratio 2" in diagnose(loss, at, 0, 2 * truth, truth)


def test_the_whole_of_a_large_example_is_not_needed():
    rng = np.random.default_rng(2)
    at = (rng.normal(size=40), rng.normal(size=(200, 40)), rng.normal(size=200))
    truth = truth_of(mean_square, at)
    half = at[1].T @ ((at[1] @ at[0] - at[2]) * at[2]) * 2 / 200
    assert "an extra factor y" in diagnose(mean_square, at, 0, half, truth)


def test_a_loss_that_loops():
    def loop(w, x):
        return jax.lax.scan(lambda c, row: (jnp.tanh(c + row @ w), None), 0.0 * w[0], x)[0]

    truth = truth_of(loop, (W, X))
    assert "sign flipped" in diagnose(loop, (W, X), 0, -truth, truth)
    assert diagnose(loop, (W, X), 0, truth * [1, 2, 3, 5], truth) is None


def test_one_wrong_rule_throughout_a_chain():
    """Every tanh taken for the identity: no single cotangent explains the layers before."""
    rng = np.random.default_rng(3)
    at = (tuple(rng.normal(size=(k, 3)) for k in (4, 3)), X)

    def loss(params, x, activation=jnp.tanh):
        for weight in params:
            x = activation(x @ weight)
        return jnp.mean(jnp.square(x))

    @jax.custom_jvp
    def careless(z):
        return jnp.tanh(z)

    careless.defjvp(lambda z, along: (jnp.tanh(*z), *along))
    hand = truth_of(lambda *args: loss(*args, careless), at)
    found = diagnose(loss, at, 0, hand, truth_of(loss, at))
    assert found.startswith("the derivative of every `tanh` (test_diagnosis.py:")
    assert found.endswith("in loss) forgotten")


def test_a_custom_vjp_is_looked_into():
    @jax.custom_vjp
    def square(z):
        return z * z

    square.defvjp(lambda z: (z * z, z), lambda z, c: (2 * z * c,))
    loss = lambda w, x: jnp.sum(square(x @ w))
    truth = truth_of(loss, (W, X))
    wrong = X.T @ (2 * (X @ W) ** 2)
    assert "an extra factor" in diagnose(loss, (W, X), 0, wrong, truth)


def test_integer_arguments_and_indices():
    loss = lambda table, index, c: jnp.sum(c * jnp.sin(table[index]))
    at = (np.arange(12.0).reshape(4, 3) / 7, np.array([1, 1, 3]), X[:3, :3])
    truth = truth_of(loss, at)
    once = truth.copy()
    once[1] = at[2][1] * np.cos(at[0][1])
    assert "overwritten, not added" in diagnose(loss, at, 0, once, truth)


def test_ratios_are_shown_where_the_two_differ():
    layout = Layout.of((np.ones(9), np.ones(1)), (0, 1), ["a", "b"])
    hand, truth = np.arange(10.0), np.append(np.ones(9), 0.0)
    words = ratios(layout, hand, truth)
    assert words.endswith("truth: a[0] 0, a[2] 2, a[3] 3, a[4] 4, a[5] 5, a[6] 6, and 3 more")


def test_numbers_written_in_a_loss_are_known():
    program = jax.make_jaxpr(lambda x: jnp.sum(x / 3.5) * 0.125)(jnp.ones(3))
    assert {3.5, 0.125} <= constants_of(program)
    around = Context({}, frozenset({3.5}), ())
    assert name_ratio(3.5, around)[1] == "the factor 1/3.5 of the loss forgotten (ratio 3.5)"
    assert name_ratio(1 / 3.5, around)[1].startswith("the factor 3.5 of the loss forgotten")
    assert name_ratio(1.2345, around) is None
    assert name_ratio(float("nan"), around) is None


# --- variants of a loss, and what holds at two points ---------------------------------------------


def normalised(x, w):
    """Each row divided by its own norm."""
    return jnp.sum(w * jnp.sin(x / jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True))))


def states(w, x):
    """A scalar recurrence, by scan."""
    return jax.lax.scan(lambda h, row: (jnp.tanh(w[0] * h + w[1] * row), None), 0.0, x)[0]


def states_cut(w, x):
    def step(h, row):
        return jnp.tanh(w[0] * jax.lax.stop_gradient(h) + w[1] * row), None

    return jax.lax.scan(step, 0.0, x)[0]


def norm_held(x, w):
    norm = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True)))
    return jnp.sum(w * jnp.sin(x / norm))


def scaled_rows(w, x):
    return jnp.sum(jnp.cos(x) * (w[None] * x))


def scaled_columns(w, x):
    wrong = w[:, None] - jax.lax.stop_gradient(w[:, None])
    return jnp.sum(jnp.cos(x) * (jax.lax.stop_gradient(w[None]) + wrong) * x)


def looked_up(table):
    return jnp.sum(jnp.arange(1.0, 4.0) * jnp.sin(table[np.array([1, 1, 3])]))


def looked_up_once(table):
    return jnp.sum(jnp.arange(1.0, 4.0)[1:] * jnp.sin(table[np.array([1, 3])]))


def hinged(z):
    return jnp.sum(jnp.arange(1.0, 5.0) * jnp.maximum(z, 0.1))


def hinged_wrongly(z):
    return jnp.sum(jnp.arange(1.0, 5.0) * jnp.where(z > 0.1, 0, z))


VARIED = {
    "the denominator of `div`": (normalised, norm_held, (X[:3, :3], X[3:, :3])),
    "the path through time, what `scan`": (states, states_cut, (W[:2], Y)),
    "summed over the wrong axis": (scaled_rows, scaled_columns, (W[:3], X[:3, :3])),
    "overwritten, not added": (looked_up, looked_up_once, (W,)),
    "on the wrong side": (hinged, hinged_wrongly, (W,)),
}


@pytest.mark.parametrize("words", VARIED)
def test_a_step_done_wrong_is_named_with_its_line(words):
    loss, wrong, at = VARIED[words]

    def gradient(*args):
        assert all(isinstance(arg, np.ndarray) for arg in args)
        return jax.tree.map(np.asarray, slope_of(wrong)(*args))

    found = diagnose(loss, at, 0, truth_of(wrong, at), truth_of(loss, at), gradient)
    assert words in found
    assert "/jax/" not in found


def test_a_factor_is_named_only_if_it_holds_at_two_points():
    """12x³ for the derivative of x⁴ at 3 is three times too much, not x times."""
    at = (np.array(3.0),)
    loss = lambda x: x**4
    alone = diagnose(loss, at, 0, np.array(324.0), np.array(108.0))
    assert "factor" in alone
    found = diagnose(loss, at, 0, np.array(324.0), np.array(108.0), lambda x: 12 * x**3)
    assert found is None or "1/3" not in found


def test_an_error_near_rounding_gets_no_story():
    assert told(lambda g: g * (1 + 2e-11)) is None


def test_a_part_of_a_packed_leaf():
    at = (np.concatenate([W, W[::-1] + 0.1]), X, Y)
    loss = lambda w, x, y: mean_square(w[:4], x, y) + jnp.sum(w[4:] ** 3)
    truth = truth_of(loss, at)
    wrong = truth * np.repeat([6.0, 1.0], 4)
    assert diagnose(loss, at, 0, wrong, truth).startswith("w[0:4]: 6 times too large")


def test_what_made_a_nan_is_named_and_the_branch_not_taken():
    loss = lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0))
    with x64():
        program = jax.make_jaxpr(jax.grad(loss))(np.array([1.0, 0.0]))
        made = origin(program, [np.array([1.0, 0.0])], 1)
        assert origin(program, [np.array([1.0, 0.0])], 0) is None
    assert "makes NaN of 0 · inf" in made
    assert "test_diagnosis.py:" in made
    assert "the branch that a `where` does not take" in made


def test_the_line_that_makes_a_nan_in_numpy():
    def gradient(x):
        return np.log(x)

    with np.errstate(all="ignore"):
        assert "in log (test_diagnosis.py:" in origin_in_numpy(gradient, (np.array([-1.0]),))
        assert "divide by zero" in origin_in_numpy(gradient, (np.array([0.0]),))
    assert origin_in_numpy(gradient, (np.array([1.0]),)) is None


def test_a_bound_that_is_forgotten_is_named():
    """0.9999999 is no factor of 1 either."""
    loss = lambda p: -jnp.sum(jnp.log(jnp.clip(p, 1e-7, 1 - 1e-7)))
    p = np.array([0.3, 1.4, 1.7])
    truth = np.array([-1 / 0.3, 0.0, 0.0])
    said = diagnose(loss, (p,), 0, -1 / p, truth, lambda p: -1 / p)
    assert said.startswith("the bound 0.9999999 of the loss forgotten"), said


def test_a_ratio_close_to_1_is_printed_too():
    said = ratios(Layout.of((np.ones(2),), 0, ["x"]), np.array([1.0, 1 - 8e-14]), np.ones(2))
    assert said.endswith("gradient / truth: x[1] 1 − 8e-14")


@pytest.mark.parametrize("names", [["a", "b"], np.array(["2026-01-01"], "datetime64[D]")])
def test_what_a_loss_holds_besides_numbers_is_passed_over(names):
    names, x = np.array(names), np.array([1.0, 2.0, 4.0])

    def loss(x):
        assert len(names)
        return jnp.sum(x * x) / 3

    named = diagnose(loss, (x,), 0, 2 * x, 2 * x / 3, None)
    assert "3 being axis 0 of x" in named
