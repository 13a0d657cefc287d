"""A site's genotypes in the terms of the study: the patients of a selection in their order, the list's alleles, nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.genotypes.bed_writing import write_plink
from federation.errors import InvalidInputError, PatientKeyError
from federation.statistics.genotype_source import Packed, Projection
from federation.statistics.genotypes.variants import VariantList, parse_bim
from site_client.genotypes.aligned import SelectedGenotypes, SiteGenotypes
from site_client.genotypes.plink import PlinkFiles

LISTED = parse_bim(
    b"1 same 0 1 A C\n1 swap 0 2 A C\n1 flip 0 3 A C\n1 both 0 4 A G\n1 at 0 5 A T\n1 gone 0 6 A C\n", name="l"
)
OWN = parse_bim(
    b"1 at 0 5 A T\n1 both 0 4 C T\n1 flip 0 3 T G\n1 swap 0 2 C A\n1 same 0 1 A C\n1 more 0 9 A C\n", name="o"
)
COPIES = np.array([[0, 0, 1, 2, 2, 1], [1, 1, -1, 0, 0, 2], [2, 2, 0, 1, -1, 0]], dtype=np.int8)
PEOPLE = ["anna", "bert", "cleo"]


def opened(tmp_path: Path, patients: list[str] | None = None, rule: str = "exclude") -> SiteGenotypes:
    prefix = write_plink(tmp_path / "site", PEOPLE, OWN, [COPIES])
    files = PlinkFiles.open(prefix, site="north")
    return SiteGenotypes.aligned(files, LISTED, patients=patients or [*PEOPLE, "dora"], palindromic=rule)


def of(site: SiteGenotypes, *keys: str) -> SelectedGenotypes:
    return site.of(np.array(keys, dtype=np.str_))


def test_copies_are_of_the_list_s_first_allele_and_patients_in_the_selection_s_order(tmp_path: Path) -> None:
    found = of(opened(tmp_path), "cleo", "dora", "anna").read(np.arange(6))
    assert found.tolist() == [[-1, 1, 0, 0, -1, -1], [-1] * 6, [2, 0, 1, 2, -1, -1]]


def test_palindromic_variants_are_taken_as_written_where_the_study_says_so(tmp_path: Path) -> None:
    kept = opened(tmp_path, rule="keep")
    assert of(kept, "anna", "bert", "cleo").read(np.array([4])).ravel().tolist() == [0, 1, 2]
    assert kept.variants != opened(tmp_path).variants


def test_somebody_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(PatientKeyError, match=r"record of every person in the \.fam file, got 1 without") as caught:
        opened(tmp_path, patients=["anna", "cleo"])
    assert "bert" not in str(caught.value)


@pytest.mark.parametrize("place", [-1, 6])
def test_places_beyond_the_list(tmp_path: Path, place: int) -> None:
    with pytest.raises(InvalidInputError, match="places in the study's list"):
        of(opened(tmp_path), "anna").read(np.array([place]))


def projection(variants: str, width: int = 1) -> Projection:
    return Projection(
        variants=variants,
        places=Packed.of(np.array([0, 1])),
        centres=Packed.of(np.array([1.0, 0.5])),
        scales=Packed.of(np.array([1.0, 2.0])),
        loadings=Packed.of(np.ones((2, width))),
    )


def test_a_projection_adds_up_known_genotypes_and_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = opened(tmp_path)
    chosen = of(site, "anna", "bert", "cleo")
    reads: list[int] = []
    read = SelectedGenotypes.read
    monkeypatch.setattr(SelectedGenotypes, "read", lambda self, places: reads.append(len(places)) or read(self, places))
    expected = [[1.0 - 0.25], [-1.0 + 0.75], [0.25]]
    for _ in range(3):
        assert chosen.projected(projection(site.variants)).tolist() == expected
    assert reads == [2]
    with pytest.raises(InvalidInputError, match="another list"):
        chosen.projected(projection("sha256:other"))
    assert of(site).projected(projection(site.variants, 3)).shape == (0, 3)


def test_the_patients_of_a_site_are_never_printed(tmp_path: Path) -> None:
    site = opened(tmp_path)
    assert "anna" not in repr(site) + repr(of(site, "anna")) + repr(site.files)
    assert isinstance(site.files.variants, VariantList)
