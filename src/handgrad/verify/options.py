"""What may be asked of the judge."""

from handgrad._errors import InputError


def check_options(
    dtypes: tuple[str, ...], digits: int, evaluations: int, seed: int, reference: str
) -> None:
    """Raise InputError for an option that `verify` has no answer to."""
    known = ("float64", "float32", "bfloat16", "float16")
    if isinstance(dtypes, str) or not dtypes or any(dtype not in known for dtype in dtypes):
        raise InputError("dtypes", f"some of {', '.join(known)}", dtypes, "name at least one")
    for option, value in {"digits": digits, "evaluations": evaluations, "seed": seed}.items():
        if not isinstance(value, int):
            raise InputError(option, "an integer", repr(value), f"write {option}=1, say")
    if not 1 <= digits <= 1_000:
        raise InputError("digits", "1 to 1,000", digits, "60 is the custom here")
    if evaluations < 0:
        raise InputError("evaluations", "0 or more", evaluations, "0 leaves the search out")
    if seed < 0:
        raise InputError("seed", "0 or more", seed, "0 is the custom here")
    if reference not in ("truth", "autodiff"):
        raise InputError("reference", "'truth' or 'autodiff'", repr(reference), "name one of them")
