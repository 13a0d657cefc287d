"""Sites of an association study: one vanishes, one names its alleles otherwise, one lacks genotypes, one is asked for too much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregator.statistics.analysing import Analyst
from experiments.genotypes.planning import gwas_analyst, gwas_plan
from experiments.genotypes.settings import read_gwas_settings
from experiments.genotypes.studies import GenotypeStudy
from federation.errors import InvalidInputError, PrivacyRefusedError, RecordsError
from federation.statistics.genotype_source import Packed
from federation.statistics.genotypes.block_steps import GenotypeCountStep
from federation.statistics.requests import Selection, StepRequest
from tests.genotype_bench import Change, columns, load, run
from tests.statistics_bench import Lossy

SMALL = ("study.options.num_variants=60", "study.options.patients_per_site=60", "study.options.num_sites=5")
LINEAR = ("method=linear", "phenotype=trait", "components=2", "missing=1")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> GenotypeStudy:
    return load(tmp_path_factory.mktemp("sites"), *SMALL)


def losing(site: str, kind: str, after: int) -> Change:
    def change(analyst: Analyst) -> None:
        seen: list[str] = []

        def is_lost(found: str, _: int) -> bool:
            seen.append(found)
            return seen.count(kind) > after

        analyst.sums.links[site] = Lossy(analyst.sums.links[site], is_lost)

    return change


def without(study: GenotypeStudy, site: str) -> GenotypeStudy:
    records = tuple(one for one in study.study.records if one.site != site)
    files = tuple(one for one in study.files if one.site != site)
    return replace(study, study=replace(study.study, records=records), files=files)


@pytest.mark.parametrize("after", [0, 1, 6, 9])
@pytest.mark.parametrize("aggregation", ["open", "masked"])
def test_a_study_that_loses_a_site_is_that_of_the_others(
    study: GenotypeStudy, tmp_path: Path, after: int, aggregation: str
) -> None:
    lost = "hospital-004"
    found = run(tmp_path, study, *LINEAR, f"aggregation={aggregation}", change=losing(lost, aggregation, after))
    expected = run(tmp_path, without(study, lost), *LINEAR)
    assert found.left_out.keys() == {lost}
    assert found.table("association") == expected.table("association")
    assert found.patients == expected.patients == 240


def test_alleles_named_otherwise_change_no_result(study: GenotypeStudy, tmp_path: Path) -> None:
    plain = load(tmp_path, *SMALL, "study.options.is_disarranged=false")
    ours, theirs = (columns(run(tmp_path, one, *LINEAR[:2])) for one in (study, plain))
    kept = np.isin(theirs["variant"], ours["variant"])
    assert len(ours["variant"]) < len(theirs["variant"]), "variants with wrong alleles at a site are left out"
    for name, values in ours.items():
        assert np.array_equal(values, theirs[name][kept]), name


def test_every_site_s_alignment_is_reported(study: GenotypeStudy, tmp_path: Path) -> None:
    found = columns(run(tmp_path, study, "method=allelic"), "alignment")
    listed = [name for name in found if name not in {"site", "not in the list"}]
    assert np.sum([found[name] for name in listed], axis=0).tolist() == [60] * 5
    assert found["swapped"][0] == found["flipped"][1] == 0
    assert min(found["swapped"][1], found["flipped"][2]) > 0


def test_patients_without_genotypes_are_missing_at_every_variant(study: GenotypeStudy, tmp_path: Path) -> None:
    records = study.study.records[0]
    more = replace(
        records,
        patient_keys=np.concatenate([records.patient_keys, [f"further-{row}" for row in range(9)]]),
        values={name: np.concatenate([column, column[:9]]) for name, column in records.values.items()},
    )
    wider = replace(study, study=replace(study.study, records=(more, *study.study.records[1:])))
    ours, theirs = (run(tmp_path, one, "method=cmh", "missing=1") for one in (wider, study))
    assert (ours.patients, theirs.patients) == (309, 300)
    assert columns(ours)["p"].tolist() == columns(theirs)["p"].tolist()
    assert (columns(ours)["missing"] > columns(theirs)["missing"]).all()


def asked(study: GenotypeStudy, tmp_path: Path, step: object, *overrides: str) -> Analyst:
    settings, _ = read_gwas_settings(("method=allelic", "aggregation=open", *overrides))
    analyst = gwas_analyst(study, settings, memory=tmp_path / "memory", work=tmp_path / "work")
    request = StepRequest(terms=analyst.terms.digest, number=1, selection=Selection(complete=("affected",)), step=step)
    analyst.sums.sum(request, analyst.terms.sites)
    return analyst


def test_a_question_about_another_list_or_beyond_it_is_not_answered(study: GenotypeStudy, tmp_path: Path) -> None:
    digest = f"{study.listed.digest}:exclude"
    good = GenotypeCountStep(variants=digest, places=Packed.of(np.array([0, 59])), outcome="affected")
    asked(study, tmp_path, good)
    with pytest.raises(InvalidInputError, match="aligned to the study's list"):
        asked(study, tmp_path, good.model_copy(update={"variants": f"{study.listed.digest}:keep"}))
    for places in ([60], [-1]):
        with pytest.raises(InvalidInputError, match="places in a list of 60"):
            asked(study, tmp_path, good.model_copy(update={"places": Packed.of(np.array(places))}))
    with pytest.raises(RecordsError, match="expected 0 or 1") as caught:
        asked(study, tmp_path, good.model_copy(update={"outcome": "age"}))
    assert caught.value.variable == "age"


def test_a_site_without_genotypes_says_so(study: GenotypeStudy, tmp_path: Path) -> None:
    bare = replace(study, files=study.files[1:])
    with pytest.raises(InvalidInputError, match="expected genotypes aligned"):
        run(tmp_path, bare, "method=allelic")


def test_a_second_study_of_nearly_the_same_people_is_refused(study: GenotypeStudy, tmp_path: Path) -> None:
    results = []
    for where in ("age >= 20", "age >= 25.6"):
        settings, _ = read_gwas_settings(("method=allelic", "aggregation=open", f"where={where}"))
        analyst = gwas_analyst(study, settings, memory=tmp_path / "memory", work=tmp_path / "work")
        results.append((analyst, gwas_plan(settings, study)))
    assert results[0][0].run(results[0][1]).patients == 300
    with pytest.raises(PrivacyRefusedError, match="differs"):
        results[1][0].run(results[1][1])
