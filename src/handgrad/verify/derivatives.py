"""Derivatives beside the gradient: each is judged as the gradient of a scalar that it belongs to.

| claim | the scalar | its gradient |
|---|---|---|
| vjp(c, x) | ⟨c, f(x)⟩ in x, for cotangents c that are drawn | Jᵀc |
| jvp(x, t) | Σᵢ fᵢ(x + sᵢt) in s, at s = 0, for tangents t that are drawn | Jt |
| hessian(x) | Σᵢ ∂ᵢL(x + Sᵢ) in the rows of S, at S = 0 | ∂²L/∂xᵢ∂xⱼ |
| its diagonal | Σᵢ ∂ᵢL(x + sᵢeᵢ) in s, at s = 0 | ∂²L/∂xᵢ² |

So each has the witnesses, the causes and the certificate that a gradient has. The scalars of second
derivatives hold ∂L as `jax.grad` gives it, which is therefore judged before, by the loss alone.

Boosting libraries take (gradient, second derivatives) by prediction, and divide by the second ones.
Many objectives give something else: an upper bound of the curvature, under which each step is safe,
or a floor under a small number. What is returned is therefore told apart: the second derivative
itself; the same held from below; a bound, proved here as such; or none of these.
"""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb
from jax.flatten_util import ravel_pytree

from handgrad import exact, jaxprs
from handgrad._checks import called_by_keyword
from handgrad._precision import x64
from handgrad.errors import InputError, describe_error
from handgrad.exact.balls import as_balls
from handgrad.interop import as_arrays, as_called, as_jax_or_itself, read_as
from handgrad.interop.torch import changed_when_alone, is_autograd_function, rule_parts, uses_torch
from handgrad.verify.api import (
    calling_the_users_code,
    check_callable,
    check_options,
    read_loss,
    verify,
    with_known_leaves,
)
from handgrad.verify.mathematics import RIGHT
from handgrad.verify.verdict import Verdict
from handgrad.verify.witnesses import (
    Argnums,
    argument_names,
    as_shapes,
    check_at,
    check_finite,
    check_floats,
    counted_from_0,
    is_float,
    leaves_like,
    own_error,
    positions_of,
    round_to,
    shapes_of,
)

P = ParamSpec("P")
DTYPES = ("float32", "float64")
MOST_ROWS = 64
"""Outputs, or inputs of a Hessian, that are told apart; of more, random combinations are judged."""
COMBINATIONS = 8
MOST_DIAGONAL = 512
"""Entries of a diagonal that are judged; of more, as many drawn at random."""

CLOSE = 1e-5
"""Relative: how near in float32 two numbers are that are meant to be the same."""
MOST_CLASSES = 64
"""Predictions of one example whose second derivatives are bounded together."""
LABELS: tuple = (
    ({0, 1}, "0 and 1", ("2y − 1", lambda y: 2 * y - 1), "−1 and 1"),
    ({-1, 1}, "−1 and 1", ("(y + 1)/2", lambda y: (y + 1) / 2), "0 and 1"),
)
"""Labels of two classes: as they are, in words, how the others come of them, and these in words."""


def judging(
    argument: str, arguments: str, call: str, also: tuple[str, ...] = ()
) -> Callable[[Callable[P, Verdict]], Callable[P, Verdict]]:
    """Lets a function of this file call the user's code, and name it as the user did.

    What `verify` says of a gradient is said of the `argument`, a function of these `arguments`; so
    is what else is said of arguments that are called as in `also`.
    """

    def decorate(function: Callable[P, Verdict]) -> Callable[P, Verdict]:
        @functools.wraps(function)
        def judged(*args: P.args, **options: P.kwargs) -> Verdict:
            chosen: Any = options
            check_callable(argument, args[0] if args else chosen[argument], arguments)
            check_options(chosen.get("dtypes", DTYPES), seed=chosen.get("seed", 0))
            try:
                with calling_the_users_code():
                    return function(*args, **options)
            except InputError as error:
                if error.argument not in ("gradient", *also):
                    raise
                expected = error.expected.replace("the arguments in `at`", arguments)
                remedy = re.sub(r"\w+\((cotangent, )?\*at\)", call, error.remedy)
                raise InputError(argument, expected, error.got, remedy) from error

        return judged

    return decorate


