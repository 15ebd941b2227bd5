"""`make figures`: every figure of the book, or those named, as files in `docs/generated`."""

import sys
from pathlib import Path

from figures import FIGURES, check_names, content
from handgrad.errors import InputError

OUT = Path(__file__).parents[1] / "generated"


def main(names: list[str]) -> None:
    """Draw the named figures, or all."""
    check_names(names)
    OUT.mkdir(exist_ok=True)
    for name in names or FIGURES:
        suffix, whole = content(name)
        path = OUT / f"{name}{suffix}"
        path.write_bytes(whole)
        sys.stdout.write(f"{path}: {len(whole) / 1024:,.0f} KB\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
