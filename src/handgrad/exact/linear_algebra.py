"""Linear algebra over balls: products, triangular solves, factorisations, sparse matrices.

Factorisations follow LAPACK where it has a choice: the pivots of LU, the signs of QR. The signs of
eigenvectors and singular vectors, and the order of eigenvalues that are not real, are those that
LAPACK gives for the matrix rounded to float64. Vectors that no ball can enclose (of eigenvalues
that lie too close together, or of a null space) come out as NaN, which a higher precision may
settle.
"""

import math
from typing import Any

import numpy as np
from flint import acb, acb_mat, arb, arb_mat

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import balls
from handgrad.exact.balls import NAN, ZERO, as_balls, as_row, boxed, finite_entries
from handgrad.exact.elementwise import Rule


def matrix_of(a: np.ndarray) -> Any:
    """A matrix of balls as flint's own."""
    try:
        return arb_mat(len(a), a.shape[1], a.ravel().tolist())
    except TypeError:  # complex entries
        return acb_mat(len(a), a.shape[1], a.ravel().tolist())


def array_of(matrix: Any) -> np.ndarray:
    """flint's own matrix as an array of balls."""
    return as_row(matrix.entries()).reshape(matrix.nrows(), matrix.ncols())


def matrix_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two matrices of balls, by flint's own kernel; a settled NaN stays settled."""
    (rows, inner), columns = a.shape, b.shape[1]
    if not rows * inner * columns:
        return np.full((rows, columns), ZERO, dtype=object)
    result = array_of(matrix_of(a) * matrix_of(b))
    for i, j in np.argwhere(~finite_entries(result)):
        settled = any(ball is NAN for ball in (*a[i], *b[:, j]))
        if settled and isinstance(result[i, j], arb) and result[i, j].is_nan():
            result[i, j] = NAN
    return result


def dot_general(a: Any, b: Any, *, dimension_numbers: Any, **params: Any) -> np.ndarray:
    """Σ over the contracted axes; the result has the batch axes, then a's others, then b's."""
    (contract_a, contract_b), (batch_a, batch_b) = dimension_numbers
    a, b = as_balls(a), as_balls(b)
    free_a = [axis for axis in range(a.ndim) if axis not in (*contract_a, *batch_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*contract_b, *batch_b)]

    def size(array: np.ndarray, axes: Any) -> tuple[int, ...]:
        return tuple(array.shape[axis] for axis in axes)

    batch, rows, columns = size(a, batch_a), size(a, free_a), size(b, free_b)
    count, m, k, n = map(math.prod, (batch, rows, size(a, contract_a), columns))
    left = np.transpose(a, (*batch_a, *free_a, *contract_a)).reshape(count, m, k)
    right = np.transpose(b, (*batch_b, *contract_b, *free_b)).reshape(count, k, n)
    result = np.empty((count, m, n), dtype=object)
    for index in range(count):
        result[index] = matrix_product(left[index], right[index])
    return result.reshape((*batch, *rows, *columns))


def ragged_dot_general(
    a: Any, b: Any, group_sizes: np.ndarray, *, ragged_dot_dimension_numbers: Any, **params: Any
) -> np.ndarray:
    """A product for each group of rows of a, or of terms of the sum.

    Groups follow one another along the ragged axis of a. If that is a free axis, each group of rows
    meets its own matrix of b; if it is contracted, the result has one matrix for each group.
    """
    numbers = ragged_dot_dimension_numbers
    a, b = as_balls(a), as_balls(b)
    (axis,), groups = numbers.lhs_ragged_dimensions, numbers.rhs_group_dimensions
    (contract_a, contract_b), (batch_a, batch_b) = numbers.dot_dimension_numbers
    one_list = np.ndim(group_sizes) == 1 and axis not in batch_a
    _require("ragged_dot_general", one_list, "one list of groups")
    ends = np.cumsum(group_sizes)
    places = np.arange(a.shape[axis]).reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    products = []
    for group, end in enumerate(ends):
        inside = (places >= end - group_sizes[group]) & (places < end)
        rows = np.where(inside, a, _zeros(a.shape))
        if axis in contract_a:
            dimensions, matrix = numbers.dot_dimension_numbers, b
        else:
            matrix = np.take(b, group, axis=groups[0])
            after = [tuple(i - (i > groups[0]) for i in axes) for axes in (contract_b, batch_b)]
            dimensions = ((contract_a, after[0]), (batch_a, after[1]))
        products.append(dot_general(rows, matrix, dimension_numbers=dimensions))
    return np.stack(products) if axis in contract_a else sum(products[1:], products[0])


