"""Checkpoints: resumed to the same bits, and no bit that changed goes unseen."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError, MissingExtraError
from handgrad.gradients import logistic, mlp
from handgrad.scale import checkpoint_file, checkpoints
from handgrad.scale.checkpoint_file import DamagedError, read_facts, steps_in
from handgrad.scale.checkpoints import PROGRAM, Checkpoints, differences
from handgrad.train import fit
from handgrad.train.api import fingerprint
from handgrad.train.batches import Batches
from handgrad.train.loop import Solver

RUNS = {
    "full": {"batch_size": "full", "epochs": 60, "optimizer": "momentum"},
    "mini": {"batch_size": 7, "epochs": 9, "optimizer": "adam"},
    "each": {"batch_size": 1, "epochs": 3, "optimizer": "sgd"},
    "each in order": {"batch_size": 1, "epochs": 3, "shuffle": False},
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

    def kill(seen):
        if seen.step >= step:
            raise Killed

    return kill


def same(a, b):
    leaves = [jax.tree.leaves(result.params) for result in (a, b)]
    return all(np.array_equal(p, q) for p, q in zip(*leaves, strict=True))


def saved(points, folder, run=None, at=None, **options):
    """A run with a checkpoint every few steps, killed at a step if one is given."""
    run = {"batch_size": "full", "epochs": 60} | (run or {})
    options = {"every_steps": 10, "every_seconds": None} | options
    return fit(
        logistic.model(0.1), *points, checkpoint=Checkpoints(folder, **options),
        progress=None if at is None else killed_at(at), **run,
    )  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("at", [1, 11, 40])
def test_a_killed_run_is_resumed_to_the_same_bits(points, tmp_path, name, at):
    whole = fit(logistic.model(0.1), *points, **RUNS[name])
    with pytest.raises(Killed):
        saved(points, tmp_path, RUNS[name], at)
    steps = list(steps_in(tmp_path))
    resumed = saved(points, tmp_path, RUNS[name] | {"resume": True})
    assert resumed.history.start == (steps[0] if steps else 0)
    assert at - 10 <= resumed.history.start + 1
    assert same(resumed, whole)
    assert resumed.loss == whole.loss
    assert resumed.history.end == len(whole.history.batch_losses)
    start = resumed.history.start
    assert np.array_equal(resumed.history.batch_losses, whole.history.batch_losses[start:])


@pytest.mark.parametrize("tol", [0.02, 0.05])
def test_the_tolerance_stops_a_resumed_run_where_it_stops_the_whole(points, tmp_path, tol):
    """Wherever it was killed, also after it had stopped; looks fall on the same steps."""
    run = {"batch_size": "full", "epochs": 500, "learning_rate": 0.5, "tol": tol}
    whole = fit(logistic.model(0.1), *points, **run)
    end = whole.history.end
    assert whole.history.stopped == "tolerance"
    for at in (1, 7, end - 1, end):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        with pytest.raises(Killed):
            saved(points, tmp_path / "run", run, at, every_steps=3)
        for _ in range(2):  # the second resumes what has ended
            resumed = saved(points, tmp_path / "run", run | {"resume": True}, every_steps=3)
            assert (resumed.history.stopped, resumed.history.end) == ("tolerance", end)
            assert same(resumed, whole)


def test_results_do_not_depend_on_how_a_run_is_cut(points, tmp_path):
    run = {"batch_size": 4, "epochs": 20, "tol": 0.0}
    whole, seen = fit(logistic.model(0.1), *points, **run), []
    cut = fit(logistic.model(0.1), *points, **run, update_seconds=1e-9, progress=seen.append)
    assert [p.step for p in seen] == list(
        range(1, 251)
    )  # a step each: nothing fits in a nanosecond
    assert same(whole, cut)
    assert whole.history.steps.tolist() == cut.history.steps.tolist()
    assert whole.history.losses.tolist() == cut.history.losses.tolist()


def test_chunks_are_as_long_as_they_may_be(points):
    """The first is a step, the next as many as fit: a day is enough for all."""
    seen = []
    run = {"batch_size": 4, "epochs": 2_000}
    fit(logistic.model(), *points, **run, update_seconds=1e6, progress=seen.append)
    assert [p.step for p in seen] == [1, *range(5_000, 25_001, 5_000)]
    assert all(p.steps_per_second > 0 for p in seen)


def test_what_is_kept_and_when(points, tmp_path):
    saved(points, tmp_path, every_steps=13, keep=3)
    assert list(steps_in(tmp_path)) == [60, 52, 39]  # 60 is the end
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "step-39", "step-52", "step-60"]
    saved(points, tmp_path / "a", every_steps=None, every_seconds=1e-6)
    assert list(steps_in(tmp_path / "a")) == [60, 59]  # each fits a step
    saved(points, tmp_path / "b", every_steps=None, every_seconds=1e6)
    assert list(steps_in(tmp_path / "b")) == [60]


def test_a_longer_run_goes_on_from_a_shorter(points, tmp_path):
    longer = {"epochs": 90}
    saved(points, tmp_path)
    resumed = saved(points, tmp_path, longer | {"resume": True})
    assert resumed.history.start == 60
    assert same(resumed, fit(logistic.model(0.1), *points, batch_size="full", **longer))


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
    with x64():
        x, y = points[0].astype("float64"), points[1]
        whole = fit(mlp.model((4, 2)), x, y, **run)
        for resume in (False, True):
            keep = Checkpoints(tmp_path, every_steps=7)
            progress = killed_at(15) if not resume else None
            try:
                result = fit(
                    mlp.model((4, 2)), x, y, checkpoint=keep, resume=resume, progress=progress,
                    **run,
                )  # fmt: skip
            except Killed:
                continue
    assert result.history.start == 14
    assert same(result, whole)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {np.dtype("float64")}


# ---- what is refused


@pytest.fixture(scope="module")
def two(points, tmp_path_factory):
    """A folder with the checkpoints of steps 20 and 30 of a run that was killed."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Killed):
        saved(points, folder, at=31)
    assert list(steps_in(folder)) == [30, 20]
    return folder


