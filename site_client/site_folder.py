"""What a site keeps for one study: manifest, encoded patients, its algorithm state, the replies it gave, the events it recorded.

::

    <folder>/manifest.json            sealed manifest
    <folder>/site.json                site, seed (test mode) or null, where the patients are
    <folder>/state/round-0007.safetensors      the algorithm's state at the site after round 7
    <folder>/replies/train-0007.bin   what was answered, so that a repeated request gets the same bytes
    <folder>/events.jsonl             one privacy event per round (the durable ledger is a later part)

Every file is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import load_file, save

from federation.algorithms.fedavg import State
from federation.durable_files import write_durably
from federation.errors import CheckpointError, RecordsUnreadableError
from federation.privacy.events import PrivacyEvent
from federation.study.manifest import StudyManifest, read_sealed
from site_client.patients import PatientDataset, SiteData

_DIGEST_BYTES: Final = 32


def write_patients(path: Path, data: SiteData) -> None:
    """Write a site's encoded patients to one safetensors file."""
    arrays: dict[str, np.ndarray] = {}
    for name, part in (("training", data.training), ("test", data.test)):
        arrays[f"{name}/features"] = np.ascontiguousarray(part.features)
        arrays[f"{name}/outcomes"] = np.ascontiguousarray(part.outcomes)
        arrays[f"{name}/patient_index"] = np.ascontiguousarray(part.patient_index)
    metadata = {"site": json.dumps({"site": data.site, "feature_names": data.training.feature_names})}
    write_durably(path, save(arrays, metadata))


def read_patients(path: Path) -> SiteData:
    """Read what :func:`write_patients` wrote.

    Raises:
        RecordsUnreadableError: If the file is absent.
    """
    if not path.is_file():
        raise RecordsUnreadableError(
            f"expected encoded patients in {path}, got no such file", remedy="run the extraction again"
        )
    arrays = load_file(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(json.loads(stream.read(length))["__metadata__"]["site"])

    def part(name: str) -> PatientDataset:
        return PatientDataset(
            features=arrays[f"{name}/features"],
            outcomes=arrays[f"{name}/outcomes"],
            patient_index=arrays[f"{name}/patient_index"],
            feature_names=tuple(header["feature_names"]),
        )

    return SiteData(site=header["site"], training=part("training"), test=part("test"))


@dataclass(frozen=True)
class SiteFolder:
    """The folder of one study at one site."""

    path: Path

    @classmethod
    def create(cls, path: Path, *, site: str, manifest: StudyManifest, patients: Path, seed: int | None) -> SiteFolder:
        """Set up the folder; a folder of the same study and site is kept as it is.

        Args:
            path: The folder.
            site: The site's identifier.
            manifest: The study.
            patients: File written by :func:`write_patients`.
            seed: Seed of the test mode, ``None`` for operating-system randomness.

        Raises:
            CheckpointError: If the folder belongs to another study.
        """
        folder = cls(path)
        if (path / "manifest.json").is_file() and folder.manifest().digest != manifest.digest:
            raise CheckpointError(
                f"expected the folder {path} to be new or of study {manifest.digest}, got {folder.manifest().digest}",
                remedy="choose another output folder",
            )
        settings = {"site": site, "seed": seed, "patients": str(patients.resolve())}
        write_durably(path / "site.json", json.dumps(settings).encode())
        write_durably(path / "manifest.json", manifest.sealed().encode())
        return folder

    def manifest(self) -> StudyManifest:
        """The sealed manifest, verified."""
        return read_sealed((self.path / "manifest.json").read_bytes())

    def settings(self) -> dict[str, str | int | None]:
        """``site``, ``seed`` and ``patients``."""
        return json.loads((self.path / "site.json").read_text())

    def last_state(self, before_round: int) -> State | None:
        """The algorithm's state after the last round before ``before_round``, or ``None``."""
        rounds = sorted(self.path.glob("state/round-*.safetensors"))
        earlier = [path for path in rounds if _round_of(path) < before_round]
        return {name: array.astype(np.float64) for name, array in load_file(earlier[-1]).items()} if earlier else None

    def keep_state(self, round_number: int, state: State) -> None:
        """Keep the algorithm's state after ``round_number``; algorithms without state write nothing."""
        if state:
            write_durably(self.path / f"state/round-{round_number:06d}.safetensors", save(dict(state)))

    def given_reply(self, round_number: int, request: bytes) -> bytes | None:
        """The reply already given for this round, if the request is the same, byte for byte.

        Raises:
            CheckpointError: If this round was answered for a different request.
        """
        path = self._reply_path(round_number)
        if not path.is_file():
            return None
        content = path.read_bytes()
        if content[:_DIGEST_BYTES] != hashlib.sha256(request).digest():
            raise CheckpointError(
                f"expected round {round_number} to be repeated with the same request, got a different one",
                remedy="a round is answered once; start a new study",
            )
        return content[_DIGEST_BYTES:]

    def keep_reply(self, round_number: int, request: bytes, reply: bytes) -> None:
        """Keep the reply, durably, before it is sent."""
        write_durably(self._reply_path(round_number), hashlib.sha256(request).digest() + reply)

    def rounds_answered(self) -> int:
        """Number of rounds answered so far."""
        return len(list(self.path.glob("replies/train-*.bin")))

    def record_event(self, round_number: int, event: PrivacyEvent) -> None:
        """Record what the mechanism did in a round."""
        line = json.dumps({"round": round_number, "event": event.as_data()}) + "\n"
        path = self.path / "events.jsonl"
        previous = path.read_bytes() if path.is_file() else b""
        if line.encode() not in previous:
            write_durably(path, previous + line.encode())

    def _reply_path(self, round_number: int) -> Path:
        return self.path / f"replies/train-{round_number:06d}.bin"


def _round_of(path: Path) -> int:
    return int(path.stem.removeprefix("round-"))
