"""newton: a zero of the reference gradient, scikit-learn's optimum, and what has no optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from handgrad._precision import x64
from handgrad.data import load
from handgrad.errors import InputError
from handgrad.fast import newton, residuals
from handgrad.fast.newton import api, descent, objective
from handgrad.fast.newton.descent import KeptHessian, descend
from handgrad.fast.newton.objective import Objective, Scaling
from handgrad.gradients import cross_entropy, logistic, softmax_regression
from handgrad.gradients.linear import Params


def draw(examples, features, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features)) * rng.uniform(0.5, 2, features) + rng.normal(
        size=features
    )
    z = x @ rng.normal(size=(features, classes)) / np.sqrt(features)
    return x, np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def reference(found, x, y, l2):
    """E and max |∂E/∂w| of the reference in float64."""
    return at_params(found.params, x, y, l2)


def at_params(params, x, y, l2):
    reference = many_classes if np.ndim(params.bias) else two_classes
    with x64():
        value, gradient = reference(params, np.asarray(x, np.float64), y, l2)
        return float(value), max(float(np.abs(part).max()) for part in gradient)


two_classes = jax.jit(logistic.value_and_gradient)
many_classes = jax.jit(softmax_regression.value_and_gradient)
in_one_pass = jax.jit(objective.value_and_gradient)
with_hessian = jax.jit(objective.with_hessian)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 256 rows and a sample of 512, so that a few thousand rows take every path."""
    monkeypatch.setattr(objective, "BLOCK_BYTES", 1)
    monkeypatch.setattr(api, "SAMPLE", 512)
    monkeypatch.setattr(api, "SAMPLE_PER_FEATURE", 1)


@pytest.mark.parametrize(("examples", "l2"), [(600, 1.0), (4_099, 1e-3), (4_099, 0.0)])
def test_the_reference_gradient_vanishes(small_blocks, examples, l2):
    x, y = draw(examples, 4)
    found = newton.fit(None, x, y, l2)
    value, largest = reference(found, x, y, l2)
    assert found.converged
    assert largest <= 1.001e-9
    assert found.loss == pytest.approx(value, rel=1e-14)
    assert found.gradient_norm == pytest.approx(largest, abs=1e-15)


@pytest.mark.parametrize("l2", [0.0, 1e-2])
def test_the_reference_gradient_vanishes_for_many_classes(small_blocks, l2):
    x, y = draw(4_099, 4, classes := 3)
    found = newton.fit(None, x, y, l2)
    value, largest = reference(found, x, y, l2)
    assert found.converged
    assert found.params.weight.shape == (4, classes)
    assert found.products > 0
    assert largest <= 1.001e-9
    assert found.loss == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("name", ["breast-cancer", "wine"])
def test_the_optimum_is_scikit_learns(name):
    """Its C Σ ℓ + ½ ‖w‖² is N C times ours; features as they come, from 1e-3 to 1e3."""
    data, l2 = load(name), 1e-2
    found = newton.fit(None, data.x, data.y, l2)
    scale = data.x.std(axis=0) + 1e-9
    theirs = LogisticRegression(
        C=1 / (data.examples * l2), solver="newton-cholesky", tol=1e-12, max_iter=1_000
    ).fit(data.x, data.y)
    weight, bias = found.params.weight, found.params.bias
    coefficients = theirs.coef_[0] if weight.ndim == 1 else theirs.coef_.T
    intercept = theirs.intercept_[0] if weight.ndim == 1 else theirs.intercept_
    if weight.ndim == 2:
        bias, intercept = bias - bias.mean(), intercept - intercept.mean()
    scale = scale if weight.ndim == 1 else scale[:, None]
    np.testing.assert_allclose(weight * scale, coefficients * scale, rtol=0, atol=2e-6)
    np.testing.assert_allclose(bias, intercept, rtol=0, atol=1e-4 * (1 + abs(intercept).max()))
    least = at_params(Params(coefficients, np.asarray(intercept)), data.x, data.y, l2)[0]
    assert found.loss <= least + 1e-12


