"""Reports on predictions in a launched study: equal to the pooled ones, by groups of hospitals that were agreed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import brier_score_loss, mean_absolute_error

from aggregator.host.withdrawing import next_version_without
from aggregator.statistics.figures import analysis_files
from federation.errors import ConfigurationError, ManifestError, QuorumError
from federation.protocol.messages import Envelope, StatisticsReply
from federation.statistics.agreed_operations import AgreedCalibration
from federation.statistics.prediction_steps import RecalibrationStep, RiskHistogramStep
from federation.statistics.result import AnalysisResult
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.masked_study import Lossy, run
from tests.operations_study import (
    ASKED,
    CONTRACT,
    GROUPS,
    SITES,
    agreed,
    codes,
    operations_agents,
    operations_data,
    operations_manifest,
    values,
)

NORTH = codes() < 3
KNOWN = np.isfinite(values()["apache"])


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyManifest, StudyResult]:
    folder = tmp_path_factory.mktemp("operations")
    study = operations_manifest(folder, *ASKED)
    return study, run(study, folder, Lossy(operations_agents(folder, study)))


def result_of(taken: tuple[StudyManifest, StudyResult], name: str) -> AnalysisResult:
    found = next(analysis for analysis in taken[1].analyses if analysis.name == name)
    assert found.result is not None, found.reason
    return found.result


def rows(result: AnalysisResult, table: str, **where: object) -> list[dict[str, object]]:
    found = result.table(table)
    lines = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return [line for line in lines if all(line[key] == value for key, value in where.items())]


@pytest.mark.parametrize(("label", "among"), [("north", NORTH), ("south", ~NORTH), ("all", NORTH | ~NORTH)])
def test_risks_are_judged_over_groups_of_hospitals(taken, label: str, among: np.ndarray) -> None:
    of, chosen = values(), among & KNOWN
    for score in ("apache", "score"):
        (line,) = rows(result_of(taken, "risks"), "performance", score=score, group=label)
        assert (line["records"], line["observed"]) == (chosen.sum(), of["died"][chosen].sum())
        assert line["expected"] == pytest.approx(of[score][chosen].sum(), rel=1e-9)
        assert line["Brier"] == pytest.approx(brier_score_loss(of["died"][chosen], of[score][chosen]), rel=1e-9)


def test_a_patient_without_a_prediction_is_in_no_sum(taken) -> None:
    result = result_of(taken, "risks")
    assert result.patients == KNOWN.sum() < len(KNOWN)
    assert result.figures["patients without a prediction"] == 0


def test_risks_are_judged_by_ward_over_selected_patients(taken) -> None:
    of = values()
    for code, ward in enumerate(("medical", "surgical", "cardiac")):
        chosen = KNOWN & (of["age"] >= 40) & (of["ward"] == code)
        (line,) = rows(result_of(taken, "by_ward"), "performance", group=ward)
        assert line["records"] == chosen.sum()
        assert line["Brier"] == pytest.approx(brier_score_loss(of["died"][chosen], of["apache"][chosen]), rel=1e-9)


def test_following_up_reaches_those_of_the_highest_risk(taken) -> None:
    of, north = values(), NORTH & KNOWN
    (line,) = rows(result_of(taken, "call"), "capacity", group="north")
    highest = np.sort(of["score"][north])[::-1]
    assert line["records"] == north.sum()
    assert line["followed up"] >= 0.2 * north.sum()
    limit = highest[int(line["followed up"]) - 1]
    assert line["reached"] == of["died"][north & (of["score"] >= limit)].sum()


def test_stays_are_compared_with_predictions(taken) -> None:
    of = values()
    for code, ward in enumerate(("medical", "surgical", "cardiac")):
        chosen = KNOWN & (of["ward"] == code)
        (line,) = rows(result_of(taken, "days"), "accuracy", group=ward)
        expected = mean_absolute_error(of["stay"][chosen], of["apache_stay"][chosen])
        assert line["mean absolute error"] == pytest.approx(expected, rel=1e-9)
        (covered,) = rows(result_of(taken, "days"), "interval", group=ward)
        inside = (of["stay"] >= of["lower"]) & (of["stay"] <= of["upper"])
        assert covered["in the interval"] == pytest.approx(inside[chosen].mean())


def test_beds_are_counted_and_forecast_by_group(taken) -> None:
    of = values()
    for label, among in (("north", NORTH & KNOWN), ("south", ~NORTH & KNOWN)):
        (line,) = rows(result_of(taken, "taken"), "days", group=label, day=25, **{"days ahead": 1})
        there = among & (of["admitted"] <= 25) & (of["admitted"] + of["stay"] > 25)
        assert line["observed"] == there.sum()
        present = among & (of["admitted"] <= 24) & (of["admitted"] + of["stay"] > 24)
        later = among & (of["admitted"] > 24) & (of["admitted"] <= 25)
        mean = of["apache_stay"]
        stays = np.exp(-1 / mean[present]).sum() + np.exp(-(25 - of["admitted"][later]) / mean[later]).sum()
        assert line["expected"] == pytest.approx(stays, rel=0.02), "curves are straight between days"


def test_figures_of_every_report_are_files_of_the_study(taken) -> None:
    names = {name for analysis in taken[1].analyses for name in analysis_files(analysis, outcome="died")}
    wanted = {"risks-reliability", "risks-by_site", "call-risk_groups", "call-reach", "days-stays", "taken-beds_1"}
    assert {f"{name}.svg" for name in wanted} <= names
    assert {f"{name}.json" for name in ASKED} <= names


def test_hospitals_give_no_sum_in_which_a_group_has_one_or_two(tmp_path: Path) -> None:
    study = operations_manifest(tmp_path, "risks")
    sites = operations_agents(tmp_path, study)

    def loses(site: str, request: Envelope) -> bool:
        return site == "a1" and "statistics" in request.header.kind

    transport = Lossy(sites, loses=loses)
    with pytest.raises(QuorumError):
        run(study, tmp_path, transport)
    reached = {reply.header.site for _, _, reply in transport.seen if isinstance(reply.header, StatisticsReply)}
    assert reached == set(SITES) - {"a1"}, "masked numbers came and cannot be opened"
    assert not list((tmp_path / "coordinator" / "statistics").glob("*.json"))
    result = run(study, tmp_path, Lossy(sites))
    assert result.analyses[0].result.sites == SITES


def test_without_groups_a_hospital_may_be_missing(tmp_path: Path) -> None:
    study = operations_manifest(tmp_path, "by_ward")

    def loses(site: str, request: Envelope) -> bool:
        return site == "a1" and "statistics" in request.header.kind

    found = run(study, tmp_path, Lossy(operations_agents(tmp_path, study), loses=loses)).analyses[0].result
    assert found.sites == SITES[1:]


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ("{north: [a1, a2, a3], south: [b1, b2]}", "at least 3"),
        ("{north: [a1, a2, a3], south: [a1, b2, b3]}", "share no site"),
        ("{all: [a1, a2, a3, b1, b2, b3]}", "two or more"),
    ],
)
def test_groups_that_would_show_a_hospital_are_no_groups(groups: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        agreed("risks", ["analysis=calibration", "predictions=[apache]", f"groups={groups}"])


def test_groups_are_of_all_sites_that_are_waited_for(tmp_path: Path) -> None:
    data = operations_data(tmp_path, "risks", spec={"drop_outs": "leave_out"})
    with pytest.raises(ManifestError, match="drop_outs 'wait'"):
        StudyManifest.from_data(data)
    with pytest.raises(ManifestError, match="every site of the roster"):
        StudyManifest.from_data(operations_data(tmp_path, "risks", sites=SITES[1:]))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["analysis=calibration", "predictions=[guessed]"], "never to be imputed"),
        (["analysis=calibration", "predictions=[age]"], "prediction from 0 to 1"),
        (["analysis=calibration", "predictions=[apache]", "outcome=ward"], "binary"),
        (["analysis=stays", "stay=age", "predictions=[apache_stay]"], "number of days"),
        (
            ["analysis=beds", "admitted=admitted", "stay=stay", "predictions=[apache_stay]", "days=20"],
            "days for forecasts",
        ),
        (["analysis=follow_up", "predictions=[apache,score]"], "predictions"),
        (["analysis=calibration", "prediction=[apache]"], "predictions"),
        (["analysis=calibration", "predictions=[blood]"], "blood"),
    ],
)
def test_what_is_no_report_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises((ConfigurationError, ManifestError), match=problem):
        agreed("asked", words)


def test_only_the_steps_of_the_agreed_report_are_allowed() -> None:
    report = AgreedCalibration.from_data(
        agreed("risks", ["analysis=calibration", "predictions=[apache]", f"groups={GROUPS}"])
    )
    histogram, by_group, everybody = report.steps(CONTRACT)
    moved = RecalibrationStep(scores=by_group.scores, line=(((0.1, 1.2), (0.0, 1.0)),), shift=((0.3, 0.1),))
    assert all(report.allows(step, CONTRACT) for step in (histogram, by_group, everybody, moved))
    other = histogram.scores.model_copy(update={"scores": ("score",)})
    finer = RiskHistogramStep(scores=histogram.scores, bins=2000)
    for step in (finer, RiskHistogramStep(scores=other), RecalibrationStep(scores=other, line=(), shift=())):
        assert not report.allows(step, CONTRACT)


def test_reports_of_slightly_different_patients_are_refused_by_hospitals(tmp_path: Path) -> None:
    """Some lack a prediction: the difference of two reports would be about them."""
    data = operations_data(tmp_path, "risks")
    data["statistics"]["analyses"].append(agreed("call", [word for word in ASKED["call"] if "complete" not in word]))
    study = StudyManifest.from_data(data)
    risks, call = run(study, tmp_path, Lossy(operations_agents(tmp_path, study))).analyses
    assert risks.result is not None
    assert call.result is None
    assert "PrivacyRefusedError" in call.reason


def test_a_version_without_a_site_has_groups_without_it(tmp_path: Path) -> None:
    data = operations_data(tmp_path, "by_ward")
    whole = StudyManifest.from_data(data)
    assert next_version_without(whole, "a1").statistics == whole.statistics
    with pytest.raises(ManifestError, match="at least 3 sites in each"):
        next_version_without(operations_manifest(tmp_path, "risks"), "a1")
