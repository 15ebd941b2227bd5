"""The code: terms as readable `jax.numpy`, one line for each shared part, no more parentheses
than Python needs.

>>> from handgrad.repair.terms import argument, function
>>> x = argument(0)
>>> e = function("exp", -x)
>>> print("\\n".join(statements(e / ((1 + e) * (1 + e)), ["x"])))
e = jnp.exp(-x)
p = 1 + e
return e / p**2
"""

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from handgrad.repair.terms import (
    COMPARISONS,
    FUNCTIONS,
    INFIX,
    SYMBOLS,
    Expression,
    number_text,
    subterms,
)

LONGEST = 74
"""Characters of an expression, so that its line has at most the 88 of the usual formatters."""
COMPARISON, OR, AND, SUM, PRODUCT, SIGN, POWER, ATOM = range(8)
PRECEDENCE = {"add": SUM, "sub": SUM, "mul": PRODUCT, "div": PRODUCT, "neg": SIGN, "pow": POWER,
              "and": AND, "or": OR, **dict.fromkeys(COMPARISONS, COMPARISON)}  # fmt: skip
SHORT_NAMES = {
    "exp": "e", "expm1": "m", "sqrt": "r", "log": "l", "log1p": "l", "tanh": "t", "logistic": "s",
    "where": "w", "sin": "sin", "cos": "cos", "round": "near", "abs": "a", "lt": "left",
    "eq": "at", "and": "middle", "or": "outer", "ge": "right", "gt": "right", "sub": "d",
    "add": "p", "mul": "q", "div": "q",
}  # fmt: skip
NAMED_FUNCTIONS = {
    "where": "jnp.where", "max": "jnp.maximum", "min": "jnp.minimum", "power": "jnp.power",
    "not": "jnp.logical_not",
}  # fmt: skip
SYMBOL_SOURCES = {"ln2": "jnp.log(2)", "sqrt_pi": "jnp.sqrt(jnp.pi)"}


