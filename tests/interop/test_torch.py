"""Functions of PyTorch as functions of JAX: what is recorded, what is refused, what is judged."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    from torch.nn import functional as F

import handgrad as hg
from benchmarks.judge import pytorch as command
from handgrad._precision import x64
from handgrad.errors import InputError, NotFollowed
from handgrad.interop import aten, check_against_torch, read_through
from handgrad.interop.torch import from_torch

X = np.array([[0.5, -1.0, 0.25], [1.5, 0.75, -0.5]])
LABELS = np.array([2, 0])


def recorded(function, *at):
    """The function as JAX has it; its values are PyTorch's own in both dtypes."""
    found = from_torch(function)
    check_against_torch(found, function, at)
    return found


def slope(function, *at):
    """The gradient in the first argument by JAX, beside that of PyTorch."""
    with x64():
        ours = jax.jit(jax.grad(recorded(function, *at)))(*at)
    first = torch.tensor(at[0], requires_grad=True)
    rest = [torch.tensor(leaf) for leaf in at[1:]]
    theirs = torch.autograd.grad(function(first, *rest), first)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    return np.asarray(ours)


# --- recording ------------------------------------------------------------------------------------


def test_writing_in_place_and_views():
    def loss(x):
        y = x * 2
        row = y[0]
        row += 1
        y[:, 1] = x[:, 0] ** 2
        y[y < 0] = 0.25
        y.diagonal().mul_(3)
        return (y * y).sum()

    slope(loss, X)


def test_a_branch_is_followed_both_ways():
    def loss(x):
        if x.sum() > 0:
            return (x**2).sum()
        return x[0, 0] * (3 if x.max() > 10 else 5)

    for point in (X, -X):
        slope(loss, point)
    with x64():
        assert recorded(loss, X)(-X) == pytest.approx(-2.5)


def test_a_check_that_raises_is_passed():
    def loss(x):
        if (x > 100).any():
            raise ValueError("too large")
        return torch.exp(x).sum()

    slope(loss, X)


def test_a_side_that_cannot_be_recorded_is_not_left_out():
    def loss(x):
        return x.sum() if x.sum() < 100 else x.sum() * x.sum().item()

    with pytest.raises(NotFollowed, match="the value of a tensor"):
        recorded(loss, X)


def test_tensors_that_are_closed_over_are_taken_in_the_dtype_judged():
    weight, layer = torch.tensor([0.5, 2.0, 0.1]), torch.nn.Linear(3, 2)

    def loss(x, y):
        return F.cross_entropy(x, y, weight=weight) + layer(x).square().sum()

    with x64():
        assert jax.eval_shape(from_torch(loss), X, LABELS).dtype == "float64"
        value = from_torch(loss)(X, LABELS)
    expected = loss(torch.tensor(X, dtype=torch.float32), torch.tensor(LABELS))
    assert float(value) == pytest.approx(expected.item(), rel=1e-6)


def test_a_module_and_its_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))

    def loss(parameters, x, y):
        return F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

    parameters = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    gradient = jax.grad(recorded(loss, parameters, X, LABELS))(
        jax.tree.map(np.float32, parameters), np.float32(X), LABELS
    )
    value = loss(dict(model.named_parameters()), torch.tensor(X).float(), torch.tensor(LABELS))
    value.backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradient[name], parameter.grad, atol=1e-6)


def test_a_model_in_double_precision():
    layer = torch.nn.Linear(3, 1).double()
    loss = lambda x: layer(x).square().sum()
    gradient = lambda x: 2 * layer(x) * layer.weight
    for by, ok in ((1, True), (2, False)):
        assert judged(lambda x, by=by: by * gradient(x), loss, X).ok == ok


def test_a_gradient_by_autograd_is_recorded_too():
    def gradient(x):
        x = x.requires_grad_()
        return torch.autograd.grad(F.silu(x).sum(), x)[0]

    assert recorded(gradient, X)(X).shape == X.shape


def test_a_gradient_by_backward_and_by_func_grad():
    def by_backward(x):
        x = x.clone().requires_grad_()
        (x**3).sum().backward()
        return x.grad

    def by_func(x):
        return torch.func.grad(lambda x: (x**3).sum())(x)

    for gradient in (by_backward, by_func):
        np.testing.assert_allclose(recorded(gradient, X)(np.float32(X)), 3 * X**2, rtol=1e-6)


