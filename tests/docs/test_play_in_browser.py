"""The pages to play with, in a browser: descent held to JAX, and entries judged."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import play
from handgrad._precision import x64
from handgrad.gradients import logistic, perceptron, squared_error
from handgrad.gradients.linear import Params
from play import derive
from tests.explain.conftest import AXE, axe, chromium  # noqa: F401

STEPS = 12


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):  # noqa: F811
    """Opens a page by its name; gives a function that runs script there, and its data."""
    folder = tmp_path_factory.mktemp("play")

    def open_page(name, width=1300):
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(play.page(name), encoding="utf-8")
        assert path.stat().st_size < 2_000_000
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chromium.get_log("browser")
        chromium.get(path.as_uri())
        data = json.loads(
            chromium.execute_script("return document.getElementById('data').textContent")
        )
        return chromium.execute_script, data

    return open_page


def squared(params, x, y):
    return jnp.mean(squared_error.from_logits(x @ params.weight, y))


GRADIENTS = {
    "cross-entropy": logistic.gradient,
    "squared": jax.grad(squared),
    "perceptron": perceptron.gradient,
}
CHOOSE = """
for (const [id, value] of Object.entries(arguments[0])) {
  const element = document.getElementById(id);
  element.value = value;
  element.dispatchEvent(new Event(id === 'rate' ? 'input' : 'change'));
}
for (let i = 0; i < arguments[1]; i += 1) document.getElementById('step').click();
return [...document.querySelectorAll('#numbers tbody tr')].map(
  (tr) => [...tr.querySelectorAll('td')].map((td) => td.textContent));
