"""A released model: a folder of files, and one record with their hashes that the lead and others sign.

Whoever gets the folder needs one thing from elsewhere: the lead's public key. :func:`open_release` then checks everything before
anything is parsed that an attacker could have made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from federation.documents import Document
from federation.durable_files import read_whole
from federation.errors import CohortiumError, ReleaseRefusedError
from federation.governance.audit import Digest, Time
from federation.governance.proposals import SignedProposal
from federation.governance.release_files import (
    REQUIRED,
    STATISTICS,
    FileName,
    largest_bytes,
    read_analysis,
    statistics_file,
)
from federation.governance.signed import Signature, check_signature, sign_document
from federation.identifiers import StudyId
from federation.protocol.audit_head import LogName
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest, read_sealed
from federation.study.model_file import StudyModel, read_model

RELEASE_FILE: Final = "release.json"
_LEAD: Final = "release"
_ACCEPTANCE: Final = "release-acceptance"
_LARGEST_RECORD: Final = 2**20


class Parity(Document):
    """How far the ONNX model is from the model of the study, on generated patients."""

    patients: Annotated[int, Field(ge=1)]
    largest_difference: Annotated[float, Field(ge=0)]
    """Of a score; of a prediction in a regression: in half widths of the outcome's range."""
    tolerance: Annotated[float, Field(gt=0)]


class Release(Document):
    """What is released."""

    format: Literal["cohortium/release/1"] = "cohortium/release/1"
    study: StudyId
    manifest_digest: Digest
    released: Time
    files: dict[FileName, Hexadecimal]
    """SHA-256 of each."""
    parity: Parity
    audited: bool
    """Whether an empirical audit was made. One that refutes the claim forbids the release."""


class Acceptance(Document):
    """Another party's signature on a release: it has checked the folder and accepts it."""

    signer: LogName
    signature: Signature


class SignedRelease(Document):
    """The file ``release.json``."""

    release: Release
    lead: Signature
    acceptances: tuple[Acceptance, ...] = ()


@dataclass(frozen=True)
class OpenedRelease:
    """A release that was checked.

    Attributes:
        signed: Record and signatures.
        model: The model, read from the checked bytes.
        contents: Of the files, by name.
        accepted: Whose signatures beside the lead's were checked.
        analyses: Exact statistics that are part of the release, read from the checked bytes.
    """

    signed: SignedRelease
    model: StudyModel
    contents: Mapping[FileName, bytes]
    accepted: tuple[str, ...]
    analyses: tuple[StudyAnalysis, ...] = ()

    @property
    def manifest(self) -> StudyManifest:
        """Of the study."""
        return self.model.manifest


def sign_release(release: Release, lead: SigningKey) -> SignedRelease:
    """Sign as the lead."""
    return SignedRelease(release=release, lead=sign_document(release, lead, purpose=_LEAD))


def accept_release(signed: SignedRelease, signer: str, key: SigningKey) -> SignedRelease:
    """Add a signature of another party; a second one of the same party replaces the first."""
    mine = Acceptance(signer=signer, signature=sign_document(signed.release, key, purpose=_ACCEPTANCE))
    others = tuple(entry for entry in signed.acceptances if entry.signer != signer)
    return signed.model_copy(update={"acceptances": (*others, mine)})


def read_release_record(folder: Path) -> SignedRelease:
    """Read ``release.json``. Nothing in it is checked.

    Raises:
        ReleaseRefusedError: If there is none.
    """
    return SignedRelease.from_json(_read(folder / RELEASE_FILE, _LARGEST_RECORD), error=ReleaseRefusedError)