@pytest.fixture
def copy(two, tmp_path):
    """The same, for a test to spoil."""
    return Path(shutil.copytree(two, tmp_path / "copy"))


def files_in(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_every_bit_is_seen(copy):
    """Each byte of each file of a checkpoint with one bit flipped, in turn."""
    checkpoint, tried = copy / "step-30", 0
    for file in files_in(checkpoint):
        content = file.read_bytes()
        for place in range(len(content)):
            harmed = bytearray(content)
            harmed[place] ^= 1 << (place % 8)
            file.write_bytes(harmed)
            with pytest.raises(DamagedError):
                read_facts(checkpoint)
            tried += 1
        file.write_bytes(content)
    assert read_facts(checkpoint)["step"] == 30
    assert tried > 1_500


def test_every_length_is_seen(copy):
    """Each file cut to each shorter length, made longer by a byte, and gone; one too many."""
    checkpoint = copy / "step-30"
    for file in files_in(checkpoint):
        content = file.read_bytes()
        for length in [*range(len(content)), len(content) + 1]:
            file.write_bytes((content + b"\n")[:length])
            with pytest.raises(DamagedError):
                read_facts(checkpoint)
        file.unlink()
        with pytest.raises(DamagedError, match=r"missing|No such file|was not written"):
            read_facts(checkpoint)
        file.write_bytes(content)
    (checkpoint / "arrays" / "more").write_text("")
    with pytest.raises(DamagedError, match="arrays/more was not written with it"):
        read_facts(checkpoint)


@pytest.mark.parametrize("name", ["run.json", "arrays/state/0", "SHA256SUMS"])
def test_the_one_before_is_used(points, copy, name):
    """And the damaged one is set aside, with a message that names the file."""
    whole, said = fit(logistic.model(0.1), *points, batch_size="full", epochs=60), []
    path = copy / "step-30" / name
    path.write_bytes(path.read_bytes()[:-3])
    resumed = saved(points, copy, {"resume": True}, warn=said.append)
    assert resumed.history.start == 20
    assert same(resumed, whole)
    fault = "SHA256SUMS does not fit the files" if name == "SHA256SUMS" else f"{name} is not as it"
    assert len(said) == 1
    assert f"step-30 is damaged: {fault}" in said[0]
    assert "set aside as step-30.refused, and the one before is used" in said[0]
    assert (copy / "step-30.refused").is_dir()
    saved(points, copy, {"resume": True}, warn=said.append)  # and that folder may stay there
    assert len(said) == 1


def test_none_left_is_an_error_that_changes_nothing(points, copy):
    for step in (20, 30):
        (copy / f"step-{step}" / "arrays" / "state" / "0").unlink()
    before = sorted(copy.rglob("*"))
    with pytest.raises(InputError, match=r"step-30, which is damaged: arrays/state/0 is missing; "):
        saved(points, copy, {"resume": True})
    assert sorted(copy.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 25}, r"batch size \(50 there, 25 here\), order \(all examples there"),
        ({"optimizer": "adam"}, "state"),
        ({"learning_rate": 0.2}, PROGRAM),
        ({"l2": 0.2}, PROGRAM),
        ({"key": 1}, "first parameters"),
        ({"values": 1}, "values of x and y"),
        ({"labels": 1}, "values of x and y"),
        ({"fewer": 1}, r"x \(float32\[50,3\] there, float32\[49,3\] here\)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(points, copy, change, words):
    x, y = (np.array(part) for part in points)
    change = dict(change)
    if change.pop("values", None):
        x[17, 1] = np.nextafter(x[17, 1], np.float32(9))
    if change.pop("labels", None):
        y[3] = 1 - y[3]
    if change.pop("fewer", None):
        x, y = x[1:], y[1:]
    run = {"batch_size": "full", "epochs": 60, "key": jax.random.key(change.pop("key", 0))} | change
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"step-30, which is of another run: other.*{words}"):
        fit(
            logistic.model(run.pop("l2", 0.1)), x, y, checkpoint=Checkpoints(copy), resume=True,
            **run,
        )  # fmt: skip
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert {p for p in after if before.get(p) != after[p]} <= {copy / "lock"}


