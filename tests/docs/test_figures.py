"""Every figure is what it says: what is read back from its axes is held against the formulas."""

import io
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import figures
from figures import curves, descent, moons, pushing
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params


def lines(axes):
    """The drawn lines by label."""
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def is_readable(axes):
    """A title, both labels, and every legend entry with words."""
    assert axes.get_title(loc="left")
    assert axes.get_xlabel()
    legend = axes.get_legend()
    return legend is None or all(text.get_text() for text in legend.get_texts())


def sigma(z):
    return 1 / (1 + np.exp(-z))


def error(w):
    """Cross-entropy of the eight points, by NumPy alone."""
    z, y = w * curves.HEIGHTS, curves.PASSED
    return np.mean(np.log1p(np.exp(z)) - y * z)


def gradient_descent(features, labels, start, rate, steps):
    """Gradient descent on two weights, by NumPy alone."""
    places = [np.array(start)]
    for _ in range(steps):
        w = places[-1]
        gradient = features.T @ (sigma(features @ w) - labels) / len(labels)
        places.append(w - rate * gradient)
    return np.array(places)


def test_the_logarithms_are_logarithms_and_their_chords_lie_below():
    climb, descend = curves.logarithm_figure().axes
    up, down = lines(climb), lines(descend)
    for label, f in (("log ŷ   (y = 1)", np.log), ("log(1 − ŷ)   (y = 0)", np.log1p)):
        p, value = up[label].T
        np.testing.assert_allclose(value, f(p if f is np.log else -p), rtol=1e-13)
        again, negative = down[f"−{label}"].T
        np.testing.assert_array_equal(again, p)
        np.testing.assert_array_equal(negative, -value)
        assert len(p) > 400
    for label, f in (("a chord lies below", np.log), ("_mirrored chord", lambda p: np.log(1 - p))):
        (a, fa), (b, fb) = up[label]
        np.testing.assert_allclose([fa, fb], [f(a), f(b)], rtol=1e-13)
        assert (fa + fb) / 2 < f((a + b) / 2) - 0.1
    assert is_readable(climb)
    assert is_readable(descend)
    assert "nats" in climb.get_ylabel()
    assert "nats" in descend.get_ylabel()


def test_step_and_sigmoid_and_their_slopes():
    values, slopes = curves.sigmoid_figure().axes
    z, s = lines(values)["σ(z) = 1/(1 + e⁻ᶻ)"].T
    np.testing.assert_allclose(s, sigma(z), rtol=1e-14)
    left, right = lines(values)["step(z)"], lines(values)["_step"]
    assert (left[:, 0] < 0).all()
    assert (right[:, 0] >= 0).all()
    assert set(left[:, 1]) == {0.0}
    assert set(right[:, 1]) == {1.0}
    z, slope = lines(slopes)["σ′(z) = σ(z) σ(−z)"].T
    np.testing.assert_allclose(slope, sigma(z) * sigma(-z), rtol=1e-14)
    assert slope.max() == 0.25
    assert set(lines(slopes)["step′(z) = 0, none at 0"][:, 1]) == {0.0}


def test_scaling_leaves_the_minimum_in_place():
    squares, errors = curves.scaling_figure().axes
    drawn = lines(squares)
    for k, label in curves.SQUARES.items():
        x, value = drawn[label].T
        np.testing.assert_allclose(value, k * x * x, rtol=1e-14)
        assert x[np.argmin(k * value)] == 0
    w, mean = lines(errors)["their mean"].T
    np.testing.assert_allclose(mean, [error(v) for v in w], rtol=1e-13)
    again, total = lines(errors)["summed over 8 points"].T
    np.testing.assert_array_equal(again, w)
    np.testing.assert_allclose(total, 8 * mean, rtol=1e-15)
    assert 0 < np.argmin(mean) == np.argmin(total) < len(w) - 1
    (text,) = (t.get_text() for t in errors.texts)
    assert text == f"both least at w = {w[np.argmin(mean)]:.2f}"
    assert errors.get_yscale() == "log"


