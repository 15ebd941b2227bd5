"""PyTorch functions as functions of JAX arrays, so that everything of the judge works for them.

`from_torch(function)` runs the function once on tensors without values, for each set of shapes and
dtypes: PyTorch records the operations (`make_fx`), undoes writing in place (`functionalize`) and
decomposes what can be decomposed; what is left has a rule each in `handgrad.interop.aten`. So a
loss, a gradient that calls `torch.autograd`, and the forward and backward of an autograd Function
become programs of JAX. A branch on a truth value is followed both ways; what else depends on the
value of a tensor cannot be recorded, and is refused with the line. Tensors that a function closes
over are taken in the dtype that is judged.
"""

import functools
import importlib
import inspect
import linecache
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad.errors import InputError, MissingExtraError, NotFollowed, describe_error
from handgrad.interop.arrays import Unfollowed
from handgrad.interop.aten import RULES
from handgrad.interop.numpy import functions_used, module_of, names_used

MOST_BRANCHES = 6
"""Truth values of tensors that one path through a function may ask for."""


class Recorded(NamedTuple):
    """A path through a function as PyTorch recorded it."""

    graph: Any
    """A `torch.fx.GraphModule` from the flat arguments to the flat outputs."""
    structure: Any
    """Of the outputs, as `jax.tree` has it."""


class Fork(NamedTuple):
    """A branch on a truth value, each side of which goes on."""

    condition: Any
    """A graph from the flat arguments to the truth value."""
    if_true: "Recorded | Fork"
    if_false: "Recorded | Fork"


class _AtBranch(BaseException):
    """A truth value is asked for that nobody has decided: `except Exception` lets it by."""

    def __init__(self, condition: Any):
        self.condition = condition


