"""Data movement, indexing, control flow and linear algebra: the same entries as JAX's own.

Values are compared with JAX in float64, JAX's gradients in balls with differences of the values in
balls, to 1e-11: the arithmetic is proved elsewhere, here it is the places that could be wrong.
"""

import functools
import time

import jax
import jax.numpy as jnp
import jax.scipy.special as sp
import numpy as np
import pytest
from flint import ctx
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental import sparse
from jax.extend.core import jaxpr_as_fun

from handgrad._precision import x64
from handgrad.exact import (
    Undecided,
    UnsupportedPrimitive,
    derivative,
    derivative_jaxpr,
    evaluate,
    evaluate_jaxpr,
    trace,
)

# The values count, not how fast they come.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

A = np.array([[0.5, -1.25, 2.0, 0.1], [3.0, 0.75, -0.5, 1.5], [-2.0, 0.25, 1.0, 4.0]])
M = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -0.25], [0.5, -0.25, 2.0]])
N = np.array([[1.0, 2.0, 0.5], [-0.3, 1.0, 0.7], [0.2, 0.4, -1.0]])
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


def of_complex_matrices(m):
    z = lax.complex(m, m.T / 3)
    hermitian = z @ jnp.conj(z.T) + 3 * jnp.eye(3)
    factor = jnp.linalg.cholesky(hermitian)
    solved = jnp.linalg.solve(z, hermitian)
    return jnp.stack([solved.real, factor.real, factor.imag, jnp.abs(jnp.linalg.inv(z))])


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
    "mask": (lambda a: jnp.where(a > 0.6, a, 0.0), A),
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
    "interp": (lambda v: jnp.interp(v, np.array([-1.5, 0.1, 3.0]), np.array([1.0, 4.0, 2.0])), V5),
    "polyval": (lambda v: jnp.polyval(v, 0.5), V5),
    "quantile": (lambda v: jnp.quantile(v, 0.3), V5),
    "clip": (lambda v: jnp.clip(v, -0.5, 1.0), V5),
    "mod": (lambda v: jnp.mod(v, 0.6) + jnp.fmod(v, 0.6) + jnp.floor_divide(v, 0.6), V5),
    "atan2 and hypot": (lambda v: jnp.arctan2(v, v[::-1] + 3) + jnp.hypot(v, v[1]), V5),
    "powers": (lambda v: jnp.abs(v) ** 2.5 + v**-3 + 2**v + jnp.cbrt(v) + jnp.square(v), V5),
    "hyperbolic": (lambda v: jnp.sinh(v) + jnp.arcsinh(v) + jnp.arctanh(v / 3) + jnp.cosh(v), V5),
    # JAX 0.12 puts sinc together from polynomials that meet at half-integers: not there.
    "circular": (lambda v: jnp.arcsin(v) + jnp.arccos(v) + jnp.tan(3 * v) + jnp.sinc(v), V5 / 3),
    "logarithms": (lambda v: jnp.log2(v + 2) + jnp.log10(v + 2) + jnp.logaddexp2(v, 0.5), V5),
    "copysign": (lambda v: jnp.copysign(jnp.exp(v), jnp.sin(-v[::-1])), V5),
    "ldexp": (lambda v: jnp.ldexp(v, np.array([2, -1, 3, 0, 1])), V5),
    "eigh": (lambda m: jnp.linalg.eigh(m + m.T), N),
    "svd": (lambda a: jnp.linalg.svd(a, full_matrices=False), A),
    "svd, tall": (lambda a: jnp.linalg.svd(a.T, full_matrices=False)[0], A),
    "nuclear norm": (lambda a: jnp.linalg.norm(a, "nuc") + jnp.linalg.norm(a, 2), A),
    "pseudo-inverse": (jnp.linalg.pinv, A),
    "qr": (jnp.linalg.qr, N),
    "qr, tall": (lambda a: jnp.linalg.qr(a.T), A),
    "least squares": (lambda a: jnp.linalg.lstsq(a.T, jnp.ones(4))[0], A),
    "eigenvalues": (lambda m: jnp.abs(jnp.linalg.eigvals(m)), N),
    "complex matrices": (of_complex_matrices, N),
    "complex zero": (lambda v: jnp.abs(lax.complex(v, 0 * v)), V5),
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
    "stop_gradient": (lambda v: v * lax.stop_gradient(v), V5),
    "eigenvectors": (lambda m: jnp.real(jnp.linalg.eig(m)[1]), N),
    "frexp": (jnp.frexp, V5),
    "sums without NaN": (lambda v: jnp.nansum(jnp.sqrt(v)), V5),
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


