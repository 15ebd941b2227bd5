"""A run that is killed goes on to the same bits, and only from a checkpoint of its own."""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import logistic, mlp
from handgrad.scale import checkpoints
from handgrad.scale.checkpoints import PROGRAM, Checkpoints, differences, steps_in
from handgrad.train import adam, fit, sgd
from handgrad.train.api import fingerprint
from handgrad.train.batches import Batches
from handgrad.train.loop import Solver

pytest.importorskip("orbax.checkpoint")

FULL = {"batch_size": "full", "epochs": 60}
RUNS = {
    "full": FULL | {"optimizer": "momentum"},
    "mini": {"batch_size": 7, "epochs": 9, "optimizer": "adam"},
    "each": {"batch_size": 1, "epochs": 3},
    "each in order": {"batch_size": 1, "epochs": 3, "shuffle": False},
    "mesh": {"batch_size": 7, "epochs": 9, "mesh": 1},
}


class Killed(BaseException):
    """Ends a run as a kill does: nothing after it is done."""


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 3)).astype("float32")
    return x, (x @ np.array([1.0, -2.0, 0.5]) > 0.2).astype("int32")


def killed_at(step):
    """A progress function that ends the run once it has come so far."""

    def kill(progress):
        if progress.step >= step:
            raise Killed

    return kill


def same(a, b):
    leaves = [jax.tree.leaves(result.params) for result in (a, b)]
    return all(np.array_equal(p, q) for p, q in zip(*leaves, strict=True))


def saved(points, folder, run=None, at=None, **options):
    """A run with a checkpoint every few steps, killed at a step if one is given."""
    options = {"every_steps": 10, "every_seconds": None} | options
    return fit(
        logistic.model(0.1), *points, checkpoint=Checkpoints(folder, **options),
        progress=None if at is None else killed_at(at), **FULL | (run or {}),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "at"), list(zip(RUNS, (1, 11, 40, 40, 11), strict=True)))
def test_a_killed_run_is_resumed_to_the_same_bits(points, tmp_path, name, at):
    whole = fit(logistic.model(0.1), *points, **RUNS[name])
    with pytest.raises(Killed):
        saved(points, tmp_path, RUNS[name], at)
    steps = list(steps_in(tmp_path))
    resumed = saved(points, tmp_path, RUNS[name] | {"resume": True})
    start = resumed.history.start
    assert start == (steps[0] if steps else 0)
    assert at - 10 <= start + 1
    assert same(resumed, whole)
    assert resumed.loss == whole.loss
    assert resumed.history.end == len(whole.history.batch_losses)
    assert np.array_equal(resumed.history.batch_losses, whole.history.batch_losses[start:])


def test_a_path_is_a_checkpoint(points, tmp_path):
    run = {"checkpoint": tmp_path / "runs" / "a", **FULL}
    whole = fit(logistic.model(0.1), *points, **run)
    assert list(steps_in(tmp_path / "runs" / "a")) == [60, 1]
    again = fit(logistic.model(0.1), *points, **run | {"checkpoint": str(run["checkpoint"])},
                resume=True)  # fmt: skip
    assert (again.history.start, again.history.end) == (60, 60)
    assert same(again, whole)


@pytest.mark.bad_input
def test_what_is_not_a_checkpoint(points):
    with pytest.raises(InputError, match="resume: expected a checkpoint to go with it, got none"):
        fit(logistic.model(), *points, resume=True)
    with pytest.raises(InputError, match=r"checkpoint: expected the path of a folder, .* got 3;"):
        fit(logistic.model(), *points, checkpoint=3)


def test_the_tolerance_stops_a_resumed_run_where_it_stops_the_whole(points, tmp_path):
    """Wherever it was killed, also after it had stopped; evaluations fall on the same steps."""
    run = {"batch_size": "full", "epochs": 500, "learning_rate": 0.5, "tol": 0.05}
    whole = fit(logistic.model(0.1), *points, **run)
    end = whole.history.end
    assert whole.history.stopped == "tolerance"
    for at in (7, end):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        with pytest.raises(Killed):
            saved(points, tmp_path / "run", run, at, every_steps=3)
        for _ in range(2):  # the second resumes what has ended
            resumed = saved(points, tmp_path / "run", run | {"resume": True}, every_steps=3)
            assert (resumed.history.stopped, resumed.history.end) == ("tolerance", end)
            assert same(resumed, whole)


