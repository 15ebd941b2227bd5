"""The operations that PyTorch's functions are made of (ATen), in `jax.numpy`.

`RULES` has one for each name of an operation, without its overload: `rule(out, *args, **kwargs)`,
where `out` is the shape and dtype of the result and the arguments are those of ATen's schema,
tensors as JAX arrays. What PyTorch itself can decompose into others has no rule here.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special

HIGHEST = lax.Precision.HIGHEST
"""Of products of matrices: PyTorch has no faster, coarser one unless it is asked for."""

Rule = Callable[..., Any]


def _elementwise(function: Rule) -> Rule:
    """A rule that takes its operands in the dtype of its result, unless that is bool."""

    def rule(out: Any, *args: Any, **kwargs: Any) -> Any:
        if jnp.issubdtype(out.dtype, jnp.floating):
            args = tuple(a.astype(out.dtype) if isinstance(a, jax.Array) else a for a in args)
        return function(*args, **kwargs)

    return rule


def _like(function: Rule) -> Rule:
    """A rule that needs nothing of its result."""
    return lambda out, *args, **kwargs: function(*args, **kwargs)


def _reshape(out: Any, a: Any, *unused: Any) -> Any:
    return a.reshape(out.shape)


def _same(out: Any, a: Any, **unused: Any) -> Any:
    return a


def _constant(value: Any) -> Rule:
    return lambda out, *args, **kwargs: jnp.full(out.shape, value, out.dtype)


def _arange(out: Any, start: float, end: Any = None, step: float = 1, **unused: Any) -> Any:
    start, end = (0, start) if end is None else (start, end)
    return jnp.arange(start, end, step, dtype=out.dtype)


# --- elementwise ----------------------------------------------------------------------------------


def _add(a: Any, b: Any, alpha: float = 1) -> Any:
    return a + (b if alpha == 1 else alpha * b)


def _sub(a: Any, b: Any, alpha: float = 1) -> Any:
    return a - (b if alpha == 1 else alpha * b)


def _div(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return jnp.floor_divide(a, b)
    return jnp.trunc(a / b) if rounding_mode == "trunc" else a / b


def _pow(a: Any, b: Any) -> Any:
    whole = isinstance(b, float) and b.is_integer()
    return jnp.power(a, int(b) if whole else b)


def _clamp(a: Any, low: Any = None, high: Any = None, **names: Any) -> Any:
    low, high = names.get("min", low), names.get("max", high)
    a = a if low is None else jnp.maximum(a, low)
    return a if high is None else jnp.minimum(a, high)


def _gelu(a: Any, approximate: str = "none") -> Any:
    return jax.nn.gelu(a, approximate=approximate == "tanh")


def _softplus(a: Any, beta: float = 1, threshold: float = 20) -> Any:
    return jnp.where(a * beta > threshold, a, jnp.log1p(jnp.exp(a * beta)) / beta)


def _elu(a: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    negative = alpha * jnp.expm1(jnp.where(a > 0, 0, a * input_scale))
    return scale * jnp.where(a > 0, a, negative)


def _leaky_relu(a: Any, slope: float = 0.01) -> Any:
    return jnp.where(a > 0, a, a * slope)


# --- reductions -----------------------------------------------------------------------------------


def _axes(dim: Any) -> Any:
    """The axes of a reduction; PyTorch has [] for all of them."""
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) or None


def _reduction(function: Rule) -> Rule:
    def rule(out: Any, a: Any, dim: Any = None, keepdim: bool = False, **unused: Any) -> Any:
        a = a if out.dtype == bool else a.astype(out.dtype)
        return function(a, axis=_axes(dim), keepdims=keepdim)

    return rule


def _by_axis(function: Rule) -> Rule:
    """A function of JAX by PyTorch's names of its arguments."""
    return lambda a, dim=None, keepdim=False: function(a, axis=dim, keepdims=keepdim)


def _extreme(values: Rule, positions: Rule) -> Rule:
    """max and min: of everything; or along an axis, with the positions."""

    def rule(a: Any, dim: Any = None, keepdim: bool = False) -> Any:
        named = {"axis": dim, "keepdims": keepdim}
        return values(a) if dim is None else (values(a, **named), positions(a, **named))

    return rule