# Two ways to the same numbers: the second is made of primitives in the tables above.


@custom_vmap
def sine(x):
    return jnp.sin(x)


sine.def_vmap(lambda size, batched, x: (jnp.sin(x), True))


def through_a_reference(v):
    new = jax.new_ref if hasattr(jax, "new_ref") else jax.experimental.mutable_array
    reference = new(jnp.zeros(5))
    reference[0] = v[0]
    reference[1:3] = reference[1:3] * 3 + v[2]

    def body(i, c):
        reference[i] += c * v[i]
        return c * v[0]

    lax.fori_loop(0, 3, body, v[0])
    return reference[...]


def halved(x):
    return lax.while_loop(lambda c: c > 0.4, lambda c: c / 2, x * x)


def pooled(v, start, operation):
    def pool(v):
        return lax.reduce_window(v, start, operation, (2,), (1,), "SAME")

    return jax.jvp(pool, (v,), (v * v,))[1]


INDICES = np.array([[0, 1], [2, 0], [1, 3]])
COLUMNS, STARTS = np.array([0, 2, 1]), np.array([0, 1, 2, 3])
FOURIER = np.exp(-2j * np.pi * np.outer(np.arange(5), np.arange(5)) / 5)
SHIFTED = (np.arange(5)[:, None] - np.arange(5)) % 5


def dense(data, rows=INDICES[:, 0], columns=INDICES[:, 1]):
    return jnp.zeros((3, 4), data.dtype).at[rows, columns].set(data)


def tridiagonal(v):
    return jnp.diag(2 + v) + jnp.diag(v[1:] * 0.1, -1) + jnp.diag(v[:-1] * 0.3, 1)


