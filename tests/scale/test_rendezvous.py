"""Who may take part: refusals in words, before JAX is started; how a loss is noticed; signals."""

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jax
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.scale import processes
from handgrad.scale.processes import (
    SILENT_BEATS,
    Heartbeat,
    Peer,
    check_addresses,
    check_same_start,
    defer_signals,
    join,
    listen,
    named,
    rendezvous,
)

ABOUT = {"data": "iris", "epochs": 3}
HOST, LONG = "127.0.0.1", 60.0


def hello(port, process):
    """A process that has connected and said who it is; it does not wait for an answer."""
    peer = Peer(socket.create_connection((HOST, port)))
    peer.send({"process": process, "processes": 3, "about": ABOUT})
    return peer


@pytest.fixture
def port():
    """Of a coordinator that waits in a thread for processes 1 and 2; at the end they come."""

    def meet():
        with server:
            met.update(rendezvous(server, 3, ABOUT, LONG))
        for peer in met.values():
            peer.send({"met": True})

    server, met = listen(HOST, 0), {}
    port = server.getsockname()[1]
    thread = threading.Thread(target=meet)
    thread.start()
    yield port
    late = []
    for number in (1, 2):
        with suppress(ConnectionError):  # all have met
            late.append(hello(port, number))
    thread.join()
    assert set(met) == {1, 2}
    for peer in (*met.values(), *late):
        peer.connection.close()


def test_all_meet(port):
    with ThreadPoolExecutor() as pool:
        come = [pool.submit(join, HOST, port, number, 3, ABOUT, LONG) for number in (2, 1)]
        for future in come:
            peer, answer = future.result(LONG)
            assert answer == {"met": True}
            peer.connection.close()


@pytest.mark.parametrize(
    ("process", "processes", "about", "words"),
    [
        (1, 4, ABOUT, "started with --processes 3"),
        (3, 3, ABOUT, "number 3 is not one of 1 … 2"),
        (0, 3, ABOUT, "0 is the coordinator"),
        (1, 3, ABOUT | {"epochs": 4}, "epochs is 4 here and 3 at the coordinator"),
        (1, 3, "iris", "it does not say what it is about to do"),
    ],
)
def test_one_that_does_not_fit_is_refused(port, process, processes, about, words):
    with pytest.raises(InputError, match=words):
        join(HOST, port, process, processes, about, LONG)


def test_a_number_taken_twice_is_refused_and_the_first_stays(port):
    first = hello(port, 1)  # connections are taken in the order in which they are made
    with pytest.raises(InputError, match="there is a process 1 already"):
        join(HOST, port, 1, 3, ABOUT, LONG)
    last = hello(port, 2)
    assert first.wait_for(LONG) == last.wait_for(LONG) == {"met": True}
    for peer in (first, last):
        peer.connection.close()


def test_the_coordinator_is_told_at_once_who_was_refused():
    told, again = [], []
    with listen(HOST, 0) as server, ThreadPoolExecutor() as pool:
        at = HOST, server.getsockname()[1], 1, 2

        def refused(message):
            told.append(message)
            again.append(pool.submit(join, *at, ABOUT, LONG))

        wrong = pool.submit(join, *at, ABOUT | {"epochs": 4}, LONG)
        peers = rendezvous(server, 2, ABOUT, LONG, refused)
        peers[1].send({"met": True})
        with pytest.raises(InputError, match="epochs is 4 here"):
            wrong.result(LONG)
        peer, answer = again[0].result(LONG)
    assert answer == {"met": True}
    (message,) = told
    assert message.startswith("process 1 was refused: epochs is 4 here and 3 at the coordinator;")
    for end in (peer, peers[1]):
        end.connection.close()


def test_one_that_died_may_come_again_and_a_stranger_is_turned_away(port):
    hello(port, 1).connection.close()
    with socket.create_connection((HOST, port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert stranger.recv(1) == b""
    with ThreadPoolExecutor() as pool:
        again = pool.submit(join, HOST, port, 1, 3, ABOUT, LONG)
        other = hello(port, 2)
        assert again.result(LONG)[1] == other.wait_for(LONG) == {"met": True}
    for peer in (again.result()[0], other):
        peer.connection.close()


def test_who_is_missing_is_named_to_all():
    with listen(HOST, 0) as server:
        peer = hello(server.getsockname()[1], 2)
        with pytest.raises(InputError, match=r"process 1 of 3 did not come within 0\.05 s"):
            rendezvous(server, 3, ABOUT, 0.05)
    assert "process 1 of 3 did not come within 0.05 s" in peer.wait_for(LONG)["refused"]
    peer.connection.close()


def test_no_coordinator():
    with listen(HOST, 0) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match=rf"no answer from 127.0.0.1:{port} within 0\.05 s"):
        join(HOST, port, 1, 2, {}, 0.05)


def test_something_else_at_the_port():
    with socket.create_server((HOST, 0)) as server, ThreadPoolExecutor() as pool:

        def greet():
            with server.accept()[0] as connection:
                connection.sendall(b"220 mail.example.org\n")

        greeting = pool.submit(greet)
        with pytest.raises(InputError, match="expected process 0 of handgrad"):
            join(HOST, server.getsockname()[1], 1, 2, {}, LONG)
        greeting.result(LONG)


def test_an_address_that_cannot_be_had(monkeypatch):
    with listen(HOST, 0) as server, pytest.raises(InputError, match="a free port"):
        listen(HOST, server.getsockname()[1])

    def unknown(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "create_server", unknown)
    with pytest.raises(InputError, match="a host that is known, got 'nowhere:1'"):
        listen("nowhere", 1)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("given", "argument"),
    [
        (("here", 2, 0), "coordinator"),
        (("127.0.0.1:0", 2, 0), "coordinator"),
        (("127.0.0.1:70000", 2, 0), "coordinator"),
        (("127.0.0.1:4321", None, 0), "processes"),
        (("127.0.0.1:4321", 0, 0), "processes"),
        (("127.0.0.1:4321", 2, None), "process-id"),
        (("127.0.0.1:4321", 2, 2), "process-id"),
        (("127.0.0.1:4321", 2, -1), "process-id"),
    ],
)
def test_numbers_that_cannot_be(given, argument):
    with pytest.raises(InputError) as error:
        check_addresses(*given)
    assert error.value.argument == argument


