"""Contenders are checked before they are timed; rounds are shared; results survive as data."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.bench import Bar, Report, compiled, facts, plain, race, ratio, read_report, timing
from handgrad.bench.report import (
    as_table,
    draw_figures,
    draw_scaling,
    draw_speeds,
    slug,
    write_reports,
)
from handgrad.bench.timing import (
    FEWEST,
    QUICK,
    Peak,
    Quartiles,
    Timing,
    WrongAnswerError,
    fastest,
    multipliers,
    readers,
)
from handgrad.errors import InputError


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(timing, "REST", 0.0)


def sleeper(name, seconds, log=None):
    def run():
        if log is not None:
            log.append(name)
        time.sleep(seconds)

    return plain(name, run)


def test_a_ratio_is_that_of_what_was_run():
    timings = race([sleeper("slow", 0.02), sleeper("fast", 0.005)], budget=0.1)
    times = ratio(timings["slow"], timings["fast"])
    assert 2 < times.median < 5
    assert times.lower <= times.median <= times.upper
    assert fastest(list(timings.values())).name == "fast"


def test_every_round_has_everyone_and_the_first_changes():
    log = []
    contenders = [sleeper("a", 0, log), sleeper("b", 0, log), sleeper("c", 0, log)]
    log.clear()
    timings = race(contenders, budget=1e-9)
    assert all(len(timing.seconds) == FEWEST for timing in timings.values())
    rounds = [log[i : i + 3] for i in range(0, len(log), 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert [names[0] for names in rounds[:4]] == ["a", "b", "c", "a"]
    quick = race(contenders, quick=True)
    assert all(len(timing.seconds) == QUICK for timing in quick.values())


def test_a_wrong_answer_has_no_time():
    def check(answer):
        np.testing.assert_allclose(answer, 6.0)

    assert compiled("right", jnp.sum, jnp.array([1.0, 2.0, 3.0]), check=check).answer == 6
    with pytest.raises(WrongAnswerError, match=r"^wrong: "):
        compiled("wrong", jnp.prod, jnp.array([1.0, 2.0, 4.0]), check=check)
    with pytest.raises(WrongAnswerError, match=r"^plain: "):
        plain("plain", lambda: 5.0, check)


@pytest.mark.parametrize("large", [1, 2**28], ids=["where they are", "on the host"])
def test_answers_are_compared_wherever_they_are(monkeypatch, large):
    monkeypatch.setattr(timing, "LARGE", large)
    right = (jnp.float32(2.0), jnp.array([1.0, -4.0], jnp.bfloat16))
    check = timing.equal_to(right, 1e-2)
    check((2.01, jnp.array([1.03, -4.0])))
    for wrong in (1.05, -4.0), (jnp.nan, -4.0), (1.0, 4.0):
        with pytest.raises(AssertionError, match="off by"):
            check((2.0, jnp.array(wrong)))


def test_a_program_tells_its_memory():
    a = jnp.ones((64, 64))
    contender = compiled("product", lambda a: jnp.exp(a @ a) @ a, a)
    assert contender.temporaries >= 64 * 64 * 4
    assert contender.compile_seconds > 0


def test_a_run_ends_when_the_result_is_there():
    """A dispatch alone would take a small part of what waiting for the result does."""
    a = jnp.ones((900, 900))
    contender = compiled("long", lambda a: a @ a @ a @ a @ a, a)
    began = time.perf_counter()
    answer = contender.run()
    waited = time.perf_counter() - began
    began = time.perf_counter()
    answer.block_until_ready()
    assert time.perf_counter() - began < 0.2 * waited


def test_limits_are_contenders():
    x, w = jnp.ones((100, 8)), jnp.ones(8)
    names = [reader.name for reader in readers(x, w)]
    assert len(set(names)) == 3
    products = multipliers("float32", (32,))
    assert [flops for _, flops in products.values()] == [2.0 * 32**3]


def test_a_share_of_the_peak_is_taken_round_by_round():
    """The machine slows down by half in the second round, which changes no share."""
    small, large, layer = sleeper("small", 0), sleeper("large", 0), sleeper("layer", 0)
    timings = {
        "small": Timing(small, (1.0, 2.0, 1.0)),  # 1 flop a second
        "large": Timing(large, (2.0, 4.0, 2.0)),  # 2
        "layer": Timing(layer, (3.0, 6.0, 3.0)),  # 1.5
    }
    peak = Peak.of({"small": (small, 1.0), "large": (large, 4.0)}, timings)
    assert (peak.timing.name, peak.rate) == ("large", 2.0)
    assert peak.share(timings["layer"], 4.5) == 0.75


def test_quartiles():
    assert Quartiles.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Quartiles(3.0, 2.0, 4.0)


def test_a_bar_knows_its_side():
    assert Bar("speed", 2.0, 2.5).met
    assert not Bar("speed", 2.0, 1.9).met
    assert Bar("memory", 0.1, 0.05, at_most=True).met
    assert not Bar("memory", 0.1, 0.2, at_most=True).met


def report():
    rows = [
        {"name": "one pass", "seconds": 0.01, "of_read": 0.6},
        {"name": "NumPy", "seconds": 0.03, "of_read": 0.2},
        {"name": "read: sum", "seconds": 0.006, "of_read": 1.0},
    ]
    return Report(
        "one_pass", "a shape", rows, [Bar("speed", 2.0, 2.5)], figure={"kind": "roofline"}
    )


def test_a_report_as_text():
    row = {
        "name": "a", "seconds": 0.0123, "predicted": None, "error": 0.25, "speed": 2.0,
        "speed_lower": 1.5, "speed_upper": 2.5, "compile_seconds": 0.0, "memory": 2e6,
        "of_read": 0.5, "ns_an_example": 123.4, "times_fit": 1.5, "best_of": 2,
    }  # fmt: skip
    headings, lines = as_table(Report("job", "title", [row]))
    assert headings[:2] == ["", "median"]
    assert lines == [
        ["a", "12.3 ms", "–", "+25%", "2.00× (1.50–2.50)", "–", "2.0 MB", "50%", "123", "1.5", "2"]
    ]
    assert as_table(Report("job", "nothing", [])) == ([], [])


def test_results_come_back_from_their_file(tmp_path):
    machine = facts()
    write_reports(tmp_path / "deep" / "results.json", machine, [report()])
    assert read_report(tmp_path / "deep" / "results.json") == (machine, [report()])
    assert slug(machine).startswith(machine["platform"])
    with pytest.raises(InputError):
        read_report(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(InputError):
        read_report(tmp_path / "other.json")


def test_figures_show_the_shares_and_the_sizes(tmp_path):
    axes = draw_speeds([report()]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [60.0, 20.0]
    rows = [{"name": f"a {n}", "series": "a", "N": n, "seconds": n * 1e-6} for n in (10, 100)]
    growing = Report("scaling", "N: examples", rows, figure={"kind": "scaling", "along": "N"})
    line = draw_scaling([growing]).axes[0].lines[0]
    assert line.get_xdata().tolist() == [10, 100]
    assert [path.name for path in draw_figures([report(), growing], tmp_path)] == [
        "roofline.png",
        "scaling.png",
    ]
