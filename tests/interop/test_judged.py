"""Losses and gradients in NumPy before the judge: read, judged as mathematics, and said to be."""

from collections import OrderedDict

import numpy as np
import pytest
from scipy.special import expit, logsumexp, softmax

import handgrad as hg
from benchmarks.judge import numpy_losses
from benchmarks.judge.numpy_losses import LOSSES, judged
from handgrad.errors import InputError, NotFollowed
from handgrad.interop import as_jax, read_through

READ = ("the loss was read through NumPy", "the gradient was read through NumPy")
X = np.array([[0.3, -0.7], [1.1, 0.4], [-0.5, 0.9]])
W = np.array([0.8, -0.3])


@pytest.mark.parametrize("name", ["leaky_relu_in_place", "selected_entries"])
def test_right_and_wrong_gradients(name):
    control = getattr(numpy_losses, name)()
    right, wrong = judged(control, wrong=False), judged(control, wrong=True)
    assert (right.ok, right.hand) == (True, "identical")
    assert right.digits == 60 or name == "leaky_relu_in_place"  # where 0.1² is not 0.01
    assert right.notes[:2] == READ
    assert (wrong.ok, wrong.hand) == (False, "different")
    assert any(phrase in wrong.cause for phrase in control.cause)


@pytest.mark.parametrize(
    "name",
    [
        "logistic",
        "two_layers",
        "stacked_layers",
        "attention_by_einsum",
        "cox_likelihood",
        "views_of_one_vector",
    ],
)
def test_losses_and_gradients_are_read(name):
    control = getattr(numpy_losses, name)()
    for function in (control.loss, control.gradient):
        assert read_through(as_jax(function, control.at, control.argnums)) == "NumPy"


def test_there_are_enough_losses():
    assert len(LOSSES) >= 20


def test_a_loss_that_cannot_be_followed_is_refused_by_its_line():
    def loss(w):
        return np.exp(w)[int(w[0])]

    with pytest.raises(NotFollowed, match=r"^of: .* as an int in .*test_judged.py:\d+, `return"):
        hg.verify(lambda w: w, of=loss, at=(W,))


def test_a_gradient_that_cannot_be_followed_is_judged_by_its_numbers():
    def gradient(w):
        return np.array([2 * float(np.exp(str_of)) for str_of in map(float, w.tolist())]) / 2

    def opaque(w):
        return gradient(np.frombuffer(w.tobytes(), w.dtype))

    verdict = hg.verify(opaque, of=lambda w: np.sum(np.exp(w)), at=(W,), evaluations=0)
    assert (verdict.ok, verdict.hand) == (True, "not traceable")
    assert "the gradient was not followed" in verdict.notes[0]


def test_float32_numbers_are_those_that_numpy_itself_gives():
    """NumPy's float64 constants keep what float32 alone would lose."""

    def gradient(w):
        far = np.full(2, 1.0) * w
        return np.exp(far) / np.exp(far + 1)

    loss = lambda w: np.sum(np.exp(-1.0) * np.abs(w))
    verdict = hg.verify(gradient, of=loss, at=(np.array([95.0, 90.0]),), evaluations=0)
    assert verdict.ok, str(verdict)


def test_points_may_not_draw_other_labels_than_were_read():
    def loss(w, labels):
        return sum(np.exp(w[labels == k]).sum() for k in np.unique(labels))

    with pytest.raises(InputError, match="points: expected the integers and data of `at`"):
        hg.verify(
            lambda w, labels: np.exp(w), of=loss, at=(W, np.array([0, 1])), evaluations=0,
            points=lambda key: (W, np.array([1, 1])),
        )  # fmt: skip


# --- what a gradient returns ----------------------------------------------------------------------


def opaque(array):
    return np.frombuffer(array.tobytes(), array.dtype)


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize("through", [lambda array: array, opaque], ids=["read", "called"])
def test_names_are_held_against_names(through):
    """Whatever the order of a dict: two leaves of one shape are easily exchanged."""

    def loss(p):
        return np.sum(np.exp(p["b"])) + np.sum(np.sin(p["w"]))

    def right(p):
        return OrderedDict(w=through(np.cos(p["w"])), b=np.exp(p["b"]))

    def swapped(p):
        return OrderedDict(w=through(np.exp(p["b"])), b=np.cos(p["w"]))

    options = {"of": loss, "at": ({"w": W, "b": W + 1},), "evaluations": 0}
    assert hg.verify(right, **options).ok
    assert not hg.verify(swapped, **options).ok


