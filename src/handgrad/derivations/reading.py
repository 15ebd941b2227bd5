"""The formulas executed: a line's LaTeX as a function of what its letters stand for.

A formula in prose drifts away from the code beside it. Read by this small parser, the LaTeX of a
line is itself computed, and can be held to the line's value as one line is to another.

It knows what most derivations are written in: sums, products, quotients, powers, indices and sums
over them, cases, ∂, inner products, (x_n, 1), and definitions that follow a formula. It has no
words for the layers of networks: what it does not know is `Unreadable`, never guessed.

>>> read(r"= -\\frac{a}{2} (1-q)^2, \\quad q = 3 a")({"a": 2.0}, {}).item()
-25.0
"""

from collections.abc import Callable

from handgrad.derivations import meaning
from handgrad.derivations.grammar import Reader
from handgrad.derivations.meaning import Formula, Unreadable


def read(latex: str) -> Formula:
    """The function of (names, indices) that a formula says, with the definitions it ends in.

    Raises Unreadable for what the reader does not know, when read or when computed.
    """
    main, *definitions = latex.removeprefix("=").split(r", \quad ")
    body = _whole(Reader(main))
    more = dict(_definition(Reader(text)) for text in definitions)
    return lambda env, idx: body({**env, **more}, idx)


def _whole(reader: Reader) -> Formula:
    value = reader.sum()
    while reader.tokens.accept("="):  # the same again, in other letters
        reader.sum()
    if reader.tokens.peek():
        raise Unreadable(f"{reader.tokens.peek()} is left over")
    return value


def _definition(reader: Reader) -> tuple[str, Callable]:
    name, letters = reader.name(), []
    if reader.tokens.accept("_"):
        letters = reader.tokens.until("}") if reader.tokens.accept("{") else [reader.tokens.take()]
    reader.tokens.take("=")
    return name, meaning.definition(_whole(reader), letters)
