"""A formula cut into tokens, to be taken from the front; for `reading`."""

import re

from handgrad.derivations.meaning import Unreadable

TOKEN = re.compile(r"\\[a-zA-Z]+|\\\\|\\[,;]|\d+(?:\.\d+)?|[a-zA-Z]|\S")
SPACE = (r"\,", r"\;", r"\left", r"\right")
"""What is there for the eye alone."""


class Tokens:
    """What is left of a formula.

    >>> tokens = Tokens(r"\\frac{1}{2} z")
    >>> tokens.take(), tokens.until("}"), tokens.accept("{", "2"), tokens.peek()
    ('\\\\frac', ['{', '1'], True, '}')
    """

    def __init__(self, latex: str):
        self.left = [token for token in TOKEN.findall(latex) if token not in SPACE]

    def peek(self, ahead: int = 0) -> str:
        """A token to come; '' past the end."""
        return self.left[ahead] if len(self.left) > ahead else ""

    def take(self, *wanted: str) -> str:
        """The next token, which must be one of these, if any are given."""
        if not self.left or (wanted and self.left[0] not in wanted):
            raise Unreadable(f"{self.peek() or 'the end'} where {' or '.join(wanted)} should be")
        return self.left.pop(0)

    def accept(self, *tokens: str) -> bool:
        """Whether these tokens come next; they are taken then."""
        if tuple(self.left[: len(tokens)]) != tokens:
            return False
        del self.left[: len(tokens)]
        return True

    def until(self, end: str) -> list[str]:
        """The tokens before the next `end`, which is taken too."""
        found = []
        while not self.accept(end):
            found.append(self.take())
        return found
