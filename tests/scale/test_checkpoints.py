"""Checkpoints of a run that counts: resumed to the same bits, and every changed bit is seen."""

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
import pytest

from handgrad.errors import InputError, MissingExtraError
from handgrad.scale import checkpoints
from handgrad.scale.checkpoints import (
    PROGRAM,
    Checkpoints,
    DamagedError,
    describe_leaf,
    differences,
    digest,
    lock_folder,
    read_facts,
    steps_in,
)

pytest.importorskip("orbax.checkpoint")

START = {
    "key": jax.random.key(3),
    "count": np.int32(0),
    "w": np.array([-0.0, np.nan, 1e-45, 3e38], "float32"),
}
FACTS = {"x": "float32[50,3]", "batch size": 50, PROGRAM: "1" * 32, "values of x and y": "2" * 32}


class Killed(BaseException):
    """Ends a run as a kill does: nothing after it is done."""


def counted(folder, until=60, *, resume=False, kill_at=None, facts=FACTS, **options):
    """Count to `until`, with a checkpoint every ten steps; the state, and where it began."""
    options = {"every_steps": 10, "every_seconds": None} | options
    with Checkpoints(folder, **options).open(START, facts, resume) as saver:
        state = saver.state
        for step in range(saver.start + 1, until + 1):
            if step == kill_at:
                raise Killed
            key, w = jax.random.split(state["key"])[0], np.roll(np.asarray(state["w"]), 1)
            state = {"key": key, "count": np.int32(step), "w": w}
            saver.save_if_due(state, step)
        saver.save(state, until)
    return state, saver


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return counted(tmp_path_factory.mktemp("whole"))[0]


def same(state, other):
    return digest(state) == digest(other)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the checkpoints of steps 20 and 30 of a run that was killed."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Killed):
        counted(folder, kill_at=31)
    assert list(steps_in(folder)) == [30, 20]
    return folder


@pytest.fixture
def copy(two, tmp_path):
    """The same, for a test to spoil."""
    return Path(shutil.copytree(two, tmp_path / "copy"))


@pytest.mark.parametrize("at", [1, 11, 40, 60])
def test_a_killed_run_is_resumed_to_the_same_bits(whole, tmp_path, at):
    with pytest.raises(Killed):
        counted(tmp_path, kill_at=at)
    state, saver = counted(tmp_path, resume=True)
    assert saver.start == (at - 1) // 10 * 10
    assert same(state, whole)
    assert int(state["count"]) == 60


def test_what_is_kept_and_when(tmp_path):
    counted(tmp_path, every_steps=13, keep=3)
    assert list(steps_in(tmp_path)) == [60, 52, 39]  # 60 is the end
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "step-39", "step-52", "step-60"]
    counted(tmp_path / "a", 3, every_steps=None, every_seconds=1e-6)
    assert list(steps_in(tmp_path / "a")) == [3, 2]
    counted(tmp_path / "b", every_steps=None, every_seconds=1e6)
    assert list(steps_in(tmp_path / "b")) == [60, 1]  # the first at once
    with Checkpoints(tmp_path / "c", every_steps=8, every_seconds=None).open(START, {}, False) as s:
        assert [s.steps_until_due(done) for done in (0, 7, 8)] == [8, 1, 8]


def test_a_longer_run_goes_on_from_a_shorter(two, copy):
    state, saver = counted(copy, 90, resume=True)
    assert (saver.start, int(state["count"])) == (30, 90)


# ---- what is refused


