"""The tape ends where eager `jax.grad` does, bit for bit, and says what happened on the way."""

import functools
import inspect
import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import handgrad as hg
from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.catalogue import CASES, case
from handgrad.errors import InputError
from handgrad.explain import as_html, autodiff, recording
from handgrad.explain.recording import record

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 3))
W = rng.normal(size=3)
MANY = rng.normal(size=120)


def bits(tree):
    """Dtype, shape and bytes of every leaf: signs of zeros and NaN included."""
    return [(str(a.dtype), a.shape, np.asarray(a).tobytes()) for a in jax.tree.leaves(tree)]


def same_bits(f, args, argnums=0):
    """The tape, which ends in the bits of jax.grad.

    JAX 0.7 and 0.12 compile even a matrix product as a whole on the way back, 0.10 does not: where
    it is compiled and the bits differ, they are those of jax.grad with every operation by itself.
    """
    tape, gradient = record(f, args, argnums)
    expected = jax.grad(f, argnums)(*args)
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    if jax.__version_info__[:2] != (0, 10) and bits(gradient) != bits(expected):
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), gradient, expected
        )
        with jax.disable_jit():
            expected = jax.grad(f, argnums)(*args)
    assert bits(gradient) == bits(expected)
    return tape


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(c.name, marks=() if c.name == "mlp_tanh_binary" else pytest.mark.slow)
        for c in CASES
    ],
)
def test_every_case_of_the_catalogue_bit_for_bit(name):
    entry = case(name)
    with x64():
        args = entry.example(jax.random.key(0))
        tape = same_bits(entry.loss, args, entry.argnums)
        assert all(str(tape.values[i].array.dtype) == "float64" for i in tape.wanted)
        assert len(tape.backward) >= (entry.name != "step")
        np.testing.assert_allclose(tape.loss.array, entry.loss(*args), rtol=1e-15)


# --- where the order of the additions decides the last bit ----------------------------------------


def reused(x):
    """Every intermediate is used several times, by equations whose pullbacks add in themselves."""
    a = jnp.tanh(x)
    b = a * x + lax.logistic(x) * a
    c = b / x + jnp.tanh(b) * a
    return jnp.sum(c * b + lax.sub(lax.mul(lax.mul(a, a), a), lax.sin(a)))


def test_cotangents_are_added_in_the_order_of_jax():
    with x64():
        same_bits(reused, (jnp.asarray(MANY),))


def test_another_order_of_addition_is_seen(monkeypatch):
    """Each equation's cotangents summed first, then added: right to rounding, and not the bits."""
    pullback = autodiff.pullback

    def summed_first(step, chosen, beside):
        pull = pullback(step, chosen, [])

        def added(cotangents):
            own = list(pull(cotangents[: len(chosen)]))
            for index, before in zip(beside, cotangents[len(chosen) :], strict=True):
                own[index] = before + own[index]
            return own

        return added if beside else pull

    monkeypatch.setattr(autodiff, "pullback", summed_first)
    with x64():
        x = jnp.asarray(MANY)
        _, gradient = record(reused, (x,))
        expected = jax.grad(reused)(x)
        assert bits(gradient) != bits(expected)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)
        assert not hg.explain(reused, at=(x,)).identical


def test_one_wrong_bit_in_one_pullback_is_seen(monkeypatch):
    pull_back = autodiff.pull_back

    def wrong(step, arrived, held):
        if step.equation.primitive.name == "neg":
            arrived = [np.nextafter(np.asarray(o), np.inf) for o in arrived]
        pull_back(step, arrived, held)

    monkeypatch.setattr(autodiff, "pull_back", wrong)
    with x64():
        found = hg.explain(lambda x: jnp.sum(-jnp.exp(x)), at=(jnp.asarray(W),))
        assert not found.identical
        assert 0 < found.leaves[0].autodiff_ulp < 3


# --- loops, branches, rules, calls ----------------------------------------------------------------


def with_scan(w, xs):
    def body(h, x):
        return jnp.tanh(w[0] * h + w[1] * x), h * x

    h, outputs = lax.scan(body, jnp.zeros((), xs.dtype), xs)
    return h**2 + jnp.sum(outputs)