def _vector_norm(a: Any, order: float = 2, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is None:
        a, dim = a.reshape(-1), 0
    return jnp.linalg.norm(a, order, axis=_axes(dim), keepdims=keepdim)


def _var(a: Any, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Any:
    freedom = 1 if correction is None else correction
    return jnp.var(a, axis=_axes(dim), ddof=freedom, keepdims=keepdim)


def _var_mean(out: Any, a: Any, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Any:
    return _var(a, dim, correction, keepdim), jnp.mean(a, axis=_axes(dim), keepdims=keepdim)


def _cumulative(function: Rule) -> Rule:
    def rule(out: Any, a: Any, dim: int, dtype: Any = None) -> Any:
        return function(a.astype(out.dtype), axis=dim) if a.ndim else a

    return rule


def _sort(out: Any, a: Any, *args: Any, **names: Any) -> Any:
    if args and isinstance(args[0], bool):  # the overload with `stable` comes first
        args = args[1:]
    dim, descending = (*args, -1, False)[:2] if not names else (
        names.get("dim", args[0] if args else -1), names.get("descending", False),
    )  # fmt: skip
    order = jnp.argsort(a, axis=dim, stable=True, descending=descending)
    return jnp.take_along_axis(a, order, axis=dim), order


def _topk(out: Any, a: Any, k: int, dim: int = -1, largest: bool = True, in_order: Any = 1) -> Any:
    order = jnp.argsort(a, axis=dim, stable=True, descending=largest)
    order = lax.slice_in_dim(order, 0, k, axis=dim)
    return jnp.take_along_axis(a, order, axis=dim), order


# --- indices --------------------------------------------------------------------------------------


def _along(a: Any, dim: int, index: Any) -> tuple:
    """An index, a slice or an array of them in one axis, and everything in the others."""
    return (slice(None),) * (dim % a.ndim) + (index,)


def _slice(a: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return a[_along(a, dim, slice(start, end, step))]


def _slice_scatter(
    a: Any, source: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    return a.at[_along(a, dim, slice(start, end, step))].set(source.astype(a.dtype))


def _select(a: Any, dim: int, index: int) -> Any:
    return lax.index_in_dim(a, index, dim, keepdims=False)


def _select_scatter(a: Any, source: Any, dim: int, index: int) -> Any:
    return a.at[_along(a, dim, index)].set(source.astype(a.dtype))


def _diagonal_scatter(a: Any, source: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    front = jnp.moveaxis(a, (dim1, dim2), (-2, -1))
    along = np.arange(source.shape[-1])
    rows, columns = along + max(0, -offset), along + max(0, offset)
    front = front.at[..., rows, columns].set(source.astype(a.dtype))
    return jnp.moveaxis(front, (-2, -1), (dim1, dim2))


def _split(a: Any, sizes: Any, dim: int = 0) -> list:
    return jnp.split(a, np.cumsum(sizes)[:-1].tolist(), axis=dim)


def _unbind(a: Any, dim: int = 0) -> list:
    return [_select(a, dim, i) for i in range(a.shape[dim])]


def _index(a: Any, indices: Any) -> Any:
    return a[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(a: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    values = values.astype(a.dtype)
    if any(index is not None and index.dtype == bool for index in indices):
        if len(indices) > 1 or values.ndim or accumulate:
            raise NotImplementedError("other than one number put where a mask holds")
        mask = indices[0].reshape(indices[0].shape + (1,) * (a.ndim - indices[0].ndim))
        return jnp.where(mask, values, a)
    place = a.at[tuple(slice(None) if index is None else index for index in indices)]
    return place.add(values) if accumulate else place.set(values)


def _places(index: Any, dim: int) -> tuple:
    """For each entry of `index` its place in all axes, `dim` being what it says."""
    grid = jnp.meshgrid(*(jnp.arange(n, dtype=index.dtype) for n in index.shape), indexing="ij")
    return tuple(index if axis == dim % index.ndim else at for axis, at in enumerate(grid))


def _gather(a: Any, dim: int, index: Any, **unused: Any) -> Any:
    if index.ndim == 0:
        return a.reshape(1)[index]
    inside = [slice(n) for n in index.shape]
    inside[dim] = slice(None)
    return jnp.take_along_axis(a[tuple(inside)], index, axis=dim)


def _scatter(how: str) -> Rule:
    def rule(a: Any, dim: int, index: Any, source: Any, reduce: Any = None, **names: Any) -> Any:
        if not names.get("include_self", True):
            raise NotImplementedError("include_self=False")
        source = jnp.asarray(source, a.dtype)
        if source.ndim:
            source = source[tuple(slice(n) for n in index.shape)]
        kind = {None: how, "sum": "add", "prod": "multiply", "amax": "max", "amin": "min"}
        return getattr(a.at[_places(index, dim)], kind.get(reduce, reduce))(source)

    return rule


def _embedding(weight: Any, indices: Any, *unused: Any) -> Any:
    return weight[indices]


def _index_add(a: Any, dim: int, index: Any, source: Any, alpha: float = 1) -> Any:
    return a.at[_along(a, dim, index)].add(_add(jnp.zeros_like(source), source, alpha))


# --- layers ---------------------------------------------------------------------------------------


def _matmul(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=HIGHEST)


def _addmm(out: Any, added: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
    product = _matmul(a, b)
    product = product if alpha == 1 else alpha * product
    return product + (added if beta == 1 else beta * added)


def _layer_norm(a: Any, shape: Any, weight: Any, bias: Any, eps: float) -> tuple:
    axes = tuple(range(a.ndim - len(shape), a.ndim))
    mean = jnp.mean(a, axis=axes, keepdims=True)
    scale = lax.rsqrt(jnp.var(a, axis=axes, keepdims=True) + eps)
    normal = (a - mean) * scale
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias, mean, scale


def _group_norm(
    a: Any, weight: Any, bias: Any, n: int, c: int, rest: int, groups: int, eps: float
) -> tuple:
    grouped = a.reshape(n, groups, -1)
    normal, mean, scale = _layer_norm(grouped, grouped.shape[2:], None, None, eps)
    normal = normal.reshape(a.shape)
    channels = (1, c) + (1,) * (a.ndim - 2)
    normal = normal if weight is None else normal * weight.reshape(channels)
    normal = normal if bias is None else normal + bias.reshape(channels)
    return normal, mean[..., 0], scale[..., 0]


def _convolution(
    a: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    axes = a.ndim - 2
    pads = [(p, p) for p in padding]
    if transposed:  # the transpose of a convolution: kernel flipped, its two channel axes swapped
        inputs, outputs, *size = weight.shape
        weight = weight.reshape(groups, inputs // groups, outputs, *size).swapaxes(1, 2)
        weight = jnp.flip(
            weight.reshape(groups * outputs, inputs // groups, *size), range(2, 2 + axes)
        )
        reach = [d * (n - 1) for d, n in zip(dilation, size, strict=True)]
        pads = [
            (r - p, r - p + more) for r, p, more in zip(reach, padding, output_padding, strict=True)
        ]
    found = lax.conv_general_dilated(
        a, weight,
        window_strides=(1,) * axes if transposed else stride,
        padding=pads,
        lhs_dilation=stride if transposed else None,
        rhs_dilation=dilation,
        feature_group_count=groups,
        precision=HIGHEST,
    )  # fmt: skip
    return found if bias is None else found + bias.reshape(-1, *(1,) * axes)


def _windows(a: Any, out: Any, size: Any, stride: Any, padding: Any, dilation: Any = 1) -> dict:
    """What `lax.reduce_window` takes for the windows that give the shape of `out`."""
    axes = len(size)
    every = [list(v) * (axes // len(v)) if isinstance(v, list | tuple) else [v] * axes
             for v in (stride or size, padding, dilation)]  # fmt: skip
    shape = zip(a.shape[-axes:], out.shape[-axes:], size, *every, strict=True)
    # A window that begins inside may end outside (ceil_mode).
    pads = [(p, max((o - 1) * s + (k - 1) * d + 1 - n - p, 0)) for n, o, k, s, p, d in shape]
    front = (1,) * (a.ndim - axes)
    return {
        "window_dimensions": (*front, *size),
        "window_strides": (*front, *every[0]),
        "padding": ((0, 0),) * len(front) + tuple(pads),
        "window_dilation": (*front, *every[2]),
    }


def _max_pool(
    out: Any, a: Any, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple:  # fmt: skip
    windows = _windows(a, out[0], size, stride, padding, dilation)
    return lax.reduce_window(a, np.array(-np.inf, a.dtype), lax.max, **windows), None


def _avg_pool(
    out: Any, a: Any, size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor: int | None = None,
) -> Any:  # fmt: skip
    if ceil_mode:
        raise NotImplementedError("ceil_mode=True")
    windows = _windows(a, out, size, stride, padding)
    total = lax.reduce_window(a, np.array(0, a.dtype), lax.add, **windows)
    if divisor or count_include_pad:
        return total / (divisor or int(np.prod(size)))
    count = lax.reduce_window(jnp.ones_like(a), np.array(0, a.dtype), lax.add, **windows)
    return total / count


def _pad(a: Any, pad: Any, value: float = 0) -> Any:
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    config = [(0, 0, 0)] * (a.ndim - len(pairs)) + [(*pair, 0) for pair in reversed(pairs)]
    return lax.pad(a, jnp.asarray(value, a.dtype), config)


def _cdist(a: Any, b: Any, p: float = 2, *unused: Any) -> Any:
    difference = jnp.abs(a[..., :, None, :] - b[..., None, :, :])
    if p == 2:
        return jnp.sqrt(jnp.sum(jnp.square(difference), -1))
    if p in (1, float("inf")):
        return jnp.sum(difference, -1) if p == 1 else jnp.max(difference, -1)
    return jnp.sum(difference**p, -1) ** (1 / p)


def _multilabel_margin(a: Any, labels: Any, reduction: int) -> tuple:
    """Of the labels before the first −1: PyTorch's own decomposition takes −1 for a label 0."""
    shape = labels.shape
    z, y = jnp.atleast_2d(a), jnp.atleast_2d(labels)
    kept = jnp.cumprod(y != -1, axis=1).astype(bool)
    own = jnp.take_along_axis(z, jnp.where(kept, y, 0), axis=1)
    is_label = jnp.any(kept[:, :, None] & (y[:, :, None] == jnp.arange(z.shape[1])), axis=1)
    gaps = jax.nn.relu(1 - own[:, :, None] + z[:, None, :])
    gaps = jnp.where(kept[:, :, None] & ~is_label[:, None, :], gaps, 0)
    each = jnp.sum(gaps, axis=(1, 2)) / z.shape[1]
    total = each.reshape(shape[:-1]) if reduction == 0 else jnp.sum(each)
    return total / (len(z) if reduction == 1 else 1), is_label.reshape(shape)


# --- the table ------------------------------------------------------------------------------------

UNARY: dict[str, Rule] = {
    "abs": jnp.abs, "acos": jnp.arccos, "acosh": jnp.arccosh, "asin": jnp.arcsin,
    "asinh": jnp.arcsinh, "atan": jnp.arctan, "atanh": jnp.arctanh, "bitwise_not": jnp.invert,
    "ceil": jnp.ceil, "cos": jnp.cos, "cosh": jnp.cosh, "digamma": special.digamma,
    "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv, "exp": jnp.exp,
    "exp2": jnp.exp2, "expm1": jnp.expm1, "floor": jnp.floor, "isfinite": jnp.isfinite,
    "isinf": jnp.isinf, "isnan": jnp.isnan, "lgamma": special.gammaln, "log": jnp.log,
    "log10": jnp.log10, "log1p": jnp.log1p, "log2": jnp.log2, "logical_not": jnp.logical_not,
    "neg": jnp.negative, "reciprocal": jnp.reciprocal, "relu": jax.nn.relu, "round": jnp.round,
    "rsqrt": lax.rsqrt, "sgn": jnp.sign, "sigmoid": jax.nn.sigmoid, "sign": jnp.sign,
    "silu": jax.nn.silu, "sin": jnp.sin, "sinh": jnp.sinh, "special_entr": special.entr,
    "special_i0e": special.i0e, "special_i1e": special.i1e,
    "special_log_ndtr": special.log_ndtr, "special_ndtri": special.ndtri, "sqrt": jnp.sqrt,
    "square": jnp.square, "tan": jnp.tan, "tanh": jnp.tanh, "trunc": jnp.trunc,
}  # fmt: skip
if hasattr(special, "erfcx"):  # newer than the oldest JAX
    UNARY["special_erfcx"] = special.erfcx
BINARY: dict[str, Rule] = {
    "add": _add, "atan2": jnp.arctan2, "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or, "bitwise_xor": jnp.bitwise_xor, "clamp": _clamp, "div": _div,
    "elu": _elu, "eq": jnp.equal, "floor_divide": jnp.floor_divide, "fmax": jnp.fmax,
    "fmin": jnp.fmin, "fmod": jnp.fmod, "ge": jnp.greater_equal, "gelu": _gelu,
    "gt": jnp.greater, "hypot": jnp.hypot, "le": jnp.less_equal, "leaky_relu": _leaky_relu,
    "logaddexp": jnp.logaddexp, "logaddexp2": jnp.logaddexp2, "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or, "logical_xor": jnp.logical_xor, "lt": jnp.less,
    "maximum": jnp.maximum, "minimum": jnp.minimum, "mul": jnp.multiply, "ne": jnp.not_equal,
    "polygamma": special.polygamma, "pow": _pow, "remainder": jnp.remainder,
    "softplus": _softplus, "special_xlog1py": special.xlog1py, "special_zeta": special.zeta,
    "sub": _sub, "xlogy": special.xlogy,
}  # fmt: skip
OF_OPERANDS: dict[str, Rule] = {
    "_cdist_forward": _cdist, "_linalg_det": lambda a: (jnp.linalg.det(a), None, None),
    "_linalg_slogdet": lambda a: (*jnp.linalg.slogdet(a), None, None),
    "_linalg_solve_ex": lambda a, b, **unused: (jnp.linalg.solve(a, b), None, None, None),
    "_log_softmax": lambda a, dim, unused: jax.nn.log_softmax(a, axis=dim),
    "_softmax": lambda a, dim, unused: jax.nn.softmax(a, axis=dim),
    "argmax": _by_axis(jnp.argmax), "argmin": _by_axis(jnp.argmin),
    "bmm": _matmul, "constant_pad_nd": _pad, "convolution": _convolution,
    "cat": lambda arrays, dim=0: jnp.concatenate(
        [a for a in arrays if a.shape != (0,)] or arrays, axis=dim),
    "detach": lax.stop_gradient, "diagonal": jnp.diagonal, "diagonal_scatter": _diagonal_scatter,
    "dot": _matmul, "embedding": _embedding, "flip": jnp.flip, "gather": _gather, "index": _index,
    "index_add": _index_add, "index_put": _index_put,
    "index_select": lambda a, dim, index: jnp.take(a, index, axis=dim),
    "linalg_cholesky_ex": lambda a, **unused: (jnp.linalg.cholesky(a), None),
    "linalg_inv_ex": lambda a, **unused: (jnp.linalg.inv(a), None),
    "max": _extreme(jnp.max, jnp.argmax), "min": _extreme(jnp.min, jnp.argmin), "mm": _matmul,
    "multilabel_margin_loss_forward": _multilabel_margin, "mv": _matmul,
    "native_group_norm": _group_norm, "native_layer_norm": _layer_norm, "permute": jnp.transpose,
    "repeat": jnp.tile, "roll": lambda a, by, dims=(): jnp.roll(a, by, dims or None),
    "scatter": _scatter("set"), "scatter_add": _scatter("add"), "scatter_reduce": _scatter("set"),
    "select": _select, "select_scatter": _select_scatter, "slice": _slice,
    "slice_scatter": _slice_scatter, "split_with_sizes": _split,
    "stack": lambda arrays, dim=0: jnp.stack(arrays, axis=dim), "t": jnp.transpose,
    "transpose": jnp.swapaxes, "tril": jnp.tril, "triu": jnp.triu, "unbind": _unbind, "var": _var,
}  # fmt: skip
REDUCTIONS: dict[str, Rule] = {
    "all": jnp.all, "amax": jnp.max, "amin": jnp.min, "any": jnp.any, "mean": jnp.mean,
    "logsumexp": jax.nn.logsumexp, "prod": jnp.prod, "sum": jnp.sum,
}  # fmt: skip
RULES: dict[str, Rule] = {
    **{name: _elementwise(function) for name, function in (UNARY | BINARY).items()},
    **{name: _like(function) for name, function in OF_OPERANDS.items()},
    **{name: _reduction(function) for name, function in REDUCTIONS.items()},
    **dict.fromkeys(("_to_copy", "alias", "clone", "lift_fresh_copy"), _same),
    **dict.fromkeys(("_unsafe_view", "squeeze", "unsqueeze", "view"), _reshape),
    **dict.fromkeys(("empty", "empty_like", "zeros", "zeros_like"), _constant(0)),
    **dict.fromkeys(("ones", "ones_like"), _constant(1)),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), _avg_pool),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _max_pool),
    **dict.fromkeys(("addmm", "baddbmm"), _addmm),
    "arange": _arange,
    "copy": lambda out, a, source, *unused: jnp.broadcast_to(source, out.shape),
    "copy_": lambda out, a, source, *unused: source,  # into a constant, after all reads of it
    "cumprod": _cumulative(jnp.cumprod),
    "cumsum": _cumulative(jnp.cumsum),
    "expand": lambda out, a, *unused, **more: jnp.broadcast_to(a, out.shape),
    "fill": lambda out, a, value: jnp.broadcast_to(jnp.asarray(value, out.dtype), out.shape),
    "full": lambda out, size, value, **unused: jnp.full(out.shape, value, out.dtype),
    "full_like": lambda out, a, value, **unused: jnp.full(out.shape, value, out.dtype),
    "linalg_vector_norm": lambda out, a, *args, dtype=None: _vector_norm(
        a.astype(out.dtype), *args),
    "logcumsumexp": _cumulative(lambda a, axis: lax.cumlogsumexp(a, axis)),
    "scalar_tensor": lambda out, value, **unused: jnp.asarray(value, out.dtype),
    "sort": _sort,
    "topk": _topk,
    "var_mean": _var_mean,
    "where": lambda out, mask, a, b: jnp.where(
        mask, jnp.asarray(a, out.dtype), jnp.asarray(b, out.dtype)),
}  # fmt: skip
