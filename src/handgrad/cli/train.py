"""`handgrad train`: check the gradient on this data, then hand and optax side by side."""

import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import wraps
from inspect import signature
from os.path import expanduser, getsize, isfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from handgrad.cli import options
from handgrad.cli.output import (
    BAD_INPUT,
    WRONG,
    check_writable,
    console,
    draws_bars,
    print,
    print_error,
    progress_bars,
    table,
    ulps,
    write_json,
    write_whole,
)
from handgrad.errors import DivergedError, InputError

# --- several processes ----------------------------------------------------------------------------

LOCAL_OPTIONS = ("process_id", "plot", "json")
"""Options that may differ from one process to another."""


def multiprocess(command: Callable[..., None]) -> Callable[..., None]:
    """The command, within a group of processes if it is given a coordinator."""

    @wraps(command)
    def run(**given: Any) -> None:
        coordinator = given["coordinator"]
        if coordinator is None:
            for option in ("processes", "process_id"):
                if given[option] is not None:
                    raise InputError(
                        option, "nothing without a coordinator", given[option],
                        "pass --coordinator HOST:PORT too",
                    )  # fmt: skip
            command(**given)
            return
        from handgrad.scale.processes import distributed

        about = {name: str(given[name]) for name in signature(command).parameters}
        for name in (*LOCAL_OPTIONS, "coordinator"):
            about.pop(name)
        with distributed(
            coordinator,
            given["processes"],
            given["process_id"],
            about=about,
            lost=end_process,
            refused=print_error,
        ):
            console.quiet = not is_main_process()
            code = 0
            try:
                command(**given)
            except typer.Exit as done:  # raised by all processes alike: they leave together
                code = done.exit_code
            finally:
                console.quiet = False
        if code:
            raise typer.Exit(code)

    return run


def is_main_process() -> bool:
    """Whether this process prints and writes files: it is the only one, or process 0."""
    import jax

    return jax.process_index() == 0


def end_process(message: str) -> None:
    """Print which process was lost, and end at once: this one would wait for it for ever."""
    print_error(message)
    sys.stdout.flush()
    os._exit(BAD_INPUT)


# --- the command ----------------------------------------------------------------------------------