def from_torch(function: Callable, at: tuple = (), known: Sequence[int] = ()) -> Callable:
    """A PyTorch function of tensors as a function of JAX arrays, which JAX can trace.

    Arguments and results may be any tree of tensors; whole numbers become int64. The leaves of `at`
    whose positions are `known` are taken from there. A module is a function of its inputs; to judge
    its parameters, make them arguments:

        def loss(parameters, x, y):
            return F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

        at = (dict(model.named_parameters()), x, y)

    Where JAX traces the result, it raises NotFollowed for what cannot be recorded, with the line:
    values that decide shapes, random numbers, an operation without a rule.

    Raises MissingExtraError unless PyTorch is installed.
    """
    _torch()
    function = _callable(function)
    fixed = {position: jax.tree.leaves(at)[position] for position in known}

    @functools.cache
    def recorded(tree: Any, shapes: tuple) -> Recorded | Fork:
        def flat(*tensors: Any) -> Any:
            rest, count = iter(tensors), range(tree.num_leaves)
            every = [to_tensor(fixed[i]) if i in fixed else next(rest) for i in count]
            return function(*jax.tree.unflatten(tree, every))

        return _record(flat, shapes)

    def traced(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        moving = [leaf for i, leaf in enumerate(leaves) if i not in fixed]
        program = recorded(tree, tuple((jnp.shape(x), jnp.result_type(x)) for x in moving))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return _run(program, moving)

    traced.known = tuple(known)  # type: ignore[attr-defined]
    return _named_like(function, traced)


def on_arrays(function: Callable) -> Callable:
    """A PyTorch function of tensors as a function of arrays of NumPy: called, not traced.

    One that takes arrays of NumPy itself gets them.
    """
    function = _callable(function)

    def called(*args: Any) -> Any:
        try:
            answer = function(*jax.tree.map(to_tensor, args))
        except Exception as error:
            try:
                answer = function(*args)
            except Exception:
                raise error from None
        return jax.tree.map(as_array, answer)

    return _named_like(function, called)


def _named_like(function: Callable, made: Callable) -> Callable:
    functools.update_wrapper(made, function, updated=())
    owner = getattr(function, "__self__", function)
    made.__name__ = str(getattr(owner, "__name__", type(owner).__name__))
    made.read_through = "PyTorch"  # type: ignore[attr-defined]
    return made


def is_loaded() -> bool:
    """Whether anybody has imported PyTorch: else nothing can be a function of it."""
    return "torch" in sys.modules


def holds_tensors(tree: Any) -> bool:
    """Whether any leaf is a tensor."""
    return any(map(_is_tensor, jax.tree.leaves(tree)))


def uses_torch(function: Any) -> bool:
    """Whether a function is one of PyTorch's things, or its code names any."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False

    def is_torch(value: Any) -> bool:
        kinds = torch.nn.Module, torch.Tensor
        return module_of(value) == "torch" or isinstance(value, kinds)

    return (
        is_torch(function)
        or is_autograd_function(function)
        or any(is_torch(value) for _, value in names_used(function))
        or any("torch" in used.__code__.co_names for used in functions_used(function))
    )


# --- recording ------------------------------------------------------------------------------------


def _record(function: Callable, shapes: tuple, decisions: tuple[bool, ...] = ()) -> Recorded | Fork:
    """A function of flat tensors of these shapes, along the branches that are decided so far."""
    torch = _torch()
    found: dict[str, Any] = {}
    judged = _judged_dtype(shapes)

    def flat(*tensors: Any) -> list:
        with _recorder()(decisions, getattr(torch, judged)):
            try:
                answer = function(*tensors)
            except _AtBranch as branch:
                return [branch.condition]
            leaves, found["structure"] = jax.tree.flatten(answer)
            return [torch.as_tensor(leaf) for leaf in leaves]

    try:
        with default_dtype(judged), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dtypes = [getattr(torch, _tensor_dtype(dtype)) for _, dtype in shapes]
            examples = [torch.zeros(s, dtype=d) for (s, _), d in zip(shapes, dtypes, strict=True)]
            graph = _functional_graph(flat, examples)
    except InputError:
        raise
    except Exception as error:
        raise refusal(error) from error
    if "structure" in found:
        return Recorded(graph, found["structure"])
    if len(decisions) == MOST_BRANCHES:
        raise NotFollowed(f"more than {MOST_BRANCHES} branches on values", "write torch.where")
    sides: list[Any] = []
    for side in (True, False):
        try:
            sides.append(_record(function, shapes, (*decisions, side)))
        except InputError as error:
            sides.append(error)
    refused = [side for side in sides if isinstance(side, InputError)]
    if len(refused) == 1 and _is_raised_by_hand(refused[0].__cause__):
        (passed,) = (side for side in sides if side is not refused[0])
        return passed  # a check of values, which they have passed
    if refused:
        raise refused[0]
    return Fork(graph, *sides)


def _is_raised_by_hand(error: BaseException | None) -> bool:
    """Whether a statement of the user's, or of PyTorch's losses and layers, raises an exception."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    if not frames:
        return False
    last, layers = frames[-1], str(Path(str(_torch().__file__)).parent / "nn")
    is_known = _is_own(last.filename) or last.filename.startswith(layers)
    return is_known and str(last.line).startswith(("raise", "assert"))


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """PyTorch logs, with its own frames, what it raises: the refusal says it in one line."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _functional_graph(flat: Callable, examples: list) -> Any:
    """The operations of a function, none of which writes in place, decomposed as far as need be."""
    torch = _torch()
    from torch.fx.experimental.proxy_tensor import make_fx

    options = {"tracing_mode": "fake", "_allow_non_fake_inputs": True}
    with torch.fx.traceback.preserve_node_meta(), _quiet("torch._subclasses.fake_tensor"):
        graph = make_fx(flat, **options)(*examples)
    graph.graph.eliminate_dead_code()

    def again(*tensors: Any) -> Any:
        with torch.fx.traceback.preserve_node_meta(), torch.no_grad():
            return torch.fx.Interpreter(graph).run(*(tensor.clone() for tensor in tensors))

    functional = torch.func.functionalize(again)
    graph = make_fx(functional, decomposition_table=_decompositions(), **options)(*examples)
    graph.graph.eliminate_dead_code()
    return graph


@functools.cache
def _decompositions() -> dict:
    """PyTorch's decompositions of the operations that have no rule here."""
    _torch()
    from torch._decomp import core_aten_decompositions, decomposition_table

    # Beside the core those that are written in ATen; the others go down to other primitives.
    table = {
        op: rule
        for op, rule in decomposition_table.items()
        if rule.__module__ == "torch._decomp.decompositions"
    }
    table.update(core_aten_decompositions().items())
    return {op: rule for op, rule in table.items() if _operation(op) not in RULES}


def _operation(op: Any) -> str:
    """The name of an operation without namespace and overload."""
    return op._schema.name.partition("::")[2] if hasattr(op, "_schema") else str(op)


@functools.cache
def _recorder() -> type:
    """The mode in which a function is recorded."""
    torch = _torch()
    from torch._subclasses.fake_tensor import is_fake
    from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
    from torch.utils._pytree import tree_leaves, tree_map_only

    def is_float(answer: Any) -> bool:
        leaves = tree_leaves(answer)
        return any(
            isinstance(leaf, float) or (torch.is_tensor(leaf) and torch.is_floating_point(leaf))
            for leaf in leaves
        )

    class Recorder(TorchDispatchMode):
        """Decides branches, and takes tensors that are closed over in the dtype judged."""

        def __init__(self, decisions: tuple[bool, ...], dtype: Any):
            super().__init__()
            self.decisions, self.dtype = iter(decisions), dtype
            self.cast: dict[int, tuple] = {}

        def __torch_dispatch__(
            self, op: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            args, kwargs = tree_map_only(torch.Tensor, self.judged, (args, kwargs or {}))
            tensors = [
                leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
            ]
            known = [not is_fake(tensor) for tensor in tensors]
            writes = op._schema.is_mutable
            if known and all(known) and not (writes and is_float(args[0])):
                with _disable_current_modes():
                    answer = op(*args, **kwargs)
                if not is_float(answer):  # masks and indices stay known, and may decide shapes
                    return answer
            elif writes and known[0]:
                raise Unfollowed("unknown numbers put into a known mask", "write torch.where")
            elif _operation(op) == "index":
                args = (args[0], [places for mask in args[1] for places in self.places(mask)])
            torch.fx.traceback.set_stack_trace(_own_frames())
            answer = op(*args, **kwargs)
            outputs = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, torch.Tensor)]
            if any(isinstance(n, torch.SymInt) for output in outputs for n in output.shape):
                if not re.search(r"index|nonzero|masked", str(op)):
                    raise Unfollowed(f"{op}, which has no rule", GIVE_IN_JAX)
                remedy = "for x[mask] write torch.where(mask, x, 0)"
                raise Unfollowed("a shape that depends on values", remedy)
            if not isinstance(answer, torch.SymInt | torch.SymFloat | torch.SymBool):
                return answer
            if args[0].dtype != torch.bool:
                remedy = "write torch.where, or use numbers known beforehand"
                raise Unfollowed("the value of a tensor", remedy)
            for decision in self.decisions:
                return decision
            raise _AtBranch(args[0])

        def places(self, index: Any) -> tuple:
            if index is None or is_fake(index) or index.dtype != torch.bool:
                return (index,)
            with _disable_current_modes():
                return index.nonzero(as_tuple=True)

        def judged(self, tensor: Any) -> Any:
            if is_fake(tensor) or not tensor.is_floating_point() or tensor.dtype == self.dtype:
                return tensor
            if id(tensor) not in self.cast:
                with _disable_current_modes(), torch.no_grad():  # else the cast is recorded too
                    self.cast[id(tensor)] = tensor, tensor.detach().to(self.dtype)
            return self.cast[id(tensor)][1]

    return Recorder


