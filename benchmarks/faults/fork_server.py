"""Many runs of the command without its imports: a process that has them forks for each run.

For `python -m benchmarks.faults`, which kills a hundred of them. JAX is imported before the fork
and started after it, so that a run is as if it were alone.
"""

import importlib
import json
import os
import sys
import traceback
import warnings

IMPORTS = ("handgrad.cli.app", "handgrad.train.comparison", "handgrad.data", "sklearn.datasets",
           "sklearn.model_selection", "orbax.checkpoint")  # fmt: skip


def serve() -> None:
    """For each line `{"args": [...], "out": FILE}` on standard input: run it, and say its process.

    When it has ended, its exit code is said, or minus the signal that killed it.
    """
    warnings.simplefilter("ignore")  # Python warns of forks
    for name in IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            run(request["args"], request["out"])
        answer(process)
        _, status = os.waitpid(process, 0)
        answer(os.waitstatus_to_exitcode(status))


def answer(number: int) -> None:
    """A line to whoever asked."""
    os.write(1, f"{number}\n".encode())


def run(args: list[str], out: str) -> None:
    """The command in this process, which it ends; what it prints goes to a file."""
    from handgrad.cli import main

    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["handgrad", *args]
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