def with_cond(w, flag):
    return jnp.sum(lax.cond(flag, lambda v: v**3, lambda v: jnp.sin(v) * v, w))


def with_while(w, n):
    steps = lax.while_loop(lambda i: i < n, lambda i: i + 3, 0)
    return jnp.sum(w**2) * steps.astype(w.dtype)


def with_fori(w):
    return jnp.sum(lax.fori_loop(0, 4, lambda i, v: v * jnp.cos(v), w))


@jax.custom_vjp
def clipped(x):
    return x


clipped.defvjp(lambda x: (x, None), lambda _, ct: (jnp.clip(ct, -0.5, 0.5),))


@partial(jax.jit, static_argnums=1)
def power(x, n):
    return x**n * jnp.where(x > 0, x, 2 * x)


def with_key(w, key):
    return jnp.sum(w * jax.random.normal(key, w.shape, w.dtype))


LOSSES = {
    "scan": (with_scan, lambda: (jnp.asarray(W), jnp.asarray(X[:, 0])), "scan"),
    "empty_scan": (with_scan, lambda: (jnp.asarray(W), jnp.zeros(0)), "scan"),
    "calls_in_a_loop": (
        lambda w: jnp.sum(lax.fori_loop(0, 2, lambda i, v: power(v, 2), w)),
        lambda: (jnp.asarray(W),),
        "scan",
    ),
    "linear_solve": (
        lambda w: jnp.sum(jnp.linalg.solve(jnp.outer(w, w) + jnp.eye(3), w)),
        lambda: (jnp.asarray(W),),
        "custom_linear_solve",
    ),
    "array_of_constants": (
        lambda w: jnp.sum(w * lax.cos(lax.iota(w.dtype, 3))),
        lambda: (jnp.asarray(W),),
        "mul",
    ),
    "cond_true": (with_cond, lambda: (jnp.asarray(W), jnp.asarray(True)), "cond"),
    "cond_false": (with_cond, lambda: (jnp.asarray(W), jnp.asarray(False)), "cond"),
    "while": (with_while, lambda: (jnp.asarray(W), 7), "while"),
    "fori": (with_fori, lambda: (jnp.asarray(W),), "scan"),
    "custom_vjp": (
        lambda w: jnp.sum(clipped(w) * clipped(jnp.sin(w))),
        lambda: (jnp.asarray(W),),
        "custom_vjp_call",
    ),
    "checkpoint": (
        lambda w: jnp.sum(jax.checkpoint(lambda v: jnp.sin(v) * v)(w)),
        lambda: (jnp.asarray(W),),
        "remat2",
    ),
    "jit": (lambda w: jnp.sum(power(w, 3)), lambda: (jnp.asarray(W),), "integer_pow"),
    "key": (with_key, lambda: (jnp.asarray(W), jax.random.key(1)), "mul"),
    "stop_gradient": (
        lambda w: jnp.sum(lax.stop_gradient(w) * w),
        lambda: (jnp.asarray(W),),
        "stop_gradient",
    ),
    "indices": (
        lambda w, i: jnp.sum(w[i] ** 2),
        lambda: (jnp.asarray(W), jnp.array([0, 2, 2])),
        "gather",
    ),
    "sorting": (
        lambda w: jnp.sum(jnp.sort(w) * jnp.arange(3.0)),
        lambda: (jnp.asarray(W),),
        "sort",
    ),
    "unused": (lambda w: jnp.zeros(()), lambda: (jnp.asarray(W),), None),
    "identity": (lambda w: w, lambda: (jnp.asarray(1.5),), None),
    "python_float": (lambda w: w * w, lambda: (0.1,), "mul"),
    "numpy": (lambda w: jnp.sum(jnp.exp(w)), lambda: (W,), "exp"),
    "dictionary": (
        lambda p: jnp.sum(p["b"] * p["a"]),
        lambda: ({"a": jnp.ones(2), "b": jnp.arange(2.0)},),
        "mul",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("f", "args", "primitive"),
    [
        pytest.param(*case, marks=() if number % 2 == 0 else pytest.mark.slow, id=name)
        for number, (name, case) in enumerate(LOSSES.items())
    ],
)
def test_loops_branches_rules_and_calls_bit_for_bit(f, args, primitive):
    with x64():
        tape = same_bits(f, args())
    older = {"checkpoint": "remat2", "remat": "remat2"}
    named = [older.get(e.primitive, e.primitive) for e in tape.equations]
    assert primitive in named if primitive else not named or named == ["broadcast_in_dim"]


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)]
)
def test_narrow_dtypes_bit_for_bit(dtype):
    same_bits(
        lambda w, x: jnp.sum(jnp.tanh(w * x) * w),
        (jnp.asarray(W, dtype), jnp.asarray(W[::-1], dtype)),
    )


