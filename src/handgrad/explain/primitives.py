"""How each primitive is written, what its local derivative is, and what the page computes of it.

An elementwise equation has one local derivative per entry: what its pullback makes of a cotangent
of ones. The local derivative of any other equation is described: a Jacobian is never written out.
The page computes both passes again in the browser, from what `operation_of` says of an equation.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from handgrad.jaxprs import (
    CALLS,
    CUSTOM_CALLS,
    called_program,
    equations,
    scan_counts,
    sub_jaxprs,
)

# --- written ----------------------------------------------------------------------------------

INFIX = {
    "add": "+", "add_any": "+", "sub": "−", "mul": "×", "div": "÷", "dot_general": "·",
    "eq": "is", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "and": "and", "or": "or",
    "rem": "mod",
}  # fmt: skip
PREFIX = {"neg": "−", "not": "not ", "reduce_sum": "Σ "}
SIGNS = {
    "logistic": "σ", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "Π",
    "reduce_and": "all", "reduce_or": "any", "broadcast_in_dim": "copies",
    "select_n": "where", "stop_gradient": "constant", "cumsum": "running Σ", "sqrt": "√",
    "remat": "checkpoint", "remat2": "checkpoint",
}  # fmt: skip
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
DETAILS = {"convert_element_type": "new_dtype", "integer_pow": "y", "scan": "length"}
"""By primitive: the parameter that is written."""


def detail_of(equation: Any) -> str:
    """What a primitive's name leaves out: an exponent, a dtype, a length, a function's name."""
    name, params = equation.primitive.name, equation.params
    if name in DETAILS:
        return str(params[DETAILS[name]])
    rule = called_program(equation, CUSTOM_CALLS)
    if rule is not None:
        function = getattr(rule.jaxpr.debug_info, "func_name", "")
        return str(params.get("name") or function or "")
    return ""


def expression(primitive: str, detail: str, operands: list[str]) -> str:
    """An equation's right side.

    >>> expression("mul", "", ["y", "z"]), expression("integer_pow", "2", ["z"])
    ('y × z', 'z²')
    >>> expression("select_n", "", ["z > 0", "0", "z"])
    'where(z > 0, z, 0)'
    """
    if primitive in INFIX and len(operands) == 2:
        return f"{operands[0]} {INFIX[primitive]} {operands[1]}"
    if primitive in PREFIX:
        return f"{PREFIX[primitive]}{operands[0]}"
    if primitive in ("square", "integer_pow"):
        return f"{operands[0]}{(detail or '2').translate(SUPERSCRIPT)}"
    if primitive == "select_n" and len(operands) == 3:
        operands = [operands[0], operands[2], operands[1]]
    if primitive == "scan":
        return f"scan of {detail} ({', '.join(operands)})"
    named_by_detail = primitive == "convert_element_type" or primitive in CUSTOM_CALLS
    sign = detail if named_by_detail and detail else SIGNS.get(primitive, primitive)
    return f"{sign}({', '.join(operands)})"


# --- differentiated ---------------------------------------------------------------------------

COMPUTED_ELEMENTWISE = {
    "abs", "add", "add_any", "and", "cos", "cosh", "div", "eq", "exp", "exp2", "expm1", "floor",
    "ge", "gt", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne",
    "neg", "not", "or", "pow", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "tanh",
}  # fmt: skip
"""Those that the page computes."""
ELEMENTWISE = COMPUTED_ELEMENTWISE | {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp", "digamma",
    "erf", "erf_inv", "erfc", "integer_pow", "lgamma", "rem", "round", "tan",
}  # fmt: skip

MOVED = "1: entries are moved, so their cotangents move back"
COPIED = "1 for every copy: the cotangents of the copies are added"
CUT = "1 inside the slice, 0 outside: the cotangent goes back to its place"
COTANGENT = "the cotangent goes on"
ARITHMETIC = {
    "add": (f"1: {COTANGENT} as it is",) * 2,
    "add_any": (f"1: {COTANGENT} as it is",) * 2,
    "sub": (f"1: {COTANGENT} as it is", f"−1: {COTANGENT} with its sign turned"),
    "mul": (f"the other factor: {COTANGENT} times it",) * 2,
    "div": ("1 by the divisor", "minus the quotient by the divisor"),
    "neg": (f"−1: {COTANGENT} with its sign turned",),
    "select_n": ("", *("1 where it was chosen, 0 elsewhere",) * 2),
}
"""By operand."""
SUMMED = "; added up over the copies that were made of it"
PLAIN = "one number for each entry"
AGAIN = "that of the function inside, computed again on the way back"
LOOP = "the pullback of the loop's body, last iteration first"
DESCRIPTIONS = {
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
class LocalJacobian:
    """∂output/∂input: its diagonal `entries` for an elementwise equation, else only a text."""

    entries: Any | None
    description: str


def local_jacobian(equation: Any, place: int, operand: Any, pulled_ones: Any) -> LocalJacobian:
    """The Jacobian in the operand at a place, given what the pullback makes of ones."""
    name, size = equation.primitive.name, jnp.size(operand)
    by_operand = ARITHMETIC.get(name, ())
    description = by_operand[place] if place < len(by_operand) else DESCRIPTIONS.get(name)
    one = len(equation.outvars) == 1 and equation.outvars[0].aval.size == size == 1
    if one or is_elementwise(equation):
        return LocalJacobian(pulled_ones, description or PLAIN)
    if description and by_operand and size < equation.outvars[0].aval.size:
        description += SUMMED
    return LocalJacobian(None, description or "what its pullback does")


def is_elementwise(equation: Any) -> bool:
    """Whether entry i of the output depends on entry i of each operand, and on no other."""
    programs = sub_jaxprs(equation)
    if programs:
        called = called_program(equation, CALLS | CUSTOM_CALLS) is not None
        inner = [e for program in programs for e in equations(program, lambda _: [])]
        return called and all(map(is_elementwise, inner))
    one_shape = len({v.aval.shape for v in (*equation.invars, *equation.outvars)}) == 1
    return equation.primitive.name in ELEMENTWISE and one_shape


# --- computed by the page -------------------------------------------------------------------------

AXES = {
    "broadcast_in_dim": "broadcast_dimensions", "transpose": "permutation",
    **dict.fromkeys(
        ("argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod",
         "reduce_sum"), "axes",
    ),
}  # fmt: skip
"""By primitive: the parameter that is a list of axes."""
SAME_ORDER = {"copy", "copy_p", "expand_dims", "reshape", "squeeze"}
RULES = {"logaddexp", "relu"}
"""Functions of JAX with a rule by hand, which the page has too."""
FLOATS = {"float32", "float64"}


def operation_of(equation: Any) -> dict[str, Any] | None:
    """The name of what the page is to compute and its parameters; None where it cannot.

    >>> import jax
    >>> program = jax.make_jaxpr(lambda x: x.T @ x)(jax.numpy.ones((3, 2)))
    >>> [operation_of(equation)["op"] for equation in equations(program)]
    ['transpose', 'dot_general']
    """
    for atom in (*equation.invars, *equation.outvars):
        dtype = getattr(atom.aval, "dtype", None)
        kind = getattr(dtype, "kind", "")  # random keys have none
        if kind not in ("b", "i", "u") and str(dtype) not in FLOATS:
            return None
    name, params = equation.primitive.name, equation.params
    if name in COMPUTED_ELEMENTWISE or name in ("convert_element_type", "stop_gradient"):
        return {"op": name}
    if name in AXES:
        return {"op": name, "axes": list(map(int, params[AXES[name]]))}
    if name in SAME_ORDER:
        return {"op": "reshape"}
    if name == "integer_pow":
        return {"op": name, "power": params["y"]}
    if name == "dot_general":
        contracted, batch = (list(map(list, pair)) for pair in params["dimension_numbers"])
        return {"op": name, "contracted": contracted, "batch": batch}
    if name == "slice":
        starts = list(params["start_indices"])
        return {"op": name, "starts": starts, "steps": list(params["strides"] or [1] * len(starts))}
    if name == "custom_jvp_call" and detail_of(equation) in RULES:
        return {"op": detail_of(equation)}
    if name in ("scan", "cond") and all(map(_is_known, sub_jaxprs(equation))):
        if name == "cond":
            return {"op": name}
        constants, carried = scan_counts(params)
        length = params["length"]
        return {"op": name, "constants": constants, "carried": carried, "length": length}
    return None


def _is_known(program: Any) -> bool:
    """Whether the page can compute every equation of a program."""
    for equation in equations(program, lambda _: []):
        called = called_program(equation, CALLS)
        opened = called is not None and _is_known(called)
        if equation.invars and not opened and not operation_of(equation):
            return False
    return True
