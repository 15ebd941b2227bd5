"""Many processes, on one machine or many: meet, start JAX's distributed runtime, part again.

    with distributed("10.0.0.1:4321", processes=4, process=int(sys.argv[1])):
        result = fit(model, x, y, mesh="all")  # x and y as NumPy arrays: each keeps its own rows
        if jax.process_index() == 0:
            print(result.loss)

All processes run the same program, and get the same result. Sums over devices cross from one to
another; whatever is decided between chunks (the tolerance, a loss that is not finite) is decided
from such sums, and so alike. Where one process is lost, none of the others can go on: they say who
it was, and end.

The processes meet before JAX is started, which would abort where this can say in words that a port
is wrong, a number taken twice, or an option different. Afterwards each keeps a TCP connection to
process 0, the coordinator. The kernel closes those of a process that dies, and a machine that is
gone falls silent; the coordinator tells the others who it was. JAX's own heartbeat stays behind
this one: it names no process, and ends in an abort with a stack trace that Python cannot catch.

Messages are JSON objects, one per line; an empty line says "alive". Nothing in them is executed.
"""

import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jax
import numpy as np

from handgrad._checks import is_whole
from handgrad.errors import DivergedError, HandgradError, InputError
from handgrad.scale.sharding import all_gather

START_SECONDS = 120.0
JAX_HEARTBEAT_SECONDS = 300
"""JAX aborts after so long, also where all processes were suspended: so later than ours."""
PARTING_SECONDS = 60
SETTLING_SECONDS = 10.0
"""How long a sum that failed waits to hear who was lost."""
BEAT_SECONDS = 1.0
SILENT_BEATS = 20
"""Own beats without one from the other side until it counts as lost. Beats, not seconds: a machine
that was suspended as a whole has lost nobody."""
LONGEST_MESSAGE = 2**16
HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
LOST = 2
"""The exit code of a process that another one has left alone."""


def end_process(message: str) -> None:
    """Say what happened in the log, on standard error if there is none, and end this process."""
    logging.getLogger("handgrad").critical("%s", message)
    sys.stdout.flush()
    os._exit(LOST)


def warn(message: str) -> None:
    """Say what can be mended in the log, on standard error if there is none."""
    logging.getLogger("handgrad").warning("%s", message)


