"""The command itself: how it is started, what it lists, and how it ends."""

import subprocess
import sys

import pytest

import handgrad
from handgrad.cli.app import is_out_of_memory
from handgrad.errors import InputError

COMMANDS = ("train", "verify", "recheck", "audit", "explain", "bench", "atlas")


def test_a_process_of_its_own():
    """`python -m handgrad`, which warns of nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "handgrad", "--version"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"handgrad {handgrad.__version__} (jax ")


def test_help(command):
    ran = command("--help")
    assert ran.code == 0
    assert all(name in ran.out for name in COMMANDS)
    assert "3 undecided" in " ".join(ran.out.split())
    ran = command("train", "--help")
    assert ran.code == 0
    for option in ("--target", "--model", "--optimizer", "--batch-size", "--tol", "--plot"):
        assert option in ran.out


def test_completion_of_the_shell(command, monkeypatch):
    monkeypatch.setenv("_HANDGRAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "handgrad ver")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert command().out.split() == ["verify"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_writes_what_it_prints_as_data(command, name):
    assert "--json" in command(name, "--help").out


def test_a_traceback_is_shown_if_asked_for(command):
    with pytest.raises(InputError, match="case: expected a name from the catalogue"):
        command("--traceback", "verify", "nothing")


def test_a_fault_of_ours_keeps_its_traceback(command, monkeypatch):
    """Only what is foreseen becomes a line; the rest is a bug and must look like one."""
    from handgrad.data import dataset

    def broken(*args):
        raise RuntimeError("a bug")

    monkeypatch.setitem(dataset.BUNDLED, "iris", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        command("train", "iris")


def test_out_of_memory(command, monkeypatch):
    from handgrad.data import dataset

    def large(*args):
        raise MemoryError

    monkeypatch.setitem(dataset.BUNDLED, "iris", large)
    ran = command("train", "iris")
    assert (ran.code, ran.err[:20]) == (2, "error: out of memory")
    assert is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes"))
    assert not is_out_of_memory(RuntimeError("a bug"))
