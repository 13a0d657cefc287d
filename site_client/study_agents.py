"""The agents of all studies of a site: each is made from its approved proposal when it is first asked, and stays warm for a while.

A warm agent holds its study's patients in memory. Their number is bounded, the one that was not asked for longest goes first, and
one that nobody asks any more, since its study is over, goes by itself. Nothing is lost: what an agent must remember is on the disk
before it answers, so that the next request makes it anew, from the same patients, and gets the same bytes.

The patients are read and encoded once per study and kept beside it, so that every round sees the same ones. Where they are in a
database that is reached over a network, which the agent has not, ``cohortium site prepare`` does that step beforehand.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from conf.strict_yaml import read_strict
from federation.errors import InvalidInputError, MappingError
from federation.governance.proposals import Proposal
from federation.statistics.agreed_genotypes import one_list
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.genotypes.agreed import study_genotypes
from site_client.home_paths import SiteLayout
from site_client.records_file import FILE as RECORDS_FILE
from site_client.records_file import RecordsAt, write_records
from site_client.running_time import RunningTime
from site_client.site_folder import SiteFolder, write_patients
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource
from site_client.starting_model import agreed_start

_POINTER: Final = "mapping"
DEFAULT_WARM: Final = 4
"""Studies whose patients are in memory at the same time."""
IDLE: Final = dt.timedelta(hours=6)
"""How long an agent that is not asked stays in memory."""


@dataclass
class _Warm:
    """An agent, and when it was asked last."""

    agent: SiteAgent
    asked: dt.datetime


class StudyAgents:
    """Makes agents and keeps them.

    Args:
        layout: Of the site's home.
        site: Its identifier.
        clock: The time that ledgers write beside their entries; also says how long an agent was not asked.
        most: Agents in memory, at least 1.
        idle: An agent that was not asked for so long is forgotten.
        time: How long a release may be computed; ``None``: as the site's policy says.
    """

    def __init__(
        self,
        layout: SiteLayout,
        site: str,
        *,
        clock: Callable[[], dt.datetime],
        most: int = DEFAULT_WARM,
        idle: dt.timedelta = IDLE,
        time: RunningTime | None = None,
    ) -> None:
        if most < 1:
            raise InvalidInputError(f"expected room for at least 1 study in memory, got {most}")
        self._layout, self._site, self._clock = layout, site, clock
        self._most, self._idle = most, idle
        self._time = time or RunningTime.of(layout)
        self._agents: OrderedDict[str, _Warm] = OrderedDict()
        self._mutex = threading.Lock()

    @property
    def warm(self) -> tuple[str, ...]:
        """Digests of the studies in memory, the one that was not asked for longest first."""
        return tuple(self._agents)

    def handle(self, proposal: Proposal, request: bytes) -> bytes:
        """Answer a request with the agent of its study.

        Args:
            proposal: Approved, and of the study that the request is about.
            request: Bytes of an envelope.

        Raises:
            CohortiumError: If the agent cannot be made: records, ledger, keys.
        """
        study = proposal.manifest.digest
        with self._mutex:
            self._forget_idle()
            if study not in self._agents:
                while len(self._agents) >= self._most:  # before the next study's patients are read
                    self._agents.popitem(last=False)[1].agent.close()
                self._agents[study] = _Warm(self._made(proposal), self._clock())
            entry = self._agents[study]
            self._agents.move_to_end(study)
            reply = entry.agent.handle(request)
            entry.asked = self._clock()
        return reply

    def forget_idle(self) -> None:
        """Forget agents that were not asked for long; never one that is answering."""
        with self._mutex:
            self._forget_idle()

    def _forget_idle(self) -> None:
        now = self._clock()
        for study in [study for study, entry in self._agents.items() if now - entry.asked > self._idle]:
            self._agents.pop(study).agent.close()

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
            records=records_of(layout, manifest, patients=patients),
        )
        return SiteAgent(folder, clock=self._clock, time=self._time, check_start=agreed_start(proposal))


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
    source, today = TableSource(read_mapping(mapping), folder=mapping.parent), now.astimezone().date()
    extracted = extract(
        source,
        site=site,
        contract=manifest.contract,
        definition=manifest.cohort,
        task=manifest.task,
        preprocessing=manifest.preprocessing,
        today=today,
    )
    if manifest.statistics is not None:
        records = source.read(manifest.contract, today=today)
        at = records_of(layout, manifest, patients=path)
        # An error of the genotypes is said now, and not in the middle of the study.
        study_genotypes(manifest.statistics, at, site=site, patients=records.patient_keys.tolist())
        write_records(path.with_name(RECORDS_FILE), records)
    write_patients(path, extracted.data)
    path.chmod(0o600)
    return path


def records_of(layout: SiteLayout, manifest: StudyManifest, *, patients: Path) -> RecordsAt | None:
    """Where the records of a study with exact statistics are, and their genotypes if the study needs them.

    Args:
        layout: Of the site's home.
        manifest: Of the study.
        patients: The file of the encoded patients, beside which the records lie.

    Raises:
        MappingError: If the study needs genotypes and the mapping names none.
    """
    if manifest.statistics is None:
        return None
    at = RecordsAt(patients.with_name(RECORDS_FILE), layout.answers)
    if one_list(manifest.statistics.analyses) is None:
        return at
    file = mapping_file(layout, manifest.study)
    named = read_mapping(file).genotypes
    if named is None:
        raise MappingError(
            f"expected genotypes in the mapping for study {manifest.study}, got none",
            remedy="add `genotypes: {files: PREFIX, variants: LIST.bim}` to the mapping",
        )
    return replace(at, genotypes=file.parent / named.files, variants=file.parent / named.variants)


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
