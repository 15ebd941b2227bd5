"""A notebook executed by a kernel, and what it stored shown by a browser, light and dark."""

import html
import re

import pytest

from tests.explain.conftest import AXE

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

SETUP = """
import sys
import jax.numpy as jnp
import numpy as np
import handgrad as hg
from handgrad.catalogue import case
from handgrad.gradients import logistic

def cubes(x):
    return jnp.sum(x**3)

at = (jnp.array([0.5, -2.0]),)
x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
y = (x[:, 0] > 0).astype(np.int32)
"""
CELLS = {
    "right": "hg.verify(lambda x: 3 * x**2, of=cubes, at=at, name='right', evaluations=50)",
    "wrong": "hg.verify(lambda x: 3.003 * x**2, of=cubes, at=at, name='<b>wrong', evaluations=0)",
    "agreement": "hg.agree(lambda x: 3 * x**2, of=cubes, at=at)",
    "explanation": "hg.explain(cubes, at=at)",
    "fit": "hg.fit(logistic.model(), x, y, epochs=20)",
    "history": "hg.fit(logistic.model(), x, y, epochs=1, progress=lambda seen: None).history",
    "case": "case('logistic')",
}
BAR = "from handgrad.cli.output import track; [*track([1, 2], str())]"
COMMANDS = (
    f"!{{sys.executable}} -c '{BAR}'",
    f"!env -u JPY_PARENT_PID -u JPY_SESSION_NAME {{sys.executable}} -c '{BAR}'",
)
"""As a cell runs a command, and as a terminal does: there the bar moves."""
GROUNDS = {"light": ("#ffffff", "#1f1f1f"), "dark": ("#111111", "#e0e0e0")}


@pytest.fixture(scope="module")
def executed():
    """name -> the outputs that the cell stored; `commands` has the text of both."""
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(source) for source in (SETUP, *CELLS.values(), *COMMANDS)
    ]
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    assert nbformat.validate(book) is None
    outputs = [cell.outputs for cell in book.cells[1:]]
    said = ["".join(o["text"] for o in outputs[i] if o["name"] == "stdout") for i in (-2, -1)]
    return {**dict(zip(CELLS, outputs[:-2], strict=True)), "commands": said}


def stored(executed, name):
    (output,) = executed[name]
    return output["data"]


@pytest.mark.parametrize("name", CELLS)
def test_a_value_is_stored_as_html_and_as_a_short_repr(executed, name):
    data = stored(executed, name)
    assert data["text/html"].startswith('<div class="handgrad')
    assert len(data["text/plain"]) <= 2_000
    assert data["text/plain"].count("\n") < 25


def test_a_bar_stores_nothing(executed):
    """Cursor codes least of all: the terminal of a cell is nobody's."""
    in_a_cell, on_a_terminal = executed["commands"]
    assert in_a_cell == ""
    assert "\x1b[" in on_a_terminal


@pytest.fixture
def shown(chromium, executed, tmp_path):
    """Opens a page with all outputs on the ground of a theme, in a system of the other one."""

    def open_page(theme):
        ground, ink = GROUNDS[theme]
        other = {"light": "dark", "dark": "light"}[theme]
        features = [{"name": "prefers-color-scheme", "value": other}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": 1100, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        outputs = "\n".join(stored(executed, name)["text/html"] for name in CELLS)
        path = tmp_path / f"{theme}.html"
        path.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{theme}</title>'
            f'<body data-jp-theme-light="{str(theme == "light").lower()}" '
            f'style="background: {ground}; color: {ink}"><main>{outputs}</main></body></html>',
            encoding="utf-8",
        )
        chromium.get_log("browser")
        chromium.get(path.as_uri())
        return chromium

    return open_page


@pytest.mark.parametrize("theme", GROUNDS)
def test_outputs_are_readable_on_the_ground_of_the_notebook(shown, axe, theme):
    browser = shown(theme)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 1100
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    heads = browser.execute_script(
        "return [...document.querySelectorAll('.head')].map(h => [h.className, h.textContent])"
    )
    assert ["head right", "✓right: right"] in heads
    assert any(name == "head wrong" and "<b>wrong: NOT right" in text for name, text in heads)
    assert browser.execute_script("return document.querySelectorAll('math').length") > 5
    browser.execute_script(axe)
    result = browser.execute_async_script(AXE)
    serious = [
        (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"])
        for v in result["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    # axe knows no mixed colours, and finds a contrast of NaN: they are computed here
    assert [finding for finding in serious if "NaN" not in finding[2]] == []
    for tone in ("right", "wrong"):
        (colour,) = browser.execute_script(
            "return [getComputedStyle(document.querySelector('.head.' + arguments[0])).color]", tone
        )
        assert contrast(rgb(colour), rgb(GROUNDS[theme][0])) >= 4.5
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.parametrize("theme", GROUNDS)
def test_the_frame_runs_and_follows_the_theme(shown, theme):
    browser = shown(theme)
    frame = browser.find_element("css selector", "iframe")
    browser.execute_script("arguments[0].scrollIntoView()", frame)
    browser.switch_to.frame(frame)
    try:
        assert browser.execute_script("return document.getElementById('count').textContent")
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(rgb(ground)) > 1.5) == (theme == "light")
        assert browser.execute_script("return window.origin") == "null"
    finally:
        browser.switch_to.default_content()


def rgb(text):
    """Red, green and blue from 0 to 1, as a stylesheet or the browser writes them."""
    if text.startswith("#"):
        return [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    numbers = [float(n) for n in re.findall(r"[\d.]+", text)[:3]]
    return numbers if text.startswith("color(") else [n / 255 for n in numbers]


def contrast(a, b):
    """Of two colours, as WCAG 2 defines it."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_markup_in_a_name_stays_text(executed):
    page = stored(executed, "wrong")["text/html"]
    assert "<b>" not in page
    assert html.escape("<b>wrong: NOT right") in page
