from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from experiments.audit_commands import audit
from federation.errors import AuditFailedError, CohortiumError, ConfigurationError
from federation.privacy.audit_result import StudyAudit
from federation.privacy.noise import noisy_mean

SMALL = (
    "study=synthetic", "study.options.num_sites=2", "study.options.patients_per_site=60", "privacy=patient_level",
    "schedule.rounds=2", "schedule.local_steps=2", "--samples=2000", "--canaries=100", "--shadow-models=2",
)  # fmt: skip


def _run(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("audit")(audit)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    if isinstance(result.exception, CohortiumError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_all_audits_of_a_study_end_in_a_table_and_a_file(tmp_path: Path) -> None:
    result = _run(*SMALL, "--output", tmp_path / "audit.json")
    assert result.exit_code == 0
    written = StudyAudit.from_json((tmp_path / "audit.json").read_bytes())
    assert list(dict.fromkeys(found.kind for found in written.results)) == ["mechanism", "one_run", "membership"]
    assert written.passed
    for found in written.results:
        assert f"at least {found.lower_bound_epsilon:.2f}" in result.stdout
    assert "does not prove the claim" in result.stdout
    assert "canaries: round 1 of 2" in result.stderr


def test_json_is_all_of_stdout_and_repeats_with_its_seed() -> None:
    arguments = (*SMALL, "--kind=mechanism", "--json", "--quiet")
    texts = [_run(*arguments, f"--seed={seed}").stdout for seed in (1, 1, 2)]
    found = [StudyAudit.from_json(text) for text in texts]
    assert found[0] == found[1]
    assert found[0].manifest_digest == found[2].manifest_digest, "the seed is the audit's, not the study's"
    assert found[0].results[0].lower_bound_epsilon != found[2].results[0].lower_bound_epsilon
    assert (found[0].results[0].samples, found[0].results[0].seeded) == (2000, True)


def test_without_seeds_the_randomness_is_fresh() -> None:
    arguments = (*SMALL, "seeded=false", "--kind=one-run", "--json", "--quiet")
    found = [StudyAudit.from_json(_run(*arguments).stdout).results[0] for _ in range(2)]
    assert not found[0].seeded
    assert found[0] != found[1] or found[0].lower_bound_epsilon == 0


def test_what_is_typed_changes_what_is_audited() -> None:
    claims = [
        json.loads(_run(*SMALL, f"privacy.epsilon={epsilon}", "--kind=one-run", "--json", "--quiet").stdout)
        for epsilon in (1, 4)
    ]
    assert claims[0]["results"][0]["claimed_epsilon"] <= 1 < claims[1]["results"][0]["claimed_epsilon"] <= 4


@pytest.mark.parametrize("as_json", [True, False])
def test_a_refuted_claim_ends_with_its_error_and_keeps_the_evidence(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def quieter(total, *, mechanism, generator):
        less = mechanism.model_copy(update={"noise_multiplier": mechanism.noise_multiplier / 4})
        return noisy_mean(total, mechanism=less, generator=generator)

    monkeypatch.setattr("experiments.audit.mechanism.noisy_mean", quieter)
    with pytest.raises(AuditFailedError, match="mechanism: at least") as refusal:
        _run(*SMALL, "--kind=mechanism", "--output", tmp_path / "audit.json", *(["--json"] if as_json else []))
    assert refusal.value.exit_code == 47
    assert not StudyAudit.from_json((tmp_path / "audit.json").read_bytes()).passed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("study=synthetic", "privacy=none"), "no promise to audit"),
        (("study=synthetic", "privacy=patient_level", "privacy.epsilon=1,2"), "several values"),
        (("study=synthetic", "privacy=patient_levle"), "patient_level"),
        (("study=synthetic", "privacy=patient_level", "study.options.partition_seed=x"), "partition_seed"),
    ],
)
def test_what_cannot_be_audited_is_said_at_once(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        _run(*arguments)


def test_an_unknown_kind_is_refused() -> None:
    assert _run("--kind=other").exit_code == 2
