"""Array aliases, axis letters, and the record of functions that every trainable model is.

The letters, wherever a shape is written: N examples, D features, K classes, H hidden units,
T tokens, V vocabulary.

The formulas are plain functions of (params, x, y, ...). What varies from user to user (a penalty,
hidden sizes, an activation) is bound once, by the `model(...)` function of each file; what comes
out has the same fields for all of them, and is all that training needs to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = [
    "Array", "ArrayLike", "BinaryLabels", "ClassLabels", "Coded", "DTypeLike", "Elementwise",
    "Features", "Inputs", "Key", "Logits", "Model", "Rows", "Scalar", "Weights", "like",
    "values_of",
]  # fmt: skip


@partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["sizes"])
@dataclass(frozen=True, eq=False)
class Coded:
    """Features (N, D) with categories as codes, not as columns: a row has one number for each.

    The D features are those of the same table one-hot, in its order: a column of numbers is one
    feature, a category of K values is K. So parameters are the same as well, and a weight learnt
    with codes is a weight for columns.

        x W = Σ_numbers x_j W_j + Σ_categories W_{start_j + code_j}

    Attributes:
        values: (N, C) floats, one column for each column of the table: a number as it is, or a code
            in 0..K−1, or −1 for none of the K.
        sizes: of each of the C columns the number K of its categories; 0 for numbers.

    `data.coded` makes one of numbers and codes, and refuses codes out of range; where they are met
    in a compiled program, logits are NaN.
    """

    values: Any
    sizes: tuple[int, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first feature of each column."""
        return tuple(accumulate((max(size, 1) for size in self.sizes[:-1]), initial=0))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D); before them what is stacked, such as folds."""
        return *self.values.shape[:-1], sum(max(size, 1) for size in self.sizes)

    @property
    def dtype(self) -> Any:
        """That of the numbers, and of the codes."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """N C: what is kept, and read."""
        return self.values.size

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which columns are numbers."""
        return tuple(place for place, size in enumerate(self.sizes) if not size)

    @property
    def categories(self) -> tuple[int, ...]:
        """Which columns are codes."""
        return tuple(place for place, size in enumerate(self.sizes) if size)

    def with_values(self, values: Any) -> "Coded":
        """The same columns for other rows, or of another dtype."""
        return Coded(values, self.sizes)

    def astype(self, dtype: Any, copy: bool = True) -> "Coded":
        """In another dtype."""
        return self.with_values(self.values.astype(dtype, copy=copy))

    def __getitem__(self, rows: Any) -> "Coded":
        return self.with_values(self.values[rows])

    def __len__(self) -> int:
        return self.values.shape[0]

    __iter__ = None  # or Python would ask for row after row, for ever where JAX has them

    def __repr__(self) -> str:
        counts = f"{len(self.numbers):,} numbers, {len(self.categories):,} categories"
        shape = " x ".join(f"{size:,}" for size in self.shape)
        return f"Coded({shape}: {counts}, {np.dtype(self.dtype)})"


def values_of(x: Any) -> Any:
    """The array that features are kept in: x itself, or the numbers and codes of `Coded`."""
    return x.values if isinstance(x, Coded) else x


def like(x: Any, values: Any) -> Any:
    """Features of the kind of x, kept in `values`."""
    return x.with_values(values) if isinstance(x, Coded) else values


Key = PRNGKeyArray
Scalar = Float[Array, ""]
Features = Float[Array, "N D"]
Inputs = Features | Coded
"""Features as an array, or with categories as codes: what a model takes."""
Logits = Float[Array, " N"] | Float[Array, "N K"]
Elementwise = Float[Array, "*shape"]
"""Arrays of one shape, whatever it is: arguments and results."""
Rows = Float[Array, "*batch K"]
"""Arrays of one shape whose last axis is that of the classes."""
BinaryLabels = Float[Array, "*shape"] | Int[Array, "*shape"] | Bool[Array, "*shape"]
Weights = Float[Array, " N"]
"""How much each example counts in the mean."""
ClassLabels = Int[Array, "*batch"] | Float[Array, "*batch K"]

Params = TypeVar("Params")


@dataclass(frozen=True)
class Model(Generic[Params]):
    """A trainable model as functions; `params` is a NamedTuple of arrays only.

    `x` is (N, D); `y` is (N,) in [0, 1] for a binary model, (N,) integers or (N, K) probabilities
    for K classes. Losses are means over examples, in nats.
    """

    init: Callable[..., Params]
    """init(key, features, classes=2, dtype=None) -> params: random weights, zero biases."""
    logits: Callable[[Params, Any], Array]
    """logits(params, x) -> (N,) or (N, K) scores."""
    predict: Callable[[Params, Any], Array]
    """predict(params, x) -> (N,) or (N, K) probabilities."""
    loss: Callable[[Params, Any, Any], Array]
    """loss(params, x, y) -> scalar."""
    gradient: Callable[[Params, Any, Any], Params]
    """gradient(params, x, y) -> the structure of params."""
    value_and_gradient: Callable[..., tuple[Array, Params]]
    """value_and_gradient(params, x, y) -> (loss, gradient), sharing one forward pass.

    Where it takes a `sample_weight` (N,) too, examples count so much in the mean.
    """
    hessian: Callable[[Params, Any, Any], Any] | None = None
    """hessian(params, x, y) -> the structure that jax.hessian returns."""
    hvp: Callable[[Params, Params, Any, Any], Params] | None = None
    """hvp(params, tangent, x, y) -> Hessian times tangent, in the structure of params."""
