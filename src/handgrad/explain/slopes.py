"""The local derivative of one equation: a number for each entry, or how entries are moved.

An elementwise equation has one slope for each entry: what its pullback makes of a cotangent of
ones. Of any other equation it is said what its pullback does.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from handgrad.explain.programs import programs_in

ELEMENTWISE = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "add",
        "add_any",
        "and",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "ceil",
        "clamp",
        "cos",
        "cosh",
        "digamma",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "lgamma",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pow",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "sub",
        "tan",
        "tanh",
    ]
)

MOVED = "1: entries are moved, so their cotangents move back"
COPIED = "1 for every copy: the cotangents of the copies are added"
CUT = "1 inside the slice, 0 outside: the cotangent goes back to its place"
AGAIN = "that of the function inside, computed again on the way back"
LOOP = "the pullback of the loop's body, last iteration first"
SAID = {
    "broadcast_in_dim": COPIED,
    "checkpoint": AGAIN,
    "concatenate": "1: each part takes its share of the cotangent",
    "cond": "that of the branch that was taken",
    "conv_general_dilated": "the other factor: a convolution by it, turned over",
    "convert_element_type": "1: the same numbers in another dtype",
    "cumsum": "1 for every entry up to each sum: the cotangents are added from the end",
    "custom_jvp_call": "a rule by hand: its author's tangent function, transposed",
    "custom_vjp_call": "a rule by hand: its author's backward function",
    "dot_general": "the other factor: a product by it",
    "dynamic_slice": CUT,
    "expand_dims": MOVED,
    "gather": "1 where an entry was taken: its cotangent goes back there, repeats are added",
    "pad": "1 for every entry that was there before; the padding is constant",
    "reduce_max": "1 at the largest entry, shared where there is a tie; 0 elsewhere",
    "reduce_min": "1 at the smallest entry, shared where there is a tie; 0 elsewhere",
    "reduce_prod": "the product of all the other entries",
    "reduce_sum": "1 for every entry: the cotangent is copied to all that were added",
    "remat": AGAIN,
    "remat2": AGAIN,
    "reshape": MOVED,
    "rev": MOVED,
    "scan": LOOP,
    "scatter-add": "1 for every entry: a written one takes the cotangent from its place",
    "slice": CUT,
    "sort": MOVED,
    "split": MOVED,
    "squeeze": MOVED,
    "transpose": MOVED,
    "while": LOOP,
}


@dataclass(frozen=True)
class Slope:
    """∂output/∂input: `entries` for an elementwise equation, else None; `said` in words."""

    entries: Any
    said: str


def is_elementwise(equation: Any) -> bool:
    """Whether entry i of the output depends on entry i of each operand, and on no other."""
    inside = programs_in(equation)
    if inside:
        called = equation.primitive.name in ("jit", "pjit", "custom_jvp_call", "custom_vjp_call")
        return called and all(is_elementwise(inner) for p in inside for inner in p.jaxpr.eqns)
    one_shape = len({v.aval.shape for v in (*equation.invars, *equation.outvars)}) == 1
    return equation.primitive.name in ELEMENTWISE and one_shape


def slope(equation: Any, operand: Any, pulled_ones: Any) -> Slope:
    """The slope in one operand, given what the pullback makes of a cotangent of ones."""
    said = SAID.get(equation.primitive.name)
    one = len(equation.outvars) == 1 and equation.outvars[0].aval.size == jnp.size(operand) == 1
    if one or is_elementwise(equation):
        return Slope(pulled_ones, said or "one number for each entry")
    return Slope(None, said or "what its pullback does")
