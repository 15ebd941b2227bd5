"""What may be asked of the judge."""

from typing import Any

from handgrad.errors import InputError

MOST_EVALUATIONS = 10_000_000
MOST_SEEDS = 2**32


def check_options(
    dtypes: tuple[str, ...], digits: int, evaluations: int, seed: int, reference: str
) -> None:
    """Raise InputError for an option that `verify` has no answer to."""
    known = ("float64", "float32", "bfloat16", "float16")
    listed = isinstance(dtypes, tuple | list) and len(dtypes) > 0
    if not listed or not all(isinstance(d, str) and d in known for d in dtypes):
        raise InputError("dtypes", f"some of {', '.join(known)}", dtypes, "name at least one")
    for option, value in {"digits": digits, "evaluations": evaluations, "seed": seed}.items():
        if not isinstance(value, int):
            raise InputError(option, "an integer", repr(value), f"write {option}=1, say")
    if not 1 <= digits <= 1_000:
        raise InputError("digits", "1 to 1,000", digits, "60 is the custom here")
    if not 0 <= evaluations <= MOST_EVALUATIONS:
        raise InputError(
            "evaluations", f"0 to {MOST_EVALUATIONS:,}", evaluations, "0 leaves the search out"
        )
    if not 0 <= seed < MOST_SEEDS:
        raise InputError("seed", f"0 or more, and below {MOST_SEEDS:,}", seed, "pass 0, say")
    if not isinstance(reference, str) or reference not in ("truth", "autodiff"):
        raise InputError("reference", "'truth' or 'autodiff'", repr(reference), "name one of them")


def check_helpers(points: Any, rules: Any, name: Any) -> None:
    """Raise InputError unless what may be given beside the question is of its kind, or None."""
    if points is not None and not callable(points):
        raise InputError("points", "a function of a random key", repr(points), "pass a function")
    if not isinstance(rules, dict | None):
        raise InputError("rules", "a dict of functions", repr(rules), "pass {'name': rule}")
    if not isinstance(name, str | None):
        raise InputError("name", "text", repr(name), "pass a string")