def _judged_dtype(shapes: tuple) -> str:
    """The widest floating dtype among the arguments."""
    floats = [dtype for _, dtype in shapes if jnp.issubdtype(dtype, jnp.floating)]
    return str(max(floats, key=lambda dtype: dtype.itemsize, default=jnp.dtype("float32")))


@contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    """PyTorch's dtype of numbers without one."""
    torch = _torch()
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# --- running --------------------------------------------------------------------------------------


def _run(program: Recorded | Fork, leaves: list) -> Any:
    """What the function gives at the leaves of its arguments."""
    if isinstance(program, Recorded):
        return jax.tree.unflatten(program.structure, _run_graph(program.graph, leaves))
    (condition,) = _run_graph(program.condition, leaves)
    return lax.cond(
        jnp.reshape(condition, ()),
        lambda *leaves: _run(program.if_true, list(leaves)),
        lambda *leaves: _run(program.if_false, list(leaves)),
        *leaves,
    )


def _run_graph(graph: Any, leaves: list) -> list:
    from torch.fx.node import map_arg

    values: dict[Any, Any] = {}
    inputs = iter(leaves)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = jnp.asarray(next(inputs))
        elif node.op == "get_attr":
            with jax.ensure_compile_time_eval():  # an array of JAX, made anew in this x64 mode
                values[node] = jnp.asarray(as_array(getattr(graph, node.target)))
        elif node.op == "output":
            return [values[out] for out in node.args[0]]
        elif node.meta.get("val") is not None:  # others check their operands, and give nothing
            args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = _caller(_frame(node))(functools.partial(_apply, node, args, kwargs))
    raise AssertionError("a graph without an output")


