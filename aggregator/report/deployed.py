"""The report of a study that ran at hospitals: what the study itself released, and nothing that only a simulator could see."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.report.content import Participant, ReportFile, Reproducibility, StudyReport
from aggregator.report.facts import convergence, training_facts
from aggregator.report.statement import privacy_statement
from aggregator.report.statistics_content import ReportedAnalysis
from aggregator.report.vocabulary import PRIMARY_METRIC
from federation.data.contract import Continuous, Integer, TimeToEvent
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult

_FILES = (
    ReportFile(name="report.json", description="this report as data"),
    ReportFile(name="manifest.json", description="the sealed study manifest"),
    ReportFile(name="model.safetensors", description="the federated model's parameters"),
)


def deployed_report(
    manifest: StudyManifest,
    result: StudyResult,
    *,
    created: str,
    test_seed: int | None,
    software: Mapping[str, str],
    statistics: tuple[ReportedAnalysis, ...] = (),
) -> StudyReport:
    """The report of a finished study.

    Args:
        manifest: What the sites agreed on.
        result: Of the coordinator.
        created: Date as shown; the report reads no clock.
        test_seed: Of the seeded test mode, ``None``: randomness of the operating systems.
        software: Package to version at the aggregator.
        statistics: What is shown of the study's exact statistics.
    """
    rounds, outcome = convergence(result), manifest.contract.outcome
    return StudyReport(
        title=manifest.title,
        question=manifest.question,
        study=manifest.study,
        manifest_digest=result.manifest_digest,
        created=created,
        data_licence=manifest.data_licence,
        provenance=manifest.cohort.provenance,
        task=manifest.task,
        outcome=outcome.name,
        outcome_unit=outcome.unit if isinstance(outcome, Continuous | Integer | TimeToEvent) else "",
        primary_metric=PRIMARY_METRIC[manifest.task],
        confidence_level=0.95,
        bootstrap_samples=0,  # no figure here has an interval of its own: paid figures state the error of their noise
        participants=tuple(
            Participant(site=entry.site, weight=entry.weight, declared_training_patients=entry.training_patients)
            for entry in manifest.roster
        ),
        readiness=(),
        training=training_facts(manifest),
        convergence=rounds,
        performance=(),
        curves=(),
        privacy=privacy_statement(manifest, rounds=rounds, seeded=test_seed is not None),
        reproducibility=Reproducibility(
            seeds=() if test_seed is None else (test_seed,),
            seeded=test_seed is not None,
            software=dict(software),
            files=(*_FILES, *(_file(analysis) for analysis in statistics)),
        ),
        statistics=statistics,
    )


def _file(analysis: ReportedAnalysis) -> ReportFile:
    name = f"statistics/{analysis.name}.json"
    return ReportFile(name=name, description="an exact statistic: every table of it, or why it has no result")