@contextmanager
def distributed(
    coordinator: str,
    processes: int | None = None,
    process: int | None = None,
    *,
    about: dict[str, Any] | None = None,
    start_seconds: float = START_SECONDS,
    lost: Callable[[str], None] = end_process,
    refused: Callable[[str], None] = warn,
) -> Iterator[None]:
    """Inside, JAX sees the devices of all processes; nothing of JAX may have been computed before.

    `coordinator` is HOST:PORT, where process 0 of `processes` listens and the others find it; or
    'auto' where JAX knows by itself (SLURM, Open MPI, Kubernetes, TPU pods). `about` names what
    must be the same everywhere. `lost` is called, from another thread and while this one waits for
    ever, with a message that names the process that was lost; it should end the process. `refused`
    is told at process 0, at once, of one that does not fit and is waited for anew.

    Raises InputError for numbers that cannot be, a coordinator that does not answer within
    `start_seconds`, and a process that does not fit the others.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    about = about or {}
    if coordinator == "auto":
        peers = _meet_in_cluster(processes, process, about, start_seconds, refused)
    else:
        host, port, processes, process = check_addresses(coordinator, processes, process)
        peers, jax_port = _meet(host, port, processes, process, about, start_seconds, refused)
    heartbeat = Heartbeat(peers, processes or jax.process_count(), lost)
    heartbeat.start()
    if coordinator != "auto":
        address = f"[{host}]:{jax_port}" if ":" in host else f"{host}:{jax_port}"
        _start_jax(
            start_seconds, coordinator_address=address, coordinator_bind_address=address,
            num_processes=processes, process_id=process, cluster_detection_method="deactivate",
        )  # fmt: skip
    try:
        _gather_silently(np.uint8(0))
        yield
        _part(heartbeat)
    except DivergedError:
        _part(heartbeat)  # as all of them do
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, HandgradError):
            heartbeat.join(SETTLING_SECONDS)  # a sum fails where a process is lost: hear which
        who = named([jax.process_index()], jax.process_count())
        heartbeat.leave({"stopped": f"{who} stopped: {_first_line(error)}"})
        raise


def check_addresses(coordinator: Any, processes: Any, process: Any) -> tuple[str, int, int, int]:
    """Host, port, processes and number. Raises InputError for what they cannot be.

    >>> check_addresses("127.0.0.1:4321", 4, 0)
    ('127.0.0.1', 4321, 4, 0)
    """
    host, _, port = str(coordinator).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            "coordinator", "HOST:PORT, or auto", repr(coordinator),
            "write it as 127.0.0.1:4321",
        )  # fmt: skip
    if not is_whole(processes) or processes < 1:
        raise InputError(
            "processes", "a whole number above 0, beside a coordinator", repr(processes),
            "pass the total number of processes",
        )  # fmt: skip
    if not is_whole(process) or not 0 <= process < processes:
        raise InputError(
            "process-id", f"a number in 0..{processes - 1}, each once", repr(process),
            "number the processes from 0, which is the coordinator",
        )  # fmt: skip
    return host.strip("[]"), int(port), int(processes), int(process)


def _meet(
    host: str, port: int, processes: int, process: int, about: dict[str, Any], seconds: float,
    refused: Callable[[str], None], server: socket.socket | None = None,
) -> tuple[dict[int, "Peer"], int]:  # fmt: skip
    """The connections of this process, and a port for JAX that process 0 has found free."""
    if process != 0:
        peer, answer = join(host, port, process, processes, about, seconds)
        return {0: peer}, int(answer["jax"])
    with server or listen(host, port) as own:
        peers = rendezvous(own, processes, about, seconds, refused)
        with socket.create_server((own.getsockname()[0], 0)) as found:
            jax_port = found.getsockname()[1]
    for peer in peers.values():
        peer.send({"jax": jax_port})
    return peers, jax_port


def _meet_in_cluster(
    processes: int | None,
    process: int | None,
    about: dict[str, Any],
    seconds: float,
    refused: Callable[[str], None],
) -> dict[int, "Peer"]:
    """JAX first, which knows the cluster; then meet at an address that process 0 tells so."""
    try:
        _start_jax(seconds, num_processes=processes, process_id=process)
    except ValueError as error:
        raise InputError(
            "coordinator", "a cluster that JAX detects, for auto", "none",
            "pass HOST:PORT, with the number of processes and that of this one",
        ) from error  # fmt: skip
    processes, process = jax.process_count(), jax.process_index()
    address, server = np.zeros(256, np.uint8), None
    if process == 0:
        server = socket.create_server(("", 0), backlog=512)
        text = f"{socket.gethostname()}:{server.getsockname()[1]}".encode()
        address[: len(text)] = np.frombuffer(text, np.uint8)
    host, _, port = bytes(_gather_silently(address)[0]).rstrip(b"\0").decode().rpartition(":")
    return _meet(host, int(port), processes, process, about, seconds, refused, server)[0]


def _start_jax(seconds: float, **given: Any) -> None:
    jax.distributed.initialize(
        initialization_timeout=int(seconds),
        heartbeat_timeout_seconds=JAX_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=PARTING_SECONDS,
        **given,
    )


def _gather_silently(value: Any) -> np.ndarray:
    """`all_gather`, where gloo greets on standard output as all devices meet: it is not its own."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        return all_gather(value)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _part(heartbeat: "Heartbeat") -> None:
    jax.distributed.shutdown()
    heartbeat.leave({"left": True})


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


def named(numbers: list[int], processes: int) -> str:
    """Processes by number.

    >>> named([2], 4), named([0], 4), named([1, 3], 4)
    ('process 2 of 4', 'process 0 of 4, the coordinator,', 'processes 1 and 3 of 4')
    """
    if numbers == [0]:
        return f"process 0 of {processes}, the coordinator,"
    *most, last = map(str, numbers)
    text = f"{', '.join(most)} and {last}" if most else last
    return f"process{'es' if most else ''} {text} of {processes}"


# --- rendezvous: all report to process 0 ------------------------------------------------------


