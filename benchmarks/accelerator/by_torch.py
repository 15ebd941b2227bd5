"""PyTorch on the same device and the same memory, its answers as JAX's arrays.

Arrays are handed over as they lie, both ways; a run ends when the device is idle again.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from handgrad.bench.peers import by_compile, installed
from handgrad.bench.timing import Check, Contender, WrongAnswerError, plain


def is_there() -> str:
    """An empty text if PyTorch is installed and has this device, else why not."""
    torch: Any = installed("torch")
    if torch is None:
        return "torch is not installed: left out"
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return "torch has no such device: left out"
    return ""


def tensor(array: jax.Array) -> Any:
    """The array as a tensor in the same memory."""
    torch: Any = installed("torch")
    return torch.from_dlpack(jax.block_until_ready(array))


def wait() -> None:
    """Until the device is idle."""
    torch: Any = installed("torch")
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gradient_of(loss: Callable, leaves: tuple[Any, ...]) -> Any:
    """(E, ∇E) as JAX's arrays, once they are there."""
    torch: Any = installed("torch")
    value = loss(*leaves)
    parts = torch.autograd.grad(value, leaves)
    wait()
    return jnp.from_dlpack(value.detach()), tuple(map(jnp.from_dlpack, parts))


def contenders(
    loss: Callable, arrays: tuple[jax.Array, ...], check: Check, name: str = "PyTorch"
) -> tuple[list[Contender], list[str]]:
    """The gradient of `loss` by autograd, and compiled; notes of what cannot take part."""
    leaves = tuple(tensor(array).requires_grad_() for array in arrays)
    run = partial(gradient_of, leaves=leaves)
    found, notes = [], []
    try:
        found.append(plain(f"{name}, autograd", lambda: run(loss), check))
    except WrongAnswerError:
        raise
    except Exception as fault:  # most often for want of memory
        notes.append(f"{name}, autograd, is left out: {first_line(fault)}")
    compiled_too, why = by_compile(run, loss, check)
    found += [replace(one, name=f"{name}, compiled") for one in compiled_too]
    return found, [*notes, *why]


def first_line(fault: Exception) -> str:
    """Its kind and the first line of what it says."""
    return f"{type(fault).__name__}: {(str(fault).strip().splitlines() or [''])[0]}"[:200]
