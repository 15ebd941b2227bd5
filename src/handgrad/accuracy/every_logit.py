"""The error of every formula at every float32 logit: how far from the truth, and where.

All 4,278,190,080 finite float32 numbers, or a sample spread over all exponents. NaN is no input;
the two infinities are looked at apart. The error is in ulp of float32 at the truth. Results whose
truth is below the smallest normal number, 2⁻¹²⁶, are counted apart, since XLA flushes them to zero
on the CPU: how many, how many came out as 0, and the error of the others in units of 2⁻¹⁴⁹.

The inputs come in blocks of 2¹⁷ neighbouring numbers, 64 blocks to a power of two, so the worst
errors of the blocks are at the same time the profile of the error over the logits. A formula is
compiled alone, vectorised over many inputs, as a user's own `jax.jit` of it would be. What measures
it is another compiled function, so neither changes how XLA compiles the other. Inputs, truth,
formula and measure all stay on the devices, a share of the blocks on each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from handgrad._precision import x64
from handgrad.accuracy.atlas import FAILURES, AtlasRow
from handgrad.accuracy.formulas import (
    FORMULAS,
    LIBRARY,
    LOG_SIGMOID,
    NAIVE,
    OWN,
    RESIDUAL_0,
    RESIDUAL_1,
    SIGMOID,
    SOFTPLUS,
    STABLE,
    TANH,
    TEXTBOOK,
    Formula,
    Scaled,
    Truth,
    scaled,
)
from handgrad.accuracy.functions import DEFAULT, HANDGRAD
from handgrad.errors import InputError
from handgrad.verify.ulp import ulp_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMIT_ULP = 4.0

BLOCK = 2**17
ALL_BLOCKS = np.concatenate([np.arange(0x3FC0), 0x4000 + np.arange(0x3FC0)])
"""The upper 15 bits of every finite float32 number: first the positive ones, then the negative."""

SCRAMBLE = 2_654_435_761  # odd, near 2³²/φ: successive multiples of it are spread evenly

PER_CALL = {"cpu": 2**20}  # inputs a call on each device: small enough for the processor's cache
PER_CALL_ELSEWHERE = 2**25

MEASURES = (
    "max_ulp", "subnormal_max_ulp",  # of finite results; of those below 2⁻¹²⁶ that are not 0
    "nan", "inf", "wrong_sign", "zero", "subnormal_zero",  # `zero`: where the truth is normal
    "normal", "subnormal",  # how many inputs have such a truth; the rest is below 2⁻¹⁵⁰
    "above_1", "above_10",  # ulp where the truth is normal; what is not finite is
)  # fmt: skip
MAXIMA = 2
ONE, TEN = (int(np.float32(ulp).view(np.int32)) for ulp in (1, 10))

UNIT_EDGES = np.arange(-128.0, 129.0)
"""Bins of width 1 over −128 ≤ z ≤ 128, where everything happens."""
_POWERS = 2.0 ** np.arange(-30, 129)
EXPONENT_EDGES = np.concatenate([-_POWERS[::-1], [0.0], _POWERS])
"""Bins by sign and power of two; all below 2⁻³⁰ together."""


# --- the result -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepResult:
    """What one formula does over the inputs. `zero` counts results of 0 where the truth is normal.

    Its fields are the keys of the forms in the JSON of `handgrad atlas --every-logit --json`.
    """

    target: str
    form: str
    formula: str
    inputs: int
    max_ulp: float
    worst_at: float
    computed: float
    true: float
    nan: int
    inf: int
    wrong_sign: int
    zero: int
    nearest: dict[str, float]
    """For each kind of failure that occurs, the input nearest to 0 at which it does."""
    normal: int
    subnormal: int
    subnormal_zero: int
    subnormal_max_ulp: float
    above_1: int
    above_10: int
    ns: float
    """Nanoseconds per element."""
    at_infinities: tuple[float, float]
    limits_right: bool
    blocks: np.ndarray = field(repr=False)
    profile: np.ndarray = field(repr=False)
    """The largest error in each block; NaN where no truth of the block is normal."""
    failing: np.ndarray = field(repr=False)
    """Whether the block has a NaN, an infinity or a wrong sign."""


def sweep(
    formulas: Sequence[Formula] = FORMULAS,
    *,
    sample: int | None = None,
    blocks: np.ndarray = ALL_BLOCKS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SweepResult]:
    """Run every formula on every input of `blocks`, or on at least `sample` of them.

    `progress(done, total)` is called with numbers of inputs. Raises InputError for a sample that
    is not between 1 and the number of inputs.
    """
    check_sample(sample, blocks)
    count = BLOCK if sample is None else -(-sample // len(blocks))
    runner = SweepRunner(formulas, count, len(blocks))
    parts: list[list[np.ndarray]] = []
    done = 0
    for measured, found in runner.measure_all(blocks):
        parts.append(found)
        done += measured
        progress(done * count, len(blocks) * count)
    return [
        _result(runner, formula, blocks, np.concatenate([p[i] for p in parts], axis=1))
        for i, formula in enumerate(runner.formulas)
    ]


def check_sample(sample: int | None, blocks: np.ndarray = ALL_BLOCKS) -> None:
    """Raise InputError unless that number of inputs can be drawn from `blocks`."""
    if sample is not None and not 1 <= sample <= len(blocks) * BLOCK:
        expected = f"a number from 1 to {len(blocks) * BLOCK:,}"
        raise InputError("sample", expected, f"{sample:,}", "leave it out for every input")


def failures_of_own(results: Sequence[SweepResult]) -> list[str]:
    """What is wrong with the formulas that this package offers for use; hopefully nothing."""
    library = {r.target: r.max_ulp for r in results if r.form == LIBRARY}
    found = []
    for r in results:
        if r.form not in OWN:
            continue
        where = f"{r.target}, {r.form}"
        found += [
            f"{where}: {getattr(r, kind):,} x {kind}, the first at {r.nearest[kind].hex()}"
            for kind in FAILURES
            if getattr(r, kind)
        ]
        if not r.limits_right:
            found.append(f"{where}: {r.at_infinities} at the infinities")
        if r.max_ulp > LIMIT_ULP:
            found.append(f"{where}: {r.max_ulp:.2f} ulp at {r.worst_at.hex()}")
        elif r.target in library and r.max_ulp > library[r.target] + 1:
            found.append(f"{where}: more than 1 ulp worse than autodiff of the library")
    return found


def binned(result: SweepResult, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(largest error, any NaN, infinity or wrong sign) of each bin; NaN where none counts."""
    bins = len(edges) - 1
    middles = (result.blocks.astype(np.uint64) * BLOCK + BLOCK // 2).astype(np.uint32)
    z = middles.view(np.float32).astype(np.float64)
    bin_of = np.searchsorted(edges, z, side="right") - 1
    inside = (bin_of >= 0) & (bin_of < bins)
    worst, failing = np.full(bins, np.nan), np.zeros(bins, bool)
    np.fmax.at(worst, bin_of[inside], result.profile[inside])
    np.logical_or.at(failing, bin_of[inside], result.failing[inside])
    return worst, failing


def as_data(result: SweepResult) -> dict[str, Any]:
    """The result as data: inputs as hex floats, the profile by bins instead of blocks."""
    data = asdict(result)
    for name in ("blocks", "profile", "failing"):
        del data[name]
    data["worst_at"] = result.worst_at.hex()
    data["nearest"] = {kind: z.hex() for kind, z in result.nearest.items()}
    for name, edges in (("by_unit", UNIT_EDGES), ("by_exponent", EXPONENT_EDGES)):
        # to three decimals: the reference is no better than that needs
        data[name] = [round(float(error), 3) for error in binned(result, edges)[0]]
    return data


NAMES = {
    RESIDUAL_0: "optax.sigmoid_binary_cross_entropy, y = 0",
    RESIDUAL_1: "optax.sigmoid_binary_cross_entropy, y = 1",
    LOG_SIGMOID: "jax.nn.log_sigmoid", SOFTPLUS: "jax.nn.softplus", SIGMOID: "jax.nn.sigmoid",
    TANH: "jnp.tanh",
}  # fmt: skip
"""The functions whose derivatives the targets are, as the atlas calls them."""
FORMS = {LIBRARY: DEFAULT, STABLE: HANDGRAD}


def rows_of(results: Sequence[SweepResult]) -> list[AtlasRow]:
    """The results as rows of the atlas."""
    names = {target.name: name for target, name in NAMES.items()}
    return [
        AtlasRow(
            names[r.target], 1, "float32", FORMS.get(r.form, r.form), round(r.max_ulp, 4),
            r.worst_at.hex(), r.nan, r.inf, r.wrong_sign, r.zero, r.above_1 / max(r.normal, 1),
            r.above_10 / max(r.normal, 1), r.subnormal, r.inputs - r.subnormal, round(r.ns, 3),
        )
        for r in results
    ]  # fmt: skip


def versions() -> dict[str, str]:
    """What the results depend on besides the machine."""
    return {name: version(name) for name in ("handgrad", "jax", "jaxlib", "optax")}


# --- on the devices ---------------------------------------------------------------------------


@partial(jax.jit, static_argnums=1)
def inputs_of(blocks: UInt32[Array, "B"], count: int) -> Float[Array, "B count"]:
    """`count` numbers of each block: its first, then evenly apart, shifted from block to block."""
    stride = np.uint32(BLOCK // count)
    shift = blocks * np.uint32(SCRAMBLE) % stride
    within = lax.iota(jnp.uint32, count)[None, :] * stride
    within = within + jnp.where(within > 0, shift[:, None], np.uint32(0))
    bits = blocks[:, None] * np.uint32(BLOCK) + within
    return lax.bitcast_convert_type(bits, jnp.float32)


@jax.jit
def measure(y: Float[Array, "B count"], truth: Scaled) -> Int[Array, "measures B"]:
    """The `MEASURES` of each block, in one pass; the maxima as the bits of a float32.

    The bits of non-negative floats are ordered as the floats are, and whole numbers may be reduced
    in any order, so XLA vectorises this where it would walk through a maximum of floats.
    """
    relative = y * truth.scale
    ulp = jnp.abs(relative - truth.high - truth.low) * np.float32(2**23)
    ulp = jnp.minimum(ulp, jnp.finfo(jnp.float32).max)
    ulp = jnp.where(jnp.isfinite(y), lax.bitcast_convert_type(ulp, jnp.int32), 0)
    normal = truth.high >= 1
    subnormal = ~normal & (truth.high >= np.float32(2.0**-24))
    zero = relative == 0
    broken = ~jnp.isfinite(y)
    columns = (
        jnp.where(normal, ulp, 0),
        jnp.where(normal | zero, 0, ulp),
        jnp.isnan(y),
        jnp.isinf(y),
        relative < 0,
        normal & zero,
        subnormal & zero,
        normal,
        subnormal,
        normal & ((ulp > ONE) | broken),
        normal & ((ulp > TEN) | broken),
    )

    def combine(a: tuple, b: tuple) -> tuple:
        pairs = list(zip(a, b, strict=True))
        return (*(jnp.maximum(*p) for p in pairs[:MAXIMA]), *(p + q for p, q in pairs[MAXIMA:]))

    return jnp.stack(
        lax.reduce(
            tuple(column.astype(jnp.int32) for column in columns),
            (np.int32(0),) * len(columns), combine, (1,),
        )
    )  # fmt: skip


class SweepRunner:
    """Compiled formulas, and the devices that they run on; `count` inputs of each of the blocks."""

    def __init__(self, formulas: Sequence[Formula], count: int, blocks: int):
        self.formulas = tuple(formulas)
        self.count = count
        self.compiled = [jax.jit(formula.function) for formula in self.formulas]
        devices = jax.devices()
        mesh = Mesh(np.array(devices), ("blocks",), axis_types=(AxisType.Auto,))
        self.sharding = NamedSharding(mesh, PartitionSpec("blocks"))
        per_call = PER_CALL.get(devices[0].platform, PER_CALL_ELSEWHERE)
        on_each = min(max(1, per_call // count), -(-blocks // len(devices)))
        self.blocks_per_call = max(2, on_each) * len(devices)

    def inputs(self, blocks: np.ndarray) -> Float[Array, "B count"]:
        """The inputs of these blocks and, to fill the call, of the last one again."""
        filled = np.full(self.blocks_per_call, blocks[-1], np.uint32)
        filled[: len(blocks)] = blocks
        return inputs_of(jax.device_put(filled, self.sharding), self.count)

    def measure_all(self, blocks: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
        """(number of blocks, their measures for each formula), call after call.

        A call is fetched once the next one is under way.
        """
        pending: tuple[int, list[Array]] | None = None
        for start in range(0, len(blocks), self.blocks_per_call):
            part = blocks[start : start + self.blocks_per_call]
            z, truths, found = self.inputs(part), dict[Truth, Scaled](), []
            for formula, function in zip(self.formulas, self.compiled, strict=True):
                truth = formula.target.truth
                if truth not in truths:
                    with x64():
                        truths[truth] = scaled(truth, z)
                found.append(measure(function(z), truths[truth]))
            if pending:
                yield _fetch(*pending)
            pending = len(part), found
        if pending:
            yield _fetch(*pending)

    def evaluate(
        self, formula: Formula, blocks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs of some blocks, what the formula computes there, and the truth in float64."""
        z = self.inputs(blocks)
        y = self.compiled[self.formulas.index(formula)](z)
        with x64():
            truth = scaled(formula.target.truth, z)
        scale, high, low = (np.asarray(part, np.float64) for part in truth)
        own = slice(len(blocks))
        return np.asarray(z)[own], np.asarray(y)[own], ((high + low) / scale)[own]

    def at_infinities(self, formula: Formula) -> tuple[float, float]:
        """What the formula computes at −∞ and at ∞."""
        z = np.full((self.blocks_per_call, self.count), np.inf, np.float32)
        z[0, 0] = -np.inf
        y = self.compiled[self.formulas.index(formula)](jax.device_put(z, self.sharding))
        minus, plus = np.asarray(y).ravel()[:2].tolist()
        return minus, plus

    def seconds_per_input(self, formula: Formula, blocks: np.ndarray) -> float:
        """The best of three runs over the inputs of one call."""
        z, function = self.inputs(blocks[:1]), self.compiled[self.formulas.index(formula)]
        seconds = []
        for _ in range(3):
            start = perf_counter()
            jax.block_until_ready(function(z))
            seconds.append(perf_counter() - start)
        return min(seconds) / z.size


def _fetch(blocks: int, found: list[Array]) -> tuple[int, list[np.ndarray]]:
    """Wait for the devices, and drop what filled the call."""
    return blocks, [np.asarray(array)[:, :blocks] for array in found]


# --- from measures to a result ----------------------------------------------------------------


def _result(
    runner: SweepRunner, formula: Formula, blocks: np.ndarray, found: np.ndarray
) -> SweepResult:
    """The measures of all blocks as one value, with the inputs at which the worst happened."""
    columns = dict(zip(MEASURES, found, strict=True))
    maxima = {name: columns[name].view(np.float32) for name in MEASURES[:MAXIMA]}
    totals = {name: int(columns[name].sum(dtype=np.int64)) for name in MEASURES[MAXIMA:]}
    worst = int(np.argmax(columns["max_ulp"]))
    distance = blocks & 0x3FFF  # from 0: the bits without that of the sign
    nearest = {
        kind: int(np.argmin(np.where(columns[kind] > 0, distance, np.iinfo(blocks.dtype).max)))
        for kind in FAILURES
        if totals[kind]
    }
    chosen, rows = np.unique([worst, *nearest.values()], return_inverse=True)
    there = runner.evaluate(formula, blocks[chosen])
    z, y, true = (part[rows[0]] for part in there)
    at = int(np.argmax(np.where(_countable(y, true), ulp_error(y, true, "float32"), -1)))
    minus, plus = runner.at_infinities(formula)
    with x64():
        limits = formula.target.truth.float64(jnp.array([-jnp.inf, jnp.inf], jnp.float64))
    return SweepResult(
        target=formula.target.name, form=formula.form, formula=formula.text,
        inputs=len(blocks) * runner.count, max_ulp=float(maxima["max_ulp"][worst]),
        worst_at=float(z[at]), computed=float(y[at]), true=float(true[at]),
        nearest={
            kind: _nearest(kind, *(part[row] for part in there))
            for kind, row in zip(nearest, rows[1:], strict=True)
        },
        subnormal_max_ulp=float(maxima["subnormal_max_ulp"].max()),
        ns=runner.seconds_per_input(formula, blocks) * 1e9, at_infinities=(minus, plus),
        limits_right=[minus, plus] == limits.tolist(), blocks=blocks,
        profile=np.where(columns["normal"] > 0, maxima["max_ulp"], np.nan),
        failing=(columns["nan"] + columns["inf"] + columns["wrong_sign"]) > 0, **totals,
    )  # fmt: skip


def _countable(y: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Where an error in ulp is counted: a finite result, and a normal truth."""
    return np.isfinite(y) & (np.abs(true) >= np.finfo(np.float32).tiny)


def _nearest(kind: str, z: np.ndarray, y: np.ndarray, true: np.ndarray) -> float:
    """The input nearest to 0 at which this kind of failure occurs."""
    failing = {
        "nan": np.isnan(y),
        "inf": np.isinf(y),
        "wrong_sign": y * true < 0,
        "zero": (y == 0) & _countable(y, true),
    }[kind]
    return float(min(z[failing], key=abs))


# --- the figure -------------------------------------------------------------------------------

STYLES: dict[str, tuple[str, float, Any]] = {
    NAIVE: ("#9aa5b1", 1.4, "-"),
    TEXTBOOK: ("#f0b95b", 4.2, "-"),
    STABLE: ("#0b6e4f", 2.2, "-"),
    LIBRARY: ("#d1495b", 1.5, (0, (3, 1.2))),
}
"""Colour, width and dashes, drawn in this order: where formulas agree, both stay visible."""
SHOWN = 112  # beyond, every formula is constant
LOWEST, NO_DIGIT, TOP = 0.35, 2.0**24, 2.0**31.5
STRIPS = {NAIVE: 2.0**30, TEXTBOOK: 2.0**28.7, LIBRARY: 2.0**27.4, STABLE: 2.0**26.1}
"""Above the errors, a strip for each formula where it gives a NaN, an infinity or a wrong sign."""
INK, FAINT = "#22313f", "#8795a1"


def error_figure(results: Sequence[SweepResult], subtitle: str) -> "Figure":
    """Small multiples on one scale: error in ulp (logarithmic) against the logit."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    targets = list(dict.fromkeys(r.target for r in results))
    columns = min(3, len(targets))
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(4.3 * columns + 0.6, 3.7 * rows + 1.2))
    figure.subplots_adjust(
        left=0.075, right=0.985, bottom=0.5 / (3.7 * rows + 1.2),
        top=1 - 1.05 / (3.7 * rows + 1.2), wspace=0.07, hspace=0.17,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, target in zip(grid, targets, strict=False):
        _draw_target(axes, target, [r for r in results if r.target == target])
    for axes in grid[len(targets) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("largest error (ulp)", color=INK)
    for axes in grid[-columns:]:
        axes.set_xlabel("logit z", color=INK)
    height = figure.get_size_inches()[1]
    figure.text(
        0.075, 1 - 0.18 / height, "How wrong is the gradient, at every float32 logit?",
        size=15, weight="bold", color=INK, va="top",
    )  # fmt: skip
    figure.text(0.075, 1 - 0.5 / height, subtitle, size=9.5, color=FAINT, va="top")
    handles = [
        Line2D([], [], color=colour, linewidth=width, linestyle=dashes, label=name)
        for name, (colour, width, dashes) in STYLES.items()
    ]
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.1 / height),
        ncols=4, frameon=False, labelcolor=INK, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _draw_target(axes: "Axes", target: str, results: Sequence[SweepResult]) -> None:
    """One gradient: a step line for each formula, and a strip above it where the formula breaks."""
    truth = np.full(len(UNIT_EDGES) - 1, np.nan)
    by_form = {r.form: r for r in results}
    for name, (colour, width, dashes) in STYLES.items():
        if name not in by_form:
            continue
        worst, failing = binned(by_form[name], UNIT_EDGES)
        truth = np.fmax(truth, worst)
        axes.stairs(
            np.clip(worst, LOWEST, NO_DIGIT), UNIT_EDGES, baseline=None, color=colour,
            linewidth=width, linestyle=dashes,
        )  # fmt: skip
        axes.stairs(
            np.where(failing, STRIPS[name] * 1.4, np.nan), UNIT_EDGES, baseline=STRIPS[name] / 1.4,
            fill=True, color=colour, linewidth=0,
        )  # fmt: skip
    shade = np.where(np.isnan(truth), TOP, np.nan)  # the truth is below the normal numbers there
    axes.stairs(shade, UNIT_EDGES, baseline=LOWEST, fill=True, color="#f1f3f5", zorder=0)
    axes.axhline(LIMIT_ULP, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.axhline(NO_DIGIT, color="#d5dbe1", linewidth=0.8, zorder=1)
    axes.set_yscale("log", base=10)
    axes.set_xlim(-SHOWN, SHOWN)
    axes.set_ylim(LOWEST, TOP)
    axes.set_yticks([0.5, LIMIT_ULP, 100, 1e4, 1e6, NO_DIGIT, 2.0**28])
    axes.set_yticklabels(["½", "4", "100", "10⁴", "10⁶", "no digit", "NaN, ∞, sign"])
    axes.minorticks_off()
    axes.set_xticks(range(-100, 101, 50))
    axes.set_title(target, loc="left", size=11, weight="bold", color=INK, pad=5)
    axes.tick_params(colors=INK, length=0, labelsize=8.5)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color="#e6eaee", linewidth=0.7)
    axes.set_axisbelow(True)
