"""The graph as it is drawn: what stands on it, what is left out, where everything is, and the SVG.

A node is an argument, an equation that the gradient passes through, or a value beside that path
that such an equation takes. How that value was made (a one-hot mask, for example) is shown in the
steps and left out of the picture, where its steps light the value they end in.

What is taken stands above what takes it. Every edge runs down by one layer; a longer one passes
through a point in each layer between. The order within a layer is that of the neighbours' mean
place (swept down and up a few times); the places are those means, as far as the widths allow.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np

from handgrad.explain.summary import fitted
from handgrad.explain.tape import UNFOLDED, Folding, Tape, TapeEquation

# --- the layout -----------------------------------------------------------------------------------

SWEEPS = 12
GAP = (22.0, 40.0)
"""Between the boxes of a layer, and between layers."""
THIN = 26.0
"""The width that a passing edge takes."""


@dataclass(frozen=True)
class GraphLayout:
    """Where everything is: the centre of each node, and the points of each edge."""

    width: float
    height: float
    centres: dict[int, tuple[float, float]]
    edges: dict[tuple[int, int], list[tuple[float, float]]]


def lay_out(
    nodes: list[int], edges: Iterable[tuple[int, int]], size: tuple[float, float]
) -> GraphLayout:
    """Place nodes of one size; they come in an order in which every edge points forward."""
    links = sorted(set(edges))
    layer = _layers(nodes, links)
    chains, members, above, below = _with_points(nodes, links, layer)
    order = _ordered(members, above, below)
    width, height = size
    widths = {m: width if m >= 0 else THIN for row in order for m in row}
    places = _placed(order, above, below, widths)
    left = min((places[m] - widths[m] / 2 for m in places), default=0.0)
    right = max((places[m] + widths[m] / 2 for m in places), default=width)
    step = height + GAP[1]
    at = {
        m: (places[m] - left, step * depth + height / 2)
        for depth, row in enumerate(order)
        for m in row
    }
    return GraphLayout(
        right - left, max(step * len(order) - GAP[1], height), {m: at[m] for m in nodes},
        {edge: [at[m] for m in chain] for edge, chain in chains.items()},
    )  # fmt: skip


def _layers(nodes: list[int], links: list[tuple[int, int]]) -> dict[int, int]:
    """As deep as the longest way down to it; what takes nothing stands just above its user."""
    takes, gives = defaultdict(list), defaultdict(list)
    for a, b in links:
        takes[b].append(a)
        gives[a].append(b)
    layer: dict[int, int] = {}
    for n in nodes:
        layer[n] = max((layer[m] + 1 for m in takes[n]), default=0)
    for n in reversed(nodes):
        if not takes[n] and gives[n]:
            layer[n] = min(layer[m] for m in gives[n]) - 1
    lowest = min(layer.values(), default=0)
    return {n: depth - lowest for n, depth in layer.items()}


def _with_points(nodes: list[int], links: list[tuple[int, int]], layer: dict[int, int]) -> tuple:
    """Edges cut into steps of one layer; points that an edge passes have negative numbers."""
    members: list[list[int]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for n in nodes:
        members[layer[n]].append(n)
    above, below = defaultdict(list), defaultdict(list)
    chains, fresh = {}, -1
    for a, b in links:
        chain = [a]
        for depth in range(layer[a] + 1, layer[b]):
            members[depth].append(fresh)
            chain.append(fresh)
            fresh -= 1
        chain.append(b)
        chains[a, b] = chain
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    return chains, members, above, below


def _ordered(members: list[list[int]], above: dict, below: dict) -> list[list[int]]:
    """The order with the fewest crossings that the sweeps came upon."""
    orders = [members]
    for sweep in range(SWEEPS):
        order, down = [list(row) for row in orders[-1]], sweep % 2 == 0
        for depth in range(1, len(order)) if down else range(len(order) - 2, -1, -1):
            place = {m: i for i, m in enumerate(order[depth - 1 if down else depth + 1])}
            near = above if down else below
            wish = {
                m: fmean(place[k] for k in near[m]) if near[m] else i
                for i, m in enumerate(order[depth])
            }
            order[depth].sort(key=wish.__getitem__)
        orders.append(order)
    return min(orders, key=lambda order: _crossings(order, below))


def _crossings(order: list[list[int]], below: dict) -> int:
    count = 0
    for upper, lower in pairwise(order):
        place = {m: i for i, m in enumerate(lower)}
        edges = [(i, place[k]) for i, m in enumerate(upper) for k in below[m]]
        count += sum(a < c and b > d for (a, b), (c, d) in combinations(edges, 2))
    return count


def _placed(order: list, above: dict, below: dict, widths: dict) -> dict[int, float]:
    """Places along a layer: pulled to the neighbours' mean, pushed apart by the widths."""
    places: dict[int, float] = {}
    for row in order:
        places.update(zip(row, _apart(row, [0.0] * len(row), widths), strict=True))
    for sweep in range(4 * SWEEPS):
        near = (above, below)[sweep % 2]
        for row in order if sweep % 2 == 0 else reversed(order):
            wish = [fmean(places[k] for k in near[m]) if near[m] else places[m] for m in row]
            places.update(zip(row, _apart(row, wish, widths), strict=True))
    return places


