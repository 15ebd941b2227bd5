"""The atlas: what every form of every derivative does in every dtype, row by row, as data.

Of a function of one argument, all inputs of the half precisions, and of float32 and float64 some of
every sign and exponent; of a function of two, pairs chosen for their structure and some at random.
Where not all inputs can be tried (float64, and pairs) a search around the worst ones looks for
worse: what it finds counts in the largest error alone.
"""

import json
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from handgrad.accuracy.functions import (
    DEFAULT,
    HANDGRAD,
    HIGHEST,
    REFUSED,
    Function,
    choose,
    find,
    missing,
    table,
)
from handgrad.accuracy.measure import (
    DTYPES,
    HALF,
    Errors,
    InputErrors,
    TrueDerivatives,
    check_dtype,
    compare,
    compute,
    inputs_of,
    summarize,
    true_derivatives,
)
from handgrad.errors import HandgradError, InputError

ORDERS = (1, 2)
FAILURES = ("nan", "inf", "wrong_sign", "zero")


class AtlasRow(NamedTuple):
    """What one form of one derivative does; of order 0, the function itself.

    The fields are the keys of a row of the JSON. `above_1` and `above_10` are shares of the inputs
    judged, which `inputs` counts; `subnormal` counts those set apart; `at` is the input of the
    largest error as hex floats, one for each argument; `ns` are nanoseconds per element.
    """

    function: str
    order: int
    dtype: str
    form: str
    max_ulp: float
    at: str
    nan: int
    inf: int
    wrong_sign: int
    zero: int
    above_1: float
    above_10: float
    subnormal: int
    inputs: int
    ns: float

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What the row is about."""
        return self[:4]

    @property
    def failing(self) -> int:
        """Inputs with a NaN, a wrong infinity or sign, or a lost normal number."""
        return sum(getattr(self, kind) for kind in FAILURES)


class Refusal(NamedTuple):
    """What is not in the atlas, and why; empty parts mean all of them."""

    function: str
    dtype: str
    form: str
    reason: str


class LeftOut(NamedTuple):
    """Inputs of a function that have no true derivative to judge by, other than its domain."""

    function: str
    dtype: str
    kinks: int
    undecided: int


class Profile(NamedTuple):
    """The largest error along the inputs, in the bins of `profile_edges`.

    A letter of `errors` stands for the largest finite error of a bin: `LEVELS` says which. A space
    means that no input of it is judged. `failing` has an n, i, s or z where there is a NaN, a wrong
    infinity, a wrong sign or a lost number, a dot where there is none; it is empty if there is no
    such bin.
    """

    function: str
    order: int
    dtype: str
    form: str
    errors: str
    failing: str


@dataclass
class Atlas:
    """Rows, and what belongs to them."""

    facts: dict[str, Any] = field(default_factory=dict)
    """The machine and the versions; under `arithmetic` the devices that computed the values."""
    rows: list[AtlasRow] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    def add(self, other: "Atlas") -> None:
        """Take in what was found of other functions."""
        for name in LISTS:
            getattr(self, name).extend(getattr(other, name))
        for device in other.facts.get("arithmetic", ()):
            self.note_device(device)

    def note_device(self, device: str) -> None:
        """Keep the name of a device that computed values."""
        known = self.facts.setdefault("arithmetic", [])
        if device not in known:
            known.append(device)

    def sort(self) -> None:
        """In the order of the alphabet, the dtypes and the orders."""
        places = {form: place for place, form in enumerate((DEFAULT, HIGHEST, HANDGRAD))}

        def place(row: Any) -> tuple:
            order, form = getattr(row, "order", 0), getattr(row, "form", "")
            dtype = DTYPES.index(row.dtype) if row.dtype in DTYPES else -1
            return row.function.lower(), dtype, order, places.get(form, 9)

        for name in LISTS:
            getattr(self, name).sort(key=place)


LISTS = {"rows": AtlasRow, "refused": Refusal, "left_out": LeftOut, "profiles": Profile}
"""The lists of an atlas, and of the JSON, with the type of what is in them."""


# --- measuring --------------------------------------------------------------------------------

LIMIT = 120.0
"""Seconds for a function in one dtype: some loops of JAX never end in a half precision."""


class Task(NamedTuple):
    """The arguments of `measure_function`."""

    name: str
    dtypes: Sequence[str]
    orders: Sequence[int]


def measure_functions(
    names: Sequence[str] = (),
    *,
    dtypes: Sequence[str] = DTYPES,
    orders: Sequence[int] = ORDERS,
    processes: int = 0,
    limit: float = LIMIT,
    seconds: float = inf,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Atlas:
    """The atlas of the functions named, or of all; the value's own error is always in it.

    Second derivatives are taken in the half precisions alone. A function that takes more than
    `limit` seconds in a dtype is refused there, in processes of their own; with `processes` 0, in
    this one, nothing limits it. What is not done after `seconds` in all is refused too.
    `progress(done, total)` counts functions, in each dtype anew.
    Raises InputError for a name, a dtype or an order that the atlas does not have.
    """
    for dtype in dtypes:
        check_dtype(dtype)
    if not orders or not set(orders) <= set(ORDERS):
        raise InputError("orders", "1, 2 or both", repr(list(orders)), "the value is always there")
    wanted = [0, *sorted(set(orders))]
    # the slow ones, which are those of jax.scipy.special, should not come last
    chosen = sorted((entry.name for entry in choose(names)), key=lambda name: "special" not in name)
    tasks = [Task(name, (dtype,), wanted) for name in chosen for dtype in dtypes]
    end = monotonic() + seconds
    if processes:
        parts = _in_workers(tasks, processes, limit, end)
    else:
        parts = (measure_function(*task) for task in tasks if monotonic() < end)
    atlas, done = Atlas(refused=[] if names else left_aside()), 0
    for done, part in enumerate(parts, start=1):
        atlas.add(part)
        progress(done, len(tasks))
    if done < len(tasks):
        known = {(row.function, row.dtype) for row in atlas.rows}
        known |= {(entry.function, entry.dtype) for entry in atlas.refused}
        late = [(name, dtype) for name, (dtype,), _ in tasks if (name, dtype) not in known]
        atlas.refused += [Refusal(*task, "", f"it was not done in {seconds:g} s") for task in late]
    atlas.sort()
    return atlas


def left_aside() -> list[Refusal]:
    """The functions that are not in the table, by name."""
    known = [
        Refusal(name, "", "", why)
        for name, why in REFUSED.items()
        if find(name.partition(",")[0]) is not None
    ]
    return known + [Refusal(name, "", "", "not in the installed version") for name in missing()]


def measure_function(name: str, dtypes: Sequence[str], orders: Sequence[int]) -> Atlas:
    """All rows of one function of the table."""
    entry = table()[name]
    atlas = Atlas()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows while JAX builds a constant for a half
        for dtype in dtypes:
            _measure_dtype(atlas, entry, dtype, orders)
    return atlas


def _measure_dtype(atlas: Atlas, entry: Function, dtype: str, orders: Sequence[int]) -> None:
    orders = [order for order in orders if order < 2 or dtype in HALF]
    args = [inputs_of(dtype)] if entry.arguments == 1 else pairs_of(dtype)
    try:
        truths = _truths(entry, args, dtype, max(orders))
    except HandgradError as fault:
        atlas.refused.append(Refusal(entry.name, dtype, "", _first_line(fault)))
        return
    if truths.kinks or truths.undecided:
        atlas.left_out.append(LeftOut(entry.name, dtype, truths.kinks, truths.undecided))
    for order in orders:
        for form, function in entry.implementations(order).items():
            try:
                values, ns, device = compute(function, *args, dtype=dtype)
            except Exception as fault:  # whatever JAX says of a dtype that it does not support
                reason = f"order {order}: {_first_line(fault)}"
                atlas.refused.append(Refusal(entry.name, dtype, form, reason))
                continue
            atlas.note_device(device)
            found = compare(values, truths.orders[order], *args, dtype=dtype)
            errors = summarize(found, *args, ns=ns)
            if order == 1 and (dtype == "float64" or entry.arguments == 2):
                errors = search(entry, function, errors, found, args, dtype)
            atlas.rows.append(row_of(entry.name, order, dtype, form, errors))
            if entry.arguments == 1 and order and dtype != "float64":
                profile = profile_of(found, args[0], dtype)
                atlas.profiles.append(Profile(entry.name, order, dtype, form, *profile))


def _truths(entry: Function, args: Sequence[np.ndarray], dtype: str, order: int) -> TrueDerivatives:
    return true_derivatives(
        entry.function, *args, dtype=dtype, order=order, argnum=entry.argnum, taylor=entry.taylor
    )


def row_of(function: str, order: int, dtype: str, form: str, errors: Errors) -> AtlasRow:
    """A row, its numbers to the digits that mean something."""
    digits = {"max_ulp": 5, "above_1": 5, "above_10": 5, "ns": 3}
    rounded = {name: float(f"{getattr(errors, name):.{n}g}") for name, n in digits.items()}
    return AtlasRow(
        function, order, dtype, form,
        **asdict(errors) | rounded | {"at": ", ".join(map(short_hex, errors.at))},
    )  # fmt: skip


def short_hex(x: float) -> str:
    """A hex float without its trailing zeros.

    >>> short_hex(0.15625)
    '0x1.4p-3'
    """
    mantissa, _, exponent = float(x).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def _first_line(fault: Exception) -> str:
    lines = str(fault).splitlines() or [""]
    return f"{type(fault).__name__}: {lines[0]}"[:160]


# --- processes --------------------------------------------------------------------------------


class Worker:
    """A process that measures one task at a time, and can be killed inside of compiled code."""

    def __init__(self) -> None:
        context = get_context("spawn")  # JAX does not survive a fork
        self.channel, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(measure_function, other), daemon=True)
        self.process.start()
        other.close()

    def begin(self, task: Task, limit: float) -> None:
        """Hand over a task; its time runs from when the process is ready."""
        self.channel.recv()
        self.task, self.deadline = task, monotonic() + limit
        self.channel.send(task)

    def result(self) -> Atlas:
        """What it found. Raises TimeoutError if it is not there yet, EOFError if it died."""
        if not self.channel.poll():
            raise TimeoutError
        return self.channel.recv()


def _serve(measure: Callable[..., Atlas], channel: Any) -> None:
    """The life of a worker, which says that it is ready before each task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began it ends it
    while True:
        channel.send("ready")
        channel.send(measure(*channel.recv()))