EQUAL = {
    "exp1": (sp.exp1, lambda v: jnp.stack([sp.exp1(v[0]), sp.exp1(v[1])]), np.array([0.3, 4.0])),
    "while_loop under vmap": (jax.vmap(halved), lambda v: jnp.stack(list(map(halved, v))), V5),
    "references": (
        through_a_reference,
        lambda v: jnp.stack([
            v[0] + v[0] ** 2, v[2] + v[0] ** 2 * v[1], v[2] + v[0] ** 3 * v[2], 0 * v[0], 0 * v[0]
        ]), V5),
    "reduce": (
        lambda a: lax.reduce(a, np.float64(0), lambda x, y: x + y - x * y, (0,)),
        lambda a: 1 - jnp.prod(1 - a, 0), A),
    "reduce two": (
        lambda a: lax.reduce((a, 2 * a), (np.float64(0), np.float64(1)),
                             lambda x, y: (x[0] + y[0] * x[1], x[1] * y[1]), (1,)),
        lambda a: (jnp.sum(a * jnp.cumprod(2 * a, 1) / (2 * a), 1), jnp.prod(2 * a, 1)), A),
    "reduce_window": (
        lambda v: lax.reduce_window(
            v, np.float64(0), lambda x, y: x + y - 2 * x * y, (2,), (1,), ((1, 0),)),
        lambda v: v.at[1:].set(v[1:] + v[:-1] - 2 * v[1:] * v[:-1]), V5),
    "tangent of a maximum": (
        lambda v: pooled(v, -jnp.inf, lax.max), lambda v: (v * v)[np.array([0, 2, 2, 3, 4])], V5),
    "tangent of a minimum": (
        lambda v: pooled(v, jnp.inf, lax.min), lambda v: (v * v)[np.array([1, 1, 3, 4, 4])], V5),
    "ragged_dot": (
        lambda a: lax.ragged_dot(a, jnp.stack([a.T, 2 * a.T]), np.array([1, 2])),
        lambda a: jnp.concatenate([a[:1] @ a.T, 2 * a[1:] @ a.T]), A),
    "tridiagonal_solve": (
        lambda v: lax.linalg.tridiagonal_solve(v * 0.1, 2 + v, v * 0.3, jnp.stack([v, v * v], 1)),
        lambda v: jnp.linalg.solve(tridiagonal(v), jnp.stack([v, v * v], 1)), V5),
    "psum": (
        jax.vmap(lambda x: lax.psum(x * x, "i") + lax.pmean(x, "i") * x, axis_name="i"),
        lambda v: jnp.sum(v * v) + jnp.mean(v) * v, V5),
    "pmax": (
        jax.vmap(lambda x: lax.pmax(x, "i") * lax.pmin(x, "i"), axis_name="i"),
        lambda v: jnp.max(v) * jnp.min(v) * jnp.ones(5), V5),
    "all_gather": (
        jax.vmap(lambda x: lax.all_gather(x, "i")[1] * x + lax.ppermute(
            x, "i", [(i, (i + 1) % 5) for i in range(5)]), axis_name="i"),
        lambda v: v[1] * v + jnp.roll(v, 1), V5),
    "composite": (
        lambda v: lax.composite(lambda x: jnp.sin(x), name="my.sine")(v), jnp.sin, V5),
    "custom_vmap": (lambda v: jax.vmap(sine)(v) + sine(v), lambda v: 2 * jnp.sin(v), V5),
    "approx_top_k": (
        lambda v: lax.approx_max_k(v, 2)[0] + lax.approx_min_k(v, 2)[0],
        lambda v: jnp.sort(v)[:2:-1] + jnp.sort(v)[:2], V5),
    "fft": (
        lambda v: jnp.abs(jnp.fft.fft(v)) ** 2 + jnp.fft.ifft(v).imag,
        lambda v: (FOURIER.real @ v) ** 2 + (FOURIER.imag @ v) ** 2 - FOURIER.imag @ v / 5, V5),
    "rfft": (
        lambda v: jnp.fft.irfft(jnp.fft.rfft(v) * jnp.fft.rfft(v[::-1]), n=5),
        lambda v: v[SHIFTED] @ v[::-1], V5),
    "rfft, even": (
        lambda a: jnp.fft.irfft2(jnp.fft.rfft2(a) * 2) * a, lambda a: 2 * a * a, A),
    "fftconvolve": (
        lambda v: jax.scipy.signal.fftconvolve(v, v[:3]), lambda v: jnp.convolve(v, v[:3]), V5),
    "bcoo": (
        lambda v: sparse.BCOO((v[:3], INDICES), shape=(3, 4)) @ v[:4],
        lambda v: dense(v[:3]) @ v[:4], V5),
    "bcoo from a matrix": (
        lambda a: sparse.BCOO.fromdense(a, nse=12).T @ a, lambda a: a.T @ a, A),
    "bcsr": (
        lambda v: sparse.BCSR((v[:3], COLUMNS, STARTS), shape=(3, 4)) @ v[:4],
        lambda v: dense(v[:3], STARTS[:3], COLUMNS) @ v[:4], V5),
    "csr": (
        lambda v: sparse.CSR((v[:3], COLUMNS, STARTS), shape=(3, 4)) @ v[:4],
        lambda v: dense(v[:3], STARTS[:3], COLUMNS) @ v[:4], V5),
    "csr from a matrix": (
        lambda a: sparse.CSR.fromdense(a * (a > 0), nse=9) @ a[0],
        lambda a: (a * (a > 0)) @ a[0], A),
    "coo": (
        lambda v: sparse.COO((v[:3], STARTS[:3], COLUMNS), shape=(3, 4)).T @ v[:3],
        lambda v: dense(v[:3], STARTS[:3], COLUMNS).T @ v[:3], V5),
    "coo from a matrix": (
        lambda a: sparse.COO.fromdense(a * (a > 0), nse=9) @ a[0],
        lambda a: (a * (a > 0)) @ a[0], A),
    "sparse product": (
        lambda v: (sparse.BCOO((v[:3], INDICES), shape=(3, 4)) @ sparse.BCOO(
            (v[:3], INDICES[:, ::-1].copy()), shape=(4, 3))).todense(),
        lambda v: dense(v[:3]) @ dense(v[:3]).T, V5),
}  # fmt: skip
NO_GRADIENT_IN_JAX = {
    "composite", "custom_vmap", "pmax", "reduce", "reduce two", "reduce_window", "sparse product",
    "while_loop under vmap",
}  # fmt: skip


def numbers(tree):
    return [np.asarray(leaf).astype(float) for leaf in jax.tree.leaves(tree)]


CASES = {**PLACES, **WITHOUT_GRADIENT}


def traced(f, arguments):
    with x64(), jax.numpy_dtype_promotion("standard"):
        return trace(f, *arguments)


@functools.cache
def program_of(name):
    """The program of a case in one of the tables, for its value and for its gradient."""
    f, *arguments = (CASES | WITH_GRADIENT)[name]
    return traced(f, arguments)


