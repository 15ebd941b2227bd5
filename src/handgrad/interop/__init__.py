"""Functions of NumPy and of PyTorch read as functions of JAX arrays.

`as_jax` decides: what JAX traces stays as it is, NumPy is followed by `numpy.from_numpy`, PyTorch
by `torch.from_torch`. What was read says so: `read_through(function)`.
"""

import functools
from collections.abc import Callable, Iterator
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
    "as_arrays", "as_called", "as_jax", "as_jax_or_itself", "from_numpy", "is_of_numpy",
    "known_leaves", "read_as", "read_through",
]  # fmt: skip

ROUNDING = 1e-7
"""Relative to its largest entry: how far an answer may lie from NumPy's own."""
NUDGE, MOST_SPREAD = 2.0**-50, 64.0
"""Beyond that, to this multiple of what nudging the arguments does to NumPy's own answer."""


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
            torch.check_against_torch(followed, function, at)
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
                    program = jaxprs.attempt(followed, jax.tree.map(_as_float64, at))
            except NotFollowed as error:
                refused = error
                continue
            except Exception:  # an argument that NumPy has no answer to, such as a random key
                return function
            try:
                _require_same_values(function, program, at)
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


def _as_float64(leaf: Any) -> Any:
    is_float = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return np.asarray(leaf, np.float64) if is_float else leaf


def _require_same_values(function: Callable, program: Any, at: tuple) -> None:
    """Raise NotFollowed unless a followed program gives what the function itself gives at `at`."""
    given = jax.tree.map(_as_float64, at)
    with x64():
        traced = jaxprs.run(program, jax.tree.leaves(given), jaxprs.bind)
    own = _plain(function, given)
    if [np.shape(leaf) for leaf in own] != [np.shape(leaf) for leaf in traced]:
        raise NotFollowed("another structure than NumPy's own", "write it in jax.numpy")
    for index, (expected, got) in enumerate(zip(own, traced, strict=True)):
        expected, got = np.asarray(expected, np.float64), np.asarray(got, np.float64)
        size = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
        room: Any = ROUNDING * size
        if _is_near(expected, got, room):
            continue
        rng, spread = np.random.default_rng(0), np.zeros(np.shape(expected))
        for _ in range(3):
            moved = _plain(function, jax.tree.map(functools.partial(_nudged, rng), given))
            spread = np.maximum(spread, np.abs(moved[index].astype(np.float64) - expected))
        if not _is_near(expected, got, room + MOST_SPREAD * spread):
            raise NotFollowed(
                f"values other than NumPy's own: {np.ravel(got)[:3]} for {np.ravel(expected)[:3]}",
                "write it in jax.numpy, and report this",
            )  # fmt: skip


def _is_near(expected: Any, got: Any, room: Any) -> bool:
    with np.errstate(all="ignore"):
        same = (expected == got) | (np.isnan(expected) & np.isnan(got))
        return bool(np.all(same | (np.abs(expected - got) <= room)))


def _plain(function: Callable, at: tuple) -> list[np.ndarray]:
    """What the function gives of copies of these arguments, in plain NumPy."""
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


def _nudged(rng: np.random.Generator, leaf: Any) -> Any:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        return leaf
    return np.asarray(leaf * (1 + NUDGE * rng.uniform(-1, 1, np.shape(leaf))))
