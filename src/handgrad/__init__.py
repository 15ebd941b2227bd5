"""handgrad: hand-derived gradients for the cross-entropy family, verified and measured.

>>> import handgrad as hg
>>> from handgrad.gradients import logistic
>>> train, test = hg.standardise(*hg.split(hg.load("breast-cancer")))
>>> result = hg.fit(logistic.model(), train.x, train.y)
>>> hg.accuracy(logistic.model(), result.params, test.x, test.y) > 0.95
True
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# What can be reached as handgrad.<name>, and the room it is fetched from when first asked for.
_ROOMS = {
    "agree": "verify",
    "verify": "verify",
    "exact": "exact",
    "explain": "explain",
    "Verdict": "verify",
    "accuracy": "train",
    "baseline": "train",
    "fit": "train",
    "fit_many": "train",
    "fit_stream": "train",
    "newton_stream": "train",
    "load": "data",
    "open_parts": "scale.streams",
    "open_stream": "scale.streams",
    "split": "data",
    "standardise": "data",
    "losses": "losses",
}

__all__ = sorted(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'handgrad' has no attribute {name!r}")
    room = importlib.import_module(f"handgrad.{_ROOMS[name]}")
    return room if name == _ROOMS[name] else getattr(room, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
