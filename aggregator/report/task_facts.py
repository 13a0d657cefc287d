"""What a study's task terms say, in words: levels of quantiles, intervals and method of survival."""

from __future__ import annotations

from typing import assert_never

from aggregator.report.content import Fact
from federation.data.contract import TimeToEvent
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms
from federation.study.manifest import StudyManifest


def terms_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    """One fact about what is learned; none where the task's name says it all."""
    terms, outcome = manifest.task_terms, manifest.contract.outcome
    unit = outcome.unit if isinstance(outcome, TimeToEvent) else ""
    match terms:
        case None:
            return ()
        case QuantileTerms():
            levels = ", ".join(f"{level:g}" for level in terms.levels)
            return (Fact(label="Quantiles", value=levels, explanation="Learned by the pinball loss."),)
        case DiscreteTimeTerms():
            hazard = {"cloglog": "complementary log-log", "logistic": "logistic"}[terms.hazard]
            effects = (
                "the same in every interval" if terms.effects == "proportional" else "of their own in each interval"
            )
            return (
                Fact(
                    label="Survival",
                    value=f"{hazard} hazards of {len(terms.edges)} intervals up to {terms.edges[-1]:g} {unit}".rstrip(),
                    explanation=f"Effects are {effects}. A patient's loss depends on that patient alone.",
                ),
            )
        case CoxTerms():
            return (
                Fact(
                    label="Survival",
                    value="Cox' partial likelihood within each mini-batch",
                    explanation=f"Looked at up to {terms.edges[-1]:g} {unit}. The loss of a batch mixes its patients.",
                ),
            )
        case _:
            assert_never(terms)
