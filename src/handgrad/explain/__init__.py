"""What autodiff does with a loss: the tape forwards and backwards, as text, data or a page.

`explain` traces a loss, runs the tape and pulls it back (`recording`, `autodiff`), names what is on
it after the user's file (`source`), and returns an `Explanation`, which is printed, or passed to
`as_html` or `as_data`. `explain_case` does so for a case of the catalogue, beside its derivation.
"""

import contextlib
import functools
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from handgrad._checks import called_by_keyword
from handgrad._precision import x64
from handgrad.catalogue import CASES, Case, case
from handgrad.errors import InputError, describe_error
from handgrad.explain.derivation_view import derivation_view
from handgrad.explain.explanation import Explanation, as_data, as_html, as_text
from handgrad.explain.leaves import Leaves, compare
from handgrad.explain.recording import Argnums, record
from handgrad.explain.source import argument_names, function_name
from handgrad.explain.tape import Tape

__all__ = ["Explanation", "as_data", "as_html", "as_text", "explain", "explain_case"]


@called_by_keyword("a loss, then at= by name", "explain(f, at=(x, y))", "at")
def explain(
    f: Callable,
    *,
    at: tuple,
    argnums: Argnums = 0,
    gradient: Callable | None = None,
    name: str | None = None,
    order: int = 1,
) -> Explanation:
    """What `jax.grad(f, argnums)(*at)` does, equation by equation.

    `f` returns one real number. `gradient`, if given, takes the same arguments, names them where f
    has `*args`, and is compared with the end of the tape. With `order=2` what is explained is the
    sum of the gradient's entries, which is the gradient itself where there is one: its tape has
    both passes of f in it, and ends in the Hessian times ones. Raises InputError for what jax.grad
    would refuse.

    >>> import jax.numpy as jnp
    >>> at = (jnp.ones(2), jnp.array([1.0, 2.0]))
    >>> explanation = explain(lambda w, x: jnp.sum(w * x) ** 2, at=at)
    >>> explanation.gradient.tolist(), explanation.identical
    ([6.0, 12.0], True)
    """
    if not isinstance(name, str | None):
        raise InputError("name", "text", repr(name), "pass a string")
    if order not in (1, 2):
        raise InputError("order", "1 or 2", repr(order), "leave it out for the first derivative")
    named_by, name = f, name or function_name(f)
    if gradient is not None and argument_names(f, 1) == ["argument 0"]:  # Σ f(*args)
        named_by = gradient
    if order == 2:
        name, f = f"the gradient of {name}", gradient_sum(f, argnums)
    tape, found = record(f, at, argnums, named_by)
    hand = None
    if gradient is not None:
        try:
            hand = gradient(*at)
        except Exception as error:
            raise InputError(
                "gradient", "a function of the loss's arguments", describe_error(error),
                "call gradient(*at) by itself",
            ) from error  # fmt: skip
    leaves = _compare(f, at, argnums, tape, found, hand)
    opened = ", ".join(sorted({call for e in tape.equations for call in e.calls if call}))
    notes = (f"opened, though JAX runs them as compiled programs: {opened}",) if opened else ()
    return Explanation(name, tape, found, leaves, notes=notes, loss=f, at=at)


def gradient_sum(f: Callable, argnums: Argnums) -> Callable:
    """Σ over all entries of ∂f, as a function of the arguments of f."""

    def total(*args: Any) -> Any:
        leaves = jax.tree.leaves(jax.grad(f, argnums)(*args))
        sums = [leaf if leaf.ndim == 0 else jax.numpy.sum(leaf) for leaf in leaves]
        return functools.reduce(operator.add, sums)

    return total


def explain_case(name: str, seed: int = 0, order: int = 1) -> Explanation:
    """A case of the catalogue in float64, at its own example: with its derivation, and the hand.

    With `order=2` the gradient's gradient, as in `explain`, without either.
    """
    entry = find_case(name)
    with x64():
        at = entry.example(jax.random.key(seed))
        found = explain(
            entry.loss, at=at, argnums=entry.argnums, name=entry.name, order=order,
            gradient=entry.gradient if order == 1 else None,
        )  # fmt: skip
        if order != 1:
            return found
        by_hand = [leaf.hand for leaf in found.leaves]
        derivation = derivation_view(entry, at, by_hand, found.tape, seed)
    return replace(found, derivation=derivation, notes=(*found.notes, *derivation.notes))


def find_case(name: str) -> Case:
    """The case of that name; else the first of that derivation (`residual`) or kind (`mlp`)."""
    ways = (
        lambda entry: entry.name == name,
        lambda entry: entry.derivation == name,
        lambda entry: entry.name.startswith(f"{name}_"),
    )
    found = (entry for fits in ways for entry in CASES if fits(entry))
    return next(found, None) or case(name)


def _compare(
    f: Callable, at: tuple, argnums: Argnums, tape: Tape, gradient: Any, hand: Any | None
) -> Leaves:
    autodiff = jax.grad(f, argnums)
    eager = autodiff(*at)
    leaves = compare(tape, gradient, eager, hand)
    if all(leaf.identical for leaf in leaves):
        return leaves
    # some versions of JAX compile even a matrix product as a whole on the way back (0.7, 0.12),
    # which rounds otherwise
    with contextlib.suppress(Exception), jax.disable_jit():
        return compare(tape, gradient, eager, hand, unfused=autodiff(*at))
    return leaves
