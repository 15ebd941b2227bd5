"""What a value shows in a notebook, as pieces of HTML; text tables, and reprs for one screen.

Jupyter, marimo and VS Code put a value's `_repr_html_` into a page of their own, light or dark, and
which of them is seldom told by `prefers-color-scheme`: the theme is a setting of the notebook. So
nothing here has a colour of its own. Text and lines take the colour of the text around them, and
right, wrong and undecided are a word, a sign, and a tone that is mixed with that colour. A frame is
a page by itself, which follows the theme of the notebook where that is marked, else the system's.

All text is escaped, and no script runs outside a frame.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np

SIGNS = {"right": "✓", "wrong": "✗", "undecided": "?", "": ""}
"""The tones of a heading."""
LONGEST = 160
"""Characters of one field that a repr shows."""

STYLE = """
.handgrad { font: 13px/1.5 system-ui, sans-serif; margin: .5em 0; max-width: 74em; overflow-x: auto;
  overflow-wrap: anywhere; --line: color-mix(in srgb, currentColor 22%, transparent); }
div.handgrad > p { margin: .3em 0; }
div.handgrad > p.head { font-size: 14px; font-weight: 600; }
div.handgrad .right { color: color-mix(in srgb, currentColor 45%, #12a05c); }
div.handgrad .wrong { color: color-mix(in srgb, currentColor 40%, #e5383b); }
div.handgrad .undecided { color: color-mix(in srgb, currentColor 45%, #d9860a); }
div.handgrad .sign { display: inline-block; min-width: 1.3em; }
div.handgrad table { border-collapse: collapse; border: 0; margin: .5em 0; table-layout: auto;
  font-size: 13px; font-variant-numeric: tabular-nums; width: auto; }
div.handgrad tr:nth-child(n), div.handgrad tbody tr:nth-child(n) { background: none; }
div.handgrad td, div.handgrad th { border: 0; padding: 2px 12px 2px 0; text-align: right;
  vertical-align: baseline; font-weight: 400; white-space: nowrap; max-width: none; }
div.handgrad thead tr:last-child th { border-bottom: 1px solid var(--line); }
div.handgrad thead th { font-weight: 600; }
div.handgrad thead th[colspan] { text-align: center; }
div.handgrad tr > :first-child { text-align: left; }
div.handgrad table.facts td { text-align: left; white-space: normal; }
div.handgrad table.facts th { opacity: .72; min-width: 8.5em; }
div.handgrad table.facts td { font-family: ui-monospace, Menlo, Consolas, monospace; }
div.handgrad table.words td { font-family: inherit; }
div.handgrad .quiet { font-size: 12px; opacity: .72; }
div.handgrad details { margin: .4em 0; }
div.handgrad summary { cursor: pointer; }
div.handgrad math { font-size: 15px; font-family: "STIX Two Math", "Cambria Math",
  "Latin Modern Math", "Libertinus Math", "DejaVu Math TeX Gyre", math, serif; }
div.handgrad math[display=block] { text-align: left; margin: .25em 0; width: max-content; }
div.handgrad ol { margin: .3em 0; padding-left: 2em; }
div.handgrad ol li { margin: .5em 0; }
div.handgrad svg { display: block; max-width: 100%; height: auto; }
div.handgrad svg text { fill: currentColor; font: 11px system-ui, sans-serif; opacity: .8; }
div.handgrad svg .grid { stroke: currentColor; stroke-opacity: .16; }
div.handgrad svg polyline { fill: none; stroke: currentColor; stroke-width: 2; }
div.handgrad svg polyline.faint { stroke-width: 1; stroke-opacity: .45; }
div.handgrad svg circle { fill: currentColor; }
div.handgrad iframe { border: 1px solid var(--line); border-radius: 8px; display: block;
  height: 720px; resize: vertical; width: 100%; box-sizing: border-box;
  color-scheme: light dark; }
[data-jp-theme-light=true] div.handgrad iframe, body.vscode-light div.handgrad iframe,
  body.light div.handgrad iframe, html.light div.handgrad iframe { color-scheme: light; }
[data-jp-theme-light=false] div.handgrad iframe, body.vscode-dark div.handgrad iframe,
  body.dark div.handgrad iframe, html.dark div.handgrad iframe { color-scheme: dark; }
"""


def card(heading: str, *parts: str, tone: str = "") -> str:
    """What a value shows: a heading, right, wrong, undecided or plain (''), and parts in HTML."""
    sign = f'<span class="sign" aria-hidden="true">{SIGNS[tone]}</span>' if tone else ""
    head = f'<p class="head {tone}">{sign}{escape(heading)}</p>'
    # MathJax is to leave the text alone: a dollar in a name begins no formula.
    classes = "handgrad tex2jax_ignore mathjax_ignore"
    return f'<div class="{classes}"><style>{STYLE}</style>{head}{"".join(parts)}</div>'


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], groups: Sequence[tuple[int, str]] = ()
) -> str:
    """Rows of text under their heads, and over these the titles of groups of columns.

    >>> table(("dtype", "ulp"), [("float32", "<1")]).count("&lt;")
    1
    """
    over = "".join(f'<th colspan="{width}">{escape(title)}</th>' for width, title in groups)
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    above = f"<tr>{over}</tr>" if groups else ""
    return f"<table><thead>{above}<tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def facts(pairs: Iterable[tuple[str, str]], words: bool = False) -> str:
    """Labels with numbers, or with `words`; a label without either stands over those below it."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{_cell(text)}</tr>'
        if text
        else f'<tr><td colspan="2">{escape(label)}</td></tr>'
        for label, text in pairs
    )
    kind = "facts words" if words else "facts"
    return f'<table class="{kind}"><tbody>{rows}</tbody></table>' if rows else ""


def details(summary: str, inner: str) -> str:
    """HTML that opens when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def frame(page: str, title: str) -> str:
    """A whole page, with scripts of its own, that can reach nothing outside its frame."""
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(title)}" loading="lazy" '
        f'srcdoc="{escape(page)}"></iframe>'
    )


# --- a curve --------------------------------------------------------------------------------------

WIDTH, HEIGHT = 520, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 38
MOST_POINTS, MOST_DOTS = 80, 20
DECADE = 10.0
"""From this ratio of the largest to the smallest value on the scale is logarithmic."""


def curve(
    x: np.ndarray, y: np.ndarray, x_label: str, y_label: str, behind: tuple | None = None
) -> str:
    """A line through the finite points as SVG; `behind` it a faint one, (x, y) too."""
    (x, y), *faint = [_thinned(*line) for line in ((x, y), behind) if line is not None]
    if not len(x):
        return '<p class="quiet">no finite values to draw</p>'
    every_x = np.concatenate([x, *(line[0] for line in faint)])
    every_y = np.concatenate([y, *(line[1] for line in faint)])
    low, high = every_y.min(), every_y.max()
    is_log = low > 0 and high / low >= DECADE
    across = _scale(every_x, np.asarray, LEFT, WIDTH - RIGHT)
    up = _scale(every_y, np.log10 if is_log else np.asarray, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{h:.1f}" y2="{h:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{h + 4:.1f}" text-anchor="end">{tick:.5g}</text>'
        for tick in (_log_ticks if is_log else _ticks)(low, high)
        for h in [float(up(tick))]
    ]
    parts += [
        f'<text x="{float(across(tick)):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
        f"{tick:,g}</text>"
        for tick in _ticks(every_x.min(), every_x.max())
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f'{escape(x_label)}</text><text transform="translate(12 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for line, name in [*((line, "faint") for line in faint), ((x, y), "right")]:
        points = [f"{a:.1f},{b:.1f}" for a, b in zip(across(line[0]), up(line[1]), strict=True)]
        parts.append(f'<polyline class="{name}" points="{" ".join(points)}"/>')
    dots = zip(across(x), up(y), strict=True) if len(x) <= MOST_DOTS else ()
    parts += [f'<circle class="right" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in dots]
    label = f"{y_label}: {y[0]:.6g} at {x_label} {x[0]:g}, {y[-1]:.6g} at {x_label} {x[-1]:g}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The finite points; of many, the means of neighbours."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = np.isfinite(x) & np.isfinite(y)
    if kept.sum() <= MOST_POINTS:
        return x[kept], y[kept]
    means = [
        np.array([part.mean() for part in np.array_split(values[kept], MOST_POINTS)])
        for values in (x, y)
    ]
    return means[0], means[1]


def _scale(values: np.ndarray, scaled: Callable, start: float, end: float) -> Callable:
    """From numbers to places; a single number is in the middle."""
    low, high = float(scaled(values.min())), float(scaled(values.max()))
    if low == high:
        return lambda value: (start + end) / 2 + 0 * np.asarray(value)
    return lambda value: start + (scaled(value) - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, five or so."""
    if low == high:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    return [round(n * step, 12) for n in range(math.ceil(low / step), int(high // step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and 2 and 5 times these where there is room."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [m * 10.0**n for n in powers for m in factors if low <= m * 10.0**n <= high]
        if 2 <= len(found) <= 7:
            return found
    return found[:: math.ceil(len(found) / 7)]


# --- as text --------------------------------------------------------------------------------------


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def cut(value: object) -> str:
    """The repr of a field, cut at 160 characters.

    >>> len(cut("x" * 500))
    160
    """
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
