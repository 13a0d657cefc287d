"""Settings of how updates travel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.study.compression import CompressionSpec


class CompressionChoice(Document):
    """Fewer coordinates, fewer bits for each, or neither."""

    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    kept_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Part of the coordinates that a site sends; ``None``: all."""

    def agreed(self) -> CompressionSpec | None:
        """What the sites agree on; ``None``: updates travel whole."""
        if self.precision == "float32" and self.kept_fraction is None:
            return None
        return CompressionSpec(precision=self.precision, kept_fraction=self.kept_fraction)