def _require(primitive: str, is_covered: bool, what: str) -> None:
    if not is_covered:
        raise UnsupportedPrimitive(primitive, f"only {what}")


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, ZERO, dtype=object)


def is_complex(a: np.ndarray) -> bool:
    """Whether any entry is complex."""
    return any(isinstance(ball, acb) for ball in a.ravel())


def conjugate(a: np.ndarray) -> np.ndarray:
    """The complex conjugates; real numbers as they are."""
    if not is_complex(a):
        return a
    return boxed(np.frompyfunc(lambda ball: acb(ball).conjugate(), 1, 1)(a))


def _magnitude(ball: arb | acb) -> arb:
    """What LAPACK compares pivots by: |x|, or |Re z| + |Im z|."""
    return abs(ball.real) + abs(ball.imag) if isinstance(ball, acb) else abs(ball)


def substitute(matrix: np.ndarray, right: np.ndarray, lower: bool, unit: bool) -> np.ndarray:
    """X with matrix · X = right, for a triangular matrix, row after row."""
    size = len(matrix)
    solution = np.full(right.shape, ZERO, dtype=object)
    for i in range(size) if lower else reversed(range(size)):
        known = slice(0, i) if lower else slice(i + 1, size)
        row = right[i] - matrix[i, known] @ solution[known] if matrix[i, known].size else right[i]
        solution[i] = row if unit else row / matrix[i, i]
    return solution


