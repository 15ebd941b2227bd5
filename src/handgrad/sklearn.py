"""`Classifier`: the hand-derived models as an estimator of scikit-learn.

    Classifier().fit(X, y)  =  check  ->  train.fit, or fast.newton.fit  ->  params_

It takes features as they are: put a scaler before it, as for any model that is descended. Weights
of examples and of classes multiply, and are how often an example counts: a weight of 2 is the
example twice, and one of 0 is none, to rounding.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from handgrad._checks import check_features, is_whole, require_choice
from handgrad._precision import x64
from handgrad._types import Coded
from handgrad.errors import InputError
from handgrad.fast import newton
from handgrad.gradients.linear import Params
from handgrad.train.api import fit
from handgrad.train.saved import ModelSettings, probabilities

__all__ = ["Classifier"]


class Classifier(ClassifierMixin, BaseEstimator):
    """Logistic regression, softmax regression or an mlp, with cross-entropy as the loss.

    Parameters:
        model: "logistic" (two classes), "softmax", "mlp", or "auto": logistic for two classes,
            softmax for more.
        solver: "newton" (not for an mlp), "sgd", "adam", or "auto": newton, and adam for an mlp.
        l2: λ of the penalty ½ λ ‖w‖², beside the mean loss.
        hidden, activation: of an mlp, as in `mlp.model`.
        learning_rate, batch_size: of sgd and adam; "full" batches, or a number of examples.
        max_iter: the most passes over the examples.
        tol: the largest |∂E/∂w| of a solution; 1e-12 for newton, 1e-4 for the others if None.
        class_weight: None, "balanced", or a dict from class to weight.
        categorical_features: the numbers of columns of X that hold codes 0, 1, 2, ... of
            categories, as OrdinalEncoder gives them; each is a feature for each of its codes, and
            never a column for each. A code above those in `fit` is none of them.
        dtype: "float32" or "float64"; newton's sums are in float64 either way.
        random_state: of the first weights and of the order of the examples.

    Attributes:
        classes_: the classes, sorted.
        params_: the parameters, in the structure of the model's.
        coef_, intercept_: of linear models, (1, D) and (1,) for one logit, else (K, D) and (K,).
        loss_: E at the end, in nats.
        n_iter_: the passes it took.
        n_features_in_, feature_names_in_: of the features in `fit`.

    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> x, y = load_wine(return_X_y=True)
    >>> make_pipeline(StandardScaler(), Classifier()).fit(x, y).score(x, y)
    1.0
    """

    def __init__(
        self,
        model: str = "auto",
        solver: str = "auto",
        *,
        l2: float = 1e-4,
        hidden: tuple[int, ...] = (16,),
        activation: str = "tanh",
        learning_rate: float = 0.1,
        batch_size: int | str = "full",
        max_iter: int = 1_000,
        tol: float | None = None,
        class_weight: dict | str | None = None,
        categorical_features: Sequence[int] = (),
        dtype: str = "float64",
        random_state: Any = None,
    ):
        self.model = model
        self.solver = solver
        self.l2 = l2
        self.hidden = hidden
        self.activation = activation
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.dtype = dtype
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> "Classifier":  # noqa: N803
        """Train on X (N, D) and N labels of any kind.

        Raises ValueError for data that cannot be learned from, and InputError, which is one, for
        parameters that cannot be; warns where the solution is not within `tol`.
        """
        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._sizes = self._sizes_of(x)
        x = self._as_features(x)
        weights = None
        if sample_weight is not None or self.class_weight is not None:
            weights = _check_sample_weight(sample_weight, x, dtype=np.float64)
            weights = weights * compute_sample_weight(self.class_weight, y)
            x, y, weights = x[weights != 0], y[weights != 0], weights[weights != 0]
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            only = f": {self.classes_[0]!r}" if len(self.classes_) else ""
            raise ValueError(f"Classifier needs examples of two classes, got one class{only}")
        self._settings, solver = self._resolved(len(self.classes_))
        labels = np.asarray(labels, np.int32)
        default = 1e-12 if solver == "newton" else 1e-4
        self._tol = default if self.tol is None else self.tol
        with x64(self.dtype == "float64"):
            if solver == "newton":
                converged = self._fit_newton(x, labels, weights)
            else:
                converged = self._descend(solver, x, labels, weights)
        if isinstance(self.params_, Params):
            self.coef_ = np.atleast_2d(self.params_.weight.T)
            self.intercept_ = np.atleast_1d(self.params_.bias)
        if not converged:
            warnings.warn(
                f"{solver} stopped after {self.n_iter_} passes, before max |∂E/∂w| ≤ "
                f"{self._tol:g}: scale the features, or raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The probability of each of `classes_`, (N, K)."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        return probabilities(self._settings, self.params_, self._as_features(x))

    def predict(self, X: Any) -> NDArray:  # noqa: N803
        """The most probable class of each row, (N,)."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]

    def _sizes_of(self, x: NDArray[np.float64]) -> tuple[int, ...]:
        """How many codes each column has, 0 for numbers. Raises InputError for no column."""
        sizes = [0] * x.shape[1]
        for place in self.categorical_features:
            if not is_whole(place) or not 0 <= place < x.shape[1]:
                expected = f"numbers of columns, 0..{x.shape[1] - 1}"
                raise InputError("categorical_features", expected, repr(place), "pass [0]")
            sizes[place] = max(1, int(x[:, place].max()) + 1)
        return tuple(sizes)

    def _as_features(self, x: NDArray[np.float64]) -> Any:
        """x, or with its codes as such: those that `fit` did not see are −1."""
        if not any(self._sizes):
            return x
        sizes = np.array(self._sizes)
        features = Coded(np.where((sizes > 0) & (x >= sizes), -1, x), self._sizes)
        check_features(features)
        return features

    def _resolved(self, classes: int) -> tuple[ModelSettings, str]:
        """The model and the solver that the parameters name. Raises InputError for others."""
        name, solver = self.model, self.solver
        require_choice("model", name, ("auto", "logistic", "softmax", "mlp"))
        require_choice("solver", solver, ("auto", "newton", "sgd", "adam"))
        require_choice("dtype", self.dtype, ("float32", "float64"))
        if name == "auto":
            name = "logistic" if classes == 2 else "softmax"
        if name == "logistic" and classes != 2:
            raise InputError("model", f"softmax or mlp for {classes} classes", name, "name one")
        if solver == "auto":
            solver = "adam" if name == "mlp" else "newton"
        if solver == "newton" and name == "mlp":
            raise InputError("solver", "sgd or adam for an mlp", solver, "name one of them")
        return ModelSettings(name, self.l2, tuple(self.hidden), self.activation), solver

    def _fit_newton(self, x: Any, labels: NDArray, weights: NDArray | None) -> bool:
        start = None
        if self._settings.name == "softmax" and len(self.classes_) == 2:
            start = Params(np.zeros((x.shape[1], 2)), np.zeros(2))  # type: ignore[arg-type]
        found = newton.fit(
            start, x, labels, self.l2, tol=self._tol, max_passes=self.max_iter,
            sample_weight=weights,
        )  # fmt: skip
        self.params_ = jax.tree.map(lambda leaf: np.asarray(leaf, self.dtype), found.params)
        self.loss_, self.n_iter_ = found.loss, found.passes
        return found.stopped in ("tolerance", "rounding")

    def _descend(self, solver: str, x: Any, labels: NDArray, weights: NDArray | None) -> bool:
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        size = self.batch_size if isinstance(self.batch_size, str) else min(self.batch_size, len(x))
        found: Any = fit(
            self._settings.model(), x.astype(self.dtype), labels,
            optimizer=solver, learning_rate=self.learning_rate, batch_size=size,  # type: ignore[arg-type]
            epochs=self.max_iter, tol=self._tol, key=jax.random.key(seed), sample_weight=weights,
        )  # fmt: skip
        self.params_ = jax.tree.map(np.asarray, found.params)
        self.loss_ = found.loss
        in_a_step = len(x) if isinstance(size, str) else size
        self.n_iter_ = max(1, -(-found.history.end * in_a_step // len(x)))
        return found.history.stopped == "tolerance"
