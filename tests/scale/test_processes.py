"""Several real processes on the loopback: the result of one, and an end in words where one is lost.

`make processes` runs all; the default tests have a sample.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import child
import jax
import numpy as np
import pytest
from processes import HANDGRAD, Together, environment, free_port, handgrad_train

from handgrad._precision import x64
from handgrad.train.comparison import parameter_difference

BOUND = 1e-12
"""How far the parameters may be from those of one process, relative to the largest, in float64."""
ENDLESS = ("breast-cancer", "--batch-size", "full", "--dtype", "float64", "--epochs", "1000000")
MOST_SECONDS = 60
"""Until the others stop once one is lost."""


def options(data, batch_size, epochs):
    return (data, "--dtype", "float64", "--batch-size", str(batch_size), "--epochs", str(epochs))


def parameters(path):
    """What --params has written, by name."""
    with np.load(path) as found:
        return dict(found)


def trained_by_one(folder, *given):
    """The parameters that one process without a coordinator ends with."""
    path = folder / "one.npz"
    command = [*HANDGRAD, "train", *given, "--devices", "1", "--params", str(path)]
    subprocess.run(command, check=True, timeout=600, env=environment(), capture_output=True)
    return parameters(path)


def trained_by(processes, folder, *given, devices=1):
    """The parameters that several end with; the first one speaks, the others are silent."""
    path = folder / f"{processes}.npz"
    commands = handgrad_train(processes, *given, "--params", str(path))
    with Together(folder, commands, environment(devices)) as run:
        first, *others = run.ended(900)
    assert first.code == 0, first.err
    assert "largest difference of the parameters" in first.out
    assert "Gloo" not in first.out
    assert [(other.code, other.out, other.err) for other in others] == [(0, "", "")] * len(others)
    return parameters(path)


def assert_same(one, several, label):
    difference = parameter_difference(one, several).relative
    print(f"{label}: {difference:.1e} of the largest parameter")  # noqa: T201
    assert difference <= BOUND, label


def test_two_train_as_one_and_one_that_is_killed_is_named(tmp_path):
    """The sample of all that follows: no command, small data."""
    where = f"127.0.0.1:{free_port()}"
    script = [sys.executable, str(Path(child.__file__)), where]
    commands = [[*script, str(number), str(tmp_path / "params")] for number in range(2)]
    with Together(tmp_path, commands, environment() | {"JAX_ENABLE_X64": "1"}) as run:
        run.wait_until("trained")
        run.processes[1].kill()
        survivor, _ = run.ended(2 * MOST_SECONDS)
    assert survivor.code == 2, survivor
    assert "process 1 of 2 was lost: its connection closed" in survivor.err
    assert survivor.seconds < MOST_SECONDS
    with x64():
        one = child.train(20, mesh=1, batch_size=8)
    found = list(parameters(tmp_path / "params.npz").values())
    assert_same(jax.tree.leaves(one.params), found, "batches of 8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "batch_size", "epochs"),
    [
        ("breast-cancer", "full", 300),
        ("breast-cancer", 32, 40),
        ("flights", "full", 30),
        ("flights", 4096, 3),
    ],
)
def test_two_and_four_processes_give_the_result_of_one(tmp_path, data, batch_size, epochs):
    given = options(data, batch_size, epochs)
    one = trained_by_one(tmp_path, *given)
    for processes, devices in ((2, 1), (4, 1), (2, 2)):
        several = trained_by(processes, tmp_path, *given, devices=devices)
        label = f"{data}, batches of {batch_size}, {processes} processes of {devices} devices"
        assert_same(one, several, label)


def lose(folder, processes, victim, how=signal.SIGKILL, given=ENDLESS, saved=None):
    """Kill one process while they train; how the others ended, and what they were told.

    `saved`: wait until there is a checkpoint there, else until the first steps are taken.
    """
    log = folder / "log.jsonl"
    commands = handgrad_train(processes, *given, *(() if saved else ("--log", str(log))))
    with Together(folder, commands, environment()) as run:
        run.wait_for(lambda: saved.glob("step-*") if saved else log.exists() and log.read_text())
        run.processes[victim].send_signal(how)
        ended = run.ended(2 * MOST_SECONDS)
    return [one for number, one in enumerate(ended) if number != victim]


@pytest.mark.slow
def test_one_of_three_is_killed(tmp_path):
    for survivor in lose(tmp_path, 3, 1):
        assert survivor.code == 2, survivor
        assert "error: process 1 of 3 was lost: its connection closed" in survivor.err
        assert "Traceback" not in survivor.err
        assert survivor.seconds < MOST_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_one_of_four_is_killed_and_all_start_again(tmp_path, victim):
    """The others stop and say who it was; with --resume the end is that of an undisturbed run."""
    given = (*options("breast-cancer", 32, 400), "--every-steps", "100")
    undisturbed = trained_by(4, tmp_path, *given[:-2])
    given = (*given, "--checkpoint", str(tmp_path / "saved"))
    survivors = lose(tmp_path, 4, victim, given=given, saved=tmp_path / "saved" / "hand")
    who = "process 0 of 4, the coordinator," if victim == 0 else f"process {victim} of 4"
    for survivor in survivors:
        last = survivor.err.splitlines()[-1]
        print(f"{survivor.seconds:.1f} s, exit {survivor.code}: {last}")  # noqa: T201
        assert survivor.seconds < MOST_SECONDS
        if victim == 0 and survivor.code == -signal.SIGABRT:
            assert "another task died" in survivor.err  # JAX was faster, and said it its way
            continue
        assert survivor.code == 2
        assert f"{who} was lost" in survivor.err
    resumed = trained_by(4, tmp_path, *given, "--resume")
    for name, values in undisturbed.items():
        np.testing.assert_array_equal(resumed[name], values)


@pytest.mark.slow
def test_one_that_only_falls_silent_is_lost_too(tmp_path):
    for survivor in lose(tmp_path, 3, 2, signal.SIGSTOP):
        assert survivor.code == 2
        assert "process 2 of 3 was lost: nothing came from it for 20 s" in survivor.err
        assert survivor.seconds < MOST_SECONDS


@pytest.mark.slow
def test_ctrl_c_at_one_stops_all_after_the_same_step(tmp_path):
    given = (*ENDLESS, "--checkpoint", str(tmp_path / "saved"), "--every-steps", "50")
    with Together(tmp_path, handgrad_train(3, *given), environment()) as run:
        run.wait_for(lambda: (tmp_path / "saved" / "hand").glob("step-*"))
        run.processes[1].send_signal(signal.SIGINT)
        first, *others = run.ended(120)
    assert first.code == 128 + signal.SIGINT, first
    assert "saved in" in first.out
    assert [other.code for other in others] == [128 + signal.SIGINT] * 2


@pytest.mark.slow
def test_a_divergence_is_seen_by_all(tmp_path):
    commands = handgrad_train(2, "breast-cancer", "--learning-rate", "1e38")
    with Together(tmp_path, commands, environment()) as run:
        first, second = run.ended()
    assert first.code == second.code == 2
    assert "training diverged" in first.err


@pytest.mark.slow
def test_jax_finds_the_cluster_by_itself(tmp_path):
    """As SLURM sets it up, on one machine."""
    env = environment() | {
        "SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
    }  # fmt: skip
    commands = [
        ["env", f"SLURM_PROCID={n}", f"SLURM_LOCALID={n}", *HANDGRAD, "train", "iris",
         "--epochs", "5", "--coordinator", "auto"]
        for n in range(2)
    ]  # fmt: skip
    with Together(tmp_path, commands, os.environ | env) as run:
        first, second = run.ended()
    assert first.code == second.code == 0, first.err
    assert "largest difference" in first.out
    assert second.out == ""
