"""An explanation: the tape of a loss, its end beside jax.grad and the hand, the derivation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from handgrad._precision import x64
from handgrad.catalogue import CASES, Case, case
from handgrad.errors import InputError
from handgrad.explain.agreement import Leaf, compare
from handgrad.explain.lines import Line, lines_of
from handgrad.explain.naming import argument_names, name_of
from handgrad.explain.recording import Argnums, record
from handgrad.explain.tape import Tape


@dataclass(frozen=True)
class Explanation:
    """What autodiff did with a loss; `print` it, or write `to_html()` to a file."""

    name: str
    tape: Tape
    gradient: Any
    """What the tape ends in, in the structure of jax.grad's result."""
    leaves: tuple[Leaf, ...]
    title: str = ""
    of: str = ""
    """LaTeX of what is derived; "" where there is no derivation."""
    given: str = ""
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """The tape ends in jax.grad's gradient, bit for bit."""
        return all(leaf.identical for leaf in self.leaves)

    @property
    def hand_equal(self) -> bool | None:
        """The hand-derived gradient is the tape's, up to rounding; None where there is none."""
        said = [leaf.hand_equal for leaf in self.leaves]
        return None if None in said else all(said)

    def __str__(self) -> str:
        from handgrad.explain.text import as_text

        return as_text(self)

    def to_html(self) -> str:
        """One page that needs nothing else: no network, no other file."""
        from handgrad.explain.page import as_html

        return as_html(self)

    def to_data(self) -> dict[str, Any]:
        """Everything that is shown, as plain data for JSON."""
        from handgrad.explain.data import as_data

        return as_data(self)


def explain(
    f: Callable, *args: Any, argnums: Argnums = 0, gradient: Callable | None = None,
    name: str | None = None,
) -> Explanation:  # fmt: skip
    """What jax.grad(f, argnums)(*args) does, equation by equation.

    f returns one real number. `gradient`, if given, takes the same arguments and is set beside the
    end of the tape. Raises InputError for what jax.grad would refuse.

    >>> import jax.numpy as jnp
    >>> explanation = explain(lambda w, x: jnp.sum(w * x) ** 2, jnp.ones(2), jnp.array([1.0, 2.0]))
    >>> explanation.gradient.tolist(), explanation.identical
    ([6.0, 12.0], True)
    """
    if not isinstance(name, str | None):
        raise InputError("name", "text", repr(name), "pass a string")
    tape, found = record(f, args, argnums)
    hand = None if gradient is None else _by_hand(gradient, args)
    return Explanation(
        name=name or name_of(f), tape=tape, gradient=found,
        leaves=_agreement(f, args, argnums, tape, found, hand), notes=_notes(tape),
    )  # fmt: skip


def explain_case(name: str, seed: int = 0) -> Explanation:
    """A case of the catalogue in float64, at its own example: with its derivation, and the hand."""
    entry = resolved(name)
    with x64():
        args = entry.example(jax.random.key(seed))
        names = argument_names(entry.loss, len(args))
        if any(called.startswith("argument") for called in names):  # Σ f(*args): the gradient knows
            names = argument_names(entry.gradient, len(args))
        tape, found = record(entry.loss, args, entry.argnums, names)
        hand = entry.gradient(*args)
        leaves = _agreement(entry.loss, args, entry.argnums, tape, found, hand)
        shown = lines_of(entry, args, hand, tape, seed)
    return Explanation(
        name=entry.name, tape=tape, gradient=found, leaves=leaves, title=shown.title, of=shown.of,
        given=shown.given, lines=shown.lines, notes=(*_notes(tape), *shown.notes),
    )  # fmt: skip


def resolved(name: str) -> Case:
    """The case called so; else the first of that derivation (`residual`) or kind (`mlp`)."""
    for fits in (
        lambda entry: entry.name == name,
        lambda entry: entry.derivation == name,
        lambda entry: entry.name.startswith(f"{name}_"),
    ):
        for entry in CASES:
            if fits(entry):
                return entry
    return case(name)


def _by_hand(gradient: Callable, args: tuple) -> Any:
    try:
        return gradient(*args)
    except Exception as fault:
        raise InputError(
            "gradient", "a function of the loss's arguments", f"{type(fault).__name__}: {fault}",
            "call gradient(*args) by itself",
        ) from fault  # fmt: skip


def _agreement(
    f: Callable, args: tuple, argnums: Argnums, tape: Tape, found: Any, hand: Any
) -> tuple[Leaf, ...]:
    names = [tape.values[index].name for index in tape.wanted]
    return compare(names, tape.wanted, found, jax.grad(f, argnums)(*args), hand)


def _notes(tape: Tape) -> tuple[str, ...]:
    inside = sorted({call for e in tape.equations for call in e.calls if call})
    if not inside:
        return ()
    called = ", ".join(inside)
    return (f"opened, though JAX runs them as compiled programs: {called}",)
