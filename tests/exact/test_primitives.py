"""Data movement, indexing, control flow and linear algebra: the same entries as JAX's own.

Values and gradients are compared with JAX in float64, to 1e-11: the arithmetic is proved
elsewhere, here it is the places that could be wrong.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from handgrad._precision import x64
from handgrad.exact import evaluate

A = np.array([[0.5, -1.25, 2.0, 0.1], [3.0, 0.75, -0.5, 1.5], [-2.0, 0.25, 1.0, 4.0]])
M = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -0.25], [0.5, -0.25, 2.0]])
T = np.arange(24.0).reshape(2, 3, 4) / 7 - 1.3
V5 = np.array([0.3, -1.0, 2.5, 0.7, -0.2])
IMAGE = np.sin(np.arange(2 * 6 * 5 * 4, dtype=float)).reshape(2, 6, 5, 4)
KERNEL = np.cos(np.arange(3 * 2 * 2 * 6, dtype=float)).reshape(3, 2, 2, 6)
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, k, **options):
    return lax.conv_general_dilated(x, k, dimension_numbers=NHWC, **options)


def pool(x, start, operation, **options):
    return lax.reduce_window(x, start, operation, (1, 3, 2, 1), (1, 2, 1, 1), "SAME", **options)


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


@jax.custom_jvp
def tripled(x):
    return 3 * x


tripled.defjvp(lambda p, t: (3 * p[0], 3 * t[0]))


def scatter(mode, method, index):
    def f(a, v):
        return getattr(a.at[np.array(index)], method)(v, mode=mode)

    return f


PLACES = {
    "reshape": (lambda a: a.reshape(2, 6), A),
    "transpose": (lambda a: jnp.transpose(a, (2, 0, 1)), T),
    "broadcast": (lambda a: jnp.broadcast_to(a[:, None], (3, 2, 4)), A),
    "slice with steps": (lambda a: a[::2, 3:0:-2], A),
    "flip": (lambda a: jnp.flip(a, 1), A),
    "roll": (lambda a: jnp.roll(a, (1, -2), (0, 1)), A),
    "concatenate": (lambda a: jnp.concatenate([a, 2 * a[:1]], 0), A),
    "stack": (lambda a: jnp.stack([a, -a], 1), A),
    "split": (lambda a: jnp.split(a, 2, axis=1)[1], A),
    "tile": (lambda a: jnp.tile(a, (2, 1)), A),
    "squeeze": (lambda a: jnp.squeeze(a[:, :1], 1), A),
    "pad inside": (lambda a: lax.pad(a, a[0, 0], ((1, 0, 2), (-1, 2, 0))), A),
    "dynamic_slice": (lambda a: lax.dynamic_slice(a, (1, 2), (2, 2)), A),
    "dynamic_slice clamped": (lambda a: lax.dynamic_slice(a, (2, 3), (2, 2)), A),
    "dynamic_update_slice": (lambda a: lax.dynamic_update_slice(a, a[:1, :2], (1, 1)), A),
    "gather rows": (lambda a: a[np.array([2, 0, 2])], A),
    "gather points": (lambda a: a[np.array([0, 2]), np.array([1, -1])], A),
    "gather, filled": (lambda a: a.at[np.array([0, 9])].get(mode="fill", fill_value=7.0), A),
    "gather, clipped": (lambda a: a.at[np.array([0, 9])].get(mode="clip"), A),
    "take_along_axis": (lambda a: jnp.take_along_axis(a, np.array([[0], [3], [1]]), 1), A),
    "vmapped gather": (lambda a: jax.vmap(lambda r, i: r[i])(a, np.array([1, 0, 3])), A),
    "mask": (lambda a: jnp.where(a > 0.5, a, 0.0), A),
    "triu": (lambda a: jnp.triu(a, 1), A),
    "diagonal": (jnp.diagonal, A),
    "trace": (jnp.trace, M),
    "one_hot": (lambda a: jax.nn.one_hot(jnp.argmax(a, 1), 4) * a, A),
    "scatter set": (scatter(None, "set", [2, 0]), A, A[:2] * 3),
    "scatter add": (scatter(None, "add", [1, 1]), A, A[:2] * 3),
    "scatter add, dropped": (scatter("drop", "add", [1, 7]), A, A[:2] * 3),
    "scatter multiply": (lambda a, v: a.at[np.array([0, 2])].multiply(v, unique_indices=True),
                         A, A[:2] * 3),
    "scatter max": (scatter(None, "max", [0, 2]), A, A[:2] * 3),
    "scatter min": (scatter(None, "min", [0, 2]), A, A[:2] * 3),
    "segment_sum": (lambda a: jax.ops.segment_sum(a, np.array([1, 0, 1]), 2), A),
    "vmapped scatter": (
        lambda a: jax.vmap(lambda r, i: r.at[i].add(r[0]))(a, np.array([1, 0, 3])),
        A,
    ),
    "sort": (lambda a: jnp.sort(a, axis=0), A),
    "argsort": (lambda a: jnp.take_along_axis(a, jnp.argsort(-a, axis=1), 1), A),
    "sort by two keys": (lambda a: lax.sort((jnp.round(a), a), dimension=1, num_keys=2)[1], A),
    "median": (lambda a: jnp.median(a, axis=1), A),
    "top_k": (lambda a: lax.top_k(a, 2)[0], A),
    "argmin": (lambda a: a[jnp.argmin(a, 0), jnp.arange(4)], A),
    "max": (lambda a: jnp.max(a, (0, 2)), T),
    "min": (lambda a: jnp.min(a, 1), T),
    "sum": (lambda a: jnp.sum(a, (0, 2)), T),
    "prod": (lambda a: jnp.prod(a, 1), A),
    "var": (lambda a: jnp.var(a, 0), A),
    "cumsum": (lambda a: jnp.cumsum(a, 1), A),
    "cumsum backwards": (lambda a: lax.cumsum(a, 0, reverse=True), A),
    "cumprod": (lambda a: jnp.cumprod(a, 1), A),
    "cummax": (lambda a: lax.cummax(a, 1), A),
    "cummin": (lambda a: lax.cummin(a, 0, reverse=True), A),
    "cumlogsumexp": (lambda a: lax.cumlogsumexp(a, 1), A),
    "matmul": (lambda a: a @ a.T, A),
    "batched dot": (lambda a: jnp.einsum("bij,bkj->bik", a, a), T),
    "outer": (jnp.outer, V5, V5[:3]),
    "tensordot": (lambda a, b: jnp.tensordot(a, b, ((1, 2), (1, 0))), T, T[0].T.reshape(4, 3)),
    "triangular, left": (lambda m, b: lax.linalg.triangular_solve(m, b, left_side=True), M, M),
    "triangular, right": (
        lambda m, b: lax.linalg.triangular_solve(m, b, lower=True, transpose_a=True),
        M,
        M,
    ),
    "cholesky": (jnp.linalg.cholesky, M),
    "inverse": (jnp.linalg.inv, M),
    "determinant": (jnp.linalg.det, M),
    "log-determinant": (lambda m: jnp.linalg.slogdet(m)[1], M),
    "solve": (jnp.linalg.solve, M, M[0]),
    "batched inverse": (lambda m: jnp.linalg.inv(jnp.stack([m, 2 * m.T])), M),
    "norms": (lambda m: jnp.linalg.norm(m) + jnp.linalg.norm(m, 1) + jnp.linalg.norm(m[0], 3), M),
    "convolution": (lambda x, k: conv(x, k[:, :, :, :].transpose(0, 1, 3, 2)[:, :, :4],
                                      window_strides=(1, 2), padding="SAME"), IMAGE, KERNEL),
    "convolution, dilated": (
        lambda x, k: conv(x, k.transpose(0, 1, 3, 2)[:, :, :4], window_strides=(2, 1),
                          padding=((2, -1), (1, 3)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
        IMAGE, KERNEL),
    "convolution, grouped": (
        lambda x, k: conv(x, k, window_strides=(1, 1), padding="VALID", feature_group_count=2),
        IMAGE, KERNEL),
    "convolve": (lambda v: jnp.convolve(v, v[:3]), V5),
    "average pooling": (lambda x: pool(x, 0.0, lax.add), IMAGE[:1]),
    "maximum pooling": (lambda x: pool(x, -np.inf, lax.max), IMAGE[:1]),
    "cond": (lambda v: lax.cond(v[0] > 0, jnp.sin, jnp.cos, v), V5),
    "switch": (lambda v: lax.switch(2, [jnp.sin, jnp.cos, jnp.tanh], v), V5),
    "vmapped cond": (lambda v: jax.vmap(lambda x: lax.cond(x > 0, jnp.sin, jnp.exp, x))(v), V5),
    "fori_loop": (lambda v: lax.fori_loop(0, 3, lambda i, c: c * v + i, v), V5),
    "scan": (lambda v: lax.scan(lambda c, x: (c * x + 1, c), 1.0, v), V5),
    "scan backwards": (lambda v: lax.scan(lambda c, x: (c - x, c * x), v[0], v, reverse=True), V5),
    "associative_scan": (lambda v: lax.associative_scan(jnp.multiply, v), V5),
    "map": (lambda v: lax.map(jnp.tanh, v), V5),
    "checkpoint": (jax.checkpoint(lambda v: jnp.sin(jnp.sin(v))), V5),
    "custom_vjp": (lambda v: jnp.sin(doubled(v)), V5),
    "custom_jvp": (lambda v: jnp.sin(tripled(v)), V5),
    "stop_gradient": (lambda v: v * lax.stop_gradient(v), V5),
    "interp": (lambda v: jnp.interp(v, np.array([-1.5, 0.1, 3.0]), np.array([1.0, 4.0, 2.0])), V5),
    "polyval": (lambda v: jnp.polyval(v, 0.5), V5),
    "quantile": (lambda v: jnp.quantile(v, 0.3), V5),
    "clip": (lambda v: jnp.clip(v, -0.5, 1.0), V5),
    "mod": (lambda v: jnp.mod(v, 0.6) + jnp.fmod(v, 0.6) + jnp.floor_divide(v, 0.6), V5),
    "atan2 and hypot": (lambda v: jnp.arctan2(v, v[::-1] + 3) + jnp.hypot(v, v[1]), V5),
    "powers": (lambda v: jnp.abs(v) ** 2.5 + v**-3 + 2**v + jnp.cbrt(v) + jnp.square(v), V5),
    "hyperbolic": (lambda v: jnp.sinh(v) + jnp.arcsinh(v) + jnp.arctanh(v / 3) + jnp.cosh(v), V5),
    "circular": (lambda v: jnp.arcsin(v / 3) + jnp.arccos(v / 3) + jnp.tan(v) + jnp.sinc(v), V5),
    "logarithms": (lambda v: jnp.log2(v + 2) + jnp.log10(v + 2) + jnp.logaddexp2(v, 0.5), V5),
    "copysign": (lambda v: jnp.copysign(v, -v[::-1]), V5),
}  # fmt: skip

# No gradient in JAX, or none worth comparing.
WITHOUT_GRADIENT = {
    "rounding": (lambda v: jnp.stack([f(v * 3) for f in (
        jnp.round, jnp.floor, jnp.ceil, jnp.trunc, jnp.sign, jnp.rint)]), V5),
    "halves to even": (jnp.round, np.array([0.5, 1.5, -0.5, -2.5, 2.0])),
    "halves away from zero": (lambda v: lax.round(v, lax.RoundingMethod.AWAY_FROM_ZERO),
                              np.array([0.5, 1.5, -0.5, -2.5, 2.0])),
    "to integers": (lambda v: (v * 3).astype(jnp.int32), V5),
    "to integers, held in range": (lambda v: v.astype(jnp.int8), np.array([300.5, -1e30, 7.9])),
    "to booleans": (lambda v: v.astype(bool), np.array([0.0, 0.5])),
    "bits": (lambda v: lax.bitcast_convert_type(v, jnp.int64), V5),
    "halves of the bits": (lambda v: lax.bitcast_convert_type(v, jnp.int32), V5),
    "signbit": (jnp.signbit, V5),
    "isfinite": (lambda v: jnp.isfinite(v / jnp.array([1.0, 0.0, 1.0, 0.0, 1.0])), V5),
    "comparisons": (lambda v: jnp.stack([v < 0.3, v <= 0.3, v == 0.3, v != 0.3, v >= 0.3]), V5),
    "while_loop": (lambda v: lax.while_loop(lambda c: c[0] < 10, lambda c: 2 * c, v), V5),
    "searchsorted": (lambda v: jnp.searchsorted(jnp.sort(v), v + 0.1), V5),
    "argsort, several": (lambda a: jnp.lexsort((a[0], a[1])), A),
    "unstable ties": (lambda v: lax.top_k(v, 3), np.array([1.0, 2.0, 2.0, 0.0, 2.0])),
    "histogram": (lambda v: jnp.bincount((v * 2 + 3).astype(int), length=9), V5),
    "random normal": (lambda v: jax.random.normal(jax.random.key(0), (3,)) + v[0], V5),
    "random choice": (lambda v: jax.random.permutation(jax.random.key(1), v), V5),
    "random categories": (lambda v: jax.random.categorical(jax.random.key(2), v), V5),
    "split keys": (lambda v: v[0] * jax.vmap(lambda k: jax.random.uniform(k))(
        jax.random.split(jax.random.key(3), 4)), V5),
    "keys in a scan": (lambda v: lax.scan(
        lambda k, x: (jax.random.fold_in(k, 1), x * jax.random.uniform(k)),
        jax.random.key(4), v)[1], V5),
    "empty": (lambda v: (jnp.sum(v[:0]), jnp.prod(v[:0]), v[:0] * 2), V5),
    "scan of nothing": (lambda v: lax.scan(lambda c, x: (c + x, c), 0.0, v[:0]), V5),
}  # fmt: skip


def numbers(tree):
    return [np.asarray(leaf).astype(float) for leaf in jax.tree.leaves(tree)]


def assert_same_as_jax(f, arguments):
    with x64():
        expected = jax.tree.leaves(jax.jit(f)(*map(jnp.asarray, arguments)))
    for ours, theirs in zip(numbers(evaluate(f, *arguments)), numbers(expected), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", [*PLACES, *WITHOUT_GRADIENT])
def test_value(name):
    f, *arguments = {**PLACES, **WITHOUT_GRADIENT}[name]
    assert_same_as_jax(f, arguments)


@pytest.mark.parametrize("name", PLACES)
def test_gradient(name):
    f, *arguments = PLACES[name]

    def weighted(*arguments):
        # unequal weights, so that no two places can be exchanged unseen
        leaves = jax.tree.leaves(f(*arguments))
        weights = [jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)) for leaf in leaves]
        return sum(w @ jnp.ravel(leaf) for w, leaf in zip(weights, leaves, strict=True))

    assert_same_as_jax(jax.grad(weighted, tuple(range(len(arguments)))), arguments)
