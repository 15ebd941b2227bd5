"""The harness fails where it should: it is shown surfaces that are broken in each way."""

from types import SimpleNamespace

import pytest
from hypothesis import strategies as st

from fuzz.harness import REFUSED, campaign
from handgrad.errors import InputError


def refuses_all(sound, number):
    raise InputError("number", "another number", number, "pass none")


def accepts_all(sound, number):
    return number


def by_exit_code(sound, number):
    return None if sound else REFUSED


def without_words(sound, number):
    if not sound:
        error = InputError("", "", "", "")
        error.args = ("  ",)
        raise error


def breaks(sound, number):
    if sound:
        return
    raise KeyError(number)


def leaves(sound, number):
    if not sound:
        raise SystemExit(0)


def refuses_what_is_bad(sound, number):
    if not sound:
        raise InputError("number", "another number", number, "pass none")


FAULTS = {
    refuses_all: "a sound input is refused",
    accepts_all: "none is refused",
    without_words: "an error without words",
    breaks: "KeyError",
    leaves: "SystemExit",
    by_exit_code: None,
    refuses_what_is_bad: None,
}


@pytest.mark.parametrize(
    ("surface", "fault"), FAULTS.items(), ids=lambda v: getattr(v, "__name__", "")
)
def test_a_broken_surface_is_found(surface, fault, tmp_path, monkeypatch):
    def body(draw, outcomes, folder):
        number = draw(st.integers())
        outcomes.hold(lambda: surface(draw.sound, number), number)

    request = SimpleNamespace(node=SimpleNamespace(user_properties=[]))
    test = campaign("made up", 40, 40)(body)
    if fault is None:
        test(request, tmp_path, monkeypatch)
        ((_, counts),) = request.node.user_properties
        assert counts["accepted"] == 5
        assert counts["refused"] > 20
        return
    with pytest.raises(AssertionError, match=fault):
        test(request, tmp_path, monkeypatch)


def test_a_body_that_tries_nothing_is_found(tmp_path, monkeypatch):
    request = SimpleNamespace(node=SimpleNamespace(user_properties=[]))
    with pytest.raises(AssertionError, match="none is accepted"):
        campaign("made up", 9, 9)(lambda draw, outcomes, folder: None)(
            request, tmp_path, monkeypatch
        )
