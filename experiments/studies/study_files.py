"""A prepared study as a document: what it is, and where its hospitals' tables are. Their patients are in files."""

from __future__ import annotations

from pathlib import Path

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite
from federation.documents import Document
from site_client.patients import SiteData
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource


class _Source(Document):
    """Where a hospital's table is."""

    site: str
    group: str
    public_patients: int
    mapping: SiteMapping
    folder: str


class StudyFiles(Document):
    """A study whose hospitals are tables."""

    definition: StudyDefinition
    sources: tuple[_Source, ...]
    is_ready: bool
    """It brings its own division of the patients, who must be given when it is opened."""

    @classmethod
    def of(cls, study: PreparedStudy) -> StudyFiles | None:
        """``None`` if a source is no table, or patients are held in two ways."""
        sources = [
            _Source(
                site=entry.site,
                group=entry.group,
                public_patients=entry.public_patients,
                mapping=entry.source.mapping,
                folder=str(entry.source.folder),
            )
            for entry in study.sites
            if isinstance(entry.source, TableSource)
        ]
        if study.ready_pooled or len(sources) < len(study.sites):
            return None
        return cls(definition=study.definition, sources=tuple(sources), is_ready=bool(study.ready))

    def opened(self, patients: tuple[SiteData, ...] = ()) -> PreparedStudy:
        """The study again.

        Args:
            patients: Of every site, for a study that is ready.
        """
        return PreparedStudy(
            definition=self.definition,
            sites=tuple(
                StudySite(
                    site=entry.site,
                    source=TableSource(entry.mapping, folder=Path(entry.folder)),
                    public_patients=entry.public_patients,
                    group=entry.group,
                )
                for entry in self.sources
            ),
            ready=patients if self.is_ready else (),
        )
