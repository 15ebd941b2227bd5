"""The one walk over a jaxpr, and all that differs between versions of JAX in one.

A jaxpr is a list of equations, `outputs = primitive(operands)`. `run` goes through them in order
and asks `apply(equation, operands)` for the outputs of each, so what flows along is up to the
caller: balls, arrays, pairs of an array and its name. `enter` does the same for an equation that
holds programs of its own: a call, a branch, a loop. Everything else here looks at a program without
running it.

>>> import jax.numpy as jnp
>>> program = jax.make_jaxpr(lambda x: jnp.sin(x) * 2)(1.0)
>>> [float(out) for out in run(program, [jnp.float32(0.0)], bind)]
[0.0]
>>> [equation.primitive.name for equation in equations(program)]
['sin', 'mul']
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from handgrad._precision import x64

__all__ = [
    "CALLS", "CUSTOM_CALLS", "ENTERED", "REMATERIALIZED", "WRITTEN_OUT", "Literal", "Program",
    "as_arrays", "attempt", "bind", "called_program", "captured_arrays", "closed",
    "dependent_outputs", "enter", "equations", "frames", "library_frames", "library_function",
    "live_equations", "place_in_words", "run", "scan_counts", "source_location", "sub_jaxprs",
    "variables", "where", "with_copied_constants", "without_dead_code", "written_out",
]  # fmt: skip

Program = ClosedJaxpr
"""A jaxpr together with the values of its constants."""

CALLS = frozenset({
    "call", "call_hi_primitive", "closed_call", "composite", "core_call", "core_closed_call",
    "custom_vmap_call", "jit", "linear_call", "pjit",
})  # fmt: skip
"""Equations that only call a program."""
REMATERIALIZED = frozenset({"checkpoint", "remat", "remat2"})
"""Equations that call a program, and call it again on the way back."""
CUSTOM_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Equations that call a program with a derivative rule of its own."""

_ALL_CALLS = CALLS | REMATERIALIZED | CUSTOM_CALLS
_PROGRAM_PARAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee")

LOOPS_AND_BRANCHES = frozenset({"cond", "custom_linear_solve", "linear_solve", "scan", "while"})
ENTERED = _ALL_CALLS | LOOPS_AND_BRANCHES
"""Equations that `enter` goes into."""
WRITTEN_OUT = frozenset({
    "bcoo_dot_general_sampled", "bcoo_extract", "bcoo_fromdense", "bcoo_sort_indices",
    "bcoo_spdot_general", "bcoo_sum_duplicates", "bcoo_transpose", "bcsr_extract",
    "bcsr_fromdense", "bcsr_todense", "eval_jaxpr", "remat_opt", "run_state", "todense",
})  # fmt: skip
"""Primitives that JAX implements by functions of JAX: `written_out` finds their program."""

Run = Callable[[Any, Sequence[Any]], list[Any]]


# --- running ----------------------------------------------------------------------------------


def as_arrays(value: Any, aval: Any) -> Any:
    """A literal or a constant as a JAX array, in the dtype that the trace gave it."""
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):  # random keys
        return value
    return jnp.asarray(value, aval.dtype)


