"""Who has been lost in a run of several processes.

Each process keeps a TCP connection to process 0, the coordinator. The kernel closes those of a
process that dies, and a machine that is gone falls silent; the coordinator tells the others who it
was. A thread listens, because the others wait in a sum over all processes, for a part that will
never come.

Messages are JSON objects, one a line; an empty line says "alive". Nothing in them is executed.
"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

BEAT_SECONDS = 1.0
SILENT_BEATS = 20
"""Own beats without one from the other side until it counts as lost. Beats, not seconds: a machine
that was suspended as a whole has lost nobody."""
LONGEST_MESSAGE = 2**16


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


class Watch(threading.Thread):
    """Listens to the others until the end of the run; `lost(message)` is called at the first loss.

    At the coordinator `peers` are all the others; elsewhere it is the coordinator alone.
    """

    def __init__(self, peers: dict[int, Peer], processes: int, lost: Callable[[str], None]):
        super().__init__(name="handgrad-watch", daemon=True)
        self._peers, self._processes, self._lost = peers, processes, lost
        self._over = threading.Event()

    def run(self) -> None:
        """Beat, and listen."""
        selector = selectors.DefaultSelector()
        for number, peer in self._peers.items():
            peer.connection.settimeout(5)
            selector.register(peer.connection, selectors.EVENT_READ, (number, peer))
        beat = time.monotonic()
        while not self._over.is_set() and selector.get_map():
            for key, _ in selector.select(BEAT_SECONDS / 2):
                number, peer = key.data
                messages = peer.receive()
                for message in messages or ():
                    if "stopped" in message:
                        self._report(message["stopped"], number)
                    peer.left = peer.left or "left" in message
                if messages is None:
                    selector.unregister(key.fileobj)
                    if not peer.left:
                        self._report(self._loss(number, "its connection closed"), number)
            if time.monotonic() - beat >= BEAT_SECONDS:
                beat = time.monotonic()
                self._beat()

    def _beat(self) -> None:
        for number, peer in self._peers.items():
            peer.send()
            peer.silent += 1
            if peer.silent == SILENT_BEATS and not peer.left:
                why = f"nothing came from it for {SILENT_BEATS * BEAT_SECONDS:g} s"
                self._report(self._loss(number, why), number)

    def _loss(self, number: int, why: str) -> str:
        return (
            f"{named([number], self._processes)} was lost: {why}; the others cannot go on without "
            f"it, so start all {self._processes} again"
        )

    def _report(self, message: str, source: int) -> None:
        """Tell the others, then whoever asked to be told; nothing once this process has left."""
        if self._over.is_set():
            return
        self.tell({"stopped": message}, source)
        self._lost(message)

    def tell(self, message: dict[str, Any], but: int = -1) -> None:
        """A message to all at the other ends but one."""
        for number, peer in self._peers.items():
            if number != but:
                peer.send(message)

    def leave(self, message: dict[str, Any]) -> None:
        """Say goodbye and listen no more."""
        self._over.set()
        self.tell(message)
        self.join(2 * BEAT_SECONDS)
        for peer in self._peers.values():
            peer.connection.close()


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