def open_release(folder: Path, *, lead: str, parties: Mapping[str, str] | None = None) -> OpenedRelease:
    """Check a release folder, whole.

    Args:
        folder: Which holds the released files and nothing else.
        lead: Public key of the lead, known from elsewhere: the proposal, or a letter.
        parties: Public keys of others by name; an acceptance of one of these must hold, others are not believed.

    Raises:
        ReleaseRefusedError: If a file is missing, changed or not part of the release, or belongs to another study.
        SignatureRefusedError: If a signature does not hold.
    """
    signed = read_release_record(folder)
    release, known = signed.release, parties or {}
    check_signature(release, signed.lead, purpose=_LEAD, public_key=lead, signer="the study's lead")
    for entry in signed.acceptances:
        if entry.signer in known:
            check_signature(
                release, entry.signature, purpose=_ACCEPTANCE, public_key=known[entry.signer], signer=entry.signer
            )
    contents = _contents(folder, release)
    try:
        manifest = read_sealed(contents["manifest.json"])
    except CohortiumError as failure:
        raise _refused("manifest.json", "is not a sealed manifest") from failure
    if (manifest.digest, manifest.study) != (release.manifest_digest, release.study):
        raise _refused("manifest.json", "is of another study than the release")
    return OpenedRelease(
        signed=signed,
        model=read_model(contents["model.safetensors"], manifest),
        contents=contents,
        accepted=tuple(sorted(entry.signer for entry in signed.acceptances if entry.signer in known)),
        analyses=_analyses(contents, manifest),
    )


def for_proposal(folder: Path, proposal: SignedProposal) -> OpenedRelease:
    """Check a release of the study that was proposed: its lead and its sites have the keys of the proposal.

    Args:
        folder: Of the release.
        proposal: Trusted to be the one that was agreed on; its own signature is checked.

    Raises:
        ReleaseRefusedError: As :func:`open_release`, and if the release is of another study.
        SignatureRefusedError: If a signature does not hold.
    """
    proposal.check()
    manifest = proposal.proposal.manifest
    parties = {entry.site: entry.public_key for entry in manifest.roster if entry.public_key is not None}
    opened = open_release(folder, lead=proposal.proposal.lead, parties=parties)
    if opened.manifest.digest != manifest.digest:
        raise _refused("manifest.json", "is not the one that was proposed")
    return opened


def _analyses(contents: Mapping[FileName, bytes], manifest: StudyManifest) -> tuple[StudyAnalysis, ...]:
    """Those that are part of a release: some or all of the manifest's, as the lead signed, and no others."""
    agreed = [analysis.name for analysis in manifest.statistics.analyses] if manifest.statistics else []
    released = {match.group(1) for match in map(STATISTICS.fullmatch, contents) if match}
    strange = sorted(released - set(agreed))
    if strange:
        raise _refused(statistics_file(strange[0]), "is of no analysis of the manifest")
    found = {name: read_analysis(contents[statistics_file(name)]) for name in agreed if name in released}
    for name, analysis in found.items():
        if analysis.name != name:
            raise _refused(statistics_file(name), "holds another analysis")
    return tuple(found.values())


def _contents(folder: Path, release: Release) -> Mapping[FileName, bytes]:
    missing = sorted(set(REQUIRED) - set(release.files))
    if missing:
        raise _refused(RELEASE_FILE, f"does not name {missing}")
    contents: dict[FileName, bytes] = {}
    for name, expected in release.files.items():
        if (folder / name).parent.is_symlink() and "/" in name:
            raise _refused(name, "lies in a folder that is a link")
        content = _read(folder / name, largest_bytes(name))
        if hashlib.sha256(content).hexdigest() != expected:
            raise _refused(name, "is not what was signed")
        contents[name] = content
    return contents


def _read(path: Path, largest: int) -> bytes:
    try:
        content = read_whole(path, largest=largest)
    except OSError as failure:
        raise _refused(path.name, f"cannot be read: {failure.strerror or type(failure).__name__}") from failure
    if len(content) > largest:
        raise _refused(path.name, f"is longer than {largest} bytes")
    return content


def _refused(name: str, problem: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        f"expected a release as its lead signed it, got {name}, which {problem}",
        remedy="get the whole folder again from the lead, and use nothing of this one",
        file=name,
    )
