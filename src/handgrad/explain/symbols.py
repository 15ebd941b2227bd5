"""How an equation is written: `y × softplus₁` rather than `mul y softplus₁`."""

from typing import Any

from handgrad.verify.diagnosis.intermediates import called_name

INFIX = {
    "add": "+", "add_any": "+", "sub": "−", "mul": "×", "div": "÷", "dot_general": "·",
    "eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "and": "and", "or": "or",
    "rem": "mod",
}  # fmt: skip
PREFIX = {"neg": "−", "not": "not "}
CALLED = {
    "logistic": "σ", "reduce_sum": "Σ", "reduce_max": "max", "reduce_min": "min",
    "reduce_prod": "Π", "reduce_and": "all", "reduce_or": "any", "broadcast_in_dim": "copies",
    "select_n": "where", "stop_gradient": "constant", "cumsum": "running Σ", "sqrt": "√",
    "remat": "checkpoint", "remat2": "checkpoint",
}  # fmt: skip
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def detail(equation: Any) -> str:
    """What a primitive's name leaves out of its equation."""
    name, params = equation.primitive.name, equation.params
    if name == "integer_pow":
        return str(params["y"])
    if name == "convert_element_type":
        return str(params["new_dtype"])
    if name == "scan":
        return str(params["length"])
    if name in ("custom_jvp_call", "custom_vjp_call"):
        return str(params.get("name", "")) or called_name(params)
    return ""


def operator(primitive: str, detail: str) -> str:
    """The sign, or the name, of what an equation does."""
    if primitive in ("custom_jvp_call", "custom_vjp_call"):
        return detail or primitive
    if primitive == "convert_element_type":
        return detail
    return INFIX.get(primitive) or CALLED.get(primitive) or PREFIX.get(primitive) or primitive


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
    if primitive == "square":
        return f"{operands[0]}²"
    if primitive == "integer_pow":
        return f"{operands[0]}{detail.translate(SUPERSCRIPT)}"
    if primitive == "reduce_sum":
        return f"Σ {operands[0]}"
    if primitive == "select_n" and len(operands) == 3:
        operands = [operands[0], operands[2], operands[1]]
    if primitive == "scan":
        return f"scan of {detail} ({', '.join(operands)})"
    return f"{operator(primitive, detail)}({', '.join(operands)})"