def test_half_precision_and_batch_statistics():
    norm = torch.nn.BatchNorm1d(3)
    loss = from_torch(lambda x: (norm(x) ** 3).sum())
    for dtype in (jnp.bfloat16, jnp.float16):
        assert loss(jnp.asarray(X, dtype)).dtype == dtype
    wide = torch.nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    slope(lambda x: (wide(x) ** 3).sum(), np.concatenate([X, X**2]))


def test_layers():
    r = np.random.default_rng(0)
    image, kernel = r.normal(size=(1, 4, 6, 6)), r.normal(size=(4, 3, 3, 3))

    def transposed(image, kernel):
        up = F.conv_transpose2d(
            image, kernel[:, :2], stride=2, padding=1, output_padding=1, groups=2, dilation=2
        )
        return (up**2).sum()

    def pooled(image, kernel):
        y = (
            F.conv2d(image, kernel.transpose(0, 1)[:, :2], stride=2, padding=1, groups=1)
            if image.shape[1] == 2
            else F.conv2d(image, kernel.transpose(0, 1), padding=1)
        )
        y = F.max_pool2d(y, 3, stride=2, padding=1, ceil_mode=True)
        y = F.avg_pool2d(y, 2, stride=1, padding=1, count_include_pad=False)
        return (F.interpolate(y, scale_factor=2) ** 2).mean() + F.adaptive_avg_pool2d(y, 2).sum()

    slope(transposed, image, kernel)
    slope(pooled, image, kernel)


def test_operations_with_axes_and_indices():
    def loss(x, y):
        a = torch.cat([x, x.flip(1).roll(1, 0)]).cumsum(0)
        b = a.sort(dim=1, descending=True).values + a.topk(2, dim=1).values.sum(1, keepdim=True)
        c = b.scatter_add(1, y[:, None].repeat(2, 2), torch.ones(4, 2, dtype=x.dtype)) / a.std()
        d = torch.einsum("ij,kj->ik", c, a).triu(-1).index_select(0, y)
        e = F.pad(d, (1, 1), value=2.0).prod(1) + torch.logsumexp(c, 1)[:2]
        g = F.one_hot(y, 3) * torch.cdist(x, x + 1).amax() + x.norm(p=3)
        return e.mean() + g.sum() + a.max(1).values.min() + torch.linalg.det(c[:3]).abs()

    slope(loss, X, LABELS)


# --- what is refused ------------------------------------------------------------------------------


def item(x):
    return x.sum().item() * x.sum()


def masked(x):
    return x[x > 0].sum()


def random(x):
    return F.dropout(x, 0.5).sum()


def without_rule(x):
    return torch.fft.fft(x).abs().sum()


def wide(x):
    return x.double().sum().to(x.dtype)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (item, r"the value of a tensor.*`return x\.sum\(\)\.item\(\).*torch\.where"),
        (masked, r"a shape that depends on values.*`return x\[x > 0\]\.sum\(\)`"),
        (random, r"random"),
        (without_rule, r"aten\._fft_r2c, which has no rule in .*test_torch\.py"),
        (wide, r"float64 inside a function of float32"),
        (lambda x: x @ x, r"RuntimeError"),
    ],
)
def test_what_cannot_be_recorded_is_named(function, words):
    with pytest.raises(NotFollowed, match=words):
        check_against_torch(from_torch(function), function, (X,))


def test_values_other_than_pytorchs_are_refused(monkeypatch):
    def loss(x):
        return torch.exp(x).sum()

    right = aten.RULES["exp"]
    for wrong in (
        lambda out, x: right(out, x) * (1 + 1e-8),
        lambda out, x: right(out, x).astype(jnp.float32).astype(x.dtype),
    ):
        monkeypatch.setitem(aten.RULES, "exp", wrong)
        with pytest.raises(NotFollowed, match="values other than PyTorch's own in float64"):
            check_against_torch(from_torch(loss), loss, (X,))


# --- in the judge ---------------------------------------------------------------------------------


def judged(gradient, loss, *at, **options):
    return hg.verify(gradient, of=loss, at=at, evaluations=0, **options)


def test_a_loss_and_its_gradient():
    def loss(z, y):
        return F.cross_entropy(z, y)

    def gradient(z, y):
        r = torch.softmax(z, 1)
        r[torch.arange(len(y)), y] -= 1
        return r / len(y)

    verdict = judged(gradient, loss, torch.tensor(X), torch.tensor(LABELS))
    assert verdict.ok
    assert verdict.hand == "identical"
    assert verdict.autodiff == "identical"
    assert "the loss was read through PyTorch" in verdict.notes
    wrong = judged(lambda z, y: 2 * gradient(z, y), loss, X, LABELS)
    assert not wrong.ok
    assert "twice" in wrong.cause


