"""A report's finished page and its files. Apart from what makes it, so that a page can be written that another process made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aggregator.report.content import StudyReport
from aggregator.report.picture import Picture
from federation.durable_files import write_durably

Figures = Mapping[str, tuple[Picture, ...]]
"""By section of the page."""


@dataclass(frozen=True)
class Page:
    """A report's page and its figures.

    Args:
        html: A whole HTML document, self-contained.
        figures: By section; files of their own too.
    """

    html: str = field(repr=False)
    figures: Figures

    @classmethod
    def from_json(cls, text: bytes) -> Page:
        """A page as :meth:`as_json` wrote it.

        Raises:
            ValueError: If it is none.
        """
        try:
            found = json.loads(text)
            return cls(str(found["html"]), figures_from(found["figures"]))
        except (AttributeError, KeyError, TypeError) as failure:
            raise ValueError("expected a page with its figures by section") from failure

    def as_json(self) -> bytes:
        """The page and its figures."""
        return json.dumps({"html": self.html, "figures": figures_as_data(self.figures)}).encode()


def figures_from(data: Mapping[str, list[dict[str, str]]]) -> Figures:
    """Figures as :func:`figures_as_data` gave them."""
    return {name: tuple(Picture(**entry) for entry in section) for name, section in data.items()}


def figures_as_data(figures: Figures) -> dict[str, list[dict[str, str]]]:
    """Figures as JSON-like data."""
    return {name: [asdict(picture) for picture in section] for name, section in figures.items()}


def write_report(report: StudyReport, page: Page, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html``, ``report.json`` and ``figures/*.svg``; each file is whole or absent.

    Args:
        report: What is shown.
        page: Of this report.
        folder: Where to; made if absent.

    Returns:
        The files, the page first.
    """
    content = {
        folder / "report.html": page.html,
        folder / "report.json": report.model_dump_json(indent=1) + "\n",
        **{
            folder / "figures" / f"{picture.name}.svg": picture.svg
            for section in page.figures.values()
            for picture in section
        },
    }
    for path, text in content.items():
        write_durably(path, text.encode())
    return tuple(content)
