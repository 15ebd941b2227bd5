"""Rows of an atlas computed again by mpmath: `python -m benchmarks.atlas_check [ATLAS.json]`.

Nothing of handgrad takes part: the derivatives are JAX's, the true values mpmath's own functions at
40 digits (each closed form held against `mpmath.diff` first), and ulp and counts are written anew,
at every input of the half precision. A row agrees if all its counts are the same and its largest
error is to four digits. Exit code 1 if one does not.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

DIGITS = 40


class Entry(NamedTuple):
    """A row of the atlas: f by mpmath, its derivative in closed form, and JAX's function."""

    function: str
    dtype: str
    order: int
    f: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    jax: Callable[[Any], Any]
    inside: Callable[[float], bool] = lambda x: True


def sigmoid_slope(x: Any) -> Any:
    """σ′ = σ(x) σ(−x)."""
    return 1 / (1 + mp.exp(-x)) / (1 + mp.exp(x))


def normal(x: Any) -> Any:
    """The density of the normal distribution."""
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def gelu_slope(x: Any) -> Any:
    """Φ(x) + x φ(x)."""
    return mp.erfc(-x / mp.sqrt(2)) / 2 + x * normal(x)


ENTRIES = (
    Entry("jnp.arcsinh", "float16", 1, mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x), jnp.arcsinh),
    Entry("jnp.arccosh", "float16", 1, mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1)),
          jnp.arccosh, lambda x: x > 1),
    Entry("jax.nn.squareplus", "float16", 1, lambda x: (x + mp.sqrt(x * x + 4)) / 2,
          lambda x: 2 / (mp.sqrt(x * x + 4) * (mp.sqrt(x * x + 4) - x)), jax.nn.squareplus),
    Entry("jnp.tanh", "bfloat16", 1, mp.tanh, lambda x: mp.sech(x) ** 2, jnp.tanh),
    Entry("jax.nn.sigmoid", "bfloat16", 1, lambda x: 1 / (1 + mp.exp(-x)), sigmoid_slope,
          jax.nn.sigmoid),
    Entry("jnp.expm1", "bfloat16", 1, mp.expm1, mp.exp, jnp.expm1),
    Entry("jax.nn.gelu, exact", "float16", 1, lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
          gelu_slope, lambda x: jax.nn.gelu(x, approximate=False)),
    Entry("lax.rsqrt", "float16", 1, lambda x: 1 / mp.sqrt(x), lambda x: -1 / (2 * x * mp.sqrt(x)),
          jax.lax.rsqrt, lambda x: x > 0),
    Entry("jax.nn.softplus", "float16", 2, lambda x: mp.log1p(mp.exp(x)), sigmoid_slope,
          jax.nn.softplus),
    Entry("jax.scipy.special.erf", "bfloat16", 2, mp.erf,
          lambda x: -4 * x * mp.exp(-x * x) / mp.sqrt(mp.pi), jax.scipy.special.erf),
)  # fmt: skip


def check_closed_form(entry: Entry) -> None:
    """Raise AssertionError unless the closed form is what mpmath differentiates f to."""
    with mp.workdps(60):
        for x in (1.25, 2.5, 7.0):
            numeric = mp.diff(entry.f, mp.mpf(x), entry.order)
            assert abs(numeric / entry.derivative(mp.mpf(x)) - 1) < 1e-15, (entry.function, x)


def measure(entry: Entry) -> dict[str, Any]:
    """The row, from all 65,536 bit patterns of the dtype."""
    dtype = jnp.dtype(entry.dtype)
    every = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):
        x = every[np.isfinite(every.astype(np.float64))]
    f = jax.grad(entry.jax) if entry.order == 1 else jax.grad(jax.grad(entry.jax))
    y = np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(x))).astype(np.float64)
    info = jnp.finfo(dtype)
    tiny, largest, bits = float(info.tiny), float(info.max), int(info.nmant)
    flushed = not bool(jax.jit(lambda t: t * 2)(jnp.asarray(tiny / 2, dtype)) != 0)
    row = dict.fromkeys(("nan", "inf", "wrong_sign", "zero", "subnormal", "inputs"), 0)
    worst, at = 0.0, 0.0
    for number, computed in zip(x.astype(np.float64).tolist(), y.tolist(), strict=True):
        if not entry.inside(number):
            continue
        t = entry.derivative(mp.mpf(number))
        small = mp.mpf(2) ** (int(info.minexp) - bits - 1) < abs(t) < tiny
        if (small and abs(computed) < tiny) or (flushed and 0 < abs(number) < tiny):
            row["subnormal"] += 1
            continue
        row["inputs"] += 1
        if np.isnan(computed):
            row["nan"] += 1
        elif np.isinf(computed):
            row["inf"] += abs(t) <= largest
        elif abs(t) >= tiny:
            row["wrong_sign"] += bool(computed * t < 0)
            row["zero"] += computed == 0
            missing = min(abs(t), mp.mpf(2) ** int(info.maxexp)) * mp.sign(t)
            exponent = int(mp.floor(mp.log(min(abs(t), largest), 2) + mp.mpf(10) ** -30))
            error = float(abs(computed - missing) / mp.mpf(2) ** (exponent - bits))
            if error > worst:
                worst, at = error, number
    return row | {"max_ulp": worst, "at": at}


def main(path: Path) -> int:
    """Print each row beside the atlas's; the number of rows that differ or are not there."""
    rows = {
        (row["function"], row["dtype"], row["order"]): row
        for row in json.loads(path.read_text())["rows"]
        if row["form"] == "default"
    }
    print(f"{len(ENTRIES)} rows of {path.name} against mpmath {mp.__version__}")
    wrong = 0
    mp.mp.dps = DIGITS
    for entry in ENTRIES:
        check_closed_form(entry)
        name = f"{entry.function}{'′' * entry.order} {entry.dtype}"
        said = rows.get((entry.function, entry.dtype, entry.order))
        if said is None:
            print(f"{name}: NOT IN THE ATLAS")
            wrong += 1
            continue
        found = measure(entry)
        counts = ("nan", "inf", "wrong_sign", "zero", "subnormal", "inputs")
        same = all(found[name] == said[name] for name in counts)
        same &= abs(found["max_ulp"] - said["max_ulp"]) <= 2e-4 * max(1, said["max_ulp"])
        wrong += not same
        counted = ", ".join(f"{found[name]:,} {name}" for name in counts if found[name])
        verdict = "agrees" if same else f"DIFFERS from {said}"
        print(f"{name}: {found['max_ulp']:,.1f} ulp at {found['at']:g}, {counted}: {verdict}")
    return wrong


if __name__ == "__main__":
    results = Path(__file__).parent / "results"
    newest = sys.argv[1:] or sorted(map(str, results.rglob("atlas-jax-*.json")))[-1:]
    if not newest:
        sys.exit("no atlas: run handgrad atlas --results benchmarks/results")
    sys.exit(min(main(Path(newest[0])), 1))
