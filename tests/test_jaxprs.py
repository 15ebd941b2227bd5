"""The walk over a jaxpr: a program run equation by equation gives what JAX gives."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from handgrad import jaxprs
from handgrad._precision import x64


def evaluated(program, operands):
    """The outputs by the walk, entering every call, branch and loop."""

    def apply(equation, operands):
        entered = jaxprs.enter(equation, operands, evaluated)
        return jaxprs.bind(equation, operands) if entered is None else entered

    return jaxprs.run(program, operands, apply)


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


def halve(limit):
    return lambda x: lax.while_loop(lambda c: c > limit, lambda c: c / 2, x)


V = np.array([0.5, -1.25, 3.0], np.float32)
PROGRAMS = {
    "call": jax.jit(lambda v: jnp.sin(v) + 1),
    "remat": jax.checkpoint(lambda v: jnp.sin(jnp.sin(v))),
    "custom_vjp": lambda v: doubled(v) + v,
    "cond": lambda v: lax.cond(v[0] > 0, jnp.sin, jnp.cos, v),
    "switch out of range": lambda v: lax.switch(9, [jnp.sin, jnp.cos, jnp.tanh], v),
    "while": lambda v: lax.while_loop(lambda c: jnp.sum(c) < 9, lambda c: c * c + v[0], v),
    "while under vmap": jax.vmap(halve(0.3)),
    "while under vmap twice": lambda v: jax.vmap(jax.vmap(halve(0.3)))(jnp.outer(v, v)),
    "vmapped while with wider carries": lambda v: jax.vmap(
        lambda x: lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] * x), (x, v))
    )(v),
    "scan": lambda v: lax.scan(lambda c, x: (c * x + 1, (c, x > c)), 1.0, v),
    "scan backwards with a constant": lambda v: lax.scan(
        lambda c, x: (c - x * v[0], c), v[0], v, reverse=True
    ),
    "scan of nothing": lambda v: lax.scan(lambda c, x: (c + x, c), 0.0, v[:0]),
    "fori_loop": lambda v: lax.fori_loop(0, 3, lambda i, c: c * v + i, v),
    "custom_linear_solve": lambda v: lax.custom_linear_solve(
        lambda x: 2 * x, v, lambda _, b: b / 2, symmetric=True
    ),
    "searchsorted": lambda v: jnp.searchsorted(jnp.array([0.0, 1.0]), v),
    "keys": lambda v: jax.random.uniform(jax.random.key(0), (3,)) + v,
    "closure": lambda v: v * np.arange(3, dtype=np.float32),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gives_what_jax_gives(name):
    f = PROGRAMS[name]
    ours = evaluated(jax.make_jaxpr(f)(V), [V])
    theirs = jax.tree.leaves(f(jnp.asarray(V)))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_all_equations_are_found_inside_calls_branches_and_loops():
    def f(v):
        return lax.scan(lambda c, x: (lax.cond(x > 0, jnp.sin, jnp.cos, c), x), 0.5, v)

    names = {equation.primitive.name for equation in jaxprs.equations(jax.make_jaxpr(f)(V))}
    assert {"scan", "cond", "sin", "cos", "gt"} <= names
    outermost = jaxprs.equations(jax.make_jaxpr(f)(V), inside=lambda _: [])
    assert "sin" not in {equation.primitive.name for equation in outermost}


def test_scan_counts_constants_and_carries():
    program = jax.make_jaxpr(lambda v: lax.scan(lambda c, x: (c + x * v[0], c), (v[1]), v))(V)
    (scan,) = (e for e in jaxprs.equations(program, lambda _: []) if e.primitive.name == "scan")
    assert jaxprs.scan_counts(scan.params) == (1, 1)


def test_dependent_outputs_and_live_equations():
    program = jax.make_jaxpr(lambda x: (jnp.sin(x), 2.0, jnp.cos(1.0 + jnp.exp(x))))(0.5)
    assert jaxprs.dependent_outputs(program) == [True, False, True]
    names = [e.primitive.name for e in jaxprs.live_equations(program, [False, False, True])]
    assert names == ["exp", "add", "cos"]


def test_an_equation_knows_its_line():
    (equation,) = jaxprs.equations(jax.make_jaxpr(lambda x: jnp.sin(x))(0.5))
    frame = jaxprs.frames(equation)[0]
    assert frame.file.endswith("test_jaxprs.py")
    assert f":{frame.span[0]} in" in jaxprs.source_location(equation)


def test_functions_of_jax_are_known_from_those_of_others():
    def relu(x):
        return x

    program = jax.make_jaxpr(lambda x: jax.jit(relu)(jax.nn.relu(x)))(0.5)
    names = [jaxprs.library_function(equation) for equation in jaxprs.equations(program)]
    assert "jax.nn.relu" in names
    assert names[-1] is None
    spence = jax.make_jaxpr(jax.scipy.special.spence)(0.5)
    frames = [
        name for equation in jaxprs.equations(spence) for name in jaxprs.library_frames(equation)
    ]
    assert any(name.startswith("jax.scipy.special.") for name in frames)


def test_a_trace_that_failed_leaves_no_copy_of_captured_arrays():
    data = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.3]])
    with x64(), pytest.raises(jax.errors.TracerArrayConversionError):
        jaxprs.attempt(lambda w: np.asarray(data @ w), (np.ones(2),))
    gc.collect()
    with x64(False):  # with a copy in float64 left, JAX fails here
        slope = jax.grad(lambda w: jnp.sum(data @ w))(jnp.ones(2))
    assert slope.tolist() == pytest.approx([4.5, 1.3])


def test_what_no_later_equation_needs_is_let_go_of():
    """Of a chain of ten steps two values are alive at a time."""

    class Tracked(np.ndarray):
        pass

    made, most = [], 0

    def apply(equation, operands):
        nonlocal most
        outputs = [np.asarray(out).view(Tracked) for out in jaxprs.bind(equation, operands)]
        made.extend(map(weakref.ref, outputs))
        most = max(most, sum(ref() is not None for ref in made))
        return outputs

    def chain(x):
        for _ in range(5):
            x = jnp.sin(x) * 2
        return x

    program = jax.make_jaxpr(chain)(1.0)
    (out,) = jaxprs.run(program, [np.float32(0.5)], apply)
    assert most <= 3
    assert np.allclose(out, chain(0.5))
