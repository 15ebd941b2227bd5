"""Mutants: the judge judged, beside JAX's own checks.

Mutants of every gradient of the catalogue are really different, or equivalent, by a second opinion
at points that no judge sees, as far as the loss is a number there. Each judge is asked about each
mutant: a really different one that it lets pass is a miss, an equivalent one that it accuses a
false alarm.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads, check_vjp

from benchmarks.judge.mutations import Mutation, mutant, mutations
from benchmarks.judge.second_opinion import MANY, differ, opinion
from handgrad import exact
from handgrad._precision import x64
from handgrad.catalogue import CASES, Case
from handgrad.catalogue import case as case_called
from handgrad.errors import InputError
from handgrad.verify import judge as our_judge
from handgrad.verify import verify
from handgrad.verify.diagnosis import UNNAMED
from handgrad.verify.mathematics import RIGHT, compare_with_truth
from handgrad.verify.verdict import Verdict
from handgrad.verify.witnesses import (
    Argnums,
    Problem,
    Programs,
    positions_of,
    round_to,
    trace_all,
)

OURS = "handgrad"
DRAWN = 6
"""Points of the second opinion: some drawn, and one of them scaled up in what is differentiated."""
SCALES = (7.0, 60.0, 300.0)
BLACK_SCALES = (1.0, 7.0, 60.0)
"""Of the points drawn for a black box: at 300 much of a tail is less than float64 can hold. A
textbook form that loses all digits at 60 is wrong there as numbers: such ones are drawn near."""
EDGE = 354.5
"""Where e^(-2z) leaves the normal numbers of float64: a branch may be taken out there alone."""
DIGITS = 30
LOOPS = ("scan", "while", "cond", "optimization_barrier")


@dataclass(frozen=True)
class Trial:
    """One mutant: what it is, whether it is really different, and which judges accuse it."""

    case: str
    operator: str
    place: int
    detail: str
    different: bool
    accused: dict[str, bool]
    black_box: bool = False
    """Whether our judge saw it as a function of NumPy arrays."""
    cause: str = ""
    """What our judge says is wrong, where it was asked."""

    @property
    def is_named(self) -> bool:
        """Whether a cause was found."""
        return bool(self.cause) and not self.cause.startswith(UNNAMED)

    @property
    def wrong_judges(self) -> tuple[str, ...]:
        """The judges whose verdict is not the second opinion's."""
        return tuple(name for name, said in self.accused.items() if said != self.different)


def sample(cases: tuple[Case, ...], limit: int, seed: int) -> list[tuple[Case, Mutation]]:
    """About `limit` mutants, shared evenly among operators, and within one among cases."""
    rng = np.random.default_rng(seed)
    by_operator: dict[str, list[tuple[Case, Mutation]]] = {}
    with x64():
        for case in cases:
            for mutation in mutations(case.gradient, shapes_of(case)):
                by_operator.setdefault(mutation.operator, []).append((case, mutation))
    chosen: list[tuple[Case, Mutation]] = []
    groups = sorted(by_operator.values(), key=len)
    for number, group in enumerate(groups):
        share = (limit - len(chosen)) // (len(groups) - number)
        picked = rng.permutation(len(group))[:share]
        chosen += [group[i] for i in sorted(picked)]
    order = {case.name: i for i, case in enumerate(cases)}
    return sorted(chosen, key=lambda pair: order[pair[0].name])


@cache
def choose(names: tuple[str, ...], limit: int, seed: int) -> list[tuple[Case, Mutation]]:
    """The mutants to try, of the cases of these names or of all; every process draws the same."""
    return sample(all_cases(names), limit, seed)


def trials_of_case(
    names: tuple[str, ...],
    limit: int,
    seed: int,
    share: float,
    causes: bool,
    beside: bool,
    name: str,
) -> list[Trial]:
    """The trials of those of the chosen mutants that are of one case.

    A `share` of them, spread evenly over all, are black boxes; `causes` asks what is wrong, and
    `beside` what JAX's checks say.
    """
    chosen = choose(names, limit, seed)
    black = [int(share * (i + 1)) > int(share * i) for i in range(len(chosen))]
    own = [i for i, (case, _) in enumerate(chosen) if case.name == name]
    return list(try_mutants([chosen[i] for i in own], [black[i] for i in own], causes, beside))


def try_mutants(
    chosen: list[tuple[Case, Mutation]],
    black: Sequence[bool] = (),
    causes: bool = False,
    beside: bool = True,
) -> Iterator[Trial]:
    """The trial of each mutant; mutants of one case should follow one another."""
    group: CaseMutants | None = None
    for number, (case, mutation) in enumerate(chosen):
        if group is None or group.case is not case:
            group = CaseMutants(case)
        yield group.trial(mutation, bool(black) and black[number], causes, beside)


