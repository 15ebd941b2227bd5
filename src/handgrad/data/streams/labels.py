"""Labels of a target that comes in blocks, by the rules of `data.labels`: classes, or soft ones."""

import numpy as np

from handgrad.data.labels import QUANTITY, SOFT_CLASSES, check_classes, check_soft, class_names
from handgrad.data.streams.categories import Categories
from handgrad.data.streams.source import Source, changed


class Labels:
    """What the target of `source` turns out to be: see each block, then settle, then encode."""

    def __init__(self, source: Source):
        self._source = source
        self._values = Categories()
        self.soft = False
        self.class_names: tuple[str, ...] = ()
        self._outside: tuple[int, np.ndarray] | None = None

    def see(self, target: np.ndarray) -> None:
        """Take in the next rows of the target."""
        if target.dtype == np.float64:
            self.soft |= bool((target != np.floor(target)).any())
            if self._outside is None and ((target < 0) | (target > 1)).any():
                self._outside = self._values.rows, target.copy()
        self._values.see(target)

    def settle(self) -> None:
        """Know the classes. Raises InputError for what cannot be labels."""
        where, values = self._source.target, self._values
        if self.soft:
            if self._outside is not None:
                check_soft(self._outside[1], where, self._outside[0])
            self.class_names = SOFT_CLASSES
            return
        found = values.distinct
        if isinstance(found[0], str):
            values.check(where, QUANTITY)
        check_classes(np.array(found), where, values.rows)
        self.class_names = class_names(np.array(found))
        self._number = {value: number for number, value in enumerate(found)}

    def encode(self, target: np.ndarray, dtype: str) -> np.ndarray:
        """Class indices (R,) int32, or soft labels in `dtype`."""
        if self.soft:
            return target.astype(dtype)
        try:
            numbers = map(self._number.__getitem__, target.tolist())
            return np.fromiter(numbers, np.int32, len(target))
        except KeyError:
            raise changed(self._source.path) from None