def test_the_product_underflows_where_the_sum_does_not():
    products, sums = curves.underflow_figure().axes
    drawn = lines(products)
    for dtype, first in (("float32", 150), ("float64", 1075)):
        n, power = drawn[dtype].T
        assert n[-1] == first - 1
        assert np.dtype(dtype).type(0.5) ** (first - 1) > 0
        assert np.dtype(dtype).type(2.0) ** -first == 0
        np.testing.assert_allclose(power, -n * np.log10(2), rtol=1e-12)
        n, total = lines(sums)[dtype].T
        assert n[-1] == curves.COINS
        np.testing.assert_allclose(
            total, -n * np.log(2), rtol=1e-4 if dtype == "float32" else 1e-12
        )
        assert f"0 from {first:,} on" in [text.get_text() for text in products.texts]


@pytest.fixture(scope="module")
def surface():
    return descent.surface_figure()


def test_the_paths_on_the_surface_are_gradient_descent(surface):
    relief, above = surface.axes[:2]
    data = descent.tumours()
    for number, (rate, steps, _) in enumerate(descent.RATES):
        label = [name for name in lines(above) if name.startswith(f"α = {rate:g}, {steps} steps")]
        places = lines(above)[label[0]]
        expected = gradient_descent(data.x, data.y, descent.START, rate, steps)
        np.testing.assert_allclose(places, expected, rtol=1e-9)
        across, up, high = relief.get_lines()[number].get_data_3d()
        np.testing.assert_allclose(np.stack([across, up], axis=1), expected, rtol=1e-9)
        z = data.x @ expected.T
        losses = np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - data.y[:, None] * z, 0)
        np.testing.assert_allclose(high, losses + descent.LIFT, rtol=1e-9)
        assert f"{losses[-1]:.3f} nats" in label[0]
        assert losses[-1] < losses[0]


def test_the_cross_is_where_the_gradient_is_zero(surface):
    above = surface.axes[1]
    (label,) = (name for name in lines(above) if name.startswith("least error"))
    (place,) = lines(above)[label]
    data = descent.tumours()
    gradient = data.x.T @ (sigma(data.x @ place) - data.y) / data.examples
    assert np.abs(gradient).max() < 1e-12
    low, high = above.get_xlim()
    assert low < place[0] < high
    assert is_readable(above)


def test_the_levels_are_those_of_the_error(surface):
    """A point of a contour line has the error that the line stands for."""
    above = surface.axes[1]
    contours = next(c for c in above.collections if hasattr(c, "levels") and not c.filled)
    data = descent.tumours()
    compared = 0
    with x64():
        for level, path in zip(contours.levels, contours.get_paths(), strict=True):
            for point in path.vertices[::40]:
                params = Params(jnp.asarray(point), jnp.zeros(()))
                found = float(logistic.loss(params, jnp.asarray(data.x), jnp.asarray(data.y)))
                assert found == pytest.approx(level, rel=0.01)
                compared += 1
    assert compared > 20


@pytest.fixture
def short(monkeypatch):
    """The animation at four of its steps, the last one held."""
    monkeypatch.setattr(pushing, "SHOWN", (0, 3, 40, 400))
    monkeypatch.setattr(pushing, "FRAMES_A_SECOND", 1)
    return pushing.pushing_animation()


def frame_of(moving, number):
    moving.show(number)
    return moving.figure.axes


def discs(axes):
    return next(c for c in axes.collections if len(c.get_sizes()) > 1)


def test_the_discs_are_the_residuals(short):
    """Area ∝ |y − ŷ|, at the points; both models follow their own gradient from one line."""
    data = pushing.flowers()
    x = np.c_[data.x, np.ones(data.examples)]
    sides = [np.array([*pushing.START[0], pushing.START[1]])] * 2
    seen = {}
    for step in range(401):
        if step in pushing.SHOWN:
            panels = frame_of(short, pushing.SHOWN.index(step))
            for axes, w, predict in zip(panels, sides, (lambda z: z >= 0, sigma), strict=True):
                residual = np.abs(data.y - predict(x @ w))
                areas = discs(axes).get_sizes() / pushing.LARGEST
                np.testing.assert_allclose(areas, residual, rtol=1e-6, atol=1e-12)
                np.testing.assert_array_equal(discs(axes).get_offsets(), data.x)
                across, up = axes.get_lines()[0].get_xydata().T
                np.testing.assert_allclose(w[0] * across + w[1] * up + w[2], 0, atol=1e-9)
                seen[step, axes.get_title(loc="left")] = areas
        z = [x @ w for w in sides]
        t = 2 * data.y - 1
        residuals = (np.where(t * z[0] <= 0, -t, 0), sigma(z[1]) - data.y)
        sides = [
            w - pushing.LEARNING_RATE * x.T @ r / len(x)
            for w, r in zip(sides, residuals, strict=True)
        ]
    perceptron, descends = "Perceptron", "Gradient descent on cross-entropy"
    assert 0 < (seen[0, perceptron] > 0).sum() < 100
    assert (seen[400, perceptron] == 0).all()  # it has stopped
    assert (seen[400, descends] > 0).all()  # all still push
    assert seen[400, descends].sum() < seen[40, descends].sum() < seen[0, descends].sum()


