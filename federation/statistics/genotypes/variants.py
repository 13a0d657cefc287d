"""The public list of variants that a study agrees on, and a site's own list: chromosome, position, name, two alleles.

The file is PLINK's ``.bim``: six columns without a header. Positions are those of the agreed genome build.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError

TextArray = NDArray[np.str_]
IndexArray = NDArray[np.int64]

COMPLEMENT: Final = {"A": "T", "T": "A", "C": "G", "G": "C"}
NO_ALLELE: Final = "0"
"""PLINK's sign for an allele that nobody in a file has."""
_NUMBERED: Final = {"23": "X", "24": "Y", "25": "XY", "26": "MT", "M": "MT"}
_COLUMNS: Final = 6
_LONGEST_WORD: Final = 200


@dataclass(frozen=True)
class VariantList:
    """Variants in their order; copies of the *first* allele are counted.

    Args:
        chromosomes: ``[V]``.
        names: ``[V]``, each once.
        positions: ``[V]`` base pairs.
        first: ``[V]`` the counted allele (PLINK's A1), upper case.
        second: ``[V]`` the other (A2).
    """

    chromosomes: TextArray = field(repr=False)
    names: TextArray = field(repr=False)
    positions: IndexArray = field(repr=False)
    first: TextArray = field(repr=False)
    second: TextArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """Of the whole list: sites that were given another answer nothing."""
        hasher = hashlib.sha256()
        for row in zip(self.chromosomes, self.names, self.positions, self.first, self.second, strict=True):
            hasher.update("\t".join(map(str, row)).encode() + b"\n")
        return "sha256:" + hasher.hexdigest()

    def rows(self, places: IndexArray) -> VariantList:
        """The variants at these places."""
        return VariantList(
            chromosomes=self.chromosomes[places],
            names=self.names[places],
            positions=self.positions[places],
            first=self.first[places],
            second=self.second[places],
        )

    def to_bim(self) -> bytes:
        """The list as a ``.bim`` file."""
        lines = zip(self.chromosomes, self.names, self.positions, self.first, self.second, strict=True)
        return "".join(f"{c}\t{n}\t0\t{p}\t{a}\t{b}\n" for c, n, p, a, b in lines).encode()


def parse_bim(content: bytes, *, name: str) -> VariantList:
    """Read a ``.bim`` file.

    Args:
        content: Of a file whose size is limited already.
        name: For messages.

    Raises:
        InvalidInputError: If a line is none, a name comes twice, a variant has one allele twice, or there is no variant.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"expected a list of variants in ASCII in {name}, got other bytes", remedy="give PLINK's .bim file"
        ) from None
    rows: list[tuple[str, str, int, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != _COLUMNS or not _is_number(words[3]) or max(map(len, words)) > _LONGEST_WORD:
            raise InvalidInputError(
                f"expected chromosome, name, centimorgans, position and two alleles in line {number} of {name}, got another line",
                remedy="give PLINK's .bim file, six columns without a header",
            )
        rows.append((_chromosome(words[0]), words[1], int(words[3]), words[4].upper(), words[5].upper()))
    _check_rows(rows, name)
    columns = list(zip(*rows, strict=True))
    return VariantList(
        chromosomes=np.array(columns[0]),
        names=np.array(columns[1]),
        positions=np.array(columns[2], dtype=np.int64),
        first=np.array(columns[3]),
        second=np.array(columns[4]),
    )


def _check_rows(rows: list[tuple[str, str, int, str, str]], name: str) -> None:
    if not rows:
        raise InvalidInputError(f"expected variants in {name}, got none", remedy="give PLINK's .bim file")
    twice = len(rows) - len({row[1] for row in rows})
    if twice:
        raise InvalidInputError(
            f"expected every variant's name once in {name}, got {twice} that were there before",
            remedy="give every variant a name of its own, for example with plink --set-missing-var-ids, or remove duplicates",
        )
    alike = sum(row[3] == row[4] for row in rows)
    if alike:
        raise InvalidInputError(
            f"expected two different alleles of every variant in {name}, got {alike} with one allele twice",
            remedy="correct the file, or leave these variants out",
        )


def _chromosome(word: str) -> str:
    """One name for each chromosome, of which PLINK's files have several: ``chr1`` is 1, 23 is X."""
    plain = word.removeprefix("chr").removeprefix("Chr")
    return _NUMBERED.get(plain, plain)


def _is_number(word: str) -> bool:
    return word.lstrip("-").isdecimal() and len(word) < len(str(2**40))


def palindromic(variants: VariantList) -> NDArray[np.bool_]:
    """``[V]``: alleles that are each other's complement, A/T and C/G: on which strand they were read cannot be told from them."""
    pairs = zip(variants.first.tolist(), variants.second.tolist(), strict=True)
    return np.array([COMPLEMENT.get(first) == second for first, second in pairs], dtype=np.bool_)
