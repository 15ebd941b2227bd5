"""Statements of the notes as records, and the words in which they are written down.

What a note claims is data: a figure as printed, a formula as a callable, a word, a few lines of
code. What is true is computed by `computes(claimed)`, and compared with it. So nothing here can
agree by being left alone: another figure in `claimed` gives another verdict.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handgrad.verify.verdict import Verdict

AGREES, DIFFERS = "agrees", "differs"
MISTAKE, WORDING, TOO_STRONG, FLOATS = "mistake", "wording", "too strong", "in floats"
"""What is the matter: wrong; not what the words mean; not always so; right until it is computed."""


@dataclass(frozen=True)
class Finding:
    """What a computation says of a claim."""

    agrees: bool
    found: str
    """What came out, in a line."""
    verdict: Verdict | None = None
    """The judge's, where the claim is a gradient."""


@dataclass(frozen=True)
class Statement:
    """One thing that a note says, and how it is looked into."""

    name: str
    says: str
    """In our words; figures as printed."""
    claimed: Any
    computes: Callable[[Any], Finding]
    expected: str
    reads: str = ""
    """What it should say, where it differs."""
    corrected: Any = None
    """The claim that agrees, where this one differs."""
    kind: str = ""
    """What is the matter with it, where it differs."""
    text: str = ""
    section: str = ""


@dataclass(frozen=True)
class Checked:
    """A statement with what was found."""

    statement: Statement
    verdict: str
    found: str
    judged: Verdict | None

    @property
    def as_recorded(self) -> bool:
        """Whether the verdict is the one on record."""
        return self.verdict == self.statement.expected


def agrees(name: str, says: str, claimed: Any, computes: Callable[[Any], Finding]) -> Statement:
    """A statement that holds."""
    return Statement(name, says, claimed, computes, AGREES)


def differs(
    kind: str,
    name: str,
    says: str,
    claimed: Any,
    computes: Callable[[Any], Finding],
    reads: str,
    corrected: Any,
) -> Statement:
    """A statement that does not hold, with one that does in its place."""
    return Statement(name, says, claimed, computes, DIFFERS, reads, corrected, kind)


def section(text: str, title: str, *statements: Statement) -> tuple[Statement, ...]:
    """The statements of one section of one text."""
    return tuple(replace(s, text=text, section=title) for s in statements)


def check(statement: Statement) -> Checked:
    """Compute what is true, and compare it with what is claimed."""
    return with_finding(statement, found_of(statement))


def found_of(statement: Statement) -> Finding:
    """What the computation says of the claim."""
    return statement.computes(statement.claimed)


def with_finding(statement: Statement, finding: Finding) -> Checked:
    """The statement with what was found."""
    verdict = AGREES if finding.agrees else DIFFERS
    return Checked(statement, verdict, finding.found, finding.verdict)


def by_text(checked: Sequence[Checked]) -> str:
    """How many statements are of which text, by its name."""
    counts = Counter(entry.statement.text for entry in checked)
    return "; ".join(f"{number} of {text}" for text, number in counts.items())
