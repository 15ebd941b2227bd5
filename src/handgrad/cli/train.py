"""`handgrad train`: check the gradient on this data, then hand and optax side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli.bars import UPDATE_SECONDS, bars
from handgrad.cli.output import check_writable, console, say, write_json, write_whole
from handgrad.cli.saving import Keeping, write_parameters
from handgrad.cli.several import by_several, speaks
from handgrad.cli.streaming import is_streamed, say_prepared
from handgrad.cli.training import outcomes_as_data, print_outcomes, report_check
from handgrad.errors import DivergedError, InputError


@by_several
def train(
    data: Annotated[
        str, typer.Argument(help="A data set by name, or a .csv, .parquet or .npy file.")
    ],
    target: Annotated[str | None, typer.Option(help="The label column of a file.")] = None,
    model: Annotated[
        str | None, typer.Option(help="logistic, softmax, perceptron or mlp; else by the labels.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum or adam.")] = "sgd",
    learning_rate: Annotated[float, typer.Option(help="The step size, α.")] = 0.1,
    batch_size: Annotated[
        str | None,
        typer.Option(help="full, or a number, 1 is per example; else 32, or full if fewer."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="How often every example is seen.")] = 200,
    tol: Annotated[
        float | None, typer.Option(help="Stop once the largest |∂E/∂w| is at most this.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the order.")] = 0,
    l2: Annotated[float, typer.Option(help="λ of the penalty ½ λ ‖w‖².")] = 0.0,
    hidden: Annotated[str, typer.Option(help="Hidden sizes of the mlp, as in 16,8.")] = "16",
    activation: Annotated[str, typer.Option(help="Of the mlp: tanh, relu or sigmoid.")] = "tanh",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    stream: Annotated[bool, typer.Option("--stream", help="Keep the file on the disk.")] = False,
    in_order: Annotated[bool, typer.Option(help="Do not shuffle between epochs.")] = False,
    devices: Annotated[
        str | None, typer.Option(help="Spread the examples over: a number of devices, or all.")
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(help="HOST:PORT of process 0, or auto in a cluster.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many there are.")] = None,
    process_id: Annotated[int | None, typer.Option(help="The number of this one, from 0.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a figure to this PNG.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was printed to this file.")] = None,
    params: Annotated[Path | None, typer.Option(help="Write the parameters to this .npz.")] = None,
    log: Annotated[Path | None, typer.Option(help="JSON lines that grow with the run.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Save the run in this folder; Ctrl-C saves and leaves.")
    ] = None,
    every_steps: Annotated[int | None, typer.Option(help="Save every so many steps.")] = None,
    every_seconds: Annotated[
        float | None, typer.Option(help="Save every so many seconds; else 60.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is saved.")] = False,
) -> None:
    """Train on DATA: the gradient checked on it, then hand and optax side by side."""
    from handgrad._precision import x64
    from handgrad.data import load, split, standardise
    from handgrad.scale.streams import open_parts
    from handgrad.train import comparison
    from handgrad.train.api import check_run
    from handgrad.train.batches import check_mesh_fits, size_of

    check_writable("--plot", plot, ".png")
    check_writable("--json", json, ".json")
    check_writable("--params", params, ".npz")
    if dtype not in ("float32", "float64"):
        raise InputError("dtype", "float32 or float64", repr(dtype), "name one of them")
    check_choices(optimizer, learning_rate, l2)
    check_run(epochs, tol)
    choice = optimizer, learning_rate, l2, parse_sizes(hidden), activation
    streamed = is_streamed(data, stream)
    training: Any
    test: Any
    if streamed:
        if model:
            comparison.contenders(model, *choice)  # what is wrong with it is not to be read for
        training, test = open_parts(data, target, seed=seed, dtype=dtype)
        say_prepared(training, test)
    else:
        training, test = standardise(*split(load(data, target), seed=seed))
    name = model or ("logistic" if training.classes == 2 else "softmax")
    pair = comparison.contenders(name, *choice)
    comparison.check_labels_suit(name, training)
    size = size_of(parse_batch_size(batch_size), training.examples)
    mesh = parse_devices(devices, several=coordinator is not None)
    if streamed and mesh is not None:
        raise InputError(
            "--coordinator" if coordinator else "--devices", "a data set in memory",
            f"{data}, which is streamed", "train on it with one process and one device",
        )  # fmt: skip
    check_mesh_fits(mesh, size, training.examples)
    keeping = Keeping(
        checkpoint, every_steps, every_seconds, resume, log,
        {"data": training.name, "model": name, "optimizer": optimizer, "seed": seed, "dtype": dtype,
         "learning rate": learning_rate, "l2": l2},
    )  # fmt: skip
    keeping.check()
    say(
        f"[bold]{escape(training.name)}[/]: {training.examples:,} training and {test.examples:,} "
        f"test examples, {training.features} features, {training.classes} classes"
    )
    say(
        f"[bold]{name}[/], {optimizer} at {learning_rate:g}, batches of {size:,}, "
        f"{epochs:,} epochs, {dtype}"
    )
    report: dict[str, Any] = {"data": training.name, "model": name}
    try:
        with (
            x64(dtype == "float64"),
            keeping.open() as kept,
            bars([side.name for side in pair]) as bar,
        ):
            result = comparison.compare(
                pair, training, test, dtype=dtype, seed=seed, epochs=epochs, tol=tol,
                batch_size=size, shuffle=not in_order,
                on_check=lambda check: report_check(check, report), progress=bar,
                options_of=kept,
                update_seconds=UPDATE_SECONDS if console.is_terminal else None,
                **({} if mesh is None else {"mesh": mesh}),
            )  # fmt: skip
    except comparison.StoppedError as stopped:
        raise keeping.leave(stopped) from None
    except DivergedError as error:
        if "check" not in report or report["check"]["ok"]:
            raise
        say(str(error))  # no wonder: the verdict on the gradient stands, and is the exit code
    else:
        report |= outcomes_as_data(result)
        print_outcomes(result)
        if plot and speaks():
            from handgrad.explain.training_figure import png, training_figure

            shown = training.shown() if streamed else training
            with x64(dtype == "float64"):
                figure = training_figure(result.results, pair[0].model, shown, dtype)
            write_whole(plot, png(figure))
            say(f"figure: {escape(str(plot))}")
        if params and speaks():
            write_parameters(params, result.results)
            say(f"parameters: {escape(str(params))}")
    if json and speaks():
        write_json(json, report)
    if "hand" in report:
        keeping.report(result.results)
    if not report["check"]["ok"]:
        raise typer.Exit(1)


def check_choices(optimizer: str, learning_rate: float, l2: float) -> None:
    """Raise InputError for an unknown rule, a rate that is no rate, a penalty that is none."""
    from handgrad.train.optimizers import resolve

    resolve(optimizer, learning_rate)
    if not 0 <= l2 < 3e38:  # float32 has to hold it
        raise InputError("l2", "a finite number of 0 or more", l2, "pass 0.01, say")


def parse_batch_size(text: str | None) -> int | str | None:
    """'full', or a whole number, or None if none was given."""
    return int(text) if text and text.removeprefix("-").isdecimal() else text


def parse_devices(text: str | None, several: bool) -> int | str | None:
    """A whole number, or 'all', or None; with several processes all are taken if none is named."""
    if text is None:
        return "all" if several else None
    return int(text) if text.isdecimal() else text


def parse_sizes(text: str) -> tuple[int, ...]:
    """'16,8' as (16, 8)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError("hidden", "sizes such as 16 or 16,8", repr(text), "write 16,8") from None
