"""The home of matplotlib: how every figure is drawn, coloured and written.

Figures are SVG with text as text, so that they stay small, sharp and readable aloud. Nothing global changes: style
lives in ``rc_context`` and no window system is touched. The same content gives the same bytes: ids are derived from the
figure's name, and no date is written.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from aggregator.report.picture import INK, Picture

__all__ = [
    "DASHES",
    "INK",
    "MARKERS",
    "PALETTE",
    "QUIET",
    "Axes",
    "Picture",
    "draw_png",
    "draw_svg",
    "legend_below",
    "only_part",
    "own_ids",
    "style_of",
]

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#7F7F7F")
"""Okabe & Ito 2008, and two of Tol's: told apart with every common colour vision."""
DASHES: Final[tuple[str | tuple[int, tuple[float, ...]], ...]] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (1, 1)),
    (0, (3, 1)),
    (0, (6, 2, 2, 2)),
)
"""Line styles in the same order: colour is never the only difference."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "d")
QUIET: Final = "#8a9099"
"""Reference lines and single sites; readable on light and on dark."""

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "figure.dpi": 72,
}
_POINTS_PER_INCH: Final = 72

Draw = Callable[[Axes], None]

_TURNS: ContextVar[Iterator[bool] | None] = ContextVar("turns", default=None)


@contextmanager
def only_part(part: int, parts: int) -> Generator[None]:
    """Inside the block :func:`draw_svg` draws every ``parts``-th figure only, from ``part`` on, and nothing for the others.

    So several processes draw the same figures together, each its own.
    """
    token = _TURNS.set(itertools.cycle([number == part for number in range(parts)]))
    try:
        yield
    finally:
        _TURNS.reset(token)


def draw_svg(name: str, draw: Draw, *, width: float = 360, height: float = 290) -> str:
    """Draw one figure as an SVG document.

    Args:
        name: Prefix of every id, so that several figures can live on one page.
        draw: Draws on the axes it is given.
        width: In points: one point is one pixel on a phone of that width.
        height: In points.

    Returns:
        The document; empty if another process draws it (:func:`only_part`).
    """
    turns = _TURNS.get()
    if turns is not None and not next(turns):
        return ""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = _figure(draw, width, height)
        FigureCanvasSVG(figure)
        _lay_out(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return own_ids(stream.getvalue(), name)


def draw_png(draw: Draw, *, width: float = 520, height: float = 380, dots_per_inch: int = 160) -> bytes:
    """Draw one figure as a PNG on white."""
    with mpl.rc_context(_STYLE):
        figure = _figure(draw, width, height)
        FigureCanvasAgg(figure)
        _lay_out(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _figure(draw: Draw, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
    draw(figure.add_subplot())
    return figure


def _lay_out(figure: Figure) -> None:
    """Give everything its room, once: matplotlib would draw the whole figure once more for it before it writes.

    The figure must have its canvas, whose fonts are measured.
    """
    ConstrainedLayoutEngine().execute(figure)


def own_ids(svg: str, name: str) -> str:
    """Prefix every id and every reference to one; matplotlib numbers them from 1 in each figure."""
    svg = re.sub(r'(\sid=")', rf"\g<1>{name}-", svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    return re.sub(r'(href="#)', rf"\g<1>{name}-", svg)


def legend_below(axes: Axes, *, columns: int = 2) -> None:
    """Put the legend under the axes, where it hides nothing on a narrow screen."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.19),
            ncol=min(columns, len(handles)),
            handlelength=2.4,
            columnspacing=1.2,
        )


def style_of(setting: str) -> tuple[str, str, str | tuple[int, tuple[float, ...]]]:
    """Colour, marker and line style of a training setting: the same in every figure."""
    color, marker, dash = _STYLES.get(setting, _UNKNOWN)
    return PALETTE[color], MARKERS[marker], DASHES[dash]


_UNKNOWN: Final = (3, 5, 5)
_STYLES: Final = {
    "local_only": (2, 0, 3),
    "federated": (0, 1, 0),
    "federated_local_noise": (6, 6, 6),
    "federated_non_private": (5, 2, 2),
    "cyclic": (4, 3, 4),
    "pooled_private": (7, 7, 7),
    "pooled": (1, 4, 1),
}
"""Training setting to the places of its colour, marker and dash."""