def _read(
    of: Callable, at: Any, argnums: Argnums | None, options: dict[str, Any]
) -> tuple[Callable, tuple, Argnums]:
    """The function, as one of JAX, its arguments as arrays, and `argnums` counted from 0."""
    given, at = at, as_arrays(at)
    check_at(at)
    moved = counted_from_0(_float_positions(at) if argnums is None else argnums, at)
    check_floats(at, moved)
    check_finite("at", at, options.get("dtypes", DTYPES))
    return read_loss(of, given, moved), at, moved


@called_by_keyword("a vjp, then of= and at= by name", "verify_vjp(vjp, of=f, at=(x,))", "of", "at")
@judging("vjp", "a cotangent and the arguments in `at`", "vjp(cotangent, *at)")
def verify_vjp(
    vjp: Callable, *, of: Callable, at: tuple, argnums: Argnums = 0, **options: Any
) -> Verdict:
    """Judge `vjp(cotangent, *args)`, which claims to be `jax.vjp(of, *args)` along `argnums`.

    `of` may return any tree of arrays of floats. Cotangents are drawn, of both signs, and
    `options` are those of `handgrad.verify`.

    >>> at = (jnp.array([0.5, -1.0]),)
    >>> verify_vjp(lambda c, x: c * jnp.cos(x), of=jnp.sin, at=at, evaluations=0).ok
    True
    """
    of, at, argnums = _read(of, at, argnums, options)
    outputs = _float_outputs(of, at)

    def loss(cotangent: Any, *args: Any) -> jax.Array:
        return _inner(cotangent, of(*args))

    draw = with_known_leaves(options.pop("points", None), at, of)

    def points(key: jax.Array) -> tuple:
        keys = jax.random.split(key)
        return (_normal(keys[0], outputs), *(draw(keys[1]) if draw else at))

    shifted = tuple(position + 1 for position in positions_of(argnums))
    drawn = _normal(jax.random.key(options.get("seed", 0)), outputs)
    verdict = verify(
        vjp,
        of=_named(loss, ["cotangent"], of, at),
        at=(drawn, *at),
        argnums=shifted if isinstance(argnums, tuple) else shifted[0],
        points=points,
        **_with_name(options, vjp),
    )
    if verdict.hand == "different" and _is_same_for_any_cotangent(vjp, drawn, at):
        return replace(verdict, cause=FORGOTTEN)
    return verdict


FORGOTTEN = "the cotangent is forgotten: the answer is the same whichever is passed"


def _is_same_for_any_cotangent(vjp: Callable, cotangent: Any, at: tuple) -> bool:
    try:
        one, other = (
            [np.asarray(leaf) for leaf in jax.tree.leaves(vjp(scaled, *at))]
            for scaled in (cotangent, jax.tree.map(lambda leaf: -2 * leaf, cotangent))
        )
    except Exception:  # the user's function need not take these arrays as they are
        return False
    return any(a.any() for a in one) and all(map(np.array_equal, one, other))


