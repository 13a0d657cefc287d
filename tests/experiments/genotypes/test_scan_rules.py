"""What a scan refuses, and what it does with variants that have no finite estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.genotypes.bed_writing import write_plink
from experiments.genotypes.studies import GenotypeStudy
from federation.errors import InvalidInputError, PrivacyRefusedError
from site_client.genotypes.plink import PlinkFiles
from tests.genotype_bench import columns, load, pooled, run

SMALL = (
    "study.options.num_variants=40",
    "study.options.patients_per_site=60",
    "study.options.num_sites=3",
    "study.options.is_disarranged=false",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> GenotypeStudy:
    return load(tmp_path_factory.mktemp("rules"), *SMALL)


def with_copies(study: GenotypeStudy, folder: Path, copies: np.ndarray) -> GenotypeStudy:
    """The same people with other genotypes."""
    files, start = [], 0
    for one in study.files:
        stop = start + len(one.people)
        prefix = write_plink(folder / one.site, one.people.tolist(), study.listed, [copies[start:stop].astype(np.int8)])
        files.append(PlinkFiles.open(prefix, site=one.site))
        start = stop
    return replace(study, files=tuple(files))


def changed(study: GenotypeStudy, folder: Path, place: int, values: np.ndarray) -> GenotypeStudy:
    copies = np.nan_to_num(pooled(study, "keep").copies, nan=-1)
    copies[:, place] = values
    return with_copies(study, folder, copies)


def plain_place(study: GenotypeStudy) -> int:
    return next(
        place
        for place, pair in enumerate(zip(study.listed.first, study.listed.second, strict=True))
        if set(pair) == {"A", "C"}
    )


LOOSE = ("missing=1", "maf=0", "hwe_within=0")


def test_a_variant_that_tells_cases_apart_has_no_estimate_and_disturbs_no_other(
    study: GenotypeStudy, tmp_path: Path
) -> None:
    people, place = pooled(study), plain_place(study)
    separated = changed(study, tmp_path, place, 2 * people.values["affected"])
    result = run(tmp_path, separated, "method=logistic", "threshold=1", *LOOSE)
    found, expected = columns(result), columns(run(tmp_path, study, "method=logistic", "threshold=1", *LOOSE))
    name = study.listed.names[place]
    assert np.isnan(found["p"][found["variant"] == name]).all()
    assert result.figures["variants without a finite estimate"] == 1
    others = found["variant"] != name
    assert np.allclose(found["p"][others], expected["p"][expected["variant"] != name], rtol=1e-9)


def test_a_variant_that_is_a_covariate_has_no_estimate(study: GenotypeStudy, tmp_path: Path) -> None:
    people, place = pooled(study), plain_place(study)
    same = changed(study, tmp_path, place, 2 * people.values["male"])
    for asked in (("method=linear", "phenotype=trait"), ("method=logistic",)):
        result = run(tmp_path, same, *asked, "covariates=[male]", *LOOSE)
        found = columns(result)
        assert np.isnan(found["p"][found["variant"] == study.listed.names[place]]).all()
        assert result.figures["variants without a finite estimate"] == 1


@pytest.mark.parametrize("carriers", [0, 1, 4])
@pytest.mark.parametrize("method", ["linear", "cmh"])
def test_a_variant_with_few_carriers_is_in_no_table(
    study: GenotypeStudy, tmp_path: Path, carriers: int, method: str
) -> None:
    place = plain_place(study)
    copies = np.zeros(180)
    copies[np.random.default_rng(1).permutation(180)[:carriers]] = 1
    rare = changed(study, tmp_path, place, copies)
    phenotype = ("phenotype=trait",) if method == "linear" else ()
    result = run(tmp_path, rare, f"method={method}", *phenotype, *LOOSE)
    assert study.listed.names[place] not in result.table("association").column("variant")
    verdict = "carriers below the threshold" if carriers else "one allele only"
    assert dict(result.table("quality").rows)[verdict] == 1


def test_covariates_that_add_up_to_nothing_are_named(study: GenotypeStudy, tmp_path: Path) -> None:
    values = [{**one.values, "discovery": np.ones(len(one))} for one in study.study.records]
    constant = tuple(replace(one, values=v) for one, v in zip(study.study.records, values, strict=True))
    flat = replace(study, study=replace(study.study, records=constant))
    for method in ("linear", "logistic"):
        with pytest.raises(InvalidInputError, match=r"collinear.*discovery"):
            run(tmp_path, flat, f"method={method}", "covariates=[discovery]")


def test_a_regression_of_a_few_patients_a_column_is_refused(study: GenotypeStudy, tmp_path: Path) -> None:
    with pytest.raises(PrivacyRefusedError, match="at least 30 patients"):
        run(tmp_path, study, "method=linear", "phenotype=trait", "components=8", "where=age < 33")


def test_a_phenotype_with_few_cases_is_refused(study: GenotypeStudy, tmp_path: Path) -> None:
    values = []
    for place, one in enumerate(study.study.records):
        affected = np.zeros(len(one))
        affected[: 2 if place == 0 else 1] = 1
        values.append({**one.values, "affected": affected})
    records = tuple(replace(one, values=v) for one, v in zip(study.study.records, values, strict=True))
    few = replace(study, study=replace(study.study, records=records))
    for method in ("allelic", "cmh", "logistic"):
        with pytest.raises(PrivacyRefusedError, match="each group"):
            run(tmp_path, few, f"method={method}")


def test_who_is_at_which_site_changes_no_result_that_is_not_stratified(study: GenotypeStudy, tmp_path: Path) -> None:
    """Guarantee: estimates and components are those of the pooled people, however they are dealt out."""
    everybody = pooled(study, "keep")
    order = np.random.default_rng(3).permutation(180)
    copies = np.nan_to_num(everybody.copies, nan=-1)[order]
    records, files = [], []
    for site, rows in zip((one.site for one in study.files), np.split(order, [20, 130]), strict=True):
        where = np.isin(order, rows)
        prefix = write_plink(
            tmp_path / site, everybody.people[order[where]].tolist(), study.listed, [copies[where].astype(np.int8)]
        )
        files.append(PlinkFiles.open(prefix, site=site))
        values = {name: column[rows] for name, column in everybody.values.items()}
        records.append(replace(study.study.records[0], site=site, patient_keys=everybody.people[rows], values=values))
    dealt = replace(study, study=replace(study.study, records=tuple(records)), files=tuple(files))
    asked = ("method=logistic", "covariates=[age]", "components=2", "hwe_within=0")
    ours, theirs = (columns(run(tmp_path, one, *asked)) for one in (dealt, study))
    assert ours["variant"].tolist() == theirs["variant"].tolist()
    for name in ("log odds ratio", "standard error", "frequency", "hwe p"):
        assert np.allclose(ours[name], theirs[name], rtol=1e-7)
