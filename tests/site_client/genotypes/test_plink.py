"""PLINK files: read as they were written, by block, and refused with a clear message when something is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.genotypes.bed_writing import encode_bed, write_plink
from federation.errors import CohortiumError, PatientKeyError, RecordsUnreadableError
from federation.statistics.genotypes.variants import VariantList
from site_client.genotypes.plink import PlinkFiles


def listed(count: int) -> VariantList:
    return VariantList(
        chromosomes=np.array(["1"] * count),
        names=np.array([f"rs{place}" for place in range(count)]),
        positions=np.arange(1, count + 1),
        first=np.array(["A"] * count),
        second=np.array(["G"] * count),
    )


def written(folder: Path, people: int = 7, variants: int = 5, seed: int = 0) -> tuple[Path, np.ndarray]:
    copies = np.random.default_rng(seed).integers(-1, 3, (people, variants)).astype(np.int8)
    names = [f"person{row}" for row in range(people)]
    return write_plink(folder / "site", names, listed(variants), [copies]), copies


@given(people=st.integers(1, 13), variants=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_was_written_is_read_in_any_order(people: int, variants: int, seed: int, tmp_path_factory) -> None:
    prefix, copies = written(tmp_path_factory.mktemp("plink"), people, variants, seed)
    files = PlinkFiles.open(prefix, site="north")
    columns = np.random.default_rng(seed).permutation(variants)
    assert np.array_equal(files.read(columns), copies[:, columns])
    assert files.people.tolist() == [f"person{row}" for row in range(people)]


def test_the_writer_packs_two_bits_a_person() -> None:
    assert encode_bed(np.array([[2], [1], [0], [-1], [2]], dtype=np.int8)) == bytes([0b01_11_10_00, 0b00])


def rejected(prefix: Path, kind: type[CohortiumError] = RecordsUnreadableError) -> str:
    with pytest.raises(kind) as caught:
        PlinkFiles.open(prefix, site="north")
    assert caught.value.remedy
    assert "person3" not in str(caught.value)
    return str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    prefix, _ = written(tmp_path)
    bed = prefix.with_suffix(".bed")
    bed.write_bytes(bed.read_bytes()[:-1])
    assert "expected 13 bytes in site.bed, of 7 people (.fam) and 5 variants (.bim), got 12: a cut file" in rejected(
        prefix
    )
    bed.write_bytes(bed.read_bytes()[:2])
    assert "by person (or a cut file)" in rejected(prefix)


def test_sizes_that_disagree(tmp_path: Path) -> None:
    prefix, _ = written(tmp_path)
    fam = prefix.with_suffix(".fam")
    whole = fam.read_text()
    fam.write_text("".join(whole.splitlines(keepends=True)[:4]))
    assert "of 4 people (.fam) and 5 variants (.bim), got 13: more" in rejected(prefix)
    fam.write_text(whole)
    prefix.with_suffix(".bim").write_bytes(listed(6).to_bim())
    assert "of 7 people (.fam) and 6 variants (.bim)" in rejected(prefix)


@pytest.mark.parametrize(
    ("header", "says"), [(b"\x6c\x1c\x01", "first bytes of a .bed file"), (b"\x6c\x1b\x00", "by person")]
)
def test_another_format(tmp_path: Path, header: bytes, says: str) -> None:
    prefix, _ = written(tmp_path)
    bed = prefix.with_suffix(".bed")
    bed.write_bytes(header + bed.read_bytes()[3:])
    assert says in rejected(prefix)


def test_duplicates(tmp_path: Path) -> None:
    prefix, _ = written(tmp_path)
    fam, bim = prefix.with_suffix(".fam"), prefix.with_suffix(".bim")
    whole = fam.read_text()
    fam.write_text(whole.replace("person3 person3", "other person2"))
    assert "expected every person once" in rejected(prefix, PatientKeyError)
    fam.write_text(whole)
    bim.write_text(bim.read_text().replace("rs3", "rs2"))
    assert "every variant's name once in site.bim, got 1" in rejected(prefix)


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        (".fam", "f person1 0 0 0\n", "6 columns in line 1"),
        (".fam", "", "expected people"),
        (".bim", "", "expected variants in site.bim"),
        (".bim", "1 rs1 0 here A G\n", "line 1 of site.bim"),
        (".bim", "1 rs1 0 5 A\n", "line 1 of site.bim"),
        (".bim", "1 rs1 0 5 A A\n", "two different alleles"),
        (".bim", "1 rs1 0 5 A \xe4\n", "ASCII"),
        (".bim", None, "a file site.bim, got none"),
        (".fam", None, "a file site.fam, got none"),
        (".bed", None, "a file site.bed, got none"),
    ],
)
def test_files_that_are_none(tmp_path: Path, suffix: str, content: str | None, says: str) -> None:
    prefix, _ = written(tmp_path)
    path = prefix.with_suffix(suffix)
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="latin-1")
    assert says in rejected(prefix)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    prefix, _ = written(tmp_path)
    files = PlinkFiles.open(prefix, site="north")
    bed = prefix.with_suffix(".bed")
    bed.write_bytes(bed.read_bytes()[:4])
    with pytest.raises(RecordsUnreadableError, match="when it was opened"):
        files.read(np.arange(5))