def files_in(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_bit_is_seen(copy, stride):
    """Each byte of each file of a checkpoint with one bit flipped, in turn."""
    checkpoint, tried = copy / "step-30", 0
    for file in files_in(checkpoint):
        content = file.read_bytes()
        for place in range(0, len(content), stride):
            harmed = bytearray(content)
            harmed[place] ^= 1 << (place % 8)
            file.write_bytes(harmed)
            with pytest.raises(DamagedError):
                read_facts(checkpoint)
            tried += 1
        file.write_bytes(content)
    assert read_facts(checkpoint)["step"] == 30
    assert tried > 1_500 / stride


def test_every_length_is_seen(copy):
    """Each file cut to every seventh shorter length, longer by a byte, and gone; one too many."""
    checkpoint = copy / "step-30"
    for file in files_in(checkpoint):
        content = file.read_bytes()
        for length in [*range(0, len(content), 7), len(content) - 1, len(content) + 1]:
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
def test_the_one_before_is_used(whole, copy, name):
    """And the damaged one is set aside, with a message that names the file."""
    said, path = [], copy / "step-30" / name
    path.write_bytes(path.read_bytes()[:-3])
    state, saver = counted(copy, resume=True, warn=said.append)
    assert saver.start == 20
    assert same(state, whole)
    fault = "SHA256SUMS does not fit the files" if name == "SHA256SUMS" else f"{name} is not as it"
    assert len(said) == 1
    assert f"step-30 is damaged: {fault}" in said[0]
    assert "set aside as step-30.refused, and the one before is used" in said[0]
    assert (copy / "step-30.refused").is_dir()
    counted(copy, 60, resume=True, warn=said.append)  # and that folder may stay there
    assert len(said) == 1


def test_none_left_is_an_error_that_changes_nothing(copy):
    for step in (20, 30):
        (copy / f"step-{step}" / "arrays" / "state" / "0").unlink()
    before = sorted(copy.rglob("*"))
    with pytest.raises(InputError, match=r"step-30, which is damaged: arrays/state/0 is missing; "):
        counted(copy, resume=True)
    assert sorted(copy.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch size": 25}, r"batch size \(50 there, 25 here\); give"),
        ({PROGRAM: "3" * 32}, PROGRAM),
        ({"x": "float32[49,3]"}, r"x \(float32\[50,3\] there, float32\[49,3\] here\)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(copy, change, words):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"step-30, which is of another run: other {words}"):
        counted(copy, resume=True, facts=FACTS | change)
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert {p for p in after if before.get(p) != after[p]} <= {copy / "lock"}


def test_a_foreign_one_on_top_is_passed_over(copy, tmp_path):
    counted(tmp_path / "other", 40, facts=FACTS | {PROGRAM: "3" * 32})
    shutil.copytree(tmp_path / "other" / "step-40", copy / "step-40")
    said = []
    assert counted(copy, 31, resume=True, warn=said.append)[1].start == 30
    assert PROGRAM in said[0]
    assert (copy / "step-40.refused").is_dir()


def test_a_checkpoint_under_the_name_of_another_step(copy):
    (copy / "step-30").rename(copy / "step-35")
    with pytest.raises(DamagedError, match=r"run.json is not of this step"):
        read_facts(copy / "step-35")


def test_another_version_is_said(copy, monkeypatch):
    """The run goes on: no program is compared, nor are bits promised."""
    monkeypatch.setattr(jax, "__version__", "9.9.9")
    with pytest.warns(RuntimeWarning, match=r"jax \(0.* there, 9.9.9 here\).* not bit for bit"):
        assert counted(copy, 31, resume=True, facts=FACTS | {PROGRAM: "3" * 32})[1].start == 30


def test_folders_that_are_refused(two, tmp_path):
    with pytest.raises(InputError, match="a run was saved at step 30; go on with it by --resume"):
        counted(two)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"in which there is 'notes.txt'; name another folder"):
        counted(tmp_path)
    with pytest.raises(InputError, match=r"expected a folder, got the file .*notes.txt"):
        counted(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"that can be written to, got "):
        counted("/proc/handgrad")
    with pytest.raises(InputError, match=r"that can be written to, got File name too long"):
        counted(tmp_path / ("a" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_arguments_that_are_refused(tmp_path):
    for bad in ({"every_steps": 0}, {"every_seconds": 0.0}, {"every_seconds": np.nan}, {"keep": 0}):
        with pytest.raises(InputError, match=f"{next(iter(bad))}: expected a .*number above 0"):
            Checkpoints(tmp_path, **bad)


LOCKING = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("locked", flush=True)
time.sleep(600)
"""


def test_two_runs_at_once_are_refused(tmp_path):
    """The other one is a process of its own, and when it is gone the folder is free."""
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-S", "-c", LOCKING, lock], stdout=-1) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"which process {other.pid} writes to; wait for it"):
            counted(tmp_path)
        other.kill()
    counted(tmp_path)
    assert lock.read_text() == f"{os.getpid()}\n"
    free = tmp_path / "free"
    with lock_folder(free), pytest.raises(InputError, match=f"process {os.getpid()} writes"):
        counted(free)


def test_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'handgrad\[checkpoint\]'"):
        counted(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


# ---- a disk that refuses


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_without_room_for_the_lock(tmp_path):
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"checkpoint: expected a folder .* written to"):
        counted(tmp_path)


def test_a_save_that_fails_costs_only_itself(whole, tmp_path, monkeypatch):
    """After the arrays are written; half of a checkpoint is never left behind."""
    real, calls = checkpoints.save_arrays, []

    def refuses(folder, arrays):
        calls.append(folder)
        real(folder, arrays)
        if len(calls) in (2, 3):
            raise ValueError("RESOURCE_EXHAUSTED: writing: No space left on device [errno 28]")

    monkeypatch.setattr(checkpoints, "save_arrays", refuses)
    said = []
    state, saver = counted(tmp_path, warn=said.append)
    assert said == [
        f"step 20 could not be saved in {tmp_path} (No space left on device); training goes on, "
        "step 10 is saved, and it is tried again when the next is due",
        f"step 40 could be saved again in {tmp_path}",
    ]
    assert saver.failure is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "step-50", "step-60"]
    assert same(state, whole)


def test_an_end_that_cannot_be_saved_is_known(tmp_path, monkeypatch):
    def refuses(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_arrays", refuses)
    with pytest.warns(RuntimeWarning, match=r"step 10 could not be .*on, nothing is saved yet"):
        _, saver = counted(tmp_path)
    assert saver.failure == "No space left on device"


def test_what_a_crash_leaves_is_removed(copy):
    shutil.copytree(copy / "step-30", copy / "step-40.part")
    (copy / "step-10.gone").mkdir()
    counted(copy, resume=True)
    assert sorted(p.name for p in copy.iterdir()) == ["lock", "step-50", "step-60"]


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_every_call_of_a_save(whole, copy, tmp_path, monkeypatch, stride):
    """Killed before each rename, write and removal of a save: the newest whole one is taken."""
    names = ("mkdir", "write_text", "write_bytes", "rename", "unlink")
    for number in range(0, 60, stride):
        run, count = Path(shutil.copytree(copy, tmp_path / f"run{number}")), Countdown(number)
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(Path, name, count.before(getattr(Path, name), run))
            remove_tree = count.before(checkpoints._remove_tree, run)
            patch.setattr(checkpoints, "_remove_tree", remove_tree)
            try:
                counted(run, 50, resume=True)
            except Killed:
                pass
            else:
                assert number > 10
                break
        assert same(counted(run, resume=True)[0], whole)
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


def hostile(checkpoint, how, mark):
    """Make a checkpoint of somebody else's making, with sums that are right."""
    arrays = checkpoint / "arrays"
    about = json.loads((arrays / "state" / ".zarray").read_text())
    if how == "pickle":
        (arrays / "state" / "0").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "pickled json":
        (checkpoint / "run.json").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "object array":
        about |= {"dtype": "|O", "filters": [{"id": "pickle"}]}
        (arrays / "state" / ".zarray").write_text(json.dumps(about))
        (arrays / "state" / "0").write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "huge":
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
    (checkpoint / checkpoints.SUMS).write_bytes(checkpoints.digests(checkpoint))


@pytest.mark.parametrize(
    "how",
    ["pickle", "pickled json", "object array", "huge", "ocdbt", "names outside", "deep", "no run"],
)
def test_a_checkpoint_cannot_run_code_nor_crash(copy, how, tmp_path):
    mark, said = tmp_path / "ran", []
    hostile(copy / "step-30", how, mark)
    assert counted(copy, 21, resume=True, warn=said.append)[1].start == 20
    assert not mark.exists()
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
    checkpoints.remove_leftovers(tmp_path / "saved")
    assert (tmp_path / "precious" / "thing").exists()
    assert not (tmp_path / "saved" / "step-1.part").is_symlink()


def test_a_pipe_in_place_of_a_file_is_not_waited_for(copy):
    (copy / "step-30" / checkpoints.SUMS).unlink()
    os.mkfifo(copy / "step-30" / checkpoints.SUMS)
    with pytest.raises(DamagedError, match="is not a plain file"):
        read_facts(copy / "step-30")


# ---- pieces


def test_differences_are_words_where_there_are_any():
    ours = {"a": 1, "b": "x" * 50, "c": 3}
    assert differences(ours, ours) == []
    assert differences(ours | {"a": 2}, ours) == ["a (2 there, 1 here)"]
    assert differences(ours | {"b": "y" * 50}, ours) == ["b"]
    assert differences(ours | {"a": 2, "b": "y" * 50}, ours) == ["a (2 there, 1 here)"]
    assert differences(ours | {"b": "y" * 50}, ours, leave_out="b") == []
    assert differences({}, {"a": 1}) == ["a (None there, 1 here)"]


def test_arrays_come_back_as_they_were(tmp_path):
    """−0, NaN and the extremes, scalars, and arrays without a number in them."""
    arrays = [
        np.array([-0.0, 0.0, np.nan, np.inf, 1e-45, 3e38], "float32"), np.array(7, "int32"),
        np.zeros((3, 0), "float64"), np.zeros((2, 3), "float64"), np.array([True, False]),
        np.array([1, 2], "uint32"),
    ]  # fmt: skip
    checkpoints.save_arrays(tmp_path / "a", arrays)
    found = checkpoints.load_arrays(tmp_path / "a", arrays)
    for array, back in zip(arrays, found, strict=True):
        assert (array.shape, array.dtype) == (back.shape, back.dtype)
        assert array.tobytes() == back.tobytes()
    with pytest.raises(ValueError, match="state is not an array of 68 bytes"):
        checkpoints.load_arrays(tmp_path / "a", [np.zeros(6, "uint8"), *arrays[1:]])


def test_a_digest_is_of_values_shapes_and_keys():
    array = np.arange(6, dtype="float32")
    found = {digest(t) for t in (array, array[:5], array.reshape(2, 3), -array, jax.random.key(0))}
    assert len(found) == 5
    assert digest((array,)) == digest((jnp.asarray(array),))
    assert describe_leaf(array.reshape(2, 3)) == "float32[2,3]"


def test_the_default_is_to_warn():
    with pytest.warns(RuntimeWarning, match="like this"):
        checkpoints.warn("like this")
