"""`python -m benchmarks.audit`: the rules of the packages that are installed here, as a table.

Each package is audited twice, in processes of their own: by `handgrad audit`, at drawn arguments,
and by pytest with the calls of `exercise_*.py`, or the package's own tests where its wheel has
them. Prints Markdown; --json keeps the rows.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from handgrad.testing.audit import STATUSES, Audit, merged

HERE = Path(__file__).parent
LIMIT = 900
"""Seconds for one process: an audit that has not ended by itself before is a fault."""
PACKAGES: dict[str, tuple[str, ...]] = {
    "jax.nn": ("exercise_jax.py",),
    "jax.scipy": ("exercise_jax.py",),
    "jax.numpy": ("exercise_jax.py",),
    "jax.lax": ("exercise_jax.py",),
    "optax": ("exercise_optax.py", "optax/losses", "optax/projections"),
    "equinox": ("exercise_equinox.py",),
    "lineax": ("exercise_lineax.py",),
    "optimistix": ("exercise_lineax.py",),
    "numpyro": ("exercise_numpyro.py",),
    "distrax": ("exercise_distrax.py",),
    "flax": ("exercise_flax.py",),
    "jaxopt": ("exercise_jaxopt.py",),
    "ott": ("exercise_ott.py",),
    "tokamax": ("exercise_tokamax.py",),
    "tensorflow_probability": ("exercise_tfp.py",),
}
"""What is audited, and the tests that reach its rules: here, or installed with the package."""


def main() -> None:
    """Audit the packages named, or all that are installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-drawn", action="store_true", help="only by tests")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    audits = []
    for package in options.packages or PACKAGES:
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            print(f"{package} is not installed here", file=sys.stderr)
            continue
        audits.append(audit(package, options.seconds, not options.no_drawn))
    print(as_markdown(audits))
    if options.json:
        text = json.dumps([found.as_data() for found in audits], indent=1, ensure_ascii=False)
        options.json.write_text(text + "\n", "utf-8")


def audit(package: str, seconds: float, is_drawn: bool = True) -> Audit:
    """What both ways find in one package."""
    root = Path(importlib.util.find_spec(package.partition(".")[0]).origin).parents[1]  # type: ignore
    tests = [str(HERE / t if (HERE / t).exists() else root / t) for t in PACKAGES[package]]
    with tempfile.TemporaryDirectory() as folder:
        limit = f"--seconds={seconds}"
        drawn = Path(folder, "drawn.json")
        if is_drawn:
            run("-m", "handgrad", "audit", package, limit, f"--json={drawn}", *marks())
        parts = [json.loads(drawn.read_text())] if drawn.exists() else []
        by_tests = Path(folder, "tests.json")
        run(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(HERE / "pytest.ini"),
            f"--rootdir={folder}", f"--handgrad-audit={package}", f"--handgrad-json={by_tests}",
            f"--handgrad-seconds={seconds}", *tests,
        )  # fmt: skip
        if by_tests.exists():
            parts.append(json.loads(by_tests.read_text())["audit"])
    return merged(package, parts)


def run(*arguments: str) -> None:
    """Run Python, with what it prints on standard error."""
    print(f"$ python {' '.join(arguments)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *arguments], stdout=sys.stderr, timeout=LIMIT, check=False)


def marks() -> list[str]:
    """The rules of pytest.ini that are no derivatives, as options."""
    lines = (HERE / "pytest.ini").read_text().splitlines()
    return [f"--not-derivative={line.strip()}" for line in lines if line.startswith("    ")]


def as_markdown(audits: list[Audit]) -> str:
    """One line for each package, then each rule that is wrong, in its worst words."""
    shown = [status for status in STATUSES if status != "undecided"] + ["undecided"]
    lines = [
        f"| package | version | rules found | {' | '.join(shown)} |",
        f"|---|---|---|{'---|' * len(shown)}",
    ]
    for found in audits:
        statuses = list(found.by_rule.values())
        others = {name: v for name, v in found.versions.items() if name != "handgrad"}
        known = ", ".join(v for name, v in others.items() if name != "jax") or others.get("jax", "")
        counts = " | ".join(str(statuses.count(status)) for status in shown)
        uncalled = sum("no arguments that were tried" in note for note in found.notes)
        lines.append(f"| {found.package} | {known} | {len(statuses)} +{uncalled} | {counts} |")
    for found in audits:
        lines += [f"- {describe(row)}" for row in found.rows if row.status in ("wrong", "numerics")]
    return "\n".join(lines)


def describe(row: Any) -> str:
    """A row in one line."""
    return f"`{row.rule}` at {row.signature} ({row.source}): {row.status}: {row.detail}"


if __name__ == "__main__":
    main()
