"""A layered drawing of a graph: what is taken stands above what takes it, with few crossings.

Every edge runs down by one layer; a longer one passes through a point in each layer between. The
order within a layer is that of the neighbours' mean place (swept down and up a few times); the
places are those means, as far as the widths allow.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

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
    order = [list(row) for row in members]
    best, fewest = [list(row) for row in order], _crossings(order, below)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        rows = range(1, len(order)) if down else range(len(order) - 2, -1, -1)
        for depth in rows:
            beside = order[depth - 1 if down else depth + 1]
            place = {m: i for i, m in enumerate(beside)}
            near = above if down else below
            now = {m: i for i, m in enumerate(order[depth])}

            def mean(m: int, near: dict = near, place: dict = place, now: dict = now) -> float:
                found = [place[k] for k in near[m] if k in place]
                return sum(found) / len(found) if found else float(now[m])

            order[depth].sort(key=mean)
        crossings = _crossings(order, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in order], crossings
    return best


def _crossings(order: list[list[int]], below: dict) -> int:
    count = 0
    for upper, lower in pairwise(order):
        place = {m: i for i, m in enumerate(lower)}
        ends = [[place[k] for k in below[m] if k in place] for m in upper]
        seen: list[int] = []
        for row in ends:
            count += sum(1 for end in row for other in seen if other > end)
            seen += row
    return count


def _placed(order: list, above: dict, below: dict, widths: dict, gap: float) -> dict[int, float]:
    """Places along a layer: pulled to the neighbours' mean, pushed apart by the widths."""
    places: dict[int, float] = {}
    for row in order:
        at = 0.0
        for m in row:
            places[m] = at + widths[m] / 2
            at += widths[m] + gap
        shift = at / 2
        places.update({m: places[m] - shift for m in row})
    for sweep in range(4 * SWEEPS):
        near = (above, below)[sweep % 2]
        for row in order if sweep % 2 == 0 else reversed(order):
            wish = [
                sum(places[k] for k in near[m]) / len(near[m]) if near[m] else places[m]
                for m in row
            ]
            places.update(zip(row, _apart(row, wish, widths, gap), strict=True))
    return places


def _apart(row: list[int], wish: list[float], widths: dict, gap: float) -> list[float]:
    """The nearest places to the wishes that keep the order and the distances (least squares)."""
    offsets, at = [], 0.0
    for i, m in enumerate(row):
        at += (widths[row[i - 1]] + widths[m]) / 2 + gap if i else 0.0
        offsets.append(at)
    blocks: list[list[float]] = []  # [mean, count]: neighbours that touch move as one
    for goal in (w - o for w, o in zip(wish, offsets, strict=True)):
        blocks.append([goal, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, k) = blocks[-2], blocks[-1]
            blocks[-2:] = [[(a * n + b * k) / (n + k), n + k]]
    bases = [mean for mean, count in blocks for _ in range(int(count))]
    return [b + o for b, o in zip(bases, offsets, strict=True)]
