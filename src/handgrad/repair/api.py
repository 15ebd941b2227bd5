"""`repair`: the derivative of a function found anew, in a form that keeps its digits."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad._precision import x64
from handgrad.accuracy.measure import (
    HALF,
    TrueValues,
    compare,
    compute,
    inputs_of,
    true_derivatives,
)
from handgrad.errors import InputError
from handgrad.repair import vector
from handgrad.repair.reading import Core, read
from handgrad.repair.search import (
    GOALS,
    GOOD,
    Form,
    Piece,
    Question,
    cuts,
    joined,
    mirrored,
    parity_of,
    solve,
    with_labels,
)
from handgrad.repair.terms import (
    Expression,
    as_function,
    ball_at,
    constant,
    derivative,
    load,
    module,
)
from handgrad.verify.api import verify
from handgrad.verify.verdict import Verdict

NATIVE = 4.0
"""Ulps up to which a half precision is left to itself."""
MOST_COST = 2.0
DENSE = {"float32": 32, "float64": 6}
TIMED = 2**19
MOST_ROWS = 4
ROUNDS = 4
SHARPER = 0.75
"""What compiles otherwise than it was measured is asked for more in the next round."""


class Cost(NamedTuple):
    """Nanoseconds per element, compiled, of `jax.grad` and of the repaired derivative."""

    before_ns: float
    after_ns: float


@dataclass(frozen=True)
class Repair:
    """A derivative that keeps its digits, with the code and the proof."""

    ok: bool
    """Proved, and either good to 8 ulp or better than before."""
    value: Callable
    derivative: Callable
    source: str
    """A module that defines both, and the function with the derivative as its rule."""
    before_ulp: float
    """The largest error of `jax.grad` over the inputs; infinite for NaN and inf."""
    after_ulp: float
    cost: Cost
    verdict: Verdict
    notes: tuple[str, ...] = ()
    dtype: str = "float32"
    name: str = "f"
    derivative_of_entry: Callable = field(default=lambda x: x, repr=False, compare=False)
    """The derivative at one entry, whatever the function does with the entries."""
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        return as_text(self)


def repair(f: Callable, *, at: tuple, dtype: str = "float32") -> Repair:
    """The derivative of `f` in its first argument, in a form that keeps its digits in `dtype`.

    `f` applies one formula to every entry of its first argument, and may take the sum or the mean.
    `at` are arguments of the shapes that it takes; the values of the others are those it is judged
    with. Raises InputError, in one line, for what has no such formula.

    >>> found = repair(jax.nn.sigmoid, at=(1.0,))
    >>> found.ok, found.verdict.hand, found.after_ulp < 4
    (True, 'identical', True)
    """
    if dtype not in (*HALF, "float32", "float64"):
        raise InputError("dtype", "float32, float64, bfloat16 or float16", repr(dtype), "name one")
    try:
        core = read(f, at)
    except InputError:
        logits = vector.recognised(f, at) if isinstance(at, tuple) and at else None
        if logits is None:
            raise
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return _repaired_logits(f, at, logits, dtype)
    return Search(f, at, core, dtype).run()


def _repaired_logits(f: Callable, at: tuple, logits: vector.Logits, dtype: str) -> Repair:
    """The repair of a function of a vector of logits."""
    name = _name_of(f, "softmax", "others", "exponentials")
    source = vector.source(logits, name, _argument_names(f, len(at)))
    namespace = load(source)
    slope = namespace["derivative"]
    with x64():
        wide = tuple(
            jnp.asarray(value, jnp.float64) if jnp.issubdtype(jnp.result_type(value), jnp.floating)
            else value for value in at
        )  # fmt: skip
    verdict = verify(
        slope, of=f, at=wide, dtypes=("float64",), evaluations=0, name=f"{name}, repaired"
    )
    rows = vector.drawn(logits.size, dtype)
    before = vector.errors(jax.grad(f), logits, at, rows, dtype)
    after = vector.errors(slope, logits, at, rows, dtype)
    batch = np.tile(rows, (max(1, TIMED // rows.size), 1))
    costs = [
        vector.on_rows(function, at, batch, dtype, repeats=5).ns / logits.size
        for function in (jax.grad(f), slope)
    ]
    worst = _worst(after)
    notes = (f"recognised as a {logits.family} family; errors over {len(rows)} drawn vectors",)
    return Repair(
        ok=bool(verdict.ok and (worst <= GOOD or worst < _worst(before))),
        value=namespace[name], derivative=slope, source=source, before_ulp=_worst(before),
        after_ulp=worst, cost=Cost(*costs), verdict=verdict, notes=notes, dtype=dtype, name=name,
        derivative_of_entry=slope,
    )  # fmt: skip


class Search:
    """One repair under way."""

    def __init__(self, f: Callable, at: tuple, core: Core, dtype: str):
        self.dtype, self.reduction, self.term = dtype, "", core.term
        if core.is_sum:
            self.reduction = "mean" if _is_mean(f, at, core) else "sum"
            entries = np.size(at[0]) if self.reduction == "mean" else 1
            self.term = constant(core.scale * entries) * core.term
        self.labels = _rows(at[1:])
        self.arguments = _argument_names(f, len(at))
        self.name = _name_of(f)
        self.notes: list[str] = []
        self.each = _on_entries(f, at)
        self.usual = _read_gradient(self.each, tuple(np.ravel(value)[0] for value in at))
        self.inputs = _inputs(dtype)
        self.args = with_labels(self.inputs, self.labels)

    def truth(self, order: int, *args: np.ndarray, dtype: str = "") -> TrueValues:
        """The truth of the formula as it was read, by power series over balls."""
        entry, dtype = as_function(self.term), dtype or self.dtype
        return true_derivatives(entry, *args, dtype=dtype, order=order).orders[order]

    def errors(self, function: Callable, true: TrueValues) -> np.ndarray:
        """The error of a function at every input."""
        return _errors(function, self.args, true, self.dtype)

    # --- the search ---------------------------------------------------------------------------

    def run(self) -> Repair:
        """Value and derivative searched for, written as code, proved and measured."""
        values, slopes = (self.truth(order, *self.args) for order in (0, 1))
        plain = jax.grad(self.each)
        before = self.errors(plain, slopes)
        value_term = self.term
        value_before = self.errors(self.each, values)
        if _worst(value_before) > GOOD:
            better, _, value_after = self.improved(self.term, 0, values, value_before)
            if _is_better(value_before, value_after):
                value_term = better
        slope = derivative(self.term)
        parity = parity_of(slope)
        known: tuple | None = None
        for goal, own in [(GOALS[0], 0), *((g, parity) for g in GOALS[not parity : 3])]:
            found = self.improved(slope, 1, slopes, before, goal, own)
            times = self.times(plain, found[0])
            rank = *_rank(before, found[2]), max(MOST_COST, times[1] / times[0])
            if known is None or rank < known[0]:
                known = rank, found, times
            if known[0] == (GOOD, GOOD, 0, MOST_COST):
                break
        assert known is not None
        _, (term, pieces, after), times = known
        if not _is_better(before, after):
            self.notes.append("nothing better was found")
            term, pieces = slope, [Piece(-np.inf, np.inf, Form(slope))]
            times = self.times(plain, term)
        self.notes += self.remarks(pieces)
        widen = self.needs_widening(term)
        source = module(self.name, self.arguments, value_term, term, self.reduction, widen)
        namespace = load(source)
        printed = namespace["derivative"]
        verdict = self.judge(printed, pieces, slopes)
        after = self.errors(printed, slopes)
        worst, xs = _worst(after), self.args[0]
        if self.dtype == "float32" and worst > GOOD:
            at = xs[np.nanargmax(np.where(np.isnan(after), -1, after))]
            self.notes.append(f"the largest error is at {self.arguments[0]} = {at:.9g}")
        worse = np.where((before <= GOOD) & (after > before), after, 0.0)
        if worse.max(initial=0.0) > GOOD:
            self.notes.append(
                f"{worse.max():.3g} ulp at {self.arguments[0]} = {xs[np.argmax(worse)]:.9g}, "
                "where jax.grad is good"
            )
        good = worst <= GOOD or worst < _worst(before)
        return Repair(
            ok=bool(verdict.ok and good), value=namespace[self.name],
            derivative=_scaled(printed, self.reduction), source=source,
            before_ulp=_worst(before), after_ulp=worst, cost=Cost(*times), verdict=verdict,
            notes=tuple(self.notes), dtype=self.dtype, name=self.name,
            derivative_of_entry=printed, record={"pieces": list(map(_piece_data, pieces))},
        )  # fmt: skip

    def improved(
        self, term: Expression, order: int, true: TrueValues, before: np.ndarray,
        goal: float = GOALS[0], parity: int = 0,
    ) -> tuple[Expression, list[Piece], np.ndarray]:  # fmt: skip
        """A better term, its pieces, and its errors; inputs at which it fails join the sample."""
        searched = "float32" if self.dtype in HALF else self.dtype
        usual = self.usual if order else None
        truth = partial(self.truth, order, dtype=searched)
        question = Question(term, searched, self.labels, truth, parity, usual)
        extra = np.zeros(0)
        best: tuple[Expression, list[Piece], np.ndarray] | None = None
        for turn in range(ROUNDS):
            goals = [g * SHARPER**turn for g in GOALS if g >= goal]
            pieces = solve(question, extra, goals)
            found = joined(pieces, self.args, searched, parity)
            after = self.errors(as_function(found), true)
            if best is None or _rank(before, after) < _rank(before, best[2]):
                best = found, mirrored(pieces, parity) if parity else pieces, after
            errors = np.nan_to_num(after, nan=0.0, posinf=1e30)
            if not (errors > max(goal, GOOD)).any():
                break
            worst = np.argsort(-errors)[:64]
            spread = np.flatnonzero(errors > goal)
            places = np.union1d(worst, spread[:: max(1, len(spread) // 64)])
            found_at = np.abs(self.args[0][places]) if parity else self.args[0][places]
            extra = np.union1d(extra, found_at)
            for x, error in zip(found_at.tolist(), after[places].tolist(), strict=True):
                piece = next(p for p in pieces if x < p.high or p is pieces[-1])
                compiled = question.compiled.setdefault(piece.form.term, {})
                compiled[x] = max(error, compiled.get(x, 0.0))
        assert best is not None
        return best

    def times(self, plain: Callable, term: Expression) -> tuple[float, float]:
        """Nanoseconds per element of jax.grad and of a term, side by side."""
        generator = np.random.default_rng(0)
        args = [generator.normal(size=TIMED) * 4]
        args += [np.full(TIMED, value) for value in (self.labels[0] if self.labels else ())]
        both = plain, as_function(term)
        rounds = [
            [compute(f, *args, dtype=self.dtype, repeats=5).ns for f in both] for _ in range(ROUNDS)
        ]
        before, after = np.min(rounds, axis=0)
        return before, after

    def needs_widening(self, term: Expression) -> bool:
        """Whether the half precisions lose digits when every operation is rounded to them."""
        for dtype, step in product(HALF, (16, 1)):  # a sample mostly tells
            args = with_labels(inputs_of(dtype)[::step].astype(np.float64), self.labels)
            true = self.truth(1, *args, dtype=dtype)
            try:
                if _worst(_errors(as_function(term), args, true, dtype)) > NATIVE:
                    return True
            except InputError:
                return True
        return False

    # --- the proof ----------------------------------------------------------------------------

    def judge(self, slope: Callable, pieces: list[Piece], true: TrueValues) -> Verdict:
        """The verdict of the judge on the printed derivative, where it is no truncated series."""
        exact = [piece for piece in pieces if piece.form.kind == "exact"] or pieces
        generator = np.random.default_rng(1)
        points: list[float] = []
        xs, cut = self.inputs, np.isin(self.inputs, cuts(self.term))
        sizes = np.abs(true.high).reshape(-1, len(xs)).min(axis=0)  # NaN where it is not known
        for piece in exact:
            inside = (xs > piece.low) & (xs < piece.high) & ~cut
            near = inside & (np.abs(xs) < 30)
            if near.any():
                known = near & (sizes >= 0)
            else:  # far out what is 0 in the dtype may stand still
                known = inside & (sizes >= float(jnp.finfo(self.dtype).tiny))
            usable = xs[known & (np.abs(xs) > 1e-3)]
            usable = usable if usable.size else xs[known]
            points += generator.choice(usable, min(4, len(usable)), replace=False).tolist()
        args = with_labels(np.array(points), self.labels)

        def total(*a: Any) -> Any:
            return jnp.sum(jax.vmap(self.each)(*a))

        with x64():
            at = tuple(jnp.asarray(arg, jnp.float64) for arg in args)
        return verify(
            slope, of=total, at=at, dtypes=("float64",), evaluations=0,
            name=f"{self.name}, repaired",
        )  # fmt: skip

    def remarks(self, pieces: list[Piece]) -> list[str]:
        """What has to be said of series and kinks."""
        series = [
            f"a series from {piece.low:.6g} to {piece.high:.6g}: what it leaves out is "
            f"proved to be below {piece.form.truncation:.1e} of the value"
            for piece in pieces
            if piece.form.kind == "series"
        ]
        kinks = [
            f"a kink at {self.arguments[0]} = {left.high:.6g}: the derivative there is the "
            "one from the right"
            for left, right in pairwise(pieces)
            if not self.labels and _jumps(left, right)
        ]
        return series + kinks


@dataclass(frozen=True)
class Measured:
    """The largest errors of two derivatives in ulp, and how they compare input by input."""

    before: float
    after: float
    inputs: int
    worse_by: float
    """The most by which the error of the second is above that of the first, at any input."""
    where_good: float
    """The largest error of the second where that of the first is at most 8 ulp."""


def measured(f: Callable, slope: Callable, *, at: tuple, dtype: str) -> Measured:
    """`jax.grad(f)` and another derivative of one entry of f over the inputs of a dtype."""
    try:
        search = Search(f, at, read(f, at), dtype)
    except InputError:
        logits = vector.recognised(f, at)
        if logits is None:
            raise
        rows = vector.drawn(logits.size, dtype)
        before, after = (
            vector.errors(g, logits, at, rows, dtype).ravel() for g in (jax.grad(f), slope)
        )
        return _compared(before, after)
    true = search.truth(1, *search.args)
    return _compared(search.errors(jax.grad(search.each), true), search.errors(slope, true))


def _compared(before: np.ndarray, after: np.ndarray) -> Measured:
    judged = int(np.count_nonzero(~np.isnan(after)))
    where_good = float(after[(before <= GOOD) & ~np.isnan(after)].max(initial=0.0))
    rise = _difference(before, after)[1]
    return Measured(_worst(before), _worst(after), judged, rise, where_good)


# --- small parts ------------------------------------------------------------------------------


def _inputs(dtype: str) -> np.ndarray:
    """All inputs of a half precision, else some of every exponent and many near 0."""
    numbers = inputs_of(dtype, DENSE.get(dtype)).astype(np.float64)
    dense = np.linspace(-20, 20, 2001).astype(jnp.dtype(dtype)).astype(np.float64)
    return np.unique(np.concatenate([numbers, dense]) + 0.0)


def _errors(function: Callable, args: list[np.ndarray], true: Any, dtype: str) -> np.ndarray:
    """The error of a compiled function at each input; NaN where nothing is judged."""
    with np.errstate(over="ignore"):  # a constant beyond a half precision: the error says so
        values = compute(function, *args, dtype=dtype, repeats=0).values
    return compare(values, true, *args, dtype=dtype).error


def _is_mean(f: Callable, at: tuple, core: Core) -> bool:
    """Whether the sum is divided by the number of entries: twice as many, half the factor."""
    twice = tuple(
        np.concatenate([np.asarray(v)] * 2) if np.ndim(v) and np.size(v) > 1 else v for v in at
    )
    try:
        return read(f, twice).scale * 2 == core.scale
    except InputError:
        return False


def _rows(labels: tuple) -> tuple[tuple[float, ...], ...]:
    """The first few distinct rows of what the other arguments are."""
    if not labels:
        return ()
    columns = np.broadcast_arrays(*(np.asarray(label, np.float64).ravel() for label in labels))
    rows = dict.fromkeys(zip(*(column.tolist() for column in columns), strict=True))
    return tuple(rows)[:MOST_ROWS]


def _name_of(f: Callable, *taken: str) -> str:
    name = getattr(f, "__name__", "f")
    return name if name.isidentifier() and name not in taken else "f"


def _argument_names(f: Callable, count: int) -> list[str]:
    """The names of f's own arguments, if they serve."""
    try:
        names = list(inspect.signature(f).parameters)[:count]
    except (TypeError, ValueError):
        names = []
    taken = {"jax", "jnp", "value", "derivative", "dtype"}
    if len(names) == count and not taken.intersection(names) and "args" not in names:
        return names
    return ["x", "y", "w", "v", "u", "t"][:count]


