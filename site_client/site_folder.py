"""What a site keeps for one study: manifest, encoded patients, its algorithm state, the replies it gave.

::

    <folder>/manifest.json            sealed manifest
    <folder>/site.json                site, seed (test mode) or null, where the patients are
    <folder>/state/round-0007.safetensors      the algorithm's state at the site after round 7
    <folder>/replies/train-0007.bin   what was answered, so that a repeated request gets the same bytes
    <folder>/replies/train-0007.head.json  the ledger's head that went with it
    <folder>/secure/...               its memory of secure sums (site_client.secure_participant)
    <folder>/ledger.sqlite            the ledger, where the study has one of its own (simulations)

Every file is written whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import load_file, save

from federation.algorithms.fedavg import State
from federation.durable_files import write_durably
from federation.errors import CheckpointError, PrivacyRefusedError, StudyError
from federation.privacy.randomness import RandomStreams
from federation.protocol.ledger_head import LedgerHead
from federation.statistics.agreed_reports import groups_of_sites
from federation.study.manifest import StudyManifest, read_sealed
from site_client.ledger.key_file import read_key
from site_client.ledger.ledger import Ledger
from site_client.patient_files import read_patients, write_patients
from site_client.records_file import RecordsAt
from site_client.secure_participant import CheckSurvivors, SecureParticipant
from site_client.statistics.ledger_charges import LedgerCharges
from site_client.statistics.private_answers import PrivateAnswers
from site_client.statistics.same_sites import SameSites
from site_client.statistics.study_statistics import StudyStatistics

__all__ = ["SiteFolder", "read_patients", "write_patients"]

_DIGEST_BYTES: Final = 32


@dataclass(frozen=True)
class SiteFolder:
    """The folder of one study at one site."""

    path: Path

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        site: str,
        manifest: StudyManifest,
        patients: Path,
        seed: int | None,
        ledger: Path | None = None,
        identity: Path | None = None,
        records: RecordsAt | None = None,
    ) -> SiteFolder:
        """Set up the folder; a folder of the same study and site is kept as it is.

        Args:
            path: The folder.
            site: The site's identifier.
            manifest: The study.
            patients: File written by :func:`write_patients`.
            seed: Seed of the test mode, ``None`` for operating-system randomness.
            ledger: Ledger of the patient population, which a private study charges. ``None``: a ledger of the study's
                own beside it, whose cap is the study's promise; for synthetic and public cohorts only.
            identity: File of the site's signing key (:mod:`site_client.ledger.key_file`, without ``.key``); a study with secure
                aggregation needs it.
            records: The site's records; a study with exact statistics needs them.

        Raises:
            CheckpointError: If the folder belongs to another study.
            PrivacyRefusedError: If the study is private and of real patients, and no ledger is named.
        """
        if ledger is None and manifest.training_event() is not None and manifest.cohort.provenance == "patients":
            raise PrivacyRefusedError(
                "expected the ledger of the patient population for a private study of real patients, got none",
                remedy="make one with `cohortium site ledger create`, and name it",
            )
        folder = cls(path)
        if (path / "manifest.json").is_file() and folder.manifest().digest != manifest.digest:
            raise CheckpointError(
                f"expected the folder {path} to be new or of study {manifest.digest}, got {folder.manifest().digest}",
                remedy="choose another output folder",
            )
        settings = {
            "site": site,
            "seed": seed,
            "patients": str(patients.resolve()),
            "ledger": None if ledger is None else str(ledger.resolve()),
            "identity": None if identity is None else str(identity.resolve()),
        }
        if records is not None:
            settings |= records.as_settings()
        write_durably(path / "site.json", json.dumps(settings).encode())
        write_durably(path / "manifest.json", manifest.sealed().encode())
        return folder

    def manifest(self) -> StudyManifest:
        """The sealed manifest, verified."""
        return read_sealed((self.path / "manifest.json").read_bytes())

    def settings(self) -> dict[str, str | int | None]:
        """``site``, ``seed``, ``patients``, ``ledger``, ``identity``; with statistics those of :class:`RecordsAt`."""
        return json.loads((self.path / "site.json").read_text())

    def participant(self, streams: RandomStreams) -> SecureParticipant:
        """The site in the study's secure sums.

        Args:
            streams: The site's secret streams.

        Raises:
            ManifestError: If the study has no secure aggregation.
            StudyError: If the site's identity key is absent.
        """
        settings = self.settings()
        site, path = str(settings["site"]), settings.get("identity")
        key = None if path is None else read_key(Path(str(path)))
        if key is None:
            raise StudyError(
                f"expected the identity key of site {site}, which the roster names, got none",
                remedy="name the file of the key that the site enrolled with",
            )
        return SecureParticipant(
            folder=self.path / "secure",
            terms=self.manifest().secure_sum_terms(),
            site=site,
            key=key,
            streams=streams.child("secure", site),
            check_survivors=self._check_survivors(),
        )

    def _check_survivors(self) -> CheckSurvivors | None:
        """In a study whose statistics are all over the same sites."""
        manifest = self.manifest()
        spec = manifest.statistics
        if spec is None or spec.drop_outs != "wait":
            return None
        place = manifest.secure_sum_terms().index_of
        groups = tuple(frozenset(map(place, sites)) for sites in groups_of_sites(spec.analyses))
        return SameSites(self.path / "secure" / "statistics.sites", groups).check

    def statistics(
        self,
        manifest: StudyManifest,
        participant: SecureParticipant | None,
        ledger: Ledger | None,
        streams: RandomStreams,
    ) -> StudyStatistics:
        """The record side of the study's statistics; answers with noise are charged to the ledger and kept."""
        private = PrivateAnswers(
            folder=self.path / "statistics",
            charges=None if ledger is None else LedgerCharges(ledger, manifest.digest),
            streams=streams.child("statistics", str(self.settings()["site"])),
        )
        at = RecordsAt.from_settings(self.settings())
        return StudyStatistics(manifest=manifest, participant=participant, records=at, private=private)

    def last_state(self, before_round: int) -> State | None:
        """The algorithm's state after the last round before ``before_round``, or ``None``."""
        rounds = sorted(self.path.glob("state/round-*.safetensors"))
        earlier = [path for path in rounds if _round_of(path) < before_round]
        return {name: array.astype(np.float64) for name, array in load_file(earlier[-1]).items()} if earlier else None

    def keep_state(self, round_number: int, state: State) -> None:
        """Keep the algorithm's state after ``round_number``; algorithms without state write nothing."""
        if state:
            write_durably(self.path / f"state/round-{round_number:06d}.safetensors", save(dict(state)))

    def kept_reply(self, release: str, request: str) -> bytes | None:
        """The reply already computed for a release, if the request is the same.

        Args:
            release: Such as ``train/7``.
            request: SHA-256 of the request, hexadecimal.

        Raises:
            CheckpointError: If the release was computed for a different request.
        """
        path = self._reply_path(release)
        if not path.is_file():
            return None
        content = path.read_bytes()
        if content[:_DIGEST_BYTES].hex() != request:
            raise CheckpointError(
                f"expected {release} to be repeated with the same request, got a different one",
                remedy="a round is answered once; start a new study",
            )
        return content[_DIGEST_BYTES:]

    def keep_reply(self, release: str, request: str, reply: bytes) -> None:
        """Keep the reply, durably, before it is sent."""
        write_durably(self._reply_path(release), bytes.fromhex(request) + reply)

    def kept_head(self, release: str) -> LedgerHead | None:
        """The ledger's head that went out with a release, or ``None``."""
        path = self._reply_path(release).with_suffix(".head.json")
        return LedgerHead.from_json(path.read_bytes(), error=CheckpointError) if path.is_file() else None

    def keep_head(self, release: str, head: LedgerHead) -> None:
        """Keep the head that goes out with a release, so that a repeated request gets the same bytes."""
        write_durably(self._reply_path(release).with_suffix(".head.json"), head.model_dump_json().encode())

    def rounds_answered(self) -> int:
        """Number of rounds of training answered so far."""
        return len(list(self.path.glob("replies/train-*.bin")))

    def _reply_path(self, release: str) -> Path:
        kind, number = release.split("/")
        return self.path / f"replies/{kind}-{int(number):06d}.bin"


def _round_of(path: Path) -> int:
    return int(path.stem.removeprefix("round-"))
