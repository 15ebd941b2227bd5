"""Real data sets, a user's own files, and what is done to them before training."""

from handgrad.data.checks import check_features, check_labels, check_two_classes, check_values
from handgrad.data.dataset import Dataset
from handgrad.data.loading import load, names
from handgrad.data.preparation import split, standardise
from handgrad.data.streams.opening import open_parts, open_stream
from handgrad.data.streams.stream import Stream

__all__ = [
    "Dataset",
    "Stream",
    "check_features",
    "check_labels",
    "check_two_classes",
    "check_values",
    "load",
    "names",
    "open_parts",
    "open_stream",
    "split",
    "standardise",
]
