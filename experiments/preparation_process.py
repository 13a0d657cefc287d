"""Hospitals are drawn and read by a copy of this process, which goes on importing meanwhile.

Imports hold the interpreter's one lock, so a thread would take turns with them. What the copy found comes back as one document and
the sites' own files, as a hospital writes them. Whatever goes wrong there is done again here, and fails here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from conf.processes.copied_process import CopiedProcess
from experiments.preparation import PreparedSites
from experiments.studies.catalogue import PreparedStudy
from experiments.studies.study_files import StudyFiles
from federation.documents import Document
from federation.errors import CohortiumError
from federation.study.manifest import StudyManifest
from site_client.patient_files import read_patients
from site_client.patients import Attrition
from site_client.readiness import ReadinessReport

Prepared = tuple[PreparedStudy, PreparedSites]
Prepare = Callable[[], Prepared]


_NICENESS: Final = 5
"""Imports go first: they are what a short simulation waits for."""


class PreparedFiles(Document):
    """What was prepared, but for the patients, who are in files."""

    format: Literal["cohortium/prepared-files/1"] = "cohortium/prepared-files/1"
    study: StudyFiles
    manifest: StudyManifest
    attrition: dict[str, tuple[tuple[str, int, int], ...]]
    readiness: dict[str, ReadinessReport]
    patient_files: dict[str, str]
    identities: dict[str, str]
    seconds: float
    """That it took."""

    @classmethod
    def of(cls, study: PreparedStudy, sites: PreparedSites, *, seconds: float) -> PreparedFiles | None:
        """``None`` if a source is no table, or patients are held in two ways."""
        files = StudyFiles.of(study)
        if files is None:
            return None
        return cls(
            study=files,
            manifest=sites.manifest,
            attrition={site: found.steps for site, found in sites.attrition.items()},
            readiness=dict(sites.readiness),
            patient_files=_as_texts(sites.patient_files),
            identities=_as_texts(sites.identities),
            seconds=seconds,
        )

    def opened(self) -> Prepared:
        """The study and its sites, as if they were prepared here.

        Raises:
            RecordsUnreadableError: If a file is not there.
        """
        files = _as_paths(self.patient_files)
        data = tuple(read_patients(path) for path in files.values())
        return self.study.opened(data), PreparedSites(
            manifest=self.manifest,
            data=data,
            pooled_data=data,
            attrition={site: Attrition(steps) for site, steps in self.attrition.items()},
            readiness=self.readiness,
            patient_files=files,
            identities=_as_paths(self.identities),
        )


class PreparationProcess(CopiedProcess):
    """Prepares in a copy of this process. Use it in a ``with`` block, which ends the copy.

    Args:
        prepare: Draws and reads the hospitals.
    """

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        super().__init__(lambda _: _prepared(prepare), name="preparation", niceness=_NICENESS)

    def result(self) -> tuple[Prepared, float]:
        """What was prepared, and the seconds that the copy took; 0 if it was prepared here.

        Raises:
            CohortiumError: Whatever is wrong with records, manifest or study.
        """
        answer = self.answer()
        if answer is not None:
            with suppress(CohortiumError):
                files = PreparedFiles.from_json(answer)
                return files.opened(), files.seconds
        return self._prepare(), 0.0


def _prepared(prepare: Prepare) -> bytes:
    """A document; nothing if files do not hold what was prepared."""
    started = time.perf_counter()
    study, sites = prepare()
    files = PreparedFiles.of(study, sites, seconds=time.perf_counter() - started)
    return b"" if files is None else files.model_dump_json().encode()


def _as_texts(paths: Mapping[str, Path]) -> dict[str, str]:
    return {site: str(path) for site, path in paths.items()}


def _as_paths(texts: Mapping[str, str]) -> dict[str, Path]:
    return {site: Path(text) for site, text in texts.items()}