def _apart(row: list[int], wish: list[float], widths: dict) -> list[float]:
    """The nearest places to the wishes that keep the order and the distances (least squares)."""
    from scipy.optimize import isotonic_regression

    steps = [(widths[left] + widths[right]) / 2 + GAP[0] for left, right in pairwise(row)]
    offsets = np.cumsum([0.0, *steps])
    found = np.array(wish) - offsets
    if (np.diff(found) < 0).any():  # else they are kept already
        found = isotonic_regression(found).x
    return (found + offsets).tolist()


# --- the graph and its drawing -------------------------------------------------------------------

WIDTH, HEIGHT, PAD = 176.0, 66.0, 14.0
LETTERS = 21
"""Of a node's first line: at 12 px about as many as its width takes."""
FAR = 9
"""Letters of a node's name where it is drawn large, to be read from afar."""


@dataclass(frozen=True)
class GraphNode:
    """A box: the value it shows, and the equation that made it."""

    value: int
    kind: str
    """`input`, `wanted`, `active` or `beside`."""
    name: str
    title: str
    """The whole formula; for an argument its name."""


@dataclass(frozen=True)
class Graph:
    """The nodes by value, and edges from value to value."""

    tape: Tape
    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[int, int], ...]
    stands_for: dict[int, int]
    """For each equation, the value of the node that its steps light."""
    ends: frozenset[int]
    """The loss; or what a body gives."""

    @cached_property
    def layout(self) -> GraphLayout:
        """Where everything is."""
        return lay_out([n.value for n in self.nodes], self.edges, (WIDTH, HEIGHT))


def draw(tape: Tape, folding: Folding = UNFOLDED) -> Graph:
    """What of a tape is drawn."""
    equations = [e for e in tape.equations if e.index not in folding.hidden]
    takes = {e.index: [folding.resolve(i) for i in e.inputs] for e in tape.equations}
    made = {index: e for e in tape.equations for index in e.outputs}
    ends = {folding.resolve(index) for index in tape.outputs}
    is_active = {e.index for e in equations if e.active or ends & set(e.outputs)}
    if not any(e.active for e in tape.equations):  # values only: what a branch or a loop computes
        is_active = {e.index for e in equations}
    shown: set[int] = set()
    for equation in equations:
        if equation.index in is_active:
            drawn = (*takes[equation.index], *equation.outputs)
            shown.update(i for i in drawn if i not in tape.fixed)
    shown.update(ends)
    shown.update(tape.wanted)
    reach: dict[int, frozenset[int]] = {}

    def behind(index: int) -> frozenset[int]:
        """The nodes that a hidden value was made from."""
        if index in shown:
            return frozenset([index])
        if index not in reach:
            sources = takes[made[index].index] if index in made else []
            reach[index] = frozenset().union(*(behind(i) for i in sources))
            if index in tape.inputs:
                shown.add(index)
                reach[index] = frozenset([index])
        return reach[index]

    edges = []
    for index in sorted(shown):
        for source in takes[made[index].index] if index in made else ():
            edges += [(node, index) for node in behind(source) if source not in tape.fixed]
    nodes = tuple(_node(tape, index, made.get(index), folding) for index in sorted(shown))
    lights: dict[int, int] = {}
    for equation in reversed(tape.equations):
        own = [i for i in map(folding.resolve, equation.outputs) if i in shown]
        users = [e for e in tape.equations if set(takes[e.index]) & set(equation.outputs)]
        beyond = [lights[e.index] for e in users if e.index in lights]
        lights[equation.index] = own[0] if own else (beyond[0] if beyond else min(ends))
    return Graph(tape, nodes, tuple(sorted(set(edges))), lights, frozenset(ends))