def _apply(node: Any, args: tuple, kwargs: dict) -> Any:
    """The outputs of one operation, in the dtypes that PyTorch gives them."""
    if not hasattr(node.target, "_schema"):  # an entry of several outputs
        return node.target(*args, **kwargs)
    name = _operation(node.target)
    out = jax.tree.map(_spec, node.meta["val"])
    operation = node.target._schema.name.replace("::", ".")
    if name not in RULES:
        if _torch().Tag.nondeterministic_seeded in node.target.tags:
            remedy = "draw them before, and pass them as an argument"
            raise NotFollowed(f"random numbers ({operation})", remedy, *_place(node))
        raise NotFollowed(f"{operation}, which has no rule", GIVE_IN_JAX, *_place(node))
    try:
        answer = RULES[name](out, *args, **kwargs)
    except Exception as error:
        reason = f"{operation}, whose rule ends in {describe_error(error)}"
        raise NotFollowed(reason, GIVE_IN_JAX, *_place(node)) from error
    return jax.tree.map(
        lambda value, spec: None if value is None else jnp.asarray(value, spec.dtype),
        answer if not isinstance(answer, list) else type(out)(answer), out,
        is_leaf=lambda value: value is None,
    )  # fmt: skip


def _spec(tensor: Any) -> Any:
    dtype = _dtype_name(tensor)
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise NotFollowed(
            "float64 inside a function of float32",
            "leave out .double() and its like: what is closed over is taken in the dtype judged",
        )
    return jax.ShapeDtypeStruct(tuple(tensor.shape), jax.dtypes.canonicalize_dtype(dtype))


# --- autograd Functions ---------------------------------------------------------------------------


def is_autograd_function(f: Any) -> bool:
    """Whether `f` is a `torch.autograd.Function`, or the `apply` of one."""
    torch = sys.modules.get("torch")
    owner = getattr(f, "__self__", f)
    return (
        torch is not None and isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    )


class RuleParts(NamedTuple):
    """An autograd Function as functions of the tensors among its arguments."""

    forward: Callable
    """The outputs that have a derivative."""
    backward: Callable
    """By a cotangent of those, and the tensors: the gradients in `argnums`, by its own backward."""
    at: tuple
    """The tensors among the arguments, as NumPy arrays."""
    argnums: tuple[int, ...]
    """Positions in `at` to differentiate in."""
    places: tuple[int, ...]
    """Where the tensors stand among the arguments."""
    gradients: Callable
    """By such positions, and the tensors: the gradients for cotangents of 1."""


