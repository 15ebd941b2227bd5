"""What `evaluate` promises: enclosure, accuracy, decisions, infinities, and cheap repetition."""

import time
from fractions import Fraction

import flint
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from flint import arb, ctx

from handgrad.exact import Undecided, evaluate, evaluate_jaxpr, trace, ulp_ball


def one(f, *args, **options):
    return evaluate(f, *args, **options)[()]


def test_outputs_keep_their_structure_and_integers_stay_numpy():
    def f(x):
        return {"value": x * 2, "index": jnp.argmax(x), "positive": (x > 0, None)}

    out = evaluate(f, np.array([0.5, -1.0]))
    assert out["value"].dtype == object
    assert isinstance(out["value"][0], arb)
    assert out["index"] == 0
    assert out["index"].dtype == np.int64
    assert out["positive"][0].tolist() == [True, False]


def test_floats_are_taken_at_their_exact_value():
    tenth = np.float32(0.1)
    value = one(lambda x: x * x, tenth)
    assert value == arb(float(tenth)) ** 2
    assert value.is_exact()
    assert one(lambda x: x + 1, jnp.bfloat16(0.1)) == arb(float(jnp.bfloat16(0.1))) + 1


@pytest.mark.parametrize("digits", [5, 30, 60, 200])
def test_the_digits_asked_for_are_there(digits):
    value = one(lambda x: jnp.log(1 - jax.nn.sigmoid(x)), 700.0, digits=digits)
    with mp.workdps(1000):
        truth = mp.nstr(mp.log(1 - 1 / (1 + mp.exp(-700))), digits + 20)
    assert value.rel_accuracy_bits() >= digits * 3.32
    with flint.ctx.workdps(digits + 30):
        assert value.overlaps(arb(truth) + arb(0, arb(10) ** -(digits + 15)))


def test_a_zero_that_cannot_be_proved_is_pinned_below_every_float64():
    value = one(lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2 - 1, 0.3)
    assert value.contains(0)
    assert not value.is_exact()
    assert abs(value) < arb((1, -1074)) * 1e-60


def test_the_same_number_twice_cancels_exactly():
    def f(x):
        y = jnp.exp(x)
        return y - jnp.max(jnp.stack([y, x]))

    assert one(f, 0.3).is_zero()


def test_branches_not_taken_do_not_poison():
    assert one(lambda x: jnp.where(x > 0, jnp.log(x), 0.5), -1.0) == 0.5
    assert one(lambda x: jnp.where(x > 0, x, jnp.inf * 0), 2.0) == 2


def test_infinities_behave_as_limits():
    logits = np.array([-np.inf, 0.0, -np.inf])
    assert [b == t for b, t in zip(evaluate(jax.nn.softmax, logits), (0, 1, 0), strict=True)]
    assert one(jax.nn.logsumexp, np.array([-np.inf, -np.inf])) == -arb.pos_inf()
    assert one(jnp.log, 0.0) == -arb.pos_inf()
    assert one(jax.grad(jnp.sqrt), 0.0) == arb.pos_inf()
    assert one(lambda x: jnp.max(x, initial=-jnp.inf), np.array([3.0])) == 3


def test_what_has_no_value_is_nan_and_compares_as_nan():
    assert one(lambda x: x / x, 0.0).is_nan()
    assert one(jnp.log, -1.0).is_nan()
    assert one(lambda x: jnp.where(jnp.isnan(jnp.log(x)), 1.0, 2.0), -1.0) == 1


def test_an_undecided_comparison_names_the_primitive_and_the_line():
    def kink(x):
        return jnp.where(jnp.exp(jnp.log(x)) > 3, 1.0, 0.0)

    with pytest.raises(Undecided, match=r"gt: cannot order 3.0* and") as caught:
        evaluate(kink, 3.0)
    assert caught.value.primitive == "gt"
    assert "test_evaluation.py" in caught.value.where


def test_exact_ties_are_decided():
    assert one(lambda x: jnp.where(x * 2 > 6, 1.0, 0.0), 3.0) == 0
    assert evaluate(jnp.argmax, np.array([1.0, 2.0, 2.0]))[()] == 1


def test_numbers_that_tie_have_an_order_their_places_have_not():
    def middle(x):
        return jnp.sort(jnp.exp(x))[1]

    with ctx.workprec(300):
        assert abs(one(middle, np.array([0.5, 0.1, 0.5])) - arb("0.5").exp()) < 1e-50
    with pytest.raises(Undecided, match="sort"):
        evaluate(lambda x: jnp.argsort(jnp.exp(x)), np.array([0.5, 0.5]))


def test_close_comparisons_are_settled_by_precision():
    # sin²+cos² misses 1 + 1e-200 only beyond 660 bits
    def f(x, tiny):
        return jnp.where(jnp.sin(x) ** 2 + jnp.cos(x) ** 2 < 1 + tiny, 1.0, 0.0)

    assert one(f, 0.3, 1e-200) == 1


def test_inputs_may_be_balls():
    ball = np.array([arb(2, 1e-3)], dtype=object)
    value = evaluate(lambda x: x * x - x, ball)[0]
    assert value.contains(arb(2.001) ** 2 - arb(2.001))
    assert value.contains(arb(1.999) ** 2 - arb(1.999))
    assert 1e-3 < float(value.rad()) < 1e-2
    assert one(lambda x: x * 3, arb(1, 1e-9)).contains(3)