def triangular_solve(
    a: Any, b: Any, *, left_side: bool, lower: bool, transpose_a: bool, unit_diagonal: bool,
    conjugate_a: bool = False, **params: Any,
) -> np.ndarray:  # fmt: skip
    """X with op(a) · X = b, or X · op(a) = b; op transposes, conjugates or does nothing."""
    a, b = conjugate(as_balls(a)) if conjugate_a else as_balls(a), as_balls(b)
    result = np.empty(b.shape, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        matrix = a[place].T if transpose_a else a[place]
        is_lower = lower != transpose_a
        if left_side:
            result[place] = substitute(matrix, b[place], is_lower, unit_diagonal)
        else:
            result[place] = substitute(matrix.T, b[place].T, not is_lower, unit_diagonal).T
    return result


def cholesky(a: Any, **params: Any) -> np.ndarray:
    """The lower triangular L with L Lᴴ = a, from the lower triangle of a."""
    a = as_balls(a)
    result = np.full(a.shape, ZERO, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        low = result[place]  # a view
        for i in range(len(low)):
            for j in range(i + 1):
                rest = a[place][i, j] - low[i, :j] @ conjugate(low[j, :j]) if j else a[place][i, j]
                low[i, j] = rest.sqrt() if i == j else rest / low[j, j]
    return result


def lu(a: Any, **params: Any) -> list[np.ndarray]:
    """L and U in one matrix, the row swaps, and the permutation they make.

    The pivot is the largest entry by absolute value, the first of equals, as in LAPACK.
    """
    result = as_balls(a).copy()
    *batch, rows, columns = result.shape
    steps = min(rows, columns)
    pivots = np.zeros((*batch, steps), dtype=np.int32)
    permutation = np.zeros((*batch, rows), dtype=np.int32)
    for place in np.ndindex(*batch):
        matrix, order_of_rows = result[place], list(range(rows))
        for k in range(steps):
            pivot = k
            for i in range(k + 1, rows):
                if balls.greater(_magnitude(matrix[i, k]), _magnitude(matrix[pivot, k])):
                    pivot = i
            pivots[place][k] = pivot
            matrix[[k, pivot]] = matrix[[pivot, k]]
            order_of_rows[k], order_of_rows[pivot] = order_of_rows[pivot], order_of_rows[k]
            if matrix[k, k].is_zero():
                continue  # the column is already 0: LAPACK goes on as well
            for i in range(k + 1, rows):
                matrix[i, k] = matrix[i, k] / matrix[k, k]
                matrix[i, k + 1 :] = matrix[i, k + 1 :] - matrix[i, k] * matrix[k, k + 1 :]
        permutation[place] = order_of_rows
    return [result, pivots, permutation]


# --- tridiagonal systems, QR ---------------------------------------------------------------------


def tridiagonal_solve(dl: Any, d: Any, du: Any, b: Any, **params: Any) -> np.ndarray:
    """X with T X = b; T has d on the diagonal, dl below it (from row 1 on), du above it."""
    dl, d, du, b = map(as_balls, (dl, d, du, b))
    result = np.empty(b.shape, dtype=object)
    for place in np.ndindex(d.shape[:-1]):
        low, diagonal, right = dl[place], d[place].copy(), b[place].copy()
        for i in range(1, len(diagonal)):
            factor = low[i] / diagonal[i - 1]
            diagonal[i] = diagonal[i] - factor * du[place][i - 1]
            right[i] = right[i] - factor * right[i - 1]
        for i in reversed(range(len(diagonal))):
            above = du[place][i] * result[place][i + 1] if i + 1 < len(diagonal) else ZERO
            result[place][i] = (right[i] - above) / diagonal[i]
    return result


def qr(a: Any, *, pivoting: bool, full_matrices: bool, **params: Any) -> list[np.ndarray]:
    """Q and R by Householder's reflections, with LAPACK's signs.

    A reflection takes the column x to (β, 0, ..., 0) with β = −sign(x₁)|x|; a column that is 0
    below its first entry stays as it is.
    """
    a = as_balls(a)
    _require("qr", not pivoting and not is_complex(a), "of real matrices, and without pivoting")
    *batch, rows, columns = a.shape
    kept = rows if full_matrices else min(rows, columns)
    q = np.full((*batch, rows, kept), ZERO, dtype=object)
    r = np.full((*batch, kept, columns), ZERO, dtype=object)
    for place in np.ndindex(*batch):
        upper, reflections = a[place].copy(), []
        for k in range(min(rows - 1, columns)):
            x = upper[k:, k].copy()
            if all(ball.is_zero() for ball in x[1:]):
                continue
            length = (x @ x).sqrt()
            x[0] = x[0] + (length if balls.greater_equal(x[0], ZERO) else -length)
            reflections.append((k, x))
            _reflect(upper, k, x)
            upper[k + 1 :, k] = ZERO
        orthogonal = as_balls(np.eye(rows, kept))
        for k, x in reversed(reflections):
            _reflect(orthogonal, k, x)
        q[place], r[place] = orthogonal, np.triu(upper[:kept], 0) + ZERO
    return [q, r]


def _reflect(matrix: np.ndarray, first: int, x: np.ndarray) -> None:
    """Take (1 − 2xxᵀ/xᵀx) times the rows from `first` on, in place."""
    scaled = x * (2 / (x @ x))
    matrix[first:] = matrix[first:] - np.outer(scaled, x @ matrix[first:])


# --- eigenvalues and singular values -------------------------------------------------------------


def eigh(a: Any, *, lower: bool, subset_by_index: Any = None, **params: Any) -> list[np.ndarray]:
    """Eigenvectors and ascending eigenvalues of symmetric matrices, from one triangle."""
    a = as_balls(a)
    _require("eigh", subset_by_index in (None, (0, a.shape[-1])), "all eigenvalues")
    _require("eigh", not is_complex(a), "of real matrices")
    vectors, values = np.empty(a.shape, dtype=object), np.empty(a.shape[:-1], dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        triangle = a[place] if lower else a[place].T
        matrix = np.where(np.tri(len(triangle), dtype=bool), triangle, triangle.T)
        values[place], found = symmetric_eigen(matrix)
        rounded = np.linalg.eigh(matrix.astype(float))[1] if finite_entries(matrix).all() else None
        vectors[place] = _with_signs(found, rounded)
    return [vectors, values]


def symmetric_eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending eigenvalues of a symmetric matrix, and unit vectors whose largest entry is > 0."""
    size = len(matrix)
    vectors = np.full((size, size), arb.nan(), dtype=object)
    if not size:
        return np.empty(0, dtype=object), vectors
    columns = vectors
    try:
        found, right = acb_mat(matrix_of(matrix)).eig(right=True)
        columns = array_of(right).T
    except ValueError:
        try:
            found = acb_mat(matrix_of(matrix)).eig(multiple=True)
        except ValueError:
            found = [acb(arb.nan())] * size
    values = [ball.real for ball in found]
    order = sorted(range(size), key=lambda i: float(values[i].mid()))
    for target, source in enumerate(order):
        vectors[:, target] = _real_unit(columns[source])
    return as_row([values[i] for i in order]), vectors


def _real_unit(x: Any) -> np.ndarray:
    """A vector that is real up to a complex factor, made real and of length 1."""
    largest = max(range(len(x)), key=lambda i: float(abs(x[i]).mid()))
    real = as_row([(ball / x[largest]).real for ball in x])
    return real / (real @ real).sqrt()


def svd(
    a: Any, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any = None, **params: Any
) -> list[np.ndarray]:
    """Descending singular values, left and right vectors, from the eigenvalues of aᵀa or aaᵀ."""
    a = as_balls(a)
    *batch, rows, columns = a.shape
    _require("svd", subset_by_index in (None, (0, min(rows, columns))), "all singular values")
    _require("svd", not is_complex(a), "of real matrices")
    count = min(rows, columns)
    left, right = (rows, columns) if full_matrices else (count, count)
    s = np.empty((*batch, count), dtype=object)
    u = np.full((*batch, rows, left), arb.nan(), dtype=object)
    vt = np.full((*batch, right, columns), arb.nan(), dtype=object)
    for place in np.ndindex(*batch):
        tall = a[place] if rows >= columns else a[place].T
        squares, v = symmetric_eigen(matrix_product(tall.T, tall))
        s[place] = as_row([_root(square) for square in squares[::-1]])
        if not compute_uv:
            continue
        rounded = None
        if finite_entries(a[place]).all():
            near = np.linalg.svd(a[place].astype(float), full_matrices=False)
            rounded = near.Vh.T if rows >= columns else near.U
        v = _with_signs(v[:, ::-1], rounded)
        w = matrix_product(tall, v) / s[place]
        u[place][:, :count], vt[place][:count] = (w, v.T) if rows >= columns else (v, w.T)
    return [s, u, vt] if compute_uv else [s]


def _root(square: arb) -> arb:
    """The root of a number that cannot be below 0."""
    return square.sqrt() if square > 0 or square.is_nan() else ZERO.union(square.upper().sqrt())


def eig(
    a: Any, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool, **params: Any
) -> list[np.ndarray]:
    """Eigenvalues, and left and right eigenvectors of norm 1 whose largest entry is real."""
    a = as_balls(a)
    values = np.empty(a.shape[:-1], dtype=object)
    wanted = (compute_left_eigenvectors, compute_right_eigenvectors)
    vectors = [np.empty(a.shape, dtype=object) for _ in range(2)]
    for place in np.ndindex(a.shape[:-2]):
        try:
            found, left, right = acb_mat(matrix_of(a[place])).eig(left=True, right=True)
        except ValueError:
            raise Undecided("eigenvalues that cannot be told apart") from None
        numbers = _complex_numbers(a[place])
        order = _matched(found, np.linalg.eigvals(numbers))
        values[place] = as_row([found[i] for i in order])
        rounded = [np.linalg.eig(m)[1] for m in (numbers.conj().T, numbers)] if any(wanted) else []
        for side, columns in enumerate((conjugate(array_of(left)), array_of(right).T)):
            if wanted[side]:
                vectors[side][place] = _normalised(columns[order], rounded[side])
    return [values, *(v for v, on in zip(vectors, wanted, strict=True) if on)]


def _matched(found: list[acb], rounded: np.ndarray) -> list[int]:
    """The order in which the exact eigenvalues are those that LAPACK gives."""
    numbers, free = [complex(ball.mid()) for ball in found], list(range(len(found)))
    order = []
    for value in rounded:
        nearest = min(free, key=lambda i: abs(numbers[i] - value))
        free.remove(nearest)
        order.append(nearest)
    return order


def _normalised(columns: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    result = np.empty(columns.shape, dtype=object)
    for index, x in enumerate(columns):
        largest = max(range(len(x)), key=lambda i: abs(complex(acb(x[i]).mid())))
        x = x / x[largest]
        length = sum((abs(acb(ball)) ** 2 for ball in x), ZERO).sqrt()
        sign = -1 if rounded[largest, index].real < 0 else 1
        result[:, index] = x * (sign / length)
    return result


def _with_signs(vectors: np.ndarray, rounded: np.ndarray | None) -> np.ndarray:
    """Vectors with the signs of their rounded counterparts, where those are largest."""
    if rounded is None:
        return vectors
    largest = np.argmax(np.abs(rounded), axis=0)
    result = vectors.copy()
    for column, row in enumerate(largest):
        if (result[row, column] > 0) != (rounded[row, column] > 0):
            result[:, column] = -result[:, column]
    return result


def _complex_numbers(matrix: np.ndarray) -> np.ndarray:
    if all(isinstance(ball, arb) for ball in matrix.ravel()):
        return matrix.astype(float)
    return np.array([complex(acb(b).mid()) for b in matrix.ravel()]).reshape(matrix.shape)


# --- sparse matrices -----------------------------------------------------------------------------


def to_dense(data: Any, indices: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array from entries and their indices: axes of batches, of indices, of dense entries."""
    batch = shape[: indices.ndim - 2]
    data = np.broadcast_to(as_balls(data), (*batch, *np.shape(data)[len(batch) :]))
    indices = np.broadcast_to(indices, (*batch, *indices.shape[-2:]))
    result = np.full(shape, ZERO, dtype=object)
    for place in np.ndindex(*batch):
        for value, index in zip(data[place], indices[place], strict=True):
            where = (*place, *index)
            if all(i < n for i, n in zip(where, shape, strict=False)):  # else padding
                result[where] = result[where] + value
    return result


def coo_todense(data: Any, row: Any, col: Any, *, spinfo: Any, **params: Any) -> np.ndarray:
    """The matrix whose entry (row, col) is the sum of the data given for it."""
    return to_dense(data, np.stack([row, col], axis=1), spinfo.shape)


def coo_fromdense(matrix: Any, *, nse: int, index_dtype: Any, **params: Any) -> list[np.ndarray]:
    """The first `nse` entries that are not 0, with their rows and columns; zeros fill up."""
    matrix = as_balls(matrix)
    places = [p for p in np.ndindex(*matrix.shape) if balls.not_equal(matrix[p], ZERO)][:nse]
    missing = nse - len(places)
    data = as_row([matrix[place] for place in places] + [ZERO] * missing)
    rows, columns = np.array([*places, *[(0, 0)] * missing], dtype=index_dtype).reshape(nse, 2).T
    return [data, rows, columns]


def csr_fromdense(matrix: Any, *, nse: int, index_dtype: Any, **params: Any) -> list[np.ndarray]:
    """The first `nse` entries that are not 0, their columns, and where each row begins."""
    data, rows, columns = coo_fromdense(matrix, nse=nse, index_dtype=index_dtype)
    used = sum(not ball.is_zero() for ball in data)
    counts = np.bincount(rows[:used], minlength=matrix.shape[0])
    return [data, columns, np.concatenate([[0], np.cumsum(counts)]).astype(index_dtype)]


def csr_todense(data: Any, indices: Any, indptr: Any, *, shape: Any, **params: Any) -> np.ndarray:
    """The matrix whose row i has data[indptr[i]:indptr[i + 1]] in the columns of `indices`."""
    indices, indptr = (np.asarray(places).astype(np.int64) for places in (indices, indptr))
    rows = np.repeat(np.arange(shape[0]), np.diff(indptr))
    used = slice(indptr[0], indptr[-1])  # beyond lies padding
    return to_dense(data[used], np.stack([rows, indices[used]], axis=1), shape)


def _times(dense: np.ndarray, right: Any, transpose: bool) -> np.ndarray:
    matrix, right = dense.T if transpose else dense, as_balls(right)
    columns = right.reshape(len(right), -1)
    return matrix_product(matrix, columns).reshape(len(matrix), *right.shape[1:])


def coo_product(data: Any, row: Any, col: Any, right: Any, *, spinfo: Any, transpose: bool,
                **params: Any) -> np.ndarray:  # fmt: skip
    """A sparse matrix, or its transpose, times a vector or a matrix."""
    return _times(coo_todense(data, row, col, spinfo=spinfo), right, transpose)


def csr_product(data: Any, indices: Any, indptr: Any, right: Any, *, shape: Any, transpose: bool,
                **params: Any) -> np.ndarray:  # fmt: skip
    """A sparse matrix, or its transpose, times a vector or a matrix."""
    return _times(csr_todense(data, indices, indptr, shape=shape), right, transpose)


def spsolve(data: Any, indices: Any, indptr: Any, b: Any, **params: Any) -> np.ndarray:
    """The solution of a sparse system."""
    size = len(indptr) - 1
    matrix = matrix_of(csr_todense(data, indices, indptr, shape=(size, size)))
    try:
        return array_of(matrix.solve(matrix_of(as_balls(b).reshape(size, -1)))).reshape(b.shape)
    except ZeroDivisionError:
        raise Undecided("whether a matrix is singular") from None


def bcoo_todense(data: Any, indices: Any, *, spinfo: Any, **params: Any) -> np.ndarray:
    """An array from entries and their indices."""
    return to_dense(data, indices, spinfo.shape)


def bcoo_dot_general(
    data: Any, indices: Any, right: Any, *, dimension_numbers: Any, lhs_spinfo: Any, **params: Any
) -> np.ndarray:
    """The product of a sparse and a dense array."""
    dense = to_dense(data, indices, lhs_spinfo.shape)
    return dot_general(dense, right, dimension_numbers=dimension_numbers)


def bcsr_dot_general(
    data: Any, indices: Any, indptr: Any, right: Any, *, dimension_numbers: Any, lhs_spinfo: Any,
    **params: Any,
) -> np.ndarray:  # fmt: skip
    """The product of a sparse matrix and a dense array."""
    _require("bcsr_dot_general", np.ndim(indptr) == 1, "without batches")
    dense = csr_todense(data, indices, indptr, shape=lhs_spinfo.shape)
    return dot_general(dense, right, dimension_numbers=dimension_numbers)


RULES: dict[str, Rule] = {
    "bcoo_dot_general": bcoo_dot_general,
    "bcoo_todense": bcoo_todense,
    "bcsr_dot_general": bcsr_dot_general,
    "cholesky": cholesky,
    "coo_fromdense": coo_fromdense,
    "coo_matmat": coo_product,
    "coo_matvec": coo_product,
    "coo_todense": coo_todense,
    "csr_fromdense": csr_fromdense,
    "csr_matmat": csr_product,
    "csr_matvec": csr_product,
    "csr_todense": csr_todense,
    "dot_general": dot_general,
    "eig": eig,
    "eigh": eigh,
    "lu": lu,
    "qr": qr,
    "ragged_dot_general": ragged_dot_general,
    "spsolve": spsolve,
    "svd": svd,
    "triangular_solve": triangular_solve,
    "tridiagonal_solve": tridiagonal_solve,
}
