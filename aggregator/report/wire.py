"""What travels between aggregator and sites, in words."""

from __future__ import annotations

from typing import Final

from aggregator.report.content import Fact
from federation.study.manifest import StudyManifest

_STEP: Final = 1000
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def size_of(number: float) -> str:
    """A number of bytes in decimal units.

    >>> size_of(999), size_of(1234), size_of(20_500_000)
    ('999 bytes', '1.23 kB', '20.5 MB')
    """
    size, unit = float(number), 0
    while size >= _STEP and unit < len(_UNITS) - 1:
        size, unit = size / _STEP, unit + 1
    return f"{size:.0f} {_UNITS[0]}" if unit == 0 else f"{size:.3g} {_UNITS[unit]}"


def compression_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    """How updates travel, where the study compresses them."""
    spec = manifest.compression
    if spec is None:
        return ()
    kept = (
        "every coordinate" if spec.kept_fraction is None else f"the largest {spec.kept_fraction:.3g} of the coordinates"
    )
    held = "" if spec.kept_fraction is None else " What a site does not send it adds to its next update."
    return (
        Fact(
            label="Updates travel as",
            value=f"{kept}, in {spec.precision}",
            explanation=f"Made from nothing but what the site would have sent whole, so it costs no privacy.{held}",
        ),
    )