@called_by_keyword("a jvp, then of= and at= by name", "verify_jvp(jvp, of=f, at=(x,))", "of", "at")
@judging("jvp", "primals and tangents", "jvp(at, tangents)")
def verify_jvp(
    jvp: Callable, *, of: Callable, at: tuple, argnums: Argnums | None = None, **options: Any
) -> Verdict:
    """Judge `jvp(primals, tangents)`, which claims to be the tangent that `jax.jvp` gives.

    It may also return the pair (output, tangent). Tangents are drawn for the arguments in
    `argnums`, by default all that hold floats, and are zero for the others (of JAX's dtype float0
    for integers). `options` are those of `handgrad.verify`; nothing is searched for.

    >>> def jvp(primals, tangents):
    ...     return jnp.cos(primals[0]) * tangents[0]
    >>> verify_jvp(jvp, of=jnp.sin, at=(jnp.array([0.5, -1.0]),)).ok
    True
    """
    of, at, argnums = _read(of, at, argnums, options)
    moved = positions_of(argnums)
    outputs = _float_outputs(of, at)
    count, shapes = sum(leaf.size for leaf in jax.tree.leaves(outputs)), shapes_of(outputs)

    def tangents_of(drawn: list, args: tuple) -> tuple:
        chosen = dict(zip(moved, drawn, strict=True))
        return tuple(chosen.get(i, jax.tree.map(_zero_tangent, arg)) for i, arg in enumerate(args))

    options = {**_with_name(options, jvp), "evaluations": 0}
    key = jax.random.key(options.get("seed", 0))
    first_drawn = _normal(key, [at[i] for i in moved])
    jvp = as_jax_or_itself(jvp, (at, tangents_of(first_drawn, at)), (0, 1))

    def loss(tangent: Any, rows: Any, drawn: list, *args: Any) -> jax.Array:
        def along(step: jax.Array, row: jax.Array) -> jax.Array:
            here = list(args)
            for position, direction in zip(moved, drawn, strict=True):
                here[position] = jax.tree.map(
                    lambda leaf, by: leaf + step.astype(leaf.dtype) * by.astype(leaf.dtype),
                    jax.tree.map(jnp.asarray, args[position]), direction,
                )  # fmt: skip
            output = ravel_pytree(of(*here))[0]
            return jnp.vdot(row.astype(output.dtype), output)

        return jnp.sum(jax.vmap(along)(ravel_pytree(tangent)[0], rows))

    def claimed(tangent: Any, rows: Any, drawn: list, *args: Any) -> Any:
        _require_no_step(tangent)
        answer = jvp(args, tangents_of(drawn, args))
        if isinstance(answer, tuple) and len(answer) == 2 and shapes_of(answer[1]) == shapes:
            answer = answer[1]
        if shapes_of(answer) != shapes:
            raise InputError(
                "jvp", f"a tangent of shapes {jax.tree.map(lambda leaf: leaf.shape, outputs)}",
                jax.tree.map(np.shape, answer), "return the tangent, or (output, tangent)",
            )  # fmt: skip
        if count <= MOST_ROWS:
            return answer
        row = _as_row(jax.tree.leaves(answer), rows)
        return _namespace(rows, row).asarray(rows).astype(row.dtype) @ row

    rows = _combinations(count, options.get("seed", 0))
    steps: Any = np.zeros(len(rows))
    if count <= MOST_ROWS:
        steps = jax.tree.map(lambda leaf: np.zeros(leaf.shape), outputs)
    draw = with_known_leaves(options.pop("points", None), at, of, jvp)

    def points(key: jax.Array) -> tuple:
        keys = jax.random.split(key)
        args = draw(keys[1]) if draw else at
        return (steps, rows, _normal(keys[0], [args[i] for i in moved]), *args)

    first = (steps, rows, first_drawn, *at)
    names = ["tangent", "combinations", "tangents"]
    named = _named(loss, names, of, at)
    return verify(read_as(claimed, jvp), of=named, at=first, points=points, **options)


@called_by_keyword(
    "a hessian, then of= and at= by name", "verify_hessian(hessian, of=loss, at=(x,))", "of", "at"
)
@judging("hessian", "the arguments in `at`", "hessian(*at)")
def verify_hessian(
    hessian: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: int = 0,
    diagonal: bool = False,
    **options: Any,
) -> Verdict:
    """Judge `hessian(*args)`, which claims to be `jax.hessian(of, argnums)`, or its diagonal.

    The diagonal has the structure and the shapes of the argument, as boosting libraries take it.
    Of more inputs than 64 random combinations are judged, of a diagonal of more than 512 entries
    as many drawn at random. `options` are those of `handgrad.verify`; nothing is searched for.

    >>> def energy(x):
    ...     return jnp.sum(x**4) + x[0] * x[1]
    >>> def hessian(x):
    ...     return jnp.diag(12 * x**2) + jnp.array([[0.0, 1.0], [1.0, 0.0]], x.dtype)
    >>> at = (jnp.array([0.5, -1.0]),)
    >>> verify_hessian(hessian, of=energy, at=at).ok
    True
    >>> wrong = verify_hessian(lambda x: 2 * hessian(x), of=energy, at=at)
    >>> wrong.ok, wrong.hand
    (False, 'different')
    """
    if not isinstance(argnums, int):
        raise InputError(
            "argnums", "one whole number", repr(argnums), "judge one argument after another"
        )
    options = {**_with_name(options, hessian), "evaluations": 0}
    given = at
    of, at, position = _read(of, at, argnums, options)
    (argnums,) = positions_of(position)
    hessian = as_jax_or_itself(hessian, given, argnums)
    options["points"] = with_known_leaves(options.get("points"), at, of, hessian)
    first = verify(jax.grad(of, argnums), of=of, at=at, argnums=argnums, **options)
    if first.hand not in RIGHT:
        return replace(
            first, ok=False, hand="undecided", evidence=None, where=None, name=options["name"],
            cause="the first derivative that jax.grad gives is not right here, and a second one "
            f"could only be judged beside it: {first.fault}",
        )  # fmt: skip
    ask = _ask_for_diagonal if diagonal else _ask_for_hessian
    loss, claimed, start, names = ask(hessian, of, at, argnums, options.get("seed", 0))
    if draw := options["points"]:
        options["points"] = lambda key: (*start, *draw(key))
    of = _named(loss, names, of, at)
    return verify(read_as(claimed, hessian), of=of, at=(*start, *at), **options)