def test_a_rule_with_a_random_key_and_an_mlp(points, tmp_path):
    """Keys are arrays of a dtype of their own, and some leaves of a state are scalars."""

    def init(params):
        return jax.random.key(3), jnp.zeros((), jnp.int32)

    def update(gradient, state, params=None):
        key, use = jax.random.split(state[0])
        noisy = jax.tree.map(
            lambda g: -0.1 * g + 0.01 * jax.random.normal(use, g.shape, g.dtype), gradient
        )
        return noisy, (key, state[1] + 1)

    rule = optax.GradientTransformation(init, update)
    run = {"optimizer": rule, "batch_size": 10, "epochs": 4}
    keep = Checkpoints(tmp_path, every_steps=7)
    with x64():
        x, y = points[0].astype("float64"), points[1]
        whole = fit(mlp.model((2,)), x, y, **run)
        with pytest.raises(Killed):
            fit(mlp.model((2,)), x, y, checkpoint=keep, progress=killed_at(15), **run)
        result = fit(mlp.model((2,)), x, y, checkpoint=keep, resume=True, **run)
    assert result.history.start == 14
    assert same(result, whole)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {np.dtype("float64")}


def test_an_end_that_cannot_be_saved_is_in_the_history(points, tmp_path, monkeypatch):
    def refuses(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_arrays", refuses)
    with pytest.warns(RuntimeWarning, match=r"step 10 could not be saved"):
        result = saved(points, tmp_path)
    assert result.history.unsaved == "No space left on device"
    assert result.history.end == 60


# ---- what a run is known by


def known(points, rate=0.1, l2=0.1, key=0, batch_size="full", optimizer=sgd):
    x, y = map(jnp.asarray, points)
    solver = Solver(logistic.model(l2).value_and_gradient, optimizer(rate))
    state = solver.init(logistic.init(jax.random.key(key), 3))
    batches = Batches.of(len(x), batch_size, True, jax.random.key(1))
    return fingerprint(solver, batches, state, (x, y))


def test_a_fingerprint_is_of_values_not_of_objects(points):
    assert known(points) == known(points)
    assert json.loads(json.dumps(known(points))) == known(points)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 25}, ["batch size (50 there, 25 here)", "order (all examples there"]),
        ({"optimizer": adam}, ["state"]),
        ({"rate": 0.1000001}, [PROGRAM]),
        ({"l2": 0.2}, [PROGRAM]),
        ({"key": 1}, ["first parameters"]),
    ],
)
def test_another_run_is_told_apart(points, change, words):
    found = differences(known(points), known(points, **change))
    for word in words:
        assert any(text.startswith(word) for text in found), found


def test_other_data_are_told_apart(points):
    x, y = (np.array(part) for part in points)
    x[17, 1] = np.nextafter(x[17, 1], np.float32(9))
    assert differences(known(points), known((x, y))) == ["values of x and y"]
    y[3] = 1 - y[3]
    assert differences(known((x, y)), known((x, points[1]))) == ["values of x and y"]
    assert "x (float32[50,3] there, float32[49,3] here)" in differences(
        known(points), known((x[1:], y[1:]))
    )


def test_a_run_with_another_fingerprint_is_refused(points, tmp_path):
    saved(points, tmp_path)
    with pytest.raises(InputError, match=f"which is of another run: other.*{PROGRAM}"):
        saved(points, tmp_path, {"learning_rate": 0.2, "resume": True})


PROGRAM_OF_A_STEP = """
import sys, jax, jax.numpy as jnp
from handgrad.gradients import mlp
from handgrad.train import adam
from handgrad.train.api import program_digest
from handgrad.train.batches import Batches
from handgrad.train.loop import Solver
m = mlp.model((3,), 'relu', 0.1)
solver = Solver(m.value_and_gradient, adam(0.01))
state = solver.init(m.init(jax.random.key(0), 2, 3, jnp.float32))
data, batches = (jnp.ones((5, 2)), jnp.zeros(5, int)), Batches.of(5, 2, True, jax.random.key(0))
found = program_digest(solver, batches, state, data)
print(found, 'orbax' in str(sorted(sys.modules)))
"""


def test_the_program_is_the_same_in_another_process():
    """No address, no order of a set is in it. And Orbax is loaded only where it is used."""
    here = {}
    exec(PROGRAM_OF_A_STEP, here)
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM_OF_A_STEP], env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout.split()  # fmt: skip
    assert there == [here["found"], "False"]
    assert len(here["found"]) == 32