def test_a_foreign_one_on_top_is_passed_over(points, copy, tmp_path):
    saved(points, tmp_path / "other", {"learning_rate": 0.3, "epochs": 40})
    shutil.copytree(tmp_path / "other" / "step-40", copy / "step-40")
    said = []
    resumed = saved(points, copy, {"resume": True}, warn=said.append)
    assert resumed.history.start == 30
    assert PROGRAM in said[0]
    assert (copy / "step-40.refused").is_dir()


def test_a_checkpoint_under_the_name_of_another_step(points, copy):
    (copy / "step-30").rename(copy / "step-35")
    with pytest.raises(DamagedError, match=r"run.json is not of this step"):
        read_facts(copy / "step-35")


def test_another_version_is_said(points, copy, monkeypatch):
    """The run goes on: no program is compared, nor are bits promised."""
    monkeypatch.setattr(jax, "__version__", "9.9.9")
    with pytest.warns(RuntimeWarning, match=r"jax \(0.* there, 9.9.9 here\).* not bit for bit"):
        assert saved(points, copy, {"resume": True}).history.start == 30


def test_folders_that_are_refused(points, two, tmp_path):
    with pytest.raises(InputError, match="a run was saved at step 30; go on with it by --resume"):
        saved(points, two)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"in which there is 'notes.txt'; name another folder"):
        saved(points, tmp_path)
    with pytest.raises(InputError, match=r"expected a folder, got the file .*notes.txt"):
        saved(points, tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"that can be written to, got "):
        saved(points, "/proc/handgrad")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_arguments_that_are_refused(tmp_path):
    for bad in ({"every_steps": 0}, {"every_seconds": 0.0}, {"every_seconds": np.nan}, {"keep": 0}):
        with pytest.raises(InputError, match=f"{next(iter(bad))}: expected a .*number above 0"):
            Checkpoints(tmp_path, **bad)


