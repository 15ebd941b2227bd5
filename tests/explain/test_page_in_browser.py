"""The page as a person has it: in a browser, by keys and slider, wide, narrow, light, dark."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import handgrad as hg
from handgrad._precision import x64
from handgrad.catalogue import case
from handgrad.explain import as_html, explain_case, find_case
from handgrad.gradients import cross_entropy, logistic
from tests.explain.conftest import AXE

PAGES = (
    "logistic",
    "softmax_regression",
    "mlp",
    "linear_cross_entropy",
    "second_derivative",
    "with_scan",
)
FAST = ("logistic", "with_scan")
"""One with a derivation, one with a loop; the rest are proofs."""
EACH = [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in PAGES]
LOOKS = [
    ("desktop", "light"), ("phone", "dark"),
    pytest.param("desktop", "dark", marks=pytest.mark.slow),
    pytest.param("phone", "light", marks=pytest.mark.slow),
]  # fmt: skip
HEIGHTS = "return [...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
LIT = ".drawing:not(.folded) .node.now"
SHOWN_STEP = (
    "[document.getElementById('step-kicker').innerText,"
    "document.getElementById('step-title').innerText,"
    f"[...document.querySelectorAll('{LIT} .var')].map(n => n.textContent),"
    "[...document.querySelectorAll('.lines li.lit')].map(n => Number(n.dataset.line))]"
)
FACTS = (
    "[...document.querySelectorAll('#step-body .fact')].filter(f => f.querySelector('pre'))"
    ".map(f => [[...f.querySelector('.label').childNodes].filter(n => n.className !== 'quiet')"
    ".map(n => n.textContent).join('').trim(), f.querySelector('pre').textContent])"
)
SLIDE = (
    "const s = document.getElementById('slider'); s.value = i;"
    "s.dispatchEvent(new Event('input', {bubbles: true}))"
)
LEFT = (
    "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
)
SIZES = {"desktop": (1280, 800), "phone": (390, 844), "narrow": (360, 640)}


@pytest.fixture(scope="session")
def pages(tmp_path_factory, user):
    """name -> (path of the page, jax.grad's gradient), each made once."""
    folder = tmp_path_factory.mktemp("pages")

    @functools.cache
    def made(name):
        with x64():
            if name == "with_scan":
                found = hg.explain(user.loss, at=user.example, gradient=user.gradient)
                expected = jax.grad(user.loss)(*user.example)
            elif name == "second_derivative":
                z = jnp.array([0.5, -2.0])
                found = hg.explain(softplus, at=(z,), order=2)
                expected = lax.logistic(z) * lax.logistic(-z)
            else:
                found, entry = explain_case(name), find_case(name)
                expected = jax.grad(entry.loss, entry.argnums)(*entry.example(jax.random.key(0)))
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(expected)]
        path = folder / f"{name}.html"
        path.write_text(as_html(found), encoding="utf-8")
        return path, leaves

    return made


def softplus(z):
    return jnp.sum(jnp.logaddexp(0.0, z))


