"""The book's own figures by name: drawn, and written as PNG, or as GIF where they move.

The book draws each where it stands; `make figures` writes them all to `docs/generated`.
"""

import io
from collections.abc import Callable

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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
    """All frames as a GIF file, which repeats; the last one is held."""
    canvas = FigureCanvasAgg(moving.figure)
    moving.figure.set_dpi(GIF_DPI)
    images = []
    for frame in range(moving.frames):
        moving.show(frame)
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    one = round(1000 / moving.frames_a_second)  # milliseconds
    shown = [one] * (len(images) - 1) + [one + round(1000 * moving.held)]
    buffer = io.BytesIO()
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], duration=shown, loop=0)
    return buffer.getvalue()
