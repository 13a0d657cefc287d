"""From a finished simulation to the content of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from aggregator.report.content import (
    Curves,
    ReportFile,
    Reproducibility,
    SettingPerformance,
    StudyReport,
)
from aggregator.report.facts import convergence, training_facts
from aggregator.report.statement import privacy_statement
from aggregator.report.vocabulary import PRIMARY_METRIC, ordered_settings, setting_of
from experiments.curves import curves
from experiments.participants import outcome_levels, participants, readiness_verdicts
from experiments.performance import Draws, ScoredBySite, draw, over_seeds, same_records, setting_performance
from experiments.predictions import Scored, SitePredictions, joined, scored
from federation.data.contract import Continuous, DataContract, Integer
from federation.errors import PrivacyRefusedError
from federation.models.task_terms import QuantileTerms
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.patients import Attrition

Predictions = Mapping[str, Sequence[SitePredictions]]
"""Training setting to its model's predictions on every site's test patients (``local_only``: each site's own model)."""
_REFERENCES: Final = ("local_only", "cyclic", "pooled")
_OTHER_RECORDS: Final = "Tested on other records than the other settings: compare with care."


@dataclass(frozen=True)
class RunFacts:
    """How the run was made, and how its report states uncertainty.

    Args:
        created: Date and time as shown; the report reads no clock.
        command: Command line that gives the same figures again.
        seeds: Seeds of the repetitions; the report is of the first.
        seeded: Whether this was seeded test mode.
        software: Package to version.
        files: What was written beside the report.
        training_patients: Site to the true number of training patients, where it may be shown.
        descriptions: Training setting to what was done, in place of the usual explanation.
        bootstrap_samples: Draws behind every interval; 0 for no intervals.
        confidence_level: Of every interval.
    """

    created: str
    command: str = ""
    seeds: tuple[int, ...] = ()
    seeded: bool = False
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    files: tuple[ReportFile, ...] = ()
    training_patients: Mapping[str, int] = field(default_factory=dict[str, int])
    descriptions: Mapping[str, str] = field(default_factory=dict[str, str])
    bootstrap_samples: int = 1000
    confidence_level: float = 0.95


def assess(
    manifest: StudyManifest,
    *,
    result: StudyResult,
    predictions: Predictions,
    attrition: Mapping[str, Attrition],
    readiness: Mapping[str, Mapping[str, bool]],
    run: RunFacts,
    generator: np.random.Generator,
    repetitions: Sequence[Predictions] = (),
) -> StudyReport:
    """Assess a finished study.

    Args:
        manifest: What the sites agreed on.
        result: Of the first seed.
        predictions: Of the first seed. Settings should be scored on the same test records; one that was not is marked.
        attrition: Site to its attrition table; left out of the report in a study of real patients.
        readiness: Site to variable to pass or fail.
        run: How the run was made.
        generator: Source of the bootstrap draws.
        repetitions: Predictions of the further seeds, if the study was repeated.

    Raises:
        PrivacyRefusedError: If predictions of real patients are given: they may not leave their site.
    """
    if manifest.cohort.provenance == "patients" and predictions:
        raise PrivacyRefusedError(
            "expected predictions on a synthetic or public cohort, got provenance 'patients'",
            remedy="report a study of real patients without predictions: its released metrics are in the rounds",
        )
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    by_setting = _scored(manifest, predictions)
    performance = _performance(manifest, by_setting, run=run, generator=generator)
    runs = (by_setting, *(_scored(manifest, each) for each in repetitions))
    rounds = convergence(result)
    references = [setting_of(name).title for name in by_setting if name != "federated"]
    outcome = manifest.contract.outcome
    return StudyReport(
        title=manifest.title,
        question=manifest.question,
        study=manifest.study,
        manifest_digest=result.manifest_digest,
        created=run.created,
        data_licence=manifest.data_licence,
        provenance=manifest.cohort.provenance,
        task=manifest.task,
        outcome=outcome.name,
        outcome_unit=outcome.unit if isinstance(outcome, Continuous | Integer) else "",
        primary_metric=PRIMARY_METRIC[manifest.task],
        confidence_level=run.confidence_level,
        bootstrap_samples=run.bootstrap_samples if by_setting else 0,
        participants=participants(manifest, by_setting, attrition, run.training_patients),
        readiness=readiness_verdicts(readiness),
        training=training_facts(manifest),
        convergence=rounds,
        performance=_with_seeds(performance, runs, run.confidence_level),
        curves=_curves(manifest.contract, by_setting, run),
        privacy=privacy_statement(manifest, rounds=rounds, seeded=run.seeded, references=references if private else ()),
        reproducibility=Reproducibility(
            seeds=run.seeds, seeded=run.seeded, command=run.command, software=dict(run.software), files=run.files
        ),
    )


def _scored(manifest: StudyManifest, predictions: Predictions) -> dict[str, dict[str, Scored]]:
    order = {entry.site: place for place, entry in enumerate(manifest.roster)}
    return {
        setting: {
            entry.site: _in_outcome_unit(manifest.contract, scored(manifest.objective, entry))
            for entry in sorted(predictions[setting], key=lambda entry: order.get(entry.site, len(order)))
        }
        for setting in ordered_settings(tuple(predictions))
    }


def _in_outcome_unit(contract: DataContract, records: Scored) -> Scored:
    if records.task != "regression" and not isinstance(records.task, QuantileTerms):
        return records
    from federation.data.encoding import decode_outcome

    return replace(
        records,
        scores=np.asarray(decode_outcome(contract, records.scores), dtype=np.float64),
        outcomes=np.asarray(decode_outcome(contract, records.outcomes), dtype=np.float64),
    )


def _performance(
    manifest: StudyManifest,
    by_setting: Mapping[str, ScoredBySite],
    *,
    run: RunFacts,
    generator: np.random.Generator,
) -> tuple[SettingPerformance, ...]:
    if not by_setting:
        return ()
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    usual = by_setting.get("federated") or next(iter(by_setting.values()))

    def draws(sites: ScoredBySite) -> Draws:
        return draw(sites, samples=run.bootstrap_samples, confidence_level=run.confidence_level, generator=generator)

    shared = draws(usual)
    found: list[SettingPerformance] = []
    for setting, sites in by_setting.items():
        comparable = same_records(sites, usual)
        explanation = run.descriptions.get(setting) or setting_of(setting, private=private).explanation
        if private and setting not in run.descriptions and setting in _REFERENCES:
            explanation += " Trained without privacy."
        found.append(
            setting_performance(
                setting,
                sites,
                draws=shared if comparable else draws(sites),
                primary=PRIMARY_METRIC[manifest.task],
                private=private,
                explanation=explanation if comparable else f"{explanation} {_OTHER_RECORDS}",
            )
        )
    return tuple(found)


def _with_seeds(
    performance: tuple[SettingPerformance, ...], runs: Sequence[Mapping[str, ScoredBySite]], confidence_level: float
) -> tuple[SettingPerformance, ...]:
    if len(runs) < 2:  # noqa: PLR2004 - one seed has no spread
        return performance
    return tuple(
        entry.model_copy(
            update={
                "over_seeds": over_seeds(
                    [each[entry.setting] for each in runs if entry.setting in each], confidence_level=confidence_level
                )
            }
        )
        for entry in performance
    )


def _curves(contract: DataContract, by_setting: Mapping[str, ScoredBySite], run: RunFacts) -> tuple[Curves, ...]:
    outcome = contract.outcome
    drawn = (
        curves(
            setting,
            joined(tuple(sites.values())),
            levels=outcome_levels(contract),
            unit=outcome.unit if isinstance(outcome, Continuous | Integer) else "",
            confidence_level=run.confidence_level,
        )
        for setting, sites in by_setting.items()
    )
    return tuple(entry for entry in drawn if entry is not None)
