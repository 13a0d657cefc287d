"""Genotypes are read in blocks: what a site holds at a time is bounded, however many variants a study has."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.gwas import compare, drawn_study, federated
from federation.statistics.genotype_source import READ_AT_ONCE
from site_client.genotypes.plink import PlinkFiles


def test_no_read_is_of_more_variants_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = drawn_study(tmp_path, variants=700, people=90, sites=3)
    sizes: list[int] = []
    read = PlinkFiles.read
    monkeypatch.setattr(PlinkFiles, "read", lambda self, columns: sizes.append(len(columns)) or read(self, columns))
    result = federated(study, tmp_path, aggregation="open", block=4096)
    assert max(sizes) == READ_AT_ONCE
    tested = len(result.table("association").rows)
    assert sum(sizes) == 3 * (700 + tested), "each site reads a variant once for the counts and once for its test"


def test_a_site_s_memory_does_not_grow_with_the_number_of_variants(tmp_path: Path) -> None:
    """Guarantee: eight times the variants, in sums of the same size, take no more memory than a fraction of the genotypes."""
    peaks = []
    for variants in (1_024, 8_192):
        study = drawn_study(tmp_path / str(variants), variants=variants, people=1_500, sites=3)
        federated(study, tmp_path / f"warm-{variants}", aggregation="open", block=512)
        tracemalloc.start()
        federated(study, tmp_path / f"run-{variants}", aggregation="open", block=512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What grows are the tables of results and the lists of variants, not the genotypes: 1500 bytes a variant.
    assert peaks[1] - peaks[0] < 0.5 * 1_500 * (8_192 - 1_024)


def test_the_bench_compares_like_with_like(tmp_path: Path) -> None:
    study = drawn_study(tmp_path, variants=300, people=400, sites=4)
    found = compare(study, tmp_path, aggregation="masked", block=128)
    assert found.difference < 1e-10
    assert (found.variants, found.people) == (300, 400)
    assert any("SNPs per second" in line for line in found.lines())
    missing = np.mean(study.files[0].read(np.arange(300)) < 0)
    assert 0.005 < missing < 0.02


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_variants_of_ten_thousand_people(tmp_path: Path) -> None:
    study = drawn_study(tmp_path, variants=100_000, people=10_000, sites=4)
    found = compare(study, tmp_path, aggregation="masked", block=4096)
    assert found.difference < 1e-9
    assert found.peak_megabytes - found.before_megabytes < found.whole_megabytes
