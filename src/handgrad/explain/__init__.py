"""What autodiff and training do, drawn and written out.

The room and its main function share a name: `handgrad.explain(f, *args)` explains, and the rest of
the room is at `handgrad.explain.Explanation` and so on. So the module can be called.
"""

import sys
from types import ModuleType
from typing import Any

__all__ = ["Explanation", "explain", "explain_case"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'handgrad.explain' has no attribute {name!r}")
    from handgrad.explain import explanation  # the figures need none of it

    return getattr(explanation, name)


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from handgrad.explain.explanation import explain

        return explain(*args, **options)


sys.modules[__name__].__class__ = _Room
