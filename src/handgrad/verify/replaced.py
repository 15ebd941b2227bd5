"""One wrong rule used throughout: the derivative of every tanh forgotten, or 1 − z² for each.

In a deep chain such a mistake is made once a layer, and no single cotangent explains the layers
before. So the gradient is taken again, with another slope s in place of f′ wherever f occurs:
f(x) becomes f(x₀) + s (x − x₀), whose value is f's and whose derivative is s.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._types import Array
from handgrad.verify.candidates import FACTORS
from handgrad.verify.intermediates import QUICK, Loss, Point
from handgrad.verify.naming import close
from handgrad.verify.relations import Finding, Leaf

COST = 24.0


def _made_of(f: Callable, of: Callable) -> Callable[[Array, Array], Array]:
    return lambda x, y: f(of(x, y))


def _slopes() -> list[tuple[str, Callable[[Array, Array], Array]]]:
    """Wrong slopes as functions of the argument and the value."""
    arguments = (
        ("its value", lambda x, y: y),
        ("its argument", lambda x, y: x),
        ("tanh(its value)", lambda x, y: jnp.tanh(y)),
        ("σ(its value)", lambda x, y: jax.nn.sigmoid(y)),
        ("σ(its argument)", lambda x, y: jax.nn.sigmoid(x)),
    )
    return [("forgotten", lambda x, y: jnp.ones_like(y))] + [
        (f"taken to be {formula}, v being {name}", _made_of(f, of))
        for formula, f, _ in FACTORS[:7]
        for name, of in arguments
    ]


def repeated_functions(points: Sequence[Point]) -> list[str]:
    """Elementwise functions of one argument that occur more than once on the way."""
    return [
        name
        for name, count in Counter(p.made_by for p in points if _is_unary(p, points)).items()
        if count > 1
    ]


def _is_unary(p: Point, points: Sequence[Point]) -> bool:
    alone = len(p.operands) == 1 and p.operands[0] >= 0 and p.moves and p.cotangent.any()
    return bool(alone and points[p.operands[0]].value.shape == p.value.shape)


def replaced_findings(
    loss: Loss, points: Sequence[Point], leaves: Sequence[Leaf], wrong: Sequence[int]
) -> Iterator[Finding]:
    """Findings about a slope that is wrong wherever its function occurs."""
    slopes = _slopes()
    for function in repeated_functions(points):

        def value(moving: list[Array], chosen: Array, function: str = function) -> Array:
            def shift(k: int, y: Array, operands: Sequence[Array]) -> Array:
                if points[k].made_by != function or not _is_unary(points[k], points):
                    return y
                (x,) = operands
                x0, y0 = jax.lax.stop_gradient((x, y))
                s = sum(w * f(x0, y0) for w, (_, f) in zip(chosen, slopes, strict=True))
                return y0 + s * (x - x0)

            return loss.run(moving, shift)[0]

        gradient = jax.jit(jax.grad(value), compiler_options=QUICK)
        for row, (words, _) in zip(np.eye(len(slopes)), slopes, strict=True):
            answers = [np.asarray(g) for g in gradient(loss.moving, jnp.asarray(row))]
            for i in wrong:
                if close(leaves[i].hand, answers[i]).all():
                    phrase = f"the derivative of every `{function}` {words}"
                    yield Finding(COST, phrase, i, leaves[i].hand.size)
