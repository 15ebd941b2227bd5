"""Array aliases and axis letters.

The letters, wherever a shape is written: N examples, D features, K classes, H hidden units,
T tokens, V vocabulary.
"""

from jaxtyping import Array, Float, Int, PRNGKeyArray

__all__ = ["Array", "ClassLabels", "Features", "Key", "Scalar"]

Key = PRNGKeyArray
Scalar = Float[Array, ""]
Features = Float[Array, "N D"]
ClassLabels = Int[Array, " N"] | Float[Array, "N K"]
