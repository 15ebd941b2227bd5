"""An array that behaves as NumPy's does and holds one of JAX: it is written into, and has views.

Arrays of JAX never change. An `Array` is therefore a view of a `Buffer`, whose value is replaced
wherever something is written: every view of it sees that. Which operations give views, and of
which entries, NumPy itself says: each array has, beside its value, an array of the positions of its
entries in the buffer, on which the same operation is done.

A buffer holds an array of NumPy for as long as its numbers are known; then NumPy computes. From
the first number on that depends on the arguments of a trace it holds one of JAX.
"""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from handgrad.interop.functions import (
    any_traced,
    cast,
    computed,
    elementwise,
    equivalent,
    is_traced,
    joined,
)

HARMLESS = 0.5
"""Stands in for entries that a mask leaves out: no function has a pole there, nor a slope of NaN.
"""

BY_FUNCTION = frozenset({
    "all", "any", "argmax", "argmin", "argsort", "choose", "clip", "compress", "conj", "conjugate",
    "cumprod", "cumsum", "diagonal", "dot", "max", "mean", "min", "nonzero", "prod", "ravel",
    "repeat", "round", "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "trace", "var",
})  # fmt: skip
"""Methods that are functions of NumPy too."""
VIEWS = frozenset({
    "array_split", "as_strided", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_to",
    "diagonal", "dsplit", "expand_dims", "flip", "fliplr", "flipud", "hsplit", "matrix_transpose",
    "moveaxis", "permute_dims", "ravel", "reshape", "rollaxis", "rot90", "sliding_window_view",
    "split", "squeeze", "swapaxes", "transpose", "unstack", "vsplit",
})  # fmt: skip
"""Functions that only move entries, and give views where NumPy can."""
OF_SHAPE_ALONE = frozenset({
    "can_cast", "empty_like", "full_like", "indices", "iscomplexobj", "isrealobj", "isscalar",
    "ndim", "ones_like", "result_type", "shape", "size", "zeros_like",
})  # fmt: skip
REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
    "logical_or": "any",
}  # fmt: skip
ACCUMULATIONS = {"add": "cumsum", "multiply": "cumprod"}
COMBINED_AT = {
    "add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide",
    "maximum": "max", "minimum": "min",
}  # fmt: skip

decide: ContextVar[Callable[[jax.Array], bool] | None] = ContextVar("decide", default=None)
"""Which way a branch on a traced number goes; None where none can be taken."""


predicates: list[jax.Array] = []
"""Conditions of the branches that are being run both ways: what is written counts where all hold.
"""


class Unfollowed(Exception):  # noqa: N818  (a limit, not a fault)
    """What cannot be followed, in words, and what to write instead."""

    def __init__(self, step: str, remedy: str):
        self.step, self.remedy = step, remedy
        super().__init__(step)


class Buffer:
    """A value that is replaced whenever an array that looks at it is written into."""

    def __init__(self, value: Any):
        self.value = value if is_traced(value) else np.ascontiguousarray(value).reshape(value.shape)
        self._positions: np.ndarray | None = None

    def write(self, value: Any) -> None:
        """Replace the value, on the side of a branch only where its condition holds."""
        for predicate in predicates:
            value = jnp.where(predicate, value, cast(self.value, value.dtype))
        self.value = value

    @property
    def positions(self) -> np.ndarray:
        """0, 1, 2, ... in the shape of the value: every view of it has some of these."""
        if self._positions is None:
            self._positions = np.arange(self.value.size).reshape(self.value.shape)
        return self._positions


