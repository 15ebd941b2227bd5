"""The two source texts, statement by statement: what they say, what is true, and the errata.

Every statement, table, example and formula of "How did binary cross-entropy loss come into
existence?" and "Neural networks" that can be computed is a `Statement`, with the verdict that is
expected of it; one more comes from a student exercise that many have copied. Formulas and tables
that the texts give only as pictures are taken from the words around them. Left out, because there
is nothing in them to compute: the history of the loss, how much it is used, and the metaphors.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.notes import algorithm, bernoulli, descent, likelihood, scores
from benchmarks.notes.records import (
    DIFFERS,
    Checked,
    Finding,
    Statement,
    check,
    found_of,
    with_finding,
)
from handgrad.errors import InputError

STATEMENTS: tuple[Statement, ...] = (
    *bernoulli.STATEMENTS,
    *scores.STATEMENTS,
    *likelihood.STATEMENTS,
    *descent.STATEMENTS,
    *algorithm.STATEMENTS,
)

FEW, PROCESSES = 8, 2
"""Up to FEW statements are computed here, more by PROCESSES."""


def statement(name: str) -> Statement:
    """The statement of this name. Raises InputError if there is none."""
    for entry in STATEMENTS:
        if entry.name == name:
            return entry
    raise InputError("statement", "a name from the notes", repr(name), "make notes lists them")


def errata() -> tuple[Statement, ...]:
    """The statements that do not hold, in the order of the texts."""
    return tuple(entry for entry in STATEMENTS if entry.expected == DIFFERS)


def check_all() -> Iterator[Checked]:
    """Every statement, computed anew, in the order of the texts."""
    if len(STATEMENTS) <= FEW:
        yield from map(check, STATEMENTS)
        return
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        findings = pool.map(_find, [entry.name for entry in STATEMENTS])
        yield from map(with_finding, STATEMENTS, findings)


def _find(name: str) -> Finding:
    return found_of(statement(name))
