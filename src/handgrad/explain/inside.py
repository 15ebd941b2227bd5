"""What an equation holds inside: a loop's body, a branch, a custom rule's function, run forward."""

from typing import Any

import numpy as np
from jax.extend.core import Literal

from handgrad.explain.programs import CALLS, as_function, closed, literal, programs_in, variables
from handgrad.explain.symbols import detail
from handgrad.explain.tape import Inner


def opened(equation: Any, operands: list) -> tuple[str, tuple[Inner, ...]]:
    """What is shown of an equation's inside, and its equations with their values there."""
    if not programs_in(equation):
        return "", ()
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        fixed = params["num_consts"] + params["num_carry"]
        if params["length"] == 0:
            return "a loop of no iterations", ()
        first = -1 if params["reverse"] else 0
        entries = [array[first] for array in operands[fixed:]]
        said = f"the first of {params['length']} iterations"
        return said, _run(closed(params["jaxpr"]), [*operands[:fixed], *entries])
    if name == "while":
        start = params["cond_nconsts"]
        return "the first iteration", _run(closed(params["body_jaxpr"]), operands[start:])
    if name == "cond":
        branches = params["branches"]
        taken = int(np.clip(int(operands[0]), 0, len(branches) - 1))
        return f"branch {taken} of {len(branches)}", _run(closed(branches[taken]), operands[1:])
    program = programs_in(equation)[0]
    if len(program.jaxpr.invars) != len(operands):
        return "", ()
    return "the function it computes", _run(program, operands)


def _run(program: Any, operands: list) -> tuple[Inner, ...]:
    """A program's equations with their values, calls opened, named a, b, c, ... in order."""
    names: dict[Any, str] = {}
    found: list[Inner] = []

    def letter() -> str:
        number, text = len(names) + 1, ""
        while number:
            number, rest = divmod(number - 1, 26)
            text = chr(97 + rest) + text
        return text

    def walk(program: Any, operands: list, called: list[str]) -> tuple[list, list[str]]:
        jaxpr = program.jaxpr
        env = dict(zip(jaxpr.invars, operands, strict=True))
        env.update(zip(jaxpr.constvars, program.consts, strict=True))
        names.update(zip(jaxpr.invars, called, strict=True))
        for variable in jaxpr.constvars:
            names[variable] = letter()

        def read(atom: Any) -> Any:
            if isinstance(atom, Literal):
                return literal(atom)
            return env[atom]

        def name(atom: Any) -> str:
            return f"{np.asarray(atom.val):g}" if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            taken = [name(a) for a in equation.invars]
            if equation.primitive.name in CALLS and "jaxpr" in equation.params:
                outputs, given = walk(
                    equation.params["jaxpr"], [read(a) for a in equation.invars], taken
                )
                names.update(zip(equation.outvars, given, strict=True))
            else:
                function = as_function(jaxpr, equation, variables(equation.invars))
                outputs = function(*(env[v] for v in variables(equation.invars)))
                for variable, array in zip(equation.outvars, outputs, strict=True):
                    names[variable] = letter()
                    primitive = equation.primitive.name
                    found.append(
                        Inner(names[variable], primitive, detail(equation), tuple(taken), array)
                    )
            env.update(zip(equation.outvars, outputs, strict=True))
        return [read(a) for a in jaxpr.outvars], [name(a) for a in jaxpr.outvars]

    start: list[str] = []
    for variable in program.jaxpr.invars:
        start.append(letter())
        names[variable] = start[-1]
    walk(program, operands, start)
    return tuple(found)
