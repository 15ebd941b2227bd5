"""The verdict: what the judge found, as data, as text and HTML for a person, and as a certificate.

The text goes from the answer to its reasons: right or not in the first line; then the numbers at
the point given; what to do next; what was compared; errors by dtype; what a search found elsewhere.

The certificate is JSON with all that is needed to reach the verdict again: the inputs as hex
floats, dtypes, seeds, counts, versions, the device, whether it flushes subnormals to zero, the
enclosures of the truth and the worst inputs. It holds no code and nothing is unpickled: `recheck`
regenerates the structure of the arguments from the named functions, and only the numbers come from
the file.
"""

import functools
import hashlib
import json
import math
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import __version__
from handgrad._notebook import card, cut, facts, table
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.verify.mathematics import RIGHT
from handgrad.verify.numerics import NumericsRow, WorstInput
from handgrad.verify.witnesses import Problem, Row, is_float, named_leaves

FORMAT = "handgrad certificate 1"
MOST_ENCLOSURES = 64
ENCLOSURE_DIGITS = 60
QUESTION = {"argnums": int | list, "dtypes": list, "digits": int, "evaluations": int, "seed": int}
FIELDS = {
    "subject": dict, "question": dict, "inputs": list, "numerics": list, "name": str, "digits": int,
    "reference": str,
}  # fmt: skip
"""What `recheck` reads of a certificate, and of which kind it is."""
CLAIMS = ("ok", "structure", "hand", "autodiff")
"""What has to hold on any machine."""
ALTERED = "digest: it is not that of the rest: the certificate was altered after it was written"
WORTH_SHOWING = 16.0
"""Ulps from which on the text says where an error was found."""
WITNESSES = {"hand": "the gradient", "autodiff": "jax.grad"}


@dataclass(frozen=True)
class Evidence:
    """The numbers that convict: one coordinate of the gradient at one input."""

    place: str
    """'at the point given', 'at drawn point 2', 'in float32'."""
    coordinate: str
    own: str
    """The input at the same coordinate, as text that reads back."""
    answer: str
    truth: str
    """Empty where any of several values would do: then the cause names them."""
    error: str
    wrong: int
    """Coordinates that are wrong there."""
    size: int
    """Coordinates of the gradient."""


