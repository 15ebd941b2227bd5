"""Checks of shape and dtype: what can be known while tracing, before a number is looked at.

JAX broadcasts (N, 1) against (N,) to (N, N) without a word. Everything public in `gradients/`
passes through here first, one line for each function. Every `require_...` raises InputError.
"""

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._types import Array, Coded
from handgrad.errors import InputError


class Shaped(jax.ShapeDtypeStruct):
    """The shape and dtype of an array that is not there, for checks alone."""


P = ParamSpec("P")
T = TypeVar("T")

ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, Shaped, Coded)
MOST = 2**31 - 1
"""The largest size: positions in an array are 32-bit integers."""

# --- what an argument is, and as what it is used -----------------------------------------------


def dtype_of(name: str, array: Any) -> np.dtype:
    """The dtype that JAX gives to an array, a tracer or a Python number.

    Raises InputError for anything else: lists, masks, strings, objects, dtypes JAX does not have.
    """
    wanted = isinstance(array, ARRAYS) or hasattr(array, "__jax_array__")
    try:
        if not wanted or isinstance(array, np.ma.MaskedArray | str | bytes):
            raise TypeError
        dtype = jnp.result_type(array)
        if isinstance(array, int | float | complex):
            np.asarray(array, dtype)  # is it in range?
    except (TypeError, ValueError, OverflowError):
        kind = f"{array.dtype} in a " if isinstance(array, np.ndarray | np.generic) else ""
        raise InputError(
            name, "an array of numbers", f"{kind}{type(array).__name__}",
            f"convert it, e.g. {name} = jnp.asarray(..., 'float32')",
        ) from None  # fmt: skip
    return dtype


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer or a Python number."""
    return tuple(jnp.shape(array))


def describe(array: Any) -> str:
    """Dtype and shape in one phrase, such as 'float32 of shape (3, 2)'."""
    return f"{jnp.result_type(array)} of shape {shape_of(array)}"


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy; True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether `value` is a number of Python or NumPy; True and False are not."""
    return is_whole(value) or isinstance(value, float | np.floating)


def floating_dtype(dtype: Any, name: str = "dtype") -> Any:
    """A floating dtype as JAX has it; the default one for None. Raises InputError for another."""
    try:
        with warnings.catch_warnings():  # NumPy warns of old names, which are refused anyway
            warnings.simplefilter("ignore", DeprecationWarning)
            found = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
        require_floating(name, Shaped((), found))
    except (TypeError, ValueError):  # an InputError is a ValueError
        raise InputError(name, "a floating dtype", repr(dtype), "pass 'float32'") from None
    return found


def as_index(y: Any) -> Array:
    """Class indices in 32 bits or more. JAX cuts 64 off without a word: 2³² would be class 0.

    With 8 bits the classes beyond 127 could not be counted. What does not fit is out of range.
    """
    if isinstance(y, np.ndarray | np.generic | int):
        y = np.asarray(y)
        y = np.minimum(y, MOST) if y.dtype == np.uint64 else y.astype(np.int64)
        return jnp.asarray(np.where((y < -MOST) | (y > MOST), MOST, y).astype(np.int32))
    y = jnp.asarray(y)
    return y.astype(jnp.int32) if jnp.iinfo(y.dtype).bits < 32 else y


def as_numpy(name: str, array: Any) -> np.ndarray:
    """`array` as NumPy has it. Raises InputError for ragged rows, gaps, and other objects."""
    try:
        values = np.asarray(array)
    except Exception as fault:  # whatever an object's own conversion raises
        ragged = isinstance(fault, ValueError)
        got = "rows of unequal length" if ragged else f"{type(array).__name__} ({fault})"
        remedy = "make the rows equally long" if ragged else "convert it to a NumPy array"
        raise InputError(name, "an array of numbers", got, remedy) from fault
    if np.ma.is_masked(array):
        remedy = "fill the gaps, or drop their rows"
        raise InputError(name, "a value in every place", "a masked array", remedy)
    return values


# --- how a function is called, and by which name a thing is ------------------------------------