def test_a_column_of_seconds_since_1970_keeps_its_hessian():
    """float32 has a number every 128 s there: the column is centred before it is rounded."""
    x, y = draw(4_000, 3)
    found = []
    for shift in (0.0, 1.7e9):
        with x64():
            moved = x + np.array([shift, 0.0, 0.0])
            laid, theta = objective.lay_out(moved, y.astype(float)), np.zeros(4)
            *_, hessian = with_hessian(laid, theta, *objective.moments(jnp.asarray(moved)))
            found.append(np.asarray(hessian))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5 * found[0].max())


@pytest.mark.parametrize("classes", [3, 4])
def test_a_start_at_the_optimum_is_the_optimum(classes):
    """With 3 classes the gradient there is 1e-17 and not 0: rounding, and no way to infinity."""
    x, y = np.tile([[1.0], [-1.0]], (classes, 1)), np.repeat(np.arange(classes), 2)
    found = newton.fit(None, x, y)
    assert found.converged
    assert found.iterations == 0


@pytest.mark.parametrize(("examples", "features", "hessians"), [(4_099, 4, 5), (20_000, 40, 2)])
def test_few_passes_from_a_sample_and_few_hessians_where_they_cost(
    small_blocks, examples, features, hessians
):
    x, y = draw(examples, features)
    found = newton.fit(None, x, y, 1e-4)
    assert found.converged
    assert found.passes <= 8
    assert found.hessians <= hessians


@pytest.mark.parametrize("l2", [1e-25, 1e-2])
def test_few_examples_go_straight_to_the_same_optimum(l2):
    """A start that is given is not left without being judged; None is, in one program."""
    x, y = draw(600, 4)
    x = np.hstack([x, np.full((600, 1), 0.1)])  # a constant that does not centre to 0
    found = newton.fit(None, x, y, l2)
    careful = newton.fit(Params(np.zeros(5), np.zeros(())), x, y, l2)
    assert found.converged
    assert found.passes <= 9
    assert (found.hessians, found.iterations) == (found.passes - 1, found.passes - 2)
    with x64():
        laid, start = objective.lay_out(x, y.astype(float)), np.zeros(6)
        assert descent.fused_pays(laid, start, l2, 200)
        assert not descent.fused_pays(laid, start, 0.0, 200)  # there may be no optimum
        assert not descent.fused_pays(laid, start, l2, descent.MOST_STEPS)
    np.testing.assert_allclose(found.params.weight, careful.params.weight, rtol=0, atol=1e-7)
    assert found.loss == pytest.approx(careful.loss, abs=1e-14)


@pytest.mark.parametrize("shift", [0, 1, 5, 8])
def test_every_row_is_seen_wherever_the_array_begins(small_blocks, shift):
    features = 3
    whole = np.random.default_rng(0).normal(size=2_000 * features + shift)
    x = whole[shift:].reshape(-1, features)[:1_500]
    y = (x[:, 0] > 0.3).astype(np.float64)
    theta = np.array([0.3, -0.2, 0.1, 0.05])
    with x64():
        laid = objective.lay_out(x, y)
        assert laid.labels.shape[0] > 3
        assert laid.examples == len(x)
        loss, gradient, _ = in_one_pass(laid, theta)
        params = Params(jnp.asarray(theta[:-1]), jnp.asarray(theta[-1]))
        value, expected = two_classes(params, x, y, 0.0)
        np.testing.assert_allclose(float(loss) / len(x), float(value), rtol=1e-14)
        np.testing.assert_allclose(gradient[:-1] / len(x), expected.weight, rtol=0, atol=1e-14)
        np.testing.assert_allclose(gradient[-1] / len(x), expected.bias, rtol=0, atol=1e-14)


def test_a_large_row_major_array_is_not_copied():
    x, y = draw(3_000, 4)
    with x64():
        laid = objective.lay_out(np.tile(x, (300, 1)), np.tile(y, 300).astype(float))
        copied = laid.rest.shape[0] / laid.examples
        assert laid.labels.shape[0] >= 3
        assert copied < 0.25