def rule_parts(f: Any, at: tuple, argnums: int | tuple[int, ...] | None = None) -> RuleParts:
    """The forward and the backward of an autograd Function for arguments like `at`.

    What is no array among the arguments stays what it is. The backward runs as autograd runs it,
    with its context, its saved tensors and `needs_input_grad`; None is a gradient of zeros.
    `argnums` are positions in `at`, by default all arrays of floats.

    Raises InputError where there is nothing to differentiate, or no output depends on it.
    """
    torch = _torch()
    apply = _callable(f)
    places = tuple(i for i, arg in enumerate(at) if hasattr(arg, "dtype"))
    arrays = tuple(as_array(at[i]) for i in places)
    floats = [n for n, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating)]
    if argnums is not None:
        asked = [n % len(at) for n in ((argnums,) if isinstance(argnums, int) else argnums)]
        floats = [n for n in floats if places[n] in asked]
    if not floats:
        raise InputError(
            "at", "at least one array of floats to differentiate in",
            [type(arg).__name__ for arg in at], "pass tensors, or arrays of NumPy",
        )  # fmt: skip

    def run(tensors: Sequence[Any], moved: Sequence[int]) -> tuple[bool, list, list]:
        """Whether there are several outputs; those with a derivative; what that is taken in."""
        leaves = [tensors[n].requires_grad_() for n in moved]
        full = list(at)
        for place, tensor in zip(places, tensors, strict=True):
            full[place] = tensor
        for n, leaf in zip(moved, leaves, strict=True):  # the copy may be written into
            full[places[n]] = leaf.clone()
        with torch.enable_grad():
            answer = apply(*full)
        several = isinstance(answer, tuple)
        outputs = [out for out in (answer if several else (answer,)) if out.requires_grad]
        if not outputs:
            raise InputError(
                "f", "a Function with an output that has a derivative", "none",
                "leave out mark_non_differentiable",
            )  # fmt: skip
        return several, outputs, leaves

    def forward(*tensors: Any) -> Any:
        several, outputs, _ = run(tensors, floats)
        return tuple(outputs) if several else outputs[0]

    forward.__signature__ = _signature_of(f, places)  # type: ignore[attr-defined]

    def pull_back(outputs: Any, leaves: Any, cotangents: Any) -> tuple:
        return torch.autograd.grad(
            outputs, leaves, cotangents, allow_unused=True, materialize_grads=True
        )

    def backward(cotangent: Any, *tensors: Any) -> tuple:
        several, outputs, leaves = run(tensors, floats)
        return pull_back(outputs, leaves, cotangent if several else (cotangent,))

    def gradients(moved: Sequence[int], *tensors: Any) -> tuple:
        _, outputs, leaves = run([tensor.detach().clone() for tensor in tensors], moved)
        return pull_back(outputs, leaves, [torch.ones_like(output) for output in outputs])

    return RuleParts(forward, backward, arrays, tuple(floats), places, gradients)


def _signature_of(f: Any, places: tuple[int, ...]) -> inspect.Signature:
    """The names that the forward of a Function gives to the arguments in these places."""
    owner: Any = getattr(f, "__self__", f)
    names = list(inspect.signature(owner.forward).parameters)
    if owner.setup_context is _torch().autograd.Function.setup_context:
        names = names[1:]  # the context
    kind = inspect.Parameter.POSITIONAL_ONLY
    chosen = [names[i] if i < len(names) else f"argument_{i}" for i in places]
    return inspect.Signature([inspect.Parameter(name, kind) for name in chosen])