def run(
    program: Any,
    operands: Sequence[Any],
    apply: Callable[[Any, list[Any]], Sequence[Any]],
    constant: Callable[[Any, Any], Any] = as_arrays,
) -> list[Any]:
    """The outputs of a program at `operands`, with `apply` for every equation.

    `constant(value, aval)` makes what flows along out of a literal or a constant of the program.
    What no later equation needs is let go of.
    """
    program = closed(program)
    jaxpr = program.jaxpr
    values: dict[Any, Any] = {
        variable: constant(value, variable.aval)
        for variable, value in zip(jaxpr.constvars, program.consts, strict=True)
    }
    values.update(zip(jaxpr.invars, operands, strict=True))

    def read(atom: Any) -> Any:
        return constant(atom.val, atom.aval) if isinstance(atom, Literal) else values[atom]

    for equation, finished in zip(jaxpr.eqns, _last_uses(jaxpr), strict=True):
        outputs = apply(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
        for variable in finished:
            del values[variable]
    return [read(atom) for atom in jaxpr.outvars]


_LAST_USES: WeakKeyDictionary[Any, list[list[Any]]] = WeakKeyDictionary()


def _last_uses(jaxpr: Any) -> list[list[Any]]:
    """For each equation of a jaxpr the variables that nothing after it needs."""
    known = _LAST_USES.get(jaxpr)
    if known is None:
        needed, known = set(variables(jaxpr.outvars)), []
        for equation in reversed(jaxpr.eqns):
            finished = set(variables([*equation.invars, *equation.outvars])) - needed
            needed |= finished
            known.append(list(finished))
        known.reverse()
        _LAST_USES[jaxpr] = known
    return known


def bind(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """The outputs of one equation as JAX computes them."""
    bound: Any = equation.primitive.get_bind_params(equation.params)
    # JAX up to 0.10 returns the functions among the parameters apart.
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    outputs = equation.primitive.bind(*functions, *operands, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def stacked(rows: list[Any]) -> Any:
    """Arrays along a new first axis, as NumPy's where they are: balls among them."""
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else jnp.stack(rows)


def where(mask: np.ndarray, new: Any, old: Any) -> Any:
    """`new` where the mask holds, else `old`; the mask has their leading axes."""
    chosen: Any = np.where if isinstance(new, np.ndarray) else jnp.where
    return chosen(mask.reshape(mask.shape + (1,) * (np.ndim(new) - mask.ndim)), new, old)


def enter(
    equation: Any,
    operands: Sequence[Any],
    run: Run,
    stack: Callable[[list[Any]], Any] = stacked,
    select: Callable[[np.ndarray, Any, Any], Any] = where,
) -> list[Any] | None:
    """The outputs of an equation that holds programs, by `run(program, operands)`; else None.

    Indices and loop conditions must be plain numbers by now. `stack` joins what the iterations of
    a scan give, along a new first axis. A loop under `vmap` has one condition per example: it goes
    on while any holds, and `select(condition, new, old)` keeps what is finished as it was.
    """
    name, params, operands = equation.primitive.name, equation.params, list(operands)
    program = called_program(equation)
    if program is not None:
        return run(program, operands)
    if name == "cond":
        branches = params["branches"]  # held in range, as `lax.switch` does
        return run(branches[int(np.clip(int(operands[0]), 0, len(branches) - 1))], operands[1:])
    if name == "while":
        return _while(params, operands, run, select)
    if name == "scan":
        return _scan(params, operands, run, stack)
    if name in ("custom_linear_solve", "linear_solve"):
        return _linear_solve(params, operands, run)
    return None


def _while(params: Any, operands: list[Any], run: Run, select: Callable) -> list[Any]:
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    condition, body, carry = operands[:first], operands[first:second], operands[second:]
    while True:
        goes_on = np.asarray(run(params["cond_jaxpr"], [*condition, *carry])[0])
        if not goes_on.any():
            return carry
        new = run(params["body_jaxpr"], [*body, *carry])
        if goes_on.ndim:
            new = [select(goes_on, *pair) for pair in zip(new, carry, strict=True)]
        carry = new


def _scan(params: Any, operands: list[Any], run: Run, stack: Callable) -> list[Any]:
    constants, carried = scan_counts(params)
    body, length = closed(params["jaxpr"]), params["length"]
    fixed, carry = operands[:constants], operands[constants : constants + carried]
    inputs = operands[constants + carried :]
    rows: list[list[Any]] = [[]] * length
    for step in reversed(range(length)) if params["reverse"] else range(length):
        outputs = run(body, [*fixed, *carry, *(_entry(array, step) for array in inputs)])
        carry, rows[step] = outputs[:carried], outputs[carried:]
    if length == 0:
        avals = [variable.aval for variable in body.jaxpr.outvars[carried:]]
        return carry + [jnp.zeros((0, *aval.shape), aval.dtype) for aval in avals]
    return carry + [stack(list(column)) for column in zip(*rows, strict=True)]


def _entry(array: Any, index: int) -> Any:
    entry = array[index]
    return np.asarray(entry, dtype=array.dtype) if isinstance(array, np.ndarray) else entry


def _linear_solve(params: Any, operands: list[Any], run: Run) -> list[Any]:
    lengths = params["const_lengths"]
    before = lengths.matvec + lengths.vecmat
    constants = operands[before : before + lengths.solve]
    right = operands[before + lengths.solve + lengths.transpose_solve :]
    return run(params["jaxprs"].solve, [*constants, *right])


# --- looking ----------------------------------------------------------------------------------


def closed(program: Any, consts: Sequence[Any] = ()) -> Program:
    """A program with its constants, whichever way JAX handed it over."""
    return program if hasattr(program, "consts") else ClosedJaxpr(program, list(consts))


def called_program(equation: Any, kinds: frozenset[str] | None = None) -> Program | None:
    """The program of a call, of any of `kinds` (all calls if None); None for another equation."""
    if equation.primitive.name not in (kinds or _ALL_CALLS):
        return None
    if equation.primitive.name == "call_hi_primitive":
        return written_out(equation)
    return closed(next(equation.params[p] for p in _PROGRAM_PARAMS if p in equation.params))


def written_out(equation: Any) -> Program | None:
    """The program that JAX's own implementation of a primitive traces to; None where there is none.

    For those in WRITTEN_OUT, and for those that JAX (since 0.11) writes out when it compiles.
    """
    primitive, avals = equation.primitive, [atom.aval for atom in equation.invars]
    if primitive.name not in WRITTEN_OUT | {"call_hi_primitive"}:
        return None
    is_high = primitive.name == "call_hi_primitive"
    implementation = primitive.to_lojax if is_high else primitive.impl
    wide = any(getattr(aval.dtype, "itemsize", 0) == 8 for aval in avals)
    with x64(wide or jax.config.read("jax_enable_x64")), jax.numpy_dtype_promotion("standard"):
        program = jax.make_jaxpr(functools.partial(implementation, **equation.params))(*avals)
    if any(inner.primitive is primitive for inner in equations(program)):
        return None
    return program


def library_function(equation: Any) -> str | None:
    """The name of the function of JAX that an equation calls; None for anybody else's.

    >>> program = jax.make_jaxpr(lambda x: jax.nn.relu(x))(1.0)
    >>> [library_function(equation) for equation in equations(program)][0]
    'jax.nn.relu'
    """
    if equation.primitive.name == "call_hi_primitive":
        kind = type(equation.params["_prim"])
        return f"{kind.__module__.replace('jax._src.', 'jax.')}.{kind.__name__}"
    program = called_program(equation)
    if program is None:
        return None
    origin = getattr(program.jaxpr.debug_info, "func_src_info", None) or ""
    function, _, file = origin.partition(" at ")
    return _public_name(file, function)


def library_frames(equation: Any) -> list[str]:
    """The functions of JAX under which an equation was traced, innermost first."""
    names = (_public_name(frame.file, frame.function) for frame in frames(equation, library=()))
    return [name for name in names if name is not None]


def _public_name(file: str, function: str) -> str | None:
    _, inside, path = file.replace("\\", "/").rpartition("/jax/_src/")
    if not inside:
        return None
    module = path.partition(".py")[0].replace("/", ".")
    module = {"nn.functions": "nn", "numpy.lax_numpy": "numpy"}.get(module, module)
    return f"jax.{module}.{function}"


def sub_jaxprs(equation: Any) -> list[Program]:
    """All programs that an equation holds: a called function, branches, the body of a loop."""
    if equation.primitive.name == "call_hi_primitive":
        program = called_program(equation)
        return [] if program is None else [program]
    found = []
    for param in equation.params.values():
        for entry in param if isinstance(param, list | tuple) else [param]:
            if hasattr(entry, "eqns") or hasattr(getattr(entry, "jaxpr", None), "eqns"):
                found.append(closed(entry))
    return found


def equations(program: Any, inside: Callable[[Any], list[Program]] = sub_jaxprs) -> Iterator[Any]:
    """Every equation in order, each followed by those of its programs that `inside` names."""
    for equation in closed(program).jaxpr.eqns:
        yield equation
        for inner in inside(equation):
            yield from equations(inner, inside)


def captured_arrays(program: Any) -> list[Any]:
    """Constants with axes that are no arrays of JAX: data of NumPy that a function closes over."""
    programs = [closed(program)]
    programs += [inner for equation in equations(program) for inner in sub_jaxprs(equation)]
    return [
        constant
        for one in programs
        for constant in one.consts
        if not isinstance(constant, jax.Array) and np.ndim(constant)
    ]


def attempt(function: Callable, at: Sequence[Any]) -> Program:
    """The program of a function that may raise.

    JAX keeps a trace that an exception has ended, and with it the copies that it made of NumPy
    arrays, for as long as the process lives; here it lets go of it.
    """
    traces: list[Any] = []

    def watched(*args: Any) -> Any:
        traces.extend(a._trace for a in jax.tree.leaves(args) if isinstance(a, jax.core.Tracer))
        return function(*args)

    try:
        return jax.make_jaxpr(watched)(*at)
    except Exception:
        for trace in traces:
            trace.invalidate()
        raise


def with_copied_constants(program: Any) -> Any:
    """The same program without JAX's own copies of what came from NumPy.

    JAX gives whoever traces a NumPy array the copy that it made first, in whatever mode that was,
    for as long as a program holds it: one that is kept must not.
    """
    jaxpr = closed(program).jaxpr

    def copied(value: Any) -> Any:
        ours = isinstance(value, jax.Array | bool | int | float | complex)
        return value if ours or type(value) is np.ndarray else np.array(value)

    def param(value: Any) -> Any:
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)(param(entry) for entry in value)
        if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
            return with_copied_constants(value)
        return value

    def atom(value: Any) -> Any:
        return Literal(copied(value.val), value.aval) if isinstance(value, Literal) else value

    changed = jaxpr.replace(
        eqns=[
            equation.replace(
                invars=[atom(variable) for variable in equation.invars],
                params={name: param(value) for name, value in equation.params.items()},
            )
            for equation in jaxpr.eqns
        ],
        outvars=[atom(variable) for variable in jaxpr.outvars],
    )
    if not hasattr(program, "consts"):
        return changed
    constants = [copied(constant) for constant in program.consts]
    if hasattr(changed, "consts"):  # since JAX 0.11 a program holds its constants itself
        return changed.replace(consts=constants)
    return ClosedJaxpr(changed, constants)


def scan_counts(params: Any) -> tuple[int, int]:
    """How many operands of a scan are constants of the loop, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()  # since JAX 0.11
    return len(constants), len(carried)


def variables(atoms: Sequence[Any]) -> list[Any]:
    """The distinct variables among some atoms: literals have none."""
    return list(dict.fromkeys(atom for atom in atoms if not isinstance(atom, Literal)))


def dependent_outputs(program: Any) -> list[bool]:
    """For each output of a program, whether it depends on any input."""
    jaxpr = closed(program).jaxpr
    live = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if live.intersection(variables(equation.invars)):
            live.update(equation.outvars)
    return [not isinstance(atom, Literal) and atom in live for atom in jaxpr.outvars]


def live_equations(program: Any, outputs: Sequence[bool]) -> list[Any]:
    """The equations that the wanted outputs depend on, in order: the rest is dead code."""
    jaxpr = closed(program).jaxpr
    wanted = set(variables([a for a, on in zip(jaxpr.outvars, outputs, strict=True) if on]))
    kept = []
    for equation in reversed(jaxpr.eqns):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(variables(equation.invars))
    return kept[::-1]


def without_dead_code(program: Any) -> Program:
    """The same program without equations that no output needs, but for those with effects.

    `jax.grad` leaves the value of the loss behind; a compiler drops it as well.

    >>> program = jax.make_jaxpr(jax.grad(lambda x: jax.numpy.sin(x) * 2))(1.0)
    >>> [len(list(equations(p))) for p in (program, without_dead_code(program))]
    [5, 3]
    """
    jaxpr = closed(program).jaxpr
    live = {id(equation) for equation in live_equations(program, [True] * len(jaxpr.outvars))}
    kept = [e for e in jaxpr.eqns if id(e) in live or e.effects]
    if any(id(e) not in live for e in kept) or len(kept) == len(jaxpr.eqns):
        return closed(program)  # effects may need what looks dead
    changed = jaxpr.replace(eqns=kept)
    return changed if hasattr(changed, "consts") else ClosedJaxpr(changed, closed(program).consts)


# --- where an equation comes from -------------------------------------------------------------

_HERE = Path(__file__).parent.as_posix()
_TRACERS = (
    f"{_HERE}/jaxprs.py",
    *(f"{_HERE}/{room}/" for room in ("exact", "interop", "verify", "explain")),
)
_LIBRARY = ("/jax/", "/jaxlib/", "/importlib/", "/contextlib.py", "<frozen", *_TRACERS)


class Frame(NamedTuple):
    """A call on the way to an equation: file, function, and the span of its expression."""

    file: str
    function: str
    span: tuple[int, int, int, int]
    """First line, first column, last line, last column; columns 0 where Python knows none."""


def frames(equation: Any, library: Sequence[str] = _LIBRARY) -> list[Frame]:
    """The user's frames under which an equation was traced, innermost first.

    They end where this package was called to trace: what called it is no part of the program.
    """
    traceback = getattr(equation.source_info, "traceback", None)
    found: list[Frame] = []
    for code, address in zip(*traceback.raw_frames(), strict=True) if traceback else ():
        file = code.co_filename.replace("\\", "/")
        if not any(part in file for part in library):
            found.append(Frame(code.co_filename, code.co_name, _span(traceback, code, address)))
        elif found and any(part in file for part in _TRACERS):
            break
    return found


def _span(traceback: Any, code: Any, address: int) -> tuple[int, int, int, int]:
    positions = list(code.co_positions())
    index = address // 2
    if index < len(positions):
        start, end, left, right = positions[index]
        if None not in (start, end, left, right):
            return start, left, end, right
    line = traceback.code_addr2line(code, address)
    return line, 0, line, 0


def source_location(equation: Any) -> str:
    """The line of the user's code that an equation comes from, or the equation itself."""
    for frame in frames(equation):
        return f"{frame.file}:{frame.span[0]} in {frame.function}"
    return " ".join(str(equation).split())[:120]


def place_in_words(equation: Any) -> str:
    """'my.py:12 in loss': the line of the user's own file, rather than of an installed package.

    Empty where an equation comes from no file.
    """
    found = frames(equation)
    own = [frame for frame in found if "site-packages" not in frame.file] or found
    if not own:
        return ""
    file = own[0].file.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{file}:{own[0].span[0]} in {own[0].function}"