def test_other_layouts_and_dtypes_give_the_same():
    x, y = draw(600, 4)
    expected = newton.fit(None, x, y, 1e-3)
    single = newton.fit(None, x.astype(np.float32), y, 1e-3)
    assert single.converged
    np.testing.assert_allclose(single.params.weight, expected.params.weight, rtol=1e-5)
    with x64():
        for same in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], jnp.asarray(x)):
            np.testing.assert_array_equal(
                newton.fit(None, same, y, 1e-3).params.weight, expected.params.weight
            )


def test_soft_labels_and_probabilities():
    x, _ = draw(600, 4)
    soft = np.random.default_rng(1).random(600)
    table = np.stack([1 - soft, soft], axis=1)
    one, two = (newton.fit(None, x, y) for y in (soft, table))
    for found, y in ((one, soft), (two, table)):
        assert found.converged
        assert reference(found, x, y, 0.0)[1] <= 1.001e-9
    difference = two.params.weight[:, 1] - two.params.weight[:, 0]
    np.testing.assert_allclose(difference, one.params.weight, rtol=0, atol=1e-7)


def test_starting_at_the_optimum_takes_one_pass():
    x, y = draw(600, 4)
    first = newton.fit(None, x, y, 1e-2)
    again = newton.fit(first.params, x, y, 1e-2)
    assert again.converged
    assert (again.passes, again.iterations) == (1, 0)
    zeros = Params(np.zeros((4, 2)), np.zeros(2))
    assert newton.fit(zeros, x, y, 1e-2).params.weight.shape == (4, 2)


# --- what has no optimum --------------------------------------------------------------------------

