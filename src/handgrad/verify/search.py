"""The search for bad inputs: many points, judged quickly, the highest scores handed on.

Points are varied in bit space, in the differentiated leaves only; each generation mutates the worst
of the last. The score of a point is cheap: in a narrow dtype, the error against hand and autodiff
in float64 (the nearer of the two, so that a better form is not held against); in float64, how far
the two are apart. Both are divided by one ulp plus what moving the point by half an ulp does. The
candidates are judged elsewhere, in exact arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.exact.evaluation import effort_of
from handgrad.exact.movement import DIRECT
from handgrad.jaxprs import Program, as_arrays, bind, called_program, run, sub_jaxprs
from handgrad.verify.ulp import ulp, ulp_error
from handgrad.verify.witnesses import Problem, Programs, called, quick_options, rounded

GENERATIONS = 8
PARENTS = 16
MOST_SHRUNK = 40
"""How many coordinates are made simpler at most."""
SIMPLER = 5
"""Numbers that are tried for each of them."""
MODEST = 3
"""How many points where one is not finite are handed on: the modest ones."""
LEAST_FENCE, LEAST_SUBTRACTED, FENCE_MARGIN = 1e3, 1e6, 1e3
"""A constant at least so large, in a mask or a clip, bounds the search this far below itself."""
MOST_NUMBERS, OPERATIONS_PER_NUMBER = 2**18, 64
"""How many numbers one generation may hold, and a share of its operations: fewer points are tried
where each is large."""
MOST_WATCHED = 2**20
"""The largest point at which the numbers on the way to the loss are looked at."""


# --- many points at once --------------------------------------------------------------------------


class Batch(NamedTuple):
    """What one compiled call gives at each row, as float64."""

    hand: Any
    autodiff: Any
    loss: Any


class Range(NamedTuple):
    """The numbers on the way to the loss in float64, at each row; NaN where they are too many."""

    smallest: Any
    """The smallest nonzero |number|."""
    largest: Any


class BatchEvaluator:
    """Hand, autodiff and the loss compiled once for each dtype, for many points per call.

    `traced(dtype)` gives their programs. Points go through `lax.map`, one after the other, so that
    the arithmetic is that of one jitted call, and not what `vmap` would make of it. What is asked
    about ranges is another program: it is compiled quickly, since nothing in it is judged.
    """

    def __init__(self, problem: Problem, traced: Callable[[str], Programs]):
        self.layout = problem.layout
        self._traced = traced
        self._wanted = math.ceil(problem.evaluations / GENERATIONS) or 1
        self._compiled: dict[str, Any] = {}

    @cached_property
    def count(self) -> int:
        """How many points one call takes: fewer where each holds, or takes, many numbers."""
        efforts = [effort_of(program.jaxpr) for program in self._traced("float64").all]
        operations = sum(effort.numbers + effort.products for effort in efforts)
        numbers = 1 + self.layout.size + operations / OPERATIONS_PER_NUMBER
        return max(1, min(self._wanted, int(MOST_NUMBERS / numbers)))

    def _answers_at(self, dtype: str) -> Callable[[jax.Array, list], Batch]:
        """Hand, autodiff and the loss at one row, for tracing."""
        programs = self._traced(dtype)

        def at_row(row: jax.Array, leaves: list) -> Batch:
            here = self.layout.replaced(leaves, row)
            auto, loss = jnp.full(row.shape, jnp.nan, row.dtype), jnp.full((), jnp.nan, row.dtype)
            if programs.autodiff is not None:  # else a loop that may not end elsewhere
                auto = _as_row(called(programs.autodiff, here))
                (loss,) = called(programs.loss, here)
            assert programs.hand is not None
            return Batch(_as_row(called(programs.hand, here)), auto, loss)

        return at_row

    def _range_at(self, row: jax.Array, leaves: list) -> Range:
        here = self.layout.replaced(leaves, row)
        return magnitude_range(self._traced("float64").loss.jaxpr, here)

    def _run(
        self, name: str, at_row: Callable, rows: np.ndarray, leaves: list, dtype: str, **how: Any
    ) -> list[np.ndarray]:
        """What a function of one row gives at each of at most `count`, compiled under a name."""
        padded = np.concatenate([rows, np.repeat(rows[:1], self.count - len(rows), axis=0)])
        operands = padded.astype(dtype), rounded(leaves, dtype)

        def at_rows(rows: jax.Array, leaves: list) -> Any:
            return jax.lax.map(lambda row: at_row(row, leaves), rows)

        with x64(dtype == "float64"):
            if name not in self._compiled:
                # ahead of time: JAX's caches may be emptied
                self._compiled[name] = jax.jit(at_rows, **how).lower(*operands).compile()
            found = self._compiled[name](*operands)
        return [np.asarray(part, np.float64)[: len(rows)] for part in found]

    def evaluate(self, rows: np.ndarray, leaves: list, dtype: str) -> Batch:
        """At most `count` rows; `leaves` are the other arguments."""
        return Batch(*self._run(dtype, self._answers_at(dtype), rows, leaves, dtype))

    def ranges(self, rows: np.ndarray, leaves: list) -> Range:
        """The numbers on the way to the loss at at most `count` rows."""
        if self._traced("float64").autodiff is None or self.layout.size > MOST_WATCHED:
            return Range(*np.full((2, len(rows)), np.nan))
        options = {"compiler_options": quick_options()}
        return Range(*self._run("range", self._range_at, rows, leaves, "float64", **options))

    def answers(self, rows: np.ndarray, leaves: list, dtype: str) -> dict[str, np.ndarray]:
        """The answers of hand and of autodiff at any number of rows."""
        found = [self.evaluate(chunk, leaves, dtype) for chunk in _chunks(rows, self.count)]
        hand, autodiff, _ = map(np.concatenate, zip(*found, strict=True))
        return {"hand": hand, "autodiff": autodiff}


def _as_row(gradient: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in gradient])


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


KEEP_MAGNITUDES = frozenset({*DIRECT, "abs", "convert_element_type", "max", "min", "neg"})
"""Equations that give numbers of the magnitudes that they were given."""


def magnitude_range(program: Program, leaves: list) -> Range:
    """The smallest nonzero |number| on the way through a program, and the largest; 1 for none.

    >>> program = jax.make_jaxpr(lambda x: 1e-3 * x + 1e3)(1.0)
    >>> small, large = magnitude_range(program, [1.0])
    >>> round(float(small), 6), round(float(large), 3)
    (0.001, 1000.001)
    """
    passed: list[jax.Array] = []

    def apply(equation: Any, operands: list[Any]) -> Sequence[Any]:
        inside = called_program(equation)
        if inside is not None:
            return run(inside, operands, apply)
        outputs = bind(equation, operands)
        if equation.primitive.name not in KEEP_MAGNITUDES:
            floats = [out for out in outputs if jnp.issubdtype(out.dtype, jnp.floating)]
            passed.extend(jnp.abs(jnp.ravel(out)) for out in floats)
        return outputs

    variables = program.jaxpr.invars
    operands = [as_arrays(leaf, v.aval) for leaf, v in zip(leaves, variables, strict=True)]
    (value,) = run(program, operands, apply)
    if not passed:
        return Range(jnp.ones_like(value), jnp.ones_like(value))
    sizes = jnp.concatenate([size.astype(value.dtype) for size in passed])
    smallest = jnp.min(jnp.where(sizes > 0, sizes, jnp.inf), initial=jnp.inf)
    return Range(smallest, jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0.0), initial=0.0))


# --- scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchContext:
    """Where a search takes place: the evaluator, the other arguments, one dtype, and bounds."""

    evaluator: BatchEvaluator
    leaves: list
    dtype: str
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """The lowest and the highest number that a differentiated input may be."""

    def within(self, rows: np.ndarray) -> np.ndarray:
        """The rows with every number held within the bounds; infinite ones of the point stay."""
        base = self.evaluator.layout.row(self.leaves, rows.dtype)
        held = np.clip(rows, *(np.array(b).astype(rows.dtype) for b in self.bounds))
        return np.where(np.isinf(base), base, held)


def search_bounds(problem: Problem, programs: Programs, leaves: list) -> tuple[float, float]:
    """The bounds that were asked for; else what a mask or a clip in the loss leaves.

    A loss that puts −1e9 in place of masked scores, or adds it to them, means scores that are far
    smaller. `leaves` are those of the point given: what is not differentiated may hold such a mask.
    """
    if problem.bounds is not None:
        return problem.bounds
    moving = programs.layout.argnums
    known = [None if i in moving else leaf for i, leaf in enumerate(leaves)]
    with x64():
        fences = [c for c in _fences(programs.loss.jaxpr, known) if LEAST_FENCE <= c < math.inf]
    far = min(fences) / FENCE_MARGIN if fences else math.inf
    return -far, far


def _fences(program: Program, leaves: list) -> set[float]:
    """The magnitudes that a loss selects or clips by, and those of the masks that it adds.

    `leaves` are None where they are differentiated; the other numbers are computed on the way.
    """
    found: set[float] = set()

    def apply(equation: Any, operands: list[Any]) -> list[Any]:
        inside = called_program(equation)
        if inside is not None:
            return run(inside, operands, apply)
        unknown = [None] * len(equation.outvars)
        if all(operand is not None for operand in operands):
            sizes = [v.aval.size for v in equation.outvars if hasattr(v.aval, "size")]
            is_small = max(sizes, default=0) <= MOST_WATCHED and not sub_jaxprs(equation)
            return bind(equation, operands) if is_small else unknown
        if test := FENCES.get(equation.primitive.name):
            for operand in operands:
                if operand is not None and jnp.issubdtype(operand.dtype, jnp.floating):
                    found.update(test(np.asarray(operand, np.float64)))
        return unknown

    run(program, [
        None if leaf is None else as_arrays(leaf, v.aval)
        for leaf, v in zip(leaves, program.jaxpr.invars, strict=True)
    ], apply)  # fmt: skip
    return found


def _constant(numbers: np.ndarray) -> set[float]:
    """The magnitude of an array that repeats one number."""
    repeats = numbers.size > 0 and numbers.min() == numbers.max()
    return {abs(float(numbers.flat[0]))} if repeats else set()


def _added(numbers: np.ndarray) -> set[float]:
    """The large magnitudes of an array that holds numbers far below 0, and zeros, and no others."""
    masked = numbers <= -LEAST_FENCE
    is_mask = masked.any() and not masked.all() and (numbers[~masked] == 0).all()
    return set(np.unique(-numbers[masked]).tolist()) if is_mask else set()


def _subtracted(numbers: np.ndarray) -> set[float]:
    """The same of an array that is subtracted: labels may be some thousands."""
    return _added(np.where(numbers < LEAST_SUBTRACTED, np.abs(numbers), -numbers))


FENCES: dict[str, Callable[[np.ndarray], set[float]]] = {
    **dict.fromkeys(("select_n", "max", "min", "clamp"), _constant),
    "add": _added,
    "sub": _subtracted,
}
"""What each operation with a number that is differentiated says of how large that may be."""


class Scores(NamedTuple):
    """How bad each row looks for each witness; more is worse."""

    hand: np.ndarray
    autodiff: np.ndarray
    algebra: np.ndarray
    """How far the two are apart, over the size of the gradient: rounding hardly shows there."""
    out_of_range: np.ndarray
    """Rows that lead the loss through a number beyond the dtype's normal range."""
    failing: np.ndarray
    """Rows at which a witness is not finite."""