def _in_workers(tasks: Sequence[Task], processes: int, limit: float, end: float) -> Iterator[Atlas]:
    """What each task finds, or its refusal: a worker that does not end, or dies, is replaced.

    At the time `end` there is no more.
    """
    waiting, busy = deque(tasks), list[Worker]()
    idle = [Worker() for _ in range(min(processes, len(tasks)))]
    try:
        while (waiting or busy) and monotonic() < end:
            while waiting and idle:
                busy.append(idle.pop())
                busy[-1].begin(waiting.popleft(), limit)
            until = min(end, *(worker.deadline for worker in busy))
            wait([worker.channel for worker in busy], max(0.0, until - monotonic()))
            for worker in [w for w in busy if w.channel.poll() or monotonic() >= w.deadline]:
                busy.remove(worker)
                try:
                    found = worker.result()
                except (TimeoutError, EOFError) as fault:
                    late = isinstance(fault, TimeoutError)
                    reason = f"it did not end in {limit:g} s" if late else "its process died"
                    name, (dtype,), _ = worker.task
                    found = Atlas(refused=[Refusal(name, dtype, "", reason)])
                    worker.process.kill()
                    idle += [Worker()] if waiting else []
                else:
                    idle.append(worker)
                yield found
    finally:
        for worker in (*busy, *idle):
            worker.process.kill()


