"""The agents of all studies of a site: each is made from its approved proposal when it is first asked, and stays warm.

The patients are read and encoded once per study and kept beside it, so that every round sees the same ones. Where they are in a
database that is reached over a network, which the agent has not, ``cohortium site prepare`` does that step beforehand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

from conf.strict_yaml import read_strict
from federation.errors import MappingError
from federation.governance.proposals import Proposal
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.site_folder import SiteFolder, write_patients
from site_client.site_home import SiteLayout
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource

_POINTER: Final = "mapping"


class StudyAgents:
    """Makes agents and keeps them.

    Args:
        layout: Of the site's home.
        site: Its identifier.
        clock: The time that ledgers write beside their entries.
    """

    def __init__(self, layout: SiteLayout, site: str, *, clock: Callable[[], dt.datetime]) -> None:
        self._layout, self._site, self._clock = layout, site, clock
        self._agents: dict[str, SiteAgent] = {}

    def handle(self, proposal: Proposal, request: bytes) -> bytes:
        """Answer a request with the agent of its study.

        Args:
            proposal: Approved, and of the study that the request is about.
            request: Bytes of an envelope.

        Raises:
            CohortiumError: If the agent cannot be made: records, ledger, keys.
        """
        study = proposal.manifest.digest
        if study not in self._agents:
            self._agents[study] = self._made(proposal)
        return self._agents[study].handle(request)

    def _made(self, proposal: Proposal) -> SiteAgent:
        manifest, layout = proposal.manifest, self._layout
        patients = prepare_patients(layout, manifest, site=self._site, now=self._clock())
        folder = SiteFolder.create(
            layout.study(manifest.digest),
            site=self._site,
            manifest=manifest,
            patients=patients,
            seed=proposal.test_seed,
            ledger=layout.ledger if layout.ledger.is_file() else None,
            identity=layout.identity_key.with_suffix(""),
        )
        return SiteAgent(folder, clock=self._clock)


def prepare_patients(layout: SiteLayout, manifest: StudyManifest, *, site: str, now: dt.datetime) -> Path:
    """Read, select, divide and encode the site's patients for a study, unless that was done.

    Args:
        layout: Of the site's home.
        manifest: Of the study.
        site: Its identifier.
        now: Records dated later than this day are refused.

    Returns:
        The file of the encoded patients.

    Raises:
        RecordsError: What is wrong with the records, or with their mapping.
    """
    path = layout.study(manifest.digest) / "patients.safetensors"
    if path.is_file():
        return path
    mapping = mapping_file(layout, manifest.study)
    extracted = extract(
        TableSource(read_mapping(mapping), folder=mapping.parent),
        site=site,
        contract=manifest.contract,
        definition=manifest.cohort,
        task=manifest.task,
        preprocessing=manifest.preprocessing,
        today=now.astimezone().date(),
    )
    write_patients(path, extracted.data)
    path.chmod(0o600)
    return path


def mapping_file(layout: SiteLayout, study: str) -> Path:
    """Where the mapping for a study is.

    ``mapping.yaml`` in the home is the mapping itself, or a pointer: ``mapping: PATH`` for all studies, or
    ``mapping: {STUDY: PATH, ...}``. Paths are relative to the home.

    Args:
        layout: Of the site's home.
        study: Short name of the study.

    Raises:
        MappingError: If there is none for this study.
    """
    content = read_strict(layout.mapping, what="a mapping", error=MappingError)
    if not isinstance(content, dict) or set(content) != {_POINTER}:
        return layout.mapping
    target = content[_POINTER]
    chosen = target.get(study) if isinstance(target, dict) else target
    if not isinstance(chosen, str):
        raise MappingError(
            f"expected in {layout.mapping} where the mapping for study {study} is, got nothing",
            remedy=f"write `mapping: {{{study}: /path/to/mapping.yaml}}`",
        )
    return (layout.folder / Path(chosen).expanduser()).absolute()
