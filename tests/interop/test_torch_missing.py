"""Without PyTorch: one line says what to install, and nothing else asks for it."""

import importlib.util
import sys

import numpy as np
import pytest

from handgrad.errors import MissingExtraError
from handgrad.interop.torch import as_array, from_torch, holds_tensors, uses_torch


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is here")
def test_the_remedy_is_named():
    with pytest.raises(MissingExtraError, match=r"pip install 'handgrad\[torch\]'"):
        from_torch(lambda x: x)


def test_nothing_is_a_function_of_pytorch_before_it_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    array = np.ones(2)
    assert not uses_torch(lambda x: x.numel())
    assert not holds_tensors((array,))
    assert as_array(array) is array
    assert "torch" not in sys.modules
