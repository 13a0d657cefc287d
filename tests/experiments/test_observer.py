"""What the simulator sees of a private study beside what the study releases."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from experiments.observing import observer
from experiments.preparation import PreparedSites
from experiments.progress import ProgressBoard
from federation.errors import PrivacyRefusedError
from federation.models.parameters import load
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult
from site_client.agent import SiteAgent
from site_client.evaluation import predict
from site_client.patients import SiteData
from tests.paid_study import fixed_model, paid_manifest, records_of
from tests.small_study import SITES, manifest, site_folders

PARAMETERS = np.array([0.5, -1.0, 2.0, 0.0, 0.3, 0.1], dtype=np.float32)


def _data(site: str) -> SiteData:
    study, seed = paid_manifest(), SITES.index(site)
    return SiteData(
        site=site, training=records_of(study, [1] * 40, seed=seed), test=records_of(study, [1] * 60, seed=10 + seed)
    )


def _prepared(study: StudyManifest) -> PreparedSites:
    data = tuple(_data(site) for site in SITES)
    return PreparedSites(manifest=study, data=data, pooled_data=data, attrition={}, readiness={}, patient_files={})


def _run(study: StudyManifest, folder: Path, *, observed: bool = True) -> tuple[RoundResult, ...]:
    agents = {site: SiteAgent(entry).handle for site, entry in site_folders(folder, study, data=_data).items()}
    return run_study(
        study,
        InlineTransport(agents),
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
        observe=observer(_prepared(study), study) if observed else None,
    ).rounds


def test_the_simulator_sees_exact_metrics_of_all_test_patients() -> None:
    study = paid_manifest()
    observe = observer(_prepared(study), study)
    assert observe is not None
    found = observe(PARAMETERS, None)
    model = fixed_model(study)
    load(model, PARAMETERS)
    tests = [_data(site).test for site in SITES]
    scores = np.concatenate([predict(model, test, task="binary") for test in tests])
    outcomes = np.concatenate([test.outcomes for test in tests])
    assert found["count"] == 180
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(outcomes, scores), rel=1e-6)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(outcomes, scores), abs=5e-3)


def test_nobody_observes_a_study_without_privacy_or_of_real_patients(tmp_path: Path) -> None:
    plain = manifest()
    assert observer(_prepared(plain), plain) is None
    real = paid_manifest(cohort={"provenance": "patients"})
    assert observer(_prepared(real), real) is None
    with pytest.raises(PrivacyRefusedError, match="observe"):
        run_study(
            real,
            InlineTransport({}),
            NullTracker(),
            checkpoints=CheckpointStore(tmp_path, study=real.digest),
            clock=lambda: 0.0,
            on_round=lambda _: None,
            observe=lambda *_: {},
        )


def test_observations_are_kept_beside_the_results_and_released_is_only_the_last_round(tmp_path: Path) -> None:
    study = paid_manifest(variance=1)
    rounds = _run(study, tmp_path)
    assert [bool(result.metrics) for result in rounds] == [False, True]
    assert [result.observed["count"] for result in rounds] == [180, 180]
    assert rounds[-1].metrics["count"] != rounds[-1].observed["count"]
    assert rounds[-1].metrics["count"] == pytest.approx(180, abs=4 * rounds[-1].metric_errors["count"])
    assert set(rounds[-1].metric_errors) == set(rounds[-1].metrics)
    # A checkpoint gives the same back.
    state = CheckpointStore(tmp_path / "coordinator", study=study.digest).latest()
    assert state is not None
    assert state.history == rounds


def test_observing_changes_nothing(tmp_path: Path) -> None:
    study = paid_manifest(variance=1)
    seen, unseen = _run(study, tmp_path / "a"), _run(study, tmp_path / "b", observed=False)
    assert [result.model_digest for result in seen] == [result.model_digest for result in unseen]
    assert [result.metrics for result in seen] == [result.metrics for result in unseen]
    assert all(result.observed == {} for result in unseen)


def test_epsilon_spent_contains_the_evaluations(tmp_path: Path) -> None:
    study = paid_manifest(variance=1)
    rounds = _run(study, tmp_path)
    assert rounds[-1].epsilon_spent["south"] <= 200
    assert rounds[-1].epsilon_spent["south"] > rounds[0].epsilon_spent["south"]


def test_a_quiet_board_takes_rounds_without_metrics() -> None:
    from conf.loading import compose
    from conf.validation import build
    from experiments.progress import round_note
    from experiments.settings import SimulationSettings

    result = RoundResult(
        round_number=1, contributors=(), dropouts={}, metrics={}, site_metrics={}, epsilon_spent={"a": 0.5},
        update_norm=0.0, model_digest="sha256:x", seconds=0.0, observed={"auroc": 0.7123},
    )  # fmt: skip
    assert round_note(result) == "auroc 0.712 · seen by the simulator, not released · epsilon 0.50"
    with ProgressBoard(None, build(SimulationSettings, compose([]))) as board:
        board.stage("federated", result)
