"""What a stranger may send to the port of a coordinator: it is refused, and nothing falls over."""

import json
import socket

from hypothesis import strategies as st

from fuzz.harness import REFUSED, campaign
from handgrad.scale.processes import Peer, why_refused

ABOUT = {"data": "iris", "seed": 0}
GOOD = {"process": 1, "processes": 2, "about": ABOUT}
VALUES = st.sampled_from([None, True, -1, 0, 1, 10**30, 1.5, "x", [], {}, [1], {"data": 3}, ABOUT])
HELLOS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("process", "processes", "about"), VALUES)
)
LINES = st.one_of(
    st.binary(max_size=60),
    HELLOS.map(lambda hello: json.dumps(hello).encode()),
    st.sampled_from(
        [b"[" * 4000, b"9" * 4000, b"GET / HTTP/1.1\r\n", b"{}", b"null", b"\x16\x03\x01", b""]
    ),
)


@campaign("messages to the coordinator", 500, 25)
def test_messages(draw, outcomes, folder):
    lines = draw.or_sound([json.dumps(GOOD).encode()], st.lists(LINES, min_size=1, max_size=3))

    def call():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"\n".join(lines) + b"\n")
            theirs.close()
            hello = Peer(ours).wait_for(1.0)
            said = None if hello is None else why_refused(hello, 2, ABOUT, {})
            assert hello is None or isinstance(said, str)
            return None if said == "" else REFUSED

    outcomes.hold(call, lines)
