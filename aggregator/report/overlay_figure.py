"""Generated images with the true and the found outline, side by side. Never of a patient: whoever draws it checks that first.

Axis names: N pictures, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.report.figures import INK, PALETTE, Axes, Picture, draw_svg

_SIDE = 120.0
"""Points of one picture."""


@dataclass(frozen=True)
class Marked:
    """One picture.

    Args:
        title: Above it.
        image: ``[H, W]`` in [-1, 1].
        truth: ``[H, W]`` 0 and 1.
        found: ``[H, W]`` 0 and 1.
    """

    title: str
    image: NDArray[np.floating] = field(repr=False)
    truth: NDArray[np.floating] = field(repr=False)
    found: NDArray[np.floating] = field(repr=False)


def overlay_figure(pictures: Sequence[Marked], *, caption: str) -> Picture:
    """The pictures in a row: the truth as a solid outline, what the model marks as a dashed one.

    Args:
        pictures: At least one, all of one size.
        caption: How to read it; must say that the images are generated.
    """
    height, width = pictures[0].image.shape

    def draw(axes: Axes) -> None:
        for place, one in enumerate(pictures):
            left = place * (width + 2)
            box = (left, left + width, height, 0)
            axes.imshow(one.image, cmap="gray", vmin=-1, vmax=1, extent=box, interpolation="nearest")
            columns, rows = left + np.arange(width) + 0.5, np.arange(height) + 0.5
            for mask, colour, style in ((one.truth, PALETTE[5], "solid"), (one.found, PALETTE[1], "dashed")):
                if 0 < mask.mean() < 1:
                    axes.contour(columns, rows, mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.6)
            axes.text(left + width / 2, -1.5, one.title, ha="center", va="bottom", color=INK)
        axes.set_xlim(0, len(pictures) * (width + 2) - 2)
        axes.set_ylim(height, -8)
        axes.set_axis_off()

    svg = draw_svg("overlay", draw, width=_SIDE * len(pictures), height=_SIDE * 1.3)
    description = (
        f"{len(pictures)} generated slices with the outline of the drawn lesion and that of what the model marks."
    )
    return Picture(name="overlay", title="Truth and prediction", description=description, svg=svg, caption=caption)
