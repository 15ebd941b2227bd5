"""The figure of a run shows the data of the run: read back from the figure itself."""

import functools
import io
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import image

from handgrad._precision import x64
from handgrad.data import Dataset
from handgrad.explain.training_figure import draw_losses, png, training_figure
from handgrad.gradients import logistic, mlp, softmax_regression
from handgrad.train import FitResult, History


def points(features, classes, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, features))
    y = (np.arange(60) % classes).astype("int32")
    x[:, 0] += 2 * y
    names = tuple(f"x{i}" for i in range(features))
    return Dataset("made up", x, y, names, tuple("uvwabc"[:classes]), "Made up.")


MODELS = {
    "logistic": logistic.model(),
    "softmax": softmax_regression.model(),
    "mlp": mlp.model((6,)),
}


@functools.cache
def drawn(name, features, classes):
    """(data, two runs that differ, their figure), each made once."""
    model, data = MODELS[name], points(features, classes)
    params = model.init(jax.random.key(0), features, classes)
    runs = {"hand": result([0.9, 0.7, 0.4], params), "optax": result([0.8, 0.5, 0.3], params)}
    return data, runs, training_figure(runs, model, data, "float32")


def result(losses, params=None):
    losses = np.array(losses)
    steps = np.arange(1, len(losses) + 1)
    return FitResult(params, History(losses, steps, losses, losses, 0.0, 1.0, "epochs"))


def curves_of(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


CASES = [("logistic", 2, 2), ("softmax", 2, 3), ("logistic", 3, 2)]


@pytest.mark.parametrize(("name", "features", "classes"), CASES)
def test_the_curves_are_the_histories(name, features, classes):
    _, runs, figure = drawn(name, features, classes)
    assert len(figure.axes) == (2 if features == 2 else 1)
    curves = curves_of(figure.axes[0])
    assert set(curves) == {"hand", "optax"}
    for side, run in runs.items():
        np.testing.assert_array_equal(curves[side][:, 0], run.history.steps)
        np.testing.assert_array_equal(curves[side][:, 1], run.history.losses)
    assert figure.axes[0].get_yscale() == "log"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(curves)


def test_the_boundary_is_where_the_model_says_one_half():
    data, runs, figure = drawn("mlp", 2, 2)
    (contour,) = [c for c in figure.axes[1].collections if hasattr(c, "levels")]
    assert list(contour.levels) == [0.5]
    line = np.concatenate([path.vertices for path in contour.get_paths()])
    assert len(line) > 50
    on_it = MODELS["mlp"].predict(runs["hand"].params, jnp.asarray(line, "float32"))
    np.testing.assert_allclose(on_it, 0.5, atol=5e-3)
    low, high = data.x.min(axis=0), data.x.max(axis=0)
    assert (line.min(axis=0) >= low - 0.41).all()
    assert (line.max(axis=0) <= high + 0.41).all()


@pytest.mark.parametrize(("name", "features", "classes"), CASES[:2])
def test_every_point_is_drawn_in_the_colour_of_its_class(name, features, classes):
    data, _, figure = drawn(name, features, classes)
    axes = figure.axes[1]
    groups = [c for c in axes.collections if c.get_label() in data.class_names]
    assert [group.get_label() for group in groups] == list(data.class_names)
    for number, group in enumerate(groups):
        np.testing.assert_array_equal(group.get_offsets(), data.x[data.y == number])
    assert len({tuple(group.get_facecolor()[0]) for group in groups}) == classes
    assert axes.get_xlabel() == "x0 (standardised)"


def test_the_plane_is_coloured_by_probability():
    """A model that is sure of one class everywhere colours the plane evenly; in float64 too."""
    data = points(2, 2)
    params = logistic.Params(np.zeros(2), np.array(30.0))
    with x64():
        run = FitResult(jax.tree.map(jnp.asarray, params), result([1.0]).history)
        axes = training_figure({"hand": run}, logistic.model(), data, "float64").axes[1]
    plane = np.asarray(axes.get_images()[0].get_array())
    assert plane.shape[2] == 3
    assert np.ptp(plane.reshape(-1, 3), axis=0).max() < 1e-9
    assert 0 <= plane.min() <= plane.max() <= 1
    assert plane[0, 0, 0] > plane[0, 0, 2]  # the second class is the warm one


def test_a_loss_of_zero_has_no_logarithm():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_losses(axes, {"hand": result([0.5, 0.0]), "optax": result([0.5, 0.1])})
    assert axes.get_yscale() == "linear"


def test_one_point_is_seen():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_losses(axes, {"hand": result([0.5]), "optax": result([0.5])})
    assert {line.get_marker() for line in axes.get_lines()} == {"o"}
    sizes = [line.get_markersize() for line in axes.get_lines()]
    assert sizes[0] > sizes[1]  # the one below stays visible


@pytest.mark.parametrize(("features", "width"), [(2, 1512), (3, 921)])
def test_the_png(features, width):
    content = png(drawn("logistic", features, 2)[2])
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (width, 633)
    pixels = image.imread(io.BytesIO(content))
    assert np.ptp(pixels[..., :3]) == 1


def test_more_classes_than_colours_have_no_plane():
    model = MODELS["softmax"]
    params = model.init(jax.random.key(0), 2, 6)
    run = FitResult(params, result([1.0]).history)
    figure = training_figure({"hand": run}, model, points(2, 6), "float32")
    assert len(figure.axes) == 1
