"""The loop: compiled once, masked at its end, the same however it is cut, and when it stops."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import DivergedError
from handgrad.gradients import logistic, mlp, softmax_regression
from handgrad.train import accuracy, fit, loop
from handgrad.train.batches import Batches
from handgrad.train.loop import Solver


@pytest.fixture
def points():
    """Fifty points that a line nearly parts."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)).astype("float32")
    return x, (x @ [1, -2, 0.5] + rng.normal(size=50) > 0).astype("int32")


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result.params)]


def assert_same(one, two):
    """Bit for bit: the parameters and the loss of every step."""
    for a, b in zip(leaves(one), leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.history.batch_losses, two.history.batch_losses)


def counted(model):
    """The model, and a list that grows with every trace of its value and gradient."""
    traces = []

    def value_and_gradient(params, x, y):
        traces.append(x.shape)
        return model.value_and_gradient(params, x, y)

    return replace(model, value_and_gradient=value_and_gradient), traces


def test_one_compilation_a_run(points):
    """The traces do not grow with steps, chunks or a last chunk that is ragged."""
    found = []
    for epochs in (1, 40):
        model, traces = counted(logistic.model())
        result = fit(model, *points, epochs=epochs, batch_size=7)
        assert len(result.history.steps) > 1 or epochs == 1
        found.append(traces)
    # One for the shapes, one in the chunk, one to evaluate all the data.
    assert found[0] == found[1]
    assert len(found[0]) <= 3


def test_one_program_serves_every_chunk(points, monkeypatch):
    """What is compiled is compiled ahead of the loop; another shape would be refused."""
    lowered = []
    real = loop.programs

    def programs(*args):
        lowered.append(args)
        return real(*args)

    monkeypatch.setattr(loop, "programs", programs)
    result = fit(logistic.model(), *points, epochs=41, batch_size=7)
    assert len(lowered) == 1
    steps = result.history.steps
    assert steps[-1] == 293
    assert steps[-1] % steps[0] != 0  # the last chunk was ragged


@pytest.mark.parametrize(("batch_size", "epochs"), [(1, 3), (7, 11), ("full", 13)])
def test_every_step_is_taken_once(points, batch_size, epochs):
    result = fit(logistic.model(), *points, epochs=epochs, batch_size=batch_size)
    size = 50 if batch_size == "full" else batch_size
    steps = -(-epochs * 50 // size)
    history = result.history
    assert history.batch_losses.shape == (steps,)
    assert (history.batch_losses > 0).all()  # masked steps would show as zeros
    assert history.steps[-1] == steps
    assert len(history.steps) == len(history.losses) == len(history.gradient_max)
    assert history.stopped == "epochs"
    assert history.steps_per_second > 0


@pytest.mark.parametrize("batch_size", [7, "full"])
def test_the_loop_is_the_loop_one_would_write(points, batch_size):
    """Against an eager loop over the same schedule: no step is lost, repeated or misplaced."""
    x, y = points
    key = jax.random.key(5)
    params = logistic.init(jax.random.key(1), 3)
    result = fit(
        logistic.model(), x, y, epochs=2, batch_size=batch_size, key=key, params=params,
        learning_rate=0.3,
    )  # fmt: skip
    batches = Batches.of(50, batch_size, True, jax.random.split(key)[1])
    losses = []
    step = jax.jit(logistic.value_and_gradient)
    for picked in batches.indices(0, batches.steps(2)):
        rows = slice(None) if batches.full else picked
        value, gradient = step(params, x[rows], y[rows])
        losses.append(value)
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient)
    np.testing.assert_allclose(result.history.batch_losses, losses, rtol=2e-6)
    np.testing.assert_allclose(result.params.weight, params.weight, rtol=2e-5)
    assert result.loss == pytest.approx(float(logistic.loss(params, x, y)), rel=2e-6)


def test_the_key_decides_everything(points):
    """Without one it is that of seed 0."""
    run = {"epochs": 4, "batch_size": 8}
    one = fit(logistic.model(), *points, key=jax.random.key(0), **run)
    assert_same(one, fit(logistic.model(), *points, **run))
    other = fit(logistic.model(), *points, key=jax.random.key(2), **run)
    assert (leaves(one)[0] != leaves(other)[0]).any()


def test_chunks_do_not_change_the_result(points, monkeypatch):
    run = {"epochs": 9, "batch_size": 7, "optimizer": "momentum"}
    usual = fit(logistic.model(), *points, **run)
    for chunks in (1, 10_000):
        monkeypatch.setattr(loop, "MOST_CHUNKS", chunks)
        monkeypatch.setattr(loop, "FEWEST_CHUNKS", chunks)
        assert_same(usual, fit(logistic.model(), *points, **run))