def test_two_runs_at_once_are_refused(points, tmp_path):
    """The other one is a process of its own, and when it is gone the folder is free."""
    code = (
        "import sys, time; from pathlib import Path; from handgrad.scale.checkpoints import lock;"
        f"lock(Path({str(tmp_path)!r})); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"which process {other.pid} writes to; wait for it"):
            saved(points, tmp_path)
        other.kill()
    saved(points, tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_extra_is_named(points, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'handgrad\[checkpoint\]'"):
        saved(points, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


# ---- a disk that refuses


def test_a_save_that_fails_costs_only_itself(points, tmp_path, monkeypatch):
    """Before every file in turn that a checkpoint has; half of it is never left behind."""
    real, calls = checkpoint_file.save_arrays, []

    def refuses(folder, arrays):
        calls.append(folder)
        real(folder, arrays)
        if len(calls) in (2, 3):
            raise ValueError("RESOURCE_EXHAUSTED: writing: No space left on device [errno 28]")

    monkeypatch.setattr(checkpoint_file, "save_arrays", refuses)
    said = []
    result = saved(points, tmp_path, warn=said.append)
    assert said == [
        f"step 20 could not be saved in {tmp_path} (No space left on device); training goes on, "
        "step 10 is saved, and it is tried again when the next is due",
        f"step 40 could be saved again in {tmp_path}",
    ]
    assert list(steps_in(tmp_path)) == [60, 50]
    assert result.history.unsaved == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "step-50", "step-60"]
    assert same(result, fit(logistic.model(0.1), *points, batch_size="full", epochs=60))


def test_an_end_that_cannot_be_saved_is_in_the_history(points, tmp_path, monkeypatch):
    def refuses(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "save_arrays", refuses)
    with pytest.warns(
        RuntimeWarning, match=r"step 10 could not be .*; training goes on, nothing is"
    ):
        result = saved(points, tmp_path)
    assert result.history.unsaved == "No space left on device"
    assert result.history.end == 60


def test_what_a_crash_leaves_is_removed(points, copy):
    shutil.copytree(copy / "step-30", copy / "step-40.part")
    (copy / "step-10.gone").mkdir()
    saved(points, copy, {"resume": True})
    assert sorted(p.name for p in copy.iterdir()) == ["lock", "step-50", "step-60"]


def test_a_crash_at_every_call_of_a_save(points, copy, tmp_path, monkeypatch):
    """Killed before each rename, write and removal of a save: the newest whole one is taken."""
    whole = fit(logistic.model(0.1), *points, batch_size="full", epochs=60)
    names = ("mkdir", "write_text", "write_bytes", "rename", "unlink")
    for number in range(60):
        run, count = Path(shutil.copytree(copy, tmp_path / f"run{number}")), Countdown(number)
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(Path, name, count.before(getattr(Path, name), run))
            patch.setattr(
                checkpoint_file, "_remove_tree", count.before(checkpoint_file._remove_tree, run)
            )
            try:
                saved(points, run, {"resume": True, "epochs": 50})
            except Killed:
                pass
            else:
                assert number > 10
                break
        assert same(saved(points, run, {"resume": True}), whole)
    else:
        pytest.fail("no run came to its end")


class Countdown:
    """Lets so many calls pass; the next one is a kill."""

    def __init__(self, calls):
        self.left = calls

    def before(self, real, folder):
        def counted(path, *args, **options):
            if folder in path.parents:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return real(path, *args, **options)

        return counted


# ---- reading is safe


class Bomb:
    """Pickled, it runs code when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def seal(checkpoint):
    """Sums that fit, as whoever makes a checkpoint can write them."""
    (checkpoint / checkpoint_file.SUMS).write_bytes(checkpoint_file.digests(checkpoint))


def hostile(checkpoint, how, mark):
    """Make a checkpoint of somebody else's making, with sums that are right."""
    arrays = checkpoint / "arrays"
    if how == "pickle":
        (arrays / "state" / "0").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "pickled json":
        (checkpoint / "run.json").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "object array":
        about = json.loads((arrays / "state" / ".zarray").read_text())
        about |= {"dtype": "|O", "filters": [{"id": "pickle"}]}
        (arrays / "state" / ".zarray").write_text(json.dumps(about))
        (arrays / "state" / "0").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "huge":
        about = json.loads((arrays / "state" / ".zarray").read_text())
        about |= {"shape": [10**12], "chunks": [10**12]}
        (arrays / "state" / ".zarray").write_text(json.dumps(about))
    elif how == "ocdbt":
        (arrays / "manifest.ocdbt").write_bytes(b"points elsewhere")
    elif how == "names outside":
        text = (arrays / "_METADATA").read_text()
        (arrays / "_METADATA").write_text(text.replace("state", "../../step-20/arrays/state"))
    elif how == "deep":
        (checkpoint / "run.json").write_text("[" * 100_000)
    elif how == "no run":
        (checkpoint / "run.json").write_text('{"step": 30}')
    seal(checkpoint)


@pytest.mark.parametrize(
    "how",
    ["pickle", "pickled json", "object array", "huge", "ocdbt", "names outside", "deep", "no run"],
)
def test_a_checkpoint_cannot_run_code_nor_crash(points, copy, how, tmp_path):
    mark, said = tmp_path / "ran", []
    hostile(copy / "step-30", how, mark)
    resumed = saved(points, copy, {"resume": True}, warn=said.append)
    assert not mark.exists()
    assert resumed.history.start == 20
    assert len(said) == 1
    assert re.search("step-30 is (damaged: |of another program)", said[0])
    assert "\n" not in said[0]


def test_the_bomb_goes_off_where_pickles_are_read(tmp_path):
    """The test above can fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["arrays/state/0", "arrays/state", "run.json"])
def test_a_link_is_not_followed(copy, name, tmp_path):
    path, elsewhere = copy / "step-30" / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(DamagedError, match=f"{name} is not a plain file"):
        read_facts(copy / "step-30")


def test_removing_does_not_follow_a_link(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thing").write_text("mine")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "step-1.part").symlink_to(tmp_path / "precious")
    checkpoint_file.remove_leftovers(tmp_path / "saved")
    assert (tmp_path / "precious" / "thing").exists()
    assert not (tmp_path / "saved" / "step-1.part").is_symlink()


# ---- pieces


def test_differences_are_words_where_there_are_any():
    ours = {"a": 1, "b": "x" * 50, "c": 3}
    assert differences(ours, ours) == []
    assert differences(ours | {"a": 2}, ours) == ["a (2 there, 1 here)"]
    assert differences(ours | {"b": "y" * 50}, ours) == ["b"]
    assert differences(ours | {"a": 2, "b": "y" * 50}, ours) == ["a (2 there, 1 here)"]
    assert differences(ours | {"b": "y" * 50}, ours, leave_out="b") == []
    assert differences({}, {"a": 1}) == ["a (None there, 1 here)"]


def test_the_program_is_the_same_in_another_process(points):
    """No address, no order of a set is in it."""
    code = (
        "import jax, jax.numpy as jnp; from handgrad.gradients import mlp;"
        "from handgrad.train import adam; from handgrad.train.batches import Batches;"
        "from handgrad.train.api import program_digest;"
        "from handgrad.train.loop import Solver;"
        "m = mlp.model((3,), 'relu', 0.1); solver = Solver(m.value_and_gradient, adam(0.01));"
        "s = solver.init(m.init(jax.random.key(0), 2, 3, jnp.float32));"
        "x, y = jnp.ones((5, 2)), jnp.zeros(5, int);"
        "b = Batches.of(5, 2, True, jax.random.key(0));"
        "print(program_digest(solver, b, s, (x, y)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True, timeout=300,
        ).stdout for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1
    assert len(found.pop().strip()) == 32


def test_arrays_come_back_as_they_were(tmp_path):
    """−0, NaN and the extremes, scalars, and arrays without a number in them."""
    arrays = [
        np.array([-0.0, 0.0, np.nan, np.inf, 1e-45, 3e38], "float32"), np.array(7, "int32"),
        np.zeros((3, 0), "float64"), np.zeros((2, 3), "float64"), np.array([True, False]),
        np.array([1, 2], "uint32"),
    ]  # fmt: skip
    checkpoint_file.save_arrays(tmp_path / "a", arrays)
    found = checkpoint_file.load_arrays(tmp_path / "a", arrays)
    for array, back in zip(arrays, found, strict=True):
        assert (array.shape, array.dtype) == (back.shape, back.dtype)
        assert array.tobytes() == back.tobytes()
    with pytest.raises(ValueError, match="state is not an array of 68 bytes"):
        checkpoint_file.load_arrays(tmp_path / "a", [np.zeros(6, "uint8"), *arrays[1:]])


def test_identity_is_of_values_not_of_objects(points):
    x, y = map(jnp.asarray, points)
    from handgrad.train import sgd

    def of(rate):
        solver = Solver(logistic.model(0.1).value_and_gradient, sgd(rate))
        state = solver.init(logistic.init(jax.random.key(0), 3))
        batches = Batches.of(50, 7, True, jax.random.key(1))
        return fingerprint(solver, batches, state, (x, y))

    assert of(0.1) == of(0.1)
    assert differences(of(0.1), of(0.1000001)) == [PROGRAM]
    assert json.loads(json.dumps(of(0.1))) == of(0.1)


def test_orbax_is_loaded_only_when_it_is_used():
    code = (
        "import sys, handgrad.train, handgrad.cli.train; print('orbax' in str(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n"


def test_the_default_is_to_warn():
    with pytest.warns(RuntimeWarning, match="like this"):
        checkpoints.warn("like this")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(points, tmp_path):
    saved(points, tmp_path / "saved")
    newest = next(iter(steps_in(tmp_path / "saved").values()))
    (newest / checkpoint_file.SUMS).unlink()
    os.mkfifo(newest / checkpoint_file.SUMS)
    with pytest.raises(DamagedError, match="is not a plain file"):
        read_facts(newest)
