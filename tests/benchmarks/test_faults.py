"""Training killed and its checkpoints damaged: really, and by a server that acts as if."""

import json
import os
import random
import signal

import pytest

from benchmarks.faults import corruption_tests, kill_tests, runs
from benchmarks.faults.__main__ import SERVER, faults

SIDES = ("hand", "optax")


@pytest.mark.slow
def test_a_sample(script, tmp_path):
    """Two kills, one damaged checkpoint and, where disks can be mounted, a full one."""
    path = tmp_path / "faults.json"
    ran = script(faults, "--kills", 2, "--harms", 1, "--disks", 1, "--json", path)
    assert (ran.code, ran.err) == (0, ""), ran.out
    found = json.loads(path.read_text())
    assert [trial["same"] for trial in found["kills"]] == [True, True]
    assert found["damages"]
    assert all(trial["same"] and trial["told"] for trial in found["damages"])
    assert "2 of 2" in ran.out


def test_a_run_that_is_refused_and_one_that_is_killed(tmp_path):
    """The server forks the real command for each."""
    server = runs.Server(SERVER, tmp_path / "cache")
    try:
        refused = server.run(["iris", "--epochs", "0"], tmp_path)
        killed = server.run(
            ["iris"], tmp_path, lambda process, still: os.kill(process, signal.SIGKILL)
        )
    finally:
        server.close()
    assert (refused.code, refused.clear) == (2, True)
    assert "epochs: expected a whole number above 0" in refused.out
    assert (killed.code, killed.clear) == (-signal.SIGKILL, False)


def test_bad_options_are_refused_before_any_work(script):
    ran = script(faults, "--kills", -1)
    assert (ran.code, ran.out) == (2, "")
    assert "kills: expected a whole number of 0 or more, got -1" in ran.err


class Acting:
    """A server whose runs are answered by a list: parameters, step resumed at, exit code, words."""

    def __init__(self, *answers):
        self.answers = iter(answers)

    def run(self, args, folder, meanwhile=None):
        params, step, code, words = next(self.answers)
        (folder / "params.npz").write_bytes(params)
        for side in SIDES:
            (folder / "saved" / side / "step-40").mkdir(parents=True, exist_ok=True)
            (folder / "saved" / side / "step-40" / "arrays").write_bytes(b"0123456789")
        if step is not None:
            event = {"event": "resumed", "step": step}
            text = "".join(json.dumps(event | {"side": side}) + "\n" for side in SIDES)
            (folder / "log.jsonl").write_text(text)
        if "damaged" in words:
            (folder / "saved" / "hand" / "step-40.refused").mkdir()
        return runs.Ended(code, words)


@pytest.mark.parametrize(
    ("params", "step", "ok"), [(b"right", 40, True), (b"wrong", 40, False), (b"right", 0, False)]
)
def test_a_lost_interval_and_another_bit_are_seen(tmp_path, params, step, ok):
    server = Acting((b"right", 0, 0, ""), (b"", 40, -signal.SIGKILL, ""), (params, step, 0, ""))
    (trial,) = kill_tests.trials(server, runs.KINDS[0], 1, tmp_path)
    assert trial.ok is ok


@pytest.mark.parametrize(
    ("params", "words", "ok"),
    [
        (b"right", "step-40 is damaged", True),
        (b"right", "", False),
        (b"wrong", "step-40 is damaged", False),
        (b"right", "step-40 is damaged\nTraceback", False),
    ],
)
def test_a_damage_that_is_not_told_or_not_survived_is_seen(tmp_path, params, words, ok):
    server = Acting((b"right", 0, 0, ""), (b"", 40, -signal.SIGKILL, ""), (params, 0, 0, words))
    (trial,) = corruption_tests.corrupted(server, runs.KINDS[1], tmp_path, limit=1)
    assert trial.ok is ok


@pytest.mark.parametrize("how", corruption_tests.CORRUPTIONS)
def test_a_file_is_damaged(tmp_path, how):
    file = tmp_path / "arrays"
    file.write_bytes(b"0123456789")
    corruption_tests._corrupt(file, how, random.Random(0))
    if how == corruption_tests.GONE:
        assert not file.exists()
    else:
        assert file.read_bytes() != b"0123456789"
        assert (len(file.read_bytes()) < 10) == (how == corruption_tests.CUT)


def test_a_run_that_is_told_to_wait_for_a_save(tmp_path):
    """The moment comes once a folder half written has been seen often enough."""
    folder, number = tmp_path / "saved" / "hand", 0
    chance = random.Random(0)
    wait = kill_tests._moment(kill_tests.SAVING, tmp_path, chance)

    def still():
        nonlocal number
        number += 1
        (folder / f"step-{number}.part").mkdir(parents=True)
        return number < 100

    assert wait(still)
    assert number <= 22
    assert not kill_tests._moment(kill_tests.TRAINING, tmp_path, chance)(lambda: False)
