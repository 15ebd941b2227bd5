"""For a user's own tests: `assert_gradient`, whose verdicts the pytest plugin collects.

Importing this module imports no JAX; calling `assert_gradient` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad.verify import Verdict

listeners: list[Callable[[Verdict], None]] = []
"""Whoever wants to hear of every verdict; the last one does."""


def assert_gradient(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: int | tuple[int, ...] = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    digits: int = 60,
    points: Callable | None = None,
    evaluations: int = 2_000,
    seed: int = 0,
    reference: str = "truth",
    strict: bool = False,
    name: str | None = None,
    rules: dict | None = None,
) -> Verdict:
    """Judge `gradient` as `handgrad.verify` does, and raise AssertionError unless it is right.

    The message is the printed verdict; its first line says what is wrong and where. Raises
    InputError for arguments that cannot be judged.

    >>> import jax.numpy as jnp
    >>> def energy(x):
    ...     return jnp.sum(x * x)
    >>> assert_gradient(lambda x: 2 * x, of=energy, at=(jnp.ones(3),)).digits
    60
    >>> assert_gradient(lambda x: -2 * x, of=energy, at=(jnp.ones(3),), name="energy")
    Traceback (most recent call last):
    AssertionError: energy: NOT right: different at gradient[0]: ...
    """
    __tracebackhide__ = True
    from handgrad.verify.judge import verify

    verdict = verify(
        gradient, of=of, at=at, argnums=argnums, dtypes=dtypes, digits=digits, points=points,
        evaluations=evaluations, seed=seed, reference=reference, strict=strict, name=name,
        rules=rules,
    )  # fmt: skip
    if listeners:
        listeners[-1](verdict)
    if not verdict.ok:
        raise AssertionError(str(verdict))
    return verdict


def summary_row(certificate: dict[str, Any]) -> tuple[str, ...]:
    """Name, verdict, digits, and the worst error of hand in ulp by dtype, from a certificate.

    >>> row = {"dtype": "float32", "hand_max_ulp": 2.5, "hand_bad": 0}
    >>> facts = {"name": "g", "ok": True, "hand": "identical", "digits": 60, "numerics": [row]}
    >>> summary_row(facts)
    ('g', 'identical', '60', 'float32 2.5 ulp')
    """
    worst = [
        f"{row['dtype']} {float(row['hand_max_ulp']):.4g} ulp"
        + (f", {row['hand_bad']} bad" if row["hand_bad"] else "")
        for row in certificate["numerics"]
    ]
    verdict = certificate["hand"] + ("" if certificate["ok"] else " (NOT right)")
    digits = str(certificate["digits"]) if certificate["hand"] == "identical" else "-"
    return certificate["name"], verdict, digits, "; ".join(worst) or "no numerics"
