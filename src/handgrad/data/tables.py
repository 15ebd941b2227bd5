"""What may be wrong with a table as a whole, before any of its cells is looked at."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from handgrad.errors import InputError

SHOWN = 20


def listed(names: Sequence[str]) -> str:
    """The names in one line, shortened where there are many.

    >>> listed(["age", "income"])
    "'age', 'income'"
    """
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"


def closest(name: str, names: Sequence[str]) -> str:
    """'; did you mean ...?' for the name most like `name`, letter case aside, or nothing.

    >>> closest("Incme", ["age", "income"])
    "; did you mean 'income'?"
    """
    by_folded = {other.strip().casefold(): other for other in reversed(names)}
    found = get_close_matches(name.strip().casefold(), list(by_folded), n=1, cutoff=0.5)
    return f"; did you mean {by_folded[found[0]]!r}?" if found else ""


def check_columns(file: str, names: Sequence[str], target: str | None) -> None:
    """Raise InputError unless the columns have distinct names, and `target` is one of several."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise InputError(
            file,
            "distinct column names",
            f"more than one column named {listed(twice)}",
            "rename or drop the copies",
        )
    for name in names:
        if not name.strip() or name.startswith("__index_level_"):
            raise InputError(
                file,
                "a name for every column",
                f"{name!r} for column {names.index(name) + 1} of {len(names)}, "
                "such as pandas gives to a row number",
                "drop that column (pandas: write with index=False) or name it",
            )
    if target is None:
        raise InputError(
            "target",
            f"the column of {file} to predict",
            "none",
            f"name one of its columns: {listed(names)}",
        )
    if target not in names:
        remedy = f"name one of its columns: {listed(names)}{closest(target, names)}"
        if len(names) == 1:
            for separator, spoken in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
                if separator in names[0]:
                    remedy = f"the columns seem to be separated by {spoken}: save it with commas"
        raise InputError("target", f"a column of {file}", repr(target), remedy)
    if len(names) == 1:
        raise InputError(
            file, "at least one feature column", f"the target {target!r} alone", "add some features"
        )
