"""Many processes, on one machine or many: meet, start JAX's distributed runtime, part again.

    with together("10.0.0.1:4321", processes=4, process=int(sys.argv[1])):
        result = fit(model, x, y, mesh="all")  # x and y as NumPy arrays: each keeps its own rows
        if jax.process_index() == 0:
            print(result.loss)

All processes run the same program, and get the same result. Sums over devices cross from one to
another; whatever is decided between chunks (the tolerance, a loss that is not finite) is decided
from such sums, and so alike. Where one process is lost, none of the others can go on: they say who
it was, and end.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from handgrad.errors import DivergedError, HandgradError, InputError
from handgrad.train.agreement import of_all
from handgrad.train.arguments import is_whole
from handgrad.train.rollcall import enrol, gather, listen
from handgrad.train.watch import Peer, Watch, named

START_SECONDS = 120.0
HEARTBEAT_SECONDS = 300
"""Of JAX's own watch, behind ours: it aborts, with a stack trace, and also where all processes were
suspended for so long."""
PARTING_SECONDS = 60
SETTLING_SECONDS = 10.0
"""How long a sum that failed waits to hear who was lost."""
LOST = 2
"""The exit code of a process that another one has left alone."""


def end_process(message: str) -> None:
    """Say what happened in the log, on standard error if there is none, and end this process."""
    logging.getLogger("handgrad").critical("%s", message)
    sys.stdout.flush()
    os._exit(LOST)


@contextmanager
def together(
    coordinator: str,
    processes: int | None = None,
    process: int | None = None,
    *,
    about: dict[str, Any] | None = None,
    start_seconds: float = START_SECONDS,
    lost: Callable[[str], None] = end_process,
) -> Iterator[None]:
    """Inside, JAX sees the devices of all processes; nothing of JAX may have been computed before.

    `coordinator` is HOST:PORT, where process 0 of `processes` listens and the others find it; or
    'auto' where JAX knows by itself (SLURM, Open MPI, Kubernetes, TPU pods). `about` names what
    must be the same everywhere. `lost` is called, from another thread and while this one waits for
    ever, with a message that names the process that was lost; it should end the process.

    Raises InputError for numbers that cannot be, a coordinator that does not answer within
    `start_seconds`, and a process that does not fit the others.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    about = about or {}
    if coordinator == "auto":
        watch = _by_cluster(processes, process, about, start_seconds, lost)
    else:
        host, port, processes, process = check_addresses(coordinator, processes, process)
        watch = _by_address(host, port, processes, process, about, start_seconds, lost)
    try:
        _first_of_all(np.uint8(0))
        yield
        _part(watch)
    except DivergedError:
        _part(watch)  # as all of them do
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, HandgradError):
            watch.join(SETTLING_SECONDS)  # a sum fails where a process is lost: hear which
        who = named([jax.process_index()], jax.process_count())
        watch.leave({"stopped": f"{who} stopped: {_in_short(error)}"})
        raise


def check_addresses(coordinator: Any, processes: Any, process: Any) -> tuple[str, int, int, int]:
    """Host, port, processes and number. Raises InputError for what they cannot be.

    >>> check_addresses("127.0.0.1:4321", 4, 0)
    ('127.0.0.1', 4321, 4, 0)
    """
    host, _, port = str(coordinator).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            "coordinator", "HOST:PORT, or auto", repr(coordinator), "pass 127.0.0.1:4321, say"
        )
    if not is_whole(processes) or processes < 1:
        raise InputError(
            "processes", "a whole number above 0, beside a coordinator", repr(processes),
            "say how many there are",
        )  # fmt: skip
    if not is_whole(process) or not 0 <= process < processes:
        raise InputError(
            "process-id", f"a number in 0..{processes - 1}, each once", repr(process),
            "number the processes from 0, which is the coordinator",
        )  # fmt: skip
    return host.strip("[]"), int(port), int(processes), int(process)


def _by_address(
    host: str,
    port: int,
    processes: int,
    process: int,
    about: dict[str, Any],
    seconds: float,
    lost: Callable[[str], None],
) -> Watch:
    """Meet at host:port; then JAX at a port that process 0 has found free."""
    if process == 0:
        peers = _call(listen(host, port), processes, about, seconds)
        with socket.create_server((host, 0)) as found:
            jax_port = found.getsockname()[1]
        for peer in peers.values():
            peer.send({"jax": jax_port})
    else:
        peer, answer = enrol(host, port, process, processes, about, seconds)
        peers, jax_port = {0: peer}, int(answer["jax"])
    watch = Watch(peers, processes, lost)
    watch.start()
    address = f"[{host}]:{jax_port}" if ":" in host else f"{host}:{jax_port}"
    _start_jax(
        seconds, coordinator_address=address, coordinator_bind_address=address,
        num_processes=processes, process_id=process, cluster_detection_method="deactivate",
    )  # fmt: skip
    return watch


def _by_cluster(
    processes: int | None,
    process: int | None,
    about: dict[str, Any],
    seconds: float,
    lost: Callable[[str], None],
) -> Watch:
    """JAX first, which knows the cluster; then meet at an address that process 0 tells so."""
    try:
        _start_jax(seconds, num_processes=processes, process_id=process)
    except ValueError as error:
        raise InputError(
            "coordinator", "a cluster that JAX detects, for auto", "none",
            "pass HOST:PORT, with the number of processes and that of this one",
        ) from error  # fmt: skip
    processes, process = jax.process_count(), jax.process_index()
    address = np.zeros(256, np.uint8)
    if process == 0:
        server = socket.create_server(("", 0), backlog=512)
        text = f"{socket.gethostname()}:{server.getsockname()[1]}".encode()
        address[: len(text)] = np.frombuffer(text, np.uint8)
    told = bytes(_first_of_all(address)[0]).rstrip(b"\0").decode()
    host, _, port = told.rpartition(":")
    if process == 0:
        peers = _call(server, processes, about, seconds)
        for peer in peers.values():
            peer.send({"met": True})
    else:
        peers = {0: enrol(host, int(port), process, processes, about, seconds)[0]}
    watch = Watch(peers, processes, lost)
    watch.start()
    return watch


def _call(
    server: socket.socket, processes: int, about: dict[str, Any], seconds: float
) -> dict[int, Peer]:
    with server:
        return gather(server, processes, about, seconds)


def _start_jax(seconds: float, **given: Any) -> None:
    jax.distributed.initialize(
        initialization_timeout=int(seconds),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=PARTING_SECONDS,
        **given,
    )


def _first_of_all(value: Any) -> np.ndarray:
    """`of_all`, where gloo greets on standard output as all devices meet: it is not its own."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        return of_all(value)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _part(watch: Watch) -> None:
    jax.distributed.shutdown()
    watch.leave({"left": True})


def _in_short(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
