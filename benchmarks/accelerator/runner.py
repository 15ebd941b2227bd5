"""Steps one after another, each within its time, in a process that can be killed.

A step is a generator, by name, that yields reports and files as it has them; they are written at
once. All steps run in one process, which loads JAX and the device's libraries once. If a step takes
longer than it may, or its process dies, that process is killed with all that it has started, the
reason is recorded, and the next step begins in a new one. So the process that leads never asks JAX
for a device: what it would hold, no other could have.
"""

import gc
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import jax

from handgrad.bench.report import Report, facts, slug, write_reports
from handgrad.bench.timing import WrongAnswerError
from handgrad.errors import describe_error

FEWEST_SECONDS = 5.0
"""With less than this left, a step is not begun."""
START_SECONDS = 60.0
"""For a process to load JAX and find its devices."""


class Step(NamedTuple):
    """A function `module:name` of (small, seconds) that yields reports and files."""

    name: str
    function: str
    seconds: float
    cases: tuple[str, ...] = ()
    """Of the catalogue: if the judge has found one of them wrong here, the step does not run."""


class TextFile(NamedTuple):
    """A file among the results, beside those of the reports."""

    name: str
    text: str


class NoAcceleratorError(RuntimeError):
    """JAX has nothing but the CPU, on which the large shapes would take hours."""


@dataclass
class Outcome:
    """What became of a step."""

    step: str
    result: str
    """done, failed, out of time, or left out."""
    reason: str
    seconds: float
    allowed: float
    reports: int


@dataclass
class Run:
    """The run so far, as it is written after each step."""

    folder: Path
    unpacked: dict[str, str]
    machine: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    reports: dict[str, list[Report]] = field(default_factory=dict)
    """By job, each of which has a file."""
    wrong: dict[str, str] = field(default_factory=dict)
    """Cases of the catalogue that are wrong on this device, and what the judge says."""

    def place(self, name: str) -> Path:
        """Of a file of results, in the folder of this device."""
        path = self.folder / slug(self.machine) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, seconds: float) -> None:
        """Write the outcomes so far."""
        data = {
            "machine": self.machine, "unpacked": self.unpacked, "seconds": round(seconds, 1),
            "steps": [asdict(outcome) for outcome in self.outcomes],
        }  # fmt: skip
        text = json.dumps(data, indent=1, ensure_ascii=False)
        self.place("accelerator.json").write_text(text + "\n")


# --- the process of the steps -------------------------------------------------------------------


def serve(channel: Any) -> None:
    """The life of the process: first the machine's facts, then what each step yields."""
    with suppress(OSError):
        os.setsid()  # so that it is killed with what it has started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that leads ends it
    channel.send(("machine", facts()))
    while True:
        try:
            function, small, seconds = channel.recv()
        except EOFError:
            return
        answer(function, small, seconds, channel.send)


def answer(
    function: str, small: bool, seconds: float, send: Callable[[tuple[str, Any]], None]
) -> None:
    """Run a step; send ("found", what) for each, then ("done", "") or ("failed", why)."""
    try:
        module, _, name = function.partition(":")
        for found in getattr(importlib.import_module(module), name)(small, seconds):
            send(("found", found))
        send(("done", ""))
    except Exception as fault:  # whatever a step raises is its result
        place = traceback.extract_tb(fault.__traceback__)[-1]
        send(("failed", f"{first_line(fault)} ({Path(place.filename).name}:{place.lineno})"))
    finally:
        release()


def release() -> None:
    """Give back the memory of programs and arrays, of which JAX and PyTorch keep stocks."""
    jax.clear_caches()
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def shape_by_shape(
    shapes: Sequence[tuple[int, ...]],
    seconds: float,
    fewest: float,
    measure: Callable[[tuple[int, ...], float], Report],
) -> Iterator[Report]:
    """A report of each shape, given the seconds left; with less than `fewest` left no more begins.

    What fails at one shape, most often for want of memory, is raised as RuntimeError after the
    others. Raises WrongAnswerError at once.
    """
    end, faults = monotonic() + seconds, []
    for number, shape in enumerate(shapes):
        if number and end - monotonic() < fewest:
            break
        try:
            yield measure(shape, end - monotonic())
        except WrongAnswerError:
            raise
        except Exception as fault:
            faults.append(f"{' × '.join(f'{size:,}' for size in shape)}: {first_line(fault)}")
        release()
    if faults:
        raise RuntimeError("; ".join(faults))


def first_line(fault: Exception) -> str:
    """Its kind and the first line of what it says."""
    return describe_error(fault)[:300]


