"""Functions of NumPy and of PyTorch read as functions of JAX arrays.

`as_jax` decides: what JAX traces stays as it is, NumPy is followed by `numpy.from_numpy`, PyTorch
by `torch.from_torch`. What was read says so: `read_through(function)`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.errors import NotFollowed
from handgrad.interop import torch
from handgrad.interop.arrays import BRANCH
from handgrad.interop.numpy import (
    MOST_PATHS,
    draws,
    from_numpy,
    is_followed,
    is_foreign,
    is_of_numpy,
    uses_jax,
    writes_in_place,
)

__all__ = [
    "as_arrays", "as_called", "as_jax", "as_jax_or_itself", "check_against_torch", "from_numpy",
    "is_of_numpy", "known_leaves", "read_as", "read_through",
]  # fmt: skip

ROUNDING = 1e-7
"""Relative to its largest entry: how far an answer may lie from NumPy's own."""
AGREEMENT = 2 / 3
"""An answer agrees with PyTorch's own to this power of the dtype's epsilon."""
MOST_SPREAD = 64.0
"""Beyond that, to this multiple of what nudging the arguments does to the function's own answer."""
MOST_COMPILED = 500
"""Equations of a program that is compiled whole sooner than its operations are one by one."""


def as_jax(function: Callable, at: tuple, argnums: int | tuple[int, ...] = 0) -> Callable:
    """`function` as JAX can trace it at arguments like `at`, differentiated along `argnums`.

    What cannot be traced with every argument unknown is traced with the integers of `at`, then
    with all arguments of `at` besides `argnums` (`known_leaves` says which). A function of NumPy
    or of PyTorch gives at `at` what it gives by itself, up to rounding. Tensors in `at` say that it
    is one of PyTorch.

    Raises NotFollowed, which names the line, for one of NumPy or PyTorch that cannot be followed.
    """
    if not isinstance(at, tuple):
        return function
    if torch.holds_tensors(at):
        arrays = as_arrays(at)
        try:
            return _through_torch(function, arrays, argnums)
        except NotFollowed:
            return as_jax(function, arrays, argnums)
    try:
        program = jaxprs.attempt(function, at)
    except Exception:
        pass
    else:
        if is_followed(function):  # np.sum itself, which a trace of JAX may call, but not hold
            return _through_numpy(function, at, argnums)
        if is_foreign(getattr(function, "__module__", None) or "") or uses_jax(function):
            return function
        if writes_in_place(function):  # which JAX takes for a new array
            return _through_numpy(function, at, argnums)
        if any(e.params.get("is_stable", False) is None for e in jaxprs.equations(program)):
            return _through_numpy(function, at, argnums)  # np.sort, which JAX cannot compile
        if draws(function):  # others in each trace
            _through_numpy(function, at, argnums)
        return function
    if torch.uses_torch(function):
        return _through_torch(function, at, argnums)
    refused, followed = None, function
    try:
        followed = _through_numpy(function, at, argnums)
    except NotFollowed as error:
        refused = error
    if followed is function and torch.is_loaded():  # one that names nothing, but calls methods
        try:
            return _through_torch(function, at, argnums)
        except NotFollowed:
            pass
    if refused is not None:
        raise refused
    return followed


def read_through(function: Callable) -> str | None:
    """'NumPy' or 'PyTorch' for what `as_jax` has read, None for a function of JAX."""
    return getattr(function, "read_through", None)


def read_as(function: Callable, inner: Callable) -> Callable:
    """The function, which says that it was read as the one that it calls was."""
    if read_through(inner):
        function.read_through = read_through(inner)  # type: ignore[attr-defined]
    return function


def as_jax_or_itself(function: Callable, at: tuple, argnums: Any = 0) -> Callable:
    """`as_jax`, or the function itself where it cannot be followed, as one of NumPy's arrays."""
    try:
        return as_jax(function, at, argnums)
    except NotFollowed:
        return as_called(function)


def known_leaves(function: Callable) -> tuple[int, ...]:
    """Positions among the leaves of `at` whose numbers a function read by `as_jax` goes by."""
    return getattr(function, "known", ())


def as_called(function: Callable) -> Callable:
    """A function that cannot be traced, as one of arrays of NumPy."""
    return torch.on_arrays(function) if torch.uses_torch(function) else function


def as_arrays(tree: Any) -> Any:
    """The same tree with arrays of NumPy in the place of PyTorch's tensors."""
    return jax.tree.map(torch.as_array, tree)


def _through_torch(function: Callable, at: tuple, argnums: int | tuple[int, ...]) -> Callable:
    """A function of PyTorch, with as few arguments known as will do."""
    for known in _known_choices(at, argnums):
        followed = torch.from_torch(function, at, known)
        try:
            check_against_torch(followed, function, at)
        except NotFollowed as error:
            refused = error
        else:
            return followed
    raise refused


def _through_numpy(function: Callable, at: tuple, argnums: int | tuple[int, ...]) -> Callable:
    """A function of NumPy, with as few arguments known and as few branches as will do."""
    refused: NotFollowed | None = None
    for paths, jumps in ((1, False), (MOST_PATHS, False), (MOST_PATHS, True)):
        if refused is not None and refused.step != BRANCH:
            break
        for known in _known_choices(at, argnums):
            followed = from_numpy(function, at, known, paths, jumps)
            try:
                with x64():
                    program = jaxprs.attempt(followed, _in_dtype("float64", at))
            except NotFollowed as error:
                refused = error
                continue
            except Exception:  # an argument that NumPy has no answer to, such as a random key
                return function
            try:
                _check_against_numpy(function, program, at)
            except NotFollowed as error:
                refused = error
                continue
            return followed
    if refused is None or uses_jax(function) or _fails(function, at):
        return function
    raise refused


