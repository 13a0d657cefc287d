"""A lead's rehearsal: the whole study on generated patients, a site unplugged, and nothing that could be mistaken for the study."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from experiments.rehearse_commands import register
from experiments.study_rehearsal.relabelling import PREFIX, rehearsed
from experiments.study_rehearsal.report import RehearsalReport
from experiments.study_rehearsal.running import Wishes, plug_of, rehearse
from federation.errors import InvalidInputError, ManifestError, QuorumError
from federation.study.manifest import StudyManifest
from tests.experiments.privacy_plan.planned_study import private_study
from tests.masked_study import SITES, masked_manifest
from tests.small_study import manifest

TODAY = dt.date(2026, 11, 26)


def _rehearse(study: StudyManifest, **wishes: object) -> RehearsalReport:
    return rehearse(study, Wishes(patients=20, **wishes), today=TODAY, on_round=lambda _: None)


def _texts(report: RehearsalReport, severity: str) -> str:
    return " | ".join(finding.text for finding in report.findings if finding.severity == severity)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> StudyManifest:
    schedule = {
        "rounds": 4,
        "local_steps": 2,
        "batch_size": 16,
        "evaluate_every": 4,
        "optimiser": {"learning_rate": 0.5},
    }
    return masked_manifest(tmp_path_factory.mktemp("study"), schedule=schedule)


def test_a_study_of_patients_is_rehearsed_as_another_study() -> None:
    study = private_study()
    found = rehearsed(study, patients=50).manifest
    assert study.cohort.provenance == "patients"
    assert (found.cohort.provenance, found.study) == ("synthetic", PREFIX + study.study)
    assert found.digest != study.digest
    assert [entry.training_patients for entry in found.roster] == [50, 50, 25]
    for kept in ("privacy", "aggregation", "evaluation", "contract", "model", "algorithm", "schedule"):
        assert getattr(found, kept) == getattr(study, kept)


def test_a_rehearsal_is_not_rehearsed_and_a_long_name_is_cut() -> None:
    with pytest.raises(ManifestError, match="rehearsal"):
        rehearsed(rehearsed(private_study()).manifest)
    assert len(rehearsed(manifest(study="a" * 63)).manifest.study) == 63


def test_the_cap_never_falls_below_the_smallest_cohort() -> None:
    study = manifest(cohort={"provenance": "patients", "minimum_patients": 30})
    assert {entry.training_patients for entry in rehearsed(study, patients=10).manifest.roster} == {30}


@pytest.mark.parametrize("mid_round", [False, True])
def test_a_masked_study_survives_a_site_that_is_unplugged(masked: StudyManifest, *, mid_round: bool) -> None:
    report = _rehearse(masked, unplug="north", unplug_round=2, mid_round=mid_round)
    assert report.finished
    assert report.unplugged is not None
    assert (report.unplugged.survived, report.unplugged.came_back) == (True, True)
    done = {entry.round_number: entry for entry in report.rounds if entry.round_number}
    assert list(done) == [1, 2, 3, 4]
    assert ("north" in done[2].contributors) == mid_round  # what was sent before is opened with the others' shares
    assert ("north" in done[2].dropouts) == (not mid_round)
    assert all(set(done[number].contributors) == set(SITES) for number in (1, 3, 4))
    assert "dropped out" not in _texts(report, "warning")  # the unplugged site is expected to
    kinds = {cost.kind for cost in report.messages}
    assert {"train_request", "consistency_request", "unmask_request", "key_agreement_request"} <= kinds
    number = sum(cost.number for cost in report.messages)
    by_kind = sum(cost.request_bytes * cost.number for cost in report.messages)
    assert abs(sum(entry.to_sites_bytes for entry in report.rounds) - by_kind) <= number  # means are rounded


def test_the_same_seed_is_the_same_rehearsal(masked: StudyManifest) -> None:
    first, second = (_rehearse(masked, rounds=1, no_unplug=True, seed=4) for _ in range(2))
    assert first.rounds[-1].released == second.rounds[-1].released
    assert first.rehearsal == second.rehearsal
    other = _rehearse(masked, rounds=1, no_unplug=True, seed=5)
    assert other.rounds[-1].released != first.rounds[-1].released


def test_a_private_study_says_what_it_spends_and_what_leaves() -> None:
    study = private_study(aggregation={"quorum": 2})
    report = _rehearse(study)
    assert report.epsilon.keys() == {"north", "south", "west"}
    assert max(report.epsilon.values()) <= 3.0
    assert report.unplugged is not None
    assert (report.unplugged.site, report.unplugged.round_number) == ("west", 3)
    assert report.epsilon["west"] < report.epsilon["north"]  # it missed a round, and its patients pay less
    assert any("noisy counts" in line for line in report.leaves_each_site)
    assert any("3 times, with noise" in line for line in report.released)
    assert report.manifest == study.digest != report.rehearsal
    assert "no public key" in _texts(report, "stops")


def test_a_quorum_without_a_spare_site_is_a_warning_and_nobody_is_unplugged() -> None:
    report = _rehearse(manifest())
    assert report.unplugged is None
    assert "every round needs all 3 sites (quorum 3)" in _texts(report, "warning")


def test_a_site_that_cannot_be_spared_stops_the_study() -> None:
    report = _rehearse(manifest(), unplug="south", unplug_round=2)
    assert report.failure == "QuorumError"
    assert report.unplugged is not None
    assert not report.unplugged.survived
    assert "the study stopped after round 1" in _texts(report, "stops")
    assert [entry.round_number for entry in report.rounds] == [1]


def test_what_would_go_wrong_with_the_manifest_is_said() -> None:
    study = manifest(expires="2026-11-25", aggregation={"quorum": 2})
    report = _rehearse(study, rounds=1, no_unplug=True)
    assert "expired on 2026-11-25" in _texts(report, "stops")
    assert "fewer patients than declared" in _texts(report, "note")
    assert "up to 1 of 3 sites may be away" in _texts(report, "note")


@pytest.mark.parametrize("wishes", [{"unplug": "nobody"}, {"unplug": "north", "unplug_round": 9}])
def test_only_a_site_of_the_roster_in_a_round_of_the_study_is_unplugged(wishes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        plug_of(manifest(), Wishes(**wishes))


def _run(folder: Path, study: StudyManifest, *words: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    path = folder / "study.json"
    path.write_text(study.sealed())
    return CliRunner().invoke(app, ["rehearse", str(path), "--patients", "20", *words], env={"COLUMNS": "200"})


def test_the_command_prints_a_report_or_json(tmp_path: Path) -> None:
    study = manifest(aggregation={"quorum": 2})
    shown = _run(tmp_path, study, "--rounds", "2", "--quiet")
    assert shown.exit_code == 0
    for word in (
        "Rehearsal of small",
        "what would leave each site",
        "unplugged in round 1",
        "survived",
        "train_request",
    ):
        assert word in shown.output
    data = json.loads(_run(tmp_path, study, "--rounds", "2", "--json").stdout)
    assert RehearsalReport.from_data(data).finished


def test_the_exit_code_is_that_of_what_stopped_the_study(tmp_path: Path) -> None:
    result = _run(tmp_path, manifest(), "--unplug", "south", "--rounds", "1", "--quiet")
    assert result.exit_code == QuorumError.exit_code
    assert "stopped: QuorumError" in result.output
    assert isinstance(_run(tmp_path, manifest(), "--unplug", "south", "--no-unplug").exception, InvalidInputError)