def _slope_in(of: Callable, args: tuple, argnums: int) -> tuple[jax.Array, Callable]:
    """One argument as a row, and the slope of a loss at such a row, along another."""
    flat, rebuild = ravel_pytree(args[argnums])

    def scalar(row: jax.Array) -> jax.Array:
        return of(*args[:argnums], rebuild(row), *args[argnums + 1 :])

    return flat, lambda here, direction: jax.jvp(scalar, (here,), (direction,))[1]


def _ask_for_hessian(
    hessian: Callable, of: Callable, at: tuple, argnums: int, seed: int
) -> tuple[Callable, Callable, tuple, list[str]]:
    """The scalar, what is claimed of it, its first arguments, and their names."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(at[argnums])]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def loss(hessian: jax.Array, rows: jax.Array, *args: Any) -> jax.Array:
        flat, slope = _slope_in(of, args, argnums)

        def moved(step: jax.Array, row: jax.Array) -> jax.Array:
            return slope(flat + step.astype(flat.dtype), row.astype(flat.dtype))

        return jnp.sum(jax.vmap(moved)(hessian, rows))

    def claimed(steps: Any, rows: Any, *args: Any) -> Any:
        _require_no_step(steps)
        answer = hessian(*args)
        like = jax.tree.map(lambda _: args[argnums], args[argnums])
        blocks = leaves_like(answer, like)
        if blocks is None:
            raise InputError(
                "hessian", f"the structure {jax.tree.structure(like)}, as jax.hessian gives",
                jax.tree.structure(answer), "return one block for each two leaves",
            )  # fmt: skip
        expected = [outer + inner for outer in shapes for inner in shapes]
        if [np.shape(block) for block in blocks] != expected:
            raise InputError(
                "hessian", f"arrays of shapes {expected}, as jax.hessian gives",
                [np.shape(block) for block in blocks], "return one block for each two leaves",
            )  # fmt: skip
        own = _namespace(rows, *blocks)
        flat = iter(blocks)
        whole = own.block([[own.reshape(next(flat), (n, m)) for m in sizes] for n in sizes])
        return own.asarray(rows).astype(whole.dtype) @ whole

    rows = _combinations(sum(sizes), seed)
    return loss, claimed, (np.zeros((len(rows), sum(sizes))), rows), ["hessian", "combinations"]


def _ask_for_diagonal(
    hessian: Callable, of: Callable, at: tuple, argnums: int, seed: int
) -> tuple[Callable, Callable, tuple, list[str]]:
    """The same for the diagonal."""
    like = at[argnums]
    shape = jax.tree.map(np.shape, like)
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(like))
    chosen = np.arange(count, dtype=np.int32)
    steps: Any = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), like)
    if count > MOST_DIAGONAL:
        drawn = np.random.default_rng(seed).choice(count, MOST_DIAGONAL, replace=False)
        chosen, steps = np.sort(drawn).astype(np.int32), np.zeros(MOST_DIAGONAL)

    def loss(hess: Any, chosen: jax.Array, *args: Any) -> jax.Array:
        flat, slope = _slope_in(of, args, argnums)

        def moved(step: jax.Array, index: jax.Array) -> jax.Array:
            unit = (jnp.arange(count, dtype=index.dtype) == index).astype(flat.dtype)
            return slope(flat + step.astype(flat.dtype) * unit, unit)

        return jnp.sum(jax.vmap(moved)(ravel_pytree(hess)[0], chosen))

    def claimed(steps: Any, chosen: Any, *args: Any) -> Any:
        _require_no_step(steps)
        answer = hessian(*args)
        if jax.tree.map(np.shape, answer) != shape:
            raise InputError(
                "hessian", f"a diagonal of shapes {shape}", jax.tree.map(np.shape, answer),
                "return one second derivative for each input",
            )  # fmt: skip
        if count <= MOST_DIAGONAL:
            return answer
        return _as_row(leaves_like(answer, like) or jax.tree.leaves(answer), chosen)[chosen]

    return loss, claimed, (steps, chosen), ["hess", "chosen"]


@called_by_keyword("a function, then at= by name", "verify_rule(f, at=(x,))", "at")
@judging("f", "the arguments in `at`", "the rule of f", also=("vjp", "of"))
def verify_rule(
    f: Callable, *, at: tuple, argnums: Argnums | None = None, **options: Any
) -> Verdict:
    """Judge the `jax.custom_vjp` or `jax.custom_jvp` rule of `f` against what `f` computes.

    What `jax.vjp` makes of the rule is judged, for cotangents of both signs, along `argnums`, by
    default all arguments that hold floats. The autodiff witness is JAX's own derivative of the
    function under the rule. `options` are those of `handgrad.verify`.

    `f` may also be a `torch.autograd.Function`, or the `apply` of one: its backward is judged
    against its forward, both as PyTorch runs them (contexts, `needs_input_grad`, None for a
    gradient of zeros). What is no array in `at` is passed on as it is.

    >>> @jax.custom_jvp
    ... def cube(x):
    ...     return x**3
    >>> cube.defjvps(lambda tangent, answer, x: 2 * x**2 * tangent)
    >>> verdict = verify_rule(cube, at=(2.0,), evaluations=0)
    >>> verdict.ok, verdict.hand, verdict.autodiff
    (False, 'different', 'identical')
    """
    if not isinstance(at, tuple):
        check_at(at)
    if is_autograd_function(f):
        return _verify_autograd_function(f, at, argnums, _with_name(options, f))
    check_at(at)
    moved = counted_from_0(_float_positions(at) if argnums is None else argnums, at)
    names = set()
    if not uses_torch(f):
        program, _ = _traced(f, "f", at)
        names = {equation.primitive.name for equation in jaxprs.equations(program)}
    if not names & jaxprs.CUSTOM_CALLS:
        raise InputError(
            "f", "a function with a custom_jvp or custom_vjp rule", name_of(f),
            "for a derivative in a function of its own use verify_vjp or verify_jvp",
        )  # fmt: skip

    def primal(*args: Any) -> Any:
        program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        outputs = jaxprs.run(program, jax.tree.leaves(args), _without_rule)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    def by_rule(cotangent: Any, *args: Any) -> Any:
        positions = positions_of(moved)

        def of_moved(*chosen: Any) -> Any:
            here = dict(zip(positions, chosen, strict=True))
            return f(*(here.get(i, arg) for i, arg in enumerate(args)))

        output, pull_back = jax.vjp(of_moved, *(args[i] for i in positions))
        pulled = pull_back(jax.tree.map(lambda c, y: c.astype(y.dtype), cotangent, output))
        return pulled if isinstance(moved, tuple) else pulled[0]

    return verify_vjp(
        by_rule, of=_named(primal, [], f, at), at=at, argnums=moved, **_with_name(options, f)
    )


def _verify_autograd_function(
    f: Any, at: tuple, argnums: Argnums | None, options: dict[str, Any]
) -> Verdict:
    """All inputs together; then each that gets another gradient when it is asked for alone."""
    parts = rule_parts(f, at, argnums)
    draw = options.pop("points", None)
    if draw is not None:
        options["points"] = lambda key: tuple(draw(key)[i] for i in parts.places)
    verdict = verify_vjp(
        parts.backward, of=parts.forward, at=parts.at, argnums=parts.argnums, **options
    )
    if not verdict.ok or len(parts.argnums) == 1:
        return verdict
    for position in changed_when_alone(parts):
        alone = _verify_autograd_function(f, at, parts.places[position], options)
        if not alone.ok:
            note = "asked for the gradient of this input alone: see needs_input_grad"
            return replace(alone, notes=(*alone.notes, note))
    return verdict


def name_of(function: Callable) -> str:
    """A function by its name."""
    return str(getattr(function, "__name__", type(function).__name__))


def _without_rule(equation: Any, operands: list) -> list:
    """One equation, a rule of its own left out where it stands outermost."""
    inside = jaxprs.called_program(equation)
    if inside is None:
        return jaxprs.bind(equation, operands)
    if equation.primitive.name in jaxprs.CUSTOM_CALLS:
        return jaxprs.run(inside, operands, jaxprs.bind)
    return jaxprs.run(inside, operands, _without_rule)


# --- objectives of boosting libraries -------------------------------------------------------------


@called_by_keyword(
    "an objective, then of= and at= by name",
    "verify_objective(objective, of=loss, at=(predictions, labels))", "of", "at",
)  # fmt: skip
@judging("objective", "predictions and labels", "objective(*at)")
def verify_objective(objective: Callable, *, of: Callable, at: tuple, **options: Any) -> Verdict:
    """Judge `objective(predictions, labels)`, which returns (grad, hess) as boosting libraries ask.

    `of(predictions, labels)` is the loss, one number, or one for each example (their sum is meant);
    predictions, (N,) or (N, K), are raw margins; grad and hess have their shape. grad is judged as
    any gradient is; hess as the diagonal of the second derivatives. Where it is not that, it is
    still right as a bound: if diag(hess) − ∂²L is positive semidefinite in the predictions of each
    example, shown in ball arithmetic at the point given, or as the diagonal held from below by one
    number. The notes say which. `options` are those of `handgrad.verify`.

    >>> def loss(z, y):
    ...     return jnp.sum(jax.nn.softplus(z) - y * z)
    >>> def objective(z, y):
    ...     p = 1 / (1 + np.exp(-z))
    ...     return p - y, p * (1 - p)
    >>> at = (np.array([0.3, -1.2]), np.array([1.0, 0.0]))
    >>> verify_objective(objective, of=loss, at=at).ok
    True
    """
    if not isinstance(at, tuple) or len(at) != 2 or np.ndim(at[0]) not in (1, 2):
        raise InputError(
            "at", "(predictions, labels), the predictions of shape (N,) or (N, K)",
            [np.shape(leaf) for leaf in at] if isinstance(at, tuple) else type(at).__name__,
            "pass raw margins and labels as arrays",
        )  # fmt: skip
    name = options.pop("name", None) or name_of(objective)
    arrays = as_arrays(at)
    check_at(arrays)
    of = read_loss(of, at, 0)
    options["points"] = with_known_leaves(options.get("points"), at, of)

    def total(predictions: Any, labels: Any) -> jax.Array:
        return jnp.sum(of(predictions, labels))

    total = read_as(total, of)

    def part(index: int) -> Callable:
        def one(predictions: Any, labels: Any) -> Any:
            answer = objective(predictions, labels)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise InputError(
                    "objective", "a function that returns (grad, hess)", type(answer).__name__,
                    "return both, each in the shape of the predictions",
                )  # fmt: skip
            if index and np.shape(answer[index]) != np.shape(predictions):
                raise InputError(
                    "objective", f"hess of shape {np.shape(predictions)}, as the predictions have",
                    np.shape(answer[index]), "return one second derivative for each prediction",
                )  # fmt: skip
            return answer[index]

        return one

    first = verify(part(0), of=total, at=at, name=f"grad of {name}", **options)
    if not first.ok:
        misread = None if first.is_undecided else _misread(part(0), total, arrays)
        return replace(first, cause=misread or first.cause)
    second = verify_hessian(
        part(1), of=total, at=at, diagonal=True, name=f"hess of {name}", **options
    )
    kind = "hess is the second derivative" if second.ok else None
    if second.hand in ("different", "not traceable") and not second.ok:
        kind = _kind_of_hess(part(1), total, arrays, options.get("dtypes", DTYPES))
    if kind is None:
        return second
    return replace(
        first, name=name, compared=first.compared + second.compared, notes=(kind, *first.notes)
    )


def _misread(grad: Callable, total: Callable, at: tuple) -> str | None:
    """Whether grad would be right if predictions or labels were what the objective takes them for.

    Raw margins are often taken for probabilities, and labels of 0 and 1 for −1 and 1.
    """
    z, y = np.asarray(at[0], np.float64), np.asarray(at[1])
    margins = "the objective takes its predictions for probabilities, and they are raw margins: "
    with x64():
        truth = np.asarray(jax.grad(total)(jnp.asarray(z), y))
        readings: list[tuple[str, Any, Any]] = [
            (f"{margins}pass them through the sigmoid first", jax.nn.sigmoid(z), y)
        ]
        if z.ndim == 2:
            readings.append((f"{margins}pass them through the softmax first", jax.nn.softmax(z), y))
        for values, name, (mending, mend), other in LABELS:
            if z.ndim == 1 and set(np.unique(y).tolist()) == values:
                said = f"the objective takes labels of {other}, and they are {name}: pass {mending}"
                readings.append((said, z, mend(y)))
        for said, predictions, labels in readings:
            try:
                given = _numbers(grad, (predictions, labels), "float64")
            except Exception:
                return None
            if given.shape == truth.shape and np.allclose(given, truth, rtol=CLOSE, atol=1e-12):
                return said
    return None


def _numbers(function: Callable, at: tuple, dtype: str) -> np.ndarray:
    """What is returned at a point rounded to a dtype, given as NumPy arrays or as JAX's."""
    point, function = round_to(at, dtype), as_called(function)
    try:
        answer = function(*jax.tree.map(np.asarray, point))
    except Exception:
        answer = function(*point)
    return np.asarray(answer, np.float64)


