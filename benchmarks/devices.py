"""The bars of all results, device beside device: `python -m benchmarks.devices`.

Prints the table of `docs/measured.md`, CPUs and accelerators apart, and the sentence of `README.md`
with the range over devices. Tests hold both texts against the results, so after a new run they are
to be replaced by what this prints.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from handgrad.bench import JOBS
from handgrad.bench.report import Bar, read_report
from handgrad.errors import InputError

RESULTS = Path(__file__).parent / "results"
APART = ("streaming", "judge")
"""Jobs whose results have a table of their own, or are no races."""


class Found(NamedTuple):
    """A bar as one device met or missed it."""

    device: str
    platform: str
    title: str
    bar: Bar


def read_bars(folder: Path = RESULTS) -> list[Found]:
    """Of every file below the folder that holds reports; the others are no results of races."""
    found = []
    jobs = [*JOBS, *APART]

    def place(path: Path) -> tuple:
        return jobs.index(path.stem) if path.stem in jobs else len(jobs), path

    for path in sorted(folder.rglob("*.json"), key=place):
        if path.stem in APART:
            continue
        try:
            machine, reports = read_report(path)
        except InputError:
            continue
        cores = f", {machine['cores']} cores" if machine["platform"] == "cpu" else ""
        device = plain_name(machine["device"]) + cores
        found += [Found(device, machine["platform"], report.title, bar)
                  for report in reports for bar in report.bars]  # fmt: skip
    return found


def plain_name(device: str) -> str:
    """A device's name without what its maker adds.

    >>> plain_name("Intel(R) Xeon(R) Processor @ 2.10GHz"), plain_name("AMD EPYC")
    ('Intel Xeon', 'AMD EPYC')
    """
    words = device.replace("(R)", "").replace("(TM)", "").partition("@")[0].split()
    return " ".join(word for word in words if word not in ("Processor", "CPU"))


def measured(bar: Bar) -> tuple[str, str]:
    """What a bar is about, and the peer in it, which need not be the same on every device.

    >>> measured(Bar("times as fast as the best peer, glum", 3.0, 1.9))
    ('times as fast as the best peer', 'glum')
    """
    about, _, peer = bar.name.partition("the best peer, ")
    return (f"{about}the best peer", peer) if peer else (bar.name, "")


def cell(bar: Bar) -> str:
    """The figure, in bold if it misses the bar, and the peer."""
    figure = f"{bar.got:.3g}" if bar.met else f"**{bar.got:.3g}**"
    peer = measured(bar)[1]
    return f"{figure} ({peer})" if peer else figure


def lines_of(found: Sequence[Found]) -> list[str]:
    """A table in Markdown: a row for each bar, a column for each device."""
    devices = sorted({one.device for one in found})
    rows: dict[tuple[str, str], dict[str, Bar]] = {}
    for one in found:
        rows.setdefault((one.title, measured(one.bar)[0]), {})[one.device] = one.bar
    lines = [["job", "measured", "asked for", *devices], ["---"] * (3 + len(devices))]
    for (title, about), bars in rows.items():
        asked = dict.fromkeys(
            f"{'≤' if bar.at_most else '≥'} {bar.wanted:.3g}" for bar in bars.values()
        )
        cells = [cell(bars[device]) if device in bars else "–" for device in devices]
        lines.append([title, about, " or ".join(asked), *cells])
    return ["|" + "|".join(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |"
            for line in lines]  # fmt: skip


def tables(found: Sequence[Found]) -> list[str]:
    """The table of the CPUs, and that of the accelerators, each if there are any."""
    kinds = ([one for one in found if (one.platform == "cpu") is cpu] for cpu in (True, False))
    return ["\n".join(lines_of(kind)) for kind in kinds if kind]


def span(values: Sequence[float]) -> str:
    """One figure, or the least and the most.

    >>> span([2.964]), span([1.2, 2.964, 2])
    ('2.96', '1.2 to 2.96')
    """
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def sentence(found: Sequence[Found]) -> str:
    """What the README says of speed, over all CPUs that have been measured."""

    cpus = [one for one in found if one.platform == "cpu"]

    def over_devices(title: str, name: str) -> list[float]:
        return [one.bar.got for one in cpus if (one.title, one.bar.name) == (title, name)]

    passes = over_devices("1,000,000 × 64 float32, binary", "times as fast as optax + jax.grad")
    layer = "8,192 tokens, 256 features, 65,536 words, float32"
    times = [1 / share for share in over_devices(layer, "of optax + jax.grad's time")]
    memory = [
        round(1 / share) for share in over_devices(layer, "of optax + jax.grad's temporaries")
    ]
    devices = " and ".join(sorted({one.device for one in cpus}))
    return (
        f"Against optax with `jax.grad` ({devices}): one pass over a million rows is "
        f"{span(passes)} times as fast, an output layer {span(times)} times in {span(memory)} "
        "times less memory."
    )


if __name__ == "__main__":
    bars = read_bars()
    print("\n\n".join([*tables(bars), sentence(bars)]))
