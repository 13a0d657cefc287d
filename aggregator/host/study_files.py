"""What a finished study leaves beside its outcome: manifest, model and report, as ``cohortium study release`` wants them."""

from __future__ import annotations

import datetime as dt
from importlib import metadata
from typing import Final

from aggregator.host.study_outcome import FINAL_MODEL
from aggregator.host.study_place import StudyPlace
from aggregator.report.deployed import deployed_report
from aggregator.report.html import make_page
from aggregator.report.page import write_report
from aggregator.statistics.figures import analysis_files
from aggregator.statistics.reported import analysis_pictures, reported
from federation.durable_files import write_durably
from federation.governance.proposals import Proposal
from federation.study.model_file import model_bytes
from federation.study.result import StudyResult

_PACKAGES: Final = ("cohortium", "torch", "flwr", "numpy")


def write_study_files(place: StudyPlace, proposal: Proposal, result: StudyResult, *, now: dt.datetime) -> None:
    """Write ``manifest.json``, ``model.safetensors``, ``report.json`` and ``report.html`` into the study's folder.

    Exact statistics go to ``statistics/``: a JSON file for each analysis, and its figure.

    Args:
        place: The study's folder.
        proposal: What was agreed.
        result: Of the finished study.
        now: The report's date.
    """
    manifest = proposal.manifest
    write_durably(place.folder / "manifest.json", manifest.sealed().encode())
    write_durably(place.folder / FINAL_MODEL, model_bytes(manifest.digest, result.parameters, result.prepared))
    outcome = manifest.contract.outcome.name
    for analysis in result.analyses:
        for name, content in analysis_files(analysis, outcome=outcome).items():
            write_durably(place.folder / "statistics" / name, content)
    report = deployed_report(
        manifest,
        result,
        created=now.date().isoformat(),
        test_seed=proposal.test_seed,
        software={name: metadata.version(name) for name in _PACKAGES},
        statistics=reported(result.analyses),
    )
    page = make_page(report, statistics=analysis_pictures(result.analyses, outcome=outcome))
    write_report(report, page, place.folder)
