"""What is measured on eight devices of a CPU, in a process of its own: prints one JSON object.

Run by test_sharding.py, as the devices have to be there before JAX starts.
"""

import json
import sys
from functools import partial

import jax
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P

from handgrad.data import load, split, standardise
from handgrad.fast import linear_cross_entropy, newton
from handgrad.fast.newton import objective
from handgrad.gradients import logistic, mlp, softmax_regression
from handgrad.scale.sharding import as_mesh
from handgrad.train import baseline, fit
from handgrad.train.batches import Batches, ShardedBatches
from handgrad.train.comparison import parameter_difference
from handgrad.train.loop import Solver, programs
from handgrad.train.optimizers import resolve

MODELS = {
    "logistic": (logistic.model(0.01), 2),
    "optax": (baseline(logistic.model(0.01), 0.01), 2),
    "softmax": (softmax_regression.model(0.01), 3),
    "mlp": (mlp.model((5,), l2=0.01), 2),
}


def data(classes, quick):
    """Features and labels: made-up ones that do not divide evenly, or a real set."""
    if quick:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(101, 3))
        return x, (x @ [1, -2, 0.5] + rng.normal(size=101) > 0).astype("int32")
    found = standardise(*split(load("breast-cancer" if classes == 2 else "iris")))[0]
    return found.x, found.y


def differences(name, batch_size, quick):
    """How far runs on several devices end from that on one; and whether two end at the same bits.

    The run on one is the plain one for full batches, else that on a mesh of one.
    """
    model, classes = MODELS[name]
    kinds, epochs = ([8], 5) if quick else ([1, 2, 4, 8], 30)

    def train(mesh):
        return fit(model, *data(classes, quick), batch_size=batch_size, epochs=epochs, mesh=mesh,
                   optimizer="momentum", learning_rate=0.05)  # fmt: skip

    one, found = train(None if batch_size == "full" else 1), {}
    for devices in kinds:
        result = train(devices)
        found[str(devices)] = parameter_difference(one.params, result.params).relative
    again = zip(
        jax.tree.leaves((result.params, result.history.batch_losses)),
        jax.tree.leaves(((second := train(8)).params, second.history.batch_losses)), strict=True,
    )  # fmt: skip
    return found | {"again": all(np.array_equal(a, b) for a, b in again)}


def twice(value_and_gradient):
    """A planted fault: a second sum over all devices, of what is needed by nobody."""

    def faulty(params, x, y):
        value, gradient = value_and_gradient(params, x, y)
        return value + 0 * lax.psum(value, "data") / 8, gradient

    return faulty


def compiled(name, examples, batch_size, devices=8, fault=None):
    """The program of a chunk for so many examples, as XLA has compiled it; no data are needed.

    And that of an evaluation, which is the same for every size of a batch: with full ones.
    """
    model, classes = MODELS[name]
    vg = fault(model.value_and_gradient) if fault else model.value_and_gradient
    solver, mesh = Solver(vg, resolve("momentum", 0.1)), as_mesh(devices)
    batches = Batches.of(examples, batch_size, True, jax.random.key(0))
    sharded = ShardedBatches.over(batches, devices)
    params = model.init(jax.random.key(0), 6, classes, "float64")
    state = solver.init(params)
    chunk, evaluate = programs(solver, sharded, mesh)
    places = sharded.shards.rows * sharded.shards.count
    shape = jax.ShapeDtypeStruct
    x, y = shape((places, 6), "float64"), shape((places,), "int32")
    indices = shape((10, 0 if batches.full else batches.size), "int32")
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    lowered = [chunk.lower(state, x, y, indices, shape((), "int32"))]
    if batches.full:
        lowered.append(evaluate.lower(params, x, y))
    return {"text": [program.compile().as_text() for program in lowered], "parameters": count}


def second_order(examples, devices=8, hessian=True):
    """The same for a pass of Newton's method, and how far 8 devices end from none."""
    shape, mesh = jax.ShapeDtypeStruct, as_mesh(devices)
    even = examples // devices * devices
    at = [shape((even, 6), "float64"), shape((even,), "float64"),
          shape((examples - even, 6), "float64"), shape((examples - even,), "float64"),
          shape((7,), "float64")]  # fmt: skip
    if hessian:
        at += [shape((6,), "float64")] * 2
    summed = objective.with_hessian if hessian else objective.value_and_gradient
    program = jax.jit(partial(objective.partitioned, summed=summed, mesh=mesh)).lower(*at).compile()
    return {"text": [program.as_text()], "parameters": 7 + devices + 49 * hessian}


def optimum_apart(classes, quick):
    """How far Newton's optimum on 8 devices is from that on one."""
    fit = partial(newton.fit, None, *data(classes, quick), 0.01, tol=1e-12)
    one, all_ = (fit(mesh=mesh) for mesh in (None, as_mesh(8)))
    return parameter_difference(one.params, all_.params).relative


def output_layer(tokens, devices=4):
    """The same for linear cross-entropy, tokens split over the devices."""
    mesh = as_mesh(devices)
    over = jax.shard_map(
        partial(linear_cross_entropy.value_and_gradient, axis_name="data", chunk=4), mesh=mesh,
        in_specs=(P("data"), P(), P("data")), out_specs=(P(), (P("data"), P())), check_vma=False,
    )  # fmt: skip
    shape = jax.ShapeDtypeStruct
    at = shape((tokens, 5), "float64"), shape((5, 37), "float64"), shape((tokens,), "int32")
    return {"text": [jax.jit(over).lower(*at).compile().as_text()], "parameters": 5 * 37}


def main(quick):
    names = ["logistic"] if quick else list(MODELS)
    sizes = [1_003] if quick else [1_000, 1_003, 10_000, 100_000, 1_000_000]
    found = {"differences": {}, "programs": {}}
    for name in names:
        for batch_size in ("full", 32):
            label = f"{name} {batch_size}"
            if not quick or batch_size == 32:
                found["differences"][label] = differences(name, batch_size, quick)
            found["programs"][label] = {str(n): compiled(name, n, batch_size) for n in sizes}
    found["programs"]["output layer"] = {
        str(n): output_layer(n) for n in ((64,) if quick else (64, 640))
    }
    for hessian in (True,) if quick else (False, True):
        label = "Newton with the Hessian" if hessian else "Newton"
        found["programs"][label] = {str(n): second_order(n, hessian=hessian) for n in sizes}
    found["optima"] = {
        str(classes): optimum_apart(classes, quick) for classes in ((2,) if quick else (2, 3))
    }
    found["planted"] = compiled("logistic", 1_000, "full", fault=twice)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