def test_the_frame_says_what_it_shows(short):
    panels = frame_of(short, 2)
    data = pushing.flowers()
    for axes in panels:
        text = axes.texts[0].get_text()
        areas = discs(axes).get_sizes() / pushing.LARGEST
        assert text.startswith("step 40\n")
        assert f"wrong: {(areas > 0.5).sum()} of {data.examples}" in text
        assert f"pushing: {(areas > 0).sum()}, {areas.sum():.2f} in all" in text
    legend = short.figure.legends[0]
    assert [t.get_text() for t in legend.get_texts()] == ["setosa (y = 0)", "versicolor (y = 1)"]


def test_the_gif_moves(short):
    from PIL import Image

    whole = figures.gif(short)
    assert whole.startswith(b"GIF89a")
    with Image.open(io.BytesIO(whole)) as image:
        assert image.n_frames >= 4
        assert image.info["loop"] == 0
        frames = []
        for number in (0, 1, 3):
            image.seek(number)
            frames.append(np.asarray(image.convert("L"), float))
    assert np.abs(frames[0] - frames[1]).mean() > 1
    assert np.abs(frames[1] - frames[2]).mean() > 1


def test_the_hidden_layer_bends_the_line(monkeypatch):
    monkeypatch.setattr(
        moons,
        "MODELS",
        {k: moons.MODELS[k] for k in list(moons.MODELS)[:2]},
    )
    figure = moons.moons_figure()
    shares, bends = [], []
    for axes in figure.axes:
        (contour,) = [c for c in axes.collections if hasattr(c, "levels")]
        line = np.concatenate([path.vertices for path in contour.get_paths()])
        fitted = np.polyval(np.polyfit(*line.T, 1), line[:, 0])
        bends.append(np.abs(line[:, 1] - fitted).max())
        shares.append(float(axes.get_title(loc="left").split(": ")[1].split("%")[0]))
    assert bends[0] < 0.01 < 0.5 < bends[1]
    assert shares[0] < 90 < 95 < shares[1]
    train, _ = moons.moons()
    drawn = [c for c in figure.axes[0].collections if c.get_label() in train.class_names]
    assert sum(len(c.get_offsets()) for c in drawn) == train.examples


def test_the_table_of_figures():
    assert list(figures.FIGURES) == [
        "logarithm", "sigmoid", "scaling", "underflow", "surface", "moons", "pushing",
    ]  # fmt: skip
    suffix, whole = figures.content("underflow")
    assert suffix == ".png"
    assert whole.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", whole[16:24])
    assert width > 1000
    assert height > 500
    with pytest.raises(InputError, match=r"name: expected some of logarithm, .*, got 'cat'"):
        figures.content("cat")


def test_a_figure_is_what_is_drawn(monkeypatch, short):
    monkeypatch.setitem(figures.FIGURES, "pushing", lambda: short)
    assert figures.content("pushing")[0] == ".gif"
    assert isinstance(curves.sigmoid_figure(), Figure)


def test_a_wrong_curve_is_seen(monkeypatch):
    """The tests above can fail: a sigmoid of twice the slope is not let through."""
    monkeypatch.setattr(curves.sigmoid, "sigmoid", lambda z: jax.nn.sigmoid(2 * z))
    with pytest.raises(AssertionError):
        test_step_and_sigmoid_and_their_slopes()