def _node(tape: Tape, index: int, made: TapeEquation | None, folding: Folding) -> GraphNode:
    value = tape.values[index]
    name = folding.names.get(index) or tape.name(index)
    if made is None:
        kind = "wanted" if index in tape.wanted else "input"
        return GraphNode(index, kind, name, name)
    kind = "active" if value.active else "beside"
    return GraphNode(index, kind, name, tape.formula(made, folding.names))


def as_svg(graph: Graph, view: str, hidden: bool = False) -> str:
    """The graph, every node with its value and its cotangent; `view` names it to the script."""
    layout, tape = graph.layout, graph.tape
    width, height = layout.width + 2 * PAD, layout.height + 2 * PAD
    parts = [
        f'<svg class="drawing{" folded" if hidden else ""}" data-view="{view}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="group" '
        'aria-label="The computation as a graph, arguments at the top, its end at the bottom">'
    ]
    active = {n.value for n in graph.nodes if n.kind in ("wanted", "active")}
    for (a, b), points in layout.edges.items():
        carries = a in active and tape.values[b].active
        parts.append(
            f'<path class="edge{" carries" if carries else ""}" data-from="{a}" data-to="{b}" '
            f'd="{_curve(points)}"/>'
        )
    parts += [_box(graph, node) for node in graph.nodes]
    return "\n".join([*parts, "</svg>"])


def _curve(points: list[tuple[float, float]]) -> str:
    """From the foot of one box to the head of another, through the points between."""
    moved = [(x + PAD, y + PAD) for x, y in points]
    (x, y), last = moved[0], len(moved) - 1
    half = HEIGHT / 2
    path = [f"M{x:.1f} {y + half:.1f}"]
    at = y + half
    for i, (u, v) in enumerate(moved[1:], 1):
        head, foot = v - half, v + half
        bend = (head - at) / 2
        path.append(f"C{x:.1f} {at + bend:.1f} {u:.1f} {head - bend:.1f} {u:.1f} {head:.1f}")
        if i < last:
            path.append(f"V{foot:.1f}")
        x, at = u, foot
    return "".join(path)


def _box(graph: Graph, node: GraphNode) -> str:
    value = graph.tape.values[node.value]
    x, y = graph.layout.centres[node.value]
    left, top = x - WIDTH / 2 + PAD, y - HEIGHT / 2 + PAD
    text = fitted(value.array)
    sent = "" if value.cotangent is None else fitted(value.cotangent)
    title, formula = _short(node.title, node.name)
    sign = '<tspan class="sign">∂ </tspan>' if sent else ""
    kind = node.kind + (" loss" if node.value in graph.ends else "")
    return (
        f'<g class="node {kind}" data-value="{node.value}" data-formula="{escape(node.title)}" '
        f'role="button" tabindex="-1" aria-label="{escape(node.title)}; value {escape(text)}" '
        f'transform="translate({left:.1f} {top:.1f})">'
        f'<rect width="{WIDTH:.0f}" height="{HEIGHT:.0f}" rx="9"/>'
        f'<text class="name" x="12" y="20"><tspan class="var">{escape(title)}</tspan>'
        f'<tspan class="rest">{escape(formula)}</tspan></text>'
        f'<text class="value" x="12" y="39">{escape(text)}</text>'
        f'<text class="cotangent" x="12" y="56">{sign}<tspan class="sent">{escape(sent)}</tspan>'
        f'</text><text class="lost" x="{WIDTH - 10:.0f}" y="-5" text-anchor="end"></text>'
        f'<text class="far" x="{WIDTH / 2:.0f}" y="44" text-anchor="middle">'
        f"{escape(_shortest(node.name))}</text></g>"
    )


def _shortest(name: str) -> str:
    """A name as it is written when the whole graph is looked at from afar."""
    last = name.rpartition(".")[2]
    return last if len(last) <= FAR else last[: FAR - 1] + "…"


def _short(title: str, name: str) -> tuple[str, str]:
    """The name, and as much of what it is as fits; other outputs of its equation are not said."""
    rest = "".join(title.partition(" = ")[1:])
    if len(name) > LETTERS:
        return name[: LETTERS - 1] + "…", ""
    if len(name) + len(rest) > LETTERS:
        rest = rest[: max(0, LETTERS - 1 - len(name))].rstrip() + "…"
    return name, rest
