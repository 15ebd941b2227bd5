"""One of two processes that train together to an end, and then sum for ever.

Run by test_processes.py as child.py HOST:PORT NUMBER FILE.
"""

import sys

import jax
import numpy as np

from handgrad.gradients import logistic
from handgrad.scale.processes import distributed
from handgrad.scale.sharding import all_gather
from handgrad.train import fit

EXAMPLES = 101


def train(epochs, **options):
    """Momentum on made-up points that do not divide evenly."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 3))
    y = (x @ [1, -2, 0.5] + rng.normal(size=EXAMPLES) > 0).astype("int32")
    return fit(logistic.model(0.01), x, y, optimizer="momentum", epochs=epochs, **options)


if __name__ == "__main__":
    with distributed(sys.argv[1], 2, int(sys.argv[2])):
        result = train(20, mesh="all", batch_size=8)
        if jax.process_index() == 0:
            np.savez(sys.argv[3], *jax.tree.leaves(result.params))
        print("trained", flush=True)  # noqa: T201
        while True:
            all_gather(np.uint8(0))