class Page:
    """An open page, and what can be done with it."""

    def __init__(self, browser, path, size="desktop", scheme="light"):
        self.browser = browser
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", metrics | {"mobile": size != "desktop"}
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri())

    def run(self, script, *args):
        return self.browser.execute_script(script, *args)

    def text(self, identifier):
        return self.run("return document.getElementById(arguments[0]).innerText", identifier)

    def key(self, name):
        """A key, pressed by a person: the browser decides what has the focus."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}
        event = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        for kind in ("rawKeyDown", "keyUp"):
            self.browser.execute_cdp_cmd("Input.dispatchKeyEvent", event | {"type": kind})

    def shown(self):
        """(kicker, title, names of the lit nodes, lit lines) of the step that is shown."""
        return tuple(self.run(f"return {SHOWN_STEP}"))

    def each(self, expression, move=SLIDE, steps=None):
        """What an expression of the script is at every step, moving from one to the next by `move`.

        `move` is a statement about the number `i` of the step, done before each.
        """
        steps = range(self.last + 1) if steps is None else steps
        script = f"return arguments[0].map(i => {{ {move}; return {expression}; }})"
        return self.run(script, [*steps])

    @property
    def step(self):
        return int(self.text("count").split("/")[0])

    @property
    def last(self):
        return int(self.text("count").split("/")[1])

    def slide(self, number):
        """The slider, set as dragging sets it."""
        self.run(f"const i = arguments[0]; {SLIDE}", number)

    def facts(self):
        """label -> block of numbers, of the step that is shown."""
        return dict(self.run(f"return {FACTS}"))

    def requests(self):
        """Every address that the page asked for."""
        events = [json.loads(e["message"])["message"] for e in self.browser.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [e["request"]["url"] for e in sent]

    def complaints(self):
        return [e["message"] for e in self.browser.get_log("browser")]


def number(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def read(block, shape):
    """{index: number} for the entries that a block shows of an array of this shape."""
    rows, found = [re.findall(r"[^\s\[\]]+", line) for line in block.splitlines()], {}
    if len(shape) < 2:
        rows = [[cell for row in rows for cell in row]]
    matrix = (int(np.prod(shape[:-1], dtype=int)), shape[-1]) if shape else (1, 1)
    for line, row in enumerate(rows):
        if "⋮" in row:
            continue
        at = matrix[0] - 1 if line == len(rows) - 1 else line
        for place, cell in enumerate(row):
            if cell != "…":
                column = matrix[1] - 1 if "…" in row and place == len(row) - 1 else place
                found[at, column] = number(cell)
    return found


def agree(block, expected, digits):
    """The numbers shown are those expected, to the digits that are shown; how many they are."""
    shown = read(block, expected.shape)
    flat = expected.reshape(-1, expected.shape[-1]) if expected.ndim else expected.reshape(1, 1)
    for index, value in shown.items():
        assert value == pytest.approx(flat[index], rel=10.0 ** (1 - digits), abs=1e-300), index
    assert len(shown) >= min(expected.size, 4)
    return len(shown)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("size", ["desktop", pytest.param("phone", marks=pytest.mark.slow)])
def test_both_passes_by_keys_and_the_gradient_they_end_in(chromium, pages, name, size):
    path, expected = pages(name)
    page = Page(chromium, path, size)
    assert page.step == 0
    data = json.loads(page.run("return document.getElementById('data').textContent"))
    shown = {i for i, equation in enumerate(data["equations"]) if not equation["folded"]}
    kickers = []
    for number_of_step in range(1, page.last + 1):
        page.key("ArrowRight")
        assert page.step == number_of_step
        kicker, _, nodes, _ = page.shown()
        kickers.append(kicker.lower())
        assert nodes
    assert sum(k.startswith("forward") for k in kickers) == len(shown)
    assert sum(k.startswith("backward") for k in kickers) == len(shown & {*data["backward"]})
    shown = page.facts()
    assert len(shown) == len(expected)
    for block, leaf in zip(shown.values(), expected, strict=True):
        agree(block, leaf, 5)
    blocks = page.run(
        "return [...document.querySelectorAll('pre[data-who=tape]')].map(p => p.textContent)"
    )
    for block, leaf in zip(blocks, expected, strict=True):
        agree(block, leaf, 9)
    page.key("Home")
    assert page.step == 0
    page.key("End")
    assert page.step == page.last
    page.key("ArrowLeft")
    assert page.step == page.last - 1
    assert page.complaints() == []


@pytest.mark.parametrize("name", EACH)
def test_the_slider_and_the_way_back_show_the_same_steps(chromium, pages, name):
    page = Page(chromium, pages(name)[0])
    shown = page.each(SHOWN_STEP)
    assert page.each(SHOWN_STEP, LEFT, range(page.last)) == shown[-2::-1]
    assert page.step == 0
    assert len({title for _, title, *_ in shown}) > len(shown) // 3


def test_the_cotangent_of_the_logits_is_the_residual(chromium, pages):
    """What the page shows half way back is −(y − ŷ)/N, which jax.grad by the logits gives too."""
    with x64():
        params, x, y = case("logistic").example(jax.random.key(0))
        z = logistic.logits(params, x)
        expected = np.asarray(jax.grad(lambda z: jnp.mean(cross_entropy.binary(z, y)))(z))
        by_hand = np.asarray(cross_entropy.binary_residual(z, y) / len(y))
    page = Page(chromium, pages("logistic")[0])
    np.testing.assert_allclose(by_hand, expected, rtol=1e-12)
    seen = [
        (dict(facts)["altogether ∂ loss/∂logits"], lines)
        for facts, (*_, lines) in page.each(f"[{FACTS}, {SHOWN_STEP}]")
        if "altogether ∂ loss/∂logits" in dict(facts)
    ]
    block, lines = seen[-1]
    assert agree(block, expected, 5) == 12
    assert lines, "the derivation computes the residual too"


@pytest.mark.parametrize("name", EACH[:-2])
def test_the_last_line_of_the_derivation_is_lit_at_the_gradient(chromium, pages, name):
    page = Page(chromium, pages(name)[0])
    lines = page.run("return document.querySelectorAll('.lines li').length")
    page.key("End")
    assert page.shown()[3] == [lines - 1]
    lit = {line for *_, lines_of_step in page.each(SHOWN_STEP) for line in lines_of_step}
    assert len(lit) >= 3
    heights = page.run(HEIGHTS)
    assert len(heights) == lines + 1
    assert min(heights) > 10


def test_a_line_leads_to_its_place_in_the_graph(chromium, pages):
    page = Page(chromium, pages("logistic")[0])
    page.run("document.querySelectorAll('.lines li.met button')[1].click()")
    assert page.step > 0
    assert page.run("return document.querySelectorAll('.node.pointed').length") > 0


def test_a_node_leads_to_its_step_by_keyboard(chromium, pages):
    page = Page(chromium, pages("logistic")[0])
    page.slide(3)
    focused = "return document.activeElement.classList.contains('node')"
    for _ in range(24):  # past the controls
        page.key("Tab")
        if page.run(focused):
            break
    assert page.run(focused)
    page.key("ArrowRight")
    assert page.step == 4
    page.run("document.querySelector('.node.loss').focus()")
    page.key("Enter")
    assert page.run("return document.querySelector('.node.loss').getAttribute('aria-current')")


@pytest.mark.parametrize("name", EACH)
def test_nothing_leaves_the_page_and_it_opens_at_once(chromium, pages, name):
    path, _ = pages(name)
    assert path.stat().st_size < 2_000_000
    times = []
    for _ in range(3):
        page = Page(chromium, path)
        times.append(page.run("return performance.getEntriesByType('navigation')[0].loadEventEnd"))
        page.slide(page.last)
        asked = [url for url in page.requests() if not url.startswith("data:")]
        assert asked == [path.as_uri()]
    assert min(times) < 1_000, times


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_no_serious_finding_of_axe(chromium, pages, axe, name, size, scheme):
    page = Page(chromium, pages(name)[0], size, scheme)
    page.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    page.run(axe)
    for step in (page.last // 3, page.last - 2) if name == "logistic" else (page.last - 2,):
        page.slide(step)
        result = chromium.execute_async_script(AXE)
        assert len(result["passes"]) > 10
        serious = [
            (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"])
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_axe_would_find_a_fault(chromium, pages, axe):
    page = Page(chromium, pages("logistic")[0])
    page.run("document.documentElement.style.setProperty('--quiet', '#cccccc')")
    page.run("document.getElementById('slider').removeAttribute('aria-label')")
    page.run(axe)
    result = chromium.execute_async_script(AXE)
    assert {"color-contrast", "label"} <= {v["id"] for v in result["violations"]}


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_as_wide_as_the_screen(chromium, pages, name, size):
    page = Page(chromium, pages(name)[0], size)
    for step in (0, page.last // 2, page.last):
        page.slide(step)
        wide = page.run("return document.documentElement.scrollWidth")
        assert wide <= SIZES[size][0]
        box = page.run(
            f"const n = document.querySelector('{LIT}').getBoundingClientRect();"
            "const v = document.getElementById('viewport').getBoundingClientRect();"
            "return [n.left - v.left, v.right - n.right, n.top - v.top, v.bottom - n.bottom]"
        )
        assert min(box) > -1, "the current node is in view"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_button(chromium, pages, scheme):
    page = Page(chromium, pages("logistic")[0], scheme=scheme)

    def brightness():
        rgb = page.run("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", rgb)[:3])) / 3

    other = {"light": "dark", "dark": "light"}[scheme]
    for expected in (scheme, other, scheme):
        assert (brightness() > 128) == (expected == "light")
        pressed = page.run("return document.getElementById('theme').getAttribute('aria-pressed')")
        assert pressed == str(expected == "dark").lower()
        page.run("document.getElementById('theme').click()")


def test_what_is_spoken_at_a_step(chromium, pages):
    page = Page(chromium, pages("logistic")[0])
    page.key("ArrowRight")
    live = page.run("return document.querySelector('[aria-live]').textContent")
    assert live.startswith("Forward, equation 1 of 14. product = x · params.weight.")
    assert "product is" in live
    assert "Forward" in page.run("return document.getElementById('slider').ariaValueText")


# --- loops, other numbers, bits lost, zoom, play, a phone -----------------------------------------

SHOWN = "document.querySelector('.drawing:not(.folded)')"


def states(user, weights):
    """The states of the recurrent network, one after the other."""
    _, inputs, _ = user.example
    found = [np.zeros(3)]
    for x in inputs:
        found.append(np.tanh(weights["again"] @ found[-1] + weights["in"] * x))
    return found


def test_a_loop_is_stepped_through_and_numbers_are_changed(chromium, pages, user):
    page = Page(chromium, pages("with_scan")[0])
    page.key("ArrowRight")
    assert page.shown()[1].startswith("state = scan of 5")
    page.run("document.querySelector('.opener').click()")
    assert page.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.last == 10 + 5 * (1 + 4) + 5 * (1 + 4)
    weights, inputs, target = user.example
    reached = []
    for _ in range(5 * 5):
        page.key("ArrowRight")
        kicker, title, nodes, _ = page.shown()
        reached.append(kicker.lower())
        if title.startswith("v₄ = tanh"):
            number_of_run = len(set(reached)) - 1
            agree(page.facts()["v₄ is"], states(user, weights)[number_of_run + 1], 5)
            assert nodes == ["v₄"]
    assert [*dict.fromkeys(reached)] == [f"forward, iteration {i} of 5" for i in range(1, 6)]
    assert page.text("graph-title") == "Iteration 5 of 5"
    page.run("document.getElementById('earlier').click()")  # the same step, one iteration before
    assert page.shown()[0].lower() == "forward, iteration 4 of 5"
    agree(page.facts()["v₄ is"], states(user, weights)[4], 5)
    page.slide(page.last - 2)  # the way back, into the first iteration
    kicker, title, *_ = page.shown()
    assert kicker.lower() == "backward, iteration 1 of 5"
    page.run("document.getElementById('leave').click()")
    assert page.last == 10
    assert page.shown()[0].startswith(("Backward", "BACKWARD"))
    # other numbers: both passes in the page are those of JAX
    page.key("Home")
    changed = {"again": weights["again"].copy(), "in": weights["in"].copy()}
    changed["again"][0, 0], changed["in"][2] = 0.75, -1.5
    page.run(
        "document.querySelectorAll('details.edit').forEach(d => { d.open = true });"
        "const f = document.querySelectorAll('.numbers input');"
        "for (const [i, x] of [[0, '0.75'], [11, '−1.5'], [1, 'x']]) {"
        "f[i].value = x; f[i].dispatchEvent(new Event('input')); if (x === 'x') continue; }"
    )
    assert page.run("return document.querySelectorAll('[aria-invalid=true]').length") == 1
    with x64():
        loss, gradient = jax.value_and_grad(user.loss)(changed, inputs, target)
    assert page.text("edited-text").startswith(f"2 numbers changed: loss 3.0058 → {loss:.5g}.")
    page.slide(page.last)
    for block, leaf in zip(page.facts().values(), jax.tree.leaves(gradient), strict=True):
        agree(block, np.asarray(leaf), 5)
    page.slide(1)
    page.run("document.querySelector('.opener').click()")
    page.slide(6)
    agree(page.facts()["v₄ is"], states(user, changed)[1], 5)
    page.run("document.getElementById('reset').click()")
    agree(page.facts()["v₄ is"], states(user, weights)[1], 5)
    assert page.run("return document.getElementById('edited').hidden")
    assert page.complaints() == []


def test_iterations_that_take_other_branches_are_drawn_by_themselves(chromium, tmp_path):
    def loss(w):
        def body(h, x):
            return lax.cond(x > 0, lambda v: jnp.sin(v), lambda v: v * v + 1, h), None

        return lax.scan(body, w, jnp.array([1.0, -1.0, 2.0]))[0]

    path = tmp_path / "branches.html"
    path.write_text(as_html(hg.explain(loss, at=(0.5,))), encoding="utf-8")
    page = Page(chromium, path)
    closed = "document.querySelector('.opener[aria-expanded=false]')"
    for _ in range(2):  # the loop, and in its first iteration the branch
        page.slide(page.each(f"Boolean({closed})").index(True))
        page.run(f"{closed}.click()")
    told = page.each(f"[{SHOWN_STEP}[0].toLowerCase(), {SHOWN}.querySelectorAll('.node').length]")
    assert {where: nodes for where, nodes in told if "branch" in where} == {
        f"{way}, iteration {i} of 3, branch {branch} of 2": 2 + (branch == 0)
        for way in ("forward", "backward")
        for i, branch in ((1, 1), (2, 0), (3, 1))
    }
    assert page.complaints() == []


def test_folding_bits_lost_and_play(chromium, pages, tmp_path):
    """At 17 the sigmoid is right to its last bit, and 1 − σ(17) has no bit that is."""

    def loss(z, w):
        p = jax.nn.sigmoid(z)
        rest = 1.0 - p
        return jnp.sum(jnp.where(p > 0.4, rest, 7.0) * w) + 0.0

    with x64():
        found = hg.explain(loss, at=(jnp.array([17.0, 0.5]), jnp.array([1.0, 2.0])))
    path = tmp_path / "sigmoid.html"
    path.write_text(as_html(found), encoding="utf-8")
    page = Page(chromium, path)
    names = f"return [...{SHOWN}.querySelectorAll('.var')].map(n => n.textContent)"
    titles = f"return [...{SHOWN}.querySelectorAll('.node')].map(n => n.dataset.formula)"
    assert page.run(names) == ["z", "w", "p", "rest", "v₅", "loss"]
    assert "v₅ = rest × w" in page.run(titles)
    folded = page.last
    page.run("document.getElementById('unfold').click()")
    assert page.last == folded + 7  # the guard and its question, the sum with 0: forward and back
    assert "v₄" in page.run(names)
    page.run("document.getElementById('unfold').click()")
    page.slide(2)
    page.run("document.getElementById('lost').click()")
    lost = dict(
        page.run(
            f"return [...{SHOWN}.querySelectorAll('.node')]"
            ".map(n => [n.querySelector('.var').textContent, n.querySelector('.lost').textContent])"
        )
    )
    assert lost["p"] == "exact"
    assert lost["rest"] == "−24 bits"
    colours = [
        page.run(
            f"const n = [...{SHOWN}.querySelectorAll('.node')][arguments[0]];"
            "return getComputedStyle(n.querySelector('rect')).fill",
            i,
        )
        for i in (2, 3)
    ]
    assert colours[0] != colours[1]
    page.key("Home")
    page.run("document.getElementById('speed').value = '4'")
    page.run("document.getElementById('play').click()")
    assert page.run("return document.getElementById('play').ariaLabel") == "Pause"
    chromium.execute_async_script(
        "const done = arguments[0], timer = setInterval(() => {"
        "if (document.getElementById('slider').value >= 1) { clearInterval(timer); done(); } }, 20)"
    )
    assert page.step >= 1
    page.key("ArrowLeft")  # a step by hand ends it
    assert page.run("return document.getElementById('play').ariaLabel") == "Play"
    page.key("Home")  # a number at which the guard acts unfolds it
    page.run(
        "document.querySelector('details.edit').open = true;"
        "const f = document.querySelector('.numbers input');"
        "f.value = '-2'; f.dispatchEvent(new Event('input'))"
    )
    assert "a guard acts at these numbers" in page.text("edited-text")
    assert "v₄" in page.run(names)


def test_the_graph_fits_zooms_and_pans(chromium, pages):
    page = Page(chromium, pages("logistic")[0])
    outside = (
        "const v = document.getElementById('viewport').getBoundingClientRect();"
        f"return [...{SHOWN}.querySelectorAll('.node')].filter(n => {{"
        "const b = n.getBoundingClientRect();"
        "return b.left < v.left || b.right > v.right || b.top < v.top || b.bottom > v.bottom"
        "}).length"
    )
    assert page.run(outside) == 0
    assert page.run(f"return {SHOWN}.classList.contains('afar')")
    for _ in range(4):
        page.run("document.getElementById('closer').click()")
    assert page.run(outside) > 0
    assert not page.run(f"return {SHOWN}.classList.contains('afar')")
    where = f"return {SHOWN}.getAttribute('viewBox').split(' ').map(Number)"
    before = page.run(where)
    box = page.run("return document.getElementById('viewport').getBoundingClientRect().toJSON()")
    x, y = int(box["left"] + box["width"] / 2), int(box["top"] + 60)
    for kind, dx in (("mousePressed", 0), ("mouseMoved", 40), ("mouseReleased", 40)):
        event = {"type": kind, "x": x + dx, "y": y, "button": "left", "buttons": 1}
        chromium.execute_cdp_cmd("Input.dispatchMouseEvent", event | {"clickCount": 1})
    after = page.run(where)
    assert after[0] < before[0]
    assert after[1:] == pytest.approx(before[1:])
    inside = (
        f"[document.querySelector('{LIT}'), document.getElementById('viewport')]"
        ".map(e => e.getBoundingClientRect()).reduce((n, v) =>"
        " n.left > v.left && n.right < v.right && n.top > v.top && n.bottom < v.bottom)"
    )
    assert all(page.each(inside))  # nearer, the view goes where the steps go
    page.run("document.getElementById('fit').click()")
    assert page.run(outside) == 0
    caption = page.run(
        f"const n = {SHOWN}.querySelector('.node.active'); n.focus();"
        "return [n.dataset.formula, document.getElementById('caption').textContent]"
    )
    assert caption[1].startswith(caption[0])
    assert "value" in caption[1]


def test_on_a_phone_the_step_stays_in_view(chromium, pages):
    page = Page(chromium, pages("logistic")[0], "phone")
    seen = (
        "['step-title', 'viewport'].map(id => document.getElementById(id).getBoundingClientRect())"
        ".map(b => b.top > 0"
        " && b.bottom < document.getElementById('controls').getBoundingClientRect().top)"
    )
    page.run("scrollTo(0, document.body.scrollHeight)")
    forth = "document.getElementById('forth').click()"
    assert page.each(seen, forth, range(page.last)) == [[True, True]] * page.last


# --- what comes from a user's file ----------------------------------------------------------------

MARKUP = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>'


def test_markup_in_names_stays_text(chromium, tmp_path):
    def loss(w):
        return jnp.sum(named(w) * 2)

    @jax.jit
    def named(w):
        return jnp.exp(w) * w

    for function in (loss, named.__wrapped__):
        function.__name__ = function.__qualname__ = MARKUP
    called = jax.jit(named.__wrapped__)
    called.__name__ = MARKUP

    def outer(weights):
        return jnp.sum(called(weights[MARKUP]))

    outer.__name__ = MARKUP
    found = hg.explain(outer, at=({MARKUP: jnp.arange(3.0)},))
    assert found.name == MARKUP
    path = tmp_path / "markup.html"
    path.write_text(as_html(found), encoding="utf-8")
    page = Page(chromium, path)
    assert page.text("count").startswith("0 /")
    for _ in range(page.last):
        page.key("ArrowRight")
    assert page.run("return window.broken") is None
    assert page.run("return document.images.length") == 0
    assert page.run("return document.scripts.length") == 2
    assert MARKUP in page.run("return document.querySelector('h1').textContent")
    assert page.complaints() == []


def test_a_script_that_got_in_would_not_run(chromium, pages, tmp_path):
    """The second lock: the page's policy, if escaping had a hole."""
    path = tmp_path / "hole.html"
    text = pages("logistic")[0].read_text(encoding="utf-8")
    path.write_text(text.replace("<main", f"{MARKUP}<main"), encoding="utf-8")
    page = Page(chromium, path)
    assert page.run("return document.images.length") == 1
    assert page.run("return window.broken") is None
    assert any("Content Security Policy" in said for said in page.complaints())