class CaseMutants:
    """What the mutants of one case share: the points, the right answers, the traced witnesses."""

    def __init__(self, case: Case):
        self.case = case
        with x64():
            keys = [jax.random.key(1_000 + i) for i in range(DRAWN)]
            near = [moved_from_zero(case, case.example(key), key) for key in keys]
            far = [scaled(case, near[0], by) for by in SCALES]
            placed = zip(near + far, [1.0] * len(near) + [*SCALES], strict=True)
            usable = [(args, by) for args, by in placed if not jnp.isnan(case.loss(*args))]
            self.unseen, self.scales = [args for args, _ in usable], [by for _, by in usable]
            self.right = [opinion(case.gradient, args) for args in self.unseen]
            self.right_at_length: dict[int, list] = {}
            self.at = case.example(jax.random.key(0))
            self.looked_at: list[tuple] = []
            drawn = [case.example(jax.random.key(i)) for i in (1, 2)]
            self.points = [jax.tree.leaves(args) for args in (self.at, *drawn)]
            problem = Problem(case.gradient, case.loss, self.at, case.argnums)
            self.programs: Programs = trace_all(problem, "float64", hand=False)

    def trial(
        self,
        mutation: Mutation,
        black_box: bool = False,
        causes: bool = False,
        beside: bool = True,
    ) -> Trial:
        """One mutant before the second opinion, our judge, and JAX's checks `beside` it."""
        changed = mutant(self.case.gradient, mutation)
        reach = max(self.black_scales) if black_box else max(SCALES)
        with x64():
            different = any(
                differ(opinion(changed, args), self.right[number])
                and differ(opinion(changed, args, MANY), self.at_length(number))
                for number, (args, by) in enumerate(zip(self.unseen, self.scales, strict=True))
                if by <= reach
            )
        by_handgrad, cause = self.by_handgrad(changed, black_box, causes)
        if by_handgrad and not different:
            different = (self.loses_all_digits if black_box else self.differs_far_out)(changed)
        accused = {OURS: by_handgrad}
        for judge, (dtype, check) in CHECKS.items() if beside else ():
            accused[judge] = self.by_jax(changed, dtype, check)
        return Trial(
            self.case.name, mutation.operator, mutation.place, mutation.detail, different, accused,
            black_box, cause,
        )  # fmt: skip

    def loses_all_digits(self, changed: Callable) -> bool:
        """Whether float64 keeps no digit of it somewhere, be it the same mathematics.

        At the unseen points that are near enough, or where the judge that accuses it has looked.
        """
        unseen = (
            (args, self.right[number])
            for number, (args, by) in enumerate(zip(self.unseen, self.scales, strict=True))
            if by <= max(self.black_scales)
        )
        with x64():
            looked_at = ((args, opinion(self.case.gradient, args)) for args in self.looked_at)
            return any(
                loses_all_digits(changed, *pair) for pair in itertools.chain(unseen, looked_at)
            )

    def differs_far_out(self, changed: Callable) -> bool:
        """Whether it is different where one leaf alone is far out: asked of what is accused.

        With large biases and usual weights, all examples take a branch that none takes nearby.
        """
        with x64():
            return any(
                differ(opinion(changed, args, MANY), opinion(self.case.gradient, args, MANY))
                for args in one_leaf_far_out(self.case, self.unseen[0])
            )

    def at_length(self, number: int) -> list:
        """The right answer at one of the unseen points, to as many digits as a doubt takes."""
        if number not in self.right_at_length:
            found = opinion(self.case.gradient, self.unseen[number], MANY)
            self.right_at_length[number] = found
        return self.right_at_length[number]

    def by_handgrad(
        self, changed: Callable, black_box: bool = False, causes: bool = False
    ) -> tuple[bool, str]:
        """Whether our judge calls it wrong, and the cause, if that is asked for.

        The mathematics comes first, and all of it if that passes. A black box is drawn at larger
        numbers too: no search looks for its tail.
        """
        if black_box:
            asked = nullcontext() if causes else patch.object(our_judge, "diagnose", _unasked)
            with asked:  # the cause is most of the time, and no part of the verdict
                verdict = self._as_black_box(changed, self.black_scales)
            return not verdict.ok and not verdict.is_undecided, verdict.cause or ""
        if self._is_different(changed):
            cause = verify(changed, evaluations=0, **self.question).cause if causes else ""
            return True, cause or ""
        verdict = verify(changed, evaluations=400, points=self.case.example, **self.question)
        wrong = verdict.hand == "different" or (verdict.hand in RIGHT and not verdict.ok)
        return wrong, verdict.cause or ""

    @cached_property
    def question(self) -> dict[str, Any]:
        """What our judge is asked about every mutant, beside the mutant itself."""
        return {
            "of": self.case.loss, "at": self.at, "argnums": self.case.argnums,
            "dtypes": ("float64",), "digits": DIGITS,
        }  # fmt: skip

    @cached_property
    def black_scales(self) -> tuple[float, ...]:
        """How far out black boxes are drawn: as far as the gradient itself has digits there."""
        holds = self._as_black_box(self.case.gradient, BLACK_SCALES).ok
        return BLACK_SCALES if holds else BLACK_SCALES[:1]

    def _as_black_box(self, gradient: Callable, by: tuple[float, ...]) -> Verdict:
        scales, self.looked_at = itertools.cycle(by), [self.at]
        return verify(
            in_numpy(gradient), points=lambda key: self._scaled_example(key, next(scales)),
            **self.question,
        )  # fmt: skip

    def _scaled_example(self, key: Any, by: float) -> tuple:
        args = scaled(self.case, moved_from_zero(self.case, self.case.example(key), key), by)
        self.looked_at.append(args)
        return args

    def _is_different(self, changed: Callable) -> bool:
        """Whether the mathematics alone shows an error, at the point given or a drawn one."""
        with x64():
            programs = replace(self.programs, hand=exact.trace(changed, *self.at))
            return any(
                compare_with_truth(
                    programs, leaves, DIGITS, np.random.default_rng(0), "truth"
                ).hand == "different"
                for leaves in self.points
            )  # fmt: skip

    def by_jax(self, changed: Callable, dtype: str, check: Callable) -> bool:
        """Whether a check of JAX's fails the loss with this derivative."""
        case = self.case
        return accused_by_jax(case.loss, changed, self.at, case.argnums, dtype, check)


