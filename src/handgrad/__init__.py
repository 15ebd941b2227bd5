"""handgrad: hand-derived gradients for the cross-entropy family, verified and measured.

>>> import handgrad as hg
>>> from handgrad.gradients import logistic
>>> train, test = hg.standardise(*hg.split(hg.load("breast-cancer")))
>>> result = hg.fit(logistic.model(), train.x, train.y)
>>> hg.accuracy(logistic.model(), result.params, test.x, test.y) > 0.95
True
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; at run time each name comes when asked for
    from handgrad import exact as exact
    from handgrad import losses as losses
    from handgrad._types import Model as Model
    from handgrad.data import Dataset as Dataset
    from handgrad.data import load as load
    from handgrad.data import split as split
    from handgrad.data import standardise as standardise
    from handgrad.errors import DivergedError as DivergedError
    from handgrad.errors import HandgradError as HandgradError
    from handgrad.errors import InputError as InputError
    from handgrad.errors import MissingExtraError as MissingExtraError
    from handgrad.errors import NotFollowed as NotFollowed
    from handgrad.errors import Undecided as Undecided
    from handgrad.errors import UnsupportedPrimitive as UnsupportedPrimitive
    from handgrad.explain import Explanation as Explanation
    from handgrad.explain import explain as explain
    from handgrad.repair import Repair as Repair
    from handgrad.repair import repair as repair
    from handgrad.scale.streams import Stream as Stream
    from handgrad.scale.streams import open_parts as open_parts
    from handgrad.scale.streams import open_stream as open_stream
    from handgrad.train import FitResult as FitResult
    from handgrad.train import accuracy as accuracy
    from handgrad.train import baseline as baseline
    from handgrad.train import fit as fit
    from handgrad.train import fit_many as fit_many
    from handgrad.train import fit_stream as fit_stream
    from handgrad.train import newton_stream as newton_stream
    from handgrad.train.saved import SavedModel as SavedModel
    from handgrad.train.saved import load_model as load_model
    from handgrad.verify import Verdict as Verdict
    from handgrad.verify import agree as agree
    from handgrad.verify import verify as verify
    from handgrad.verify import verify_hessian as verify_hessian
    from handgrad.verify import verify_jvp as verify_jvp
    from handgrad.verify import verify_objective as verify_objective
    from handgrad.verify import verify_rule as verify_rule
    from handgrad.verify import verify_vjp as verify_vjp

__version__ = "0.1.0"

_ROOMS = {
    "_types": "Model",
    "data": "Dataset load split standardise",
    "errors": "DivergedError HandgradError InputError MissingExtraError NotFollowed Undecided "
    "UnsupportedPrimitive",
    "exact": "exact",
    "explain": "Explanation explain",
    "losses": "losses",
    "repair": "Repair repair",
    "scale.streams": "Stream open_parts open_stream",
    "train": "FitResult accuracy baseline fit fit_many fit_stream newton_stream",
    "train.saved": "SavedModel load_model",
    "verify": "Verdict agree verify verify_hessian verify_jvp verify_objective verify_rule "
    "verify_vjp",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}
"""The module in which each public name is found when it is first asked for."""

_MODULES = ("exact", "losses")

__all__ = sorted(_HOME)

if not TYPE_CHECKING:  # which would take any name to be there

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'handgrad' has no attribute {name!r}")
        home = importlib.import_module(f"handgrad.{_HOME[name]}")
        found = home if name in _MODULES else getattr(home, name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `handgrad.verify` the function: importing the module of that name would hide it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _HOME and name not in _MODULES:
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