@dataclass(frozen=True)
class Verdict:
    """Who is right about a gradient.

    `hand` and `autodiff` are 'identical', 'valid subgradient', 'different', 'undecided',
    'unsupported' or 'not traceable' (autodiff may also be the 'reference', if it was asked to be).
    """

    name: str
    ok: bool
    structure: str
    hand: str
    autodiff: str
    truth: str
    """Where the truth came from."""
    digits: int
    """Decimal digits, relative and by coordinate, to which hand and truth agree."""
    cause: str | None
    """The diagnosis of what is wrong, or why nothing could be decided."""
    where: str | None
    """The coordinate that differs most, by the name of the argument."""
    compared: int
    """Coordinates compared in the mathematics, over all points."""
    points: int
    reference: str
    numerics: tuple[NumericsRow, ...]
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    """What convicts, where something is wrong."""
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the certificate holds beside this: inputs, enclosures, versions, seeds."""

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        dtypes = ", ".join(row.dtype for row in self.numerics)
        return (
            f"Verdict(name={cut(self.name)}, ok={self.ok}, fault={cut(self.fault)}, "
            f"hand={self.hand!r}, autodiff={self.autodiff!r}, digits={self.digits}, "
            f"compared={self.compared}, points={self.points}, dtypes={dtypes!r})"
        )

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def is_undecided(self) -> bool:
        """Whether nothing could be said, neither for the gradient nor against it."""
        settled = self.ok or self.structure != "ok" or self.evidence is not None
        return not settled and (self.hand in ("undecided", "unsupported") or not self.compared)

    @property
    def fault(self) -> str | None:
        """What is wrong and where, in one line; None where all is well."""
        if self.ok:
            return None
        if self.structure != "ok":
            return self.structure
        if self.hand == "different" or (self.hand == "not traceable" and self.evidence):
            place = f"wrong at {self.where}" if self.where else "wrong"
            if self.cause and self.where and self.where in self.cause.split(": ")[0]:
                return f"wrong: {self.cause}"
            return f"{place}: {self.cause}" if self.cause else place
        if self.is_undecided and not self.cause:
            return "nothing was compared" if not self.compared else self.hand
        faults = [f"{row.dtype}: {fault}" for row in self.numerics if (fault := fault_of(row))]
        return self.cause or (faults[0] if faults else "the numerics are not clean")

    def to_json(self) -> str:
        """The certificate, which `handgrad recheck FILE` verifies again.

        Numbers that JSON lacks (inf, NaN) are written as strings.
        """
        data = {"format": FORMAT, **asdict(self)}
        record = data.pop("record")
        plain = _as_json({**data, **record})
        plain["digest"] = digest(plain)
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)


def fault_of(row: NumericsRow, witness: str = "hand") -> str | None:
    """The input at which a witness fails in a dtype, and what it gives there; None if it does not.

    To fail is to be NaN, infinite, 0 or of the wrong sign where the truth is otherwise.
    """
    bad: WorstInput | None = getattr(row, f"{witness}_bad_at")
    return f"{WITNESSES[witness]} {bad.in_words(row.dtype)}" if bad else None


# --- as text --------------------------------------------------------------------------------------

LABELS = 14
"""The width of the column of labels."""


Facts = list[tuple[str, str]]
"""Labels and what they label; a label alone stands over those that follow."""


def as_text(verdict: Verdict) -> str:
    """A verdict as a person reads it: what is wrong first, then the evidence."""
    return "\n".join(
        [
            _headline(verdict),
            *(_line(*fact) for fact in (*_evidence(verdict), *_findings(verdict))),
            *_numerics(verdict),
            *(_line(*remark) for remark in _remarks(verdict)),
            *(f"  note: {note}" for note in verdict.notes),
        ]
    )


def as_html(verdict: Verdict) -> str:
    """The same for a notebook."""
    tone = "right" if verdict.ok else "undecided" if verdict.is_undecided else "wrong"
    notes = [("note", note) for note in verdict.notes]
    numerics = ""
    if verdict.numerics:
        groups = [(1, "")] + [(last - first + 1, title) for first, last, title in GROUPS]
        legend = f'<p class="quiet">{" ".join(LEGEND.split())}</p>'
        numerics = table(HEADS, _cells(verdict), groups) + legend
    return card(
        _headline(verdict),
        facts(_evidence(verdict)),
        facts(_findings(verdict), words=True),
        numerics,
        facts([*_remarks(verdict), *notes], words=True),
        tone=tone,
    )


def _headline(verdict: Verdict) -> str:
    if verdict.ok:
        return f"{verdict.name}: right"
    if verdict.is_undecided:
        why = "" if verdict.fault == "undecided" else f": {verdict.fault}"
        return f"{verdict.name}: undecided{why}"
    return f"{verdict.name}: NOT right: {verdict.fault}"


def _line(label: str, text: str) -> str:
    return f"  {label:<{LABELS}}{text}" if text else f"  {label}"


def _findings(verdict: Verdict) -> Facts:
    """What to do next, and what was compared with what."""
    step = next_step(verdict)
    return [
        *([("next", step)] if step else []),
        *(_mathematics(verdict) if verdict.structure == "ok" else []),
    ]


def _evidence(verdict: Verdict) -> Facts:
    """The input, what came, what is true, and how far apart they are."""
    found = verdict.evidence
    if found is None:
        return []
    lines = [
        (found.place, ""),
        ("  input", f"{found.coordinate} = {found.own}"),
        ("  gradient", found.answer),
    ]
    if found.truth:
        lines.append(("  truth", found.truth))
    lines.append(("  error", found.error))
    if found.size > 1:
        lines.append(("  wrong", f"{found.wrong} of {found.size} numbers of the gradient"))
    return lines


def next_step(verdict: Verdict) -> str | None:
    """What to do now, in a sentence; None where all is well."""
    if verdict.ok:
        return None
    if verdict.structure != "ok":
        return "return what jax.grad returns: the same structure, shapes and dtypes as the input"
    if step := remedy(verdict.cause or ""):
        return step
    if verdict.is_undecided:
        return (
            "choose another point (at=), draw points of the domain (points=), or pass a rule for "
            "what is not supported (rules=)"
        )
    if verdict.hand in RIGHT and verdict.evidence is not None:
        return (
            "the formula is right, its arithmetic is not: rewrite the step that cancels or "
            "overflows, or use a wider dtype"
        )
    return "compare the formula with the loss at this input, one term at a time"


REMEDIES = (
    ("judge smaller arrays", "pass arrays of a few thousand numbers, made by the same code"),
    ("seconds given were over|interrupted", "give it more time (seconds=), or smaller arrays"),
    ("jump", "a loss that jumps has no derivative there: choose a point beside the jump (at=), or "
     "draw points of the domain (points=)"),
    ("the bits of", "write the step by arithmetic (jnp.ldexp, x * 2.0**n): bits have no "
     "derivative; or pass a rule for it (rules=)"),
    ("has no value on either side", "choose a point inside the domain of the loss (at=)"),
    ("no exact rule for", "pass a rule for it (rules=), or write the loss without it"),
    (r"where (\S+) to (\S+) is right", r"return a number from \1 to \2 there: the loss has a kink"),
    (r"wrong count: divided by (\S+) .*in place of (\S+)", r"divide by \2 in place of \1"),
    (r"(\S+) times too large.*a mean forgotten", r"divide by \1"),
    (r"(\S+) times too small.*once too often", r"multiply by \1"),
    ("sign flipped", "change the sign there"),
    ("twice too large", "halve it there"),
    ("half of what it should be", "double it there"),
    ("branch that a `where`", "put a harmless number into that branch as well: "
     "where(ok, f(where(ok, x, 1)), 0)"),
    ("not added", "add into repeated indices: x.at[i].add(...), np.add.at(x, i, ...)"),
    ("transposed", "transpose it"),
    ("decay forgotten", "add the derivative of the penalty"),
    ("decay added", "take the penalty's derivative away once"),
    ("as if it were a constant|held constant|cut", "add the term for the derivative through it, "
     "by the product rule or the chain rule"),
    ("cotangent is forgotten", "multiply what is returned by the cotangent, Jᵀc"),
    ("denominator .* not squared", "divide by the square of the denominator"),
    ("not divided by the denominator", "divide by the denominator"),
    ("wrong way round|the other branch of|on the wrong side",
     "take the other branch's derivative: exchange the two sides of the mask"),
    ("mask .* (?:ignored|forgotten)", "multiply what comes back by the mask: 0 where the loss does "
     "not take that branch"),
    ("exchanged in the product rule", "multiply the derivative of each factor by the other one"),
    ("constant by `stop_gradient`", "leave that path out"),
    (r"the bound \S+ of the loss forgotten", "return 0 where the loss has reached its bound"),
    ("float64 loses the digits", "write the difference that cancels there in another way, or judge "
     "a point where it is larger"),
    (r"the factor (\S+) of the loss forgotten", r"multiply by \1"),
    (r"a constant factor (\S+)", r"divide by \1"),
    (r"an additive constant (\S+)", r"take \1 away"),
    (r"the sides are exchanged|factors .* are exchanged", "exchange the two"),
    (r"broadcasts to \(N, N\)", "bring both to one shape first: (N, 1) against (N,) is N × N"),
    ("not undone", "undo it: index by the inverse permutation, argsort of the order"),
    ("reversed along|wrong direction|in the reverse order", "turn the order round"),
    ("shifted by", "move it back by as many places"),
    ("clipped", "return the slope as it is: the loss does not clip there"),
    ("already updated", "keep the value from before the step, and use that"),
    ("applied twice|counted twice", "take it once"),
    ("is only its sign", "keep the magnitude as well as the sign"),
    ("label smoothing", "use the smoothing of the loss"),
    ("forgotten: zero where", "return its derivative: the loss depends on it"),
    ("an extra factor", "take that factor out"),
    ("a missing factor", "multiply by that factor"),
    ("overwritten", "add what belongs together, do not assign it"),
    ("are swapped|exchanged", "return them in the order of the inputs"),
    ("wrong axis|over axis|broadcast again", "reduce along the axis that the loss does, no other"),
    ("the derivative of .* taken to be", "differentiate that step again"),
    ("the derivative of .* forgotten", "multiply by that derivative"),
    ("is taken at .* in place of", "take the derivative at what the loss passes to that step"),
    ("in place of the factor|without the factor", "multiply by the factor that the loss has"),
    ("wrong coordinates", "put each number at the coordinate that it belongs to"),
    ("could be right, but together", "share one slope among the coordinates that tie: the shares "
     "add up to what the loss has"),
    ("not reversed", "flip it"),
    ("absolute value", "keep the sign"),
    (r"where (-?inf) is right", r"return \1 there"),
    (r"1\[c > 0\]", "take the mask from what the loss saw on the way forward"),
    ("the others are", "add the paths that were forgotten"),
    ("not zero at", "return 0 there"),
    ("masked by an infinity", "leave out what is masked"),
    ("makes NaN of 0 / 0", "keep that division away from 0: where(ok, a / where(ok, b, 1), limit)"),
)  # fmt: skip
"""What a cause says, and what to do about it; the first that fits is taken."""


def remedy(cause: str) -> str | None:
    """What to change, given a cause in words; None if no more can be said than that."""
    for pattern, step in REMEDIES:
        if found := re.search(pattern, cause):
            return found.expand(step)
    return None


SAID = {
    "identical": "equals the true derivative",
    "valid subgradient": "is a valid subgradient (the loss has a kink here)",
    "different": "differs from the true derivative",
    "undecided": "could not be compared",
    "unsupported": "holds an operation that cannot be evaluated exactly",
    "not traceable": "cannot be traced by JAX, so its float64 numbers were compared",
    "reference": "is taken for the truth, as asked",
}


def _mathematics(verdict: Verdict) -> Facts:
    """What was compared with what."""
    said = f"the gradient {SAID[verdict.hand]}"
    if verdict.hand == "identical":
        said += f" to {verdict.digits} digits"
    said += f" ({_counted(verdict.compared, 'number')} compared"
    said += f", {verdict.points} points)" if verdict.points > 1 else ")"
    beside = "so does jax.grad" if verdict.hand == verdict.autodiff == "identical" else (
        f"jax.grad {SAID[verdict.autodiff]}"
    )  # fmt: skip
    return [("mathematics", f"{said}; {beside}"), ("truth", verdict.truth)]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


HEADS = ("dtype", "gradient", "jax.grad", "gradient", "jax.grad", "explained", "gradient",
         "jax.grad")  # fmt: skip
GROUPS = ((1, 2, "error at the point given"), (3, 4, "worst error found"), (5, 5, ""),
          (6, 7, "lost"))  # fmt: skip


def _cells(verdict: Verdict) -> list[tuple[str, ...]]:
    """The errors by dtype: at the point given, then the largest that the search found."""
    return [
        (
            row.dtype, _ulp(row.hand_ulp), _ulp(row.autodiff_ulp), _ulp(row.hand_max_ulp),
            _ulp(row.autodiff_max_ulp), _ulp(row.conditioning_ulp), str(row.hand_bad),
            str(row.autodiff_bad),
        )
        for row in verdict.numerics
    ]  # fmt: skip


def _numerics(verdict: Verdict) -> list[str]:
    """The table of errors, as text."""
    cells = _cells(verdict)
    if not cells:
        return []
    columns = list(zip(HEADS, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for first, last, title in GROUPS:
        lacking = len(title) - sum(widths[first : last + 1]) - 2 * (last - first)
        widths[last] += max(0, lacking)
    over = " " * widths[0]
    for first, last, title in GROUPS:
        over += "  " + title.rjust(sum(widths[first : last + 1]) + 2 * (last - first))
    lines = ["", f"  {over}"]
    lines += [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (HEADS, *cells)
    ]
    return [*lines, LEGEND]


LEGEND = (
    "  in ulp, the gap between neighbouring numbers of the dtype; explained: by rounding the "
    "inputs;\n  lost: NaN, infinite, of the wrong sign, or 0 for another number"
)


def _remarks(verdict: Verdict) -> Facts:
    """Where the largest errors are, if they are worth a look, and what was left out, by dtype."""
    is_right = {"hand": verdict.hand not in ("different", "not traceable") or verdict.ok,
                "autodiff": verdict.autodiff != "different"}  # fmt: skip
    lines = []
    for row in verdict.numerics:
        for name in WITNESSES:
            worst: WorstInput | None = getattr(row, f"{name}_worst_at")
            is_lost = getattr(row, f"{name}_bad") or not is_right[name]
            if worst is not None and worst.ulp > WORTH_SHOWING and not is_lost:
                said = f"worst: {WITNESSES[name]} {worst.in_words(row.dtype)}"
                lines.append((row.dtype, said))
        left_out = []
        if row.subnormal:
            left_out.append(f"{_counted(row.subnormal, 'number')} below the normal range")
        if row.discarded:
            left_out.append(f"{_counted(row.discarded, 'point')} where the loss overflows")
        if left_out:
            lines.append((row.dtype, f"not counted: {', '.join(left_out)}"))
    return lines


def _ulp(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if value < 1e4 else f"{value:.1e}"


# --- the certificate ------------------------------------------------------------------------------


def describe_run(problem: Problem, truth: Row | None) -> dict[str, Any]:
    """What a certificate holds beside the verdict: the question, the enclosures, the machine."""
    with x64():
        leaves = [_leaf(path, leaf) for path, leaf in named_leaves(problem.at)]
    asked = ("argnums", "dtypes", "digits", "evaluations", "seed", "strict")
    return {
        "subject": {"gradient": import_path(problem.gradient), "of": import_path(problem.of)},
        "question": {name: getattr(problem, name) for name in asked},
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
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        return {"leaf": path, "dtype": dtype, "values": None if is_key else np.array(leaf)}
    array = np.array(leaf, np.float64)
    return {"leaf": path, "dtype": dtype, "shape": list(array.shape), "values": array.ravel()}


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


def digest(data: dict[str, Any]) -> str:
    """The SHA-256 of all that a certificate says beside it."""
    rest = {key: value for key, value in data.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """With infinities and NaN as text, and arrays as lists: floats in hex, to the last bit."""
    if isinstance(value, dict):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    if isinstance(value, np.ndarray):
        numbers = value.tolist()
        return list(map(float.hex, numbers)) if value.dtype.kind == "f" else numbers
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


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