def called_by_keyword(
    expected: str, call: str, *required: str
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets one argument come without its name, and answers another call in words.

    `expected` says in words what belongs there, `call` is a right one, and the keywords `required`
    cannot be left out.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        first = next(iter(inspect.signature(function).parameters))

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> T:
            missing = [name for name in required if name not in options]
            unnamed = len(args) != (first not in options)
            if unnamed or missing:
                got = f"{len(args)} arguments without names" if unnamed else f"no {missing[0]}="
                raise InputError(function.__name__, expected, got, f"write {call}")
            return function(*args, **options)

        return checked

    return decorate


@runtime_checkable
class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def find_named(entries: Iterable[N], name: str, kind: str, expected: str) -> N:
    """The entry whose name this is. Raises InputError with the closest names if there is none."""
    named = {entry.name: entry for entry in entries}
    if name in named:
        return named[name]
    close = difflib.get_close_matches(name, named) or ["logistic"]
    raise InputError(kind, expected, repr(name), f"try {', '.join(close)}")


# --- one argument -----------------------------------------------------------------------------


def refuse_shape(name: str, array: Any, expected: str, remedy: str) -> NoReturn:
    """Raise the InputError of an array whose shape is not the expected one."""
    raise InputError(name, expected, f"shape {shape_of(array)}", remedy)


def require_floating(name: str, array: Any) -> None:
    """A floating dtype of 16 bits or more."""
    dtype = dtype_of(name, array)
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 2:
        remedy = f"convert it: {name}.astype('float32')"
        raise InputError(name, "a floating dtype", describe(array), remedy)


def require_real(name: str, array: Any) -> None:
    """A floating dtype, or one of integers or booleans."""
    dtype = dtype_of(name, array)
    if not jnp.issubdtype(dtype, jnp.bool_) and not jnp.issubdtype(dtype, jnp.integer):
        require_floating(name, array)


def require_rank(name: str, array: Any, rank: int, letters: str) -> None:
    """An array of `rank` axes, called `letters` in the message."""
    dtype_of(name, array)
    if len(shape_of(array)) != rank:
        remedy = f"reshape {name}; nothing is broadcast here"
        refuse_shape(name, array, f"shape {letters}", remedy)


def require_axis(name: str, array: Any, axis: int, size: int, meaning: str) -> None:
    """An array whose axis `axis` has length `size`."""
    if shape_of(array)[axis] != size:
        expected = f"{size} along axis {axis} ({meaning})"
        refuse_shape(name, array, expected, "make the two arrays agree")


def require_examples(name: str, array: Any) -> None:
    """A first axis that is not empty: a mean over no example is not a number."""
    if shape_of(array)[0] == 0:
        refuse_shape(name, array, "at least one example", "pass some data")


def require_rows(name: str, array: Any) -> None:
    """A floating array (..., K) with K > 0."""
    require_floating(name, array)
    if not shape_of(array) or not shape_of(array)[-1]:
        refuse_shape(name, array, "at least one class on the last axis", "pass (..., K)")


def require_scalar(name: str, number: Any) -> None:
    """One real number, traced or not."""
    require_real(name, number)
    require_rank(name, number, 0, "()")


def require_size(
    name: str, size: Any, least: int = 1, most: int = MOST, remedy: str = "pass 16"
) -> None:
    """The length of an axis, from `least` to `most`."""
    if not is_whole(size) or not least <= size <= most:
        expected = f"a whole number in {least:,}..{most:,}" if least < most else f"{most:,}"
        raise InputError(name, expected, repr(size), remedy)


def require_sizes(name: str, sizes: Any) -> None:
    """A sequence of lengths of axes."""
    if not isinstance(sizes, Sequence) or isinstance(sizes, str | bytes):
        raise InputError(name, "a tuple of sizes", repr(sizes), "pass (16,)")
    for size in sizes:
        require_size(name, size)


def require_choice(name: str, choice: Any, choices: Iterable[str]) -> None:
    """One of the names in `choices`."""
    if not isinstance(choice, str) or choice not in choices:
        raise InputError(name, f"one of {', '.join(choices)}", repr(choice), "name one")


def require_key(key: Any) -> None:
    """One random key, of the new kind or the old."""
    if isinstance(key, jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.shape == ()) or (key.dtype == np.uint32 and key.shape == (2,)):
            return
    raise InputError("key", "a random key", repr(key), "pass jax.random.key(0)")


# --- arrays beside each other -----------------------------------------------------------------


def require_same_shape(name: str, array: Any, other_name: str, other: Any) -> None:
    """Two arrays of one shape: nothing is broadcast."""
    dtype_of(name, array)
    dtype_of(other_name, other)
    if shape_of(array) != shape_of(other):
        expected = f"the shape of {other_name}, {shape_of(other)}"
        remedy = f"reshape one of them, e.g. {name}.ravel(); nothing is broadcast here"
        refuse_shape(name, array, expected, remedy)


def require_probabilities(p: Any, y: Any) -> None:
    """Floating p, and y real numbers in its shape."""
    require_floating("p", p)
    require_real("y", y)
    require_same_shape("y", y, "p", p)


def require_trials(p: Any) -> None:
    """p (N,), N > 0."""
    require_rank("p", p, 1, "(N,)")
    require_examples("p", p)


def require_binary_labels(y: Any, logits: Any) -> None:
    """One real number in y for each logit, (N,)."""
    require_real("y", y)
    require_same_shape("y", y, "the logits", logits)


def require_class_labels(y: Any, logits: Any) -> None:
    """y (N,) integers or (N, K) probabilities, for logits (N, K)."""
    require_real("y", y)
    shape, dtype = shape_of(logits), jnp.result_type(y)
    if not shape:
        refuse_shape("logits", logits, "shape (..., K)", "pass one logit for each class")
    integers, floats = (jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating))
    if not (integers and shape_of(y) == shape[:-1]) and not (floats and shape_of(y) == shape):
        raise InputError(
            "y", f"integer class indices of shape {shape[:-1]} or probabilities of shape {shape}",
            describe(y), "convert the labels to int32 indices, or one-hot encode them",
        )  # fmt: skip


