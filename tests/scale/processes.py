"""Starts several processes that belong together, waits a bounded time, and ends them all."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HANDGRAD = (str(Path(sys.executable).with_name("handgrad")),)


@dataclass(frozen=True)
class Ended:
    """How one process ended; None for one that had to be killed at the end of the time."""

    code: int | None
    out: str
    err: str
    seconds: float


def free_port():
    """A port of the loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def environment(devices=1, strict=False):
    """On the CPU, with so many devices a process; `strict`: with float64, promoting nothing."""
    flags = [os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={devices}"]
    wanted = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(flags),
        "COLUMNS": "200",
    }
    if strict:
        wanted |= {
            "JAX_ENABLE_X64": "1",
            "JAX_NUMPY_DTYPE_PROMOTION": "strict",
            "JAX_NUMPY_RANK_PROMOTION": "raise",
        }
    return os.environ | wanted


class Together:
    """N processes with one coordinator on the loopback; `commands(port, i)` is what i runs."""

    def __init__(self, folder: Path, commands, env=None):
        self.began = time.monotonic()
        self._files, self.processes = [], []
        for number, command in enumerate(commands):
            out, err = ((folder / f"{number}.{kind}").open("w") for kind in ("out", "err"))
            self._files.append((out, err))
            self.processes.append(
                subprocess.Popen(
                    command, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                    env=env or environment(),
                )
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        for pair in self._files:
            for file in pair:
                file.close()

    def out(self, number):
        """What a process has said so far."""
        return Path(self._files[number][0].name).read_text()

    def err(self, number):
        """What a process has said of errors so far."""
        return Path(self._files[number][1].name).read_text()

    def wait_until(self, said):
        """Until process 0 has said that."""
        self.wait_for(lambda: [said] * (said in self.out(0)))

    def wait_for(self, found, seconds=300):
        """Until found() has anything in it."""
        end = time.monotonic() + seconds
        while not list(found() or ()):
            assert time.monotonic() < end, self.out(0)
            assert self.processes[0].poll() is None, self.err(0)
            time.sleep(0.05)

    def ended(self, seconds=180):
        """How each of them ended, within so many seconds from now."""
        began, left, done = time.monotonic(), dict(enumerate(self.processes)), {}
        while left and time.monotonic() < began + seconds:
            for number in [n for n, p in left.items() if p.poll() is not None]:
                done[number] = left.pop(number).returncode, time.monotonic() - began
            time.sleep(0.02)
        for process in left.values():
            process.kill()
            process.wait()
        left_over = dict.fromkeys(left, (None, seconds))
        return [
            Ended(code, self.out(n), self.err(n), passed)
            for n, (code, passed) in sorted((left_over | done).items())
        ]


def handgrad_train(processes, *options, port=None):
    """The commands of `handgrad train` with so many processes, and one coordinator."""
    where = f"127.0.0.1:{port or free_port()}"
    return [
        [*HANDGRAD, "train", *options, "--coordinator", where,
         "--processes", str(processes), "--process-id", str(number)]
        for number in range(processes)
    ]  # fmt: skip
