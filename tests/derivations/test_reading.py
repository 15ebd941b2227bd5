"""The formulas executed: the LaTeX of a line, read and computed, equals the line's value.

What the letters of each derivation stand for is written down once, below; `check` then compares
formula and value in exact arithmetic, as it compares two lines.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from derivations.latex import Unreadable, read
from handgrad.derivations import DERIVATIONS, Limit, Step, check, derivation
from handgrad.derivations.linear_models import LAMBDA
from handgrad.gradients.sigmoid import sigmoid, softplus
from handgrad.gradients.softmax import softmax

UNREADABLE = {("softmax_jacobian", 9), ("logistic_hessian", 7), ("logistic_convexity", 2)}
"""diag(p) − ppᵀ, a matrix of blocks, ∇²E: the reader has no words for them."""

EITHER_SIGN = {
    ("scaled_square", 3, 48), ("sigmoid_squared_error", 3, 38), ("logistic_hessian", 2, 64),
    ("logistic_hvp", 2, 64), ("softmax_regression_hvp", 2, 69), ("sigmoid", 3, 22),
    ("tanh", 7, 36),
}  # fmt: skip
"""Minus signs that may be plus signs: before a constant under ∂, beside 0, and q for 1/q."""


def elementwise(*names, **more):
    """Arguments in order; everything is an array of one shape, and so is the value."""

    def bind(formula, *args):
        return formula({**dict(zip(names, args, strict=True)), **more}, {}) + 0 * args[0]

    return bind


def indexed(free, names, rows=False, **more):
    """Arguments in order; the value has an axis for each free index. `rows`: one row at a time."""

    def one(formula, *args):
        sizes = dict.fromkeys("mn", args[0].shape[0]) | dict.fromkeys("ijk", args[0].shape[-1])
        env = {**dict(zip(names, args, strict=True)), **more, "sizes": sizes}
        values = [{}]
        for letter in free:
            values = [{**idx, letter: i} for idx in values for i in range(sizes[letter])]
        table = [formula(env, idx) for idx in values]
        return jnp.stack(table).reshape([sizes[letter] for letter in free]) if free else table[0]

    def bind(formula, *args):
        if not rows:
            return one(formula, *args)
        return jnp.stack([one(formula, *(a[i] for a in args)) for i in range(args[0].shape[0])])

    return bind


def of_points(*names, **more):
    """Parameters first, as θ = (w, b) in one array, then what `names` say, then x and y."""

    def bind(formula, *args):
        params, x, y = args[0], *args[-2:]
        given = {
            name: stacked(value) if isinstance(value, type(params)) else value
            for name, value in zip(names, args[1:-2], strict=True)
        }
        count = x.shape[0] + 0 * jnp.sum(x)  # a tracer, or 1/3 would be folded and rounded
        sizes = {"n": x.shape[0], "d": x.shape[-1]} | dict.fromkeys("ik", params.weight.shape[-1])
        env = {"theta": stacked(params), **given, "x": x, "y": y, "N": count, "sizes": sizes}
        value = formula({**env, **more}, {})
        if value.ndim > params.weight.ndim:  # a Hessian, as blocks
            rows = type(params)(value[:-1], value[-1])
            return jax.tree.map(lambda row: type(params)(row[..., :-1], row[..., -1]), rows)
        return type(params)(value[:-1], value[-1]) if value.ndim else value

    return bind


def stacked(params):
    """(w, b) in one array: the bias is the weight of a feature that is 1."""
    return jnp.concatenate([params.weight, params.bias[None]])


def binary_loss(z, y):
    return y * softplus(-z) + (1 - y) * softplus(z)


def class_loss(z, y):
    return -jnp.sum(y * jnp.log(softmax(z)))


def sigmoid_of_z(env):
    return sigmoid(env["z"])


def softmax_of_z(env):
    return softmax(env["z"])


def exp_of_z(env):
    return jnp.exp(env["z"])


def sum_of_exp(env):
    return jnp.sum(exp_of_z(env))


def trials(env):
    return jnp.power(env["p"], env["y"]) * jnp.power(1 - env["p"], 1 - env["y"])


def product_of_trials(env):
    return jnp.prod(trials(env))


def score(env):
    """z = xw + b, for the points in x or for the one."""
    theta = env["theta"] + env["rate"] * env["v"] if "rate" in env else env["theta"]
    z = env["x"] @ theta[:-1]
    return z + jnp.broadcast_to(theta[-1], z.shape)


def points(env):
    return env["x"]


def residual(env):
    """r = p − y, one row a point, for labels that sum to 1."""
    return softmax(score(env)) - env["y"]


def push(env):
    """u = xv_w + v_b."""
    return score({"theta": env["v"], "x": env["x"]})


def one_hot(env):
    return jax.nn.one_hot(env["c"], env["z"].shape[-1], dtype=env["z"].dtype)


BINARY = elementwise("z", "y", **{"hat y": sigmoid_of_z})
TRIALS = indexed("n", "py", L=product_of_trials, P=trials)
ROWS = indexed("j", "zy", rows=True, p=softmax_of_z)
WEIGHTS = {
    "w": lambda env: env["theta"][:-1], "W": lambda env: env["theta"][:-1],
    "b": lambda env: env["theta"][-1], "z": score, r"\lambda": LAMBDA,
}  # fmt: skip
TWO = {
    **WEIGHTS,
    "hat y": lambda env: sigmoid(score(env)),
    "loss": binary_loss,
    "u": push,
    "X": points,
}
MANY = {
    **WEIGHTS,
    "X": points,
    "p": lambda env: softmax(score(env)),
    "loss": class_loss,
    "u": push,
    "r": residual,
    "R": residual,
}


def many(*names):
    """Softmax regression, its labels made one-hot."""
    bind = of_points(*names, **MANY)

    def with_rows(formula, *args):
        hot = jax.nn.one_hot(args[-1], args[0].weight.shape[-1], dtype=args[0].weight.dtype)
        return bind(formula, *args[:-1], hot)

    return with_rows


READINGS = {
    "bernoulli_trial": elementwise("p", "y"),
    "likelihood": TRIALS,
    "log_likelihood": TRIALS,
    "negative_log_likelihood": TRIALS,
    "binary_cross_entropy": indexed("", "zy", p=sigmoid_of_z, N=4),
    "binary_from_probabilities": elementwise("p", "y"),
    "scaled_square": elementwise("hat y", "y", k=3.0),
    "step": elementwise("z"),
    "sigmoid_symmetry": elementwise("z"),
    "sigmoid": elementwise("z"),
    "softplus": elementwise("z"),
    "log_sigmoid": elementwise("z"),
    "tanh": elementwise("z", q=lambda env: jnp.exp(-2 * jnp.abs(env["z"]))),
    "relu": elementwise("z"),
    "residual": BINARY,
    "residual_from_logits": BINARY,
    "label_derivative": BINARY,
    "sigmoid_squared_error": BINARY,
    "two_classes": lambda formula, z: formula({"a": z[:, 0], "b": z[:, 1]}, {}),
    "softmax_jacobian": indexed("ij", "z", p=softmax_of_z, e=exp_of_z, S=sum_of_exp),
    "logsumexp": indexed("j", "z", rows=True, p=softmax_of_z, S=sum_of_exp),
    "softmax": indexed("j", "cz", rows=True, p=softmax_of_z),
    "log_softmax": indexed("j", "cz", rows=True, p=softmax_of_z),
    "categorical_cross_entropy": indexed("", "zc", p=softmax_of_z, y=one_hot, N=4),
    "softmax_residual": ROWS,
    "softmax_residual_index": indexed("j", "zc", rows=True, p=softmax_of_z),
    "class_label_derivative": ROWS,
    "categorical_from_probabilities": indexed("j", "py", rows=True),
    "logistic": of_points(**TWO),
    "logistic_l2": of_points(**TWO),
    "descent_step": of_points(r"\alpha", **TWO),
    "logistic_hessian": of_points(**TWO),
    "logistic_hvp": of_points("v", **TWO),
    "logistic_convexity": lambda formula, t, *args: of_points("v", rate=t, **TWO)(formula, *args),
    "softmax_regression": many(),
    "softmax_regression_l2": many(),
    "softmax_regression_hvp": many("v"),
    "perceptron": of_points(**TWO, t=lambda env: 2 * env["y"] - 1),
}
"""The derivations that the reader follows; the others speak of layers and of chunks."""


def reading(name, number):
    """The formula of a line as a function of the derivation's arguments."""
    formula = read(derivation(name).steps[number - 1].formula)
    return lambda *args: READINGS[name](formula, *args)