def _kind_of_hess(
    hess: Callable, total: Callable, at: tuple, dtypes: tuple[str, ...]
) -> str | None:
    """What hess is if it is not the second derivative: held from below, or a bound.

    None if it is neither, or is something else in one of the dtypes asked.
    """
    z = np.asarray(at[0], np.float64)
    with x64():
        given = _numbers(hess, at, "float64")
        if given.shape != z.shape or not np.isfinite(given).all():
            return None
        for dtype in dtypes:
            nearness = float(jnp.finfo(dtype).eps) ** 0.5
            if not np.allclose(_numbers(hess, at, dtype), given, rtol=nearness, atol=0.0):
                return None
        blocks = _curvature(total, z, at[1])
    if blocks is None:
        return None
    diagonal = np.array([[float(ball.mid()) for ball in np.diag(block)] for block in blocks])
    diagonal = diagonal.reshape(z.shape)
    same = np.abs(given - diagonal) <= CLOSE * np.abs(diagonal)
    if same.any() and not same.all():
        floors = np.unique(given[~same])
        if len(floors) == 1 and (diagonal[~same] < floors[0]).all() and floors[0] > 0:
            return f"hess is the second derivative, held from below by {floors[0]:.3g}"
    rows = given.reshape(len(blocks), -1)
    if all(_bounds(row, block) for row, block in zip(rows, blocks, strict=True)):
        ratios = given / np.where(diagonal == 0, np.nan, diagonal)
        times = f", {ratios.flat[0]:.6g} times its diagonal" if np.ptp(ratios) < CLOSE else ""
        return (
            f"hess is not the second derivative but an upper bound of it{times}: diag(hess) − ∂²L "
            f"is positive semidefinite at each example, shown in ball arithmetic"
        )
    return None