def score(context: SearchContext, rows: np.ndarray, rng: np.random.Generator) -> Scores:
    """The scores of at most one call's rows; rows out of the dtype's range have −1."""
    dtype = context.dtype
    leaves = rounded(context.leaves, dtype)
    evaluate, info = context.evaluator.evaluate, jnp.finfo(dtype)
    with np.errstate(all="ignore"):
        narrow = evaluate(rows, leaves, dtype)
        wide = narrow if dtype == "float64" else evaluate(rows, leaves, "float64")
        passed = context.evaluator.ranges(rows, leaves)
        half = float(info.eps) / 2
        moved = rows.astype(np.float64) * (1 + rng.uniform(-half, half, rows.shape))
        noise = np.abs(evaluate(moved, leaves, "float64").autodiff - wide.autodiff)

        def excess(computed: np.ndarray, reference: np.ndarray) -> np.ndarray:
            tiny = float(info.tiny)
            error = ulp_error(computed, reference, dtype)
            error = np.where((np.abs(reference) < tiny) & (np.abs(computed) <= tiny), 0.0, error)
            spread = noise / ulp(np.where(np.isfinite(reference), reference, 1.0), dtype)
            return error / (1 + np.where(np.isfinite(spread), spread, 0.0))

        if dtype == "float64":
            against = excess(narrow.hand, narrow.autodiff)
            pair = [against, against]
        else:
            pair = [
                np.fmin(excess(computed, wide.hand), excess(computed, wide.autodiff))
                for computed in (narrow.hand, narrow.autodiff)
            ]
        overflow = ~(passed.largest <= float(info.max))
        beyond = overflow | ~np.isfinite(narrow.loss) | (passed.smallest < float(info.tiny))
        finite = np.isfinite(narrow.hand).all(axis=1) & np.isfinite(narrow.autodiff).all(axis=1)
        scores = [np.where(beyond, -1.0, np.nan_to_num(p, nan=np.inf).max(axis=1)) for p in pair]
        gap = np.abs(wide.hand - wide.autodiff).max(axis=1)
        size = np.abs(wide.autodiff).max(axis=1)
        algebra = np.where(beyond | (size == 0), -1.0, np.nan_to_num(gap / size, nan=-1.0))
    return Scores(scores[0], scores[1], algebra, beyond, ~overflow & ~finite)


