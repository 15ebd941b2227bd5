"""Data sets, a user's own files, and what is done to them before training."""

from handgrad._values import check_features, check_labels, check_two_classes, check_values
from handgrad.data.dataset import Dataset, split, standardise
from handgrad.data.loading import load, names

__all__ = [
    "Dataset",
    "check_features",
    "check_labels",
    "check_two_classes",
    "check_values",
    "load",
    "names",
    "split",
    "standardise",
]