def changed_when_alone(parts: RuleParts) -> list[int]:
    """The positions in which a backward gives another gradient when no other one is asked for."""
    tensors = [to_tensor(array) for array in parts.at]
    together = parts.gradients(parts.argnums, *tensors)
    return [
        n
        for n, gradient in zip(parts.argnums, together, strict=True)
        if not _torch().equal(parts.gradients((n,), *tensors)[0], gradient)
    ]


# --- tensors and arrays ---------------------------------------------------------------------------


def to_tensor(leaf: Any) -> Any:
    """A copy of an array as a tensor; whole numbers as int64."""
    torch = _torch()
    array = np.array(leaf)
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array.astype(_tensor_dtype(array.dtype)))


def as_array(leaf: Any) -> Any:
    """A tensor as an array of NumPy; anything else as it is."""
    if not _is_tensor(leaf):
        return leaf
    tensor = leaf.detach().cpu()
    if _dtype_name(tensor) == "bfloat16":
        return tensor.view(_torch().int16).numpy().view(jnp.bfloat16)
    return np.array(tensor.numpy())


def _is_tensor(leaf: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(leaf, torch.Tensor)


def _tensor_dtype(dtype: Any) -> str:
    """The dtype that a tensor gets: PyTorch's labels and indices are int64."""
    signed = jnp.issubdtype(dtype, jnp.signedinteger)
    return "int64" if signed else str(dtype)


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


# --- words ----------------------------------------------------------------------------------------


def _torch() -> ModuleType:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtraError("a PyTorch function", "torch") from error


def _callable(function: Any) -> Callable:
    is_class = isinstance(function, type) and is_autograd_function(function)
    return function.apply if is_class else function


GIVE_IN_JAX = "write it by other operations, or give the function in JAX"


def refusal(error: Exception) -> NotFollowed:
    """What cannot be recorded, with the user's own line."""
    if isinstance(error, Unfollowed):
        reason, remedy = error.step, error.remedy
    elif type(error).__name__ == "DynamicOutputShapeException":
        reason, remedy = f"{error}, which has no rule", GIVE_IN_JAX
    else:
        reason, remedy = describe_error(error), "call it by itself with tensors"
    own = [f for f in traceback.extract_tb(error.__traceback__) if _is_own(f.filename)]
    place = (own[-1].filename, own[-1].lineno or 0, own[-1].line or "") if own else ()
    return NotFollowed(reason, remedy, *place)


@functools.cache
def _library() -> tuple[str, ...]:
    """Folders whose lines are nobody's own."""
    return (*(str(Path(str(module.__file__)).parent) for module in (_torch(), jax)), _HERE, "<")


_HERE = str(Path(__file__).parent)


def _is_own(file: str) -> bool:
    return not file.startswith(_library())


def _place(node: Any) -> tuple:
    """File, line and source of the user's code that asked for an operation; () if unknown."""
    frame = _frame(node)
    return (*frame[:2], linecache.getline(*frame[:2]).strip()) if frame else ()


def _own_frames() -> list[str]:
    """The line of the user's own code that asks for the operation recorded now, for `_frame`."""
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        if _is_own(frame.f_code.co_filename):
            return [f"{frame.f_code.co_filename}\n{frame.f_lineno}\n{frame.f_code.co_name}"]
        frame = frame.f_back  # type: ignore[assignment]
    return []


def _frame(node: Any) -> tuple[str, int, str] | None:
    """File, line and function of the user's code that asked for an operation."""
    lines = (node.meta.get("stack_trace") or "").split("\n")
    return (lines[0], int(lines[1]), lines[2]) if len(lines) == 3 else None


@functools.lru_cache(maxsize=10_000)
def _caller(place: tuple[str, int, str] | None) -> Callable:
    """Calls a function as if from a line of the user's code, so that JAX's traces name it."""
    if place is None:
        return lambda apply: apply()
    file, line, name = place
    code = compile("\n" * (line - 1) + "apply()", file, "eval").replace(co_name=name)
    return lambda apply: eval(code, {"apply": apply})
