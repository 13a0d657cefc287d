"""From a finished study to a release folder: every check first, then the files, then the signed record that makes it one."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from pathlib import Path

from aggregator.release.finished_study import FinishedStudy, canonical_json
from aggregator.release.model_card import model_card
from aggregator.release.onnx_graph import export_onnx
from aggregator.release.parity import check_parity
from aggregator.release_check import release_check
from aggregator.report.statement import with_audits
from federation.durable_files import sync_folder, write_durably
from federation.errors import ReleaseRefusedError
from federation.governance.release_files import FileName
from federation.governance.releases import (
    RELEASE_FILE,
    OpenedRelease,
    Release,
    SignedRelease,
    accept_release,
    open_release,
    sign_release,
)
from federation.protocol.signatures import SigningKey


def make_release(study: FinishedStudy, output: Path, *, lead: SigningKey, now: dt.datetime) -> OpenedRelease:
    """Write and sign a release. A folder appears only if everything holds, whole.

    Args:
        study: Read from its folder.
        output: Where to; must not exist.
        lead: Key of the person who answers for the study.
        now: For the record.

    Returns:
        The release, read back as others will read it.

    Raises:
        AuditFailedError: If an audit refutes the privacy claim.
        ReleaseRefusedError: If the exported model is not the study's, or there is something at ``output``.
    """
    if output.exists():
        raise ReleaseRefusedError(
            f"expected {output} to be new, it exists", remedy="choose another folder: a release is never overwritten"
        )
    manifest = study.manifest
    release_check(study.audits, manifest_digest=manifest.digest)
    graph = export_onnx(study.model)
    parity = check_parity(graph, study.model)
    statement = with_audits(study.report.privacy, study.audits, manifest_digest=manifest.digest)
    contents: dict[FileName, bytes] = {
        "model.safetensors": study.model_file,
        "model.onnx": graph,
        "model_card.md": model_card(study, parity).encode(),
        "privacy_statement.json": canonical_json(statement.as_data()),
        "manifest.json": manifest.sealed().encode(),
    }
    if study.audit_file:
        contents["audit.json"] = study.audit_file
    contents |= study.statistics
    release = Release(
        study=manifest.study,
        manifest_digest=manifest.digest,
        released=now.astimezone(dt.UTC).isoformat(timespec="seconds"),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        parity=parity,
        audited=bool(study.audits),
    )
    _write(output, contents, sign_release(release, lead))
    return open_release(output, lead=lead.public_key)


def add_acceptance(folder: Path, *, lead: str, signer: str, key: SigningKey) -> SignedRelease:
    """Check a release and add one's own signature to its record.

    Raises:
        ReleaseRefusedError: If the release does not hold.
        SignatureRefusedError: If it is not the lead's.
    """
    signed = accept_release(open_release(folder, lead=lead).signed, signer, key)
    write_durably(folder / RELEASE_FILE, canonical_json(signed.as_data()))
    return signed


def check_graph(opened: OpenedRelease) -> float:
    """Repeat the parity test on the released files.

    Returns:
        The largest difference.

    Raises:
        ReleaseRefusedError: If the graph is not the model.
    """
    return check_parity(opened.contents["model.onnx"], opened.model).largest_difference


def _write(output: Path, contents: dict[FileName, bytes], signed: SignedRelease) -> None:
    unfinished = output.with_name(f".{output.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, content in contents.items():
            write_durably(unfinished / name, content)
        write_durably(unfinished / RELEASE_FILE, canonical_json(signed.as_data()))
        unfinished.rename(output)
        sync_folder(output.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