def test_labels_may_decide_shapes():
    def loss(z, y):
        return z[y >= 0].square().mean()

    def gradient(z, y):
        kept = (y >= 0)[:, None]
        return torch.where(kept, 2 * z / (3 * kept.sum()), 0)

    assert judged(gradient, loss, X, np.array([-1, 0])).ok


def test_a_gradient_that_leaves_pytorch_is_a_black_box():
    def gradient(x):
        return torch.from_numpy(2 * x.numpy())

    verdict = judged(gradient, lambda x: (x**2).sum(), torch.tensor(X))
    assert verdict.ok
    assert verdict.hand == "not traceable"


@pytest.mark.parametrize(
    ("factor", "note"), [(1, "hess is the second derivative"), (2, "an upper bound"), (0.5, None)]
)
def test_an_objective(factor, note):
    def objective(z, y):
        p = torch.sigmoid(z)
        return p - y, factor * p * (1 - p)

    loss = lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none")
    at = (torch.tensor(X[0], requires_grad=True), torch.tensor([0.0, 1.0, 1.0]))
    verdict = hg.verify_objective(objective, of=loss, at=at, evaluations=0, dtypes=("float64",))
    assert verdict.ok == (note is not None), str(verdict)
    assert note is None or note in verdict.notes[0]


# --- autograd Functions ---------------------------------------------------------------------------


class Scaled(torch.autograd.Function):
    """factor · a · b and their sum, with numbers that are no tensors and an index beside."""

    broken = False

    @staticmethod
    def forward(ctx, a, factor, b, index):
        ctx.save_for_backward(a, b)
        ctx.factor = factor
        return factor * a * b, a + b

    @staticmethod
    def backward(ctx, product, total):
        a, b = ctx.saved_tensors
        to_a = product * ctx.factor * b + total if ctx.needs_input_grad[0] else None
        to_b = product * ctx.factor * a + total if ctx.needs_input_grad[2] else None
        if Scaled.broken and not ctx.needs_input_grad[0]:
            to_b = to_b - total
        return to_a, None, to_b, None


class Cubed(torch.autograd.Function):
    """x³ with `setup_context`."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        return 2 * ctx.saved_tensors[0] ** 2 * cotangent


def test_a_function_of_several_inputs_and_outputs(monkeypatch):
    at = (X, 3, X + 1, torch.tensor([1]))
    assert hg.verify_rule(Scaled.apply, at=at, evaluations=0).ok
    monkeypatch.setattr(Scaled, "broken", True)
    verdict = hg.verify_rule(Scaled, at=at, evaluations=0)
    assert not verdict.ok
    assert any("needs_input_grad" in note for note in verdict.notes)


def test_a_function_with_setup_context():
    verdict = hg.verify_rule(Cubed, at=(X[0],), evaluations=0)
    assert (verdict.ok, verdict.hand, verdict.name) == (False, "different", "Cubed")
    assert verdict.where == "x[0]"
    assert verdict.autodiff == "identical"


class Careless(Cubed):
    """One gradient too many."""

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent, cotangent


def test_what_is_said_of_a_rule_names_it(caplog):
    with pytest.raises(InputError, match=r"^f: .* incorrect number of gradients.*the rule of f"):
        hg.verify_rule(Careless, at=(X[0],), evaluations=0)
    with pytest.raises(InputError, match=r"^f: .* size|^f: .* broadcast"):
        hg.verify_rule(Scaled, at=(X, 3, X[:, :2], torch.tensor([1])))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    with pytest.raises(InputError, match="custom_jvp or custom_vjp rule, got Linear"):
        hg.verify_rule(torch.nn.Linear(3, 1), at=(X,))
    with pytest.raises(InputError, match="at: expected a tuple"):
        hg.verify_rule(Cubed, at=[X])


def test_a_function_without_arrays_is_refused():
    with pytest.raises(InputError, match="at least one array of floats"):
        hg.verify_rule(Cubed, at=(3,))


# --- the controls ---------------------------------------------------------------------------------


def test_every_loss_of_pytorch_is_counted():
    refused = command.refused()
    assert list(refused) == ["ctc_loss"]
    assert "aten._ctc_loss" in refused["ctc_loss"]


@pytest.mark.parametrize(
    "control", [("losses", "huber_loss"), ("models", "hinge_mask_in_place"), ("functions", "polar")]
)
def test_a_sample_of_the_controls(control):
    outcome = command.try_named(*control)
    assert (outcome.right, outcome.wrong) == ("right", "caught"), outcome.said
    assert read_through(None) is None