@multiprocess
def train(
    data: Annotated[
        str,
        typer.Argument(
            help="A data set by name, or a file: .csv, .tsv (.gz), .parquet, .feather, .arrow, "
            ".jsonl, .xlsx or .npy."
        ),
    ],
    target: Annotated[str | None, typer.Option(help="The label column of a file.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="logistic, softmax, perceptron or mlp. Default: logistic for two classes, "
            "softmax for more."
        ),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum or adam.")] = "sgd",
    learning_rate: Annotated[float, typer.Option(help="The step size α.")] = 0.1,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Examples per step: a number, or full. Default: 32, or full if there are fewer."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Number of passes over the data.")] = 200,
    tol: Annotated[
        float | None, typer.Option(help="Stop once the largest |∂E/∂w| is at most this.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed for the split, the initial weights and the shuffling.")
    ] = 0,
    l2: Annotated[float, typer.Option(help="λ of the penalty ½ λ ‖w‖².")] = 0.0,
    hidden: Annotated[str, typer.Option(help="Hidden sizes of the mlp, for example 16,8.")] = "16",
    activation: Annotated[
        str, typer.Option(help="Activation of the mlp: tanh, relu or sigmoid.")
    ] = "tanh",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    stream: Annotated[
        bool, typer.Option("--stream", help="Read the file from disk in blocks while training.")
    ] = False,
    in_order: Annotated[bool, typer.Option(help="Do not shuffle between epochs.")] = False,
    devices: Annotated[
        str | None,
        typer.Option(help="Number of devices to spread the examples over, or all."),
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(help="HOST:PORT of process 0, or auto in a cluster.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Total number of processes.")] = None,
    process_id: Annotated[
        int | None, typer.Option(help="Number of this process, counted from 0.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the loss and the decision boundary into this PNG.")
    ] = None,
    json: options.Json = None,
    params: Annotated[Path | None, typer.Option(help="Write the parameters to this .npz.")] = None,
    log: Annotated[
        Path | None, typer.Option(help="Append progress to this file, as JSON lines.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Save checkpoints in this folder; Ctrl-C saves one and stops."),
    ] = None,
    every_steps: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    every_seconds: Annotated[
        float | None, typer.Option(help="Seconds between checkpoints. Default: 60.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="Save the model in this .npz, for handgrad predict.")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="The share of the rows that are held out.")
    ] = 0.25,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
    no_header: options.NoHeader = False,
    na: options.Na = None,
    drop: options.Drop = None,
    text: options.Text = None,
    date_format: options.DateFormat = None,
    impute: options.Impute = None,
    max_categories: options.MaxCategories = 1_000,
    categories: options.Categories = "auto",
) -> None:
    """Train on DATA: the gradient checked on it, then hand and optax side by side."""
    import jax

    from handgrad._precision import x64
    from handgrad.data import load_parts
    from handgrad.scale.streams import open_parts
    from handgrad.train import comparison
    from handgrad.train.api import check_run
    from handgrad.train.batches import check_mesh_fits, size_of
    from handgrad.train.comparison import evaluate, largest_coefficients
    from handgrad.train.optimizers import resolve
    from handgrad.train.saved import (
        ModelSettings,
        SavedModel,
        described_source,
        probabilities,
        versions,
    )

    check_writable("--plot", plot, ".png")
    check_writable("--json", json, ".json")
    check_writable("--params", params, ".npz")
    check_writable("--save", save, ".npz")
    reading = options.file_options(
        delimiter=delimiter, decimal=decimal, encoding=encoding, no_header=no_header, na=na,
        drop=drop, text=text, date_format=date_format, impute=impute,
        max_categories=max_categories, categories=categories,
    )  # fmt: skip
    if dtype not in ("float32", "float64"):
        raise InputError("dtype", "float32 or float64", repr(dtype), "name one of them")
    resolve(optimizer, learning_rate)
    if not 0 <= l2 < 3e38:  # float32 has to hold it
        raise InputError("l2", "a finite number of 0 or more", l2, "pass 0.01")
    check_run(epochs, tol)
    choice = optimizer, learning_rate, l2, parse_sizes(hidden), activation
    streamed = is_streamed(data, stream)
    training: Any
    test: Any
    if streamed:
        if model:
            comparison.contenders(model, *choice)  # refuse a wrong choice before a long read
        training, test = open_parts(data, target, test_fraction, seed, dtype=dtype, options=reading)
        preparation = training.preparation
        print_preparation(training, test)
    else:
        training, test, preparation = load_parts(
            data, target, reading, test_fraction=test_fraction, seed=seed
        )
    for remark in training.remarks:
        print(f"[yellow]{escape(remark)}[/]")
    name = model or ("logistic" if training.classes == 2 else "softmax")
    pair = comparison.contenders(name, *choice)
    comparison.check_labels_suit(name, training)
    size = size_of(number_or_word(batch_size), training.examples)
    unasked = "all" if coordinator is not None else None
    mesh = number_or_word(unasked if devices is None else devices)
    if streamed and mesh is not None:
        raise InputError(
            "--coordinator" if coordinator else "--devices", "a data set in memory",
            f"{data}, which is streamed", "train on it with one process and one device",
        )  # fmt: skip
    check_mesh_fits(mesh, size, training.examples)
    run = RunOptions(
        checkpoint, every_steps, every_seconds, resume, log,
        {"data": training.name, "model": name, "optimizer": optimizer, "seed": seed, "dtype": dtype,
         "learning rate": learning_rate, "l2": l2},
    )  # fmt: skip
    run.check()
    print(
        f"[bold]{escape(training.name)}[/]: {training.examples:,} training and {test.examples:,} "
        f"test examples, {training.features} features, {training.classes} classes"
    )
    print(
        f"[bold]{name}[/], {optimizer} at {learning_rate:g}, batches of {size:,}, "
        f"{epochs:,} epochs, {dtype}"
    )
    report: dict[str, Any] = {"data": training.name, "model": name}
    if training.remarks:
        report["remarks"] = list(training.remarks)
    try:
        with (
            x64(dtype == "float64"),
            run.open() as options_of,
            show_progress([side.name for side in pair]) as progress,
        ):
            result = comparison.compare(
                pair, training, test, dtype=dtype, seed=seed, epochs=epochs, tol=tol,
                batch_size=size, shuffle=not in_order,
                on_check=lambda check: report_check(check, report), progress=progress,
                options_of=options_of,
                update_seconds=UPDATE_SECONDS if draws_bars() else None,
                **({} if mesh is None else {"mesh": mesh}),
            )  # fmt: skip
    except comparison.StoppedError as stopped:
        raise run.exit_of(stopped) from None
    except DivergedError as error:
        if "check" not in report or report["check"]["ok"]:
            raise
        print(str(error))  # expected of a wrong gradient, which the exit code tells
    else:
        report |= {
            "hand": asdict(result.hand),
            "optax": asdict(result.optax),
            "max_parameter_difference": result.difference.absolute,
            "max_parameter_difference_relative": result.difference.relative,
        }
        print_result(result)
        fitted = jax.device_get(result.results["hand"].params)
        settings = ModelSettings(name, l2, parse_sizes(hidden), activation)
        x, y = test.sample(EVALUATED) if streamed else (test.x, test.y)
        p = probabilities(settings, fitted, x)
        if not training.soft:
            quality = evaluate(p, y, training.class_names)
            print_evaluation(quality, test.examples, certain=name == "perceptron")
            report["test"] = asdict(quality)
        largest = largest_coefficients(fitted, training.feature_names, training.class_names)
        print_coefficients(largest)
        report["coefficients"] = largest
        if plot and is_main_process():
            from handgrad.explain.training_figure import png, training_figure

            shown = training.shown() if streamed else training
            with x64(dtype == "float64"):
                held_out = None if training.soft or name == "perceptron" else (p, y)
                figure = training_figure(result.results, pair[0].model, shown, dtype, held_out)
            write_whole(plot, png(figure))
            print(f"figure: {escape(str(plot))}")
        if save and is_main_process():
            about = {
                **described_source(data, training.name, target, preparation),
                "rows": training.examples, "test_rows": test.examples, "seed": seed,
                "optimizer": optimizer, "learning_rate": learning_rate, "batch_size": size,
                "epochs": epochs, "loss": result.hand.loss,
                "train_accuracy": result.hand.train_accuracy,
                "test_accuracy": result.hand.test_accuracy, "versions": versions(),
            }  # fmt: skip
            trained = SavedModel(
                settings, fitted, training.class_names, preparation, reading, about
            )  # fmt: skip
            write_whole(save, trained.to_bytes())
            print(f"model: {escape(str(save))}")
        if params and is_main_process():
            write_parameters(params, result.results)
            print(f"parameters: {escape(str(params))}")
    if json and is_main_process():
        write_json(json, report)
    if "hand" in report:
        run.report(result.results)
    if not report["check"]["ok"]:
        raise typer.Exit(WRONG)