NAMES = list(READINGS)


def numbers(name):
    """The lines of a derivation that can be read, counted from 1."""
    lines = enumerate(derivation(name).steps, 1)
    readable = [n for n, line in lines if not isinstance(line.value, Limit)]
    return [n for n in readable if (name, n) not in UNREADABLE]


def against_its_value(name, number, formula):
    """The line's value and, as a second line, what its formula says."""
    entry, said = derivation(name), read(formula)
    line = entry.steps[number - 1]
    as_read = Step("=", "as read", lambda *args: READINGS[name](said, *args))
    return check(replace(entry, steps=(line, as_read)))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if number % 4 == 0 else pytest.mark.slow)
        for number, name in enumerate(NAMES)
    ],
)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_a_formula_says_what_its_value_is(name):
    for number in numbers(name):
        checked = against_its_value(name, number, derivation(name).steps[number - 1].formula)
        assert (checked.fault, checked.digits) == (None, 60), number


def minus_signs(name):
    """Line and place of every minus in the formulas of a derivation."""
    for number in numbers(name):
        formula = derivation(name).steps[number - 1].formula
        yield from ((number, place) for place, letter in enumerate(formula) if letter == "-")


def assert_a_minus_counts(name, number, place):
    formula = derivation(name).steps[number - 1].formula
    wrong = f"{formula[:place]}+{formula[place + 1 :]}"
    alike = against_its_value(name, number, wrong).ok
    assert alike == ((name, number, place) in EITHER_SIGN), wrong


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_one_minus_of_every_derivation_counts(name):
    signs = list(minus_signs(name))
    if signs:
        assert_a_minus_counts(name, *signs[len(name) % len(signs)])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_every_minus_in_every_formula_counts(name):
    for number, place in minus_signs(name):
        assert_a_minus_counts(name, number, place)


def test_most_lines_are_read():
    assert sum(len(numbers(name)) for name in NAMES) >= 200
    unread = {entry.name for entry in DERIVATIONS} - set(NAMES)
    assert unread == {
        "mlp_tanh_binary", "mlp_sigmoid_multiclass", "mlp_relu_deep", "linear_cross_entropy",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "number"), sorted(UNREADABLE))
def test_what_the_reader_does_not_know_it_does_not_guess(name, number):
    with pytest.raises(Unreadable):
        against_its_value(name, number, derivation(name).steps[number - 1].formula)


@pytest.mark.parametrize(
    ("latex", "value"),
    [("= 2 + 3 \\cdot 4", 14), (r"= -\frac{1}{2} (1 - 3)^2", -2), (r"= \log e^{2} - 1", 1),
     (r"= \sum_i i 2 + 1", None), (r"= 2 q, \quad q = 1 + 2", 6), ("= 1 )", None), ("= ", None)],
)  # fmt: skip
def test_the_reader_reads_as_one_does(latex, value):
    if value is None:
        with pytest.raises(Unreadable):
            read(latex)({"sizes": {"i": 2}}, {})
    else:
        assert float(read(latex)({}, {})) == value
