"""Who may take part: refusals in words, before JAX is started; and how a loss is noticed."""

import socket
import threading
import time

import pytest
from processes import free_port

from handgrad.errors import InputError
from handgrad.scale import processes as room
from handgrad.scale.processes import Heartbeat, check_addresses, join, listen, named, rendezvous

ABOUT = {"data": "iris", "epochs": 3}
PATIENCE = 2.0
"""Seconds for which the coordinator waits."""


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def coordinator(port):
    """rendezvous(...) in a thread: the coordinator of a run of 3. Gives what it ends with."""
    result = {}

    def call():
        try:
            with listen("127.0.0.1", port) as server:
                result["peers"] = rendezvous(server, 3, ABOUT, PATIENCE)
            for peer in result["peers"].values():
                peer.send({"met": True})
        except InputError as error:
            result["error"] = error

    thread = threading.Thread(target=call)
    thread.start()
    result["thread"] = thread
    yield result
    thread.join()
    for peer in result.get("peers", {}).values():
        peer.connection.close()


def joined(port, process, processes=3, about=ABOUT):
    """join(...) in a thread; a list that gets its answer or its error."""
    answers = []

    def come():
        try:
            answers.append(join("127.0.0.1", port, process, processes, about, 3.0))
        except InputError as error:
            answers.append(error)

    thread = threading.Thread(target=come)
    thread.start()
    return thread, answers


def test_all_meet(port, coordinator):
    come = [joined(port, number) for number in (2, 1)]
    for thread, answers in come:
        thread.join()
        peer, answer = answers[0]
        assert answer == {"met": True}
        peer.connection.close()
    coordinator["thread"].join()
    assert set(coordinator["peers"]) == {1, 2}


@pytest.mark.parametrize(
    ("process", "processes", "about", "words"),
    [
        (1, 4, ABOUT, "started with --processes 3"),
        (3, 3, ABOUT, "number 3 is not one of 1 … 2"),
        (0, 3, ABOUT, "0 is the coordinator"),
        (1, 3, ABOUT | {"epochs": 4}, "epochs is 4 here and 3 at the coordinator"),
    ],
)
def test_one_that_does_not_fit_is_refused(port, coordinator, process, processes, about, words):
    thread, answers = joined(port, process, processes, about)
    thread.join()
    assert words in str(answers[0])


def test_a_number_taken_twice_is_refused_and_the_first_stays(port, coordinator):
    first, kept = joined(port, 1)
    time.sleep(0.2)
    second, refused = joined(port, 1)
    second.join()
    assert "there is a process 1 already" in str(refused[0])
    last, other = joined(port, 2)
    for thread in (first, last):
        thread.join()
    assert kept[0][1] == {"met": True}
    for answers in (kept, other):
        answers[0][0].connection.close()


def test_who_is_missing_is_named_to_all(port, coordinator):
    thread, answers = joined(port, 2)
    thread.join()
    coordinator["thread"].join()
    assert "process 1 of 3 did not come within 2 s" in str(coordinator["error"])
    assert "process 1 of 3 did not come within 2 s" in str(answers[0])


def test_no_coordinator(port):
    with pytest.raises(InputError, match=f"no answer from 127.0.0.1:{port} within 0.5 s"):
        join("127.0.0.1", port, 1, 2, {}, 0.5)


def test_a_stranger_at_the_port():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            with server.accept()[0] as connection:
                connection.sendall(b"220 mail.example.org\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(InputError, match="expected process 0 of handgrad"):
            join("127.0.0.1", server.getsockname()[1], 1, 2, {}, 2.0)
        thread.join()


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match="a free port"):
            listen("127.0.0.1", port)


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


@pytest.fixture
def watched():
    """A coordinator's watch over processes 1 and 2, their ends, and what it has to say."""
    pairs = [socket.socketpair() for _ in range(2)]
    peers = {number: room.Peer(pair[0]) for number, pair in enumerate(pairs, 1)}
    said = []
    thread = Heartbeat(peers, 3, said.append)
    thread.start()
    yield thread, [room.Peer(pair[1]) for pair in pairs], said
    thread.leave({"left": True})
    for pair in pairs:
        for end in pair:
            end.close()


def until(said, seconds=20):
    end = time.monotonic() + seconds
    while not said and time.monotonic() < end:
        time.sleep(0.01)
    return said


def test_a_closed_connection_is_a_loss_and_the_others_are_told(watched):
    _, (one, two), said = watched
    one.connection.close()
    assert "process 1 of 3 was lost: its connection closed" in until(said)[0]
    assert "process 1 of 3 was lost" in two.wait_for(5)["stopped"]


def test_who_stops_with_an_error_is_quoted(watched):
    _, (one, two), said = watched
    one.send({"stopped": "process 1 of 3 stopped: no such file"})
    assert until(said) == ["process 1 of 3 stopped: no such file"]
    assert two.wait_for(5) == {"stopped": "process 1 of 3 stopped: no such file"}


def test_who_has_left_is_not_lost(watched):
    _, (one, two), said = watched
    one.send({"left": True})
    one.connection.close()
    time.sleep(0.3)
    assert not said
    two.connection.close()
    assert "process 2 of 3 was lost" in until(said)[0]


def test_silence_is_a_loss(watched, monkeypatch):
    monkeypatch.setattr(room, "SILENT_BEATS", 3)
    monkeypatch.setattr(room, "BEAT_SECONDS", 0.1)
    _, (_, two), said = watched
    end = time.monotonic() + 20
    while not said and time.monotonic() < end:
        two.send()
        time.sleep(0.02)
    assert "process 1 of 3 was lost: nothing came from it for 0.3 s" in said[0]


def test_how_processes_are_called():
    assert named([0, 2, 3], 4) == "processes 0, 2 and 3 of 4"