# --- what of a run is saved -----------------------------------------------------------------------

SIDES = ("hand", "optax")
SECONDS = 60.0
"""From one checkpoint to the next, by default."""


@dataclass
class RunOptions:
    """The options that say what of a run is saved, and whether to continue a saved one."""

    folder: Path | None
    every_steps: int | None
    every_seconds: float | None
    resume: bool
    log: Path | None
    settings: dict[str, Any]
    """The options that a checkpoint is known by."""

    def check(self) -> None:
        """Raise InputError unless everything can be saved as asked. Writes nothing."""
        from handgrad.scale.checkpoints import check_folder
        from handgrad.train.log import RunLog

        if self.folder is None:
            given = {"every_steps": self.every_steps, "every_seconds": self.every_seconds}
            for option, value in {**given, "resume": self.resume or None}.items():
                if value is not None:
                    wanted = "a --checkpoint to go with it"
                    raise InputError(option, wanted, "none", "name a folder")
        else:
            check_folder(self.folder, SIDES)
            for side in SIDES:
                self._checkpoints(side).check(self.resume)
        if self.log is not None and is_main_process():
            RunLog(self.log, self.resume)

    @contextmanager
    def open(self) -> Iterator[Callable[[str], dict[str, Any]]]:
        """Holds the folder and defers signals; gives the options of `fit` for a side."""
        from handgrad.scale.checkpoints import lock_folder
        from handgrad.scale.processes import defer_signals
        from handgrad.train.log import RunLog

        with ExitStack() as stack:
            if self.folder is not None:
                if is_main_process():
                    stack.enter_context(lock_folder(self.folder))
                stack.enter_context(defer_signals())
            log = None
            if self.log and is_main_process():
                log = RunLog(self.log, self.resume, facts=self.settings, warn=print_warning)

            def options_of(side: str) -> dict[str, Any]:
                found: dict[str, Any] = {"resume": self.resume}
                if self.folder is not None:
                    found["checkpoint"] = self._checkpoints(side)
                if log:
                    found["log"] = log.of(side=side)
                return found

            yield options_of

    def _checkpoints(self, side: str) -> Any:
        from handgrad.scale.checkpoints import Checkpoints

        assert self.folder is not None
        seconds = self.every_seconds
        if seconds is None and self.every_steps is None:
            seconds = SECONDS
        return Checkpoints(
            self.folder / side, self.every_steps, seconds,
            settings={"side": side, **self.settings}, warn=print_warning,
        )  # fmt: skip

    def report(self, results: dict[str, Any]) -> None:
        """Print from where a run continued. Raises InputError if its end could not be saved."""
        for side, result in results.items():
            if result.history.start:
                print(f"{side} went on from step {result.history.start:,}")
        for side, result in results.items():
            self.check_saved(side, result.history)

    def exit_of(self, stopped: Any) -> typer.Exit:
        """Print where a stopped run stands and how to continue; the exit code is 128 + signal.

        Raises InputError if it could not be saved.
        """
        self.check_saved(stopped.side, stopped.history)
        print(f"{stopped}; saved in {escape(str(self.folder))}")
        print("go on with the same command and --resume")
        return typer.Exit(128 + stopped.history.signal)

    def check_saved(self, side: str, history: Any) -> None:
        """Raise InputError if the end of a run could not be saved."""
        if history.unsaved:
            raise InputError(
                "checkpoint", f"room to save the end of {side}, step {history.end:,}",
                history.unsaved, "make room, and go on from what is saved with --resume",
            )  # fmt: skip


