"""Data parallel on eight devices: the same result, the same bits again, one all-reduce a step."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import environment

BOUND = 1e-12
"""How far the parameters may be from those of one device, relative to the largest, in float64."""
CROSSING = re.compile(
    r" = (\S.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-start)?\("
)
SHAPE = re.compile(r"([a-z]+)(\d+)\[([\d,]*)\]")


def messages(text):
    """(kind, bytes) of everything that crosses devices in a compiled program."""
    return [
        (kind, sum(
            int(bits) // 8 * int(np.prod([int(n) for n in shape.split(",") if n], initial=1))
            for _, bits, shape in SHAPE.findall(result)
        ))
        for result, kind in CROSSING.findall(text)
    ]  # fmt: skip


def run_on_devices(*options):
    """What on_devices.py prints, run by eight devices of a CPU."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("on_devices.py")), *options],
        env=environment(8, strict=True), capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["quick", pytest.param("whole", marks=pytest.mark.slow)])
def found(request):
    return run_on_devices(request.param)


def test_the_same_on_any_number_of_devices(found):
    assert found["differences"]
    for label, by_devices in found["differences"].items():
        for devices in {"1", "2", "4", "8"} & set(by_devices):
            assert by_devices[devices] <= BOUND, f"{label} on {devices} devices"


def test_newton_ends_at_the_same_optimum(found):
    """Both end where no gradient is above 1e-12, and E bends by 0.01 and more."""
    assert found["optima"]
    for apart in found["optima"].values():
        assert apart <= 1e-9


def test_the_same_bits_on_the_same_number_of_devices(found):
    assert all(by_devices["again"] for by_devices in found["differences"].values())


def test_one_all_reduce_a_step_of_the_size_of_the_parameters(found):
    """In the loop and in a look; and no other message. Nothing grows with N."""
    for label, by_examples in found["programs"].items():
        for examples, program in by_examples.items():
            expected = [("all-reduce", 8 * (program["parameters"] + 1))]
            for text in program["text"]:
                assert messages(text) == expected, f"{label}, {examples} examples"


def test_a_second_sum_is_seen(found):
    """Planted: the loss summed once more, of no use to anybody."""
    for text in found["planted"]["text"]:
        assert len(messages(text)) == 2


def test_messages_are_counted():
    text = "  %a = (f64[], f64[5,37]{1,0}) all-reduce(%b, %c), channel_id=1\n  %d = f32[4] add(%a)"
    assert messages(text) == [("all-reduce", 8 * 186)]
    assert messages(" ROOT %g = f32[8,2]{1,0} all-gather(%x), dimensions={0}") == [
        ("all-gather", 64)
    ]
