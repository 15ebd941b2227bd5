"""Checks of arguments: of shape and dtype while tracing, of value where numbers can be looked at.

JAX broadcasts (N, 1) against (N,) to (N, N) without a word. Everything public in `gradients/`
passes through here first, one line for each function. Every `require_...` raises InputError.

Nor does JAX raise where a class index is out of range, which it clamps or wraps, or where a NaN is
carried to every parameter. Outside of jit `check_values` and its parts look for these.
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
from numpy.typing import ArrayLike

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


# --- values: what can be learned from ---------------------------------------------------------


def check_values(x: ArrayLike | Coded, y: ArrayLike, classes: int | None = None) -> None:
    """Raise InputError unless `x` and `y` can be learned from.

    `x` is (N, D), finite, with codes in range if it has any. `y` is (N,) integers in 0..K-1, (N,)
    floats in [0, 1] for two classes, or (N, K) probabilities; K is `classes`, or is taken from `y`.
    At least two classes occur.

    >>> import numpy as np
    >>> check_values(np.eye(3), np.array([0, 2, 1]), classes=3)
    >>> check_values(np.eye(3), np.array([0, 2, -1]), classes=3)
    Traceback (most recent call last):
        ...
    handgrad.errors.InputError: y: expected class indices in 0..2, got -1 at position 2 (1 of 3
    labels is out of range); number the classes from 0, or pass the right number of classes
    """
    check_features(x)
    check_labels(y, examples=np.shape(x)[0], classes=classes)
    check_two_classes(y)


def check_features(x: ArrayLike | Coded) -> None:
    """Raise InputError unless `x` is (N, D) finite numbers, with N and D at least 1.

    Of `Coded` features the codes are −1 or whole numbers in 0..K−1, and there is a size for each
    column.
    """
    if isinstance(x, Coded):
        check_features(x.values)
        _check_codes(x)
        return
    values = _numbers("x", x)
    require_rank("x", values, 2, "(N, D)")
    require_examples("x", values)
    if values.shape[1] == 0:
        raise InputError("x", "at least one feature", f"shape {values.shape}", "pass some features")
    _require(
        "x", values, np.isfinite(values), "finite features", "value", "not finite",
        "drop those rows, or fill the gaps with a number",
    )  # fmt: skip


def check_labels(y: ArrayLike, examples: int, classes: int | None = None) -> None:
    """Raise InputError unless `y` labels `examples` examples with one of the three forms.

    The forms are those of `check_values`. That two classes occur is not asked: a small test set
    may hold only one.
    """
    require_size("examples", examples)
    if classes is not None:
        require_size("classes", classes)
    labels = _numbers("y", y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        raise InputError(
            "y", f"labels of shape ({examples},)",
            f"shape {labels.shape}, which broadcasts to {(len(labels), len(labels))}",
            "flatten them: y.ravel()",
        )  # fmt: skip
    integers = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.ndim != 2 or integers:
        require_rank("y", labels, 1, "(N,), or (N, K) for probabilities")
    require_examples("y", labels)
    require_axis("y", labels, 0, examples, "N, the rows of x")
    if integers:
        _check_indices(labels, classes)
    elif labels.ndim == 1:
        _check_soft(labels, classes)
    else:
        _check_probabilities(labels, classes)


def check_two_classes(y: ArrayLike) -> None:
    """Raise InputError if every label is surely the same class: the best loss is then 0.

    Soft labels strictly between 0 and 1 speak of both classes at once and pass.
    """
    labels = np.asarray(y)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        one = labels.min() == labels.max()
    elif labels.ndim == 1:
        one = labels[0] in (0, 1) and (labels == labels[0]).all()
    else:
        one = (labels == 1).all(axis=0).any()
    if one:
        raise InputError(
            "y", "at least two classes", f"one class only, in all {len(labels)} labels",
            "pass examples of another class too; one class gives nothing to tell apart",
        )  # fmt: skip


def relative_weights(sample_weight: ArrayLike, examples: int) -> np.ndarray:
    """The weights of N examples, scaled to a mean of 1, (N,) float64.

    Raises InputError unless they are finite, none below 0, and one above.

    >>> relative_weights([0, 1, 3], 3).tolist()
    [0.0, 0.75, 2.25]
    """
    weights = _numbers("sample_weight", sample_weight).astype(np.float64)
    require_rank("sample_weight", weights, 1, "(N,)")
    require_axis("sample_weight", weights, 0, examples, "N, the rows of x")
    _require(
        "sample_weight", weights, np.isfinite(weights) & (weights >= 0), "numbers of 0 or more",
        "weight", "not", "set the weight of what does not count to 0",
    )  # fmt: skip
    largest = weights.max()
    if largest == 0:
        raise InputError("sample_weight", "one weight above 0", "zeros", "leave them out")
    return weights / largest / np.mean(weights / largest)


def _check_codes(x: Coded) -> None:
    columns = x.values.shape[1]
    if len(x.sizes) != columns:
        raise InputError(
            "sizes", f"{columns} sizes, one for each column", f"{len(x.sizes)}",
            "pass 0 for a column of numbers, else the number of its categories",
        )  # fmt: skip
    for place, size in enumerate(x.sizes):
        require_size("sizes", size, 0, remedy="pass 0 for numbers, else how many categories")
        exact = 2 ** (jnp.finfo(x.dtype).nmant + 1)
        if size > exact:
            raise InputError(
                "x", f"codes up to {exact:,}, which {np.dtype(x.dtype)} can hold", f"{size:,}",
                "keep them in a wider dtype",
            )  # fmt: skip
        if size:
            codes = np.asarray(x.values[:, place])
            _require(
                f"codes of column {place}", codes,
                (codes >= -1) & (codes < size) & (codes == np.floor(codes)),
                f"whole numbers in 0..{size - 1}, or -1 for none", "code", "out of range",
                "number the categories from 0, or pass the right size",
            )  # fmt: skip


def _check_indices(labels: np.ndarray, classes: int | None) -> None:
    expected = (
        "class indices of 0 or more" if classes is None else f"class indices in 0..{classes - 1}"
    )
    good = labels >= 0 if classes is None else (labels >= 0) & (labels < classes)
    _require(
        "y", labels, good, expected, "label", "out of range",
        "number the classes from 0, or pass the right number of classes",
    )  # fmt: skip


def _check_soft(labels: np.ndarray, classes: int | None) -> None:
    _check_no_nan(labels)
    if classes not in (None, 2):
        raise InputError(
            "y", f"integer class indices for {classes} classes", describe(labels),
            "convert them: y.astype('int32'), or pass (N, K) probabilities",
        )  # fmt: skip
    _require(
        "y", labels, (labels >= 0) & (labels <= 1), "labels in [0, 1]", "label", "outside",
        "pass probabilities of the second class, or integers for more classes: y.astype('int32')",
    )  # fmt: skip


def _check_probabilities(labels: np.ndarray, classes: int | None) -> None:
    if classes is not None:
        require_axis("y", labels, 1, classes, "K, the classes")
    _check_no_nan(labels)
    _require(
        "y", labels, (labels >= 0) & (labels <= 1), "probabilities in [0, 1]", "value", "outside",
        "pass one row of probabilities for each example, such as a softmax gives",
    )  # fmt: skip
    totals = labels.astype(np.float64).sum(axis=1)
    # A softmax in this dtype sums to 1 within a few eps; its root also covers rounded tables.
    bad = np.abs(totals - 1) > float(jnp.finfo(labels.dtype).eps) ** 0.5
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            "y", "rows of probabilities that sum to 1",
            f"a sum of {totals[row]:.6g} in row {row} ({_count(bad, 'row')} off)",
            "divide each row by its sum: y / y.sum(axis=1, keepdims=True)",
        )  # fmt: skip


def _check_no_nan(labels: np.ndarray) -> None:
    _require(
        "y", labels, ~np.isnan(labels), "a label for every example", "label", "missing",
        "drop the examples without a label",
    )  # fmt: skip


def _require(
    name: str,
    values: np.ndarray,
    good: np.ndarray,
    expected: str,
    noun: str,
    fault: str,
    remedy: str,
) -> None:
    """Raise InputError for the first value that is not `good`, with the number of such values."""
    if not good.all():
        place = np.argwhere(~good)[0].tolist()
        raise InputError(
            name,
            expected,
            f"{values[tuple(place)]} at position {place if len(place) > 1 else place[0]} "
            f"({_count(~good, noun)} {fault})",
            remedy,
        )


def _count(bad: np.ndarray, noun: str) -> str:
    """Such as '1 of 3 labels is' and '2 of 3 labels are'."""
    number = int(bad.sum())
    return f"{number:,} of {bad.size:,} {noun}s {'is' if number == 1 else 'are'}"


def _numbers(name: str, array: ArrayLike) -> np.ndarray:
    """`array` as NumPy integers or floats (bfloat16 too), or InputError."""
    values = as_numpy(name, array)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        dtype = "int32" if values.dtype == bool else "float32"
        raise InputError(
            name, "integers or floats", f"{values.dtype} of shape {values.shape}",
            f"convert it: {name}.astype('{dtype}'), or one-hot encode the categories",
        )  # fmt: skip
    return values