def print_warning(message: str) -> None:
    """One line in yellow."""
    print(f"[yellow]{escape(message)}[/]")


def write_parameters(path: Path, results: dict[str, Any]) -> None:
    """Write the parameters of both sides to an .npz, whole or not at all; `numpy.load` reads it."""
    import jax
    import numpy as np

    arrays = {
        f"{side}{jax.tree_util.keystr(key)}": np.asarray(leaf)
        for side, result in results.items()
        for key, leaf in jax.tree_util.tree_leaves_with_path(result.params)
    }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())


# --- options --------------------------------------------------------------------------------------


def number_or_word(text: str | None) -> int | str | None:
    """'32' as 32; 'full' and 'all' as they are."""
    return int(text) if text and text.removeprefix("-").isdecimal() else text


def parse_sizes(text: str) -> tuple[int, ...]:
    """'16,8' as (16, 8)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError("hidden", "sizes such as 16 or 16,8", repr(text), "write 16,8") from None


# --- streams --------------------------------------------------------------------------------------

MEMORY_SHARE = 4
"""A file of more than 1/4 of the memory is streamed unasked: encoded, it may be larger."""


def is_streamed(data: str, asked: bool) -> bool:
    """Whether to stream `data`: if asked to, if it is a .npy file, or large for this machine."""
    path = Path(expanduser(data))
    if not isfile(path):  # also for a name too long to be one, where Path.is_file may raise
        if asked and path.suffix == "":
            raise InputError(
                "--stream", "a .csv, .parquet or .npy file", repr(data),
                "leave it out: a data set that comes by name is small",
            )  # fmt: skip
        return asked
    if asked or path.suffix.lower() == ".npy":
        return True
    size = getsize(path)
    large = size > total_memory() / MEMORY_SHARE
    if large:
        print(
            f"[dim]{size / 1e9:,.1f} GB is more than a quarter of this machine's "
            "memory: the file is streamed[/]"
        )
    return large


def total_memory() -> float:
    """Of this machine, in bytes; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def print_preparation(training: Any, test: Any) -> None:
    """Where the rows of a stream are now, and how long that took."""
    size = (training.copy.bytes + test.copy.bytes) / 1e6
    rate = (training.examples + test.examples) / training.prepared_in
    print(
        f"[dim]streamed: learnt and encoded in {training.prepared_in:.1f} s ({rate:,.0f} rows a "
        f"second), {size:,.1f} MB in {escape(str(training.copy.folder))} until the end[/]"
    )


# --- progress -------------------------------------------------------------------------------------

UPDATE_SECONDS = 0.5
"""About how often a bar moves."""


@contextmanager
def show_progress(names: Sequence[str]) -> Iterator[Callable[[str, Any], None]]:
    """A bar for each name, on a terminal; gives a function that moves the bar of a name."""
    from rich.progress import BarColumn

    texts = "{task.description:>5}", "loss {task.fields[loss]}", "{task.fields[pace]}"
    with progress_bars(texts[0], BarColumn(), *texts[1:]) as progress:
        tasks = {name: progress.add_task(name, total=None, loss="", pace="") for name in names}

        def show(name: str, seen: Any) -> None:
            progress.update(
                tasks[name], completed=seen.step, total=seen.steps, loss=f"{seen.loss:.6f}",
                pace=f"{seen.steps_per_second:,.0f} steps/s, {time_left(seen)} left",
            )  # fmt: skip

        yield show


