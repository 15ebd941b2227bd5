"""Training on a stream: what `fit` does, each epoch whole, and the same wherever it is taken up."""

import os
import signal
import sys
import threading
from contextlib import closing
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import DivergedError, InputError
from handgrad.fast import newton
from handgrad.gradients import logistic, perceptron, softmax_regression
from handgrad.scale import streams
from handgrad.scale.checkpoints import Checkpoints
from handgrad.scale.streams import ReadAhead, open_parts, open_stream, ring
from handgrad.train import baseline, batches, comparison, fit, fit_stream, newton_stream
from handgrad.train.batches import Windows
from handgrad.train.comparison import compare, contenders
from handgrad.train.loop import Solver
from handgrad.train.optimizers import resolve
from handgrad.train.streaming import FullPasses, StreamEngine, WindowedBatches

ROWS = 1_303


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 100 rows and windows of about 600, so that a small stream has many."""
    monkeypatch.setattr(streams, "BLOCK_BYTES", 1_600)
    monkeypatch.setattr(batches, "WINDOW_BYTES", 9_600)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 500)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Three classes, sorted, so that an order which does not mix them would show."""
    rng = np.random.default_rng(0)
    y = np.sort(rng.integers(0, 3, ROWS))
    x = rng.normal(size=(ROWS, 4)) + 1.5 * rng.normal(size=(3, 4))[y]
    path = tmp_path_factory.mktemp("stream") / "three.npy"
    np.save(path, np.c_[x, y])
    return path


@pytest.fixture(scope="module")
def binary(file):
    table = np.load(file)
    table[:, -1] = table[:, -1] > 0
    np.save(file.with_name("two.npy"), table)
    return file.with_name("two.npy")


def arrays(stream):
    return stream.rows(0, stream.examples)


def leaves(params):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]


def apart(one, two):
    """max |a − b| over max |a|."""
    pairs = list(zip(leaves(one), leaves(two), strict=True))
    return max(np.abs(a - b).max() for a, b in pairs) / max(np.abs(a).max() for a, _ in pairs)


MODELS = {
    "softmax": lambda: softmax_regression.model(0.01),
    "optax": lambda: baseline(softmax_regression.model(0.01), 0.01),
}


@pytest.mark.parametrize(("name", "dtype"), [("softmax", "float64"), ("optax", "float32")])
def test_full_batches_are_those_of_fit(file, small_blocks, dtype, name):
    """The mean of the blocks' means by their sizes, the penalty in each: rounding apart, E."""
    options = {"batch_size": "full", "epochs": 25, "optimizer": "adam", "learning_rate": 0.05}
    with x64(dtype == "float64"):
        stream = open_stream(file, 4, dtype=dtype)
        assert ROWS % stream.block_rows, "the last block is short"
        one = fit(MODELS[name](), *arrays(stream), **options)
        two = fit_stream(MODELS[name](), stream, **options)
    bound = 300 * np.finfo(dtype).eps  # 25 steps of Adam
    assert apart(one.params, two.params) < bound
    np.testing.assert_allclose(one.history.batch_losses, two.history.batch_losses, rtol=bound)
    np.testing.assert_allclose(one.history.losses, two.history.losses, rtol=bound)
    np.testing.assert_array_equal(one.history.steps, two.history.steps)