def assert_same(found, expected):
    for ours, theirs in zip(numbers(found), numbers(expected), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    program = program_of(name)
    with x64(), jax.numpy_dtype_promotion("standard"):
        by_jax = jax.jit(jaxpr_as_fun(program.jaxpr), compiler_options=QUICK)
        expected = by_jax(*map(jnp.asarray, program.leaves))
    assert_same(evaluate_jaxpr(program.jaxpr, program.leaves), expected)


@pytest.mark.parametrize("name", EQUAL)
def test_two_ways_to_the_same_value(name):
    f, other, *arguments = EQUAL[name]
    one = program_of(name) if name in WITH_GRADIENT else traced(f, arguments)
    two = traced(other, arguments)
    assert_same(evaluate_jaxpr(one.jaxpr, one.leaves), evaluate_jaxpr(two.jaxpr, two.leaves))


def weights(size):
    """Unequal, so that no two places can be exchanged unseen."""
    return np.cos(np.arange(size))


WITH_GRADIENT = {
    **PLACES,
    **{
        n: (f, *arguments) for n, (f, _, *arguments) in EQUAL.items() if n not in NO_GRADIENT_IN_JAX
    },
}


LONG = {"exp1"}
"""Their differences take seconds."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in WITH_GRADIENT]
)
def test_gradient(name):
    f, *arguments = WITH_GRADIENT[name]

    def weighted(*arguments):
        leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(f(*arguments))]
        return sum(jnp.asarray(weights(leaf.size)) @ leaf for leaf in leaves)

    program = traced(jax.grad(weighted, tuple(range(len(arguments)))), arguments)
    gradient = evaluate_jaxpr(program.jaxpr, program.leaves)
    directions = [weights(a.size + 1)[1:].reshape(a.shape) for a in arguments]
    along = sum(np.sum(g * d) for g, d in zip(gradient, directions, strict=True))

    program = program_of(name)
    row, _ = derivative_jaxpr(program.jaxpr, program.leaves, directions, digits=20)
    sizes = [np.prod(aval.shape, dtype=int) for aval in program.jaxpr.out_avals]
    truth = row @ np.concatenate([weights(size) for size in sizes])
    assert float(along) == pytest.approx(float(truth), rel=1e-11, abs=1e-11)


def test_bits_of_a_number_that_is_no_float_are_undecided():
    def mantissa_cleared(x):
        bits = lax.bitcast_convert_type(x, jnp.uint64) & np.uint64(0xFFF0000000000000)
        return lax.bitcast_convert_type(bits, jnp.float64) * x

    assert evaluate(mantissa_cleared, 1.5)[()] == 1.5
    with pytest.raises(Undecided, match="the bits of"):
        evaluate(lambda x: mantissa_cleared(jnp.exp(x)), 1.5)
    with pytest.raises(Undecided, match="the bits of"):
        derivative(mantissa_cleared, 1.5, 1.0)


def test_ldexp_and_frexp_have_their_derivatives():
    for f, x, slope in (
        (lambda x: jnp.ldexp(x, 3), 0.3, 8),
        (lambda x: jnp.frexp(x)[0], 5.0, 1 / 8),
    ):
        with ctx.workdps(80):
            assert abs(derivative(f, x, 1.0).value[()] - slope) < 1e-59
    with pytest.raises(Undecided):
        derivative(lambda x: jnp.frexp(x)[0], 4.0, 1.0)  # a jump


def test_a_gamma_draw_is_a_constant_and_has_no_slope_in_its_shape():
    def draw(a, scale):
        return scale * jax.random.gamma(jax.random.key(0), a)

    slope = derivative(draw, (2.5, 3.0), (None, 1.0)).value[()]
    assert slope == evaluate(draw, 2.5, 1.0)[()] > 0
    with pytest.raises(UnsupportedPrimitive, match="gamma"):
        derivative(draw, (2.5, 3.0), (1.0, None))


def test_repeated_eigenvalues_have_values_and_no_vectors():
    for f in (jnp.linalg.eigvalsh, lambda m: jnp.linalg.svd(m, compute_uv=False)):
        assert [float(ball) for ball in evaluate(f, 2.0 * np.eye(3))] == [2, 2, 2]
    # a null space: the smallest singular value is pinned between 0 and almost 0
    smallest = evaluate(lambda a: jnp.linalg.svd(a, compute_uv=False), np.ones((2, 2)), digits=20)
    assert smallest[1].contains(0)
    assert smallest[1] < 1e-20


def test_a_large_order_of_the_incomplete_gamma_function_is_quick():
    start = time.perf_counter()
    slope = derivative(lambda a: sp.gammainc(a, 1e4), 1e4 - 50.0, 1.0, digits=30).value[()]
    (exact,) = jax.tree.leaves(evaluate(jax.grad(lambda a: sp.gammainc(a, 1e4)), 1e4 - 50.0))
    with ctx.workdps(60):
        assert abs(slope / exact[()] - 1) < 1e-29
    assert time.perf_counter() - start < 20