class Array(NDArrayOperatorsMixin):
    """What a followed function gets in the place of an array, or a number, of NumPy."""

    def __init__(
        self,
        value: Any,
        buffer: Buffer | None = None,
        positions: np.ndarray | None = None,
        is_number: bool = False,
    ):
        self._buffer = Buffer(value) if buffer is None else buffer
        self._positions = positions
        self._seen = (self._buffer.value, value)
        self._is_number = is_number  # one of NumPy's scalars, which never change

    # --- what it is ---

    @property
    def value(self) -> Any:
        """The array of NumPy or of JAX that this one stands for now."""
        whole = self._buffer.value
        if self._seen[0] is not whole:
            value = whole if self._positions is None else whole.reshape(-1)[self._positions]
            self._seen = (whole, value)
        return self._seen[1]

    @property
    def positions(self) -> np.ndarray:
        """Where the entries stand in the buffer."""
        return self._buffer.positions if self._positions is None else self._positions

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self.dtype.type if self._is_number else np.ndarray

    shape = property(lambda self: tuple(self.value.shape))
    dtype = property(lambda self: np.dtype(self.value.dtype))
    ndim = property(lambda self: len(self.value.shape))
    size = property(lambda self: int(np.prod(self.value.shape, dtype=int)))
    itemsize = property(lambda self: self.dtype.itemsize)
    strides = property(lambda self: self.positions.strides)
    T = property(lambda self: apply(np.transpose, (self,), {}))

    @property
    def flat(self) -> "Array":
        """All entries in one row, to be read and to be written."""
        return Array(self.value.reshape(-1), self._buffer, self.positions.reshape(-1))

    @flat.setter
    def flat(self, new: Any) -> None:
        self.flat[:] = new

    def __repr__(self) -> str:
        return repr(self.value) if not is_traced(self.value) else f"{self.dtype}{list(self.shape)}"

    def __format__(self, spec: str) -> str:
        return repr(self) if is_traced(self.value) else format(self.value[()], spec)

    # --- what has to be a number, and cannot be one ---

    def _known(self, what: str, remedy: str) -> np.ndarray:
        """The numbers, where they are known."""
        if isinstance(self.value, jax.core.Tracer):
            raise Unfollowed(what, remedy)
        return np.asarray(self.value)

    def __bool__(self) -> bool:
        if isinstance(self.value, jax.core.Tracer) and self.size == 1:
            chosen = decide.get()
            if chosen is not None:
                return chosen(self.value.reshape(()) != 0)
        return bool(self._known(BRANCH, WHERE))

    def __float__(self) -> float:
        return float(self._known("a number that depends on the arguments as a float", KEEP))

    def __complex__(self) -> complex:
        return complex(self._known("a number that depends on the arguments as a complex", KEEP))

    def __int__(self) -> int:
        return int(self._known("a number that depends on the arguments as an int", INDEX))

    def __index__(self) -> int:
        known = self._known("a count or an index that depends on the arguments", INDEX)
        return known[()].__index__()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        known = self._known("an array that leaves NumPy: its numbers are not known yet", KNOWN_TO)
        return np.array(known, dtype)

    def __jax_array__(self) -> jax.Array:
        return jnp.asarray(self.value)

    # --- entries ---

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, entry: Any) -> bool:
        return bool(apply(np.any, (self == entry,), {}))

    def __getitem__(self, index: Any) -> Any:
        index = plain_index(index)
        if _is_mask(index):
            return _selected(self.value, index)
        value = self.value[index]
        if any(is_traced(part) for part in _parts(index)):
            return Array(value, is_number=not value.shape)
        where = self.positions[index]
        if not isinstance(where, np.ndarray):
            return value if isinstance(value, np.generic) else Array(value, is_number=True)
        if np.may_share_memory(where, self._buffer.positions):
            return Array(value, self._buffer, where)
        return Array(value)

    def __setitem__(self, index: Any, new: Any) -> None:
        if self._is_number:
            raise TypeError(f"'{self.dtype}' object does not support item assignment")
        index = plain_index(index)
        if _is_mask(index):
            self._write(_merged(self, index, new))
        elif any(is_traced(part) for part in _parts(index)):
            new = raw(new)
            _require_distinct(index, new)
            self._write(jnp.asarray(self.value).at[index].set(_fitted(new, self.dtype)))
        else:
            where = np.asarray(self.positions[index])
            is_own = isinstance(new, Array) and new._buffer is self._buffer
            if is_own and np.array_equal(new.positions, where):
                return  # the second half of a[i] += b, where a[i] is a view
            self._put(where, raw(new), index if self._positions is None else None)

    def _put(self, where: np.ndarray, new: Any, index: Any = None) -> None:
        """Write into the buffer at these positions; `index` says the same of the whole buffer."""
        whole = self._buffer.value
        new = _fitted(new, self.dtype)
        new = new.reshape(new.shape[max(0, new.ndim - where.ndim) :]) if new.ndim else new
        if not is_traced(new) and not is_traced(whole):
            whole = whole.copy()
            whole.reshape(-1)[where] = new
        elif index is not None and all(_is_basic(part) for part in _parts(index)):
            whole = jnp.asarray(whole).at[index].set(new)
        else:
            new, where = jnp.broadcast_to(new, where.shape).reshape(-1), where.reshape(-1)
            last = len(where) - 1 - np.unique(where[::-1], return_index=True)[1]
            if len(last) < len(where):  # written twice: the last one stays
                new, where = new[last], where[last]
            flat = jnp.asarray(whole).reshape(-1).at[where].set(new, unique_indices=True)
            whole = flat.reshape(whole.shape)
        self._buffer.write(whole)

    def _write(self, new: Any) -> None:
        """Write a whole new value, of the same shape."""
        if not self.positions.flags.writeable:
            raise ValueError("assignment destination is read-only")
        if self._positions is None:
            self._buffer.write(new)
        else:
            self._put(self._positions, new)

    def __rmul__(self, other: Any) -> Any:
        """As NumPy's, whose whole numbers repeat a list."""
        if self._is_number and self.dtype.kind in "iu" and isinstance(other, list | tuple):
            return other * self.__index__()
        return super().__rmul__(other)

    # --- functions ---

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return apply(function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in BY_FUNCTION:
            return lambda *args, **kwargs: apply(getattr(np, name), (self, *args), kwargs)
        if not name.startswith("_") and not isinstance(self.value, jax.core.Tracer):
            return getattr(np.asarray(self.value), name)
        raise AttributeError(f"an array that is followed has no attribute {name!r}")

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """As NumPy's."""
        new = kwargs.pop("shape", shape[0] if len(shape) == 1 else shape)
        return apply(np.reshape, (self, _known_shape(new)), kwargs)

    def transpose(self, *axes: Any) -> Any:
        """As NumPy's."""
        order = axes[0] if len(axes) == 1 else axes or None
        return apply(np.transpose, (self, order), {})

    def flatten(self, order: str = "C") -> "Array":
        """As NumPy's: a copy."""
        return apply(np.ravel, (self.copy(), order), {})

    def copy(self, *unused: Any, **named: Any) -> "Array":
        """As NumPy's."""
        return Array(self.value, is_number=self._is_number)

    __copy__ = __deepcopy__ = copy

    def astype(self, dtype: Any, *args: Any, copy: bool = True, **kwargs: Any) -> Any:
        """As NumPy's."""
        dtype = np.dtype(raw(dtype))
        if not copy and dtype == self.dtype:
            return self
        new = cast(self.value, dtype) if is_traced(self.value) else self.value.astype(dtype)
        return Array(new, is_number=self._is_number)

    def fill(self, number: Any) -> None:
        """As NumPy's."""
        self[...] = number

    def sort(self, axis: int = -1, **kwargs: Any) -> None:
        """As NumPy's: in place."""
        self[...] = apply(np.sort, (self, axis), {})

    def item(self, *index: Any) -> Any:
        """As NumPy's; what depends on the arguments stays what it is."""
        chosen = self.flat[index[0] if index else 0] if len(index) < 2 else self[index]
        if not index and self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return chosen if isinstance(chosen, Array) else chosen.item()

    def tolist(self) -> Any:
        """As NumPy's, with numbers that depend on the arguments as they are."""
        if not is_traced(self.value):
            return self.value.tolist()
        return [entry.tolist() for entry in self] if self.shape else self[()]


BRANCH = "a branch on a number that depends on the arguments"
WHERE = "write np.where(condition, a, b), or np.maximum and its like"
KEEP = "leave it the number of NumPy that it is"
KNOWN_TO = "use functions of np, math, scipy.special and scipy.linalg alone on it"
INDEX = "let no count, index or shape depend on the arguments, except by np.take_along_axis"


class _KindOfFloat(type):
    """What isinstance asks."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, float)


class Float(float, metaclass=_KindOfFloat):
    """Stands for Python's `float`: a number that depends on the arguments stays what it is."""

    def __new__(cls, value: Any = 0.0) -> Any:
        """The number itself where it is followed, else a float."""
        if isinstance(value, jax.core.Tracer):
            value = Array(value, is_number=True)
        if type(value) is Array and is_traced(value.value):
            return Array(cast(value.value.reshape(()), np.float64), is_number=True)
        return float(value)


# --- indices --------------------------------------------------------------------------------------


def raw(value: Any) -> Any:
    """The array of NumPy or of JAX behind an `Array`, a list of them too."""
    if isinstance(value, MaskedEntries):
        raise Unfollowed("a selection by a mask that depends on the arguments", MASK)
    if type(value) is Array:
        return value.value
    if isinstance(value, list | tuple) and _holds_arrays(value):
        parts = [raw(entry) for entry in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: raw(entry) for key, entry in value.items()}
    return float if value is Float else value


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_arrays, value))
    return type(value) in (Array, MaskedEntries)