# --- the search -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """Rows to judge exactly, by what they seem to show, and how many rows were tried."""

    hand: np.ndarray
    autodiff: np.ndarray
    algebra: np.ndarray
    failing: np.ndarray
    evaluations: int

    @property
    def rows(self) -> np.ndarray:
        """All of them."""
        return np.concatenate([self.hand, self.autodiff, self.algebra, self.failing])


def search(
    context: SearchContext, base: np.ndarray, evaluations: int, keep: int, rng: np.random.Generator
) -> Candidates:
    """The `keep` worst rows for each witness, the first simplified, after about `evaluations`."""
    count = context.evaluator.count
    rows = context.within(first_generation(base, count, rng))
    pool, lost, tried = rows[:0], rows[:0], 0
    scores = [np.zeros(0)] * 3
    for _ in range(min(math.ceil(evaluations / count), GENERATIONS)):
        found = score(context, rows, rng)
        tried += len(rows)
        lost = np.concatenate([lost, rows[found.failing]])
        lost = lost[np.argsort(np.abs(lost).max(axis=1), kind="stable")][:MODEST]
        pool = np.concatenate([pool, rows[~found.out_of_range]])
        new = [part[~found.out_of_range] for part in found[:3]]
        scores = [np.concatenate(pair) for pair in zip(scores, new, strict=True)]
        parents = np.concatenate([base[None, :], *(_top(pool, s, PARENTS) for s in scores)])
        rows = context.within(mutate(parents[rng.integers(0, len(parents), count)], base, rng))
    hand, autodiff = (_top(pool, part, keep) for part in scores[:2])
    for witness, worst in enumerate((hand, autodiff)):
        if len(worst):
            worst[0] = shrink(context, worst[0], base, witness)
    return Candidates(hand, autodiff, _top(pool, scores[2], max(1, keep // 2)), lost, tried)


def _top(rows: np.ndarray, scores: np.ndarray, keep: int) -> np.ndarray:
    """The rows of highest score, each once."""
    distinct: dict[bytes, np.ndarray] = {}
    for index in np.argsort(-scores, kind="stable"):
        if len(distinct) == keep:
            break
        distinct.setdefault(rows[index].tobytes(), rows[index])
    return np.array(list(distinct.values()), rows.dtype).reshape(-1, rows.shape[1])


def shrink(context: SearchContext, row: np.ndarray, base: np.ndarray, witness: int) -> np.ndarray:
    """A simpler row that scores as badly for witness 0 (hand) or 1 (autodiff), to 1%.

    Each coordinate may become 0, 1, what it was in the point given, or a number of few bits. What
    is harmless alone is then tried together, for as many coordinates as stay harmless.
    """
    rng = np.random.default_rng(0)

    def scores(rows: np.ndarray) -> np.ndarray:
        chunks = _chunks(rows, context.evaluator.count)
        return np.concatenate([score(context, chunk, rng)[witness] for chunk in chunks])

    target = 0.99 * scores(row[None, :])[0]
    if not target > 1:
        return row
    attempts, replaced = [], []
    most = max(1, min(MOST_SHRUNK, context.evaluator.count // SIMPLER))
    for column in range(min(len(row), most)):
        few = (_few_bits(float(row[column]), bits) for bits in (3, 8))
        for simple in (0.0, 1.0, float(base[column]), *few):
            attempt = row.copy()
            with np.errstate(over="ignore"):
                attempt[column] = np.array(simple).astype(row.dtype)
            attempts.append(context.within(attempt))
            replaced.append(column)
    harmless = scores(np.stack(attempts)) >= target
    simpler: dict[int, np.ndarray] = {}
    for column, attempt, fine in zip(replaced, attempts, harmless, strict=True):
        if fine:
            simpler.setdefault(column, attempt[column])
    chosen = list(simpler)
    while chosen:
        attempt = row.copy()
        attempt[chosen] = np.array([simpler[c] for c in chosen], row.dtype)
        if scores(attempt[None, :])[0] >= target:
            return attempt
        chosen = chosen[: len(chosen) // 2]
    return row


def _few_bits(value: float, bits: int) -> float:
    if not np.isfinite(value):
        return value
    mantissa, exponent = np.frexp(value)
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits))


# --- points in bit space --------------------------------------------------------------------------

WIDTHS: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}


def ordinal(values: np.ndarray) -> np.ndarray:
    """The number of each float in order, as int64: adding 1 gives the next. Both zeros are 0.

    >>> ordinal(np.float32([0.0, -0.0, 1e-45, -1e-45])).tolist()
    [0, 0, 1, -1]
    """
    width = WIDTHS[values.dtype.itemsize]
    bits = values.view(width).astype(np.int64)
    magnitude = bits & np.int64(np.iinfo(width).max)
    return np.where(bits < 0, -magnitude, magnitude)


@cache
def _largest_ordinal(dtype: np.dtype) -> np.int64:
    """That of the largest finite float."""
    return ordinal(np.array([jnp.finfo(dtype).max], dtype))[0]


def from_ordinal(number: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The float of each number, held within the finite ones."""
    width, largest = WIDTHS[dtype.itemsize], _largest_ordinal(dtype)
    number = np.clip(number, -largest, largest)
    bits = np.abs(number).astype(width)
    sign = np.where(number < 0, np.iinfo(width).min, 0).astype(width)
    return (bits | sign).view(dtype)


def extremes(dtype: np.dtype) -> np.ndarray:
    """Values at which formulas break: zeros, ones, thresholds of exp and of rounding, the ends."""
    info = jnp.finfo(dtype)
    top, eps, tiny = float(info.max), float(info.eps), float(info.tiny)
    log_max, log_eps = np.log(top), -np.log(eps)
    magnitudes = np.array([
        0.0, 1.0, 0.5, 2.0, 1 / 3, eps, np.sqrt(eps), tiny, np.sqrt(tiny), top, np.sqrt(top),
        log_eps, log_eps + 1, log_eps / 2, 2 * log_eps, log_max, log_max - 1, log_max / 2, 5.0,
        10.0, 17.0, 20.0, 37.0, 50.0, 80.0, 100.0, 700.0, 1e3, 1e4,
    ])  # fmt: skip
    magnitudes = np.minimum(magnitudes, top)
    return np.concatenate([magnitudes, -magnitudes]).astype(dtype)


def mutate(rows: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One child for each row: one to three coordinates stepped, scaled, negated, or set anew."""
    count, size = rows.shape
    dtype = rows.dtype
    children = rows.copy()
    special = extremes(dtype)
    binades = 2 << int(jnp.finfo(dtype).nmant)
    for row in range(count):
        for column in rng.integers(0, size, rng.integers(1, 4)):
            own = children[row, column : column + 1]
            match rng.integers(0, 6):
                case 0:  # a few ulps
                    new = from_ordinal(ordinal(own) + rng.integers(-16, 17), dtype)
                case 1:  # within a binade or two
                    new = from_ordinal(ordinal(own) + rng.integers(-binades, binades), dtype)
                case 2:
                    new = -own
                case 3:
                    new = special[rng.integers(0, len(special), 1)]
                case 4:  # an ordinary size
                    new = np.array([rng.normal() * 10.0 ** rng.uniform(-3, 2.3)]).astype(dtype)
                case _:
                    new = base[column : column + 1]
            children[row, column] = new[0]
    return _without_subnormals(children)


def first_generation(base: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to start from: the point, extremes in one place or everywhere, random sizes."""
    special, size = extremes(base.dtype), len(base)
    rows = np.tile(base, (count, 1))
    for row in range(1, count):
        match row % 3:
            case 0:
                rows[row] = special[(row // 3) % len(special)]
            case 1:
                rows[row, rng.integers(0, size)] = special[(row // 3) % len(special)]
            case _:
                scale = 10.0 ** rng.uniform(-4, 2.3)
                rows[row] = (rng.normal(size=size) * scale).astype(base.dtype)
    return _without_subnormals(rows)


def _without_subnormals(rows: np.ndarray) -> np.ndarray:
    """Subnormal numbers as 0, which is what a device that flushes them reads anyway."""
    return np.where(np.abs(rows) < jnp.finfo(rows.dtype).tiny, np.zeros_like(rows), rows)
