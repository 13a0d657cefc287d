"""Who took part in a simulation, and what leaves a site about its data: the report's first two sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from aggregator.report.content import FlowStep, Participant, SiteReadiness, VariableReadiness
from experiments.performance import ScoredBySite
from experiments.predictions import Scored
from federation.data.contract import Categorical, DataContract, Ordinal
from federation.identifiers import TaskKind
from federation.study.manifest import StudyManifest
from site_client.patients import Attrition


class _TestCounts(TypedDict):
    test_patients: int | None
    test_records: int | None
    outcome: str


def participants(
    manifest: StudyManifest,
    by_setting: Mapping[str, ScoredBySite],
    attrition: Mapping[str, Attrition],
    training_patients: Mapping[str, int],
) -> tuple[Participant, ...]:
    """The sites of the roster with their flow of patients; without any count in a study of real patients.

    Args:
        manifest: What the sites agreed on.
        by_setting: Scored test records by setting and site; those of the first setting are counted.
        attrition: Site to its attrition table.
        training_patients: Site to the true number of training patients, where it may be shown.
    """
    tests = next(iter(by_setting.values()), {})
    if manifest.cohort.provenance == "patients":
        attrition, tests, training_patients = {}, {}, {}
    return tuple(
        Participant(
            site=entry.site,
            weight=entry.weight,
            declared_training_patients=entry.training_patients,
            flow=tuple(
                FlowStep(step=step, records=records, patients=patients)
                for step, records, patients in (attrition[entry.site].steps if entry.site in attrition else ())
            ),
            training_patients=training_patients.get(entry.site),
            **_test_counts(manifest, tests.get(entry.site)),
        )
        for entry in manifest.roster
    )


def _test_counts(manifest: StudyManifest, test: Scored | None) -> _TestCounts:
    if test is None:
        return _TestCounts(test_patients=None, test_records=None, outcome="")
    return _TestCounts(
        test_patients=len(np.unique(test.patient_of_record)),
        test_records=len(test.outcomes),
        outcome=_case_mix(manifest.task, manifest.contract, test) if len(test.outcomes) else "",
    )


def _case_mix(task: TaskKind, contract: DataContract, test: Scored) -> str:
    if task == "binary":
        return f"{test.outcomes.mean():.0%}"
    if task == "multiclass":
        levels = outcome_levels(contract)
        counts = np.bincount(test.outcomes.astype(np.int64), minlength=len(levels))
        return ", ".join(
            f"{level} {count / len(test.outcomes):.0%}" for level, count in zip(levels, counts, strict=True)
        )
    if task == "survival":
        return f"{(test.outcomes > 0).mean():.0%} with the event"
    return f"mean {test.outcomes.mean():.3g} (SD {test.outcomes.std():.2g})"


def readiness_verdicts(readiness: Mapping[str, Mapping[str, bool]]) -> tuple[SiteReadiness, ...]:
    """Pass or fail per site and variable."""
    return tuple(
        SiteReadiness(
            site=site,
            variables=tuple(VariableReadiness(variable=name, passed=bool(passed)) for name, passed in verdict.items()),
        )
        for site, verdict in readiness.items()
    )


def outcome_levels(contract: DataContract) -> tuple[str, ...]:
    """Names of the outcome's classes; empty unless it is coded."""
    outcome = contract.outcome
    return outcome.levels if isinstance(outcome, Categorical | Ordinal) else ()
