"""All exact statistics of a launched study, one after another; what is finished survives a restart.

An analysis that cannot be, because its columns are collinear or its patients too few, is finished too: the reason is its result.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from aggregator.secure_sums import SecureSums
from aggregator.statistics.analysing import Analysis, Analyst, analysis_of
from aggregator.statistics.earlier_counts import EarlierCounts
from aggregator.statistics.study_sums import StudySums
from aggregator.statistics.variant_lists import variant_analysis
from federation.durable_files import write_durably
from federation.errors import CheckpointError, CohortiumError, QuorumError, StudyInterruptedError, TransportError
from federation.statistics.agreed_genotypes import AgreedVariants
from federation.statistics.agreed_models import AgreedAnalysis
from federation.statistics.result import AnalysisResult, StudyAnalysis
from federation.study.manifest import StudyManifest
from federation.study.statistics_spec import StatisticsSpec

_LOG: Final = logging.getLogger("cohortium.statistics")
_WAITS: Final = (QuorumError, TransportError, StudyInterruptedError)
"""What another attempt may mend: nothing is written down as finished."""


def take_statistics(study: StudyManifest, sums: SecureSums | None, *, folder: Path) -> tuple[StudyAnalysis, ...]:
    """Run the analyses that a study agreed on.

    Args:
        study: What was agreed.
        sums: Its secure sums; a study with statistics has them.
        folder: Where results and the memory of earlier totals are kept.

    Returns:
        One result for each analysis, in the order of the manifest; empty if the study agreed on none.

    Raises:
        QuorumError: If too few sites answer.
        CheckpointError: If a kept result is damaged.
    """
    spec = study.statistics
    if spec is None or sums is None:
        return ()
    return tuple(_kept_or_taken(study, spec, sums, place, folder=folder) for place in range(len(spec.analyses)))


def _kept_or_taken(
    study: StudyManifest, spec: StatisticsSpec, sums: SecureSums, place: int, *, folder: Path
) -> StudyAnalysis:
    analysis = spec.analyses[place]
    path = folder / f"{analysis.name}.json"
    if path.is_file():
        return StudyAnalysis.from_json(path.read_bytes(), error=CheckpointError)
    asked = _asked(study, analysis, threshold=spec.threshold, folder=folder)
    taken = StudySums(study, sums, folder)
    analyst = Analyst(
        terms=spec.terms(study.contract, study.cohort, tuple(entry.site for entry in study.roster)),
        sums=taken,
        earlier=EarlierCounts(path=folder / "totals.json", threshold=spec.threshold),
        next_number=taken.last_number + 1,
        folder=folder,
    )
    found: AnalysisResult | None = None
    error = reason = ""
    try:
        found = analyst.run(asked)
    except _WAITS:
        raise
    except CohortiumError as failure:
        _LOG.warning("the analysis %s has no result: %s", analysis.name, failure.message)
        error, reason = type(failure).__name__, failure.message
    done = StudyAnalysis(name=analysis.name, result=found, error=error, reason=reason)
    write_durably(path, done.model_dump_json(indent=1).encode())
    return done


def _asked(study: StudyManifest, agreed: AgreedAnalysis, *, threshold: int, folder: Path) -> Analysis:
    """What the centre runs; an association study needs its list of variants, which is a file."""
    if isinstance(agreed, AgreedVariants):
        return variant_analysis(study, agreed, threshold=threshold, folder=folder)
    return analysis_of(agreed, study.contract, threshold=threshold)
