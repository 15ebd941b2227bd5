"""The audit of derivative rules: a package with right and wrong ones, by its tests and without."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.cli import main
from handgrad.errors import InputError
from handgrad.testing import not_a_derivative
from handgrad.testing.audit import judge_call, judge_calls, merged, parse_marks
from handgrad.testing.recording import Recorder, describe_call

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


def halved(a):
    def halve(ends):
        low, high = ends
        middle = (low + high) / 2
        return jnp.where(middle**2 < a, middle, low), jnp.where(middle**2 < a, high, middle)
    ends = jax.lax.while_loop(lambda ends: ends[1] - ends[0] > 1e-6, halve, (0 * a, 1 + a))
    return sum(ends) / 2

@jax.custom_jvp
def by_halving(a):
    return halved(a)

by_halving.defjvps(lambda t, y, x: t / (2 * y))


@jax.custom_jvp
def wrong_by_halving(a):
    return halved(a)

wrong_by_halving.defjvps(lambda t, y, x: t / y)


@jax.custom_jvp
def with_what_is_left(a):
    return halved(a), 1e4 * (halved(a) ** 2 - a)

with_what_is_left.defjvps(lambda t, y, x: (t / (2 * y[0]), 0 * t))


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

def test_loops():
    for function in sample.by_halving, sample.wrong_by_halving, sample.with_what_is_left:
        jax.jit(function)(jnp.float32(1.7))

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
    "by_halving": "close",
    "wrong_by_halving": "wrong",
    "with_what_is_left": "undecided",
}


@pytest.fixture
def sample(pytester, monkeypatch, without_diagnosis):
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
    ran.assert_outcomes(passed=9)
    ran.stdout.fnmatch_lines(["*1 tests fail while values are recorded*::test_no_effects"])
    rows = {row["rule"].removeprefix("sample."): row for row in audit["rows"]}
    assert rows["wrong_in_scan"]["source"] == "test_sample.py::test_scan"
    drawn = [row for row in audit["rows"] if row["source"] == "drawn"]
    assert [row["signature"] for row in drawn] == ["float32[7]"]


# --- without tests --------------------------------------------------------------------------------

PLAIN = """
import functools
import jax
import jax.numpy as jnp

@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def mean(x, axis):
    return jnp.mean(x, axis)

mean.defvjp(lambda x, a: (jnp.mean(x, a), x), lambda a, x, c: (jnp.ones_like(x) * c / x.shape[a],))

def log_of_minus(x):
    return jnp.log(-x)

below_zero = jax.custom_jvp(log_of_minus)
below_zero.defjvps(lambda t, y, x: t / x)
compiled = jax.jit(below_zero)

@jax.custom_jvp
def tripled(x, y):
    return x * y

tripled.defjvps(lambda t, z, x, y: 3 * t * y, lambda t, z, x, y: t * x)

@jax.custom_jvp
def wants_much(x):
    return x["a"]["b"]

wants_much.defjvps(lambda t, y, x: t["a"]["b"])
"""


def test_the_audit_without_tests(tmp_path, monkeypatch, capsys):
    (tmp_path / "plain_rules.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["audit", "plain_rules", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["handgrad", *arguments])
    with pytest.raises(SystemExit) as left, jax.numpy_dtype_promotion("standard"):
        main()
    found = json.loads((tmp_path / "found.json").read_text())
    names = {name.removeprefix("plain_rules."): s for name, s in found["by_rule"].items()}
    assert names == {"mean": "right", "log_of_minus": "right", "tripled": "wrong"}
    assert found["notes"] == ["plain_rules.wants_much: no arguments that were tried suit it"]
    out = capsys.readouterr().out
    assert "3 rules of plain_rules: 2 right, 1 wrong" in out
    assert left.value.code == 1


def test_what_cannot_be_imported_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["handgrad", "audit", "no_such_package"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "package: expected a package that can be imported here" in capsys.readouterr().err


# --- the statuses ---------------------------------------------------------------------------------


def rule_of(function, slope, value=None):
    """A custom_jvp of one argument; `value` is what it returns beside its derivative."""
    rule = jax.custom_jvp(function)

    @rule.defjvp
    def jvp(primals, tangents):
        (x,), (t,) = primals, tangents
        return (value or function)(x), t * slope(x)

    return rule


def call_of(rule, *args):
    call, arrays = describe_call(rule, rule.fun, args, {})
    call.keep(*arrays)
    return call


def exponential(x):
    return jnp.exp(x)


def series(x):
    return 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24 + x**5 / 120 + x**6 / 720


def opaque(x):
    spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda x: np.exp(np.asarray(x)), spec, x)


@pytest.mark.parametrize(
    ("rule", "status", "detail"),
    [
        (rule_of(exponential, exponential, lambda x: 2 * jnp.exp(x)), "wrong", "value is another"),
        (rule_of(series, exponential), "close", "differs by"),
        (rule_of(opaque, exponential), "close", "from differences"),
        (rule_of(opaque, lambda x: 2 * jnp.exp(x)), "wrong", "from differences"),
        (rule_of(exponential, lambda x: 1 / 0), "undecided", "ZeroDivisionError"),
        (rule_of(lambda x: x**2, lambda x: 1e30 * x * 1e30 * 2e-30 * 1e-30), "numerics", "inf"),
    ],
)
def test_the_status_of_a_rule(rule, status, detail):
    with jax.numpy_dtype_promotion("standard"):
        found = judge_call(call_of(rule, np.float32([0.11, 0.04])), 20)
    assert found[0] == status, found
    assert detail in found[1]


def test_a_function_of_any_arguments():
    def anything(*args, **options):
        return args[0] * args[1]

    rule = jax.custom_jvp(anything)
    rule.defjvps(lambda t, z, x, y: t * y, lambda t, z, x, y: t * x)
    assert judge_call(call_of(rule, np.float32(0.3), np.float32(0.7)), 20) == ("right", "")


def test_a_mark_in_the_code_and_in_the_configuration():
    marked = not_a_derivative(rule_of(jnp.round, jnp.ones_like), "straight-through")
    named = rule_of(jnp.sign, jnp.ones_like)
    calls = [call_of(rule, np.float32(0.3)) for rule in (marked, named)]
    rows = judge_calls(calls, "jax", parse_marks(["*sign: by its name"]))
    assert [(row.status, row.detail) for row in rows] == [
        ("marked", "straight-through"),
        ("marked", "by its name"),
    ]
    with pytest.raises(InputError, match="rule"):
        not_a_derivative(3, "a number")


def test_after_the_time_nothing_is_judged():
    (row,) = judge_calls([call_of(rule_of(jnp.sin, jnp.cos), np.float32(0.3))], "jax", {}, 0)
    assert (row.status, row.detail) == ("undecided", "not judged: the 0 seconds given were over")


def test_a_failing_recording_changes_nothing(monkeypatch):
    recorder = Recorder(__name__)
    rule = rule_of(exponential, exponential)
    monkeypatch.setattr(recorder, "record", lambda *args: 1 / 0)
    recorder.install()
    try:
        assert float(rule(0.0)) == 1
    finally:
        recorder.uninstall()
    assert list(recorder.failures.values()) == [1]


def test_the_parts_of_several_workers_are_one_audit():
    row = {"rule": "r", "signature": "s", "source": "t", "detail": "", "seconds": 0.0}
    parts = [
        {"rows": [{**row, "status": status}], "notes": ["n"], "versions": {"jax": "1"}}
        for status in ("right", "wrong", "right")
    ]
    audit = merged("p", parts)
    assert (audit.by_rule, audit.notes, audit.ok) == ({"r": "wrong"}, ("n",), False)
