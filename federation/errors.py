"""Every deliberate error of Cohortium, as one tree.

The tree with exit codes is in ``docs/error-codes.md``.

A message says what was expected, what came and what to do. Messages about records never contain a patient value:
``RecordsError`` and its children name the site, the variable and a count at most.
"""

from __future__ import annotations

from typing import ClassVar


class CohortiumError(Exception):
    """Base of every deliberate error.

    Args:
        message: What was expected and what came.
        remedy: What the reader should do about it.
        **facts: The same facts as data, kept in ``facts`` and shown by ``--json``.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", **facts: object) -> None:
        self.message = message
        self.remedy = remedy
        self.facts = facts
        super().__init__(f"{message}\n  → {remedy}" if remedy else message)

    def as_dict(self) -> dict[str, object]:
        """The error as plain data, for ``--json``."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "remedy": self.remedy,
            "facts": {key: str(value) for key, value in self.facts.items()},
        }

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand errors back by value; keyword-only arguments need their own constructor call.
        return (_rebuild, (type(self), self.message, self.remedy, self.facts))


def _rebuild(kind: type[CohortiumError], message: str, remedy: str, facts: dict[str, object]) -> CohortiumError:
    return kind(message, remedy=remedy, **facts)


class InternalError(CohortiumError):
    """A bug of ours: an invariant does not hold."""

    exit_code = 70


class InvalidInputError(CohortiumError):
    """Something given to us is wrong."""

    exit_code = 2


class ConfigurationError(InvalidInputError):
    """A setting, an override or a config group is wrong."""

    exit_code = 10


class ManifestError(InvalidInputError):
    """A study manifest or data contract is invalid."""

    exit_code = 11


class TamperedManifestError(ManifestError):
    """The digest does not match the manifest's canonical bytes."""

    exit_code = 12


class RecordsError(InvalidInputError):
    """A site's records cannot be used. Never carries a patient value.

    Args:
        message: What was expected and what came, without any value from a record.
        site: The site's identifier.
        variable: The contract variable concerned, if one is.
        remedy: What the site's data manager should do.
    """

    exit_code = 20

    def __init__(self, message: str, *, site: str = "", variable: str = "", remedy: str = "", **facts: object) -> None:
        where = " · ".join(
            part for part in (f"site {site}" if site else "", f"variable {variable}" if variable else "") if part
        )
        super().__init__(
            f"{where}: {message}" if where else message,
            remedy=remedy,
            site=site,
            variable=variable,
            **facts,
        )
        self.site = site
        self.variable = variable

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_records, (type(self), self.message, self.remedy, self.facts))


def _rebuild_records(kind: type[RecordsError], message: str, remedy: str, facts: dict[str, object]) -> RecordsError:
    error = kind(message, remedy=remedy)
    error.facts = facts
    error.site = str(facts.get("site", ""))
    error.variable = str(facts.get("variable", ""))
    return error


class RecordsUnreadableError(RecordsError):
    """A missing file, a wrong separator or encoding, a database that does not answer."""

    exit_code = 21


class MappingError(RecordsError):
    """A mapping file is wrong, or a unit does not convert."""

    exit_code = 22


class UnknownCodeError(RecordsError):
    """A code that neither the mapping nor the contract knows."""

    exit_code = 23


class ImplausibleValueError(RecordsError):
    """NaN, infinity, a value outside its plausible range, a date in the future."""

    exit_code = 24


class PatientKeyError(RecordsError):
    """The patient key is missing, or patients are duplicated where they must not be."""

    exit_code = 25


class CohortTooSmallError(RecordsError):
    """An empty site, a site with one patient, or only one outcome class."""

    exit_code = 26


class MissingDependencyError(InvalidInputError):
    """An optional package is not installed."""

    exit_code = 30


class RefusalError(CohortiumError):
    """Valid, understood, and not allowed."""

    exit_code = 40


class PrivacyRefusedError(RefusalError):
    """The request would break the privacy promise."""

    exit_code = 41


class ModelRefusedError(RefusalError):
    """The model mixes patients, so a patient-level guarantee cannot hold."""

    exit_code = 42


class TestModeRefusedError(RefusalError):
    """Seeds were asked for on a cohort that is neither synthetic nor public."""

    __test__ = False  # not a test class, whatever its name begins with
    exit_code = 43


class BudgetExhaustedError(RefusalError):
    """The release would pass the privacy cap of its patient population. The ledger is unchanged."""

    exit_code = 44


class LedgerLockedError(RefusalError):
    """The ledger is behind or beside what others witnessed: a restored backup or a copied folder. It charges nothing more."""

    exit_code = 45


class LedgerDamagedError(RefusalError):
    """The ledger's hash chain, a signature or a recorded state does not hold."""

    exit_code = 46


class AuditFailedError(RefusalError):
    """An empirical audit measured more leakage than the claimed epsilon allows: nothing is released."""

    exit_code = 47


class SecureSumRefusedError(RefusalError):
    """A message that the secure sum does not allow: forged, of another round, or asking for more than the sum.

    ``facts["reason"]`` is a short word for what is wrong, ``facts["site"]`` whom it concerns.
    """

    exit_code = 48


class SignatureRefusedError(RefusalError):
    """A signature is of another key than expected, or does not hold."""

    exit_code = 49


class PolicyRefusedError(RefusalError):
    """The site's own policy forbids what a study asks for. ``facts["rules"]`` names the rules."""

    exit_code = 61


class NotApprovedError(RefusalError):
    """A study that a site, or enough sites, did not approve, or whose approval has expired or was withdrawn."""

    exit_code = 62


class EnrolmentRefusedError(RefusalError):
    """An invitation that was used or has expired, or a request whose proofs do not hold."""

    exit_code = 63


class AuditLogDamagedError(RefusalError):
    """An entry of an audit log does not hold. ``facts["entry"]`` is the number of the first bad one."""

    exit_code = 64


class ReleaseRefusedError(RefusalError):
    """A model that may not be released, or a file that is not what was released."""

    exit_code = 65


class CodeRefusedError(RefusalError):
    """The installed code is not what the site has accepted. ``facts["differ"]`` names files and libraries."""

    exit_code = 66


class StudyError(CohortiumError):
    """A study that cannot go on."""

    exit_code = 50


class TransportError(StudyError):
    """A site did not answer, or not as agreed."""

    exit_code = 51


class CheckpointError(StudyError):
    """A checkpoint is unreadable, or belongs to another study."""

    exit_code = 52


class QuorumError(StudyError):
    """Too few sites contributed to a round."""

    exit_code = 53


class NonFiniteModelError(StudyError):
    """Training diverged: the global parameters are not finite."""

    exit_code = 54


class SecureSumError(StudyError):
    """This attempt at a secure sum cannot be opened. ``facts["reason"]`` says why, ``facts["sites"]`` whom it concerns."""

    exit_code = 55


class StudyInterruptedError(StudyError):
    """Stopped by the operator; the study can be resumed."""

    exit_code = 130
