"""The data of the page of descent: points with two features and a label, in a shuffled order."""

from typing import Any

import numpy as np

from handgrad.data import load, standardise

DIGITS = 3
"""Of a feature: the page and whoever compares with it have the same numbers."""


def data() -> dict[str, Any]:
    """Two sets of points: tumours, which no line parts, and flowers, which many lines part."""
    return {
        "sets": [
            _points("breast-cancer", ("mean radius", "mean texture"), "tumours"),
            _points("iris", ("petal length (cm)", "petal width (cm)"), "flowers"),
        ]
    }


def _points(name: str, features: tuple[str, str], title: str) -> dict[str, Any]:
    whole = load(name)
    kept = whole.y < 2
    columns = [whole.feature_names.index(feature) for feature in features]
    (found,) = standardise(
        type(whole)(
            name, whole.x[kept][:, columns], whole.y[kept], features, whole.class_names[:2],
            whole.source,
        )
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(found.examples)
    x = np.round(np.asarray(found.x, np.float64)[order], DIGITS)
    return {
        "title": title,
        "features": list(features),
        "classes": list(found.class_names),
        "x": x.tolist(),
        "y": np.asarray(found.y, int)[order].tolist(),
    }
