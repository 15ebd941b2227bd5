"""The rule of fuzzing: every input works, or is refused by one clear error, within 30 s.

A campaign runs a body on many drawn inputs. The first eighth of them is sound: nothing is wrong with
them, and they must be accepted, so that a surface that refuses everything fails; and one that refuses
nothing fails too. It counts what was accepted and what was refused, keeps one example of each
distinct fault, the shortest, and fails at its end if there is one.
"""

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from handgrad.errors import HandgradError

WHOLE = bool(os.environ.get("HANDGRAD_FUZZ"))
"""Whether to draw all inputs (`make fuzz`) or a sample of them."""
SECONDS = 30
SHOWN = 400
"""Letters of an input that a report quotes."""
SOUND = 8
"""One input in eight has nothing wrong with it."""


class TookTooLongError(BaseException):
    """Over the limit. No `except Exception` can swallow it."""


@contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Raise TookTooLongError after `seconds` in which this process was not stopped."""
    ticks = 0

    def tick(*_: object) -> None:
        nonlocal ticks
        ticks += 1  # while a process is stopped its ticks do not add up
        if ticks >= seconds:
            raise TookTooLongError(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Draw:
    """Draws from strategies; where `sound` is true nothing may be wrong with the input."""

    def __init__(self, draw: Callable, sound: bool):
        self._draw, self.sound = draw, sound

    def __call__(self, strategy: st.SearchStrategy) -> Any:
        return self._draw(strategy)

    def or_sound(self, good: Any, strategy: st.SearchStrategy) -> Any:
        """`good` where the input is to be sound; else drawn, and seldom as it should be.

        Hypothesis begins with the simplest input, the first of each choice: so the first is bad.
        """
        return good if self.sound else self._draw(st.one_of(strategy, st.just(good)))


class Outcomes:
    """What became of the inputs to one surface."""

    def __init__(self, surface: str):
        self.counts = {"surface": surface, "accepted": 0, "refused": 0, "faults": 0}
        self.faults: dict[str, str] = {}
        self.sound = False
        """Whether the inputs must be accepted."""

    def hold(self, call: Callable[[], object], *described: object) -> None:
        """Run `call`: it works, or raises a HandgradError. Whatever else it does is a fault."""
        try:
            with limited(), warnings.catch_warnings():
                # What a user is told by a warning works; a promise to break later does not.
                for category in (RuntimeWarning, UserWarning):
                    warnings.simplefilter("ignore", category)
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                accepted = call() is not REFUSED
            said = "an exit code of 2"
        except HandgradError as error:
            accepted, said = False, str(error).strip()
            if not said:
                self.fault("an error without words", described)
        except (Exception, SystemExit, TookTooLongError) as error:
            self.fault(place_of(error), (str(error)[: SHOWN // 3], *described))
            return
        self.counts["accepted" if accepted else "refused"] += 1
        if self.sound and not accepted:
            self.fault("a sound input is refused", (said, *described))

    def fault(self, what: str, described: tuple) -> None:
        """Keep the shortest example of each."""
        self.counts["faults"] += 1
        example = " ".join(", ".join(map(repr, described)).split())
        if len(example) < len(self.faults.get(what, example + " ")):
            self.faults[what] = example

    def settle(self) -> None:
        """Fail if there were faults, and name each with its example."""
        told = [f"{what}\n    {example[:SHOWN]}" for what, example in sorted(self.faults.items())]
        assert not told, f"{len(told)} distinct faults:\n" + "\n".join(told)
        for outcome in ("accepted", "refused"):
            assert self.counts[outcome] > 0, f"of {self.counts}, none is {outcome}"


REFUSED = object()
"""What a call returns that was refused by an exit code, not by an exception."""


def place_of(error: BaseException) -> str:
    """The kind of the exception, and the innermost line of the package that it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/handgrad/" in f.filename]
    place = ""
    if frames:
        file = frames[-1].filename.rpartition("/handgrad/")[2]
        place = f" at {file}:{frames[-1].lineno} {frames[-1].name}"
    return f"{type(error).__name__}{place}"