# --- pairs, and a search ----------------------------------------------------------------------


DRAWN = 4_096
"""Pairs at random, of which those that are not finite are left out."""


def pairs_of(dtype: str) -> list[np.ndarray]:
    """Pairs of numbers of a dtype: a grid over signs and magnitudes, neighbours, and any at random.

    >>> x, y = pairs_of("float16")
    >>> len(x) == len(y) > 8_000, int((x == y).sum()) > 50
    (True, True)
    """
    check_dtype(dtype)
    info = jnp.finfo(dtype)
    lowest, highest = int(info.minexp) - 1, int(info.maxexp) - 1
    near = np.arange(max(-24, lowest), min(24, highest) + 1, 2)
    far = np.linspace(lowest, highest, 9).astype(int)
    exponents = np.unique(np.concatenate([near, far]))
    sizes = np.concatenate([np.ldexp(m, exponents) for m in (1.0, 1.375)])
    axis = np.concatenate([[0.0], sizes, -sizes])
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    step = float(info.eps)
    bits = np.dtype(f"uint{info.bits}")
    rng = np.random.default_rng(0)
    anything = rng.integers(0, np.iinfo(bits).max, (2, DRAWN), bits, endpoint=True)
    drawn = anything.view(jnp.dtype(dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        factors = (1, 1 + step, 1 - step, 1 + 8 * step, -1, 2)
        close = [(axis, axis * factor) for factor in factors]
        drawn = drawn[:, np.isfinite(drawn.astype(np.float64)).all(axis=0)]
        found = [
            np.concatenate([part, *more]).astype(jnp.dtype(dtype))
            for part, more in zip((x, y), zip(*close, strict=True), strict=True)
        ]
        finite = np.isfinite(np.asarray(found, np.float64)).all(axis=0)
    return [np.concatenate([part[finite], more]) for part, more in zip(found, drawn, strict=True)]


ROUNDS, STARTS, TRIED = 2, 8, 64
"""Rounds of a search, the inputs that each begins from, and the neighbours tried of each."""


def search(
    entry: Function, function: Callable[..., Any], errors: Errors, found: InputErrors,
    args: Sequence[np.ndarray], dtype: str,
) -> Errors:  # fmt: skip
    """The first derivative's errors with a larger one, if the neighbours of the worst inputs have.

    Each round takes the worst inputs known, and of each of their numbers some that are near in
    their bits; the next round goes on from what that found.
    """
    rng = np.random.default_rng(0)
    places = _worst(found)
    if not len(places):
        return errors
    best, best_at = errors.max_ulp, errors.at
    start = [np.asarray(array)[places] for array in args]
    for _ in range(ROUNDS):
        tried = [neighbours(array, TRIED, dtype, rng) for array in start]
        try:
            truth = _truths(entry, tried, dtype, 1).orders[1]
            values = compute(function, *tried, dtype=dtype, repeats=0).values
        except Exception:  # it worked for the first inputs: keep what they gave
            break
        at = compare(values, truth, *tried, dtype=dtype)
        better = summarize(at, *tried)
        if better.inputs and better.max_ulp > best:
            best, best_at = better.max_ulp, better.at
        places = _worst(at)
        if len(places) < STARTS:
            break
        start = [array[places] for array in tried]
    return replace(errors, max_ulp=best, at=best_at)


def _worst(found: InputErrors) -> np.ndarray:
    places = np.argsort(found.finite)[-STARTS:]
    return places[found.finite[places] >= 0]


def neighbours(array: np.ndarray, count: int, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Of each number some whose bits, read as an integer, are near: by 1 up to a binade or two."""
    info = jnp.finfo(dtype)
    bits = np.repeat(array.view(f"int{info.bits}").astype(np.int64), count)
    reach = np.exp2(rng.uniform(0, int(info.nmant) + 1, len(bits)))
    moved = bits + np.rint(reach * rng.choice([-1, 0, 1], len(bits))).astype(np.int64)
    limits = np.iinfo(f"int{info.bits}")
    found = np.clip(moved, limits.min, limits.max).astype(f"int{info.bits}").view(jnp.dtype(dtype))
    return np.where(np.isfinite(found.astype(np.float64)), found, np.repeat(array, count))


# --- profiles ---------------------------------------------------------------------------------

ALPHABET = "".join(chr(code) for code in range(35, 127) if chr(code) not in "<>&'\\")
LEVELS = f"errors[k] = ALPHABET[i] for an error of about 2^((i - 4) / 2) ulp, ALPHABET = {ALPHABET}"
FINE = range(-12, 12)
"""Exponents at which a binade has `PER_FINE` bins; elsewhere eight binades share one."""
PER_FINE, SHARED = 4, 8


def profile_edges(dtype: str) -> np.ndarray:
    """The edges of the bins over the inputs, from the most negative to the largest.

    >>> edges = profile_edges("float16")
    >>> len(edges), float(edges[len(edges) // 2])
    (199, 0.0)
    """
    info = jnp.finfo(dtype)
    lowest, highest = int(info.minexp) - int(info.nmant), int(info.maxexp)
    fine = [np.ldexp(1 + q / PER_FINE, e) for e in FINE for q in range(PER_FINE)]
    below = np.ldexp(1.0, np.arange(FINE[0] - SHARED, lowest, -SHARED)[::-1])
    above = np.ldexp(1.0, np.arange(FINE[-1] + 1, highest, SHARED))
    positive = np.concatenate([below, fine, above, [np.ldexp(1.0, highest)]])
    return np.concatenate([-positive[::-1], [0.0], positive])


def profile_of(found: InputErrors, inputs: np.ndarray, dtype: str) -> tuple[str, str]:
    """The letters of `errors` and of `failing` of a profile."""
    edges = profile_edges(dtype)
    x = np.asarray(inputs).astype(np.float64)
    bins = len(edges) - 1
    # a bin holds its end that is nearer to 0
    low = np.searchsorted(edges, x, side="right") - 1
    high = np.searchsorted(edges, x, side="left") - 1
    bin_of = np.clip(np.where(x >= 0, low, high), 0, bins - 1)
    worst = np.full(bins, -1.0)
    np.maximum.at(worst, bin_of, found.finite)
    judged = np.bincount(bin_of[found.judged], minlength=bins) > 0
    with np.errstate(divide="ignore"):
        level = np.rint(2 * np.log2(np.maximum(worst, 2.0**-2)) + 4)
    letters = np.clip(level, 0, len(ALPHABET) - 1).astype(int)
    errors = "".join(
        ALPHABET[letter] if seen else " " for letter, seen in zip(letters, judged, strict=True)
    )
    marks = np.full(bins, ".")
    for letter, mask in zip("zsin", (found.zero, found.wrong_sign, found.inf, found.nan),
                            strict=True):  # fmt: skip
        marks[np.unique(bin_of[mask])] = letter
    failing = "".join(marks)
    return errors.rstrip(), failing.rstrip(".")


# --- files ------------------------------------------------------------------------------------


def as_json(atlas: Atlas) -> str:
    """The atlas as JSON, one row to a line."""
    parts = [f' "{name}": {_line(value)}' for name, value in atlas.facts.items()]
    parts.append(f' "levels": {_line(LEVELS)}')
    for name in LISTS:
        lines = ",\n".join("  " + _line(entry._asdict()) for entry in getattr(atlas, name))
        parts.append(f' "{name}": [\n{lines}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        value = {k: None if v != v else v for k, v in value.items()}
    return json.dumps(value, ensure_ascii=False)


def read_atlas(path: Path) -> Atlas:
    """The atlas in a file. Raises InputError for any other file."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {
            name: [kind(**_numbers(entry)) for entry in data.pop(name)]
            for name, kind in LISTS.items()
        }
        data.pop("levels")
        return Atlas(facts=data, **found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InputError(
            "file", "an atlas", f"{path}: {type(fault).__name__}: {fault}",
            "write one with handgrad atlas --json FILE",
        ) from None  # fmt: skip


def _numbers(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: float("nan") if v is None else v for k, v in entry.items()}


# --- two atlases ------------------------------------------------------------------------------

NOTICEABLE = 1.1
"""Times by which a largest error must differ to be called another."""


class Change(NamedTuple):
    """A row in two atlases that is not the same."""

    kind: str
    """better, worse, mixed, new, or gone."""
    old: AtlasRow | None
    new: AtlasRow | None
    reason: str


def changes(old: Atlas, new: Atlas) -> list[Change]:
    """What became better or worse from one atlas to another: errors and failures, not speed.

    A row is better or worse if its largest error is by more than a tenth, or if more or fewer of
    its inputs fail; mixed if one is better and the other worse.
    """
    before, after = ({row.key: row for row in atlas.rows} for atlas in (old, new))
    found = []
    for key in sorted({*before, *after}, key=lambda key: (key[0].lower(), *key[1:])):
        a, b = before.get(key), after.get(key)
        if a is None or b is None:
            found.append(Change("new" if a is None else "gone", a, b, ""))
            continue
        signs, reasons = [], []
        low, high = sorted((a.max_ulp, b.max_ulp))
        if high > NOTICEABLE * low and high > 1:
            signs.append(b.max_ulp > a.max_ulp)
            reasons.append(f"{a.max_ulp:,.4g} → {b.max_ulp:,.4g} ulp")
        for kind in FAILURES:
            if getattr(a, kind) != getattr(b, kind):
                signs.append(getattr(b, kind) > getattr(a, kind))
                name = kind.replace("_", " ")
                reasons.append(f"{getattr(a, kind):,} → {getattr(b, kind):,} {name}")
        if signs:
            kind = "worse" if all(signs) else "mixed" if any(signs) else "better"
            found.append(Change(kind, a, b, ", ".join(reasons)))
    return found


def worst_first(rows: Iterable[AtlasRow]) -> list[AtlasRow]:
    """By the number of inputs that fail, then by the largest error."""
    return sorted(rows, key=lambda row: (-row.failing, -row.max_ulp))