def test_several_arguments_and_a_negative_position():
    with x64():
        args = (jnp.asarray(W), jnp.asarray(X))
        tape = same_bits(lambda w, x: jnp.sum(jnp.tanh(x @ w)), args, (0, 1))
        assert [tape.values[i].name for i in tape.wanted] == ["w", "x"]
        same_bits(lambda w, x: jnp.sum(jnp.tanh(x @ w)), args, -1)


def test_a_loop_is_one_equation_with_its_iterations_inside():
    with x64():
        args = (jnp.asarray(W), jnp.asarray(X[:, 0]))
        tape, _ = record(with_scan, args)
        (loop,) = [e for e in tape.equations if e.primitive == "scan"]
        assert loop.body.title == "6 iterations"
        assert len(loop.body.runs) == 6
        # forward: the states of the recurrence, one after the other
        h, states = 0.0, []
        for x in X[:, 0]:
            h = np.tanh(W[0] * h + W[1] * x)
            states.append(h)
        ends = [float(run.values[run.outputs[0]].array) for run in loop.body.runs]
        np.testing.assert_allclose(ends, states, rtol=1e-14)
        # backward: what the iterations send to the weights adds up to what the loop sends
        for place, index in enumerate(loop.inputs):
            if loop.sent[place] is None or tape.values[index].array.shape == ():
                continue
            parts = [run.values[run.inputs[place]].cotangent for run in loop.body.runs]
            total = sum(parts) if place == 0 else np.stack(parts)
            np.testing.assert_allclose(total, loop.sent[place], rtol=1e-13, atol=1e-16)
        # and each state's cotangent is the derivative by that state
        rest = jax.grad(lambda h: with_scan_from(h, W, X[4:, 0]))(states[3])
        carried = loop.body.runs[4].inputs[1]
        np.testing.assert_allclose(loop.body.runs[4].values[carried].cotangent, rest, rtol=1e-13)


def with_scan_from(h, w, xs):
    outputs = 0.0
    for x in xs:
        h, output = jnp.tanh(w[0] * h + w[1] * x), h * x
        outputs += output
    return h**2 + outputs


def test_loops_in_loops_open_and_long_ones_open_at_their_beginning(monkeypatch):
    def nested(w):
        def inner(h, x):
            return jnp.sin(w * h) + x, None

        def outer(h, x):
            return lax.scan(inner, h, jnp.arange(3.0) * x)[0], None

        return lax.scan(outer, w, jnp.arange(2.0), reverse=True)[0]

    with x64():
        tape, gradient = record(nested, (jnp.asarray(0.5),))
        loop = tape.equations[-1]
        assert (loop.body.title, loop.body.order) == ("2 iterations", (1, 0))
        inner = [e for run in loop.body.runs for e in run.equations if e.body]
        assert [e.body.title for e in inner] == ["3 iterations"] * 2
        first = loop.body.runs[0]
        weight, state = (first.values[i].cotangent for i in first.inputs[:2])
        weights = weight + loop.body.runs[1].values[loop.body.runs[1].inputs[0]].cotangent
        np.testing.assert_allclose(weights + state, gradient, rtol=1e-13)
        monkeypatch.setattr(recording, "MOST_OPENED", 9)
        long = record(lambda w: lax.fori_loop(0, 2_000, lambda i, v: jnp.sin(v), w), (0.1,))[0]
        (loop,) = [e for e in long.equations if e.body]
        assert loop.body.title == "the first 4 of 2000 iterations, forward only"
        assert not any(run.backward for run in loop.body.runs)