def plain_index(index: Any) -> Any:
    """An index as NumPy and JAX both take it: lists as arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(part) for part in index)
    if isinstance(index, slice):
        return slice(*(None if end is None else end.__index__()
                       for end in (index.start, index.stop, index.step)))  # fmt: skip
    if isinstance(index, list | range):
        index = joined(raw(list(index)))
        return index if is_traced(index) else np.asarray(index, None if len(index) else int)
    return raw(index)


def _parts(index: Any) -> tuple:
    return index if isinstance(index, tuple) else (index,)


def _is_mask(index: Any) -> bool:
    """Whether an index is one mask whose entries are not known."""
    unknown = [part for part in _parts(index) if isinstance(part, jax.core.Tracer)]
    if not any(part.dtype == bool for part in unknown):
        return False
    if len(_parts(index)) > 1:
        raise Unfollowed("a mask that depends on the arguments, among other indices", MASK)
    return True


def _is_basic(part: Any) -> bool:
    return part is None or part is Ellipsis or isinstance(part, slice | int | np.integer)


MASK = "write np.where(mask, a, b) over the whole array"


def _require_distinct(index: Any, new: Any) -> None:
    """Raise Unfollowed where different numbers may be written to one place in unknown order."""
    counted = [part for part in _parts(index) if np.ndim(part)]
    if np.ndim(new) == 0 or not counted:
        return
    size = int(np.prod(np.broadcast_shapes(*(np.shape(part) for part in counted))))
    if not any(not is_traced(part) and len(np.unique(part)) == size for part in counted):
        raise Unfollowed(
            "numbers written to places that depend on the arguments, and may be the same",
            "use np.add.at, or one place for each row: a[np.arange(n), labels] = ...",
        )


def _fitted(new: Any, dtype: np.dtype) -> Any:
    """What is written, in the dtype of the array that it is written into."""
    new = joined(new)
    return cast(new, dtype) if is_traced(new) else np.asarray(new).astype(dtype)


def _known_shape(shape: Any) -> Any:
    if isinstance(shape, tuple | list):
        return tuple(size.__index__() for size in shape)
    return shape.__index__()


# --- masks that depend on the arguments -----------------------------------------------------------


def _over(mask: Any, value: Any) -> Any:
    """The mask with axes of 1 added, to be held against a value that has more axes."""
    return mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim))


class MaskedEntries(Array):
    """`array[mask]` where the mask depends on the arguments: all entries, and which are meant."""

    def __init__(self, value: Any, mask: Any):
        super().__init__(value)
        self.mask = mask

    @property
    def count(self) -> Any:
        """How many rows are meant."""
        return jnp.sum(self.mask)

    def __len__(self) -> int:
        raise Unfollowed("the length of a selection that depends on the arguments", MASK)

    shape = size = property(__len__)

    def __iter__(self) -> Iterator[Any]:
        raise Unfollowed("a loop over a selection that depends on the arguments", MASK)

    def __getitem__(self, index: Any) -> Any:
        raise Unfollowed("an entry of a selection that depends on the arguments", MASK)

    __setitem__ = __getitem__  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name in ("sum", "mean", "any", "all"):
            return lambda *args, **kwargs: self._reduced(name, *args, **kwargs)
        raise Unfollowed(f".{name} of a selection that depends on the arguments", MASK)

    def _reduced(self, name: str, axis: Any = None, **kwargs: Any) -> Array:
        """A sum, a mean, any or all of the entries that are meant."""
        if kwargs or not (axis is None or (axis == 0 and self.mask.ndim == 1)):
            raise Unfollowed(f"{name} of a selection, along another axis than the first", MASK)
        whole, meant = self._buffer.value, _over(self.mask, self._buffer.value)
        if name in ("any", "all"):
            rest = jnp.asarray(name == "all")
            return _wrapped(getattr(jnp, name)(jnp.where(meant, whole != 0, rest), axis=axis))
        total = jnp.sum(jnp.where(meant, whole, jnp.zeros((), whole.dtype)), axis=axis)
        if name == "mean":
            each = 1 if axis == 0 else int(np.prod(whole.shape[self.mask.ndim :], dtype=int))
            return _wrapped(total / (self.count * each).astype(total.dtype))
        return _wrapped(total)


def _selected(value: Any, mask: Any) -> MaskedEntries:
    """The entries of an array where a mask holds."""
    if mask.shape != value.shape[: mask.ndim]:
        raise IndexError("boolean index did not match indexed array")
    return MaskedEntries(jnp.asarray(_hidden(_over(mask, value), value)), mask)


def _merged(array: Array, mask: Any, new: Any) -> Any:
    """The array with `new` where the mask holds."""
    value = jnp.asarray(array.value)
    if isinstance(new, MaskedEntries):
        if new.mask is not mask:
            raise Unfollowed("a selection written through another mask than its own", MASK)
        new = new._buffer.value
    else:
        new = raw(new)
        if np.ndim(new) and np.shape(new) != value.shape[mask.ndim :]:
            raise Unfollowed("a row of numbers written through a mask", MASK)
    return jnp.where(_over(mask, value), _fitted(new, array.dtype), value)


def _of_selections(ufunc: np.ufunc, inputs: Sequence[Any]) -> MaskedEntries:
    """A ufunc of selections by one mask, and of numbers."""
    masks = [entry.mask for entry in inputs if isinstance(entry, MaskedEntries)]
    whole = []
    for entry in inputs:
        if isinstance(entry, MaskedEntries):
            if entry.mask is not masks[0]:
                raise Unfollowed("selections by different masks, taken together", MASK)
            whole.append(entry._buffer.value)
        elif np.ndim(raw(entry)) == 0:
            whole.append(raw(entry))
        else:
            raise Unfollowed("a selection that depends on the arguments, with an array", MASK)
    return MaskedEntries(elementwise(ufunc, whole), masks[0])


# --- functions of NumPy ---------------------------------------------------------------------------


def _wrapped(answer: Any) -> Any:
    """What a function returned, with arrays as `Array`; NumPy's numbers stay as they are."""
    if isinstance(answer, jax.core.Tracer):
        return Array(answer, is_number=not answer.shape)
    if isinstance(answer, jax.Array):  # known: a comparison under jax.grad alone, for example
        answer = np.asarray(answer)
        return Array(answer) if answer.shape else answer[()]
    if type(answer) is np.ndarray:
        return Array(answer)
    if isinstance(answer, list | tuple):
        parts = [_wrapped(entry) for entry in answer]
        return type(answer)(*parts) if hasattr(answer, "_fields") else type(answer)(parts)
    return answer


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict) -> Any:
    """A ufunc, or a method of one, at arrays some of which may be followed."""
    if method == "at":
        return _combine_at(ufunc, *inputs)
    inputs = [_wrapped(joined(raw(x))) if isinstance(x, list | tuple) else x for x in inputs]
    out = kwargs.pop("out", None)
    out = out[0] if isinstance(out, tuple) else out
    if any(isinstance(entry, MaskedEntries) for entry in inputs):
        if method != "__call__" or kwargs:
            raise Unfollowed(f"np.{ufunc.__name__}.{method} of a selection", MASK)
        chosen = _of_selections(ufunc, inputs)
        if not isinstance(out, MaskedEntries):
            return chosen
        out._buffer.write(chosen._buffer.value)
        return out
    if method == "reduce" and ufunc.__name__ in REDUCTIONS:
        axis = kwargs.pop("axis", inputs[1] if len(inputs) > 1 else 0)
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        named = getattr(np, REDUCTIONS[ufunc.__name__])
        answer = apply(named, (inputs[0],), {"axis": axis, **kwargs})
    else:
        answer = _wrapped(_computed_ufunc(ufunc, method, inputs, kwargs, out))
    return answer if out is None else _into(out, answer)


