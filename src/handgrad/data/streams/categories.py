"""The different values of a column that comes in blocks: how many, how often, and where first."""

from collections import Counter
from typing import Any

import numpy as np

from handgrad.data.encoders import MOST_CATEGORIES, check_distinct


class Categories:
    """Of one column. It stops counting where there are too many to be categories."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts: Counter[Any] = Counter()
        self.first: dict[Any, int] = {}

    def see(self, values: np.ndarray) -> None:
        """Take in the next rows."""
        if not self.too_many:
            found = Counter(values.tolist())
            for value in found.keys() - self.first.keys():
                self.first[value] = self.rows + int(np.argmax(values == value))
            self.counts.update(found)
        self.rows += len(values)

    @property
    def too_many(self) -> bool:
        """Whether there are more than any category has."""
        return len(self.first) > MOST_CATEGORIES

    @property
    def distinct(self) -> list[Any]:
        """The values, sorted."""
        return sorted(self.first)

    def check(self, where: str, remedy: str) -> None:
        """Raise InputError if strings look like an id, or like numbers that were spoiled."""
        check_distinct(self.distinct, self.rows, self.first.__getitem__, where, remedy)