def test_the_branch_that_was_taken_is_the_one_shown():
    with x64():
        for flag, primitive in ((True, "integer_pow"), (False, "sin")):
            tape, gradient = record(with_cond, (jnp.asarray(W), jnp.asarray(flag)))
            (branch,) = [e for e in tape.equations if e.primitive == "cond"]
            (run,) = branch.body.runs
            assert primitive in [inner.primitive for inner in run.equations]
            assert branch.body.title == f"branch {int(flag)} of 2"
            np.testing.assert_allclose(run.values[run.inputs[0]].cotangent, gradient)


# --- what the tape says ---------------------------------------------------------------------------


def test_values_jacobians_and_cotangents_of_a_tape_worked_on_paper():
    def loss(w, x):
        z = w * x
        return z**2

    with x64():
        tape, gradient = record(loss, (jnp.asarray(3.0), jnp.asarray(-0.5)))
    product, square = tape.equations
    assert tape.formula(product) == "z = w × x"
    assert tape.formula(square) == "loss = z²"
    assert [float(tape.values[i].array) for i in (*product.outputs, *square.outputs)] == [
        -1.5,
        2.25,
    ]
    assert float(square.jacobians[0].entries) == float(square.sent[0]) == -3.0
    assert float(product.jacobians[0].entries) == -0.5
    assert float(product.sent[0]) == float(gradient) == 1.5
    assert product.sent[1] is None
    assert (product.source.function, product.source.code) == ("loss", "w * x")
    assert product.source.file == "test_tape.py"


def test_every_cotangent_is_the_derivative_of_the_loss_by_that_value():
    """Cut the loss at each value of the tape: jax.grad of the rest is the cotangent there."""
    with x64():
        z = jnp.asarray(W)

        def parts(a):
            b = jnp.exp(a)
            c = b * a
            d = jnp.tanh(c) + b
            return b, c, d, jnp.sum(d * c)

        tape, _ = record(lambda a: parts(a)[3], (z,))
        b, c, d, _ = parts(z)
        rests = {
            "b": (b, lambda b: jnp.sum((jnp.tanh(b * z) + b) * (b * z))),
            "c": (c, lambda c: jnp.sum((jnp.tanh(c) + b) * c)),
            "d": (d, lambda d: jnp.sum(d * c)),
        }
        found = {v.name: v for v in tape.values}
        for name, (at, rest) in rests.items():
            np.testing.assert_array_equal(found[name].array, at)
            np.testing.assert_allclose(found[name].cotangent, jax.grad(rest)(at), rtol=1e-14)


def test_dead_code_is_left_out():
    def loss(w):
        jnp.cos(w)
        return jnp.sum(w)

    tape, _ = record(loss, (jnp.ones(3),))
    assert [e.primitive for e in tape.equations] == ["reduce_sum"]


def test_a_large_array_is_never_written_out():
    small, explanation = (
        hg.explain(lambda w: jnp.sum(jnp.exp(w)), at=(jnp.linspace(0.0, 1.0, size),))
        for size in (10, 100_000)
    )
    assert len(str(explanation)) < 3_000
    assert len(as_html(explanation)) < len(as_html(small)) + 2_000
    assert "float32[100000] 1 … 2.72" in str(explanation)


def test_an_explanation_of_a_number():
    explanation = hg.explain(lambda w: w**2, at=(3.0,))
    assert float(explanation.gradient) == 6.0
    assert explanation.identical
    assert explanation.hand_equal is None
    assert isinstance(explanation, hg.Explanation)


def test_the_tape_of_a_gradients_gradient():
    """The Hessian times ones; and for one argument the second derivative."""

    def loss(w, x):
        return jnp.exp(x @ w)

    with x64():
        at = (jnp.asarray(W), jnp.asarray(X[0]))
        found = hg.explain(loss, at=at, order=2)
        assert found.name == "the gradient of loss"
        assert [leaf.name for leaf in found.leaves] == ["w"]
        x = X[0]
        np.testing.assert_allclose(found.gradient, np.exp(x @ W) * x * x.sum(), rtol=1e-13)
        one = hg.explain(lambda z: z**4, at=(2.0,), order=2)
        assert float(one.gradient) == 48.0
    with pytest.raises(InputError, match="order: expected 1 or 2"):
        hg.explain(loss, at=at, order=3)


