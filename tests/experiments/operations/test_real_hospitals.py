"""Reports on openly licensed hospital records, against scikit-learn and statsmodels on the pooled predictions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from experiments.main import run
from experiments.operations.asking import Terms
from experiments.operations.finished_run import FinishedRun, SitePatients, open_run, site_patients
from experiments.operations.risks import calibration
from experiments.operations.stays import stays

QUICK = (
    "schedule=short", "tracking=none", "report.bootstrap_samples=20", "baselines.pooled.enabled=false",
    "baselines.local_only=false", "baselines.cyclic=false",
)  # fmt: skip
Finished = tuple[FinishedRun, tuple[SitePatients, ...]]


def finished(data: Path, folder: Path, *overrides: str) -> Finished:
    if not (data / "eicu_demo").is_dir():
        pytest.skip("COHORTIUM_DATA has no folder 'eicu_demo'")
    assert run(["simulate", *overrides, *QUICK, "--data", str(data), "-o", str(folder / "run"), "-q"]) == 0
    opened = open_run(folder / "run", data=data, work=folder / "hospitals")
    return opened, site_patients(opened, today=dt.date(2026, 1, 1))


def terms(folder: Path) -> Terms:
    return Terms(by="site", is_masked=False, threshold=1, records="all", memory=folder / "memory", work=folder / "work")


@pytest.mark.slow
def test_mortality_beside_apache_is_what_scikit_learn_says(cohortium_data: Path, tmp_path: Path) -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    study, patients = finished(cohortium_data, tmp_path, "study=eicu_mortality")
    table = calibration(study, patients, terms=terms(tmp_path)).table("performance")
    for title in ("this study", "APACHE IVa"):
        pooled: list[np.ndarray] = []
        for site in patients:
            apache, died = site.test.values["apache_mortality"], site.test.values["died"]
            known = np.isfinite(apache)
            said = (site.said if title == "this study" else apache)[known]
            pooled.append(np.stack([said, died[known]]))
            (line,) = [row for row in table.rows if row[:2] == (title, site.site)]
            assert line[2:4] == (known.sum(), died[known].sum())
            assert line[9] == pytest.approx(brier_score_loss(died[known], said), rel=1e-8)
        said, died = np.concatenate(pooled, axis=1)
        (line,) = [row for row in table.rows if row[:2] == (title, "all")]
        # A thousand bins: risks in one are ties.
        assert line[8] == pytest.approx(roc_auc_score(died, said), abs=2e-3)
        assert float(str(line[8])) > 0.7


@pytest.mark.slow
def test_stays_beside_apache_are_what_scikit_learn_says(cohortium_data: Path, tmp_path: Path) -> None:
    from sklearn.metrics import mean_absolute_error

    study, patients = finished(cohortium_data, tmp_path, "study=eicu_stay", "study.options.stay=hospital")
    table = stays(study, patients, level=0.8, terms=terms(tmp_path)).table("accuracy")
    apache = np.concatenate([site.test.values["apache_hospital_stay"] for site in patients])
    stay = np.concatenate([site.test.values["hospital_stay"] for site in patients])
    known = np.isfinite(apache)
    (line,) = [row for row in table.rows if row[:2] == ("APACHE IVa", "all")]
    assert line[2] == known.sum()
    assert line[6] == pytest.approx(mean_absolute_error(stay[known], apache[known]), rel=1e-8)