"""


def weights(row):
    return np.array([float(cell.replace("−", "-")) for cell in row[1:3]])


def test_descent_and_the_perceptron_are_those_of_jax(opened):
    run, data = opened("descent")
    tumours = data["sets"][0]
    with x64():
        x, y = jnp.asarray(tumours["x"]), jnp.asarray(tumours["y"], jnp.float64)
        start, rule = jnp.array([-1.0, 2.0]), jax.jit(perceptron.rule)
        for loss, batch in (("cross-entropy", "all"), ("squared", "8"), ("perceptron", "32")):
            size = len(y) if batch == "all" else int(batch)
            rate = {"cross-entropy": 10.0**0.5, "squared": 10.0**0.5, "perceptron": 10.0**-1}[loss]
            choices = {
                "loss": loss, "batch": batch, "rate": f"{np.log10(rate):.2f}",
                "start1": "-1", "start2": "2",
            }  # fmt: skip
            descent, beside = run(CHOOSE, choices, STEPS)
            gradient = jax.jit(GRADIENTS[loss])
            params = other = Params(start, jnp.zeros(()))
            for step in range(STEPS):
                rows = (step * size + np.arange(size)) % len(y)
                found = gradient(params, x[rows], y[rows])
                params = Params(params.weight - rate * found.weight, jnp.zeros(()))
                moved = rule(other, x[step], y[step])
                other = Params(moved.weight, jnp.zeros(()))
            np.testing.assert_allclose(weights(descent), params.weight, rtol=2e-6, err_msg=loss)
            np.testing.assert_allclose(weights(beside), other.weight, rtol=2e-6)
            assert descent[0] == beside[0] == str(STEPS)


def test_the_start_is_dragged_and_a_rate_can_be_too_large(opened, chromium, axe):  # noqa: F811
    run, _ = opened("descent")
    box = run("return document.querySelector('.handle').getBoundingClientRect().toJSON()")
    before = run("return document.getElementById('start1').value")
    x, y = int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2)
    for kind, dx in (("mousePressed", 0), ("mouseMoved", -80), ("mouseReleased", -80)):
        event = {"type": kind, "x": x + dx, "y": y, "button": "left", "buttons": 1}
        chromium.execute_cdp_cmd("Input.dispatchMouseEvent", event | {"clickCount": 1})
    dragged = float(run("return document.getElementById('start1').value"))
    assert dragged < float(before) - 0.5
    run(
        "const h = document.querySelector('.handle'); h.focus();"
        "h.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    moved = float(run("return document.getElementById('start1').value"))
    assert moved == pytest.approx(dragged - 0.1, abs=1e-3)
    # flowers: a line through the origin parts them, and the perceptron comes to rest
    flowers = {"set": "1", "loss": "cross-entropy", "rate": "1"}
    descent, beside = run(CHOOSE, flowers, 400)
    assert beside[5] == "0 of 100"
    assert "it has stopped" in run("return document.getElementById('says').textContent")
    assert float(descent[4]) > 0
    run(CHOOSE, {"set": "0", "rate": "1.6"}, 60)
    run(axe)
    result = chromium.execute_async_script(AXE)
    assert [v["id"] for v in result["violations"] if v["impact"] in ("serious", "critical")] == []
    run, _ = opened("descent", width=390)
    assert run("return document.documentElement.scrollWidth") <= 390
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


ENTER = """
const input = document.querySelector('.entry input');
input.value = arguments[0];
document.querySelector('.entry .check').click();
const said = [...document.querySelectorAll('.verdict')].map(v => v.textContent).filter(Boolean);
return said[said.length - 1];
"""


def test_every_derivation_is_filled_and_every_entry_judged(opened, chromium, axe):  # noqa: F811
    run, data = opened("derive")
    for number, exercise in enumerate(data["exercises"]):
        run(
            "const w = document.getElementById('which'); w.value = arguments[0];"
            "w.dispatchEvent(new Event('change'))",
            number,
        )
        gaps = [line["gap"] for line in exercise["lines"] if line["gap"]]
        for done, gap in enumerate(gaps):
            enter = partial(run, ENTER)
            assert enter(f"1.000001 * ({gap['answer']})").startswith("Not equal: at z = ")
            assert enter(f"-({gap['answer']})").endswith("Look at the sign.")
            assert enter(f"({gap['answer']}").startswith("Not yet readable: a closing")
            assert run("return document.querySelectorAll('.lines li.right').length") == done
            said = enter(f"(({gap['answer']}) + z) − z")
            assert said.startswith("Right: equal at 12 points"), (exercise["name"], gap)
        assert "You have derived it" in run("return document.getElementById('score').textContent")
        assert run("return document.querySelectorAll('.lines li').length") == len(exercise["lines"])
    run(
        "document.getElementById('which').value = 0; document.getElementById('again').click()"
    )  # the sigmoid again
    for text, said in (
        ("σ(z)^2 e^(−z)", "Not equal"), ("q", "“q” is not known here"), ("exp z", "parentheses"),
        ("", "nothing is written"), ("alert(1)", "“alert” is not known"), ("1 $", "“$” cannot"),
        ("e^−z", "Right"),
    ):  # fmt: skip
        assert said in run(ENTER, text), text
    run("document.querySelector('.entry .give').click()")
    assert "1 shown" in run("return document.getElementById('score').textContent")
    heights = run(
        "return [...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
    )
    assert min(heights) > 10
    run(axe)
    result = chromium.execute_async_script(AXE)
    assert [v["id"] for v in result["violations"] if v["impact"] in ("serious", "critical")] == []
    run, _ = opened("derive", width=390)
    assert run("return document.documentElement.scrollWidth") <= 390
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def test_a_gap_that_is_not_of_its_derivation_is_refused(monkeypatch):
    (first, *_) = derive.EXERCISES[0].gaps
    for wrong, words in (
        (derive.Gap(first.line, "e^{-2z}", first.whole, first.answer), "is not in"),
        (derive.Gap(first.line, first.piece, first.whole, "exp(z)"), "is not the line"),
    ):
        with pytest.raises(derive.GapError, match=words):
            derive._exercise(derive.Exercise("sigmoid", ("z",), (wrong,)))