class Writer:
    """Writes terms, with names for what has one."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = list(arguments)
        self.names: dict[Expression, str] = {}

    def text(self, term: Expression) -> tuple[str, int]:
        """The expression and how tightly it binds."""
        op, args = term.op, term.args
        if term in self.names:
            return self.names[term], ATOM
        if op == "arg":
            return self.arguments[term.value], ATOM
        if op == "const":
            text = number_text(term.value)
            return text, SIGN if text.startswith("-") else ATOM
        if op in SYMBOLS:
            return SYMBOL_SOURCES[op], ATOM
        if op == "neg":
            inner = self._at(args[0], PRODUCT)
            return f"-({inner})" if inner.startswith("-") else f"-{inner}", SIGN
        if op == "pow" or (op == "mul" and args[0] is args[1] and args[0].op != "const"):
            return self._power(term)
        if op in INFIX:
            own = PRECEDENCE[op]
            left = self._at(args[0], own)
            right = self._at(args[1], own + 1)
            return f"{left} {INFIX[op]} {right}", own
        name = NAMED_FUNCTIONS.get(op) or FUNCTIONS[op].source
        return f"{name}({', '.join(self.text(arg)[0] for arg in args)})", ATOM

    def _at(self, term: Expression, least: int) -> str:
        text, tight = self.text(term)
        return text if tight >= least else f"({text})"

    def _power(self, term: Expression) -> tuple[str, int]:
        exponent = term.value if term.op == "pow" else Fraction(2)
        base = self._at(term.args[0], ATOM)
        power = number_text(exponent)
        simple = re.fullmatch(r"[\w.]+", base) and re.fullmatch(r"-?[\w.]+", power)
        return f"{base}**{power}" if simple else f"{base} ** {power}", POWER


def statements(term: Expression, arguments: Sequence[str]) -> list[str]:
    """Lines that assign the shared parts, and a last one that returns the term."""
    writer = Writer(arguments)
    taken = {*arguments, *keyword.kwlist, *dir(builtins), "jax", "jnp"}
    uses = Counter(arg for part in subterms(term) for arg in part.args)
    lines: list[str] = []

    def assign(part: Expression) -> None:
        name = _fresh(SHORT_NAMES.get(part.op, part.op), taken)
        lines.append(f"{name} = {writer.text(part)[0]}")
        writer.names[part] = name

    for part in subterms(term):
        if not part.args:
            continue
        while len(text := writer.text(part)[0]) > LONGEST:  # the longest operand gets a name
            operands = [arg for arg in part.args if arg.args and arg not in writer.names]
            if not operands:
                break
            assign(max(operands, key=lambda arg: len(writer.text(arg)[0])))
        if part is not term and uses[part] > 1 and part.op != "neg" and len(text) > 3:
            assign(part)
    return [*lines, f"return {writer.text(term)[0]}"]


def _fresh(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}{number}"
    taken.add(name)
    return name


IMPORTS = "import jax\nimport jax.numpy as jnp\n"
WIDENING = '''

def in_float32(f):
    """f, half precisions computed in float32 and rounded once at the end."""

    def wide(*args):
        dtype = jnp.result_type(*args)
        wider = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        return f(*(jnp.asarray(arg, wider) for arg in args)).astype(dtype)

    return wide
'''


def definition(
    name: str, arguments: Sequence[str], words: str, body: Sequence[str], widen: bool
) -> str:
    """A function with a docstring, after two empty lines."""
    lines = [
        f"def {name}({', '.join(arguments)}):",
        *(f"    {line}" for line in (f'"""{words}"""', *body)),
    ]
    return "\n".join(["", "", *(["@in_float32"] if widen else []), *lines, ""])


def rule(name: str, arguments: Sequence[str], moving: str) -> str:
    """The function of that name: `value`, whose tangent in the first argument is `moving`."""
    inputs, tangents = ", ".join(arguments), [f"d{argument}" for argument in arguments]
    comma = "," if len(arguments) == 1 else ""
    lines = [
        "", "", "@jax.custom_jvp", f"def {name}({inputs}):", f"    return value({inputs})", "", "",
        f"@{name}.defjvp", f"def {name}_jvp(primals, tangents):",
        f"    ({inputs}{comma}), ({', '.join(tangents)}{comma}) = primals, tangents",
    ]  # fmt: skip
    if len(arguments) > 1:
        others, moved = ", ".join(arguments[1:]), ", ".join(tangents[1:])
        comma = "," if len(arguments) == 2 else ""
        lines += [
            "", f"    def along({others}):", f"        return value({inputs})", "",
            f"    _, rest = jax.jvp(along, ({others}{comma}), ({moved}{comma}))",
        ]  # fmt: skip
        moving += " + rest"
    return "\n".join([*lines, f"    return {name}({inputs}), {moving}", ""])


def module(
    name: str,
    arguments: Sequence[str],
    value: Expression,
    slope: Expression,
    reduction: str,
    widen: bool,
) -> str:
    """A module that runs by itself: the value, its derivative, and the function with that rule.

    `reduction` is what comes of the entries: '' (nothing), 'sum' or 'mean'.
    """
    x, inputs = arguments[0], ", ".join(arguments)
    entry = name if not reduction else f"{name}_entry"
    words = "The function at each entry.", f"Its derivative in {x} at each entry."
    parts = [
        IMPORTS, WIDENING if widen else "",
        definition("value", arguments, words[0], statements(value, arguments), widen),
        definition("derivative", arguments, words[1], statements(slope, arguments), widen),
        rule(entry, arguments, f"derivative({inputs}) * d{x}"),
    ]  # fmt: skip
    if reduction:
        parts.append(f"\n\ndef {name}({inputs}):\n    return jnp.{reduction}({entry}({inputs}))\n")
    return "".join(parts)


def load(source: str) -> dict[str, Any]:
    """What a printed module defines."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<handgrad repair>", "exec"), namespace)
    return namespace
