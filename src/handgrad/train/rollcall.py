"""Who takes part in a run of several processes: all of them report to process 0, the coordinator.

They meet before JAX is started, which would abort where this can say in words that a port is wrong,
a number taken twice, or an option different. The connections are kept, for `watch`.
"""

import socket
import time
from typing import Any

from handgrad.errors import InputError
from handgrad.train.watch import Peer, named


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


def gather(
    server: socket.socket, processes: int, about: dict[str, Any], seconds: float
) -> dict[int, Peer]:
    """The connections of processes 1 … processes−1, by number, once all are there.

    A process that cannot take part is refused with the reason, and waited for no more. Raises
    InputError, which names who is missing, after so many seconds.
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
                peer.send({"refused": reason})
                peer.connection.close()
            raise InputError(
                "processes", f"{processes} processes at the coordinator",
                f"{len(peers) + 1}: {reason}", "start them all, with one coordinator",
            ) from None  # fmt: skip
        peers = {number: old for number, old in peers.items() if not _has_gone(old)}
        hello = peer.wait_for(2.0)
        if hello is None:  # a stranger, or one that died
            peer.connection.close()
        elif reason := _unfit(hello, processes, about, peers):
            peer.send({"refused": reason})
            peer.connection.close()
        else:
            peers[hello["process"]] = peer
    return peers


def _unfit(hello: dict, processes: int, about: dict[str, Any], peers: dict[int, Peer]) -> str:
    """Why this process cannot take part; "" if it can."""
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


def _has_gone(peer: Peer) -> bool:
    peer.connection.settimeout(0)
    try:
        return peer.connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def enrol(
    host: str, port: int, process: int, processes: int, about: dict[str, Any], seconds: float
) -> tuple[Peer, dict[str, Any]]:
    """The connection to the coordinator and its first message, once all processes are there.

    Raises InputError if the coordinator cannot be reached in so many seconds, or refuses.
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
    if answer is None:
        connection.close()
        raise InputError(
            "coordinator", "process 0 of handgrad at that address",
            f"something else, or nothing more, from {address}", "correct the address",
        )  # fmt: skip
    if "refused" in answer:
        connection.close()
        raise InputError(
            "process-id", "a process that fits the others", answer["refused"], "start it to match"
        )
    return peer, answer