def campaign(surface: str, inputs: int, sample: int) -> Callable:
    """A test of `body(draw, outcomes, folder)` on `inputs` drawn inputs, by default a `sample`."""

    def wrap(body: Callable) -> Callable:
        def test(request, tmp_path, monkeypatch):
            outcomes, number = Outcomes(surface), inputs if WHOLE else sample
            request.node.user_properties.append(("fuzz", outcomes.counts))
            monkeypatch.chdir(tmp_path)
            sound = max(1, number // SOUND)
            for outcomes.sound, most in ((True, sound), (False, number - sound)):

                @settings(
                    max_examples=most, deadline=None, database=None, derandomize=True,
                    suppress_health_check=list(HealthCheck), phases=[Phase.generate],
                )  # fmt: skip
                @given(st.data())
                def run(data):
                    body(Draw(data.draw, outcomes.sound), outcomes, tmp_path)

                run()
            outcomes.settle()

        test.__name__ = test.__qualname__ = body.__name__
        test.__doc__ = body.__doc__
        return test

    return wrap


# --- the command ----------------------------------------------------------------------------------


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: str) -> Ran:
    """`handgrad ARGUMENTS` in this process, with streams that are as strict as real ones."""
    from handgrad.cli import main

    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    before, sys.argv = sys.argv, ["handgrad", *arguments]
    code = 0
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1 if left.code else 0
    finally:
        sys.argv = before
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return Ran(code, out, err)


def keeps_the_rule(ran: Ran) -> None:
    """Assert that the exit code and what was said are as they should be."""
    assert ran.code in (0, 1, 2, 3), f"exit code {ran.code}: {ran.err[-300:]}"
    assert "Traceback (most recent" not in ran.out + ran.err, ran.err[-300:]
    if ran.code == 2 and not ran.err.startswith("Usage: "):
        said = ran.err or ran.out  # a structure that is wrong is told by the table of the judge
        assert said.strip(), "nothing said"
        if ran.err:
            assert ran.err.startswith("error: "), ran.err[-300:]
            assert ran.err.count("\n") == 1, f"not one line: {ran.err!r}"
            assert ran.err.endswith("\n")
    unprintable = {c for c in ran.out + ran.err if not c.isprintable()} - {"\n"}
    assert not unprintable, f"control characters {unprintable} reach the terminal"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content; None for anything but a regular file."""
    found: dict[str, bytes | None] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            regular = os.path.isfile(path) and not os.path.islink(path)
            content = None
            if regular:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.fsdecode(path)] = content
    return found


ENDS = {".json": b"}\n", ".png": b"IEND\xaeB`\x82", ".html": b"</html>\n"}


def run_and_look(arguments: list[str], folder: Path, outputs: tuple[str, ...] = ()) -> object:
    """Run the command, and look that inputs stay as they are and outputs are whole or not there."""
    before = snapshot(folder)
    ran = command(*arguments)
    after = snapshot(folder)
    keeps_the_rule(ran)
    allowed = {str(folder / output) for output in outputs}
    for path, content in before.items():
        if path not in allowed:
            assert path in after, f"{path} is gone"
            assert after[path] == content, f"{path} is another now"
    new = {path for path in after if path not in before and not path.endswith(".pyc")}
    new = {path for path in new if not path.endswith("__pycache__")}
    assert new <= allowed, f"left behind: {sorted(new - allowed)}"
    if ran.code == 2 and ran.err:
        assert not new, f"refused, but wrote {sorted(new)}"
    for path in allowed & set(after):
        content = after[path]
        if path in new:
            assert content is not None
            assert content.endswith(ENDS[Path(path).suffix.lower()]), f"{path} is cut off"
            os.unlink(path)
    return REFUSED if ran.code == 2 else ran
