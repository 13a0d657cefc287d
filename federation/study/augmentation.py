"""Augmentation: what a site does to its training images at random, so that a model does not learn where or how bright they were.

Agreed by all, drawn by each site from its own secret streams. Every record is changed by numbers of its own, whatever other records
are drawn, so a patient who comes or goes changes nobody else's images and the guarantee of a private study holds as it is. Masks
move with their images. Evaluation sees images as they are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document


class AugmentationSpec(Document):
    """How training images are changed; everything is off by default."""

    flip: bool = False
    """Mirror left and right, one time in two. Not for images in which sides differ, such as a chest."""
    shift: Annotated[int, Field(ge=0, le=1024)] = 0
    """Move by up to so many pixels in each direction; what comes in from the edge has the smallest value."""
    intensity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiply by 1 ± this, and add up to ± this, on the scale on which the contract's range is [-1, 1]; then cut to it."""

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return self != AugmentationSpec()
