"""The audit of derivative rules: a package with right and wrong ones, by its tests and without."""

import json

import jax
import pytest

pytest_plugins = "pytester"

PACKAGE = """
import functools
import jax
import jax.numpy as jnp


@jax.custom_jvp
def softplus(x):
    return jnp.log1p(jnp.exp(x))

softplus.defjvps(lambda t, y, x: t * jax.nn.sigmoid(x))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def power(x, n, scale=None):
    return x ** n if scale is None else scale["by"] * x ** n

def power_fwd(x, n, scale=None):
    return power(x, n, scale), (x, scale)

def power_bwd(n, kept, c):
    x, scale = kept
    if scale is None:
        return c * n * x ** (n - 1), None
    return scale["by"] * c * n * x ** (n - 1), {"by": jnp.sum(c * x ** n)}

power.defvjp(power_fwd, power_bwd)


@jax.custom_vjp
def take(table, index):
    return table[index] ** 2

take.defvjp(
    lambda table, index: (take(table, index), (table, index)),
    lambda kept, c: (jnp.zeros_like(kept[0]).at[kept[1]].add(2 * kept[0][kept[1]] * c), None),
)


@jax.custom_jvp
def relu(x):
    return jnp.maximum(x, jnp.zeros_like(x))

relu.defjvps(lambda t, y, x: jnp.where(x > 0, t, jnp.zeros_like(t)))


@jax.custom_vjp
def masked(x, mask):
    return x * mask

masked.defvjp(lambda x, mask: (x * mask, mask), lambda mask, c: (c * mask, None))


@jax.custom_vjp
def straight(x):
    return jnp.round(x)

straight.defvjp(lambda x: (jnp.round(x), None), lambda kept, c: (c,))


@jax.custom_jvp
def wrong_in_jit(x):
    return jnp.tanh(x)

wrong_in_jit.defjvps(lambda t, y, x: t * (1 - y))


@jax.custom_vjp
def wrong_in_vmap(x, y):
    return jnp.sum(x * y)

wrong_in_vmap.defvjp(lambda x, y: (jnp.sum(x * y), (x, y)), lambda k, c: (c * k[0], c * k[1]))


@jax.custom_jvp
def wrong_in_scan(x):
    return x * jnp.exp(-x)

wrong_in_scan.defjvps(lambda t, y, x: t * (y - jnp.exp(-x)))


@jax.custom_jvp
def wrong_in_shards(x):
    return jnp.cos(x)

wrong_in_shards.defjvps(lambda t, y, x: t * jnp.sin(x))


@jax.custom_jvp
def wrong_below(x):
    return jnp.where(x < 0, jnp.exp(x), 1 + x)

wrong_below.defjvps(lambda t, y, x: t)


def scaled(by, x):
    @jax.custom_vjp
    def inner(x):
        return by * jnp.sin(x)
    inner.defvjp(lambda x: (inner(x), x), lambda x, c: (by * c * jnp.sin(x),))
    return inner(x)
"""

SUITE = """
import jax
import jax.numpy as jnp
import numpy as np
import sample

X = jnp.array([0.3, -0.7, 1.9])

def test_jit():
    jax.jit(jax.grad(lambda x: sample.softplus(x).sum() + sample.wrong_in_jit(x).sum()))(X)

def test_vmap():
    jax.vmap(sample.wrong_in_vmap)(jnp.ones((500, 3)) * X, jnp.arange(1500.0).reshape(500, 3))

def test_scan():
    def step(carry, x):
        return sample.wrong_in_scan(carry) + sample.power(x, 2), carry
    jax.jit(lambda: jax.lax.scan(step, jnp.float32(0.4), X))()

def test_plain():
    sample.power(X, 3, scale={"by": 2.0})
    sample.take(jnp.ones((4, 2)), np.array([1, 1, 3]))
    sample.relu(jnp.array([0.0, 1.0]))
    sample.masked(X, jnp.array([1.0, 0.0, 1.0]))
    sample.straight(X)

def test_grad_of_vmap_in_jit():
    jax.jit(lambda by, x: jax.grad(lambda x: sample.scaled(by, x))(x))(2.5, 0.4)

def test_only_below_zero():
    jax.jit(sample.wrong_below)(jnp.float32(1.5))
    jax.jit(sample.wrong_below)(jnp.float32(-1.5))

def test_shards():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("i",))
    spec = jax.sharding.PartitionSpec("i")
    shards = jax.shard_map(sample.wrong_in_shards, mesh=mesh, in_specs=spec, out_specs=spec)
    jax.jit(jax.grad(lambda x: shards(x).sum()))(X)

def test_no_effects():
    @jax.jit
    def f(x):
        return sample.softplus(x)
    assert not jax.make_jaxpr(f)(jnp.ones(7)).effects
"""

EXPECTED = {
    "softplus": "right",
    "power": "right",
    "take": "right",
    "relu": "kink",
    "masked": "partial",
    "straight": "marked",
    "wrong_in_jit": "wrong",
    "wrong_in_vmap": "wrong",
    "wrong_in_scan": "wrong",
    "wrong_below": "wrong",
    "wrong_in_shards": "wrong",
    "scaled.<locals>.inner": "wrong",
}


@pytest.fixture
def sample(pytester, monkeypatch):
    pytester.makepyfile(sample=PACKAGE, test_sample=SUITE)
    pytester.makeini(
        "[pytest]\nhandgrad_not_derivatives = sample.straight: straight-through estimator\n"
    )
    monkeypatch.syspath_prepend(pytester.path)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield pytester


def test_the_audit_by_the_tests_of_a_package(sample):
    before = jax.custom_jvp.__call__
    ran = sample.runpytest_inprocess(
        "-p", "no:cacheprovider", "--handgrad-audit=sample", "--handgrad-json=report.json"
    )
    assert jax.custom_jvp.__call__ is before
    audit = json.loads((sample.path / "report.json").read_text())["audit"]
    assert audit["by_rule"] == {f"sample.{name}": status for name, status in EXPECTED.items()}
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(passed=8)
    ran.stdout.fnmatch_lines(["*1 tests fail while values are recorded*::test_no_effects"])
    rows = {row["rule"].removeprefix("sample."): row for row in audit["rows"]}
    assert rows["wrong_in_scan"]["source"] == "test_sample.py::test_scan"
    drawn = [row for row in audit["rows"] if row["source"] == "drawn"]
    assert [row["signature"] for row in drawn] == ["float32[7]"]