def test_chunks_are_short_enough_for_their_indices(points, monkeypatch):
    run = {"epochs": 9, "batch_size": 7}
    usual = fit(logistic.model(), *points, **run)
    monkeypatch.setattr(loop, "MOST_INDICES", 14)
    seen = []
    short = fit(logistic.model(), *points, **run, progress=seen.append)
    assert seen[0].step == 2
    assert_same(usual, short)


def test_tolerance_stops_early(points):
    run = {"batch_size": "full", "epochs": 500, "learning_rate": 0.5}
    result = fit(logistic.model(0.1), *points, tol=1e-4, **run)
    history = result.history
    assert history.stopped == "tolerance"
    assert len(history.batch_losses) == history.steps[-1] < 500
    assert history.gradient_max[-1] <= 1e-4 < history.gradient_max[:-1].min()
    gradient = logistic.gradient(result.params, *points, l2=0.1)
    assert max(float(jnp.abs(g).max()) for g in gradient) <= 1.01e-4
    assert fit(logistic.model(0.1), *points, tol=0.0, **run | {"epochs": 9}).history.stopped == (
        "epochs"
    )


def diverging(points, batch_size, learning_rate=2.0, l2=10.0):
    """The step at which an eager loop first meets a loss that is not finite, from 1."""
    x, y = points
    key = jax.random.key(5)
    params = logistic.init(jax.random.key(1), 3)
    batches = Batches.of(50, batch_size, True, jax.random.split(key)[1])
    step = jax.jit(logistic.value_and_gradient)
    for number, picked in enumerate(batches.indices(0, 200), 1):
        rows = slice(None) if batches.full else picked
        value, gradient = step(params, x[rows], y[rows], l2)
        if not np.isfinite(value):
            return number, key, logistic.init(jax.random.key(1), 3)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient)
    raise AssertionError("it did not diverge")


@pytest.mark.parametrize(("batch_size", "chunks"), [(7, 1), ("full", 50)])
def test_divergence_names_the_step(points, monkeypatch, batch_size, chunks):
    """A penalty whose step is too long: the weights grow nineteen-fold a step."""
    expected, key, params = diverging(points, batch_size)
    monkeypatch.setattr(loop, "MOST_CHUNKS", chunks)
    monkeypatch.setattr(loop, "FEWEST_CHUNKS", chunks)
    with pytest.raises(
        DivergedError, match=rf"the loss is inf at step {expected}; lower the learning rate"
    ) as caught:
        fit(
            logistic.model(10.0), *points, epochs=100, batch_size=batch_size, learning_rate=2.0,
            key=key, params=params,
        )  # fmt: skip
    assert caught.value.step == expected
    assert caught.value.loss == float("inf")
    assert expected > 10


def test_divergence_in_the_last_step_of_a_run(points):
    """No later step takes its loss; the evaluation on all the data does."""
    expected, key, params = diverging(points, "full")
    with pytest.raises(DivergedError, match=f"at step {expected};"):
        fit(
            logistic.model(10.0), *points, epochs=expected - 1, batch_size="full",
            learning_rate=2.0, key=key, params=params,
        )  # fmt: skip
    with pytest.raises(DivergedError, match=r"the loss is \d\S+e\+3\d at step"):  # and if finite
        fit(
            logistic.model(10.0), *points, epochs=expected - 2, batch_size="full",
            learning_rate=2.0, key=key, params=params,
        )  # fmt: skip
    quiet = fit(logistic.model(), *points, epochs=2, batch_size="full", learning_rate=100.0)
    assert quiet.history.stopped == "epochs"  # a loss that is only bad is a result


def test_an_interrupt_keeps_what_was_learnt(points):
    seen = []

    def interrupt(progress):
        seen.append(progress)
        if len(seen) == 3:
            raise KeyboardInterrupt

    run = {"epochs": 50, "batch_size": "full", "tol": 0.0}
    result = fit(logistic.model(), *points, progress=interrupt, **run)
    assert result.history.stopped == "interrupted"
    assert [p.step for p in seen] == [1, 2, 3]
    assert result.history.steps.tolist() == [3]  # what was learnt is evaluated before leaving
    assert len(result.history.batch_losses) == 3
    assert result.loss == pytest.approx(
        float(logistic.loss(result.params, *map(jnp.asarray, points))), rel=1e-6
    )
    assert_same(result, fit(logistic.model(), *points, **run | {"epochs": 3}))


