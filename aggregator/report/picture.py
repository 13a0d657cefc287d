"""A finished figure. Apart from what draws it, so that a page can be made of figures that another process drew."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

INK: Final = "#1b1f24"
"""Text and axes; on the page it becomes the reader's own text colour, light or dark."""


@dataclass(frozen=True)
class Picture:
    """One finished figure.

    Args:
        name: Short name, used in file names and ids.
        title: Heading.
        description: What it shows, for readers who cannot see it.
        svg: A whole SVG document.
        caption: How to read it.
    """

    name: str
    title: str
    description: str
    svg: str = field(repr=False)
    caption: str = ""

    @property
    def inline(self) -> str:
        """The SVG for a page: without addresses, in the page's own text colour, as wide as its place."""
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
        body = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
        body = body.replace(INK, "currentColor")
        return re.sub(r"<svg[^>]*>", lambda found: self._opening(found.group()), body, count=1)

    def _opening(self, tag: str) -> str:
        found = re.search(r'viewBox="[^"]*"', tag)
        box = found.group() if found else ""
        return (
            f'<svg {box} role="img" aria-labelledby="{self.name}-title {self.name}-desc" class="figure">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-desc">{escape(self.description)}</desc>'
        )
