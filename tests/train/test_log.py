"""The record of a run: whole lines, in order, appended to when the run goes on."""

import json
import os

import jax
import numpy as np
import pytest

from handgrad.errors import DivergedError, InputError
from handgrad.gradients import logistic
from handgrad.scale.checkpoints import Checkpoints
from handgrad.train import fit, log
from handgrad.train.log import RunLog

X, Y = np.array([[-1.0], [1.0]], "float32"), np.array([0, 1])


def lines(path):
    content = path.read_text()
    assert content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def run(path, **options):
    return fit(
        logistic.model(), X, Y, **{"batch_size": "full", "epochs": 25, "log": path} | options
    )


def test_what_is_in_it(tmp_path):
    path = tmp_path / "log.jsonl"
    result = run(path, tol=0.0)
    first, *chunks, last = lines(path)
    assert (first["event"], first["step"], first["steps"]) == ("start", 0, 25)
    assert first["batch size"] == 2
    assert {chunk["event"] for chunk in chunks} == {"progress"}
    assert [chunk["step"] for chunk in chunks] == list(range(1, 26))
    looked = [chunk for chunk in chunks if chunk["gradient_max"] is not None]
    assert [chunk["step"] for chunk in looked] == result.history.steps.tolist() == [10, 20, 25]
    assert [chunk["loss"] for chunk in looked] == result.history.losses.tolist()
    assert all(chunk["steps_per_second"] > 0 for chunk in chunks)
    assert (last["event"], last["stopped"], last["step"]) == ("end", "epochs", 25)
    times = [line["time"] for line in lines(path)]
    assert times == sorted(times)


def test_every_line_is_there_when_its_chunk_is_done(tmp_path):
    """A reader that follows the file sees whole lines only."""
    path, seen = tmp_path / "log.jsonl", []
    run(path, tol=0.0, progress=lambda p: seen.append(lines(path)[-1].get("step")))
    assert seen == list(range(25))  # progress is told before the line is written


def test_a_resumed_run_goes_on_in_it_and_a_torn_line_is_cut_off(tmp_path):
    path, keep = tmp_path / "log.jsonl", Checkpoints(tmp_path / "saved")
    run(path, checkpoint=keep, epochs=10)
    before = lines(path)
    with path.open("a") as file:
        file.write('{"event": "progress", "time": 17')
    run(path, checkpoint=keep, resume=True)
    after = lines(path)
    assert after[: len(before)] == before
    assert (after[len(before)]["event"], after[len(before)]["step"]) == ("resumed", 10)
    assert after[-1]["step"] == 25


def test_a_diverging_run_says_so(tmp_path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(DivergedError) as error:
        fit(
            logistic.model(10.0), X * 1e3, Y, learning_rate=10.0, epochs=200, log=path,
            params=logistic.init(jax.random.key(0), 1)._replace(weight=np.ones(1, "float32")),
        )  # fmt: skip
    last = lines(path)[-1]
    assert (last["stopped"], last["step"]) == ("diverged", error.value.step)


@pytest.mark.parametrize("content", ["my notes\n", "my notes", '{"event": "mine"}\n', "[1]\n"])
@pytest.mark.parametrize("resume", [True, False])
def test_another_file_is_refused_and_left_as_it_is(tmp_path, content, resume):
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(InputError, match=r"log: expected (a new file|the log of a run)"):
        RunLog(path, resume)
    assert path.read_text() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "log.jsonl"):
        with pytest.raises(InputError, match="log: expected a file"):
            RunLog(path)


def test_a_full_disk_is_said_once_and_leaves_whole_lines(tmp_path, monkeypatch):
    """The disk takes ten bytes of a line, and then no more."""
    said, real = [], os.write
    run_log = RunLog(tmp_path / "log.jsonl", warn=said.append)
    run_log.write("start", step=0)

    def full(descriptor, content):
        if len(content) > 50:
            return real(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log.os, "write", full)
        run_log.write("progress", step=1)
        run_log.write("progress", step=2)
    run_log.write("progress", step=3)
    assert [line["step"] for line in lines(run_log.path)] == [0, 3]
    assert said == [f"{run_log.path}: a line could not be written (No space left on device)"]