def loses_all_digits(changed: Callable, args: tuple, right: list) -> bool:
    """Whether float64 keeps no digit at these arguments of a number that it could hold."""
    own = np.concatenate([np.ravel(a) for a in jax.tree.leaves(changed(*args))])
    true = np.concatenate([np.ravel(a) for a in right]).astype(np.float64)
    normal = np.abs(true) > np.finfo(np.float64).tiny
    return bool((~(np.abs(own - true) < np.abs(true)))[normal].any())


def _unasked(*args: Any) -> None:
    """In the place of a diagnosis."""


def with_derivative(
    loss: Callable, gradient: Callable, at: tuple, argnums: Argnums
) -> tuple[Callable, tuple]:
    """The loss as a function of what it is differentiated in, with this derivative; and that."""
    positions = positions_of(argnums)

    def put(chosen: tuple) -> tuple:
        full = list(at)
        for position, value in zip(positions, chosen, strict=True):
            full[position] = value
        return tuple(full)

    @jax.custom_vjp
    def f(*chosen: Any) -> Any:
        return loss(*put(chosen))

    def backward(chosen: tuple, cotangent: Any) -> tuple:
        answer = gradient(*put(chosen))
        answer = (answer,) if isinstance(argnums, int) else tuple(answer)
        return jax.tree.map(
            lambda g, x: (cotangent * g).astype(x.dtype).reshape(x.shape), answer, chosen
        )

    f.defvjp(lambda *chosen: (f(*chosen), chosen), backward)
    return f, tuple(at[position] for position in positions)


def accused_by_jax(
    loss: Callable, gradient: Callable, at: tuple, argnums: Argnums, dtype: str, check: Callable
) -> bool:
    """Whether a check of JAX's fails the loss with this derivative, at its own tolerance."""
    with x64(dtype == "float64"):
        f, chosen = with_derivative(loss, gradient, round_to(at, dtype), argnums)
        try:
            check(f, chosen)
        except AssertionError:
            return True
        return False


def accused_by_torch(loss: Callable, gradient: Callable, at: tuple, argnums: Argnums) -> bool:
    """Whether PyTorch's gradcheck fails the loss with this derivative, in float64."""
    import torch

    positions = positions_of(argnums)
    leaves, tree = jax.tree.flatten([at[position] for position in positions])

    def args_of(tensors: tuple) -> tuple:
        arrays = [jnp.asarray(tensor.detach().numpy()) for tensor in tensors]
        full = list(at)
        for position, value in zip(positions, jax.tree.unflatten(tree, arrays), strict=True):
            full[position] = value
        return tuple(full)

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors)
            return torch.tensor(float(loss(*args_of(tensors))), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            answer = jax.tree.leaves(gradient(*args_of(ctx.saved_tensors)))
            return tuple(cotangent * torch.tensor(np.asarray(g, np.float64)) for g in answer)

    with x64():
        tensors = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in leaves]
        return not torch.autograd.gradcheck(Loss.apply, tensors, raise_exception=False)