# ---- heartbeat: driven by hand, so that nothing here waits for a clock


@pytest.fixture
def watched():
    """A coordinator's heartbeat over processes 1 and 2, their ends, and what it has to say."""
    pairs = [socket.socketpair() for _ in range(2)]
    peers = {number: Peer(pair[0]) for number, pair in enumerate(pairs, 1)}
    said = []
    heartbeat = Heartbeat(peers, 3, said.append)
    yield heartbeat, [Peer(pair[1]) for pair in pairs], said
    heartbeat.leave({"left": True})
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_closed_connection_is_a_loss_and_the_others_are_told(watched):
    heartbeat, (one, two), said = watched
    one.connection.close()
    heartbeat.listen(LONG)
    assert "process 1 of 3 was lost: its connection closed" in said[0]
    assert "process 1 of 3 was lost" in two.wait_for(LONG)["stopped"]
    two.connection.sendall(b"[1]\n")  # no message of handgrad
    heartbeat.listen(LONG)
    assert "process 2 of 3 was lost" in said[1]


def test_who_stops_with_an_error_is_quoted(watched):
    heartbeat, (one, two), said = watched
    one.send({"stopped": "process 1 of 3 stopped: no such file"})
    heartbeat.listen(LONG)
    assert said == ["process 1 of 3 stopped: no such file"]
    assert two.wait_for(LONG) == {"stopped": "process 1 of 3 stopped: no such file"}


def test_who_has_left_is_not_lost(watched):
    heartbeat, (one, two), said = watched
    one.send({"left": True})
    one.connection.close()
    while len(heartbeat._selector.get_map()) > 1:  # until its end is heard too
        heartbeat.listen(LONG)
    assert not said
    two.connection.close()
    heartbeat.listen(LONG)
    assert "process 2 of 3 was lost" in said[0]


def test_silence_is_a_loss(watched):
    heartbeat, (_, two), said = watched
    for _ in range(SILENT_BEATS - 1):
        heartbeat.beat()
        two.send()
        heartbeat.listen(LONG)
    assert not said
    heartbeat.beat()
    assert "process 1 of 3 was lost: nothing came from it for 20 s" in said[0]
    assert len(said) == 1


def test_a_thread_listens_and_beats_until_it_leaves(monkeypatch):
    monkeypatch.setattr(processes, "BEAT_SECONDS", 0.01)
    heard, (near, far) = threading.Event(), socket.socketpair()
    heartbeat, other = Heartbeat({0: Peer(near)}, 2, lambda message: heard.set()), Peer(far)
    heartbeat.start()
    assert far.recv(1) == b"\n"  # alive
    other.send({"stopped": "enough"})
    assert heard.wait(LONG)
    heartbeat.leave({"left": True})
    heartbeat.join(LONG)
    assert not heartbeat.is_alive()
    assert other.wait_for(LONG) == {"left": True}
    far.close()


def test_how_processes_are_called():
    assert named([0, 2, 3], 4) == "processes 0, 2 and 3 of 4"


def test_all_devices_gather_without_a_word(capfd):
    found = processes._gather_silently(np.uint8(7))
    assert found.tolist() == [7] * jax.device_count()
    assert capfd.readouterr().out == ""


# ---- what is decided alike


def test_a_signal_is_deferred_and_a_second_one_is_not():
    before = signal.getsignal(signal.SIGTERM)
    with defer_signals() as signals:
        assert not signals.stop_requested()
        with defer_signals() as inner:
            assert inner is signals
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop_requested()
        assert signals.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_terminal_is_a_signal_too_unless_it_is_to_be_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with defer_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.signal == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with defer_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_there_are_no_handlers():
    def inside():
        with defer_signals() as signals:
            return signals.stop_requested(), signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor() as pool:
        assert pool.submit(inside).result(LONG) == (False, signal.getsignal(signal.SIGTERM))


def test_a_signal_of_one_process_stops_all(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with defer_signals() as signals:
        monkeypatch.setattr(processes, "all_gather", lambda own: np.array([own, 0]))
        assert not signals.stop_requested()
        monkeypatch.setattr(processes, "all_gather", lambda own: np.array([own, signal.SIGTERM]))
        assert signals.stop_requested()
        assert signals.signal == signal.SIGTERM


def test_all_start_at_the_same_step(monkeypatch):
    check_same_start(3)
    monkeypatch.setattr(processes, "all_gather", lambda own: np.array([own, 40]))
    with pytest.raises(InputError, match="step 3 in one process and 40 in another; share the fol"):
        check_same_start(3)