def _on_entries(f: Callable, at: tuple) -> Callable:
    """f as a function of one entry of each argument."""
    shapes = [np.shape(value) for value in at]
    if shapes[0] == ():
        return f

    def entry(*args: Any) -> Any:
        shaped = [
            jnp.reshape(arg, (1,) * len(shape)) for arg, shape in zip(args, shapes, strict=True)
        ]
        return jnp.reshape(f(*shaped), ())

    return entry


def _read_gradient(entry: Callable, at: tuple) -> Expression | None:
    """The formula of `jax.grad`, if it can be read."""
    try:
        return read(jax.grad(entry), at).term
    except InputError:
        return None


def _scaled(slope: Callable, reduction: str) -> Callable:
    """The derivative of the whole function: of a mean, divided by the number of entries."""
    if reduction != "mean":
        return slope

    def of_mean(*args: Any) -> Any:
        entries = slope(*args)
        return entries / entries.size

    return of_mean


def _worst(errors: np.ndarray) -> float:
    return float(np.nanmax(errors)) if not np.isnan(errors).all() else 0.0


def _difference(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """By how much the error fell at most, and by how much it rose at most."""
    known = ~np.isnan(before) & ~np.isnan(after)
    top = 1e30
    change = np.minimum(before[known], top) - np.minimum(after[known], top)
    return float(change.max(initial=0.0)), float(-change.min(initial=0.0))


def _rank(before: np.ndarray, after: np.ndarray) -> tuple[float, float, int]:
    """The less the better: where it rose the rise, then the largest error, then how many."""
    lost, failing = _difference(before, after)[1], int(np.count_nonzero(after > GOOD))
    return max(GOOD, lost), max(GOOD, _worst(after)), failing


def _is_better(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the error fell somewhere, and rose nowhere by more."""
    gained, lost = _difference(before, after)
    return gained > 0 and gained >= lost


def _jumps(left: Piece, right: Piece) -> bool:
    """Whether two neighbouring forms surely differ where one ends and the other begins."""
    one, other = (ball_at(piece.form.term, arb(left.high)) for piece in (left, right))
    exact = left.form.kind == right.form.kind == "exact"
    return bool(exact and one.is_finite() and other.is_finite() and not one.overlaps(other))


def _piece_data(piece: Piece) -> dict[str, Any]:
    return {
        "low": piece.low, "high": piece.high, "kind": piece.form.kind,
        "form": str(piece.form.term), "truncation": piece.form.truncation,
    }  # fmt: skip


# --- for people -------------------------------------------------------------------------------


def as_text(found: Repair) -> str:
    """The answer, the numbers, and the code."""
    factor = found.cost.after_ns / found.cost.before_ns
    same = "nothing better was found" in found.notes
    answer = (
        "as good as it was" if same and found.ok else "repaired" if found.ok else "NOT repaired"
    )
    lines = [
        f"{found.name}: {answer}",
        f"  error in {found.dtype}   {_ulps(found.before_ulp)} as jax.grad builds it, "
        f"{_ulps(found.after_ulp)} as below",
        f"  nanoseconds        {found.cost.before_ns:.2f} an element, {found.cost.after_ns:.2f} "
        f"({factor:.2f} times)",
        f"  proof              {found.verdict.hand} to the derivative, "
        f"{found.verdict.digits} digits",
        *(f"  note               {note}" for note in found.notes),
        "", found.source,
    ]  # fmt: skip
    return "\n".join(lines)


def as_data(found: Repair) -> dict[str, Any]:
    """What was found as data; the verdict as its certificate."""
    return {
        "name": found.name, "ok": found.ok, "dtype": found.dtype, "source": found.source,
        "before_ulp": found.before_ulp, "after_ulp": found.after_ulp, "cost": found.cost._asdict(),
        "notes": list(found.notes), "verdict": json.loads(found.verdict.to_json()), **found.record,
    }  # fmt: skip


def _ulps(error: float) -> str:
    return "NaN or inf" if np.isinf(error) else f"{error:,.2f} ulp"
