"""Data of NumPy in closures, as most losses are written: judged, and nothing left behind in JAX.

The proofs reach each verdict in a process of its own: what JAX keeps of an array outlives a test.
"""

import functools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from handgrad.verify.witnesses import captures_arrays

BODY = """
import functools, sys
import jax, jax.numpy as jnp, numpy as np
import handgrad as hg

wide = sys.argv[1] == "64"
jax.config.update("jax_enable_x64", wide)
t, rows, scale = np.array([0.1, 1.0, 2.0]), np.array([0, 2]), np.array(2.5)

def closure(w): return scale * jnp.sum((w - t) ** 2) + jnp.sum(w[rows] ** 2)
helper = jax.jit(lambda w: w[rows] - t[rows])
nested = jax.jit(lambda w: jnp.sum(helper(w) ** 2))
partial = functools.partial(lambda data, w: jnp.sum((w - data) ** 2), t)
class Model:
    def __init__(self): self.data, self.rows = t, rows
    def loss(self, w): return jnp.sum((w - self.data)[self.rows] ** 2)

losses = {"closure": closure, "nested": nested, "partial": partial, "method": Model().loss}
z = jnp.array([1.5, -0.5, 0.25])

def plain(loss):
    found = loss(z), jax.grad(loss)(z), jax.jit(lambda w: loss(w))(z)
    return [(x.dtype, np.asarray(x).tolist()) for x in found]

for name in sys.argv[3:]:
    loss = losses[name]
    before = plain(loss) if sys.argv[2] == "used" else None
    gradient = jax.grad(loss)
    for dtypes in (("float32", "float64"), ("float64", "float32")):
        verdict = hg.verify(gradient, of=loss, at=(z,), dtypes=dtypes, evaluations=0)
        assert verdict.ok, (name, str(verdict))
    wrong = hg.verify(lambda w: 2 * gradient(w), of=loss, at=(z,), evaluations=0)
    assert not wrong.ok and wrong.hand == "different", (name, str(wrong))
    after = plain(loss)
    assert after[0][0] == z.dtype, (name, after)
    assert before is None or before == after, (name, before, after)
print("all is well")
"""


def test_it_is_judged_and_nothing_is_left_in_this_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", "32", "used", "closure"])
    with jax.numpy_dtype_promotion("standard"):
        exec(BODY, {"__name__": "captured"})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["32", "64"])
@pytest.mark.parametrize("history", ["fresh", "used"])
@pytest.mark.parametrize("name", ["closure", "nested", "partial", "method"])
def test_it_is_judged_and_the_callers_own_calls_work_after_it(mode, history, name):
    done = subprocess.run(
        [sys.executable, "-c", BODY, mode, history, name],
        capture_output=True, text=True, timeout=300, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.stdout.strip() == "all is well", done.stderr[-2_000:]


def test_one_that_wants_a_value_captures_only_what_it_holds():
    """Whoever calls such a function again and again need not compile everything each time."""
    data, at = np.ones(3), (np.ones(3),)

    def plain(x):
        return np.frombuffer(x.tobytes())

    def holding(x):
        return np.frombuffer(x.tobytes()) + data

    assert not captures_arrays(plain, at)
    assert captures_arrays(holding, at)
    assert captures_arrays(functools.partial(lambda y, x: float(x[0]) * y, data), at)