def _computed_ufunc(
    ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict, out: Any
) -> Any:
    values, kwargs = [raw(entry) for entry in inputs], raw(kwargs)
    mask = kwargs.pop("where", True)
    if not any(map(any_traced, [*values, mask])):
        if mask is not True:
            kwargs["where"] = mask
            kwargs["out"] = None if out is None else np.array(raw(out))
        return getattr(ufunc, method)(*values, **kwargs)
    if method == "accumulate" and ufunc.__name__ in ACCUMULATIONS:
        axis = kwargs.pop("axis", values[1] if len(values) > 1 else 0)
        return computed(getattr(np, ACCUMULATIONS[ufunc.__name__]), [values[0], axis], kwargs)
    if method == "outer":
        first, second = map(jnp.asarray, values)
        values = [first.reshape(first.shape + (1,) * second.ndim), second]
    elif method != "__call__":
        raise Unfollowed(f"np.{ufunc.__name__}.{method}", "write it with np.sum or np.cumsum")
    dtype = kwargs.pop("dtype", None)
    if set(kwargs) - {"casting", "order", "subok"}:
        raise Unfollowed(f"np.{ufunc.__name__} with {', '.join(kwargs)}", "leave that out")
    if mask is True:
        return elementwise(ufunc, values, dtype)
    safe = [_hidden(mask, value) for value in values]
    answer = elementwise(ufunc, safe, dtype)
    if out is None:
        raise Unfollowed("where= without out=: the rest has no value", "pass out=")
    return jnp.where(mask, answer, jnp.asarray(raw(out)).astype(answer.dtype))