def test_a_gradient_by_hand_stands_beside_it():
    right = hg.explain(lambda w: w**2, at=(3.0,), gradient=lambda w: 2 * w)
    wrong = hg.explain(lambda w: w**2, at=(3.0,), gradient=lambda w: 2.001 * w)
    assert (right.hand_equal, wrong.hand_equal) == (True, False)
    assert "different" in str(wrong)


def test_what_called_the_explanation_gives_no_names():
    def double(w):
        return 2.0 * w

    found = hg.explain(lambda w: jnp.sum(double(w)), at=(jnp.ones(3),))
    assert [found.tape.values[i].name for e in found.tape.equations for i in e.outputs] == [
        "double", "loss",
    ]  # fmt: skip
    files = ["/home/me/model.py", inspect.getfile(record), "/home/me/main.py"]
    codes = [compile("f()", file, "exec") for file in files]  # a stack that JAX kept whole
    traceback = SimpleNamespace(
        raw_frames=lambda: (codes, [0] * 3), code_addr2line=lambda code, address: 1
    )
    equation = SimpleNamespace(source_info=SimpleNamespace(traceback=traceback))
    assert [frame.file for frame in jaxprs.frames(equation)] == files[:1]


REFUSED = {
    "vector": (lambda w: w, (jnp.ones(2),), 0, "f: expected a loss with one real number"),
    "integer": (
        lambda w: jnp.sum(w),
        (jnp.arange(2),),
        0,
        "argnums: expected arguments of real numbers",
    ),
    "position": (lambda w: w, (1.0,), 1, "argnums: expected positions among the 1 arguments"),
    "raises": (lambda w: w @ w, (1.0,), 0, "f: expected a loss that JAX can trace"),
    "while": (
        lambda w: lax.while_loop(lambda v: v < 9, lambda v: v * 2, w),
        (1.0,),
        0,
        "f: expected a loss that jax.grad can differentiate",
    ),
    "no_positions": (lambda w: w, (1.0,), (), "argnums: expected at least one position"),
    "no_tuple": (lambda w: w, jnp.ones(()), 0, "at: expected a tuple of the arguments of f"),
    "text": (lambda w: w, ("one",), 0, "at[0]: expected"),
    "too_long": (
        lambda w: functools.reduce(lambda v, _: v * w, range(1_001), w),
        (1.0,),
        0,
        "f: expected at most 1,000 equations to lay out, got 1,001",
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize(("f", "args", "argnums", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(f, args, argnums, words):
    with pytest.raises(InputError, match=re.escape(words)):
        hg.explain(f, at=args, argnums=argnums)


@pytest.mark.bad_input
def test_a_call_without_names_is_answered_in_words():
    def loss(w, x):
        return w * x

    remedy = re.escape("write explain(f, at=(x, y))")
    for call, got in (
        (lambda: hg.explain(loss, 1.0, 2.0), "3 arguments without names"),
        (lambda: hg.explain(loss), "no at="),
        (lambda: hg.explain(at=(1.0, 2.0)), "0 arguments without names"),
    ):
        with pytest.raises(InputError, match=f"a loss, then at= by name, got {got}; {remedy}"):
            call()
    with pytest.raises(InputError, match="name: expected text"):
        hg.explain(loss, at=(1.0, 2.0), name=3)
    with pytest.raises(InputError, match="gradient: expected a function of the loss's arguments"):
        hg.explain(loss, at=(1.0, 2.0), gradient=lambda w: w)


def test_help_shows_the_function():
    parameters = inspect.signature(hg.explain).parameters
    assert list(parameters) == ["f", "at", "argnums", "gradient", "name", "order"]
    assert "equation by equation" in hg.explain.__doc__


def test_a_tape_of_one_equation_is_not_of_several():
    one, two = (hg.explain(f, at=(np.float64(0.5),)) for f in (jnp.sin, lambda x: 2 * jnp.sin(x)))
    assert str(one).splitlines()[0].startswith("sin: 1 equation forward")
    assert "2 equations forward" in as_html(two)
