"""What values show in a notebook: the HTML, and reprs that fit on one screen."""

import html
import re
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handgrad as hg
from handgrad._notebook import curve
from handgrad.catalogue import CASES, case
from handgrad.derivations import DERIVATIONS
from handgrad.explain import as_html, explain_case
from handgrad.gradients import logistic, mlp
from handgrad.train import FitResult
from handgrad.train.log import History
from handgrad.verify import agree

MARKUP = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>'


class Tree(HTMLParser):
    """Tags and attributes of a fragment, and whether each is closed in its turn."""

    VOID = ("circle", "line", "polyline", "img", "path", "mspace")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def squares(x):
    return jnp.sum(x * x)


@pytest.fixture(scope="module")
def verdicts():
    """Right, wrong and undecided, and one with markup in its name, without a search."""
    at, options = (jnp.array([1.0, -2.0]),), {"evaluations": 0}
    with jax.numpy_dtype_promotion("standard"):
        return {
            "right": hg.verify(lambda x: 2 * x, of=squares, at=at, name="right one", **options),
            "wrong": hg.verify(lambda x: 2.001 * x, of=squares, at=at, name=MARKUP, **options),
            "undecided": hg.verify(lambda x: 2 * x, of=squares, at=at, name="x", seconds=1e-9),
        }


@pytest.fixture(scope="module")
def fitted():
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    return hg.fit(logistic.model(), x, (x[:, 0] > 0).astype(np.int32), epochs=20)


@pytest.fixture(scope="module")
def shown(verdicts, fitted):
    """Every value that shows itself, by a name."""
    return {
        **verdicts,
        "agreement": agree(lambda x: 2 * x, of=squares, at=(jnp.ones(3),)),
        "disagreement": agree(lambda x: 3 * x, of=squares, at=(jnp.ones(3),), name=MARKUP),
        "explanation": explain_case("logistic"),
        "fit": fitted,
        "history": fitted.history,
        "case": case("logistic_l2"),
    }


NAMES = ("right", "wrong", "undecided", "agreement", "disagreement", "explanation", "fit",
         "history", "case")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_value_shows_itself(shown, name):
    text = shown[name]._repr_html_()
    tree = Tree(text)
    outside = Tree(re.sub(r'srcdoc="[^"]*"', "", text))
    assert tree.tags.count("style") == 1
    assert "script" not in outside.tags
    assert "img" not in outside.tags
    assert not any(name.startswith("on") for name, _ in outside.attributes)
    assert not any(name in ("src", "href") for name, _ in outside.attributes)
    assert text.count('class="handgrad') == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_repr_fits_on_one_screen(shown, name):
    value = shown[name]
    text = repr(value)
    assert len(text) <= 2_000
    assert text.count("\n") < 25
    assert text.startswith(f"{type(value).__name__}(")


def test_every_case_and_derivation_fits_on_one_screen():
    assert max(len(repr(entry)) for entry in (*CASES, *DERIVATIONS)) <= 2_000
    for entry in CASES:
        Tree(entry._repr_html_())


def test_a_long_name_and_a_large_model_fit_too():
    shapes = jax.eval_shape(lambda key: mlp.init(key, 30, 10, hidden=(50,) * 40), jax.random.key(0))
    params = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), shapes)
    history = History(*(np.ones(1),) * 4, 0.1, 0.2, "epochs")
    assert len(repr(FitResult(params, history))) < 2_000


def test_values_stay_frozen_and_equal(verdicts):
    right = verdicts["right"]
    with pytest.raises(AttributeError):
        right.ok = False
    assert right == right
    assert right != verdicts["wrong"]


def test_a_verdict_says_the_same_as_its_text(verdicts):
    for tone, verdict in verdicts.items():
        page = verdict._repr_html_()
        assert f'class="head {tone}"' in page
        words = html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
        lines = str(verdict).splitlines()
        assert lines[0] in words
        for line in lines[1:]:
            for word in line.removeprefix("  note: ").split():
                assert word in words, (tone, line)


def test_the_page_of_an_explanation_is_in_a_sandbox(shown):
    page = shown["explanation"]._repr_html_()
    (frame,) = re.findall(r"<iframe[^>]*>", page)
    assert 'sandbox="allow-scripts"' in frame
    inside = html.unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1))
    assert inside == as_html(shown["explanation"])
    assert inside.startswith("<!doctype html>")


def test_the_curve_of_a_fit_falls(fitted):
    page = fitted._repr_html_()
    faint, thick = re.findall(r'points="([^"]*)"', page)
    for points, losses in (faint, fitted.history.batch_losses), (thick, fitted.history.losses):
        heights = [float(point.split(",")[1]) for point in points.split()]
        assert len(heights) == min(len(losses), 80)
        assert heights[0] < heights[-1]  # downwards on the screen
    assert "weight" in page
    assert "float32[1]" in page


@pytest.mark.parametrize(
    ("y", "ticks"),
    [
        ([1.0, 10.0, 1000.0], {"1", "10", "100", "1000"}),
        ([0.30, 0.41], {"0.3", "0.32", "0.34", "0.36", "0.38", "0.4"}),
        ([-1.0, 0.0, 3.0], {"-1", "0", "1", "2", "3"}),
        ([2.0, np.nan, np.inf], {"2"}),
        ([5.0, 5.0], {"5"}),
    ],
)
def test_a_curve_has_its_scale(y, ticks):
    drawn = curve(np.arange(len(y)), np.array(y), "step", "loss")
    Tree(drawn)
    shown = set(re.findall(r'text-anchor="end">([^<]*)<', drawn))
    assert ticks <= shown
    assert len(shown) <= 7
    numbers = re.findall(r' (?:x1|x2|y1|y2|cx|cy|x|y)="([^"]+)"', drawn)
    assert all(np.isfinite(float(number)) for number in numbers)


def test_a_curve_without_a_number_says_so():
    assert "no finite values" in curve(np.arange(2), np.array([np.nan, np.inf]), "step", "loss")
