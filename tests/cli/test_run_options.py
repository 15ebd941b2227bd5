"""`handgrad train --checkpoint`: saved, stopped by signals, resumed; and what it refuses."""

import io
import json
import os
import re
import signal
import threading
import time

import pytest
from rich.console import Console

from handgrad.cli.train import show_progress, time_left
from handgrad.train.log import Progress

LONG = ("breast-cancer", "--batch-size", "1", "--epochs", "1000000", "--every-seconds", "0.5")


@pytest.fixture
def signalled(command):
    """signalled(SIGINT, log, ...): the command, sent a signal when its log has three lines more."""

    def run(number, log, *args):
        ended = threading.Event()

        def send():
            until = time.monotonic() + 240
            while not (log.exists() and log.read_text().count("progress") > 2):
                if ended.wait(0.02) or time.monotonic() > until:
                    return
            os.kill(os.getpid(), number)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return command("train", *args, "--log", log)
        finally:
            ended.set()
            sender.join()

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_go_on(command, signalled, tmp_path, number, request):
    log, saved = tmp_path / "log.jsonl", tmp_path / "saved"
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    ran = signalled(number, log, *LONG, "--checkpoint", saved)
    assert (ran.code, ran.err) == (128 + number, "")
    stopped = re.search(r"^hand stopped at step ([\d,]+); saved in (.*)$", ran.out, re.MULTILINE)
    assert stopped[2] == str(saved)
    assert ran.out.endswith("go on with the same command and --resume\n")
    step = int(stopped[1].replace(",", ""))
    assert (saved / "hand" / f"step-{step}").is_dir()
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["stopped"], last["step"]) == ("end", "interrupted", step)
    if number == signal.SIGINT:  # shorter than what was done: it is taken up, and is at its end
        epochs = step // 426 + 2
        args = [*LONG[:4], epochs, "--checkpoint", saved, "--log", log, "--resume"]
        resumed = command("train", *args)
        assert resumed.code == 0, resumed.err
        assert f"hand went on from step {step:,}" in resumed.out


def test_a_run_is_saved_and_another_run_is_refused(command, tmp_path):
    """Resumed at its end, it has the same parameters."""
    kept, again = tmp_path / "kept.npz", tmp_path / "again.npz"
    saved, log = tmp_path / "saved", tmp_path / "log.jsonl"
    run = ("train", "iris", "--epochs", 3)
    here = (*run, "--checkpoint", saved)
    assert command(*here, "--every-steps", 5, "--params", kept, "--log", log).code == 0
    before = log.read_text()
    ran = command(*here, "--log", log)
    assert (ran.code, ran.out) == (2, "")
    assert "where a run was saved at step" in ran.err
    ran = command(*here, "--learning-rate", 0.2, "--resume")
    assert ran.code == 2
    assert "is of another run: other learning rate (0.1 there, 0.2 here); give" in ran.err
    assert log.read_text() == before
    assert command(*here, "--every-steps", 5, "--params", again, "--resume").code == 0
    assert kept.read_bytes() == again.read_bytes()
    (saved / "mine.txt").write_text("")
    assert "in which there is 'mine.txt'" in command(*here, "--resume").err


def test_what_it_refuses(command, tmp_path):
    run = ("train", "iris", "--epochs", 3, "--checkpoint", tmp_path / "saved")
    for words, args in (
        ("every_steps: expected a --checkpoint to go with it", (*run[:4], "--every-steps", 5)),
        ("resume: expected a --checkpoint to go with it", (*run[:4], "--resume")),
        ("every_steps: expected a whole number above 0, got 0", (*run, "--every-steps", 0)),
        ("every_seconds: expected a number above 0", (*run, "--every-seconds", 0)),
        ("log: expected a file", (*run, "--log", tmp_path)),
        ("--params: expected a file name ending in .npz", (*run, "--params", tmp_path / "a.txt")),
        ("name_or_path: expected the name of a data set", ("train", "a" * 300)),
        ("checkpoint: expected a folder at", (*run[:4], "--checkpoint", tmp_path / ("a" * 300))),
    ):
        ran = command(*args)
        assert (ran.code, ran.out) == (2, "")
        assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_cannot_be_saved_is_an_error_after_the_results(command, tmp_path, monkeypatch):
    from handgrad.scale import checkpoints

    def refuses(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_arrays", refuses)
    params = tmp_path / "params.npz"
    run = ("train", "iris", "--epochs", 3, "--params", params)
    ran = command(*run, "--checkpoint", tmp_path / "saved")
    assert ran.code == 2
    assert "could not be saved" in ran.out
    assert "largest difference of the parameters" in ran.out
    assert "room to save the end of hand, step 11, got No space left on device; make" in ran.err
    assert params.exists()


def test_the_bar_has_loss_rate_and_time_left(monkeypatch):
    from handgrad.cli import output, train

    console = Console(force_terminal=True, width=100, record=True, file=io.StringIO())
    for module in (output, train):
        monkeypatch.setattr(module, "console", console)
    for name in output.IN_A_KERNEL:
        monkeypatch.delenv(name, raising=False)
    with show_progress(["hand"]) as show:
        show("hand", Progress(250, 1_000, 0.125, None, 10.0))
    text = console.export_text()
    assert "loss 0.125000" in text
    assert "10 steps/s, 0:01:15 left" in text
    assert time_left(Progress(0, 7_300, 0.1, None, 2.0)) == "1:00:50"
