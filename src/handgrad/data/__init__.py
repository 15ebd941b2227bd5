"""Data sets, a user's own files, and what is done to them before training."""

from handgrad._checks import check_features, check_labels, check_two_classes, check_values
from handgrad._types import Coded
from handgrad.data.dataset import (
    Dataset,
    coded,
    load,
    load_parts,
    names,
    split,
    standardise,
)
from handgrad.data.preparation import Preparation
from handgrad.data.table_file import FileOptions

__all__ = [
    "Coded",
    "Dataset",
    "FileOptions",
    "Preparation",
    "check_features",
    "check_labels",
    "check_two_classes",
    "check_values",
    "coded",
    "load",
    "load_parts",
    "names",
    "split",
    "standardise",
]
