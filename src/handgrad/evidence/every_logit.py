"""Every float32 logit: how far each form of each scalar gradient is from the truth, and where.

All 4,278,190,080 finite float32 numbers, or a sample spread over all exponents. NaN is no input;
the two infinities are looked at apart. The error is in ulp of float32 at the truth. Results whose
truth is below the smallest normal number, 2⁻¹²⁶, are counted apart, since XLA flushes them to zero
on the CPU: how many, how many came out as 0, and the error of the others in units of 2⁻¹⁴⁹.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.evidence.forms import FORMS, LIBRARY, OWN, Form
from handgrad.evidence.measuring import ALL_BLOCKS, BLOCK, MAXIMA, MEASURES, Laboratory
from handgrad.verify.ulp import ulp_error

LIMIT_ULP = 4.0
FAILURES = ("nan", "inf", "wrong_sign", "zero")


@dataclass(frozen=True)
class Outcome:
    """What one form does over the inputs. `zero` counts results of 0 where the truth is normal."""

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
    at_infinities: tuple[float, float]
    limits_right: bool
    blocks: np.ndarray = field(repr=False)
    profile: np.ndarray = field(repr=False)
    """The largest error in each block; NaN where no truth of the block is normal."""
    failing: np.ndarray = field(repr=False)
    """Whether the block has a NaN, an infinity or a wrong sign."""

    @property
    def sound(self) -> bool:
        """No NaN, infinity or wrong sign anywhere, and no zero where the truth is normal."""
        return not any(getattr(self, kind) for kind in FAILURES)


def sweep(
    forms: Sequence[Form] = FORMS,
    *,
    sample: int | None = None,
    blocks: np.ndarray = ALL_BLOCKS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Run every form on every input of `blocks`, or on at least `sample` of them.

    `progress` is told how many inputs are done, of how many. Raises InputError for a sample that
    is not between 1 and the number of inputs.
    """
    check_sample(sample, blocks)
    count = BLOCK if sample is None else -(-sample // len(blocks))
    laboratory = Laboratory(forms, count)
    parts: list[list[np.ndarray]] = []
    done = 0
    for measured, found in laboratory.measures(blocks):
        parts.append(found)
        done += measured
        progress(done * count, len(blocks) * count)
    return [
        outcome(laboratory, form, blocks, np.concatenate([p[i] for p in parts], axis=1))
        for i, form in enumerate(laboratory.forms)
    ]


def check_sample(sample: int | None, blocks: np.ndarray = ALL_BLOCKS) -> None:
    """Raise InputError unless so many inputs can be drawn from `blocks`."""
    if sample is not None and not 1 <= sample <= len(blocks) * BLOCK:
        expected = f"a number from 1 to {len(blocks) * BLOCK:,}"
        raise InputError("sample", expected, f"{sample:,}", "leave it out for every input")


def outcome(laboratory: Laboratory, form: Form, blocks: np.ndarray, found: np.ndarray) -> Outcome:
    """The measures of all blocks as one record, with the inputs at which the worst happened."""
    columns = dict(zip(MEASURES, found, strict=True))
    maxima = {name: columns[name].view(np.float32) for name in MEASURES[:MAXIMA]}
    totals = {name: int(columns[name].sum(dtype=np.int64)) for name in MEASURES[MAXIMA:]}
    worst = int(np.argmax(columns["max_ulp"]))
    z, y, true = laboratory.examine(form, blocks[worst])
    at = int(np.argmax(np.where(countable(y, true), ulp_error(y, true, "float32"), -1)))
    minus, plus = map(float, jax.jit(form.function)(jnp.array([-jnp.inf, jnp.inf], jnp.float32)))
    with x64():
        limits = form.target.truth.float64(jnp.array([-jnp.inf, jnp.inf], jnp.float64))
    return Outcome(
        target=form.target.name,
        form=form.name,
        formula=form.formula,
        inputs=len(blocks) * laboratory.count,
        max_ulp=float(maxima["max_ulp"][worst]),
        worst_at=float(z[at]),
        computed=float(y[at]),
        true=float(true[at]),
        nearest={
            kind: nearest(laboratory, form, blocks, columns[kind], kind)
            for kind in FAILURES
            if totals[kind]
        },
        subnormal_max_ulp=float(maxima["subnormal_max_ulp"].max()),
        at_infinities=(minus, plus),
        limits_right=[minus, plus] == limits.tolist(),
        blocks=blocks,
        profile=np.where(columns["normal"] > 0, maxima["max_ulp"], np.nan),
        failing=(columns["nan"] + columns["inf"] + columns["wrong_sign"]) > 0,
        **totals,
    )


def countable(y: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Where an error in ulp is counted: a finite result, and a normal truth."""
    return np.isfinite(y) & (np.abs(true) >= np.finfo(np.float32).tiny)


def nearest(
    laboratory: Laboratory, form: Form, blocks: np.ndarray, counts: np.ndarray, kind: str
) -> float:
    """The input nearest to 0 at which this kind of failure occurs."""
    magnitude = np.where(counts > 0, blocks & 0x3FFF, np.iinfo(blocks.dtype).max)
    z, y, true = laboratory.examine(form, blocks[np.argmin(magnitude)])
    failing = {
        "nan": np.isnan(y),
        "inf": np.isinf(y),
        "wrong_sign": y * true < 0,
        "zero": (y == 0) & countable(y, true),
    }[kind]
    return float(min(z[failing], key=abs))


def faults(outcomes: Sequence[Outcome]) -> list[str]:
    """What is wrong with the forms that this package offers for use; nothing, it is hoped."""
    library = {o.target: o.max_ulp for o in outcomes if o.form == LIBRARY}
    found = []
    for o in outcomes:
        if o.form not in OWN:
            continue
        where = f"{o.target}, {o.form}"
        found += [
            f"{where}: {getattr(o, kind):,} x {kind}, the first at {o.nearest[kind].hex()}"
            for kind in FAILURES
            if getattr(o, kind)
        ]
        if not o.limits_right:
            found.append(f"{where}: {o.at_infinities} at the infinities")
        if o.max_ulp > LIMIT_ULP:
            found.append(f"{where}: {o.max_ulp:.2f} ulp at {o.worst_at.hex()}")
        elif o.target in library and o.max_ulp > library[o.target] + 1:
            found.append(f"{where}: more than 1 ulp worse than autodiff of the library")
    return found


def versions() -> dict[str, str]:
    """What the results depend on besides the machine."""
    return {name: version(name) for name in ("handgrad", "jax", "jaxlib", "optax")}
