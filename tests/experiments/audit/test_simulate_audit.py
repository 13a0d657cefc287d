"""A simulation with audit: shown in the report, or, if it refutes the claim, nothing is released."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.loading import load
from experiments.settings import SimulationSettings
from experiments.simulate import simulate
from federation.errors import AuditFailedError
from federation.privacy.audit_result import StudyAudit
from federation.privacy.noise import noisy_mean


def _settings(*more: str) -> SimulationSettings:
    return load(
        SimulationSettings,
        [
            "study=synthetic", "study.options.num_sites=2", "study.options.patients_per_site=60", "privacy=patient_level",
            "schedule.rounds=2", "schedule.local_steps=2", "tracking=none", "report.bootstrap_samples=20",
            "baselines.pooled.enabled=false", "baselines.cyclic=false", "baselines.local_only=false",
            "baselines.non_private=false", "audit.samples=2000", "audit.canaries=100", "audit.shadow_models=2", *more,
        ],
    )  # fmt: skip


def test_the_report_shows_what_the_audit_measured(tmp_path: Path) -> None:
    simulate(_settings("audit.kind=all"), output=tmp_path, data=None, progress=None)
    found = StudyAudit.from_json((tmp_path / "seed-42" / "audit.json").read_bytes())
    page = (tmp_path / "report.html").read_text()
    assert len(found.results) >= 3
    for result in found.results:
        assert f"at least <b>{result.lower_bound_epsilon:.2f}</b>" in page
    assert (tmp_path / "seed-42" / "model.safetensors").is_file()


def test_a_refuted_claim_releases_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quieter(total, *, mechanism, generator):
        less = mechanism.model_copy(update={"noise_multiplier": mechanism.noise_multiplier / 4})
        return noisy_mean(total, mechanism=less, generator=generator)

    monkeypatch.setattr("experiments.audit.mechanism.noisy_mean", quieter)
    with pytest.raises(AuditFailedError):
        simulate(_settings("audit.kind=mechanism"), output=tmp_path, data=None, progress=None)
    assert not StudyAudit.from_json((tmp_path / "seed-42" / "audit.json").read_bytes()).passed
    for name in ("seed-42/model.safetensors", "report.html", "report.json", "summary.json"):
        assert not (tmp_path / name).exists()


def test_without_a_choice_nothing_is_audited(tmp_path: Path) -> None:
    simulate(_settings(), output=tmp_path, data=None, progress=None)
    assert not (tmp_path / "seed-42" / "audit.json").exists()
    assert "No audit was run" in (tmp_path / "report.html").read_text()
