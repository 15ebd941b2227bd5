"""Steps on 1, 2 and 4 processes of this machine, against what the cost model predicts of them.

The terms of the model are measured apart, with all processes at work at once: how fast each reads
its rows, what starting a step costs, how long a message takes. Steps of other sizes are predicted
from them, and then taken.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import PartitionSpec as P

from handgrad._types import Model
from handgrad.bench import Report
from handgrad.bench.cost import Machine, Work, all_reduce, step
from handgrad.gradients import logistic, softmax_regression
from handgrad.scale.sharding import AXIS, as_mesh
from handgrad.train.batches import Batches, ShardedBatches
from handgrad.train.loop import ArrayEngine, Schedule, Solver, pick

TITLE = "many processes: steps against the cost model"
PROCESSES = (1, 2, 4)
ROUNDS = 5
SCORES = 2**22
"""Logits of the steps that are timed together, so that processes that begin at once end at once."""
MOST_SECONDS = 300
"""Until processes that do not answer are ended."""
STARTING, READING = Work(2_000, 64), Work(1_000_000, 64)
SCORING, MULTIPLYING = (Work(200_000, features, outputs=10) for features in (2, 64))
PICKING = Work(1_000_000, 64, batch=8_192)
"""Steps of one process alone, of each of which one term takes nearly all the time."""
MESSAGES = (1_000, 4_000_000)
"""Bytes from which latency and link are known."""
PREDICTED = (
    ("full batch, 64 features", Work(2_000_000, 64)),
    ("full batch, 256 features", Work(300_000, 256)),
    ("batches of 2,048", Work(1_000_000, 64, batch=2_048)),
    ("batches of 32,768", Work(1_000_000, 64, batch=32_768)),
    ("full batch, 5 classes", Work(500_000, 128, outputs=5)),
)


def run(quick: bool = False) -> Iterator[Report]:
    """A table for each number of processes; the all-reduce of 4 from that of 2; a large run."""
    shrink = 50 if quick else 1
    machines = {}
    for many in PROCESSES:
        found = together(many, shrink)
        machines[many] = machine = Machine(**found["machine"])
        rows, errors = [], []
        for (name, work), measured in zip(smaller(shrink), found["steps"], strict=True):
            predicted = step(work, machine, many)
            errors.append(predicted.seconds / measured["seconds"] - 1)
            rows.append({
                "name": name, "seconds": measured["seconds"], "predicted": predicted.seconds,
                "error": errors[-1], "of it reduce": predicted.reduce / predicted.seconds,
                "memory": measured["memory"], "predicted memory": predicted.memory,
            })  # fmt: skip
        notes = [
            f"each of {many}: reads {machine.read / 1e9:.2f} GB/s, "
            f"{machine.gather / 1e9:.2f} GB/s row by row, multiplies "
            f"{machine.multiply / 1e9:.1f} Gflop/s, takes {machine.logits / 1e6:.0f} million "
            f"logits/s, {1e6 * machine.overhead:.0f} µs a step"
            + (f", {1e6 * machine.latency:.0f} µs and {machine.link / 1e9:.2f} GB/s a message"
               if many > 1 else ""),
            f"error of the prediction: median {np.median(np.abs(errors)):.0%}, "
            f"largest {max(errors, key=abs):+.0%}",
        ]  # fmt: skip
        if many == 4:
            sizes = [8 * size for size in (100, 10_000, 100_000)]
            ratios = [all_reduce(s, 4, machines[2]) / all_reduce(s, 4, machine) for s in sizes]
            notes.append("its all-reduce from the messages of 2 processes: "
                         + ", ".join(f"{r - 1:+.0%} at {s:,} bytes" for r, s in
                                     zip(ratios, sizes, strict=True)))  # fmt: skip
        yield Report("processes", f"{many} process{'es' if many > 1 else ''}", rows, notes=notes)


def smaller(shrink: int) -> list[tuple[str, Work]]:
    """What is predicted, for a quick look with fewer examples."""
    return [(name, share(work, shrink)) for name, work in PREDICTED]


def share(work: Work, parts: int) -> Work:
    """1/parts of the examples and of the batch, each a multiple of 8."""
    examples, batch = (n and n // parts // 8 * 8 for n in (work.examples, work.batch))
    return replace(work, examples=examples or 0, batch=batch or None)


def together(many: int, shrink: int) -> dict[str, Any]:
    """What `many` processes find at once; the first one tells."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    here = [sys.executable, "-m", "benchmarks.processes", f"127.0.0.1:{port}", str(many)]
    root = Path(__file__).parents[1]
    started = [
        subprocess.Popen([*here, str(i), str(shrink)], cwd=root, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
        for i in range(many)
    ]  # fmt: skip
    try:
        said, wrong = started[0].communicate(timeout=MOST_SECONDS)
    finally:
        for process in started:
            process.kill()
    if started[0].returncode:
        raise RuntimeError(f"{many} processes: {wrong[-2000:]}")
    return json.loads(said.splitlines()[-1])


def measure(many: int, shrink: int) -> dict[str, Any]:
    """In each process: the terms of the model, then the steps that it predicts."""
    mesh = as_mesh("all")
    summed = jax.shard_map(lambda v: lax.psum(v, AXIS), mesh=mesh, in_specs=P(), out_specs=P())
    wait = partial(jax.block_until_ready, jax.jit(summed)(jnp.zeros(1)))

    def seconds_of(run: Callable[[], Any]) -> float:
        """The median, over rounds, of a run that all begin at once."""
        jax.block_until_ready(run())
        found = []
        for _ in range(ROUNDS):
            wait()
            began = time.perf_counter()
            jax.block_until_ready(run())
            found.append(time.perf_counter() - began)
        return float(np.median(found))

    overhead = alone(STARTING, seconds_of)
    read, gather = (
        4 * work.features * (work.batch or work.examples) / (alone(work, seconds_of) - overhead)
        for work in (share(READING, shrink * many), share(PICKING, shrink * many))
    )
    few, many_features = (share(work, shrink * many) for work in (SCORING, MULTIPLYING))
    scoring = alone(few, seconds_of)
    logits = few.examples * few.outputs / scoring
    products = 4 * few.examples * many_features.features * few.outputs
    multiply = products / (alone(many_features, seconds_of) - scoring)
    latency, link = messages(mesh, many, seconds_of) if many > 1 else (0.0, 1.0)
    machine = {
        "read": read, "gather": gather, "multiply": multiply, "logits": logits, "memory": 1e9,
        "link": link, "latency": latency, "overhead": overhead,
    }  # fmt: skip
    steps = [taken(work, mesh, seconds_of) for _, work in smaller(shrink)]
    return {"machine": machine, "steps": steps}


def alone(work: Work, seconds_of: Callable) -> float:
    """Seconds of a step that sends no message."""
    x, y = drawn(work.examples, work.features, max(2, work.outputs))
    model = model_of(work)
    params = model.init(jax.random.key(0), work.features, max(2, work.outputs))
    times = together_in_time(work)
    picked = Batches.of(work.examples, work.batch or 1, True, jax.random.key(1)).indices(0, times)

    @jax.jit
    def some(params: Any, x: Any, y: Any, picked: Any) -> Any:
        def one(number: Any, params: Any) -> Any:
            batch = (x, y) if work.batch is None else pick(x, y, picked, number)
            gradient = model.value_and_gradient(params, *batch)[1]
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

        return lax.fori_loop(0, times, one, params)

    on_device = jnp.asarray(x), jnp.asarray(y)
    return seconds_of(lambda: some(params, *on_device, picked)) / times


def together_in_time(work: Work) -> int:
    """How many steps are timed together."""
    return max(4, SCORES // ((work.batch or work.examples) * work.outputs))


def model_of(work: Work) -> Model:
    """Logistic regression for one logit, softmax regression for more."""
    return logistic.model() if work.outputs == 1 else softmax_regression.model()


def messages(mesh: Any, many: int, seconds_of: Callable) -> tuple[float, float]:
    """Latency and link, from sums of two sizes, as the model has them for `many` processes."""
    found = []
    for size in MESSAGES:

        def some(v: Any) -> Any:
            return lax.fori_loop(0, 20, lambda _, v: lax.psum(v, AXIS) / many, v)

        vector = jnp.zeros(size // 4)
        run = jax.jit(jax.shard_map(some, mesh=mesh, in_specs=P(), out_specs=P()))
        found.append(seconds_of(partial(run, vector)) / 20)
    turns = 2 * (many - 1)
    link = (MESSAGES[1] - MESSAGES[0]) * turns / many / (found[1] - found[0])
    return max(0.0, found[0] / turns - MESSAGES[0] / (many * link)), link


def taken(work: Work, mesh: Any, seconds_of: Callable) -> dict[str, float]:
    """Seconds of a step of the engine that trains, and the bytes that it holds here."""
    model = model_of(work)
    params = model.init(jax.random.key(0), work.features, max(2, work.outputs))
    batches = Batches.of(work.examples, work.batch or "full", True, jax.random.key(1))
    solver = Solver(model.value_and_gradient, optax.sgd(0.1))
    state = solver.init(params)
    x, y = drawn(work.examples, work.features, max(2, work.outputs))
    times = together_in_time(work)
    epochs = -(-50 * times * batches.size // work.examples)  # so that a chunk has room for them
    sharded = ShardedBatches.over(batches, mesh.size)
    schedule = Schedule.of(sharded, epochs, work.features, can_stop=False)
    engine = ArrayEngine(solver, sharded, schedule, state, (x, y), mesh)
    times = min(times, engine.schedule.chunk)
    held = engine._chunk.memory_analysis()
    seconds = seconds_of(lambda: engine.run_steps(state, 0, times)) / times
    return {"seconds": seconds, "memory": float(held.argument_size_in_bytes)}


def drawn(examples: int, features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a size; what they are does not change the time."""
    rng = np.random.default_rng(0)
    some = rng.standard_normal((min(examples, 10_000), features), dtype="float32")
    x = np.resize(some, (examples, features))
    return x, rng.integers(0, classes, examples).astype("int32")


if __name__ == "__main__":
    address, count, number, smaller_by = sys.argv[1], *map(int, sys.argv[2:5])
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // count)  # of its own, or threads wait for cores and not for messages
    os.sched_setaffinity(0, [cores[(number * each + i) % len(cores)] for i in range(each)])
    jax.distributed.initialize(address, count, number)
    results = measure(count, smaller_by)
    if number == 0:
        print(json.dumps(results))
    jax.distributed.shutdown()
