"""What may be asked of the judge: `verify`, its options, and the checks on them."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import called_by_keyword
from handgrad._precision import Switch
from handgrad.errors import InputError, NotFollowed, one_line
from handgrad.interop import as_arrays, as_called, as_jax, is_of_numpy, known_leaves, read_through
from handgrad.verify.judge import judge
from handgrad.verify.verdict import Verdict
from handgrad.verify.witnesses import (
    Argnums,
    Problem,
    captures_arrays,
    check_arguments,
    check_at,
    check_finite,
    counted_from_0,
    is_float,
    leaves_like,
    named_leaves,
    narrow_integers,
)

MOST_EVALUATIONS = 10_000_000
MOST_SEEDS = 2**32
DTYPES = ("float64", "float32", "bfloat16", "float16")


@called_by_keyword(
    "a gradient, then of= and at= by name", "verify(gradient, of=loss, at=(x, y))", "of", "at"
)
def verify(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: Argnums = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    digits: int = 60,
    points: Callable | None = None,
    evaluations: int = 2_000,
    seed: int = 0,
    reference: str = "truth",
    strict: bool = False,
    name: str | None = None,
    rules: Mapping[str, Callable] | None = None,
    bounds: tuple[float, float] | None = None,
    seconds: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Verdict:
    """Judge `gradient`, which claims to be `jax.grad(of, argnums)`, at the arguments `at`.

    `argnums` as in `jax.grad`. `points` draws further arguments from a key; `evaluations` is
    how many points the search tries in each dtype, 0 for none. `reference='autodiff'` takes
    autodiff's derivative for the truth (stop_gradient, straight-through). `strict` makes what the
    search finds count. `rules` are further rules for `handgrad.exact.evaluate`. `bounds` are the
    lowest and the highest number that the search tries for a differentiated input. After `seconds`
    no new point is judged; Ctrl-C stops as well: the verdict says what was not done. `progress` is
    called with what is done now, from two seconds on.

    Both may be written in NumPy, and are then followed step by step. A gradient that cannot be
    followed gets NumPy arrays, and is judged numerically alone.

    Raises InputError for arguments that cannot be judged, and NotFollowed, one of its kind, for a
    loss in NumPy that cannot be followed: it names the line.

    >>> import jax.numpy as jnp
    >>> verdict = verify(lambda x: 2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),))
    >>> verdict.ok, verdict.hand, verdict.digits
    (True, 'identical', 60)
    >>> wrong = verify(lambda x: -2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),))
    >>> wrong.ok, wrong.hand
    (False, 'different')
    """
    check_options(dtypes, digits, evaluations, seed, reference)
    _check_helpers(points, rules, name, bounds, progress)
    _check_limits(strict, seconds)
    check_callable("gradient", gradient, "the arguments in `at`")
    given, at = at, as_arrays(at)
    _check_concrete(at)
    check_at(at)
    argnums = counted_from_0(argnums, at)
    name = one_line(name or str(getattr(gradient, "__name__", "gradient")))
    dtypes = tuple(dict.fromkeys(dtypes))
    switch = Switch()
    with calling_the_users_code():
        try:
            with switch.x64():
                of, gradient, points, notes = _read(of, gradient, given, argnums, points)
                switch.captures = any(captures_arrays(f, at) for f in (of, gradient))
                switch.forget()
                check_arguments(of, at, argnums, differentiable=False)
                check_finite("at", at, dtypes)
                at = jax.tree.map(narrow_integers, at)
            verdict = judge(
                Problem(
                    gradient, of, at, argnums, dtypes, digits, points, evaluations, seed,
                    reference, strict, name, rules or {}, bounds, seconds, progress, switch,
                )
            )  # fmt: skip
            return replace(verdict, notes=(*notes, *verdict.notes))
        finally:
            switch.forget()


def _read(
    of: Callable, gradient: Callable, at: tuple, argnums: Argnums, points: Callable | None
) -> tuple[Callable, Callable, Callable | None, list[str]]:
    """Loss, gradient and `points` as functions of JAX, with what has to be said of that."""
    of = read_loss(of, at, argnums)
    gradient, notes = read_gradient(gradient, at, argnums)
    for kind, function in (("loss", of), ("gradient", gradient)):
        if through := read_through(function):
            notes.append(f"the {kind} was read through {through}")
    return of, gradient, with_known_leaves(points, at, of, gradient), notes


def read_loss(of: Callable, at: tuple, argnums: Argnums) -> Callable:
    """A loss as a function of JAX. Raises NotFollowed, which names it as the argument `of`."""
    try:
        return as_jax(of, at, argnums)
    except NotFollowed as error:
        raise NotFollowed(
            error.step, error.remedy, error.file, error.line, error.source, argument="of"
        ) from error


def read_gradient(gradient: Callable, at: tuple, argnums: Argnums) -> tuple[Callable, list[str]]:
    """A gradient as a function of JAX, or of arrays; and what could not be followed of it."""
    notes = []
    is_loose = is_of_numpy(gradient)
    try:
        gradient = as_jax(gradient, at, argnums)
    except NotFollowed as error:
        notes.append(f"the gradient was not followed: {error.got}")
        gradient = as_called(gradient)
    if read_through(gradient) or is_loose:
        gradient = in_dtypes_of_arguments(gradient, argnums)
    return gradient, notes


def in_dtypes_of_arguments(gradient: Callable, argnums: Argnums) -> Callable:
    """A gradient in the tree and the dtypes of the arguments, as `jax.grad` gives it.

    NumPy's is often a list, or in float64 for arguments of float32.
    """

    @functools.wraps(gradient)
    def fitted(*args: Any) -> Any:
        answer = gradient(*args)
        chosen = args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)
        leaves, like = leaves_like(answer, chosen), jax.tree.leaves(chosen)
        if leaves is None or list(map(np.shape, leaves)) != list(map(np.shape, like)):
            return answer
        if not any(isinstance(leaf, jax.Array) for leaf in leaves):  # called, not traced
            return answer
        cast = [
            leaf.astype(jnp.result_type(own)) if is_float(leaf) else leaf
            for leaf, own in zip(leaves, like, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(chosen), cast)

    return fitted


def with_known_leaves(points: Callable | None, at: tuple, *functions: Callable) -> Callable | None:
    """`points`, refused where it draws other numbers than those that the functions were read at."""
    known = {position for function in functions for position in known_leaves(function)}
    if points is None or not known:
        return points

    def drawn(key: jax.Array) -> Any:
        args = points(key)
        for position, (leaf, own) in enumerate(
            zip(jax.tree.leaves(args), jax.tree.leaves(at), strict=False)
        ):
            if position in known and not np.array_equal(leaf, own):
                raise InputError(
                    "points", "the integers and data of `at`, by which the loss in NumPy branches",
                    f"other numbers in leaf {position}", "draw the other arguments only",
                )  # fmt: skip
        return args

    return drawn


@contextmanager
def calling_the_users_code() -> Iterator[None]:
    """JAX without the caller's guards, his folder afterwards, and no exit from Python."""
    with ExitStack() as stack:
        with suppress(FileNotFoundError):
            stack.callback(os.chdir, os.getcwd())
        # The judge moves data, meets NaN, and compiles.
        stack.enter_context(jax.transfer_guard("allow"))
        for guard in ("debug_nans", "debug_infs", "disable_jit"):
            if getattr(jax.config, f"jax_{guard}"):
                stack.enter_context(getattr(jax, guard)(False))
        try:
            yield
        except SystemExit as left:
            raise InputError(
                "gradient", "functions that return", f"one that called sys.exit({left.code!r})",
                "raise an exception instead",
            ) from None  # fmt: skip


