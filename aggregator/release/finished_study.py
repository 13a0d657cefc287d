"""What a finished study left in its folder, read and checked against its manifest before anything is released."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aggregator.report.content import StudyReport
from federation.durable_files import read_whole
from federation.errors import CohortiumError, ReleaseRefusedError
from federation.governance.release_files import LARGEST_STATISTICS, FileName, read_analysis, statistics_file
from federation.privacy.audit_result import AuditResult, StudyAudit
from federation.privacy.promise import NoPrivacy
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest, read_sealed
from federation.study.model_file import LARGEST_MODEL, StudyModel, read_model

_LARGEST_TEXT: Final = 2**26


@dataclass(frozen=True)
class FinishedStudy:
    """A study that may be released, as far as its own folder says.

    Attributes:
        model: With the manifest.
        model_file: Bytes of ``model.safetensors``.
        report: Of the study.
        audits: Empirical audits; empty if none was made.
        audit_file: Bytes of ``audit.json``; empty if there is none.
        statistics: Bytes of the exact statistics that are to be released, checked.
    """

    model: StudyModel
    model_file: bytes = field(repr=False)
    report: StudyReport = field(repr=False)
    audits: tuple[AuditResult, ...] = ()
    audit_file: bytes = field(default=b"", repr=False)
    statistics: Mapping[FileName, bytes] = field(default_factory=dict[FileName, bytes], repr=False)

    @property
    def analyses(self) -> tuple[StudyAnalysis, ...]:
        """The exact statistics among the files."""
        return tuple(read_analysis(content) for content in self.statistics.values())

    @property
    def manifest(self) -> StudyManifest:
        """Of the study."""
        return self.model.manifest


def read_finished(folder: Path, *, with_statistics: bool = True) -> FinishedStudy:
    """Read the output folder of a run: ``report.json``, and beside it or in ``seed-N`` manifest, model and audit.

    Args:
        folder: Of the run. Of several seeds, the one that the report is of is released.
        with_statistics: Whether the study's exact statistics are part of the release.

    Raises:
        ReleaseRefusedError: If something is missing, of another study, or says other than the manifest.
    """
    report = _report(folder)
    place = folder if (folder / "manifest.json").is_file() else folder / f"seed-{_seed(report)}"
    try:
        manifest = read_sealed(_read(place / "manifest.json"))
    except ReleaseRefusedError:
        raise
    except CohortiumError as failure:
        raise _refused(place / "manifest.json", "is not a sealed manifest") from failure
    if report.manifest_digest != manifest.digest:
        raise _refused(folder / "report.json", "is of another study than the manifest")
    content = _read(place / "model.safetensors", LARGEST_MODEL)
    audit_file = _read(place / "audit.json") if (place / "audit.json").is_file() else b""
    study = FinishedStudy(
        model=read_model(content, manifest),
        model_file=content,
        report=report,
        audits=_audits(place / "audit.json", audit_file, report, manifest),
        audit_file=audit_file,
        statistics=_statistics(place, manifest) if with_statistics else {},
    )
    _check_promise(folder / "report.json", study)
    return study


def _statistics(place: Path, manifest: StudyManifest) -> dict[FileName, bytes]:
    """Every analysis that the manifest names, with a result or with the reason why there is none."""
    found: dict[FileName, bytes] = {}
    for agreed in manifest.statistics.analyses if manifest.statistics else ():
        name = statistics_file(agreed.name)
        content = _read(place / name, LARGEST_STATISTICS)
        if read_analysis(content).name != agreed.name:
            raise _refused(place / name, "holds another analysis")
        found[name] = content
    return found


def _report(folder: Path) -> StudyReport:
    return StudyReport.from_json(_read(folder / "report.json"), error=ReleaseRefusedError)


def _seed(report: StudyReport) -> int:
    return report.reproducibility.seeds[0] if report.reproducibility.seeds else 0


def _audits(path: Path, content: bytes, report: StudyReport, manifest: StudyManifest) -> tuple[AuditResult, ...]:
    """Of file and report together: an audit that was taken out of one still counts."""
    audits = list(report.privacy.audits)
    if content:
        found = StudyAudit.from_json(content, error=ReleaseRefusedError)
        if found.manifest_digest != manifest.digest:
            raise _refused(path, "is the audit of another study")
        audits += [audit for audit in found.results if audit not in audits]
    return tuple(audits)


def _check_promise(path: Path, study: FinishedStudy) -> None:
    statement, privacy = study.report.privacy, study.manifest.privacy
    if isinstance(privacy, NoPrivacy):
        if statement.private:
            raise _refused(path, "states a privacy promise that the manifest does not make")
        return
    if (statement.private, statement.epsilon, statement.delta) != (True, privacy.epsilon, privacy.delta):
        raise _refused(path, "states another promise than the manifest")
    over = {site: spent for site, spent in statement.epsilon_spent.items() if not spent <= privacy.epsilon}
    if over:
        raise _refused(
            path, f"says that more than the promised epsilon {privacy.epsilon:g} was spent at {sorted(over)}"
        )
    if statement.reproducible_noise and study.manifest.cohort.provenance == "patients":
        raise _refused(path, "says that the noise on real patients can be computed again from a seed")


def _read(path: Path, largest: int = _LARGEST_TEXT) -> bytes:
    try:
        content = read_whole(path, largest=largest)
    except OSError as failure:
        raise _refused(path, f"cannot be read: {failure.strerror or type(failure).__name__}") from failure
    if len(content) > largest:
        raise _refused(path, f"is longer than {largest} bytes")
    return content


def _refused(path: Path, problem: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        f"expected the folder of a finished study, got {path}, which {problem}",
        remedy="give the output folder of `cohortium simulate` or of a completed study, unchanged",
        file=path.name,
    )


def canonical_json(data: object) -> bytes:
    """Readable JSON for a released file: the same data gives the same bytes."""
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"