def test_an_interrupt_before_anything_is_learnt_is_passed_on(points, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "check_finite", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(logistic.model(), *points)


def test_progress_says_where_the_run_stands(points):
    """After every chunk: the loss on all data where it was evaluated, else on the batches."""
    seen = []
    result = fit(logistic.model(), *points, epochs=30, batch_size=8, progress=seen.append)
    history = result.history
    assert [p.step for p in seen] == [38, 76, 114, 152, 188]
    assert {p.steps for p in seen} == {188}
    evaluated = [p for p in seen if p.gradient_max is not None]
    assert [p.step for p in evaluated] == history.steps.tolist()
    assert [p.loss for p in evaluated] == history.losses.tolist()
    assert [p.gradient_max for p in evaluated] == history.gradient_max.tolist()


def test_evaluations_are_as_rare_as_they_must_be(points):
    """Three epochs apart, ten full batches apart, and at the end; also where none was due."""
    for batch_size, epochs, expected in (
        (10, 2, [10]), (10, 7, [15, 30, 35]), ("full", 9, [9]), ("full", 25, [10, 20, 25]),
    ):  # fmt: skip
        seen = []
        run = {"batch_size": batch_size, "epochs": epochs, "tol": 0.0, "progress": seen.append}
        result = fit(logistic.model(), *points, **run)
        assert result.history.steps.tolist() == expected
        assert [p.step for p in seen] == list(range(1, expected[-1] + 1))
        other = next((p for p in seen if p.step not in expected), None)
        losses = result.history.batch_losses
        assert other is None or other.loss == pytest.approx(losses[other.step - 1])


def test_results_do_not_depend_on_how_a_run_is_cut(points):
    run = {"batch_size": 4, "epochs": 20, "tol": 0.0}
    whole, seen = fit(logistic.model(0.1), *points, **run), []
    cut = fit(logistic.model(0.1), *points, **run, update_seconds=1e-9, progress=seen.append)
    assert [p.step for p in seen] == list(range(1, 251))  # nothing more fits in a nanosecond
    assert_same(whole, cut)
    assert whole.history.steps.tolist() == cut.history.steps.tolist()
    assert whole.history.losses.tolist() == cut.history.losses.tolist()


def test_chunks_are_as_long_as_they_may_be(points):
    """The first is a step, the next as many as fit: a day is enough for all."""
    seen = []
    run = {"batch_size": 4, "epochs": 2_000}
    fit(logistic.model(), *points, **run, update_seconds=1e6, progress=seen.append)
    assert [p.step for p in seen] == [1, *range(5_000, 25_001, 5_000)]
    assert all(p.steps_per_second > 0 for p in seen)


def test_no_step_copies_the_data(points):
    """The operands of a conditional are copied: there is none in a chunk."""
    x, y = map(jnp.asarray, points)
    solver = Solver(logistic.model().value_and_gradient, optax.sgd(0.1))
    state = solver.init(logistic.init(jax.random.key(0), 3))
    program = jax.jit(solver.chunk(full=False)).lower(
        state, x, y, jnp.zeros((4, 2), jnp.int32), jnp.int32(4)
    )
    compiled = program.compile().as_text()
    assert " conditional(" not in compiled
    assert f"copy(f32[{x.shape[0]},{x.shape[1]}]" not in compiled


def test_any_optax_rule(points):
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    result = fit(logistic.model(), *points, optimizer=rule, epochs=20)
    assert result.loss < result.history.batch_losses[0]


def test_labels_of_every_kind(points):
    """Integers, floats of either width, probabilities; the run has the dtype of x."""
    x, y = points
    pairs = np.stack([1 - y, y], axis=1)
    for model, labels in (
        (logistic.model(), y.astype("int64")), (logistic.model(), 0.8 * y + 0.1),
        (softmax_regression.model(), pairs.astype("float64")),
    ):  # fmt: skip
        result = fit(model, x, labels, epochs=2)
        assert {leaf.dtype for leaf in leaves(result)} == {np.dtype("float32")}
    with x64():
        result = fit(logistic.model(), x.astype("float64"), y.astype("float32"), epochs=2)
        assert {leaf.dtype for leaf in leaves(result)} == {np.dtype("float64")}


def test_float32_data_where_float64_is_enabled(points):
    x, y = points
    with x64():
        result = fit(mlp.model((2,), l2=0.1), x, y.astype("float64"), epochs=1)
        assert {leaf.dtype for leaf in leaves(result)} == {np.dtype("float32")}


def test_integers_and_lists_as_features():
    result = fit(logistic.model(), [[-2], [-1], [1], [2]], [0, 0, 1, 1], epochs=50)
    assert accuracy(logistic.model(), result.params, jnp.array([[-3.0], [3.0]]), [0, 1]) == 1


def test_accuracy_by_hand():
    params = logistic.Params(jnp.array([1.0]), jnp.array(0.0))
    x = np.array([[-1.0], [1.0], [2.0], [3.0]], "float32")
    assert accuracy(logistic.model(), params, x, np.array([0, 1, 1, 0])) == 0.75
    assert accuracy(logistic.model(), params, x, np.array([0.2, 0.9, 0.4, 0.6])) == 0.75
    model = softmax_regression.model()
    three = softmax_regression.Params(jnp.array([[-1.0, 0.0, 1.0]]), jnp.array([0.0, 0.5, 0.0]))
    assert accuracy(model, three, x, np.array([0, 2, 2, 1])) == 0.75
    assert accuracy(model, three, x, np.eye(3, dtype="float32")[[0, 2, 2, 2]]) == 1