def check_first_order(f: Callable, args: tuple) -> None:
    """`check_grads`, in reverse."""
    check_grads(f, args, order=1, modes=("rev",))


def check_pullback(f: Callable, args: tuple) -> None:
    """`check_vjp`."""
    check_vjp(f, partial(jax.vjp, f), args)


def in_numpy(gradient: Callable) -> Callable:
    """A gradient that nobody can trace: it takes and returns arrays of NumPy."""
    compiled = jax.jit(gradient)

    def black_box(*args: Any) -> Any:
        arrays = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape), args)
        wide = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(arrays))
        with x64(wide):
            return jax.tree.map(np.asarray, compiled(*arrays))

    return black_box


def scaled(case: Case, args: tuple, by: float) -> tuple:
    """The arguments with the differentiated leaves scaled up: where a tail is."""
    argnums = positions_of(case.argnums)
    return tuple(
        jax.tree.map(lambda leaf: jnp.asarray(leaf) * by, arg) if i in argnums else arg
        for i, arg in enumerate(args)
    )


def moved_from_zero(case: Case, args: tuple, key: Any) -> tuple:
    """The arguments with zeros among the differentiated numbers drawn anew: a bias starts at 0."""
    argnums = positions_of(case.argnums)

    def moved(leaf: Any) -> Any:
        return jnp.where(leaf == 0, jax.random.normal(key, jnp.shape(leaf)) / 2, leaf)

    return tuple(jax.tree.map(moved, arg) if i in argnums else arg for i, arg in enumerate(args))


def one_leaf_far_out(case: Case, args: tuple) -> Iterator[tuple]:
    """The arguments with one differentiated leaf moved to ±EDGE, each in its turn."""
    for position in positions_of(case.argnums):
        leaves, tree = jax.tree.flatten(args[position])
        for number, leaf in enumerate(leaves):
            moved = [*leaves[:number], jnp.copysign(EDGE, leaf), *leaves[number + 1 :]]
            yield *args[:position], jax.tree.unflatten(tree, moved), *args[position + 1 :]


CHECKS: dict[str, tuple[str, Callable]] = {
    "check_grads float32": ("float32", check_first_order),
    "check_grads float64": ("float64", check_first_order),
    "check_vjp float64": ("float64", check_pullback),
}
"""What comes with JAX: the dtype and the check."""


def summary(trials: list[Trial]) -> list[dict[str, Any]]:
    """By operator, black boxes, and in all: mutants, really different, kills and alarms."""
    rows = []
    names = sorted({trial.operator for trial in trials})
    boxes = ["black boxes"] if any(trial.black_box for trial in trials) else []
    for name in [*names, *boxes, "all"]:
        some = [
            t for t in trials
            if name in (t.operator, "all") or (name == "black boxes" and t.black_box)
        ]  # fmt: skip
        row: dict[str, Any] = {
            "operator": name,
            "mutants": len(some),
            "different": sum(t.different for t in some),
        }
        for judge in trials[0].accused:
            row[judge] = {
                "killed": sum(t.different and t.accused[judge] for t in some),
                "false_alarms": sum(t.accused[judge] and not t.different for t in some),
            }
        caught = [t for t in some if t.different and t.accused["handgrad"]]
        row["causes"] = {"asked": sum(bool(t.cause) for t in caught),
                         "named": sum(t.is_named for t in caught)}  # fmt: skip
        rows.append(row)
    return rows


def all_cases(names: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of these names, or all of the catalogue that the second opinion can read.

    Those are the gradients without loops: the fast forms that have some repeat their formulas.
    Raises InputError for any other name.
    """
    readable = tuple(entry for entry in CASES if is_straight(entry))
    if not names:
        return readable
    chosen = tuple(case_called(name) for name in names)
    for entry in chosen:
        if entry not in readable:
            raise InputError(
                "CASES", "a gradient without loops", repr(entry.name), "name the reference form"
            )
    return chosen


def is_straight(entry: Case) -> bool:
    """Whether a gradient's program is one run of equations, with no loop and no barrier."""
    with x64():
        program = jax.make_jaxpr(entry.gradient)(*shapes_of(entry))
    text = str(program)
    return not any(f" {name}[" in text or f" {name} " in text for name in LOOPS)


def shapes_of(entry: Case) -> tuple:
    """The shapes and dtypes of a case's arguments; nothing is drawn, and nothing compiled."""
    return jax.eval_shape(entry.example, jax.random.key(0))
