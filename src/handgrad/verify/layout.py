"""Layout: arguments as flat leaves, and the differentiated leaves as one row of numbers.

The judge moves points about as rows of numbers, names coordinates as a reader would
(`.weight[2]`), and puts both back into the arguments that the functions take.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad.verify.witnesses import Argnums, is_float, named_leaves


@dataclass(frozen=True)
class Layout:
    """How `at` is made of leaves, and where `argnums` points into them."""

    treedef: Any
    argnums: tuple[int, ...]
    """Flat positions of the differentiated leaves, in the order of the gradient's leaves."""
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, at: tuple, argnums: Argnums) -> "Layout":
        """The layout of these arguments."""
        leaves, treedef = jax.tree.flatten(at)
        positions = jax.tree.unflatten(treedef, range(len(leaves)))
        chosen: Any = (
            positions[argnums] if isinstance(argnums, int) else tuple(positions[i] for i in argnums)
        )
        named = named_leaves(chosen)
        flat = tuple(position for _, position in named)
        return cls(
            treedef=treedef,
            argnums=flat,
            shapes=tuple(tuple(np.shape(leaves[i])) for i in flat),
            names=tuple(name or "gradient" for name, _ in named),
        )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates in each differentiated leaf."""
        return tuple(int(np.prod(shape, dtype=int)) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Coordinates of the gradient."""
        return sum(self.sizes)

    def coordinate(self, index: int) -> str:
        """The name of a coordinate of the gradient, such as '.weight[2, 0]'."""
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            if index < size:
                place = [int(i) for i in np.unravel_index(index, shape)] if shape else ""
                return f"{name}{place}"
            index -= size
        raise IndexError(index)

    def input_at(self, leaves: list, index: int | None) -> str:
        """' at .weight[2, 0] = 1.5': the input beside a coordinate; '' for none."""
        if index is None:
            return ""
        return f" at {self.coordinate(index)} = {self.row(leaves, np.float64)[index]:.9g}"

    def args(self, leaves: list) -> tuple:
        """The arguments with these leaves."""
        return jax.tree.unflatten(self.treedef, leaves)

    def row(self, leaves: list, dtype: Any) -> np.ndarray:
        """The differentiated leaves as one row of `dtype`."""
        parts = [np.ravel(np.asarray(leaves[i])).astype(dtype) for i in self.argnums]
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    def split(self, row: Any) -> list:
        """A row cut into the shapes of the differentiated leaves."""
        ends = np.cumsum(self.sizes)[:-1]
        return [p.reshape(s) for p, s in zip(jnp_or_np_split(row, ends), self.shapes, strict=True)]

    def replaced(self, leaves: list, row: Any) -> list:
        """The leaves with the differentiated ones taken from a row."""
        leaves = list(leaves)
        for position, part in zip(self.argnums, self.split(row), strict=True):
            leaves[position] = part
        return leaves


def jnp_or_np_split(row: Any, ends: np.ndarray) -> list:
    """`split` that stays in NumPy for NumPy rows (of any dtype) and traces for JAX ones."""
    return np.split(row, ends) if isinstance(row, np.ndarray) else jnp.split(row, ends)


def rounded(leaves: list, dtype: Any) -> list:
    """Leaves as NumPy arrays, the floats rounded to `dtype`; random keys stay what they are."""
    return [np.asarray(leaf).astype(dtype) if is_float(leaf) else leaf for leaf in leaves]
