"""What a step knows of a site's genotypes: numbers of copies of an agreed allele, read in blocks of variants.

Axis names: R records, V variants, k columns of a projection.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from federation.documents import Document
from federation.errors import InvalidInputError

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
CopyArray = NDArray[np.int8]
"""Copies of the first allele of the public list: 0, 1, 2; :data:`MISSING`."""

MISSING: Final = -1
READ_AT_ONCE: Final = 256
"""Variants that a site holds at a time, whatever a step asks for."""


class Packed(Document):
    """Many numbers in one document: bytes of float64, little end first, in base64. A list of them would take seconds to hash."""

    shape: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=3)]
    content: str = Field(repr=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            values = np.frombuffer(base64.b64decode(self.content, validate=True), dtype="<f8")
        except (ValueError, binascii.Error):
            raise ValueError("expected float64 numbers in base64") from None
        if values.size != np.prod(self.shape) or not np.isfinite(values).all():
            raise ValueError("expected as many finite numbers as the shape says")
        return self

    @classmethod
    def of(cls, values: FloatArray | IndexArray) -> Self:
        """Pack an array of one to three axes."""
        content = base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()
        return cls(shape=tuple(values.shape), content=content)

    @property
    def array(self) -> FloatArray:
        """The numbers, read only."""
        return np.frombuffer(base64.b64decode(self.content), dtype="<f8").reshape(self.shape).astype(np.float64)

    @property
    def places(self) -> IndexArray:
        """The numbers as whole ones."""
        return self.array.astype(np.int64)


class Projection(Document):
    """Weighted sums over variants, one number per person and column: scores of principal components, or a polygenic score.

    Column j of a person is the sum over variants of ``(copies - centre) / scale * loading[variant, j]``; a missing genotype adds 0.
    """

    variants: str
    """Digest of the public list."""
    places: Packed
    """``[V]`` in the list."""
    centres: Packed
    scales: Packed
    loadings: Packed
    """``[V, k]``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = self.places.shape[0]
        if self.centres.shape != (count,) or self.scales.shape != (count,) or self.loadings.shape[0] != count:
            raise ValueError("expected a centre, a scale and a row of loadings for every variant")
        if not np.all(self.scales.array > 0):
            raise ValueError("expected scales above 0")
        return self

    @property
    def width(self) -> int:
        """Columns, k."""
        return self.loadings.shape[1]


class Genotypes(Protocol):
    """Genotypes of the records of a selection at one site."""

    @property
    def site(self) -> str:
        """Whose."""
        ...

    @property
    def variants(self) -> str:
        """Digest of the public list that the genotypes are aligned to."""
        ...

    @property
    def num_variants(self) -> int:
        """In the list."""
        ...

    @property
    def fates(self) -> IndexArray:
        """How many variants of the list met which fate when the site was aligned: see :mod:`.genotypes.alignment`."""
        ...

    def read(self, places: IndexArray) -> CopyArray:
        """``[R, V]`` copies at these places of the list."""
        ...

    def projected(self, projection: Projection) -> FloatArray:
        """``[R, k]``, see :class:`Projection`; remembered, because every step of a scan asks for the same."""
        ...


def in_blocks(places: IndexArray, size: int = READ_AT_ONCE) -> Iterator[slice]:
    """Parts of the places that are read at once."""
    for start in range(0, len(places), size):
        yield slice(start, min(start + size, len(places)))


def standardised(copies: CopyArray, centres: FloatArray, scales: FloatArray) -> FloatArray:
    """``[R, V]`` numbers of mean 0 where genotypes are known, 0 where they are missing."""
    return np.where(copies == MISSING, 0.0, (copies - centres) / scales)


def project(genotypes: Genotypes, projection: Projection) -> FloatArray:
    """``[R, k]`` columns of a projection, reading a block of variants at a time.

    Raises:
        InvalidInputError: If the projection is of another list of variants.
    """
    if projection.variants != genotypes.variants:
        raise InvalidInputError(
            "expected a projection of the study's list of variants, got one of another list",
            remedy="agree on one list of variants, at every site",
        )
    places, centres = projection.places.places, projection.centres.array
    scales, loadings = projection.scales.array, projection.loadings.array
    found = np.zeros(0)
    for part in in_blocks(places):
        scores = standardised(genotypes.read(places[part]), centres[part], scales[part]) @ loadings[part]
        found = scores if found.size == 0 else found + scores
    return found