def test_a_list_is_as_good_as_a_tuple_whether_jax_can_trace_it_or_not():
    loss = lambda w, x: np.sum((x @ w) ** 2)
    for own in (np.sum, lambda a: np.log(np.exp(a)).sum()):
        gradient = lambda w, x, own=own: [2 * x.T @ (x @ w) + 0 * own(w), 2 * np.outer(x @ w, w)]
        options = {"of": loss, "at": (W, X), "argnums": (0, 1), "evaluations": 0}
        assert hg.verify(gradient, **options).ok
        assert hg.agree(gradient, of=loss, at=(W, X), argnums=(0, 1)).ok
    named = lambda w, x: {"w": 2 * x.T @ (x @ w), "x": 2 * np.outer(x @ w, np.exp(np.log(w)))}
    assert "PyTreeDef" in hg.verify(named, **{**options, "at": (abs(W), X)}).cause


class Layer:
    def forward(self, w):
        self.kept = np.tanh(w)
        return self.kept


def test_a_gradient_that_reads_what_the_loss_has_kept_is_refused():
    layer = Layer()
    with pytest.raises(InputError, match="gradient: expected a function of its arguments alone"):
        hg.verify(
            lambda w: 1 - layer.kept**2, of=lambda w: np.sum(layer.forward(w)), at=(W,),
            evaluations=0,
        )  # fmt: skip


def test_argsort_is_read_through_numpy():
    """JAX traces it by its method, and cannot compile what comes of that."""
    x = np.array([3.0, 1.0, 2.0])
    for by, ok in ((lambda w: np.argsort(np.argsort(w)), True), (np.argsort, False)):
        verdict = hg.verify_vjp(
            lambda c, w, by=by: c[by(w)], of=np.sort, at=(x,), evaluations=0, dtypes=("float64",)
        )
        assert verdict.ok == ok


def test_what_the_loss_itself_raises_is_told():
    def loss(w, x):
        return (np.exp(w) - x[:, 0]).sum()

    with pytest.raises(InputError, match=r"of: .* ValueError: operands could not be broadcast"):
        hg.verify(lambda w, x: w, of=loss, at=(W, X))


# --- derivatives beside the gradient --------------------------------------------------------------


def squashed(w, x):
    out = 0 * x[:, 0]  # no array of NumPy, for which the judge would empty JAX's caches
    for i in range(len(x)):
        out[i] = np.tanh(x[i] @ w)
    return out


@pytest.mark.usefixtures("without_diagnosis")
def test_products_with_a_jacobian():
    def vjp(c, w, x):
        return x.T @ (c * (1 - np.tanh(x @ w) ** 2))

    def jvp(primals, tangents):
        (w, x), (t, _) = primals, tangents
        return (1 - np.tanh(x @ w) ** 2) * (x @ t)

    options = {"of": squashed, "at": (W, X[:2]), "argnums": 0, "dtypes": ("float64",)}
    for factor in (1, 2):
        found = [
            hg.verify_vjp(lambda *args, by=factor: by * vjp(*args), evaluations=0, **options),
            hg.verify_jvp(lambda *args, by=factor: by * jvp(*args), **options),
        ]
        assert [verdict.ok for verdict in found] == [factor == 1] * 2
        assert all(verdict.notes[:2] == READ for verdict in found)


@pytest.mark.usefixtures("without_diagnosis")
def test_a_hessian():
    loss = lambda w: logsumexp(w) + 0.5 * np.sum(np.exp(2 * w))

    def hessian(w):
        p = softmax(w)
        return np.diag(p + 2 * np.exp(2 * w)) - np.outer(p, p)

    options = {"of": loss, "at": (W,), "dtypes": ("float64",)}
    assert hg.verify_hessian(hessian, **options).ok
    wrong = hg.verify_hessian(lambda w: 2 * hessian(w), **options)
    assert (wrong.ok, wrong.hand) == (False, "different")


@pytest.mark.usefixtures("without_diagnosis")
def test_an_objective():
    def loss(z, y):
        return np.logaddexp(0, z) - y * z

    def objective(z, y):
        p = expit(z)
        return p - y, np.maximum(p * (1 - p), 1e-16)

    at = (np.array([0.3, -1.2, 2.0]), np.array([1.0, 0.0, 0.0]))
    found = hg.verify_objective(objective, of=loss, at=at, evaluations=0)
    assert found.ok, str(found)
    assert READ[0] in found.notes