def _curvature(total: Callable, z: np.ndarray, y: Any) -> list[np.ndarray] | None:
    """∂²L in the predictions of each example, as balls: (K, K) for each.

    None for too many classes, and for a loss in which examples are mixed: its second derivatives
    along a combination of the examples are not that combination of those along each.
    """
    slope = jax.grad(total)
    classes = 1 if z.ndim == 1 else z.shape[1]
    if classes > MOST_CLASSES:
        return None
    weights = np.linspace(0.5, 1.5, len(z))

    def column(z: Any, y: Any, weights: Any, k: Any) -> Any:
        unit = weights[:, None] * (jnp.arange(classes) == k).astype(z.dtype)[None, :]
        return jax.jvp(lambda z: slope(z, y), (z,), (unit.reshape(z.shape),))[1]

    def columns(z: Any, y: Any, weights: Any) -> Any:
        return jnp.stack([column(z, y, weights, k) for k in range(classes)])

    found, weighted = (
        np.asarray(exact.evaluate(columns, z, y, w)).reshape(classes, len(z), classes)
        for w in (np.ones(len(z)), weights)
    )
    if not all(
        ball.overlaps(found[index] * float(weights[index[1]]))
        for index, ball in np.ndenumerate(weighted)
    ):
        return None
    return list(np.moveaxis(found, 0, 2))


