"""The book's own figures by name: drawn, and written as PNG, or as GIF where they move.

The book draws each where it stands; `make figures` writes them all to `docs/generated`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from figures import curves
from figures.descent import surface_figure
from figures.moons import moons_figure
from figures.pushing import Moving, pushing_animation
from handgrad.errors import InputError
from handgrad.explain.training_figure import png

FIGURES: dict[str, Callable[[], Figure | Moving]] = {
    "logarithm": curves.logarithm_figure,
    "sigmoid": curves.sigmoid_figure,
    "scaling": curves.scaling_figure,
    "underflow": curves.underflow_figure,
    "surface": surface_figure,
    "moons": moons_figure,
    "pushing": pushing_animation,
}
GIF_DPI = 100


def check_names(names: list[str]) -> None:
    """Raise InputError for a name that is no figure's."""
    for name in names:
        if name not in FIGURES:
            raise InputError(
                "name", f"some of {', '.join(FIGURES)}", repr(name), "name one of them"
            )


def content(name: str) -> tuple[str, bytes]:
    """The file of one figure: its suffix and its bytes. Raises InputError for another name."""
    check_names([name])
    drawn = FIGURES[name]()
    return (".png", png(drawn)) if isinstance(drawn, Figure) else (".gif", gif(drawn))


def gif(moving: Moving) -> bytes:
    """All frames as a GIF file, which repeats."""
    writer = PillowWriter(fps=moving.frames_a_second)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moving.gif"
        with writer.saving(moving.figure, str(path), GIF_DPI):
            for frame in range(moving.frames):
                moving.show(frame)
                writer.grab_frame()
        return path.read_bytes()
