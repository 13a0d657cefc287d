"""Writes PLINK files of simulated sites, a block of variants at a time.

Axis names: R people, V variants.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.statistics.genotypes.variants import VariantList

CopyArray = NDArray[np.int8]
_HEADER: Final = b"\x6c\x1b\x01"
_CODES: Final = np.array([3, 2, 0, 1], dtype=np.uint8)
"""Two bits for 0, 1, 2 copies of the first allele and for a missing genotype (-1, the last)."""
_PER_BYTE: Final = 4


def encode_bed(copies: CopyArray) -> bytes:
    """Bytes of a block of variants.

    Args:
        copies: ``[R, V]`` copies of the first allele; -1 is missing.
    """
    people, variants = copies.shape
    padded = np.zeros((variants, -(-people // _PER_BYTE) * _PER_BYTE), dtype=np.uint8)
    padded[:, :people] = _CODES[copies.T]
    quarters = padded.reshape(variants, -1, _PER_BYTE)
    return (quarters[..., 0] | quarters[..., 1] << 2 | quarters[..., 2] << 4 | quarters[..., 3] << 6).tobytes()


def write_plink(prefix: Path, people: Iterable[str], variants: VariantList, blocks: Iterable[CopyArray]) -> Path:
    """Write ``.bed``, ``.bim`` and ``.fam``.

    Args:
        prefix: Path without suffix; its folder is made.
        people: Patient keys, without spaces.
        variants: In the order of the blocks.
        blocks: ``[R, V]`` each, together all variants.

    Returns:
        The prefix.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(prefix.name + ".bim").write_bytes(variants.to_bim())
    fam = "".join(f"{person} {person} 0 0 0 -9\n" for person in people)
    prefix.with_name(prefix.name + ".fam").write_text(fam, encoding="utf-8")
    with prefix.with_name(prefix.name + ".bed").open("wb") as stream:
        stream.write(_HEADER)
        for block in blocks:
            stream.write(encode_bed(block))
    return prefix