def _bounds(given: np.ndarray, block: np.ndarray) -> bool:
    """Whether diag(given) − block is positive semidefinite: surely, by a Cholesky decomposition.

    An eigenvalue of exactly 0, as common shifts of all logits give it, is met by a step of 1e-9.
    """
    diagonal = as_balls(given) * (1 + arb(10) ** -9)
    rest = np.diag(diagonal) - block
    for k in range(len(block)):
        if not rest[k, k] > 0:
            return False
        for i in range(k + 1, len(block)):
            rest[i, k + 1 :] = rest[i, k + 1 :] - rest[k, k + 1 :] * (rest[i, k] / rest[k, k])
    return True


# --- trees ----------------------------------------------------------------------------------------


def _float_outputs(of: Callable, at: tuple) -> Any:
    """The shapes of what `of` returns. Raises InputError unless they are floats."""
    _, outputs = _traced(of, "of", at)
    leaves = jax.tree.leaves(outputs)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise InputError(
            "of", "a function that returns arrays of floats", as_shapes(outputs),
            "leave out what has no derivative",
        )  # fmt: skip
    return outputs


def _traced(function: Callable, argument: str, at: tuple) -> tuple[jaxprs.Program, Any]:
    """The program of a function, and its outputs' shapes. Raises InputError where there is none."""
    try:
        return jax.make_jaxpr(function, return_shape=True)(*at)
    except Exception as error:
        raise InputError(
            argument, "a function that JAX can trace at the arguments in `at`",
            describe_error(own_error(function, at, error)), f"call {argument}(*at) by itself",
        ) from error  # fmt: skip


