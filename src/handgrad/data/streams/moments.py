"""Mean and variance of columns that come in blocks, in float64, as accurate as in one piece.

    δ = m_b − m,   m ← m + δ n_b/(n + n_b),   S ← S + S_b + δ² n n_b/(n + n_b)        S = Σ (x − m)²

Sums of squares would cancel: a column of years has a mean two thousand times its deviation.

Source: Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American
Statistician 37 (1983), equations 2.1; the scale is that of scikit-learn's StandardScaler.
"""

import numpy as np


class Moments:
    """Of some columns."""

    def __init__(self, columns: int):
        self.count = 0
        self.mean = np.zeros(columns)
        self.squares = np.zeros(columns)

    def see(self, x: np.ndarray) -> None:
        """Take in rows x (R, columns), float64."""
        if len(x) == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = x.mean(axis=0)
            apart = x - mean
            off = apart.mean(axis=0)  # what rounding has done to the mean
            mean += off
            squares = np.einsum("rc,rc->c", apart, apart) - len(x) * off**2
            total = self.count + len(x)
            step = mean - self.mean
            self.mean = self.mean + step * (len(x) / total)
            self.squares = self.squares + squares + step**2 * (self.count * (len(x) / total))
        self.count = total

    def scale(self) -> np.ndarray:
        """The standard deviation; 1 where it is rounding and nothing else."""
        eps = np.finfo(np.float64).eps
        with np.errstate(over="ignore", invalid="ignore"):
            variance = np.maximum(self.squares, 0) / self.count
            rounding = self.count * eps * variance + (self.count * self.mean * eps) ** 2
            return np.where(variance <= rounding, 1.0, np.sqrt(variance))