def _hidden(mask: Any, value: Any) -> Any:
    """A value with something harmless where the mask does not hold."""
    value = jnp.asarray(value) if not isinstance(value, int | float) else value
    if not np.issubdtype(np.asarray(0, getattr(value, "dtype", type(value))).dtype, np.inexact):
        return value
    return jnp.where(mask, value, jnp.asarray(HARMLESS, getattr(value, "dtype", None)))


def _into(out: Any, answer: Any) -> Any:
    """Write an answer into `out`, as NumPy does under its rule of casting."""
    if not isinstance(out, Array) and not any_traced(raw(answer)):
        out[...] = raw(answer)
        return out
    if _require(out)._is_number:
        return answer
    kind = np.asarray(raw(answer)).dtype if not any_traced(raw(answer)) else answer.dtype
    if not np.can_cast(kind, out.dtype, "same_kind"):
        raise TypeError(f"Cannot cast output from {kind} to {out.dtype}, casting 'same_kind'")
    out[...] = answer
    return out


def _combine_at(ufunc: np.ufunc, array: Any, index: Any, new: Any = None) -> None:
    """`np.add.at` and its like: entries named twice are changed twice."""
    index, new, value = plain_index(index), raw(new), _require(array).value
    if not any(map(any_traced, [value, new, index])):
        changed = value.copy()
        ufunc.at(changed, index, *([] if new is None else [new]))
        array._write(changed)
        return
    if ufunc.__name__ not in COMBINED_AT or new is None or _is_mask(index):
        raise Unfollowed(f"np.{ufunc.__name__}.at", "use np.add.at")
    places = jnp.asarray(value).at[index]
    array._write(getattr(places, COMBINED_AT[ufunc.__name__])(_fitted(new, array.dtype)))


