"""Matrix products, triangular solves and the factorisations, written out over balls."""

from typing import Any

import numpy as np
from flint import arb, arb_mat

from handgrad.exact import balls
from handgrad.exact.balls import NAN, ZERO, as_balls
from handgrad.exact.elementwise import Rule

_is_nan = np.frompyfunc(arb.is_nan, 1, 1)


def matrix_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two matrices of balls, by flint's own kernel; a settled NaN stays settled."""
    (rows, inner), columns = a.shape, b.shape[1]
    if not rows * inner * columns:
        return np.full((rows, columns), ZERO, dtype=object)
    product = arb_mat(rows, inner, a.ravel().tolist()) * arb_mat(inner, columns, b.ravel().tolist())
    result = np.array(product.entries(), dtype=object).reshape(rows, columns)
    for i, j in np.argwhere(_is_nan(result)):
        if any(ball is NAN for ball in (*a[i], *b[:, j])):
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
    count, m, k, n = (
        int(np.prod(sizes, dtype=int)) for sizes in (batch, rows, size(a, contract_a), columns)
    )
    left = np.transpose(a, (*batch_a, *free_a, *contract_a)).reshape(count, m, k)
    right = np.transpose(b, (*batch_b, *contract_b, *free_b)).reshape(count, k, n)
    result = np.empty((count, m, n), dtype=object)
    for index in range(count):
        result[index] = matrix_product(left[index], right[index])
    return result.reshape((*batch, *rows, *columns))


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
    **params: Any,
) -> np.ndarray:  # fmt: skip
    """X with op(a) · X = b, or X · op(a) = b; op transposes or does nothing."""
    a, b = as_balls(a), as_balls(b)
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
    """The lower triangular L with L Lᵀ = a, from the lower triangle of a."""
    a = as_balls(a)
    result = np.full(a.shape, ZERO, dtype=object)
    for place in np.ndindex(a.shape[:-2]):
        low = result[place]  # a view
        for i in range(len(low)):
            for j in range(i + 1):
                rest = a[place][i, j] - sum((low[i, k] * low[j, k] for k in range(j)), ZERO)
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
                if balls.greater(abs(matrix[i, k]), abs(matrix[pivot, k])):
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


RULES: dict[str, Rule] = {
    "cholesky": cholesky,
    "dot_general": dot_general,
    "lu": lu,
    "triangular_solve": triangular_solve,
}
