"""The certificate: a verdict as JSON, with all that is needed to reach it again.

It holds the inputs as hex floats, dtypes, seeds, counts, versions, the device, whether it flushes
subnormals to zero, the enclosures of the truth and the worst inputs. It holds no code and nothing
is unpickled: `recheck` regenerates the structure of the arguments from the named functions, and
only the numbers come from the file.
"""

import functools
import json
import platform
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import __version__
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.verify.verdict import FORMAT, Verdict, digest
from handgrad.verify.witnesses import Problem, Row, is_float, named_leaves

MOST_ENCLOSURES = 64
ENCLOSURE_DIGITS = 60
QUESTION = {"argnums": int | list, "dtypes": list, "digits": int, "evaluations": int, "seed": int}
FIELDS = {
    "subject": dict, "question": dict, "inputs": list, "numerics": list, "name": str, "digits": int,
    "reference": str,
}  # fmt: skip
"""What `recheck` reads of a certificate, and of which kind it is."""


def describe_run(problem: Problem, truth: Row | None) -> dict[str, Any]:
    """What a certificate holds beside the verdict: the question, the enclosures, the machine."""
    with x64():
        leaves = [_leaf(path, leaf) for path, leaf in named_leaves(problem.at)]
    argnums = problem.argnums
    return {
        "subject": {"gradient": import_path(problem.gradient), "of": import_path(problem.of)},
        "question": {
            "argnums": argnums if isinstance(argnums, int) else list(argnums),
            "dtypes": list(problem.dtypes),
            "digits": problem.digits,
            "evaluations": problem.evaluations,
            "seed": problem.seed,
            "strict": problem.strict,
        },
        "inputs": leaves,
        "enclosures": [
            None if ball is None else ball.str(ENCLOSURE_DIGITS)
            for ball in (truth if truth is not None else [])[:MOST_ENCLOSURES]
        ],
        "machine": dict(machine()),
    }


def _leaf(path: str, leaf: Any) -> dict[str, Any]:
    """A leaf of the arguments; its numbers are written out with the certificate."""
    dtype = str(jnp.result_type(leaf))
    if not is_float(leaf):
        return {"leaf": path, "dtype": dtype, "values": None if _is_key(leaf) else np.array(leaf)}
    array = np.array(leaf, np.float64)
    return {"leaf": path, "dtype": dtype, "shape": list(array.shape), "values": array.ravel()}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


@functools.cache
def machine() -> dict[str, Any]:
    """Versions, the device, and whether it flushes subnormal float32 to zero: asked once."""
    import flint

    halved = np.asarray(jax.jit(lambda x: x / 2)(np.finfo(np.float32).tiny))
    return {
        "handgrad": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python_flint": flint.__version__,
        "python": platform.python_version(),
        "device": str(jax.devices()[0].device_kind),
        "platform": jax.default_backend(),
        "flushes_subnormals": bool(halved == 0),
    }


def import_path(function: Callable) -> str | None:
    """'module:name' where a fresh interpreter would find this very function, else None."""
    function = getattr(function, "numpy_function", function)  # what was read through NumPy
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is function else None


def read_certificate(text: str, where: str) -> dict[str, Any]:
    """A certificate's data. Raises InputError unless it is one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("FILE", "a certificate in JSON", f"{where}: {error}", "name one") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(
            "FILE", f"'{FORMAT}'", f"{where}, which is none",
            "write one with handgrad verify --json",
        )  # fmt: skip
    missing = {"subject", "question", "inputs", "numerics", "hand", "ok"} - set(data)
    if missing:
        raise InputError(
            "FILE", "a whole certificate", f"{where} without {', '.join(sorted(missing))}",
            "write it again",
        )  # fmt: skip
    for place, fields in ((data, FIELDS), (data["question"], QUESTION)):
        for name, kinds in fields.items():
            if not isinstance(place.get(name), kinds):
                raise _not_whole(where, f"{name!r} as {type(place.get(name)).__name__}")
    for name, key in (("inputs", "leaf"), ("numerics", "dtype")):
        for entry in data[name]:
            if not (isinstance(entry, dict) and isinstance(entry.get(key), str)):
                raise _not_whole(where, f"{name!r} without {key!r}")
    return data


def _not_whole(where: str, fault: str) -> InputError:
    return InputError("FILE", "a whole certificate", f"{where}, with {fault}", "write it again")


def with_recorded_inputs(at: tuple, data: dict[str, Any]) -> tuple:
    """The arguments with every float taken from the certificate; their structure must be alike."""
    leaves, treedef = jax.tree.flatten(at)
    recorded = data["inputs"]
    if [entry["leaf"] for entry in recorded] != [path for path, _ in named_leaves(at)]:
        raise InputError(
            "FILE", "inputs with the structure of the example", "another structure",
            "was the example changed?",
        )  # fmt: skip
    for index, (leaf, entry) in enumerate(zip(leaves, recorded, strict=True)):
        if is_float(leaf):
            try:
                numbers = np.array([float.fromhex(v) for v in entry["values"]])
                kind = getattr(leaf, "dtype", np.float64)
                leaves[index] = numbers.reshape(np.shape(leaf)).astype(kind)
            except (ValueError, TypeError, KeyError, OverflowError) as fault:
                raise InputError("FILE", "hex floats as inputs", fault, "write it again") from None
    return jax.tree.unflatten(treedef, leaves)


CLAIMS = ("ok", "structure", "hand", "autodiff")
"""What has to hold on any machine."""


def what_changed(data: dict[str, Any], verdict: Verdict) -> list[str]:
    """What the certificate says and a new judgement does not, one line each.

    Every leaf counts. On another machine or with other versions numbers may differ in their last
    digits: there only the claims have to be the same, see `differs_here`.
    """
    lines = [] if data.get("digest") == digest(data) else [ALTERED]
    same = data.get("machine") == verdict.record["machine"]
    return lines + [line for key, line in _differences(data, verdict) if same or key in CLAIMS]


def differs_here(data: dict[str, Any], verdict: Verdict) -> list[str]:
    """What is otherwise on this machine: its versions first. Nothing on the same machine."""
    then, now = data.get("machine"), verdict.record["machine"]
    if then == now:
        return []
    rest = [line for key, line in _differences(data, verdict) if key not in CLAIMS]
    return [*_compared("machine", then, now), *rest]


ALTERED = "digest: it is not that of the rest: the certificate was altered after it was written"


def _differences(data: dict[str, Any], verdict: Verdict) -> list[tuple[str, str]]:
    """The differing leaves: the field that holds each, and the line to print."""
    new = json.loads(verdict.to_json())
    keys = [key for key in {**new, **data} if key not in ("digest", "machine", "subject")]
    return [(key, line) for key in keys for line in _compared(key, data.get(key), new.get(key))]


def _compared(path: str, then: Any, now: Any) -> list[str]:
    """A line for each leaf in which two values differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = list({**now, **then})
        return [line for k in keys for line in _compared(f"{path} {k}", then.get(k), now.get(k))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        return [line for i, pair in pairs for line in _compared(_entry(path, i, pair[1]), *pair)]
    if then == now and type(then) is type(now):
        return []
    return [f"{path}: {_short(then)} then, {_short(now)} now"]


def _entry(path: str, index: int, value: Any) -> str:
    """The name of an entry of a list: rows of numerics go by their dtype."""
    if path == "numerics" and isinstance(value, dict):
        return str(value["dtype"])
    return f"{path}[{index}]"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
