"""`python -m benchmarks.accelerator`: all that an accelerator is to say, in one call.

Runs on a machine with Python 3.12 and JAX, without a network and without an installation: what is
missing comes from the wheels beside this file (`make accelerator-bundle`). The device's limits,
then correctness, then the races, each with its time; JSON after each, by device. A step that fails
or takes too long is recorded with its reason, and the next one goes on.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.accelerator.bundle import FOLDER, ROOT, is_installed, unpack_missing

HERE = "benchmarks.accelerator"
SECONDS = 480.0
STEPS = (
    # name, function, seconds, cases of the catalogue that it depends on
    ("limits", "limits:measure", 40, ()),
    ("judge", "correctness:judged", 90, ()),
    ("atlas", "correctness:atlas", 75, ()),
    ("linear_cross_entropy", "output_layer:race_shapes", 150,
     ("linear_cross_entropy_chunked", "loss_linear_softmax")),
    ("one_pass", "one_pass:race_shapes", 75, ("one_pass_rows_logistic", "logistic")),
    ("loop", "loops:steps", 50, ("logistic",)),
    ("many_models", "loops:many", 40, ("logistic",)),
    ("sweep", "output_layer:sweep", 120, ("linear_cross_entropy_chunked",)),
)  # fmt: skip
ASKED_FOR = ("sweep",)
"""Steps that run only if they are named, or by their option."""
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # PyTorch, and the judge's processes, need memory too
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # a time of compiling is that of the first time
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options. Ends with exit code 2 for what cannot be."""
    parser = argparse.ArgumentParser(prog=f"python -m {HERE}", description=(__doc__ or "")[:77])
    names = [step[0] for step in STEPS]
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"any of {', '.join(names)}")
    parser.add_argument("--sweep", action="store_true", help="chunks of many sizes as well")
    parser.add_argument("--small", action="store_true", help="tiny shapes, on a CPU as well")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of it")
    parser.add_argument("--results", type=Path, help="folder; a device has its own in it")
    parser.add_argument("--wheels", type=Path, default=FOLDER, help="folder of the bundle")
    options = parser.parse_args(arguments)
    for name in options.steps:
        if name not in names:
            parser.error(f"STEP: expected any of {', '.join(names)}, got {name!r}")
    if not 0 < options.seconds < 86_400:
        parser.error(f"--seconds: expected a number above 0, got {options.seconds:g}")
    options.steps = options.steps or [name for name in names if name not in ASKED_FOR]
    if options.sweep and "sweep" not in options.steps:
        options.steps.append("sweep")
    if options.results is None:  # what small shapes say is not worth keeping
        small = ROOT / "out" / "accelerator"
        options.results = small if options.small else ROOT / "benchmarks" / "results"
    return options


def prepare(wheels: Path, into: Path) -> dict[str, str]:
    """The path and the environment of this process and those it starts; what was unpacked."""
    unpacked = unpack_missing(wheels, into)
    places = [str(ROOT)]
    if not is_installed("handgrad"):
        places.append(str(ROOT / "src"))
    sys.path[:0] = [place for place in places if place not in sys.path]
    path = [*places, os.environ.get("PYTHONPATH", ""), *([str(into)] if unpacked else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return unpacked


def show(found: Any) -> None:
    """Print a report as a table, or what became of a step; whatever happens here is no matter."""
    try:
        print(as_text(found), flush=True)
    except Exception as fault:  # it is in a file, and other steps follow
        print(f"not shown: {type(fault).__name__}: {fault}", flush=True)


def as_text(found: Any) -> str:
    """A report, a file or an outcome, as lines."""
    from benchmarks.accelerator.runner import Outcome, TextFile
    from handgrad.bench.report import as_sentence, as_table

    if isinstance(found, TextFile):
        return f"written: {found.name}"
    if isinstance(found, Outcome):
        reason = f": {found.reason}" if found.reason else ""
        took = f"{found.seconds:.1f} of {found.allowed:.0f} s"
        return f"== {found.step}: {found.result}, {took}{reason}"
    lines = ["", found.title]
    if found.rows:
        headings, rows = as_table(found)
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for name, *figures in (headings, *rows):
            cells = (cell.rjust(w) for cell, w in zip(figures, widths[1:], strict=True))
            lines.append("  ".join((name.ljust(widths[0]), *cells)).rstrip())
    lines += [f"{'met' if bar.met else 'missed'}  {as_sentence(bar)}" for bar in found.bars]
    return "\n".join([*lines, *found.notes])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps: 0 if all were done and right, 1 if not, 2 if there is no accelerator."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="handgrad-") as folder:
        unpacked = prepare(options.wheels, Path(folder))
        said = ", ".join(f"{name} {number}" for name, number in unpacked.items())
        print(f"unpacked: {said or 'nothing was missing'}", flush=True)
        from benchmarks.accelerator.runner import NoAcceleratorError, Run, Step, run_steps

        chosen = {name: Step(name, f"{HERE}.{function}", float(seconds), cases)
                  for name, function, seconds, cases in STEPS}  # fmt: skip
        run = Run(options.results, unpacked)
        steps = [chosen[name] for name in options.steps]
        try:
            run_steps(steps, run, options.small, options.seconds, show)
        except NoAcceleratorError as fault:
            print(f"error: {fault}", file=sys.stderr)
            return 2
    done = all(outcome.result == "done" for outcome in run.outcomes)
    return 0 if done and not run.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
