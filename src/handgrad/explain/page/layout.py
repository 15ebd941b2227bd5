"""A layered drawing of a graph: what is taken stands above what takes it, with few crossings.

Every edge runs down by one layer; a longer one passes through a point in each layer between. The
order within a layer is that of the neighbours' mean place (swept down and up a few times); the
places are those means, as far as the widths allow.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np

SWEEPS = 12


@dataclass(frozen=True)
class GraphLayout:
    """Where everything is: the centre of each node, and the points of each edge."""

    width: float
    height: float
    centres: dict[int, tuple[float, float]]
    edges: dict[tuple[int, int], list[tuple[float, float]]]


def lay_out(
    nodes: list[int], edges: Iterable[tuple[int, int]], node: tuple[float, float],
    gap: tuple[float, float] = (22.0, 40.0), thin: float = 26.0,
) -> GraphLayout:  # fmt: skip
    """Place nodes of one size; `nodes` come in an order in which every edge points forward.

    `thin` is the width that a passing edge takes.
    """
    links = sorted(set(edges))
    layer = _layers(nodes, links)
    chains, members, above, below = _with_points(nodes, links, layer)
    order = _ordered(members, above, below)
    widths = {m: node[0] if m >= 0 else thin for row in order for m in row}
    places = _placed(order, above, below, widths, gap[0])
    left = min((places[m] - widths[m] / 2 for m in places), default=0.0)
    right = max((places[m] + widths[m] / 2 for m in places), default=node[0])
    step = node[1] + gap[1]
    height = step * len(order) - gap[1]
    at = {
        m: (places[m] - left, step * depth + node[1] / 2)
        for depth, row in enumerate(order)
        for m in row
    }
    return GraphLayout(
        right - left, max(height, node[1]), {m: at[m] for m in nodes},
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


def _placed(order: list, above: dict, below: dict, widths: dict, gap: float) -> dict[int, float]:
    """Places along a layer: pulled to the neighbours' mean, pushed apart by the widths."""
    places: dict[int, float] = {}
    for row in order:
        places.update(zip(row, _apart(row, [0.0] * len(row), widths, gap), strict=True))
    for sweep in range(4 * SWEEPS):
        near = (above, below)[sweep % 2]
        for row in order if sweep % 2 == 0 else reversed(order):
            wish = [fmean(places[k] for k in near[m]) if near[m] else places[m] for m in row]
            places.update(zip(row, _apart(row, wish, widths, gap), strict=True))
    return places


def _apart(row: list[int], wish: list[float], widths: dict, gap: float) -> list[float]:
    """The nearest places to the wishes that keep the order and the distances (least squares)."""
    from scipy.optimize import isotonic_regression

    steps = [(widths[left] + widths[right]) / 2 + gap for left, right in pairwise(row)]
    offsets = np.cumsum([0.0, *steps])
    return (isotonic_regression(wish - offsets).x + offsets).tolist()
