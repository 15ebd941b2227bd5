"""The page of the atlas as a person has it: sorted, filtered, opened, wide and narrow, dark."""

import pytest

from explain.conftest import axe, chromium  # noqa: F401
from handgrad.accuracy.atlas import Atlas, AtlasRow, LeftOut, Profile, Refusal, profile_edges
from handgrad.accuracy.page import as_html


def row(name, order=1, dtype="float16", form="default", ulps=2.0, zero=0):
    return AtlasRow(name, order, dtype, form, ulps, "0x1p+3", 0, 0, 0, zero, 0.1, 0.05, 9, 99, 1.0)


def profile(name, order, form, letter, failing=""):
    errors = letter * (len(profile_edges("float16")) - 1)
    return Profile(name, order, "float16", form, errors, failing)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Three functions, one of them of two arguments, one with two forms."""
    found = Atlas(
        facts={"machine": {"device": "a device", "versions": {"jax": "0.0"}}},
        rows=[
            row("jnp.tanh", ulps=2045.4, zero=532), row("jnp.tanh", form="handgrad"),
            row("jnp.tanh", 0, ulps=0.5), row("jnp.tanh", dtype="bfloat16", ulps=255.8),
            row("jnp.tanh", 2, ulps=9.0), row("jnp.hypot, x", ulps=7.0), row("jnp.abs", ulps=0.0),
        ],
        refused=[Refusal("jax.<b>", "float16", "", "it is <bold>")],
        left_out=[LeftOut("jnp.abs", "float16", 2, 0)],
        profiles=[
            profile("jnp.tanh", 1, "default", "9", "...zz..n"),
            profile("jnp.tanh", 1, "handgrad", "'"), profile("jnp.abs", 1, "default", "#"),
        ],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "atlas.html"
    path.write_text(as_html(found), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def browser(chromium, page):  # noqa: F811
    def at(width):
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        chromium.get(page)
        return chromium

    return at


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return browser.execute_script(script, selector)


def click(browser, selector, number=0):
    script = "document.querySelectorAll(arguments[0])[arguments[1]].click()"
    browser.execute_script(script, selector, number)


def test_the_table_sorts_filters_and_changes(browser):
    driver = browser(1400)
    assert texts(driver, ".name") == ["jnp.tanh", "jnp.hypot, x", "jnp.abs"]
    assert "3 first derivatives in float16; 1 fail somewhere" in texts(driver, "#count")[0]
    click(driver, "#heads button")
    assert texts(driver, ".name") == ["jnp.abs", "jnp.hypot, x", "jnp.tanh"]
    click(driver, "#heads button")
    assert texts(driver, ".name")[0] == "jnp.tanh"
    assert driver.execute_script("return document.activeElement.textContent") == "function"
    click(driver, "#dtype input", 0)
    assert texts(driver, ".name") == ["jnp.tanh"]
    assert "256" in texts(driver, "tr.row td")[0]
    click(driver, "#dtype input", 1)
    driver.execute_script(
        "const f = document.getElementById('filter'); f.value = 'ABS';"
        "f.dispatchEvent(new Event('input'))"
    )
    assert texts(driver, ".name") == ["jnp.abs"]
    assert "it is <bold>" in texts(driver, "#refused li")[0]
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_function_opens_to_a_picture_of_all_its_forms(browser):
    driver = browser(1400)
    click(driver, ".name")
    assert texts(driver, ".legend span") == ["jax.grad", "handgrad"]
    paths = "return document.querySelectorAll('svg.picture path.error').length"
    assert driver.execute_script(paths) == 2
    marks = "return document.querySelectorAll('svg.picture rect.fail.default').length"
    assert driver.execute_script(marks) == 3
    driver.execute_script(
        "const s = document.querySelector('svg.picture'), b = s.getBoundingClientRect();"
        "s.dispatchEvent(new PointerEvent('pointermove',"
        " {clientX: b.left + b.width * (56 + 3.5 / 198 * 932) / 1000, clientY: b.top + 9}))"
    )
    assert "0 for a normal number" in texts(driver, ".reading")[0]
    assert len(texts(driver, ".forms tbody tr")) == 4
    click(driver, ".name", 1)
    assert "a function of two arguments" in texts(driver, ".detail")[1]
    click(driver, ".name", 2)
    assert "2 kinks or jumps" in texts(driver, ".detail")[2]
    click(driver, ".name")
    assert len(texts(driver, ".detail")) == 2


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_window_and_nobody_is_shut_out(browser, axe, width):  # noqa: F811
    driver = browser(width)
    click(driver, ".name")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    for dark in (False, True):
        if dark:
            click(driver, "#theme")
        driver.execute_script(axe)
        found = driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((r) => done(r.violations"
            ".map((v) => v.id + ': ' + v.nodes.map((n) => n.html.slice(0, 120)).join(' | '))))"
        )
        assert found == [], found