def _check_concrete(at: Any) -> None:
    """Raise InputError for a leaf without a value."""
    for path, leaf in named_leaves(at):
        if isinstance(leaf, jax.core.Tracer):
            raise InputError(
                "at", "numbers", f"a traced value in leaf {path}",
                "call it outside jit, grad and vmap",
            )  # fmt: skip


def check_callable(name: str, function: Any, of: str) -> None:
    """Raise InputError for what is no function."""
    if not callable(function):
        raise InputError(name, f"a function of {of}", repr(function)[:80], "pass the function")


def _check_limits(strict: Any, seconds: Any) -> None:
    """Raise InputError for a limit that is none."""
    if not isinstance(strict, bool):
        raise InputError("strict", "True or False", type(strict).__name__, "leave it out for False")
    if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
        raise InputError("seconds", "a number above 0", repr(seconds), "leave it out for no limit")


def check_options(
    dtypes: tuple[str, ...],
    digits: int = 60,
    evaluations: int = 0,
    seed: int = 0,
    reference: str = "truth",
) -> None:
    """Raise InputError for an option that `verify` has no answer to."""
    listed = isinstance(dtypes, tuple | list) and len(dtypes) > 0
    if not listed or not all(isinstance(d, str) and d in DTYPES for d in dtypes):
        raise InputError(
            "dtypes", f"some of {', '.join(DTYPES)}", repr(dtypes)[:80], "name at least one"
        )
    for option, value in {"digits": digits, "evaluations": evaluations, "seed": seed}.items():
        if not isinstance(value, int):
            raise InputError(option, "an integer", repr(value), f"write for example {option}=1")
    if not 1 <= digits <= 1_000:
        raise InputError("digits", "1 to 1,000", digits, "leave it out for 60")
    if not 0 <= evaluations <= MOST_EVALUATIONS:
        raise InputError(
            "evaluations", f"0 to {MOST_EVALUATIONS:,}", evaluations, "0 leaves the search out"
        )
    if not 0 <= seed < MOST_SEEDS:
        raise InputError("seed", f"0 or more, and below {MOST_SEEDS:,}", seed, "leave it out for 0")
    if not isinstance(reference, str) or reference not in ("truth", "autodiff"):
        raise InputError("reference", "'truth' or 'autodiff'", repr(reference), "name one of them")


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"


def _check_helpers(points: Any, rules: Any, name: Any, bounds: Any, progress: Any) -> None:
    """Raise InputError unless what may be given beside the question is of its kind, or None."""
    if points is not None and not callable(points):
        raise InputError("points", "a function of a random key", repr(points), "pass a function")
    if progress is not None and not callable(progress):
        raise InputError("progress", "a function of text", repr(progress), "pass print")
    if not isinstance(rules, dict | None):
        raise InputError("rules", "a dict of functions", repr(rules), "pass {'name': rule}")
    if not isinstance(name, str | None):
        raise InputError("name", "text", repr(name), "pass a string")
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2 and all(map(_is_number, bounds))
    if bounds is not None and not (pair and bounds[0] < bounds[1]):
        raise InputError(
            "bounds", "a low and a high number", repr(bounds), "write bounds=(-10, 10)"
        )
