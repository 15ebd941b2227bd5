"""Contenders, their peers and the machine's own limits, raced round after round in one process.

A contender has been compiled and has run once before anything is timed, and its answer has been
compared with the right one: a fast wrong answer has no time.

Whatever else the machine does (another process, a clock that slows down) falls on all contenders
alike. So the figure to trust is a ratio, taken within each round; the median over rounds is
reported with its quartiles, and seconds beside it are for orientation.
"""

import gc
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from handgrad._precision import wider
from handgrad._types import Array, DTypeLike
from handgrad.errors import describe_error

Check = Callable[[Any], None]
"""Raises AssertionError for an answer that is wrong."""

FEWEST, MOST, QUICK = 5, 31, 3
"""Rounds: at least, at most, and of a quick race."""
REST = 0.1
"""Seconds before a run on a CPU: threads of the one before may spin for work that never comes."""
LARGE = 2**28
"""Bytes from which arrays are compared where they are: to copy them from a device takes longer."""


# --- contenders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """One implementation; `run` returns when its result is there, not when it is dispatched."""

    name: str
    run: Callable[[], Any]
    compile_seconds: float = 0.0
    first_seconds: float = 0.0
    temporaries: int | None = None
    """Bytes that a compiled program allocates beside its arguments and outputs, where XLA tells."""
    answer: Any = field(default=None, compare=False, repr=False)


class WrongAnswerError(AssertionError):
    """A contender's answer is not the right one, so its time means nothing."""


def compiled(
    name: str, function: Callable, *args: Any, check: Check | None = None, **options: Any
) -> Contender:
    """A JAX function at these arguments, compiled ahead; `options` go to `jax.jit`."""
    began = time.perf_counter()
    program = jax.jit(function, **options).lower(*args).compile()
    compile_seconds = time.perf_counter() - began
    temporaries = getattr(program.memory_analysis(), "temp_size_in_bytes", None)

    def run() -> Any:
        return jax.block_until_ready(program(*args))

    return _checked(Contender(name, run, compile_seconds, temporaries=temporaries), check)


def plain(name: str, run: Callable[[], Any], check: Check | None = None) -> Contender:
    """Anything else: a function without arguments that returns when it is done."""
    return _checked(Contender(name, run), check)


def _checked(contender: Contender, check: Check | None) -> Contender:
    began = time.perf_counter()
    answer = contender.run()
    first_seconds = time.perf_counter() - began
    if check is not None:
        try:
            check(answer)
        except AssertionError as fault:
            raise WrongAnswerError(f"{contender.name}: {fault}") from fault
    return replace(contender, first_seconds=first_seconds, answer=answer)


def equal_to(right: Any, tolerance: float) -> Check:
    """Compares (E, ∇E), or a part, with the right one, relative to the largest of each array."""
    truth = [_to_compare(leaf) for leaf in jax.tree.leaves(right)]

    def check(answer: Any) -> None:
        for got, expected in zip(jax.tree.leaves(answer), truth, strict=True):
            there = isinstance(expected, jax.Array)
            distance = _distance_there if there else _distance
            error, largest = map(float, distance(got if there else _to_compare(got), expected))
            assert error <= tolerance * largest, f"off by {error / largest:.1e} of the largest"

    return check


def _to_compare(leaf: Any) -> Any:
    """In float64 on the host; a large array stays as it is, where it is."""
    large = isinstance(leaf, jax.Array) and leaf.nbytes >= LARGE
    return leaf if large else np.asarray(leaf, np.float64)


def _distance(got: Any, right: Any) -> tuple[Any, Any]:
    """(max |got − right|, max |right|)."""
    return np.abs(np.asarray(got, np.float64) - right).max(), np.abs(right).max()


@jax.jit
def _distance_there(got: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same on the device, in float32 at least; nothing as large as the arrays is made."""
    wide = wider(wider(got.dtype, right.dtype), jnp.float32)
    got, right = got.astype(wide), right.astype(wide)
    return jnp.max(jnp.abs(got - right)), jnp.max(jnp.abs(right))


# --- the race -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quartiles:
    """The median of some numbers, with their quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """Of at least one number."""
        lower, median, upper = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(lower), float(upper))


@dataclass(frozen=True)
class Timing:
    """One contender's runs, in seconds, in the order of the rounds."""

    contender: Contender
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def quartiles(self) -> Quartiles:
        """Of the runs."""
        return Quartiles.of(self.seconds)