def test_rounded_constants_become_balls():
    def f(x):
        return np.sqrt(2.0) * x + 0.375 * x + 3 * x

    exact, rounded = one(f, 1.0), one(f, 1.0, constants="rounded")
    with flint.ctx.workprec(300):
        truth = arb(2).sqrt() + 3.375
    assert not exact.contains(truth)
    assert rounded.contains(truth)
    assert 1e-17 < float(rounded.rad()) < 1e-15
    assert one(lambda x: x * 0.375, 1.0, constants="rounded").is_exact()


def test_random_draws_follow_the_traced_dtype():
    key = jax.random.key(3)

    def noise(key):
        return jax.random.uniform(key, (4,))

    drawn = evaluate(noise, key, dtype="float32")
    assert [float(b) for b in drawn] == noise(key).tolist()
    assert [float(b) for b in evaluate(noise, key)] != noise(key).tolist()
    with jax.numpy_dtype_promotion("standard"):
        legacy = evaluate(
            lambda k: jax.random.uniform(k, (4,)), jax.random.PRNGKey(3), dtype="float32"
        )
    assert [float(b) for b in legacy] == noise(key).tolist()


def test_the_working_precision_is_put_back():
    before = flint.ctx.prec
    one(jnp.exp, 1.0)
    with pytest.raises(Undecided):
        evaluate(lambda x: jnp.exp(jnp.log(x)) > 3, 3.0)
    assert flint.ctx.prec == before


def test_a_trace_serves_many_points():
    traced = trace(jax.grad(lambda w, x: jnp.sum(jnp.tanh(x @ w))), np.ones(2), np.ones((3, 2)))
    x = np.arange(6.0).reshape(3, 2)
    for w in (np.array([0.25, -1.0]), np.array([2.0, 0.5])):
        (value,) = evaluate_jaxpr(traced.jaxpr, [w, x])
        expected = x.T @ (1 - np.tanh(x @ w) ** 2)
        assert [float(b) for b in value] == pytest.approx(expected, rel=1e-12)


def test_a_softmax_regression_is_quick():
    def loss(w, x, y):
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(x @ w) * y, -1))

    random = np.random.default_rng(0)
    w, x = random.normal(size=(8, 5)), random.normal(size=(16, 8))
    y = np.eye(5)[random.integers(0, 5, 16)]
    traced = trace(jax.grad(loss), w, x, y)
    start = time.perf_counter()
    (gradient,) = evaluate_jaxpr(traced.jaxpr, traced.leaves)
    assert time.perf_counter() - start < 1
    p = np.exp(x @ w) / np.exp(x @ w).sum(-1, keepdims=True)
    assert gradient.astype(float) == pytest.approx(x.T @ (p - y) / 16, rel=1e-12)


def test_a_matrix_product_is_exact_where_rationals_say_so():
    a, b = np.array([[1e20, 1.0, -1e20]]), np.array([[1.0], [2.0**-60], [1.0]])
    exact = sum(Fraction(u) * Fraction(v) for u, v in zip(a[0], b[:, 0], strict=True))
    assert evaluate(lambda a, b: a @ b, a, b)[0, 0] == float(exact)


@pytest.mark.parametrize(
    "zero",
    [
        lambda m: m @ jnp.linalg.inv(m) - jnp.eye(3),
        lambda m: jnp.linalg.solve(m, m[0]) - jnp.eye(3)[0],
        lambda m: jnp.linalg.cholesky(m) @ jnp.linalg.cholesky(m).T - m,
        lambda m: jnp.exp(jnp.linalg.slogdet(m)[1]) - jnp.linalg.det(m),
        lambda m: jax.grad(lambda a: jnp.linalg.slogdet(a)[1])(m) - jnp.linalg.inv(m).T,
    ],
    ids=["inverse", "solve", "cholesky", "determinant", "gradient of log-determinant"],
)
def test_linear_algebra_satisfies_its_equations(zero):
    matrix = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -0.25], [0.5, -0.25, 2.0]])
    for ball in evaluate(zero, matrix).ravel():
        assert ball.contains(0)
        assert abs(ball) < arb(10) ** -300


def test_weak_python_scalars_trace_under_strict_promotion():
    assert one(lambda x, n: x * n, 0.5, 3) == 1.5
    assert one(lambda x, flag: jnp.where(flag, x, -x), 0.5, True) == 0.5


def test_half_ulp_inputs_show_the_conditioning():
    x = 17.0
    blurred = np.array([ulp_ball(x, np.float32, 0.5)], dtype=object)
    slope = evaluate(jax.grad(lambda x: jnp.sum(jax.nn.sigmoid(x))), blurred)[0]
    relative = float(slope.rad() / slope.mid())
    assert relative == pytest.approx(2.0**-20, rel=0.1)  # half an ulp of 17: σ′ ≈ exp(−x)


def test_messages_to_the_user_are_no_part_of_the_value():
    def f(x):
        jax.debug.print("x is {}", x)
        return x * 2

    assert one(f, 0.5) == 1
