"""Which installed code a site has accepted: a paper in its home, signed by the site, and what is done about it.

The first approval of a study accepts what is installed, since it is that code that the approval lets at the records. After an
upgrade the site accepts the new one in so many words. Both are in the audit log, and so is a start that was refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from conf.received_files import read_received
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import CodeRefusedError, CohortiumError, InvalidInputError
from federation.governance.audit import AuditEvent
from federation.governance.audit_log import AuditLog, read_log
from federation.governance.signed import Signature, check_signature, sign_document
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey
from site_client.accounts import give_back, share_with_gateway
from site_client.home_paths import SiteLayout
from site_client.installed_code import Installed, changed_library_files, check_installed, differences, installed_code
from site_client.ledger.key_file import read_key

_PURPOSE: Final = "accepted-code"
_MOST_NAMED: Final = 3

Clock = Callable[[], dt.datetime]


class Acceptance(Document):
    """What is accepted."""

    format: Literal["cohortium/accepted-code/1"] = "cohortium/accepted-code/1"
    site: SiteId
    files: Annotated[dict[str, Hexadecimal], Field(min_length=1, max_length=20_000)]
    """SHA-256 of each file of our own packages."""
    libraries: Annotated[dict[str, Hexadecimal], Field(max_length=20_000)]
    """SHA-256 of each library's record."""
    officer: str = ""
    time: str
    """When; nothing is decided by it."""

    @property
    def installed(self) -> Installed:
        """The hashes."""
        return Installed(self.files, self.libraries)


class SignedAcceptance(Document):
    """The paper."""

    acceptance: Acceptance
    signature: Signature

    @classmethod
    def signed(cls, acceptance: Acceptance, key: SigningKey) -> Self:
        """Signed by the site."""
        return cls(acceptance=acceptance, signature=sign_document(acceptance, key, purpose=_PURPOSE))

    def check(self, *, site: str, public_key: str) -> None:
        """Check that this site signed it.

        Raises:
            CodeRefusedError: If not.
        """
        if self.acceptance.site != site:
            raise CodeRefusedError(f"expected the accepted code of site {site}, got that of {self.acceptance.site}")
        check_signature(
            self.acceptance,
            self.signature,
            purpose=_PURPOSE,
            public_key=public_key,
            signer=site,
            error=CodeRefusedError,
        )


def read_acceptance(layout: SiteLayout) -> Acceptance | None:
    """What the site has accepted, its signature checked; ``None`` if nothing yet.

    Raises:
        CodeRefusedError: If the paper is not what this site wrote.
    """
    if not layout.accepted_code.exists():
        return None
    paper = read_received(layout.accepted_code, SignedAcceptance, error=CodeRefusedError)
    paper.check(site=layout.read().site, public_key=_key(layout).public_key)
    return paper.acceptance


def accept_code(layout: SiteLayout, *, clock: Clock, officer: str = "", thorough: bool = True) -> Acceptance:
    """Accept what is installed, in the audit log first, from the next start on.

    Args:
        layout: Of the site's home.
        clock: For the paper and the log.
        officer: Who decides.
        thorough: First read every file of every library, which takes seconds to a minute.

    Raises:
        InvalidInputError: If the site is not enrolled.
        CodeRefusedError: If a file of a library is not what its own record says.
    """
    site, key, found = layout.read().site, _key(layout), installed_code()
    broken = list(changed_library_files(found.libraries)) if thorough else []
    if broken:
        raise CodeRefusedError(
            f"expected libraries as they were installed, got {len(broken)} other files: {', '.join(broken[:_MOST_NAMED])}",
            remedy="install them again: `pip install --force-reinstall -c constraints.txt NAME`",
            reason="installed_libraries",
        )
    time = clock().isoformat(timespec="seconds")
    acceptance = Acceptance(
        site=site, files=dict(found.files), libraries=dict(found.libraries), officer=officer, time=time
    )
    content = SignedAcceptance.signed(acceptance, key).model_dump_json(indent=1).encode()
    hashes = {"code": found.code, "libraries": found.lock, "document": acceptance.digest.removeprefix("sha256:")}
    with AuditLog(layout.audit, log=site, key=key, clock=clock) as log:
        log.record(AuditEvent(event="code_accepted", actor="cohortium", hashes=hashes))
    layout.gateway.mkdir(parents=True, exist_ok=True)
    write_durably(layout.gateways_code, content, secret=True)
    write_durably(layout.accepted_code, content, secret=True)
    share_with_gateway(layout)
    return acceptance


def accept_if_first(layout: SiteLayout, *, clock: Clock, officer: str) -> None:
    """Accept what is installed if the site has accepted nothing yet; otherwise check that it is what was accepted.

    Raises:
        CodeRefusedError: If it is not.
    """
    accepted = read_acceptance(layout)
    if accepted is None:
        accept_code(layout, clock=clock, officer=officer, thorough=False)
    else:
        check_installed(layout.accepted_code)


def check_code(layout: SiteLayout, *, clock: Clock) -> Installed:
    """Check the paper's signature, and what is installed against it, before a site starts. A refusal is in the audit log.

    Raises:
        CodeRefusedError: If either does not hold. Before the first approval there is no paper, and nothing to refuse.
    """
    try:
        accepted = read_acceptance(layout)
        found = installed_code() if accepted is None else check_installed(layout.accepted_code)
    except CodeRefusedError as refusal:
        note_refusal(layout, refusal, clock=clock)
        raise
    return found


def note_refusal(layout: SiteLayout, refusal: CodeRefusedError, *, clock: Clock) -> None:
    """Write into the audit log that a process did not start, unless the last entry says the same: it is started again and again.

    A log that cannot be written hides no refusal.
    """
    given = refusal.facts.get("hashes")
    hashes = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    event = AuditEvent(
        event="request_refused",
        actor="agent",
        reason=str(refusal.facts.get("reason") or "installed_code"),
        hashes=hashes,
    )
    try:
        entries = read_log(layout.audit).entries if layout.audit.exists() else ()
        if entries and (entries[-1].event, entries[-1].reason, entries[-1].hashes) == (
            event.event,
            event.reason,
            hashes,
        ):
            return
        with AuditLog(layout.audit, log=layout.read().site, key=_key(layout), clock=clock) as log:
            log.record(event)
        give_back(layout)
    except CohortiumError:
        return


def changes(layout: SiteLayout) -> tuple[str, ...]:
    """Names of files and libraries that differ from what was accepted; nothing is accepted: all files differ."""
    accepted = read_acceptance(layout)
    return differences(Installed({}, {}) if accepted is None else accepted.installed, installed_code())


def _key(layout: SiteLayout) -> SigningKey:
    key = read_key(layout.identity_key.with_suffix(""))
    if key is None:
        raise InvalidInputError(f"expected the site's key at {layout.identity_key}, got none", remedy="enrol the site")
    return key
