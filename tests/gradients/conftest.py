"""The truth for tests of the formulas: fifty digits of mpmath, at the very floats that JAX saw."""

import mpmath
import numpy as np
import pytest


@pytest.fixture
def real():
    """Map a function of mpmath numbers over arrays; the values come back as float64."""

    def evaluate(f, *arrays):
        arrays = [np.asarray(a, np.float64) for a in arrays]
        with mpmath.workdps(50):
            values = [
                float(f(*map(mpmath.mpf, row))) for row in zip(*map(np.ravel, arrays), strict=True)
            ]
        return np.array(values).reshape(arrays[0].shape)

    return evaluate


@pytest.fixture
def real_softmax():
    """Softmax of each row of an array, as object arrays of mpmath numbers."""

    def evaluate(z):
        with mpmath.workdps(50):
            rows = []
            for row in np.asarray(z, np.float64):
                e = [mpmath.exp(mpmath.mpf(float(a))) for a in row]
                rows.append([a / mpmath.fsum(e) for a in e])
        return np.array(rows, object)

    return evaluate