class Peer:
    """One end of a connection: messages out and in, and for how many beats nothing came."""

    def __init__(self, connection: socket.socket):
        self.connection, self.silent, self.left = connection, 0, False
        self._received = b""
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any] | None = None) -> None:
        """Send a message, or "alive"; to one that is gone, nothing."""
        text = json.dumps(message) if message is not None else ""
        try:
            with self._sending:
                self.connection.sendall(text.encode() + b"\n")
        except OSError:
            pass  # what is gone is noticed where it is listened to

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come, once something has; None at the end of the connection."""
        try:
            received = self.connection.recv(4096)
        except OSError:
            return None
        if not received or len(self._received) > LONGEST_MESSAGE:
            return None
        self.silent = 0
        *lines, self._received = (self._received + received).split(b"\n")
        try:
            messages = [json.loads(line) for line in lines if line.strip()]
        except (ValueError, RecursionError):
            return None  # no process of handgrad
        return messages if all(isinstance(m, dict) for m in messages) else None

    def wait_for(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if the connection ends or the time is over before."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.connection.settimeout(left)
            messages = self.receive()
            if messages is None:
                return None
            if messages:
                return messages[0]
        return None

    def refuse(self, reason: str) -> None:
        """Say why it cannot take part, and hang up."""
        self.send({"refused": reason})
        self.connection.close()

    def has_gone(self) -> bool:
        """Whether the other side has hung up."""
        self.connection.settimeout(0)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def listen(host: str, port: int) -> socket.socket:
    """A server at an address of this machine. Raises InputError if it cannot be had."""
    address = f"{host}:{port}"
    try:
        return socket.create_server((host, port), backlog=512)
    except socket.gaierror as error:
        raise InputError(
            "coordinator", "a host that is known", repr(address), "check the name"
        ) from error
    except OSError as error:
        raise InputError(
            "coordinator", "a free port at an address of this machine, of process 0",
            f"{address} ({error.strerror or error})", "name another port, or the host of process 0",
        ) from error  # fmt: skip


def rendezvous(
    server: socket.socket,
    processes: int,
    about: dict[str, Any],
    seconds: float,
    refused: Callable[[str], None] = warn,
) -> dict[int, Peer]:
    """The connections of processes 1 … processes−1, by number, once all are there.

    A process that cannot take part is refused with the reason, which `refused` is told at once; it
    may come again. Raises InputError, which names who is missing, after this many seconds.
    """
    end, peers = time.monotonic() + seconds, dict[int, Peer]()
    while len(peers) < processes - 1:
        server.settimeout(max(0.01, end - time.monotonic()))
        try:
            peer = Peer(server.accept()[0])
        except TimeoutError:
            missing = [n for n in range(1, processes) if n not in peers]
            reason = f"{named(missing, processes)} did not come within {seconds:g} s"
            for peer in peers.values():
                peer.refuse(reason)
            raise InputError(
                "processes", f"{processes} processes at the coordinator",
                f"{len(peers) + 1}: {reason}", "start them all, with one coordinator",
            ) from None  # fmt: skip
        for number in [n for n, old in peers.items() if old.has_gone()]:
            peers.pop(number).connection.close()  # it died, and may come again
        hello = peer.wait_for(2.0)
        if hello is None:  # a stranger, or one that died
            peer.connection.close()
        elif reason := why_refused(hello, processes, about, peers):
            peer.refuse(reason)
            refused(
                f"process {hello.get('process')!r} was refused: {reason}; start it to match, it is "
                "waited for"
            )
        else:
            peers[hello["process"]] = peer
    return peers


def why_refused(hello: dict, processes: int, about: dict[str, Any], peers: dict[int, Peer]) -> str:
    """Why a process that says this cannot take part; "" if it can."""
    number = hello.get("process")
    if hello.get("processes") != processes:
        return f"the coordinator was started with --processes {processes}"
    if not isinstance(number, int) or not 0 < number < processes:
        return f"number {number} is not one of 1 … {processes - 1}; 0 is the coordinator"
    if number in peers:
        return f"there is a process {number} already"
    others = hello.get("about")
    if not isinstance(others, dict):
        return "it does not say what it is about to do"
    for name in about:
        if others.get(name) != about[name]:
            return f"{name} is {others.get(name)} here and {about[name]} at the coordinator"
    return ""


def join(
    host: str, port: int, process: int, processes: int, about: dict[str, Any], seconds: float
) -> tuple[Peer, dict[str, Any]]:
    """The connection to the coordinator and its first message, once all processes are there.

    Raises InputError if the coordinator cannot be reached for so long, or refuses.
    """
    end, address = time.monotonic() + seconds, f"{host}:{port}"
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=2)
            break
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    "coordinator", "process 0 at that address",
                    f"no answer from {address} within {seconds:g} s ({error.strerror or error})",
                    "start process 0 there, or correct the address",
                ) from error  # fmt: skip
            time.sleep(0.2)
    peer = Peer(connection)
    peer.send({"process": process, "processes": processes, "about": about})
    answer = peer.wait_for(max(1.0, end - time.monotonic()) + 5)  # the coordinator's own patience
    if answer is None or "refused" in answer:
        connection.close()
    if answer is None:
        raise InputError(
            "coordinator", "process 0 of handgrad at that address",
            f"something else, or nothing more, from {address}", "correct the address",
        )  # fmt: skip
    if "refused" in answer:
        raise InputError(
            "process-id", "a process that fits the others", answer["refused"], "start it to match"
        )
    return peer, answer


# --- heartbeat: who has been lost -------------------------------------------------------------


class Heartbeat(threading.Thread):
    """Listens to the others until the end of the run; `lost(message)` is called at the first loss.

    A thread, because the main one waits in a sum over all processes, for a part that will never
    come. At the coordinator `peers` are all the others; elsewhere it is the coordinator alone.
    """

    def __init__(self, peers: dict[int, Peer], processes: int, lost: Callable[[str], None]):
        super().__init__(name="handgrad-heartbeat", daemon=True)
        self._peers, self._processes, self._lost = peers, processes, lost
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        for number, peer in peers.items():
            peer.connection.settimeout(5)
            self._selector.register(peer.connection, selectors.EVENT_READ, (number, peer))

    def run(self) -> None:
        """Listen, and beat."""
        last = time.monotonic()
        while not self._over.is_set() and self._selector.get_map():
            self.listen(BEAT_SECONDS / 2)
            if time.monotonic() - last >= BEAT_SECONDS:
                last = time.monotonic()
                self.beat()

    def listen(self, seconds: float) -> None:
        """Hear what has come, after waiting so long at most for something to come."""
        for key, _ in self._selector.select(seconds):
            number, peer = key.data
            messages = peer.receive()
            for message in messages or ():
                if "stopped" in message:
                    self._report(message["stopped"], number)
                peer.left = peer.left or "left" in message
            if messages is None:
                self._selector.unregister(key.fileobj)
                if not peer.left:
                    self._report_loss(number, "its connection closed")

    def beat(self) -> None:
        """Say "alive" to all, and count for how many beats nothing came from each."""
        for number, peer in self._peers.items():
            peer.send()
            peer.silent += 1
            if peer.silent == SILENT_BEATS and not peer.left:
                why = f"nothing came from it for {SILENT_BEATS * BEAT_SECONDS:g} s"
                self._report_loss(number, why)

    def leave(self, message: dict[str, Any]) -> None:
        """Say goodbye and listen no more."""
        self._over.set()
        self._tell(message)
        if self.is_alive():
            self.join(2 * BEAT_SECONDS)
        for peer in self._peers.values():
            peer.connection.close()

    def _report_loss(self, number: int, why: str) -> None:
        message = (
            f"{named([number], self._processes)} was lost: {why}; the others cannot go on without "
            f"it, so start all {self._processes} again"
        )
        self._report(message, number)

    def _report(self, message: str, source: int) -> None:
        """Tell the others, then whoever asked to be told; nothing once this process has left."""
        if self._over.is_set():
            return
        self._tell({"stopped": message}, source)
        self._lost(message)

    def _tell(self, message: dict[str, Any], but: int = -1) -> None:
        """A message to all at the other ends but one."""
        for number, peer in self._peers.items():
            if number != but:
                peer.send(message)


# --- what many processes must decide alike ----------------------------------------------------
# Each of them would wait for ever for the others. A tolerance and a loss that is not finite are
# seen in sums over all of them. A signal reaches one process, or all at different steps; and each
# reads a checkpoint by itself.


class DeferredSignals:
    """The handler: remembers the first signal; a second one is a KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """As Python calls a handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def stop_requested(self) -> bool:
        """Whether any process has had a signal; then all have."""
        if jax.process_count() > 1:
            largest = int(all_gather(np.int32(self.signal or 0)).max())
            self.signal = signal.Signals(largest) if largest else None
        return self.signal is not None


@contextmanager
def defer_signals() -> Iterator[DeferredSignals]:
    """Ctrl-C, SIGTERM and SIGHUP (a closed terminal) are remembered in what this gives, or in what
    an outer one gave.

    So nothing is cut off halfway: the loop asks between two chunks. A SIGHUP that is ignored, as
    under nohup, stays so. Outside the main thread, where Python allows no handlers, there is none.
    """
    outer = signal.getsignal(signal.SIGINT)
    if isinstance(outer, DeferredSignals):
        yield outer
        return
    handler, before = DeferredSignals(), {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, *HANGUP):
            if number in HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            before[number] = signal.signal(number, handler)
    except ValueError:
        pass
    try:
        yield handler
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def check_same_start(start: int) -> None:
    """Raise InputError unless all processes go on from the same step."""
    steps = all_gather(np.int32(start))
    if steps.min() != steps.max():
        raise InputError(
            "checkpoint", "one folder, that all processes can read",
            f"step {steps.min():,} in one process and {steps.max():,} in another",
            "share the folder, and start again",
        )  # fmt: skip
