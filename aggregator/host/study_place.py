"""A launched study's folder at the aggregator's host, and the requests of its lead that lie in it.

Commands never talk to a coordinator's process: they write a file, durably, and the coordinator reads it between rounds. So a
request survives every crash, and works while nothing runs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.host.home_paths import HostLayout
from conf.received_files import read_received
from federation.durable_files import sync_folder, write_durably
from federation.errors import InvalidInputError, NotApprovedError
from federation.governance.approvals import reasons_not_to_run
from federation.governance.proposals import SignedApproval, SignedProposal

_HEXADECIMAL_LENGTH: Final = 64


@dataclass(frozen=True)
class StudyPlace:
    """The folder of one study.

    Args:
        folder: ``studies/<digest of the manifest>``.
    """

    folder: Path

    @classmethod
    def of(cls, layout: HostLayout, digest: str) -> StudyPlace:
        """The folder of a manifest's digest.

        Raises:
            InvalidInputError: If it is no digest: it becomes part of a path.
        """
        name = digest.removeprefix("sha256:")
        if len(name) != _HEXADECIMAL_LENGTH or set(name) - set("0123456789abcdef"):
            raise InvalidInputError(
                f"expected a digest of {_HEXADECIMAL_LENGTH} hexadecimal digits, got {digest[:80]!r}"
            )
        return cls(layout.studies / name)

    @property
    def proposal_file(self) -> Path:
        """:class:`~federation.governance.proposals.SignedProposal`."""
        return self.folder / "proposal.json"

    @property
    def approvals(self) -> Path:
        """Folder of the sites' decisions."""
        return self.folder / "approvals"

    @property
    def status(self) -> Path:
        """:class:`~aggregator.host.study_status.StudyStatus`."""
        return self.folder / "status.json"

    @property
    def checkpoints(self) -> Path:
        """Where rounds are committed."""
        return self.folder / "coordinator"

    @property
    def held_out(self) -> Path:
        """Reference records of the held-out gate, where the study has one."""
        return self.folder / "held_out.csv"

    @property
    def tracking(self) -> Path:
        """The outbox for MLflow."""
        return self.folder / "tracking"

    @property
    def outcome(self) -> Path:
        """Written once, when the study is over."""
        return self.folder / "outcome.json"

    @property
    def launched(self) -> Path:
        """There from launch until `close`: the host runs a coordinator for the study."""
        return self.folder / "launched"

    @property
    def lock(self) -> Path:
        """Held by the study's coordinator."""
        return self.folder / "coordinator.lock"

    @property
    def pause_request(self) -> Path:
        """There while the study is to pause."""
        return self.folder / "pause"

    @property
    def stop_request(self) -> Path:
        """There once the study is to end."""
        return self.folder / "stop"

    def withdrawal(self, site: str) -> Path:
        """There once a site is to be left out."""
        return self.folder / "withdrawn" / f"{site}.json"

    def withdrawn(self) -> tuple[str, ...]:
        """Sites that are left out from now on."""
        return tuple(sorted(path.stem for path in (self.folder / "withdrawn").glob("*.json")))

    def proposal(self) -> SignedProposal:
        """The study's proposal.

        Raises:
            InvalidInputError: If it is missing.
            NotApprovedError: If it is not valid.
        """
        return read_received(self.proposal_file, SignedProposal, error=NotApprovedError)

    def decisions(self) -> tuple[SignedApproval, ...]:
        """All decisions that lie here; checked by whoever uses them."""
        return tuple(
            read_received(path, SignedApproval, error=NotApprovedError)
            for path in sorted(self.approvals.glob("*.json"))
        )

    def keep(self, proposal: SignedProposal, approvals: Iterable[SignedApproval]) -> None:
        """Write proposal and decisions. A later decision of a site is kept beside the earlier one."""
        write_durably(self.proposal_file, proposal.model_dump_json(indent=1).encode())
        self.keep_decisions(approvals)

    def keep_decisions(self, approvals: Iterable[SignedApproval]) -> None:
        """Write decisions, which the caller has checked."""
        for approval in approvals:
            content = approval.model_dump_json(indent=1).encode()
            name = f"{approval.approval.site}-{approval.approval.number}-{approval.approval.decision}.json"
            write_durably(self.approvals / name, content)

    def request(self, path: Path, *, now: dt.datetime, **facts: str) -> None:
        """Write a request of the lead."""
        write_durably(path, (json.dumps({"time": now.isoformat(), **facts}) + "\n").encode())

    def drop(self, path: Path) -> None:
        """Take a request back."""
        if path.exists():
            path.unlink()
            sync_folder(self.folder)


def launched_studies(layout: HostLayout) -> tuple[StudyPlace, ...]:
    """Studies for which a coordinator is to run."""
    return tuple(StudyPlace(path.parent) for path in sorted(layout.studies.glob("*/launched")))


def known_proposals(layout: HostLayout, *, but: StudyPlace) -> tuple[SignedProposal, ...]:
    """Proposals of the other studies here: an amendment among them ends a study."""
    return tuple(
        StudyPlace(path.parent).proposal()
        for path in sorted(layout.studies.glob("*/proposal.json"))
        if path.parent != but.folder
    )


def reasons_against(
    place: StudyPlace,
    signed: SignedProposal,
    decisions: Iterable[SignedApproval],
    *,
    coordinator: str,
    known: Iterable[SignedProposal],
    now: dt.datetime,
) -> tuple[str, ...]:
    """Everything that forbids this host to run a study now; empty if it may.

    Args:
        place: The study's folder.
        signed: Its proposal.
        decisions: Of the sites.
        coordinator: This host's public key.
        known: Proposals of other studies.
        now: With time zone.
    """
    named = signed.proposal.coordinator
    if f"sha256:{place.folder.name}" != signed.proposal.manifest.digest:
        return ("expected the proposal of the study that the folder is named after, got another's",)
    if named != coordinator:
        return (f"expected a proposal for the coordinator {coordinator[:16]}… of this host, got one for {named[:16]}…",)
    return reasons_not_to_run(signed, decisions, site=None, now=now, known=known)