def _float_positions(at: tuple) -> tuple[int, ...]:
    """The arguments that hold floats alone. Raises InputError where there is none."""
    found = tuple(
        i for i, arg in enumerate(at)
        if jax.tree.leaves(arg) and all(is_float(leaf) for leaf in jax.tree.leaves(arg))
    )  # fmt: skip
    if not found:
        raise InputError(
            "at", "at least one argument of floats alone", as_shapes(jax.tree.map(np.asarray, at)),
            "convert what is to be differentiated to floats",
        )  # fmt: skip
    return found


def _require_no_step(steps: Any) -> None:
    """What is claimed says nothing beside the point: a diagnosis may ask there."""
    for leaf in jax.tree.leaves(steps):
        followed = type(leaf).__module__.startswith("handgrad")  # NumPy's by its __class__
        if not followed and not isinstance(leaf, jax.core.Tracer) and np.any(leaf):
            raise ValueError("the claim holds at a step of 0")


def _normal(key: jax.Array, like: Any) -> Any:
    """Normal numbers in the shapes of a tree."""
    rng = np.random.default_rng(int(jax.random.bits(key)))
    return jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), like)


def _inner(a: Any, b: Any) -> jax.Array:
    parts = [
        jnp.sum(x.astype(y.dtype) * y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return sum(parts[1:], parts[0])


def _zero_tangent(leaf: Any) -> Any:
    if is_float(leaf):
        return jnp.zeros_like(leaf)
    return np.zeros(np.shape(leaf), jax.dtypes.float0)


def _namespace(*arrays: Any) -> Any:
    """NumPy for arrays of its own, jax.numpy where one of JAX is among them."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def _as_row(leaves: list, beside: Any) -> Any:
    """Leaves as one row, in the namespace of what it is used with."""
    own = _namespace(beside, *leaves)
    return own.concatenate([own.ravel(leaf) for leaf in leaves])


def _combinations(count: int, seed: int) -> np.ndarray:
    """Rows of the identity; of many, random combinations of them."""
    if count <= MOST_ROWS:
        return np.eye(count)
    return np.random.default_rng(seed).normal(size=(COMBINATIONS, count))


# --- names and options ----------------------------------------------------------------------------


def _named(function: Callable, first: list[str], of: Callable, at: tuple) -> Callable:
    """The function, its arguments called `first` and then as `of` calls them, where names fit."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    names = [*first, *argument_names(at, of)]
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name if name.isidentifier() else f"at_{i - len(first)}", kind)
            for i, name in enumerate(names)
        ]
    )
    return read_as(function, of)


def _with_name(options: dict[str, Any], function: Callable) -> dict[str, Any]:
    return {**options, "name": options.get("name") or name_of(function)}