@pytest.mark.parametrize("size", [1, 100, 1_302])
def test_in_order_the_batches_are_those_of_fit(binary, small_blocks, monkeypatch, size):
    """Bit for bit: the same examples in the same steps, through the same program."""
    if size > 600:
        monkeypatch.setattr(batches, "WINDOW_BYTES", 10**6)
    stream = open_stream(binary, 4)
    options = {"batch_size": size, "epochs": 2, "shuffle": False}
    one = fit(logistic.model(0.01), *arrays(stream), **options)
    two = fit_stream(logistic.model(0.01), stream, **options)
    np.testing.assert_array_equal(one.history.batch_losses, two.history.batch_losses)
    for a, b in zip(leaves(one.params), leaves(two.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert abs(one.loss - two.loss) < 1e-6


@pytest.mark.parametrize(
    ("examples", "size", "batches", "block"),
    [(1_000, 7, 20, 13), (100, 32, 3, 1), (50, 50, 1, 50), (640, 64, 10, 10), (33, 1, 33, 5),
     (10, 10, 1, 3), (10, 9, 1, 3)],
)  # fmt: skip
def test_every_epoch_sees_each_example_once(examples, size, batches, block):
    order = Windows(examples, size, True, (1, 2), batches, block)
    seen = np.concatenate(
        [rows_of(order, number) for number in range(-(-3 * examples // (order.rows)))]
    )
    epochs = [seen[begin : begin + examples] for begin in range(0, 3 * examples, examples)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(examples))
    assert examples < 20 or any((epochs[0] != epoch).any() for epoch in epochs[1:])


def rows_of(order, number):
    """The examples of window `number`, in the order its steps see them."""
    rows = np.concatenate([np.arange(*piece) for piece in order.window_ranges(number)])
    assert len(rows) == order.rows
    return rows[order.window_indices(number).ravel()]


def test_the_order_depends_on_key_and_number_alone():
    order = Windows(1_000, 7, True, (1, 2), 20, 13)
    far = rows_of(order, 23)
    batches._block_order.cache_clear()
    np.testing.assert_array_equal(far, rows_of(Windows(1_000, 7, True, (1, 2), 20, 13), 23))
    assert (far != rows_of(replace(order, seed=(1, 3)), 23)).any()
    assert (far != rows_of(order, 22)).any()


def test_a_window_mixes_blocks_from_everywhere():
    """Of a sorted stream, every window has a fair share of both halves."""
    order = Windows.of_stream(10**6, 260, 32, True, jax.random.key(0))
    assert order.rows < 130_000
    for number in range(7):
        halves = (
            np.concatenate([np.arange(*piece) for piece in order.window_ranges(number)]) < 500_000
        )
        assert 0.2 < halves.mean() < 0.8


@pytest.mark.parametrize("size", ["full", 32])
def test_taken_up_at_any_step(binary, small_blocks, size):
    """Another engine that starts in the middle of a window goes on to the same bits."""
    stream = open_stream(binary, 4)
    model = logistic.model(0.01)
    solver = Solver(model.value_and_gradient, resolve("momentum", 0.1))
    order = Windows.of_stream(ROWS, 16, size, True, jax.random.key(3))
    state = solver.init(model.init(jax.random.key(0), 4, 2, "float32"))

    def engine():
        if size == "full":
            return FullPasses(solver, order, 9, state, stream)
        return WindowedBatches(solver, order, 3, state, stream)

    whole, other = engine(), engine()
    steps = whole.schedule.steps
    straight, losses = whole.run_steps(state, 0, steps)
    for middle in (1, steps // 3, steps - 1):
        half, first = whole.run_steps(state, 0, middle)
        other.evaluate(half)  # which reads the stream in between
        rest, second = other.run_steps(half, middle, steps - middle)
        np.testing.assert_array_equal(np.r_[first, second], losses)
        for a, b in zip(leaves(straight), leaves(rest), strict=True):
            np.testing.assert_array_equal(a, b)
    whole.close()
    other.close()


def test_resumed_from_a_checkpoint(binary, small_blocks, tmp_path):
    """With a stream that was opened anew; one of another file is refused."""
    pytest.importorskip("orbax.checkpoint")
    options = {"batch_size": 32, "learning_rate": 0.1}
    straight = fit_stream(logistic.model(), open_stream(binary, 4), epochs=6, **options)
    saved = Checkpoints(tmp_path / "saved", every_steps=100)
    fit_stream(logistic.model(), open_stream(binary, 4), epochs=3, checkpoint=saved, **options)
    options |= {"epochs": 6, "checkpoint": saved, "resume": True}
    resumed = fit_stream(logistic.model(), open_stream(binary, 4), **options)
    assert resumed.history.start == 123
    for a, b in zip(leaves(straight.params), leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="of another run: other values of x and y"):
        fit_stream(logistic.model(), open_stream(binary, 4, standardised=False), **options)


def test_a_dropped_block_is_caught(file, small_blocks, monkeypatch):
    """The planted fault: a pass that ends one block early. The loss is not that of all the data."""
    stream = open_stream(file, 4)
    model = softmax_regression.model()
    solver = Solver(model.value_and_gradient, resolve("sgd", 0.1))
    params = model.init(jax.random.key(1), 4, 3, "float32")
    wanted = model.loss(params, *arrays(stream))

    def off():
        passes = StreamEngine(solver, params, stream)
        passes._blocks -= planted
        found = passes.value_and_gradient(params)[0]
        passes.close()
        return abs(float(found - wanted)) / float(wanted)

    planted = 0
    assert off() < 1e-6
    planted = 1
    assert off() > 1e-3


def test_an_error_of_the_reader_is_raised_where_it_is_waited_for(binary, small_blocks, monkeypatch):
    """With its words, and the thread is gone."""
    stream = open_stream(binary, 4)
    plain, calls = stream.copy.read, []

    def read(begin, x, y):
        calls.append(begin)
        if len(calls) > 40:
            raise InputError("the disk", "to be read", "a scratch", "buy another")
        plain(begin, x, y)

    monkeypatch.setattr(stream.copy, "read", read)
    for size in ("full", 32):
        calls.clear()
        with pytest.raises(InputError, match="the disk: expected to be read, got a scratch"):
            fit_stream(logistic.model(), stream, batch_size=size, epochs=9)
        assert not readers()


def readers():
    return [thread for thread in threading.enumerate() if "read-ahead" in thread.name]


def test_windows_out_of_turn(binary, small_blocks):
    """What was read ahead and is not wanted is given up; what was asked for stays as it is."""
    stream = open_stream(binary, 4)
    x, _ = arrays(stream)
    with closing(ReadAhead(stream.copy, ring(ROWS, 100), 100)) as ahead:
        before = None
        for number in (0, 1, 1, 7, 3, 4, 13, 14, 2):
            found, _ = ahead.get(number)
            np.testing.assert_array_equal(found, x[number % 14 * 100 :][:100])
            if before is not None:  # still there, though the next is being read
                np.testing.assert_array_equal(before[1], x[before[0] % 14 * 100 :][:100])
            before = number, found
        assert len(readers()) == 1
    assert not readers()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_was_learnt_and_leaves_no_thread(binary, small_blocks):
    """It comes from outside, in the middle of a pass."""
    sent = []

    def interrupt(seen):
        if seen.step > 3 and not sent:
            sent.append(seen.step)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        result = fit_stream(
            logistic.model(), open_stream(binary, 4), batch_size="full", epochs=10**6,
            progress=interrupt,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.history.stopped == "interrupted"
    assert result.history.end > 3
    assert not readers()


def test_rules_that_ask_for_the_loss(binary, small_blocks):
    """On full batches they get it; one with a line search, also at other parameters."""
    stream, model = open_stream(binary, 4), logistic.model(0.01)
    start = model.init(jax.random.key(1), 4, 2, "float32")
    run = {"batch_size": "full", "params": start}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        step = fit_stream(model, stream, optimizer=optax.polyak_sgd(1e9), epochs=1, **run)
        rule = optax.lbfgs(memory_size=2)
        found = fit_stream(model, stream, optimizer=rule, epochs=4, **run)
    loss, gradient = model.value_and_gradient(start, *arrays(stream))
    rate = loss / sum(np.sum(np.square(leaf)) for leaf in gradient)  # Polyak's, for a least of 0
    expected = jax.tree.map(lambda w, g: w - rate * g, start, gradient)
    assert apart(expected, step.params) < 1e-5
    optimum = newton.fit(None, *arrays(stream), 0.01)
    assert found.loss == pytest.approx(optimum.loss, rel=0.01)


def test_tolerance_and_divergence(binary, small_blocks):
    stream = open_stream(binary, 4)
    result = fit_stream(logistic.model(0.1), stream, batch_size="full", epochs=500, tol=1e-3,
                        learning_rate=0.5)  # fmt: skip
    assert result.history.stopped == "tolerance"
    assert result.history.gradient_max[-1] <= 1e-3
    with pytest.raises(DivergedError, match="at step"):
        fit_stream(logistic.model(), stream, batch_size="full", learning_rate=3e38)


def test_what_is_refused(binary, monkeypatch):
    stream = open_stream(binary, 4)
    with pytest.raises(InputError, match="stream: expected a Stream, got ndarray; pass open_str"):
        fit_stream(logistic.model(), np.zeros((3, 2)))
    with pytest.raises(InputError, match="stream: expected float32, for float64 is not enabled"):
        fit_stream(logistic.model(), open_stream(binary, 4, dtype="float64"))
    with pytest.raises(InputError, match="batch_size: expected at most the 1,303 training"):
        fit_stream(logistic.model(), stream, batch_size=1_304)
    monkeypatch.setattr(batches, "WINDOW_BYTES", 1_600)
    with pytest.raises(InputError, match="at most 100 of these examples at once in memory, or 'f"):
        fit_stream(logistic.model(), stream, batch_size=101)


def test_classes_that_do_not_fit(file):
    with pytest.raises(InputError, match="classes: expected 2, got 3"):
        fit_stream(perceptron.model(), open_stream(file, 4))


def test_side_by_side(file, small_blocks, monkeypatch):
    """Hand and optax on the same stream; accuracy by passes is that of all rows."""
    monkeypatch.setattr(comparison, "CHECKED", 64)
    with x64():
        train, test = open_parts(file, 4, dtype="float64")
        pair = contenders("softmax", "sgd", 0.2)
        found = compare(pair, train, test, dtype="float64", epochs=3, batch_size=32)
        assert found.check.ok
        assert found.difference.relative < 1e-12
        params = found.results["hand"].params
        x, y = arrays(test)
        right = np.argmax(np.asarray(pair[0].model.predict(params, x)), axis=1) == y
        assert found.hand.test_accuracy == right.mean() > 0.7


@pytest.mark.parametrize("name", [pytest.param("two", marks=pytest.mark.slow), "three"])
def test_newton_is_that_of_all_rows_in_memory(small_blocks, file, binary, name):
    """The optimum, each pass summed over many blocks."""
    with open_stream(file if name == "three" else binary, 4, dtype="float64") as stream:
        assert len(list(stream.blocks())) > 5
        found = newton_stream(stream, 1e-3)
        x, y = arrays(stream)
    expected = newton.fit(None, x, y, 1e-3)
    assert found.converged
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert apart(found.params, expected.params) < 1e-6


def test_newton_sees_a_block_that_is_left_out(small_blocks, file):
    with open_stream(file, 4, dtype="float64") as stream:
        x, y = arrays(stream)
        short = newton.Blocks(len(y), lambda: [(x[:1_000], y[:1_000])])
        found = newton.fit_blocks(short, (x, y), 3, 1e-3)
    assert apart(found.params, newton.fit(None, x, y, 1e-3).params) > 1e-3


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("label", [7, -1, 1.9, np.nan, None])
def test_newton_names_what_a_block_may_not_have(classes, label):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.arange(50) % 2.0
    features, labels = x.copy(), y.copy()
    if label is None:
        features[40, 1] = np.nan
    else:
        labels[40] = label
    blocks = newton.Blocks(50, lambda: [(features, labels)])
    with pytest.raises(InputError, match="blocks: expected finite features, and labels of"):
        newton.fit_blocks(blocks, (x, y), classes)


def test_newton_needs_a_stream():
    with pytest.raises(InputError, match="stream: expected a Stream, got ndarray"):
        newton_stream(np.eye(3))
