"""Pages to open, and a headless Chromium to open them in, driven without any network."""

import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from handgrad._precision import x64

USER = '''
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def loss(weights, inputs, target):
    """A small recurrent network: its last state against a target."""

    def step(state, x):
        return jnp.tanh(weights["again"] @ state + weights["in"] * x), None

    state, _ = lax.scan(step, jnp.zeros(3), inputs)
    return jnp.sum(jnp.square(state - target))


def gradient(weights, inputs, target):
    return jax.grad(loss)(weights, inputs, target)


def wrong(weights, inputs, target):
    return jax.tree.map(lambda g: 1.001 * g, jax.grad(loss)(weights, inputs, target))


rng = np.random.default_rng(0)
example = (
    {"again": rng.normal(size=(3, 3)), "in": rng.normal(size=3)},
    rng.normal(size=5),
    rng.normal(size=3),
)
'''


@pytest.fixture(scope="session")
def user(tmp_path_factory):
    """The module of a user's own file with a loss over scan, its example in float64."""
    path = tmp_path_factory.mktemp("user") / "recurrent.py"
    path.write_text(USER)
    spec = spec_from_file_location("recurrent", path)
    module = module_from_spec(spec)
    with x64():
        spec.loader.exec_module(module)
    return module


FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-default-apps", "--disable-extensions",
)  # fmt: skip


def found(*names):
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all tests; skipped where there is none."""
    binary, driver = found("chromium", "chromium-browser", "google-chrome"), found("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium here: install the packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(300)  # a busy machine
    browser.execute_cdp_cmd("Network.enable", {})
    yield browser
    browser.quit()


AXE = "axe.run({resultTypes: ['violations']}).then(arguments[arguments.length - 1])"
"""Every rule, with the nodes of violations only."""


@pytest.fixture(scope="session")
def axe():
    """The text of axe.min.js, from the package that carries it."""
    import axe_selenium_python

    folder = Path(axe_selenium_python.__file__).parent
    (script,) = folder.rglob("axe.min.js")
    return script.read_text()
