"""What an equation does, as data: for the page, which computes both passes again in the browser.

The page knows elementwise primitives, sums and extremes along axes, products of matrices, moves of
whole axes, and loops and branches of these. Any other primitive has no operation: what depends on
it is shown as recorded.
"""

from typing import Any

from handgrad.explain.primitives import detail_of
from handgrad.jaxprs import CALLS, called_program, equations, scan_counts, sub_jaxprs

ELEMENTWISE = {
    "abs", "add", "add_any", "and", "cos", "cosh", "div", "eq", "exp", "exp2", "expm1", "floor",
    "ge", "gt", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne",
    "neg", "not", "or", "pow", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "tanh",
}  # fmt: skip
ALONG_AXES = {
    "argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod",
    "reduce_sum",
}  # fmt: skip
SAME_ORDER = {"copy", "copy_p", "expand_dims", "reshape", "squeeze"}
RULES = {"logaddexp", "relu"}
"""Functions of JAX with a rule by hand, which the page has too."""
FLOATS = {"float32", "float64"}
KINDS = {"b", "i", "u", "f"}


def operation_of(equation: Any) -> dict[str, Any] | None:
    """The name of what the page is to compute and its parameters; None where it cannot.

    >>> import jax
    >>> program = jax.make_jaxpr(lambda x: x.T @ x)(jax.numpy.ones((3, 2)))
    >>> [operation_of(equation)["op"] for equation in equations(program)]
    ['transpose', 'dot_general']
    """
    avals = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    for aval in avals:
        dtype: Any = getattr(aval, "dtype", None)
        kind = getattr(dtype, "kind", "")  # random keys have none
        if kind not in KINDS or (kind == "f" and dtype.name not in FLOATS):
            return None
    name, params = equation.primitive.name, equation.params
    if name in ELEMENTWISE:
        return {"op": name}
    if name in ALONG_AXES:
        return {"op": name, "axes": [int(axis) for axis in params["axes"]]}
    if name in SAME_ORDER:
        return {"op": "reshape"}
    if name == "integer_pow":
        return {"op": name, "power": params["y"]}
    if name in ("convert_element_type", "stop_gradient"):
        return {"op": name}
    if name == "transpose":
        return {"op": name, "axes": list(params["permutation"])}
    if name == "broadcast_in_dim":
        return {"op": name, "axes": list(params["broadcast_dimensions"])}
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
        if called is not None and _is_known(called):
            continue
        if equation.invars and not operation_of(equation):
            return False
    return True
