"""Exact statistics on openly licensed hospital records equal statsmodels and lifelines on the pooled files, with and without masks."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from pathlib import Path

import numpy as np
import pytest

from experiments.analyse_records import AnalysedStudy
from experiments.analyse_sites import load_analysed_study
from site_client.patients import Records
from tests.statistics_bench import analyse, close

OPEN, MASKED = ("aggregation=open", 1e-8), ("aggregation=masked", 1e-6)


@pytest.fixture(scope="module")
def gbsg2(cohortium_data: Path) -> list[dict[str, str]]:
    path = cohortium_data / "survival" / "gbsg2.csv"
    if not path.is_file():
        pytest.skip("COHORTIUM_DATA has no survival/gbsg2.csv")
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def eicu_folder(cohortium_data: Path) -> Path:
    folder = cohortium_data / "eicu_demo"
    if not folder.is_dir():
        pytest.skip("COHORTIUM_DATA has no folder 'eicu_demo'")
    return folder


def merged(study: AnalysedStudy, sites: int) -> AnalysedStudy:
    """The hospitals together in so many groups: small hospitals are too many for a quick test with masks."""
    groups = [study.records[start::sites] for start in range(sites)]
    return AnalysedStudy(
        name=study.name,
        contract=study.contract,
        cohort=study.cohort,
        records=tuple(
            Records(
                site=f"group-{place}",
                patient_keys=np.concatenate([records.patient_keys for records in group]),
                values={name: np.concatenate([records.values[name] for records in group]) for name in group[0].values},
            )
            for place, group in enumerate(groups)
        ),
    )


@pytest.mark.parametrize(("how", "tolerance"), [OPEN, MASKED])
def test_logistic_regression_at_four_hospitals(
    how: str, tolerance: float, heart_disease_folder: Path, tmp_path: Path
) -> None:
    import statsmodels.api as sm

    rows = [
        row
        for name in ("cleveland", "hungarian", "switzerland", "va")
        for row in csv.reader((heart_disease_folder / f"processed.{name}.data").read_text().splitlines())
    ]
    age, male, pain, disease = (np.array([float(row[place]) for row in rows]) for place in (0, 1, 2, 13))
    design = np.column_stack([np.ones(len(rows)), age.clip(30, 80), male, pain == 2, pain == 3, pain == 4])
    expected = sm.GLM((disease > 0).astype(float), design, family=sm.families.Binomial()).fit(tol=1e-15, maxiter=100)
    study = load_analysed_study(["study=heart_disease"], folder=tmp_path, data=heart_disease_folder.parent)
    found = analyse(study, tmp_path, "analysis=glm", "formula=outcome ~ age + male + cp", how)
    assert (found.patients, len(found.sites)) == (920, 4)
    assert close(found.tables[0].numbers("estimate"), expected.params, tolerance)
    assert close(found.tables[0].numbers("standard error"), expected.bse, tolerance)


@pytest.mark.parametrize(("how", "tolerance"), [OPEN, MASKED])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_regression_on_the_german_breast_cancer_study(
    how: str, tolerance: float, ties: str, gbsg2: list[dict[str, str]], cohortium_data: Path, tmp_path: Path
) -> None:
    from statsmodels.duration.hazard_regression import PHReg

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in gbsg2])

    grade = np.array([row["tgrade"] for row in gbsg2])
    hormones = np.array([row["horTh"] == "yes" for row in gbsg2])
    design = np.column_stack([column("age"), grade == "II", grade == "III", column("pnodes"), hormones]).astype(float)
    expected = PHReg(column("time"), design, status=column("cens"), ties=ties).fit(disp=0)
    study = load_analysed_study(["study=gbsg2", "study.options.num_sites=6"], folder=tmp_path, data=cohortium_data)
    asked = ("analysis=cox", "formula=~ age + grade + nodes + hormones", "time=days", "event=recurrence", "grid=1")
    found = analyse(study, tmp_path, *asked, f"ties={ties}", how)
    assert (found.patients, found.figures["events"]) == (686, 299)
    assert close(found.tables[0].numbers("estimate"), expected.params, tolerance)
    assert close(found.tables[0].numbers("standard error"), expected.bse, tolerance)


def test_survival_curves_of_the_german_breast_cancer_study(
    gbsg2: list[dict[str, str]], cohortium_data: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines import KaplanMeierFitter

    study = load_analysed_study(["study=gbsg2"], folder=tmp_path, data=cohortium_data)
    asked = ("analysis=kaplan_meier", "time=days", "event=recurrence", "group=hormones", "grid=1")
    curves = analyse(study, tmp_path, *asked).table("curves")
    for group in ("no", "yes"):
        rows = [row for row in gbsg2 if row["horTh"] == group]
        days, event = (np.array([float(row[name]) for row in rows]) for name in ("time", "cens"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = KaplanMeierFitter().fit(days, event)
            shown = [row for row in curves.rows if row[0] == group]
            survivors = expected.survival_function_at_times([row[1] for row in shown]).to_numpy()
        assert len(shown) > 10
        assert close([row[4] for row in shown], survivors, 1e-10)


def eicu_pooled(folder: Path) -> dict[str, np.ndarray]:
    """Read from the files again, without a line of the project."""

    def rows(name: str) -> list[dict[str, str]]:
        text = gzip.decompress((folder / f"{name}.csv.gz").read_bytes()).decode()
        return list(csv.DictReader(io.StringIO(text)))

    results = {row["patientunitstayid"]: row for row in rows("apachePatientResult") if row["apacheversion"] == "IVa"}
    predictors = {row["patientunitstayid"]: row for row in rows("apachePredVar")}
    stays = [
        (row, results[row["patientunitstayid"]], predictors[row["patientunitstayid"]])
        for row in rows("patient")
        if row["patientunitstayid"] in results and row["patientunitstayid"] in predictors
    ]
    patients = [row["uniquepid"] for row, _, _ in stays]
    complete = [
        (float(row["age"].replace("> 89", "90")), float(result["apachescore"]), float(before["diabetes"]),
         float(result["actualhospitalmortality"] == "EXPIRED"))
        for row, result, before in stays
        if row["age"] and float(result["apachescore"]) >= 0 and patients.count(row["uniquepid"]) == 1
    ]  # fmt: skip
    return dict(zip(("age", "apache", "diabetes", "died"), np.array(complete).T, strict=True))


def once_only(study: AnalysedStudy) -> AnalysedStudy:
    """Patients with one stay: of others the study keeps one by hash, which the pooled reading would have to repeat."""
    keys = np.concatenate([records.patient_keys for records in study.records])
    names, counts = np.unique(keys, return_counts=True)
    once = set(names[counts == 1].tolist())
    kept = [records.rows(np.array([key in once for key in records.patient_keys])) for records in study.records]
    return AnalysedStudy(name="eicu", contract=study.contract, cohort=study.cohort, records=tuple(kept))


@pytest.mark.parametrize(("how", "tolerance", "sites"), [(*OPEN, 0), (*MASKED, 6)])
def test_mortality_in_the_eicu_demo(how: str, tolerance: float, sites: int, eicu_folder: Path, tmp_path: Path) -> None:
    import statsmodels.api as sm

    pooled = eicu_pooled(eicu_folder)
    design = np.column_stack([np.ones(len(pooled["age"])), pooled["age"], pooled["apache"], pooled["diabetes"]])
    expected = sm.GLM(pooled["died"], design, family=sm.families.Binomial()).fit(tol=1e-15, maxiter=100)
    study = once_only(load_analysed_study(["study=eicu"], folder=tmp_path, data=eicu_folder.parent))
    assert len(study.records) > 150
    found = analyse(
        merged(study, sites) if sites else study,
        tmp_path,
        "analysis=glm",
        "formula=outcome ~ age + apache + diabetes",
        how,
    )
    assert found.patients == len(pooled["age"])
    assert close(found.tables[0].numbers("estimate"), expected.params, tolerance)
    assert close(found.tables[0].numbers("standard error"), expected.bse, tolerance)
