"""PLINK's binary files ``.bed``, ``.bim`` and ``.fam``, read in blocks of variants: the home of ``bed-reader``.

Only variant-major ``.bed`` files are read, as PLINK has written since 2007: three bytes, then for each variant two bits a person.

Axis names: R people of the file, V variants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError, PatientKeyError, RecordsUnreadableError
from federation.statistics.genotypes.variants import VariantList, parse_bim

CopyArray = NDArray[np.int8]
IndexArray = NDArray[np.int64]

_MAGIC: Final = b"\x6c\x1b"
_VARIANT_MAJOR: Final = b"\x01"
_HEADER_BYTES: Final = 3
_PEOPLE_PER_BYTE: Final = 4
_FAM_COLUMNS: Final = 6
LARGEST_TEXT: Final = 2**30
"""Bytes of a ``.bim`` or ``.fam`` file."""
_MISSING: Final = -127
"""How ``bed-reader`` writes a missing genotype in int8."""
_PROPERTIES: Final = (
    *("fid", "iid", "father", "mother", "sex", "pheno"),
    *("chromosome", "sid", "cm_position", "bp_position", "allele_1", "allele_2"),
)
"""Of people and variants, which ``bed-reader`` need not read once more."""
_MAKE_AGAIN: Final = "make the three files again with one call of plink --make-bed"


@dataclass(frozen=True)
class PlinkFiles:
    """The three files of a site.

    Args:
        site: Its name.
        bed: Path of the genotypes.
        variants: In the order of the file.
        people: ``[R]`` within-family identifiers (IID), the patient keys.
    """

    site: str
    bed: Path = field(repr=False)
    variants: VariantList = field(repr=False)
    people: NDArray[np.str_] = field(repr=False)

    @classmethod
    def open(cls, prefix: Path, *, site: str) -> PlinkFiles:
        """Read who and what is in the files and check their sizes. No genotype is read.

        Args:
            prefix: Path without ``.bed``.
            site: For messages.

        Raises:
            RecordsUnreadableError: If a file is absent, too large, cut off, of another format, or does not fit the others.
            PatientKeyError: If a person comes twice.
        """
        bed, bim, fam = (prefix.with_name(prefix.name + suffix) for suffix in (".bed", ".bim", ".fam"))
        try:
            variants = parse_bim(_text(bim, site), name=bim.name)
        except InvalidInputError as failure:
            raise RecordsUnreadableError(failure.message, site=site, remedy=failure.remedy) from failure
        people = _people(_text(fam, site), site=site)
        _check_bed(bed, people=len(people), variants=len(variants), site=site)
        return cls(site=site, bed=bed, variants=variants, people=people)

    def read(self, columns: IndexArray) -> CopyArray:
        """Copies of the file's first allele (A1): 0, 1, 2; -1 is missing.

        Args:
            columns: ``[V]`` of the file, in any order.

        Returns:
            ``[R, V]``.

        Raises:
            RecordsUnreadableError: If the file changed since it was opened.
        """
        from bed_reader import open_bed

        nothing_else: Any = dict.fromkeys(_PROPERTIES)
        people, variants = len(self.people), len(self.variants)
        try:
            with open_bed(self.bed, iid_count=people, sid_count=variants, properties=nothing_else) as stream:
                found = stream.read(index=(slice(None), columns), dtype="int8", order="F", num_threads=1)
        except (OSError, ValueError) as failure:
            raise RecordsUnreadableError(
                f"expected the genotypes that were in {self.bed.name} when it was opened, cannot read them",
                site=self.site,
                remedy="leave the files as they are during an analysis",
            ) from failure
        found[found == _MISSING] = -1
        return found


def _text(path: Path, site: str) -> bytes:
    if not path.is_file():
        raise RecordsUnreadableError(
            f"expected a file {path.name}, got none", site=site, remedy="give .bed, .bim and .fam of one name"
        )
    with path.open("rb") as stream:
        content = stream.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise RecordsUnreadableError(
            f"expected {path.name} of at most {LARGEST_TEXT} bytes, got more", site=site, remedy="divide the files"
        )
    return content


def _people(content: bytes, *, site: str) -> NDArray[np.str_]:
    keys: list[str] = []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if len(words) != _FAM_COLUMNS:
            raise RecordsUnreadableError(
                f"expected {_FAM_COLUMNS} columns in line {number} of the .fam file, got {len(words)}",
                site=site,
                remedy=_MAKE_AGAIN,
            )
        keys.append(words[1])
    if not keys:
        raise RecordsUnreadableError("expected people in the .fam file, got none", site=site, remedy=_MAKE_AGAIN)
    twice = len(keys) - len(set(keys))
    if twice:
        raise PatientKeyError(
            f"expected every person once in the .fam file, got {twice} that were there before",
            site=site,
            remedy="give each person an identifier (IID) of its own, the patient key of the records, and remove repeats",
        )
    return np.array(keys)


def _check_bed(path: Path, *, people: int, variants: int, site: str) -> None:
    if not path.is_file():
        raise RecordsUnreadableError(
            f"expected a file {path.name}, got none", site=site, remedy="give .bed, .bim and .fam of one name"
        )
    with path.open("rb") as stream:
        header = stream.read(_HEADER_BYTES)
    if header[:2] != _MAGIC:
        raise RecordsUnreadableError(
            f"expected the first bytes of a .bed file in {path.name}, got others", site=site, remedy=_MAKE_AGAIN
        )
    if header[2:] != _VARIANT_MAJOR:
        raise RecordsUnreadableError(
            f"expected genotypes by variant in {path.name}, got them by person (or a cut file)",
            site=site,
            remedy="convert it with plink --make-bed",
        )
    expected = _HEADER_BYTES + variants * -(-people // _PEOPLE_PER_BYTE)
    size = path.stat().st_size
    if size != expected:
        what = "a cut file, or files of several calls" if size < expected else "more: files of several calls"
        raise RecordsUnreadableError(
            f"expected {expected} bytes in {path.name}, of {people} people (.fam) and {variants} variants (.bim), "
            f"got {size}: {what}",
            site=site,
            remedy=_MAKE_AGAIN,
        )