def race(
    contenders: Sequence[Contender], budget: float = 20.0, quick: bool = False
) -> dict[str, Timing]:
    """Every contender once a round, the first in line last in the next; by name.

    As many rounds as fit `budget` seconds, by what the first runs took, from 5 to 31; a quick race
    has three. Only on a CPU, and if the race is not quick, there is a rest before each run.
    """
    a_round = sum(contender.first_seconds for contender in contenders)
    rounds = QUICK if quick else int(np.clip(budget / max(a_round, 1e-9), FEWEST, MOST))
    rest = 0.0 if quick or jax.default_backend() != "cpu" else REST
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    order = list(contenders)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for contender in order:
                time.sleep(rest)
                began = time.perf_counter()
                contender.run()
                seconds[contender.name].append(time.perf_counter() - began)
            order.append(order.pop(0))
    finally:
        gc.enable()
    return {c.name: Timing(c, tuple(seconds[c.name])) for c in contenders}


def ratio(slow: Timing, fast: Timing) -> Quartiles:
    """How many times as long the first takes, round by round."""
    return Quartiles.of([a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)])


def fastest(timings: Sequence[Timing]) -> Timing:
    """The one with the smallest median."""
    return min(timings, key=lambda timing: timing.quartiles.median)


# --- the machine's own limits ---------------------------------------------------------------------

# No gradient of x can take less time than reading x once, and none of a matrix product less than
# its multiplications at the best rate of the machine. Both are measured, not looked up: by three
# ways to read, and by products of square matrices. Another product may be a little faster.

SIDES, QUICK_SIDES = (1024, 2048, 4096), (512,)


def readers(x: Array, w: Array) -> list[Contender]:
    """Three ways to read all of x (N, D) once; the fastest is what memory can do."""
    return [
        compiled("read: sum", jnp.sum, x),
        compiled("read: max", jnp.max, x),
        compiled("read: x @ w", jnp.matmul, x, w),
    ]


def multipliers(dtype: DTypeLike, sides: tuple[int, ...] = SIDES) -> dict[str, tuple[Any, float]]:
    """Products of square matrices in a dtype, sums in float32 or wider: contender and flops."""
    wide = dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32
    precision = lax.Precision.HIGHEST if jnp.dtype(dtype).itemsize >= 4 else None

    def product(a: Array, b: Array) -> Array:
        return jnp.matmul(a, b, precision=precision, preferred_element_type=wide)

    found = {}
    for side in sides:
        a = random.normal(random.key(side), (side, side), jnp.float32).astype(dtype)
        name = f"multiply: {side}²"
        found[name] = (compiled(name, product, a, a), 2.0 * side**3)
    return found


@dataclass(frozen=True)
class Peak:
    """The product that had the most flops a second in a race."""

    timing: Timing
    flops: float

    @classmethod
    def of(cls, products: Mapping[str, tuple[Any, float]], timings: Mapping[str, Timing]) -> "Peak":
        """Of what `multipliers` returned, once they have run."""
        found = [cls(timings[name], flops) for name, (_, flops) in products.items()]
        return max(found, key=lambda peak: peak.rate)

    @property
    def rate(self) -> float:
        """Flops a second."""
        return self.flops / self.timing.quartiles.median

    def share(self, timing: Timing, flops: float) -> float:
        """Of this rate, by a contender of the same race that does `flops`, round by round."""
        return flops / self.flops * ratio(self.timing, timing).median


# --- peers ----------------------------------------------------------------------------------------


def installed(name: str) -> ModuleType | None:
    """The module of a peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def missing(names: Sequence[str]) -> list[str]:
    """A note for each peer that is not installed."""
    return [f"{name} is not installed: left out" for name in names if installed(name) is None]


def torch_gradient(loss: Callable, leaves: tuple[Any, ...]) -> tuple[float, tuple[Any, ...]]:
    """(E, ∇E) of a loss in PyTorch by autograd, as NumPy has them."""
    torch: Any = installed("torch")
    value = loss(*leaves)
    gradient = torch.autograd.grad(value, leaves)
    return float(value.detach()), tuple(part.numpy() for part in gradient)


def by_torch(
    loss: Callable, leaves: tuple[Any, ...], check: Check
) -> tuple[list[Contender], list[str]]:
    """PyTorch's autograd of a loss, as it is and compiled; or a note of why that cannot be."""

    def run(loss: Callable) -> Any:
        return torch_gradient(loss, leaves)

    compiled_too, notes = by_compile(run, loss, check)
    return [plain("PyTorch, autograd", lambda: run(loss), check), *compiled_too], notes


def by_compile(
    run: Callable[[Any], Any], function: Callable, check: Check
) -> tuple[list[Contender], list[str]]:
    """`run` with `torch.compile` of its function, as a contender; or a note of why it cannot be."""
    torch: Any = installed("torch")
    try:
        program = torch.compile(function)  # compiles at the first call, and needs a C++ compiler
        return [plain("PyTorch, compiled", lambda: run(program), check)], []
    except WrongAnswerError:
        raise
    except Exception as fault:  # whatever its compilers raise
        return [], [f"PyTorch, compiled, is left out: {describe_error(fault)}"]
