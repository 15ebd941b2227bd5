"""PyTorch on the same device and the same memory, its answers as JAX's arrays.

Arrays are handed over as they lie, both ways; a run ends when the device is idle again.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerator.runner import first_line
from handgrad.bench.timing import Check, Contender, by_compile, installed, plain


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
    loss: Callable,
    arrays: tuple[jax.Array, ...],
    check: Check | None,
    name: str = "PyTorch",
    compile_too: bool = True,
) -> tuple[list[Contender], list[str]]:
    """The gradient of `loss` by autograd, and compiled; notes of who cannot take part, or is wrong.

    A peer that fails takes nothing from the race of the others.
    """
    leaves = tuple(tensor(array).requires_grad_() for array in arrays)
    run = partial(gradient_of, leaves=leaves)
    found: list[Contender] = []
    notes: list[str] = []
    for kind in ("autograd", "compiled") if compile_too else ("autograd",):
        try:
            if kind == "autograd":
                found.append(plain(f"{name}, {kind}", lambda: run(loss), check))
                continue
            some, why = by_compile(run, loss, check or (lambda answer: None))
        except Exception as fault:  # for want of memory, or with a wrong answer
            notes.append(f"{name}, {kind}, is left out: {first_line(fault)}")
            continue
        found += [replace(one, name=f"{name}, {kind}") for one in some]
        notes += why
    return found, notes


def taking_part(
    peers: Callable[..., tuple[list[Any], list[str]]], *args: Any
) -> tuple[list[Any], list[str]]:
    """What `peers` returns, or nothing and a note if PyTorch is not there, or cannot."""
    torch: Any = installed("torch")
    if torch is None:
        return [], ["torch is not installed: left out"]
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return [], ["torch has no such device: left out"]
    try:
        return peers(torch, *args)
    except Exception as fault:  # whatever it says of arrays that it cannot share, or of memory
        return [], [f"PyTorch is left out: {first_line(fault)}"]
