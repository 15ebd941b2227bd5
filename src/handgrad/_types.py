"""Array aliases and axis letters.

The letters, wherever a shape is written: N examples, D features, K classes, H hidden units,
T tokens, V vocabulary.
"""

from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Array", "ArrayLike", "DTypeLike", "Features", "Key", "Scalar"]

Key = PRNGKeyArray
Scalar = Float[Array, ""]
Features = Float[Array, "N D"]