class Worker:
    """The process of the steps, seen from the one that leads."""

    def __init__(self) -> None:
        context = get_context("spawn")  # JAX does not survive a fork
        self.channel, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other,))
        self.process.start()
        other.close()

    def receive(self, deadline: float) -> tuple[str, Any]:
        """The next message. Raises TimeoutError at the deadline, EOFError if the process died."""
        if not self.channel.poll(max(0.0, deadline - monotonic())):
            raise TimeoutError
        return self.channel.recv()

    def begin(self, step: Step, small: bool, seconds: float) -> None:
        """Hand over a step."""
        self.channel.send((step.function, small, seconds))

    def kill(self) -> None:
        """End it, with what it has started."""
        with suppress(OSError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()


# --- the process that leads ---------------------------------------------------------------------


def run_steps(
    steps: Sequence[Step],
    run: Run,
    small: bool,
    seconds: float,
    show: Callable[[Any], None],
) -> None:
    """All steps within `seconds`; what is found is written and shown as it comes.

    Raises NoAcceleratorError where there is only a CPU, unless the shapes are small.
    """
    began, worker = monotonic(), None
    end = began + seconds
    try:
        for step in steps:
            allowed = min(step.seconds, end - monotonic())
            why = reason_to_leave_out(step, run, allowed)
            if why:
                outcome = Outcome(step.name, "left out", why, 0.0, max(0.0, allowed), 0)
            else:
                if worker is None:
                    worker, message = start(run, min(end, monotonic() + START_SECONDS))
                    if run.machine.get("platform") == "cpu" and not small:
                        raise NoAcceleratorError("no accelerator among JAX's devices: pass --small")
                    if worker is None:
                        outcome = Outcome(step.name, "failed", message, 0.0, allowed, 0)
                        finish(run, outcome, began, show)
                        continue
                outcome = run_step(step, worker, run, small, allowed, show)
                if outcome.result == "out of time" or outcome.reason.startswith(DIED):
                    worker.kill()
                    worker = None
            finish(run, outcome, began, show)
    finally:
        if worker is not None:
            worker.kill()


DIED = "its process died"


def finish(run: Run, outcome: Outcome, began: float, show: Callable[[Any], None]) -> None:
    """Keep an outcome, and write it if the machine is known."""
    run.outcomes.append(outcome)
    show(outcome)
    if run.machine:
        run.write(monotonic() - began)


def reason_to_leave_out(step: Step, run: Run, allowed: float) -> str:
    """Why a step does not run, or an empty text."""
    if allowed < min(FEWEST_SECONDS, step.seconds):
        return "no time was left for it"
    wrong = [case for case in step.cases if case in run.wrong]
    if wrong:
        return "wrong on this device: " + "; ".join(f"{case}, {run.wrong[case]}" for case in wrong)
    return ""


def start(run: Run, deadline: float) -> tuple[Worker | None, str]:
    """A process that has told the machine's facts, or None and why not."""
    worker = Worker()
    try:
        _, run.machine = worker.receive(deadline)
        return worker, ""
    except (TimeoutError, EOFError) as fault:
        worker.kill()
        slow = isinstance(fault, TimeoutError)
        return None, "JAX did not start in time" if slow else f"{DIED} as JAX started"


def run_step(
    step: Step, worker: Worker, run: Run, small: bool, allowed: float, show: Callable[[Any], None]
) -> Outcome:
    """One step in its process; its reports and files are written as they come."""
    began, reports = monotonic(), 0

    def outcome(result: str, reason: str) -> Outcome:
        took = round(monotonic() - began, 2)
        return Outcome(step.name, result, reason, took, round(allowed, 1), reports)

    worker.begin(step, small, allowed)
    while True:
        try:
            kind, value = worker.receive(began + allowed)
        except TimeoutError:
            return outcome("out of time", f"it was not done after {allowed:.0f} s")
        except (EOFError, OSError):
            worker.process.join()
            return outcome("failed", f"{DIED}, exit code {worker.process.exitcode}")
        if kind in ("done", "failed"):
            return outcome(kind, value)
        reports += isinstance(value, Report)
        keep(value, run)
        show(value)


def keep(found: Report | TextFile, run: Run) -> None:
    """Write a report beside those of its job, or a file; note the cases that are wrong."""
    if isinstance(found, TextFile):
        run.place(found.name).write_text(found.text)
        return
    of_job = run.reports.setdefault(found.job, [])
    of_job.append(found)
    write_reports(run.place(f"{found.job}.json"), run.machine, of_job)
    for row in found.rows:
        if row.get("wrong"):
            run.wrong[row["name"]] = row["wrong"]