# --- the parameters of a model ----------------------------------------------------------------

RETURNED = "pass what init returns"


def require_params(params: Any, name: str = "params") -> None:
    """A floating weight (D,) or (D, K), and a bias to match."""
    if not (hasattr(params, "weight") and hasattr(params, "bias")):
        raise InputError(name, "a weight and a bias", type(params).__name__, RETURNED)
    require_floating(f"{name}.weight", params.weight)
    require_floating(f"{name}.bias", params.bias)
    shape = shape_of(params.weight)
    if len(shape) not in (1, 2):
        refuse_shape(f"{name}.weight", params.weight, "shape (D,) or (D, K)", RETURNED)
    if shape_of(params.bias) != shape[1:]:
        expected = f"shape {shape[1:]}, as the weight has outputs"
        refuse_shape(f"{name}.bias", params.bias, expected, "pass one bias for each output")


def require_dtype_of_x(params: Any, x: Any) -> None:
    """Every array of `params` in the dtype of x."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, dtype = f"params{jax.tree_util.keystr(path)}", jnp.result_type(x)
        if dtype_of(name, leaf) != dtype:
            raise InputError(name, f"{dtype}, as x has", describe(leaf), "convert one of them")


def require_linear(params: Any, x: Any) -> None:
    """A weight (D, ...), a bias, and the floating x (N, D), N > 0, that they take."""
    require_params(params)
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    require_axis("x", x, 1, shape_of(params.weight)[0], "features, as the weight has")


def require_tangent(tangent: Any, params: Any) -> None:
    """A tangent in the shapes of `params`."""
    require_params(params)
    require_params(tangent, "tangent")
    require_same_shape("tangent.weight", tangent.weight, "params.weight", params.weight)


def require_layers(params: Any, x: Any) -> None:
    """Layers, the first for the features x, each as wide as the next one takes."""
    layers = getattr(params, "layers", None)
    if not isinstance(layers, tuple | list) or not layers:
        raise InputError("params", "layers", type(params).__name__, RETURNED)
    for depth, layer in enumerate(layers):
        name = f"params.layers[{depth}]"
        require_params(layer, name)
        width = shape_of(layers[depth - 1].weight)[1:]
        if depth and shape_of(layer.weight)[:1] != width:
            expected = f"the width of the layer before, {width}"
            refuse_shape(f"{name}.weight", layer.weight, expected, RETURNED)
    require_linear(layers[0], x)


def require_init(key: Any, features: Any, outputs: Any) -> None:
    """A key, D and the widths of layers, for random weights."""
    require_key(key)
    require_size("features", features)
    require_sizes("hidden", outputs)
    for before, width in zip((features, *outputs), outputs, strict=False):
        if before * width > MOST:
            expected, got = f"at most {MOST:,} weights in a layer", f"{before:,} x {width:,}"
            raise InputError("hidden", expected, got, "make the layers smaller")


def require_output_layer(hidden: Any, weight: Any) -> None:
    """Floating hidden (T, D), T > 0, and weight (D, V), V > 0."""
    require_rows("weight", weight)
    require_rank("weight", weight, 2, "(D, V)")
    require_floating("hidden", hidden)
    require_rank("hidden", hidden, 2, "(T, D)")
    require_examples("hidden", hidden)
    require_axis("hidden", hidden, 1, shape_of(weight)[0], "features, as the weight has")