APART = np.array([[-2.0], [-1.0], [-1.0], [1.0], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])
TOUCHING = np.array([[-2.0], [-1.0], [0.0], [0.0], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(("x", "y"), [APART, TOUCHING], ids=["apart", "touching"])
def test_separable_data_are_flagged_and_a_penalty_helps(x, y):
    found = newton.fit(None, x, y)
    assert found.separable
    assert not found.converged
    assert found.passes < 50
    assert np.isfinite(found.loss)
    assert np.isfinite(found.params.weight).all()
    penalised = newton.fit(None, x, y, 1e-3)
    assert penalised.converged
    assert reference(penalised, x, y, 1e-3)[1] <= 1e-9


def test_separable_classes_are_flagged():
    iris = load("iris")  # one species is apart from the others, which touch
    found = newton.fit(None, iris.x, iris.y)
    assert found.separable
    assert np.isfinite(found.params.weight).all()
    wine = load("wine")  # all three are apart
    assert newton.fit(None, wine.x, wine.y).separable


def test_a_mesh_of_one_device_gives_the_same(small_blocks):
    """More devices are tried by the tests of sharding, in a process that has them."""
    x, y = draw(4_099, 4)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with_mesh, without = (newton.fit(None, x, y, 1e-2, mesh=m) for m in (mesh, None))
    assert (with_mesh.converged, with_mesh.passes) == (True, without.passes)
    np.testing.assert_allclose(with_mesh.params.weight, without.params.weight, rtol=1e-9)


def test_what_only_looks_separable_is_not_flagged():
    """One flipped label, far from all others, makes the optimum finite."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, 200), rng.normal(3, 1, 200)])[:, None]
    y = np.repeat([0, 1], 200)
    y[np.argmin(x)] = 1
    found = newton.fit(None, x, y)
    assert found.converged
    assert reference(found, x, y, 0.0)[1] <= 1e-9


def test_collinear_and_constant_features_without_a_penalty():
    x, y = draw(600, 4)
    constants = np.tile([2013.0, 0.1, 0.0], (600, 1))
    found = newton.fit(None, np.hstack([x, x[:, :1], constants]), y)
    assert found.converged
    assert found.loss == pytest.approx(newton.fit(None, x, y).loss, abs=1e-12)


def test_features_of_all_sizes():
    x, y = draw(600, 4)
    sizes = np.array([1e-6, 1.0, 1e6, 1e3])
    found = newton.fit(None, x * sizes + 5 * sizes, y, tol=1e-8)
    expected = newton.fit(None, x, y)
    assert found.loss == pytest.approx(expected.loss, abs=1e-12)


def test_other_ends():
    x, y = draw(600, 4)
    for most in range(1, 5):
        short = newton.fit(None, x, y, max_passes=most)
        assert (short.stopped, short.passes) == ("passes", most)
    beyond = newton.fit(None, x, y, tol=1e-30)
    assert beyond.stopped == "rounding"
    assert beyond.gradient_norm < 1e-14


# --- the parts ------------------------------------------------------------------------------------


@jax.jit
def binary_link(z, y):
    """What a pass takes from logits, and the same of the reference."""
    reference = jnp.sum(cross_entropy.binary(z, y)), cross_entropy.binary_residual(z, y)
    second = objective.curvature(z), jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)
    return objective.binary(z, y)[:2], reference, second


def test_the_link_is_the_reference(dtype):
    z = jnp.asarray([-700.0, -17.0, -1.0, 0.0, 0.5, 17.0, 80.0], dtype)
    tight = 8 * float(jnp.finfo(dtype).eps)
    for y in (np.zeros(7, dtype), np.ones(7, dtype), np.linspace(0, 1, 7, dtype=dtype)):
        found, expected, second = binary_link(z, y)
        for a, b in (*zip(found, expected, strict=True), second):
            np.testing.assert_allclose(a, b, rtol=tight)


@jax.jit
def softmax_link(z, y):
    reference = jnp.sum(cross_entropy.categorical(z, y)), cross_entropy.categorical_residual(z, y)
    return objective.softmax(z.T, y), reference


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_softmax_link_is_the_reference(dtype):
    z = jnp.asarray([[17.0, 0.0, 1.0], [1.0, 2.0, 3.0], [-800.0, 0.0, 80.0]], dtype)
    table = np.asarray([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], dtype)
    tight = 8 * float(jnp.finfo(dtype).eps)
    for y in (np.asarray([0, 1, 2], np.int32), table):
        (loss, residual, margin), (expected_loss, expected) = softmax_link(z, y)
        np.testing.assert_allclose(loss, expected_loss, rtol=tight)
        absolute = tight if y.ndim == 2 else 1e-40  # soft labels cancel in either form
        np.testing.assert_allclose(residual, expected.T, rtol=tight, atol=absolute)
        assert float(margin) == (-1.0 if y.ndim == 1 else -np.inf)


def test_the_hessian_is_the_reference(small_blocks):
    x, y = draw(4_099, 4)
    theta = np.array([0.3, -0.2, 0.1, 0.4, 0.05])
    with x64():
        mean, scale = (np.asarray(part) for part in objective.moments(x))
        np.testing.assert_allclose(scale, x.std(axis=0), rtol=1e-12)
        laid = objective.lay_out(x, y.astype(float))
        found = np.asarray(with_hessian(laid, theta, mean, scale)[3]) / len(x)
        v = Scaling(mean, scale).coordinates(theta)
        blocks = jax.jit(logistic.hessian)(Params(v[:-1], v[-1]), (x - mean) / scale, y)
        np.testing.assert_allclose(found[:-1, :-1], blocks.weight.weight, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[-1, :-1], blocks.weight.bias, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[-1, -1], blocks.bias.bias, rtol=0, atol=1e-6)


def test_a_wrong_gradient_does_not_pass_for_an_optimum(monkeypatch):
    """Planted: one coordinate of the pass is 0.1% off; the reference gradient is then not zero."""
    x, y = draw(600, 4)

    def faulty(residual, block):
        gradient = right(residual, block)
        return gradient.at[2].multiply(1.001)

    right = objective.pullback
    monkeypatch.setattr(objective, "pullback", faulty)
    monkeypatch.setattr(objective, "_PROGRAMS", {})
    found = newton.fit(Params(np.zeros(4), np.zeros(())), x, y, 1e-2)
    assert reference(found, x, y, 1e-2)[1] > 1e-6


@pytest.mark.parametrize("start", [None, Params(np.zeros(4), np.zeros(()))], ids=["none", "zeros"])
def test_a_wrong_residual_does_not_pass_for_an_optimum(monkeypatch, start):
    """Planted: one residual is half as large again, in every pass and on the straight way."""
    x, y = draw(600, 4)

    def faulty(z, labels):
        loss, residual = right(z, labels)
        return loss, residual.at[0].multiply(1.5)

    right = residuals.binary
    monkeypatch.setattr(residuals, "binary", faulty)
    monkeypatch.setattr(objective, "_PROGRAMS", {})
    assert reference(newton.fit(start, x, y, 1e-2), x, y, 1e-2)[1] > 1e-5


def test_too_many_features_for_a_hessian_take_products_with_it(monkeypatch):
    monkeypatch.setattr(descent, "MOST_FEATURES", 3)
    x, y = draw(600, 4)
    found = newton.fit(None, x, y)
    assert (found.converged, found.hessians) == (True, 0)
    assert found.products > 0
    assert reference(found, x, y, 0.0)[1] <= 1.001e-9
    nowhere = descent.HessianProducts(Scaling(np.zeros(4), np.ones(4)), np.zeros(5), x, None)
    at_rest = objective.Evaluation(np.ones(5), 0.7, np.zeros(5), 0.0)
    assert not nowhere.direction(at_rest, 0.0).any()


def test_no_more_programs_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(objective, "_PROGRAMS", {})
    monkeypatch.setattr(objective, "MOST_PROGRAMS", 1)
    cache = objective.ProgramCache()
    for number in (1.0, 2.0):
        assert cache.run(jnp.add, np.float32(number), np.float32(1)) == number + 1
        assert cache.run(jnp.multiply, np.float32(number), np.float32(2)) == 2 * number
        assert len(objective._PROGRAMS) == 1


def test_a_step_too_long_is_damped():
    """From far out on the wrong side Newton's step overshoots; the loss must fall all the same."""
    x, y = draw(600, 4)
    start = np.array([30.0, -30.0, 30.0, -30.0, 5.0])
    with x64():
        one = Scaling(np.zeros(4), np.ones(4))
        over = Objective(
            objective.lay_out(x, y.astype(float)), np.zeros(5), one, objective.ProgramCache()
        )
        ahead = descent.fused_newton(over, start, 1e-9)
        assert (ahead.steps, ahead.theta.tolist()) == (0, start.tolist())  # no further
        for hessian in (None, ahead.hessian):
            point, stopped, _ = descend(over, KeptHessian(one, hessian), start, 1e-9, 100)
            assert stopped == "tolerance"
            assert point.loss == pytest.approx(newton.fit(None, x, y).loss, abs=1e-12)


# --- bad input ------------------------------------------------------------------------------------

X, Y = draw(40, 2)
WITH_NAN, WITH_INF = X.copy(), X.copy()
WITH_NAN[3, 1], WITH_INF[5, 0] = np.nan, -np.inf
TABLE = np.full((40, 3), 1 / 3)
BAD = {
    "integers": (X.astype(int), Y, {}, r"x: expected a floating dtype, got int64 of shape"),
    "one_axis": (X[:, 0], Y, {}, r"x: expected shape \(N, D\), got shape \(40,\)"),
    "no_example": (X[:0], Y[:0], {}, r"x: expected at least one example, got shape \(0, 2\)"),
    "no_feature": (X[:, :0], Y, {}, r"x: expected at least one feature, got shape \(40, 0\)"),
    "nan": (WITH_NAN, Y, {}, r"x: expected finite features, got nan at position \[3, 1\]; drop"),
    "inf": (WITH_INF, Y, {}, r"x: expected finite features, got -inf at position \[5, 0\]"),
    "too_large": (X * 1e200, Y, {}, r"x: expected features whose squares float64 can hold"),
    "column": (X, Y[:, None], {}, r"y: expected labels of shape \(40,\), got shape \(40, 1\)"),
    "too_few": (X, Y[:-1], {}, r"y: expected 40 along axis 0 \(N, the rows of x\), got shape"),
    "strings": (X, np.array(["u", "v"] * 20), {}, r"y: expected integers or floats, got <U1"),
    "above_one": (X, Y * 1.5, {}, r"y: expected labels in \[0, 1\], got 1\.5 at position"),
    "missing": (
        X,
        np.where(Y == 1, np.nan, 0),
        {},
        r"y: expected a label for every example, got nan at",
    ),
    "negative": (X, Y - 1, {}, r"y: expected class indices of 0 or more, got -1 at position"),
    "one_class": (X, Y * 0, {}, r"y: expected examples of each of the 2 classes, got none of cl"),
    "a_gap": (X, Y * 2, {}, r"y: expected examples of each of the 3 classes, got none of class 1"),
    "table": (X, TABLE * 2, {}, r"y: expected rows of probabilities that sum to 1, got a sum of 2"),
    "table_range": (X, TABLE - 1, {}, r"y: expected probabilities in \[0, 1\], got -0\.66"),
    "l2": (X, Y, {"l2": -1.0}, r"l2: expected a finite number of 0 or more, got -1\.0; pass 1e-4"),
    "tol": (X, Y, {"tol": 0}, r"tol: expected a finite number above 0, got 0; pass 1e-9"),
    "passes": (X, Y, {"max_passes": 1.5}, r"max_passes: expected a whole number above 0, got 1"),
    "seed": (X, Y, {"seed": -1}, r"seed: expected a whole number of 0 or more, got -1; pass 0"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize(("x", "y", "options", "words"), BAD.values(), ids=BAD.keys())
def test_refused(x, y, options, words):
    with pytest.raises(InputError, match=words):
        newton.fit(None, x, y, **options)


@pytest.mark.bad_input
def test_a_feature_that_no_sample_has_is_refused_too(small_blocks):
    x, y = draw(4_099, 4)
    x[4_098, 2] = np.nan  # in a stretch from which another row is drawn
    with pytest.raises(InputError, match=r"x: .* finite features, got nan at position \[4098, 2\]"):
        newton.fit(None, x, y, 1e-2)
    blocks = newton.Blocks(4_099, lambda: iter([(x, y)]))
    with pytest.raises(InputError, match=r"blocks: expected finite features"):
        newton.fit_blocks(blocks, (x[:600], y[:600]), l2=1e-2)


@pytest.mark.bad_input
def test_a_mesh_and_blocks_that_do_not_fit():
    with pytest.raises(InputError, match=r"mesh: expected a jax\.sharding\.Mesh with one axis"):
        newton.fit(None, X, Y, mesh="data")
    with pytest.raises(InputError, match=r"blocks: expected at least one, got none"):
        newton.fit_blocks(newton.Blocks(40, lambda: iter(())), (X, Y))
    for y in (Y * 2, Y * np.nan):
        blocks = newton.Blocks(40, lambda y=y: iter([(X, y)]))
        with pytest.raises(InputError, match=r"blocks: expected finite features, and labels of"):
            newton.fit_blocks(blocks, (X, Y))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("params", "y", "words"),
    [
        (Params(np.zeros(5), np.zeros(())), Y, r"x: expected 5 along axis 1 \(features"),
        (Params(np.zeros(2), np.zeros(1)), Y, r"params.bias: expected shape \(\), as the weight"),
        (Params(np.full(2, np.nan), np.zeros(())), Y, r"params: expected finite parameters"),
        (Params(np.zeros((2, 2)), np.zeros(2)), Y + 1, r"y: expected class indices in 0\.\.1, got"),
        (Params(np.zeros((2, 2)), np.zeros(2)), Y * 0.9, r"y: expected integer indices of shape"),
        (Params(np.zeros((2, 2)), np.zeros(2)), TABLE, r"y: expected 2 along axis 1 \(K, the cl"),
        (Params(np.zeros(2), np.zeros(())), TABLE, r"y: expected shape \(N,\), for one logit"),
        (Params(np.zeros((1, 2, 2)), np.zeros(2)), Y, r"params.weight: expected shape \(D,\) or"),
    ],
)
def test_params_that_do_not_fit(params, y, words):
    with pytest.raises(InputError, match=words):
        newton.fit(params, X, y)
