"""The table of bars, device beside device, and the range in the README's sentence."""

import doctest

import pytest

from benchmarks import devices
from benchmarks.accelerator import bundle
from handgrad.bench import Bar, Report
from handgrad.bench.report import write_reports

PASS = "1,000,000 × 64 float32, binary"
LAYER = "8,192 tokens, 256 features, 65,536 words, float32"


@pytest.mark.parametrize("module", [devices, bundle], ids=["devices", "bundle"])
def test_examples(module):
    assert doctest.testmod(module) == (0, doctest.testmod(module).attempted)
    assert doctest.testmod(module).attempted > 0


@pytest.fixture
def folder(tmp_path):
    """Two CPUs and an accelerator, and files that are no results."""

    def write(device, platform, job, *reports):
        machine = {"device": device, "platform": platform, "cores": 2}
        write_reports(tmp_path / device / f"{job}.json", machine, list(reports))

    for device, times, peer in (("Intel(R) Xeon(R)", 1.2, "NumPy"), ("AMD EPYC", 3.0, "glum")):
        bars = [Bar("times as fast as optax + jax.grad", 2.0, times),
                Bar(f"times as fast as the best peer, {peer}", 1.4, times / 2)]  # fmt: skip
        write(device, "cpu", "one_pass", Report("one_pass", PASS, [], bars))
        bars = [Bar("of optax + jax.grad's time", 1.0, 1 / times, True),
                Bar("of optax + jax.grad's temporaries", 1 / 12, 1 / 20, True)]  # fmt: skip
        write(device, "cpu", "linear_cross_entropy", Report("layer", LAYER, [], bars))
    write("A GPU", "gpu", "one_pass", Report("one_pass", PASS, [], [Bar("of reading", 0.85, 0.9)]))
    write("A GPU", "gpu", "judge", Report("judge", "verdicts", [], [Bar("right", 50, 50)]))
    (tmp_path / "AMD EPYC" / "atlas-jax-0.json").write_text("{}")
    return tmp_path


def test_a_column_for_each_device_and_a_table_for_each_kind(folder):
    found = devices.read_bars(folder)
    cpus, accelerators = devices.tables(found)
    assert cpus.splitlines()[:4] == [
        "| job | measured | asked for | AMD EPYC, 2 cores | Intel Xeon, 2 cores |",
        "|---|---|---|---|---|",
        f"| {PASS} | times as fast as optax + jax.grad | ≥ 2 | 3 | **1.2** |",
        f"| {PASS} | times as fast as the best peer | ≥ 1.4 | 1.5 (glum) | **0.6** (NumPy) |",
    ]
    assert accelerators.splitlines()[2:] == [f"| {PASS} | of reading | ≥ 0.85 | 0.9 |"]
    assert devices.tables([one for one in found if one.platform == "gpu"]) == [accelerators]


def test_what_was_not_measured_on_a_device_is_left_open(folder):
    (folder / "AMD EPYC" / "one_pass.json").unlink()
    cpus = devices.tables(devices.read_bars(folder))[0]
    assert f"| {PASS} | times as fast as optax + jax.grad | ≥ 2 | – | **1.2** |" in cpus


def test_the_sentence_has_the_range(folder):
    assert devices.sentence(devices.read_bars(folder)) == (
        "Against optax with `jax.grad` (AMD EPYC, 2 cores and Intel Xeon, 2 cores): one pass over "
        "a million rows is 1.2 to 3 times as fast, an output layer 1.2 to 3 times in 20 times less "
        "memory."
    )