def _known_choices(at: tuple, argnums: int | tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Positions of leaves whose numbers may be known: none, the integers, all but `argnums`.

    A random key is no array of NumPy, and is never among them.
    """
    moved = argnums if isinstance(argnums, tuple) else (argnums,)
    moved = tuple(position % max(1, len(at)) for position in moved)
    leaves = [(i in moved, leaf) for i, arg in enumerate(at) for leaf in jax.tree.leaves(arg)]
    dtypes = [jnp.result_type(leaf) for _, leaf in leaves]
    keys = {i for i, dtype in enumerate(dtypes) if jnp.issubdtype(dtype, jax.dtypes.extended)}
    floats = {i for i, dtype in enumerate(dtypes) if jnp.issubdtype(dtype, jnp.floating)}
    integers = tuple(i for i in range(len(leaves)) if i not in floats | keys)
    others = tuple(i for i, (is_moved, _) in enumerate(leaves) if not (is_moved or i in keys))
    return iter(dict.fromkeys([(), integers, tuple(sorted({*integers, *others}))]))


# --- held against the function itself -------------------------------------------------------------


def _check_against_numpy(function: Callable, program: Any, at: tuple) -> None:
    """Raise NotFollowed unless a followed program gives what the function itself gives at `at`."""
    given = _in_dtype("float64", at)
    with x64():
        run: Callable = lambda *leaves: jaxprs.run(program, leaves, jaxprs.bind)
        is_short = sum(1 for _ in jaxprs.equations(program)) <= MOST_COMPILED
        traced = (jax.jit(run) if is_short else run)(*jax.tree.leaves(given))
    own = functools.partial(_plain, function)
    remedy = "write it in jax.numpy, and report this"
    _require_same(traced, own, given, ROUNDING, 2.0**-50, "NumPy's own", remedy)


def check_against_torch(traced: Callable, function: Callable, at: tuple) -> None:
    """Raise NotFollowed unless the traced function gives at `at` what PyTorch gives.

    In float64 and float32, to two thirds of the digits: what a rule here got wrong would show, and
    so would a number that was rounded on the way. Where PyTorch takes one of the dtypes only
    (tensors that the function closes over), that one is compared.
    """
    own = functools.partial(_plain, torch.on_arrays(function))
    remedy = "give the function in JAX, and please report this"
    failed = []
    for dtype in ("float64", "float32"):
        args, eps = _in_dtype(dtype, at), float(jnp.finfo(dtype).eps)
        try:
            with x64(dtype == "float64"):
                got = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(traced)(*args))]
        except NotFollowed:
            raise
        except Exception as error:
            raise torch.refusal(error) from error
        try:
            with torch.default_dtype(dtype):
                whose = f"PyTorch's own in {dtype}"
                _require_same(got, own, args, eps**AGREEMENT, 4 * eps, whose, remedy)
        except NotFollowed:
            raise
        except Exception as error:
            failed.append(error)
    if len(failed) == 2:
        raise torch.refusal(failed[-1])


def _require_same(
    got: Sequence[Any], own: Callable, at: tuple, rounding: float, nudge: float, whose: str,
    remedy: str,
) -> None:  # fmt: skip
    """Raise NotFollowed where numbers differ by more than rounding of the arguments explains."""
    expected = own(at)
    if [np.shape(leaf) for leaf in got] != [np.shape(leaf) for leaf in expected]:
        raise NotFollowed(f"other shapes than {whose}", remedy)
    for index, (theirs, leaf) in enumerate(zip(expected, got, strict=True)):
        wide = np.result_type(theirs, np.float64)  # truth values become numbers, complex ones stay
        theirs, ours = theirs.astype(wide), np.asarray(leaf, wide)
        room: Any = rounding * np.max(np.abs(theirs), initial=0.0, where=np.isfinite(theirs))
        if _is_near(theirs, ours, room):
            continue
        rng, spread = np.random.default_rng(0), np.zeros(np.shape(theirs))
        for _ in range(3):
            moved = own(jax.tree.map(functools.partial(_nudged, rng, nudge), at))[index]
            spread = np.maximum(spread, np.abs(moved.astype(wide) - theirs))
        if not _is_near(theirs, ours, room + MOST_SPREAD * spread):
            values = f"{np.ravel(leaf)[:3]} for {np.ravel(expected[index])[:3]}"
            raise NotFollowed(f"values other than {whose}: {values}", remedy)


def _is_near(expected: Any, got: Any, room: Any) -> bool:
    with np.errstate(all="ignore"):
        same = (expected == got) | (np.isnan(expected) & np.isnan(got))
        return bool(np.all(same | (np.abs(expected - got) <= room)))


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _in_dtype(dtype: str, at: tuple) -> tuple:
    """The arguments with their floats in one dtype."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype) if _is_float(leaf) else leaf, at)


def _nudged(rng: np.random.Generator, by: float, leaf: Any) -> Any:
    if not _is_float(leaf):
        return leaf
    return np.asarray(leaf * (1 + by * rng.uniform(-1, 1, np.shape(leaf))), leaf.dtype)


def _plain(function: Callable, at: tuple) -> list[np.ndarray]:
    """What the function itself gives of copies of these arguments."""
    with np.errstate(all="ignore"):
        answer = function(*jax.tree.map(_copied, at))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(answer)]


def _fails(function: Callable, at: tuple) -> bool:
    """Whether the function raises in plain NumPy too."""
    try:
        _plain(function, at)
    except Exception:
        return True
    return False


def _copied(leaf: Any) -> Any:
    return np.array(leaf) if hasattr(leaf, "dtype") and np.ndim(leaf) else leaf
