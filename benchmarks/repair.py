"""The corpus of the repair: functions whose derivative loses digits, before and after.

`make repair` (or python -m benchmarks.repair NAMES) prints the table and writes it to
benchmarks/results, into the folder of this machine.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax.losses as ol
from jax.test_util import check_grads

from benchmarks.judge import bugs_jax
from handgrad._precision import x64
from handgrad.bench.report import facts, slug
from handgrad.repair import measured, repair
from handgrad.repair.terms import load

RESULTS = Path(__file__).parent / "results" / slug(facts()) / "repair.json"
DTYPES = ("float32", "bfloat16", "float16")
GOOD = 8.0


@dataclass(frozen=True)
class Entry:
    """A function, where it comes from, and arguments of its shapes."""

    name: str
    origin: str
    f: Callable
    at: tuple[Any, ...] = (1.3,)


Y = np.array([0.0, 1.0])
Z = np.array([0.5, -2.0])


def log_one_plus_exp(x: Any) -> Any:
    """Softplus as in a textbook."""
    return jnp.log(1 + jnp.exp(x))


def cross_entropy(z: Any, y: Any) -> Any:
    """Binary cross-entropy by probabilities."""
    p = 1 / (1 + jnp.exp(-z))
    return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


def focal_two(z: Any, y: Any) -> Any:
    """The focal loss with γ = 2, by probabilities."""
    p = jax.nn.sigmoid(z)
    return jnp.sum(-y * (1 - p) ** 2 * jnp.log(p) - (1 - y) * p**2 * jnp.log(1 - p))


def squared_sigmoid(z: Any, y: Any) -> Any:
    """The squared error of a probability."""
    return jnp.mean((jax.nn.sigmoid(z) - y) ** 2)


def entropy(z: Any) -> Any:
    """−p log p − q log q at p = σ(z)."""
    p = jax.nn.sigmoid(z)
    return -p * jnp.log(p) - (1 - p) * jnp.log(1 - p)


def log_cosh(x: Any) -> Any:
    """log cosh x."""
    return jnp.log(jnp.cosh(x))


def log_sinh_ratio(x: Any) -> Any:
    """log(sinh x / x)."""
    return jnp.log(jnp.sinh(x) / x)


def bernoulli_function(x: Any) -> Any:
    """x / (eˣ − 1)."""
    return x / (jnp.exp(x) - 1)


def pseudo_huber(x: Any) -> Any:
    """√(1 + x²) − 1."""
    return jnp.sqrt(1 + x**2) - 1


def root_difference(x: Any) -> Any:
    """√(x + 1) − √x."""
    return jnp.sqrt(x + 1) - jnp.sqrt(x)


def x_minus_tanh(x: Any) -> Any:
    """x − tanh x."""
    return x - jnp.tanh(x)


def log_minus_line(x: Any) -> Any:
    """log(1 + x) − x."""
    return jnp.log1p(x) - x


def sine_ratio(x: Any) -> Any:
    """sin x / x near 0."""
    return jnp.sin(x) / x


def quick_gelu(x: Any) -> Any:
    """x σ(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def gaussian(x: Any) -> Any:
    """e^(−x²/2)."""
    return jnp.exp(-(x**2) / 2)


def logit(p: Any) -> Any:
    """log(p / (1 − p))."""
    return jnp.log(p / (1 - p))


def rational_sigmoid(x: Any) -> Any:
    """x / √(1 + x²)."""
    return x / jnp.sqrt(1 + x**2)


def x_log_x(x: Any) -> Any:
    """x log x."""
    return x * jnp.log(x)


def exact_gelu(x: Any) -> Any:
    """x Φ(x)."""
    return jax.nn.gelu(x, approximate=False)


def optax_cross_entropy(z: Any, y: Any) -> Any:
    """Binary cross-entropy by logits."""
    return jnp.mean(ol.sigmoid_binary_cross_entropy(z, y))


def gelu(x: Any) -> Any:
    """The approximation of x Φ(x) by tanh."""
    return jax.nn.gelu(x)


ENTRIES = (
    Entry("expm1", "jax#39794", jnp.expm1),
    Entry("elu", "jax#39795", jax.nn.elu),
    Entry("selu", "jax#39796", jax.nn.selu),
    Entry("i0", "jax#39797", jnp.i0),
    Entry("silu", "jax#39798", jax.nn.silu),
    Entry("sqrt", "jax#39799", jnp.sqrt),
    Entry("tanh′", "jax#39801", jax.grad(jnp.tanh)),
    Entry("(u² tanh u)′", "jax#40315", jax.grad(bugs_jax.tanh_times_square)),
    Entry("sigmoid", "jax#40342, #40385", jax.nn.sigmoid),
    Entry("tanh", "jax#40343, #40388", jnp.tanh),
    Entry("exp2", "jax#40382", jax.lax.exp2),
    Entry("log_sigmoid′", "jax#40383", jax.grad(jax.nn.log_sigmoid)),
    Entry("softplus′", "jax#40387", jax.grad(jax.nn.softplus)),
    Entry("arcsinh", "jax#40634", jnp.arcsinh),
    Entry("arccosh", "jax#40634", jnp.arccosh),
    Entry("sinc", "jax#34139", jnp.sinc),
    Entry("1/(1 + e⁻ˣ)", "jax#777", bugs_jax.naive_sigmoid),
    Entry("focal, γ = 0", "optax#1267", bugs_jax.focal),
    Entry("softmax[0]", "jax#40344, #40386", bugs_jax.softmax_first, (Z,)),
    Entry("log_softmax[0]", "jax#40384", bugs_jax.log_softmax_first, (Z,)),
    Entry("Σ log_softmax", "jax#40409", bugs_jax.log_softmax_total, (Z,)),
    Entry("log_sigmoid", "jax.nn", jax.nn.log_sigmoid),
    Entry("softplus", "jax.nn", jax.nn.softplus),
    Entry("gelu", "jax.nn", gelu),
    Entry("gelu, exact", "jax.nn", exact_gelu),
    Entry("mish", "jax.nn", jax.nn.mish),
    Entry("celu", "jax.nn", jax.nn.celu),
    Entry("squareplus", "jax.nn", jax.nn.squareplus),
    Entry("soft_sign", "jax.nn", jax.nn.soft_sign),
    Entry("rsqrt", "jax.lax", jax.lax.rsqrt),
    Entry("log(1 + eˣ)", "own", log_one_plus_exp),
    Entry("cross-entropy by p", "own", cross_entropy, (Z, Y)),
    Entry("focal, γ = 2, by p", "own", focal_two, (Z, Y)),
    Entry("(σ − y)²", "own", squared_sigmoid, (Z, Y)),
    Entry("entropy of σ(z)", "own", entropy),
    Entry("log cosh", "own", log_cosh),
    Entry("log(sinh x / x)", "own", log_sinh_ratio),
    Entry("x/(eˣ − 1)", "own", bernoulli_function),
    Entry("√(1 + x²) − 1", "own", pseudo_huber),
    Entry("√(x + 1) − √x", "own", root_difference),
    Entry("x − tanh x", "own", x_minus_tanh),
    Entry("log(1 + x) − x", "own", log_minus_line),
    Entry("sin x / x", "own", sine_ratio),
    Entry("x σ(1.702 x)", "own", quick_gelu),
    Entry("e^(−x²/2)", "own", gaussian),
    Entry("logit", "own", logit, (0.3,)),
    Entry("x/√(1 + x²)", "own", rational_sigmoid),
    Entry("x log x", "own", x_log_x),
    Entry("sigmoid cross-entropy", "optax", optax_cross_entropy, (Z, Y)),
)  # fmt: skip


def run(entry: Entry) -> dict[str, Any]:
    """The row of one function."""
    start = time.perf_counter()
    try:
        found = repair(entry.f, at=entry.at)
    except Exception as error:
        return {"function": entry.name, "origin": entry.origin, "refused": str(error)[:200]}
    row: dict[str, Any] = {
        "function": entry.name, "origin": entry.origin, "ok": found.ok,
        "proof": found.verdict.hand, "digits": found.verdict.digits,
        "before_ns": found.cost.before_ns, "after_ns": found.cost.after_ns,
        "notes": list(found.notes), "source": found.source,
        "seconds": 0.0,
    }  # fmt: skip
    for dtype in DTYPES:
        row[dtype] = asdict(measured(entry.f, found.derivative_of_entry, at=entry.at, dtype=dtype))
    row["order_two"] = passes_to_order_two(found.source, found.name, entry.at)
    row["seconds"] = time.perf_counter() - start
    return row


def passes_to_order_two(source: str, name: str, at: tuple[Any, ...]) -> bool:
    """Whether the printed code, alone in a module, passes `check_grads` to order 2.

    In float64: its differences over a step of 1e-4 have two digits in float32, and its products of
    a gradient with another leave the range of float32 where gradients are 1e16.
    """
    function = load(source)[name]
    with x64():
        x, *rest = (jnp.asarray(value, jnp.float64) for value in at)
        try:
            check_grads(lambda x: function(x, *rest), (x,), order=2)
        except AssertionError:
            return False
    return True


def as_line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "refused" in row:
        return f"{row['function']:24} refused: {row['refused']}"
    cells = []
    for dtype in DTYPES:
        cells.append(f"{_short(row[dtype]['before'])} → {_short(row[dtype]['after'])}".rjust(20))
    ratio = row["after_ns"] / row["before_ns"]
    return (
        f"{row['function']:24}{''.join(cells)}  {ratio:5.2f}×  {row['proof']} {row['digits']}"
        f"  {row['seconds']:.0f} s"
    )


def _short(ulps: float) -> str:
    if np.isinf(ulps):
        return "inf"
    return f"{ulps:.1f}" if ulps < 1e4 else f"{ulps:.0e}"


def main(names: list[str]) -> int:
    """Repair the functions named, or all; print the table; the rows go to the results by name."""
    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = {row["function"]: row for row in known}
    for entry in ENTRIES:
        if not names or entry.name in names:
            rows[entry.name] = run(entry)
            print(as_line(rows[entry.name]), flush=True)
            ordered = [rows[entry.name] for entry in ENTRIES if entry.name in rows]
            text = json.dumps({"rows": ordered}, indent=1, ensure_ascii=False)
            RESULTS.write_text(text + "\n")
            jax.clear_caches()
    print(as_summary(list(rows.values())))
    return 0


def as_summary(rows: list[dict[str, Any]]) -> str:
    """How many end at 8 ulp or less, and which do not."""
    done = [row for row in rows if "refused" not in row]
    far = [r["function"] for r in done if max(r[d]["after"] for d in DTYPES) > GOOD]
    dear = [r["function"] for r in done if r["after_ns"] > 2 * r["before_ns"]]
    worse = [r["function"] for r in done if max(r[d]["where_good"] for d in DTYPES) > GOOD]
    refused = [r["function"] for r in rows if "refused" in r]
    unproved = [r["function"] for r in done if r["proof"] != "identical"]
    failing = [r["function"] for r in done if not r["order_two"]]
    return "\n".join([
        f"{len(done) - len(far)} of {len(rows)} at {GOOD:.0f} ulp or less in all three dtypes",
        *(f"{words}: {', '.join(names)}" for words, names in (
            ("above", far), ("dearer than 2 times", dear), ("above 8 ulp where it was not", worse),
            ("refused", refused), ("not proved", unproved),
            ("check_grads to order 2 fails", failing),
        ) if names),
    ])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
