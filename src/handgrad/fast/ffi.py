"""Functions compiled by numba, as XLA calls them in the middle of its programs; and threads.

XLA hands a custom call one address, that of a call frame: a C struct, laid out in the header
`xla/ffi/api/c_api.h` that comes with jaxlib, the same from JAX 0.7.2 to 0.12. All that is needed
of it are whole words of 64 bits, counted here:

    frame    1 extensions   7 arguments: how many   9 arguments: addresses   14 results: addresses
    buffer   3 its numbers   4 its rank   5 its shape
    extension that asks for the version of the interface    1 its type   3 where to write
    what is written there    3 major version, and minor version in the upper half

Nothing here holds an address at compile time, so that numba may keep the machine code on disk.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import jax
import llvmlite.binding as llvm
import numpy as np
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CALLED_BY_C: dict[str, Any] = {"nopython": True, "cache": True, "error_model": "numpy"}
ASKS_FOR_VERSION = 1
VERSION = 1 << 32
"""0.1: the oldest minor version of this layout."""


@intrinsic
def _pointer(typing: Any, address: Any, dtype: Any) -> tuple:
    """The address as a pointer to numbers of this dtype."""
    signature = types.CPointer(dtype.dtype)(types.int64, dtype)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], context.get_value_type(signature.return_type))

    return signature, generate


@njit(inline="always")
def array(address: int, shape: tuple, dtype: Any) -> Any:
    """The numbers that lie there, in rows."""
    return carray(_pointer(address, dtype), shape)


# --- threads --------------------------------------------------------------------------------------

_create = types.ExternalFunction(
    "pthread_create", types.int32(types.int64, types.int64, types.int64, types.int64)
)
_join = types.ExternalFunction("pthread_join", types.int32(types.int64, types.int64))


def in_threads(function: Callable[[int], int], name: str) -> Any:
    """A compiled function of jobs (T, words): `function` of each row's address, a thread for each.

    It returns when all have. `name` is the symbol by which machine code finds `function`. A job
    for which the system starts no thread is done at once.
    """
    body = cfunc("int64(int64)", **CALLED_BY_C)(function)
    llvm.add_symbol(name, body.address)
    in_place = types.ExternalFunction(name, types.int64(types.int64))

    @intrinsic
    def address_of_body(typing: Any) -> tuple:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            word = context.get_value_type(types.int64)
            kind = cgutils.ir.FunctionType(word, [word])
            found = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.ptrtoint(found, word)

        return types.int64(), generate

    @njit
    def run(jobs: Any) -> None:
        count = len(jobs)
        threads = np.zeros(count, np.int64)
        started = np.zeros(count, np.bool_)
        for t in range(count):
            job = jobs[t:].ctypes.data
            started[t] = _create(threads[t:].ctypes.data, 0, address_of_body(), job) == 0
            if not started[t]:
                in_place(job)
        for t in range(count):
            if started[t]:
                _join(threads[t], 0)

    return run


# --- custom calls ---------------------------------------------------------------------------------


@njit
def asks_for_version(frame: Any) -> bool:
    """Whether XLA asks, before the first call, what this was written for; it is answered."""
    if frame[1] == 0:
        return False
    extension = array(frame[1], (4,), np.int64)
    if extension[1] & 0xFFFFFFFF != ASKS_FOR_VERSION:
        return False
    array(extension[3], (4,), np.int64)[3] = VERSION
    return True


@njit
def argument(frame: Any, number: int) -> tuple[int, int, int]:
    """(address, rows, columns) of an argument that is a vector, of one column, or a matrix."""
    return _buffer(array(frame[9], (frame[7],), np.int64)[number])


@njit
def result(frame: Any, number: int) -> tuple[int, int, int]:
    """The same of a result."""
    return _buffer(array(frame[14], (frame[12],), np.int64)[number])


@njit
def _buffer(address: int) -> tuple[int, int, int]:
    buffer = array(address, (6,), np.int64)
    rank = buffer[4] & 0xFFFFFFFF
    shape = array(buffer[5], (rank,), np.int64)
    rows = shape[0] if rank > 0 else 1
    return buffer[3], rows, (shape[1] if rank > 1 else 1)


def register(name: str, handler: Callable[[Any], int]) -> None:
    """Make `handler`, of the address of a call frame, the custom call `name` of XLA on the CPU."""
    compiled = cfunc("int64(int64)", **CALLED_BY_C)(handler)
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    jax.ffi.register_ffi_target(name, capsule(compiled.address, None, None), platform="cpu")
    _alive.append(compiled)


_alive: list[Any] = []
"""What XLA has the address of, and what must therefore never be freed."""