def apply(function: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function of NumPy, SciPy or `math` at arguments some of which may be followed."""
    name = getattr(function, "__name__", str(function))
    if name in IN_PLACE:
        return IN_PLACE[name](*args, **kwargs)
    if isinstance(function, np.ufunc):
        return apply_ufunc(function, "__call__", args, dict(kwargs))
    chosen = next((entry for entry in args if isinstance(entry, MaskedEntries)), None)
    if chosen is not None:
        if name in ("sum", "mean", "any", "all") and args[0] is chosen:
            return chosen._reduced(name, *args[1:], **kwargs)
        if name not in OF_SHAPE_ALONE or name == "size":
            raise Unfollowed(f"np.{name} of a selection that depends on the arguments", MASK)
    args = [float if arg is Float else arg for arg in args]
    kwargs = {key: float if value is Float else value for key, value in kwargs.items()}
    out = kwargs.pop("out", None)
    if name in CREATED and (kwargs.get("like") is None):
        return CREATED[name](*args, **kwargs)
    if name in VIEWS and isinstance(args[0], Array):
        return _views(function, args, kwargs)
    if name in OF_SHAPE_ALONE:
        return _of_shapes(function, args, kwargs)
    values, named = [raw(arg) for arg in args], raw(kwargs)
    if any(map(any_traced, [*values, named])):
        answer = computed(function, values, named)
    else:
        answer = function(*values, **named)
    return _wrapped(answer) if out is None else _into(out, _wrapped(answer))


def _views(function: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function that moves entries: views of the array wherever NumPy gives views."""
    array, rest, kwargs = args[0], [raw(arg) for arg in args[1:]], raw(kwargs)
    if function.__name__.startswith("atleast") and rest:
        return tuple(_views(function, [arg], {}) for arg in args)
    known = not is_traced(array.value)
    match = function if known else equivalent(function)

    def view(where: Any, value: Any = None) -> Any:
        if isinstance(where, list | tuple):
            return type(where)(view(part) for part in where)
        if value is None:
            value = array._buffer.value.reshape(-1)[where]
        if np.may_share_memory(where, array._buffer.positions):
            return Array(value, array._buffer, where)
        return Array(value)

    where = function(array.positions, *rest, **kwargs)
    if match is None or isinstance(where, list | tuple):
        return view(where)
    return view(where, match(array.value, *rest, **kwargs))


def _of_shapes(function: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function that asks for no number: zeros in the place of those not known."""
    name = function.__name__

    def blank(value: Any) -> Any:
        value = raw(value)
        return np.zeros(value.shape, value.dtype) if is_traced(value) else value

    if name == "full_like" and is_traced(raw(args[1])):
        return Array(jnp.full_like(raw(args[0]), raw(args[1]), **kwargs))
    answer = function(*map(blank, args), **{key: blank(value) for key, value in kwargs.items()})
    return _wrapped(_unset(answer) if name == "empty_like" else answer)


def _unset(array: np.ndarray) -> np.ndarray:
    """An empty array that shows it if nobody writes into it."""
    return np.full_like(array, np.nan if np.issubdtype(array.dtype, np.inexact) else 0)


def _array(
    entries: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **rest: Any
) -> Any:
    """`np.array`."""
    value = joined(raw(entries))
    if not any_traced(value):
        return Array(np.array(value, dtype, ndmin=ndmin))
    value = value if dtype is None else cast(value, np.dtype(dtype))
    return Array(value.reshape((1,) * (ndmin - value.ndim) + value.shape))


def _asarray(entries: Any, dtype: Any = None, *rest: Any, **kwargs: Any) -> Any:
    """`np.asarray`: an array as it is, unless its dtype has to be another."""
    same = isinstance(entries, Array) and (dtype is None or np.dtype(dtype) == entries.dtype)
    return entries if same and not entries._is_number else _array(entries, dtype)


def _copy(a: Any, *args: Any, **kwargs: Any) -> Any:
    return _array(a)


def _full(shape: Any, fill_value: Any, dtype: Any = None, **rest: Any) -> Any:
    number = raw(fill_value)
    if not any_traced(number):
        return Array(np.full(_known_shape(shape), number, dtype))
    filled = jnp.full(_known_shape(shape), joined(number))
    return Array(filled if dtype is None else cast(filled, np.dtype(dtype)))


def _empty(shape: Any, dtype: Any = float, *args: Any, **kwargs: Any) -> Any:
    return Array(_unset(np.empty(_known_shape(shape), dtype)))


CREATED: dict[str, Callable] = {
    "array": _array, "asarray": _asarray, "asanyarray": _asarray, "ascontiguousarray": _asarray,
    "asfarray": _asarray, "asfortranarray": _asarray, "copy": _copy, "full": _full,
    "empty": _empty, "asarray_chkfinite": _asarray,
}  # fmt: skip


# --- functions that write into an argument --------------------------------------------------------


def _require(array: Any) -> Array:
    if isinstance(array, Array):
        return array
    raise Unfollowed(
        "numbers written into an array made outside the function",
        "make the array by np.zeros_like or np.zeros inside it",
    )


def _put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    array, places = _require(arr), raw(indices)
    grid: list[Any] = list(np.ogrid[tuple(slice(size) for size in np.shape(places))])
    grid[axis] = places
    array[tuple(grid)] = values


def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    array = _require(a)
    step = sum(np.cumprod((1, *array.shape[:0:-1]))) if array.ndim > 1 else 1
    end = array.shape[1] ** 2 if array.ndim == 2 and not wrap else None
    array.flat[slice(None, end, int(step))] = val


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    array = _require(dst)
    array[...] = src if where is True else apply(np.where, (where, src, array), {})


def _putmask(a: Any, mask: Any, values: Any) -> None:
    _require(a)[mask] = values


def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    _require(a).flat[ind] = v


IN_PLACE: dict[str, Callable] = {
    "put_along_axis": _put_along_axis, "fill_diagonal": _fill_diagonal, "copyto": _copyto,
    "putmask": _putmask, "place": _putmask, "put": _put,
}  # fmt: skip