def time_left(seen: Any) -> str:
    """Until the last step, at the rate of the last chunk, for example 1:05:09."""
    seconds = (seen.steps - seen.step) / seen.steps_per_second
    return str(timedelta(seconds=math.ceil(seconds)))


# --- the report -----------------------------------------------------------------------------------


def report_check(check: Any, report: dict[str, Any]) -> None:
    """One line if hand and autodiff agree on this data; the fault if they do not."""
    report["check"] = asdict(check)
    worst = {d: max((r.hand_max_ulp for r in check.leaves if r.dtype == d), default=0.0)
             for d in dict.fromkeys(r.dtype for r in check.leaves)}  # fmt: skip
    if check.ok:
        found = ", ".join(f"{ulps(worst[d])} ulp in {d}" for d in worst)
        print(
            f"gradient on this data: [bold green]agrees[/] with jax.grad in all "
            f"{check.compared:,} coordinates (at most {found})"
        )
    else:
        print(f"gradient on this data: [bold red]differs[/]: {escape(str(check.fault))}")


EVALUATED = 2**16
"""Examples of a stream that are held out and evaluated."""
MOST_CLASSES = 8
"""Classes of which a table shows each."""


def print_evaluation(quality: Any, examples: int, certain: bool) -> None:
    """How well each class of the test part is told; `certain`: by a model that admits no doubt."""
    classes = list(enumerate(quality.classes))
    few = len(classes) <= MOST_CLASSES
    worst = sorted(
        classes, key=lambda c: 2.0 if quality.recall[c[0]] is None else quality.recall[c[0]]
    )
    shown = classes if few else worst[:MOST_CLASSES]
    rows = table(
        "test, by hand", "examples", "recall", *(f"as {n}" for _, n in classes if few), gap=2
    )
    for number, name in shown:
        told = quality.recall[number]
        rows.add_row(
            escape(name), f"{quality.counts[number]:,}", "" if told is None else f"{told:.1%}",
            *(f"{count:,}" for count in quality.confusion[number] if few),
        )  # fmt: skip
    print(rows)
    if not few:
        print(f"[dim]the {MOST_CLASSES} classes that are told worst, of {len(classes):,}[/]")
    if sum(quality.counts) < examples:
        print(f"[dim]on a sample of {sum(quality.counts):,} of the {examples:,} test examples[/]")
    common = quality.classes[quality.counts.index(max(quality.counts))]
    figures = [f"accuracy {quality.accuracy:.2%}"]
    figures.append(f"{quality.baseline:.2%} if it always said {escape(common)}")
    if not certain:
        figures.append(f"log loss {quality.log_loss:.4f} nats")
        if quality.auc is not None:
            figures.append(f"AUC {quality.auc:.4f}")
        figures.append(f"probabilities off by {quality.calibration_error:.1%}")
    print(", ".join(figures))


def print_coefficients(largest: list[tuple[str, str, float]]) -> None:
    """The largest of each class, a line for each."""
    by_class: dict[str, list[str]] = {}
    for name, feature, value in largest:
        by_class.setdefault(name, []).append(f"{feature} {value:+.2f}")
    for name, features in list(by_class.items())[:MOST_CLASSES]:
        print(escape(f"towards {name}: {', '.join(features)}"))


def print_result(result: Any) -> None:
    """The table of both sides, and how far apart their parameters are."""
    rows = table("", "loss (nats)", "train accuracy", "test accuracy", "steps", "steps/s")
    stops = []
    for name, side in (("hand", result.hand), ("optax", result.optax)):
        rows.add_row(
            name, f"{side.loss:.6f}", f"{side.train_accuracy:.2%}", f"{side.test_accuracy:.2%}",
            f"{side.steps:,}", f"{side.steps_per_second:,.0f}",
        )  # fmt: skip
        if side.stopped != "epochs":
            stops.append(f"{name} stopped at step {side.steps:,}: {side.stopped}")
    print(rows)
    for line in stops:
        print(line)
    print(
        f"largest difference of the parameters: {result.difference.absolute:.1e} "
        f"({result.difference.relative:.1e} of the largest)"
    )
