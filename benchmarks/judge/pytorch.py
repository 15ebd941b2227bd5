"""`python -m benchmarks.judge.pytorch`: PyTorch's losses and rules, right and wrong, in the judge.

Every `*_loss` of `torch.nn.functional` is counted: traced, or refused by name. Exit code 1 if the
judge accuses a right gradient or misses a wrong one, or if fewer than 90% of the losses are traced.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.judge.controls import Outcome, try_control
from benchmarks.judge.controls.control import _status as status
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, track, write_json
from handgrad.errors import InputError, MissingExtraError, NotFollowed
from handgrad.interop import as_jax
from handgrad.verify import Verdict, verify_rule

BAR = 0.9
"""Of the losses of torch.nn.functional, how many are traced."""


def pytorch(
    only: Annotated[str, typer.Option(help="Only those whose name contains this.")] = "",
    evaluations: Annotated[
        int, typer.Option(min=0, help="Points of the search around each right gradient.")
    ] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write every outcome to this file.")] = None,
) -> None:
    """Put gradients and autograd Functions in PyTorch before the judge, right and wrong."""
    check_writable("--json", json, ".json")
    chosen = [pair for pair in names() if only in pair[1]]
    if not chosen:
        raise InputError("only", "a part of a control's name", repr(only), "leave it out")
    run = partial(try_named, evaluations=evaluations)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        every = pool.map(run, *zip(*chosen, strict=True))
        found = list(track(every, "controls", len(chosen)))
    print_outcomes(found)
    print_counts(found)
    share = print_losses()
    if json:
        write_json(json, {"outcomes": [asdict(outcome) for outcome in found]})
    judged = [o for o in found if o.right != "refused"]
    if any(o.right != "right" or o.wrong != "caught" for o in judged) or share < BAR:
        raise typer.Exit(WRONG)


def families() -> dict[str, tuple[Callable, ...]]:
    """The controls in PyTorch. Raises MissingExtraError without PyTorch."""
    try:
        from benchmarks.judge.controls import pytorch_functions, pytorch_losses, pytorch_models
    except ImportError as error:
        raise MissingExtraError("judging PyTorch", "torch") from error
    return {
        "losses": pytorch_losses.CONTROLS,
        "models": pytorch_models.CONTROLS,
        "functions": pytorch_functions.CONTROLS,
    }


def names() -> list[tuple[str, str]]:
    """Every control as family and name."""
    return [(family, make.__name__) for family, made in families().items() for make in made]


def try_named(family: str, name: str, evaluations: int = 0) -> Outcome:
    """One control by its name: names go from one process to another."""
    (make,) = (make for make in families()[family] if make.__name__ == name)
    if family == "functions":
        return try_function(make)
    outcome = try_control(family, make, beside=False, evaluations=evaluations)
    if outcome.right == "crashed" and "no rule" in outcome.said:
        return replace(outcome, right="refused", wrong="refused")
    return outcome


def try_function(make: Callable) -> Outcome:
    """An autograd Function, right and wrong, by `verify_rule`."""
    layer, _, mistake = (make.__doc__ or "").partition("; ")
    found: list[Any] = []
    for wrong in (False, True):
        function, at, cause = make(wrong)
        try:
            found.append(verify_rule(function, at=at, evaluations=0))
        except Exception as error:
            found.append(error)
    right, wrong = found
    said = (wrong.cause if isinstance(wrong, Verdict) else None) or ""
    return Outcome(
        family="functions", name=make.__name__, layer=layer, mistake=mistake.rstrip("."),
        black_box=isinstance(right, Verdict) and right.hand == "not traceable",
        right=status(right, "right", "accused"), wrong=status(wrong, "missed", "caught"),
        expected=cause, cause=said,
        named=any(phrase.lower() in said.lower() for phrase in cause),
        said="" if isinstance(right, Verdict) and right.ok else str(right),
    )  # fmt: skip


def print_outcomes(found: Iterable[Outcome]) -> None:
    """One row for each control, and the words where they are not the expected ones."""
    print(f"{'control':36}{'right':11}{'wrong':11}{'cause':7}what the judge names", markup=False)
    for o in found:
        print(
            f"{o.name:36}{o.right:11}{o.wrong:11}{'named' if o.named else '-':7}{o.cause[:90]}",
            markup=False,
        )
    for o in found:
        if o.right != "right":
            print(f"\n{o.name}: {o.right}\n{o.said}", markup=False)


def print_counts(found: list[Outcome]) -> None:
    """How many are called right, accused, caught and named."""
    right, wrong = ([getattr(o, kind) for o in found] for kind in ("right", "wrong"))
    print(
        f"of {len(found)}: {right.count('right')} right gradients called right, "
        f"{right.count('accused')} accused, {wrong.count('caught')} wrong ones caught, "
        f"{sum(o.named for o in found)} causes named, {right.count('refused')} refused"
    )


def losses() -> list[str]:
    """The losses of torch.nn.functional."""
    from torch.nn import functional

    endings = ("_loss", "cross_entropy", "cross_entropy_with_logits", "kl_div")
    return [name for name in dir(functional) if name.endswith(endings) and name[0] != "_"]


def refused() -> dict[str, str]:
    """The losses of torch.nn.functional that cannot be traced, and why."""
    made = {make.__name__: make for make in families()["losses"]}
    found = {}
    for name in losses():
        if name not in made:
            found[name] = "no control"
            continue
        control = made[name]()
        try:
            as_jax(control.loss, control.at, control.argnums)
        except NotFollowed as error:
            found[name] = str(error.got)
    return found


def print_losses() -> float:
    """What of torch.nn.functional is traced; its share."""
    every, left = losses(), refused()
    print(f"losses of torch.nn.functional: {len(every) - len(left)} of {len(every)} traced")
    for name, reason in left.items():
        print(f"  {name} is refused: {reason}", markup=False)
    return 1 - len(left) / len(every)


if __name__ == "__main__":
    run_script(pytorch)
