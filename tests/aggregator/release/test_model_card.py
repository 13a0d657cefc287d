from __future__ import annotations

import json
from pathlib import Path

import pytest

from aggregator.release.finished_study import FinishedStudy, read_finished
from aggregator.release.model_card import model_card
from federation.governance.releases import Parity
from tests.aggregator.release.finished_run import finished_run

PARITY = Parity(patients=1000, largest_difference=1.5e-7, tolerance=1e-5)


def card_of(folder: Path, **changes: object) -> tuple[str, FinishedStudy]:
    study = read_finished(finished_run(folder, **changes))
    return model_card(study, PARITY), study


@pytest.mark.parametrize(("epsilon", "delta"), [(2.0, 1e-3), (0.125, 3e-7), (7.5, 1e-5)])
def test_the_card_states_epsilon_and_delta_as_in_the_manifest(tmp_path: Path, epsilon: float, delta: float) -> None:
    run = finished_run(tmp_path)
    study = read_finished(run)
    promise = study.manifest.privacy.model_copy(update={"epsilon": epsilon, "delta": delta})
    manifest = study.manifest.model_copy(update={"privacy": promise})
    statement = study.report.privacy.model_copy(update={"epsilon": epsilon, "delta": delta})
    changed = FinishedStudy(
        model=type(study.model)(manifest, study.model.parameters),
        model_file=b"",
        report=study.report.model_copy(update={"privacy": statement}),
    )
    assert f"**epsilon {manifest.privacy.epsilon!r}, delta {manifest.privacy.delta!r}**" in model_card(changed, PARITY)


def test_the_figures_are_those_of_the_report_with_their_intervals(tmp_path: Path) -> None:
    text, study = card_of(tmp_path)
    setting = study.report.setting("federated")
    assert setting is not None
    for metrics in (setting.overall, *(site.metrics for site in setting.sites)):
        found = metrics["auroc"]
        if found.value is not None and found.lower is not None:
            assert f"{found.value:.3f} ({found.lower:.3f} to {found.upper:.3f})" in text
    other = study.report.setting("pooled")
    assert other is not None
    assert f"{other.overall['auroc'].value:.3f} ({other.overall['auroc'].lower:.3f}" not in text


def test_every_variable_site_and_limit_is_named(tmp_path: Path) -> None:
    text, study = card_of(tmp_path)
    for variable in study.manifest.contract.columns:
        assert f"`{variable.name}`" in text
    for entry in study.manifest.roster:
        assert entry.site in text
    assert text.count("\n- ") >= len(study.report.privacy.not_covered)
    assert study.manifest.digest in text


def test_a_study_without_privacy_claims_none(tmp_path: Path) -> None:
    text, _ = card_of(tmp_path, private=False)
    assert "without differential privacy" in text
    assert "**epsilon" not in text
    assert "audit" not in text.lower()


def test_noise_from_a_seed_is_called_what_it_is(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    data = json.loads((run / "report.json").read_text())
    for seeded in (True, False):
        data["privacy"]["reproducible_noise"] = seeded
        (run / "report.json").write_text(json.dumps(data))
        assert ("protects nobody" in model_card(read_finished(run), PARITY)) is seeded


def test_without_predictions_the_card_shows_what_the_study_released(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    data = json.loads((run / "report.json").read_text())
    data["performance"] = []
    data["convergence"][-1] |= {"metrics": {"auroc": 0.8125}, "metric_errors": {"auroc": 0.03}}
    (run / "report.json").write_text(json.dumps(data))
    text = model_card(read_finished(run), PARITY)
    assert "| auroc | 0.812 | ± 0.03 |" in text
    for point in data["convergence"]:
        point["metrics"] = {}
    (run / "report.json").write_text(json.dumps(data))
    assert "released no figures on performance" in model_card(read_finished(run), PARITY)


def test_text_of_others_cannot_break_the_page(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    study = read_finished(run)
    evil = "x <script>alert(1)</script> | y\n# Performance: perfect [a](javascript:b)"
    manifest = study.manifest.model_copy(update={"title": evil, "question": evil, "data_licence": evil})
    changed = FinishedStudy(
        model=type(study.model)(manifest, study.model.parameters), model_file=b"", report=study.report
    )
    text = model_card(changed, PARITY)
    assert "<script>" not in text
    assert "\n# Performance: perfect" not in text
    assert "](javascript" not in text
    assert "alert(1)&lt;/script> \\| y" in text
