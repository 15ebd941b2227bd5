"""The witnesses on the stand: arguments rounded to a dtype, gradients asked for, leaves named."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import dtype_of
from handgrad.errors import InputError

Argnums = int | tuple[int, ...]


def is_float(leaf: Any) -> bool:
    """Whether a leaf of the arguments carries real numbers (keys and integers do not)."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def round_to(at: tuple, dtype: str) -> tuple:
    """The arguments with every float leaf rounded to `dtype`; integers and keys as they are."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else narrow_integers(leaf), at
    )


def narrow_integers(leaf: Any) -> Any:
    """64-bit integers as 32-bit ones where they fit: JAX has no others without x64."""
    if jnp.result_type(leaf) not in (np.dtype("int64"), np.dtype("uint64")):
        return leaf
    narrow = np.asarray(leaf).astype(np.int32)
    return narrow if (narrow == np.asarray(leaf)).all() else leaf


def autodiff(of: Callable, argnums: Argnums) -> Callable:
    """The second witness: `jax.grad` of the loss."""
    return jax.grad(of, argnums=argnums)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths as text, such as '.weight' or '[0].bias'."""
    return [
        (jax.tree_util.keystr(p), leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def structure_fault(answer: Any, expected: Any) -> str | None:
    """What is wrong with the structure, shapes or dtypes of a gradient, in words; None if nothing.

    `expected` is what `jax.eval_shape` says of `jax.grad`: broadcasting is not forgiven.
    """
    got: Any = jax.tree.structure(answer)
    want: Any = jax.tree.structure(expected)
    if got != want:
        return f"the gradient is {got}, jax.grad gives {want}"
    for (path, leaf), (_, spec) in zip(named_leaves(answer), named_leaves(expected), strict=True):
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        if shape != spec.shape or dtype != spec.dtype:
            return f"leaf {path or 'gradient'} is {dtype}{list(shape)}, jax.grad gives " + (
                f"{spec.dtype}{list(spec.shape)}"
            )
    return None


def told(fault: Exception) -> str:
    """The kind of an exception and its first line."""
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"


def check_arguments(of: Callable, at: Any, argnums: Argnums) -> None:
    """Raise InputError unless `at` is a tuple, `argnums` names floats in it, `of` is scalar."""
    if not isinstance(at, tuple):
        raise InputError("at", "a tuple of arguments", type(at).__name__, "write at=(args,)")
    for path, leaf in named_leaves(at):
        dtype_of(f"at{path}", leaf)
    asked = argnums if isinstance(argnums, tuple) else (argnums,)
    if not asked or not all(isinstance(position, int) for position in asked):
        raise InputError("argnums", "an integer or a tuple of them", repr(argnums), "count from 0")
    for position in asked:
        if not -len(at) <= position < len(at):
            raise InputError(
                "argnums", f"positions within {len(at)} arguments", argnums, "count from 0"
            )
        for path, leaf in named_leaves(at[position]):
            if not is_float(leaf):
                raise InputError(
                    "argnums",
                    "floating leaves",
                    f"argument {position}{path} of dtype {jnp.result_type(leaf)}",
                    "differentiate with respect to floats, or convert it",
                )
    try:
        value = jax.eval_shape(of, *at)
        if jnp.shape(value) == () and jnp.issubdtype(jnp.result_type(value), jnp.floating):
            jax.eval_shape(autodiff(of, argnums), *at)
    except Exception as fault:
        raise InputError(
            "of", "a loss that JAX can trace and differentiate here",
            told(fault), "call of(*at) by itself",
        ) from fault  # fmt: skip
    if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise InputError(
            "of", "a loss with one real number as its value", value, "take a sum or a mean"
        )


def check_finite(name: str, args: tuple, dtypes: tuple[str, ...]) -> None:
    """Raise InputError for NaN and for what a dtype holds as infinity: no derivative is there."""
    for path, leaf in named_leaves(args):
        for dtype in dtypes if is_float(leaf) else ():
            if not (np.abs(np.asarray(leaf, np.float64)) <= float(jnp.finfo(dtype).max)).all():
                raise InputError(
                    name, f"finite numbers in {dtype}", f"NaN or inf in leaf {path}",
                    "choose a point of the domain",
                )  # fmt: skip


def drawn_points(points: Callable, keys: list, at: tuple, dtypes: tuple[str, ...]) -> list[tuple]:
    """The arguments that `points` draws. Raises InputError unless they look like `at`."""
    drawn = []
    for key in keys:
        try:
            args = points(key)
        except Exception as fault:
            raise InputError(
                "points", "a function of one random key", f"{type(fault).__name__}: {fault}",
                "call points(jax.random.key(0)) by itself",
            ) from fault  # fmt: skip
        if _frame(args) != _frame(at):
            raise InputError(
                "points", "arguments with the structure and shapes of `at`",
                jax.tree.map(jnp.shape, args), "draw a tuple like `at`",
            )  # fmt: skip
        check_finite("points", args, dtypes)
        drawn.append(jax.tree.map(narrow_integers, args))
    return drawn


def _frame(args: tuple) -> tuple[Any, list]:
    return jax.tree.structure(args), [jnp.shape(leaf) for leaf in jax.tree.leaves(args)]


def half_ulp_noise(at: tuple, argnums: Argnums, dtype: str, rng: np.random.Generator) -> tuple:
    """The arguments (in float64), each number moved at random by up to half an ulp of `dtype`.

    Whole numbers are moved only where they are differentiated: labels are 0 and 1 exactly, and a
    point that is uncertain in them would excuse any residual.
    """
    differentiated = {i % len(at) for i in ((argnums,) if isinstance(argnums, int) else argnums)}

    def moved(leaf: Any, position: int) -> Any:
        if not is_float(leaf):
            return leaf
        exact = np.asarray(leaf, np.float64)
        relative = rng.uniform(-0.5, 0.5, exact.shape) * float(jnp.finfo(dtype).eps)
        fixed = (exact == np.round(exact)) & (position not in differentiated)
        return jnp.asarray(np.where(fixed, exact, exact * (1 + relative)))

    return tuple(jax.tree.map(lambda leaf, i=i: moved(leaf, i), arg) for i, arg in enumerate(at))


def is_traceable(gradient: Callable, at: tuple) -> bool:
    """Whether JAX can trace a gradient; one written in NumPy or PyTorch it cannot."""
    try:
        jax.eval_shape(gradient, *at)
    except Exception:
        return False
    return True
