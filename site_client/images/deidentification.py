"""Whether the headers of images still say whose they are.

The rules are the part of the Basic Application Level Confidentiality Profile (DICOM PS3.15, annex E, table E.1-1) that a machine
can decide: what the profile removes must be absent or empty; what it empties or replaces must be empty, but for a pseudonym where a
file says that identity was removed (0012,0062), and for dates where it says that they were moved (0028,0303). Private elements,
overlays and curves must be gone, and no text may be burnt into the pixels. The check names attributes, never what they hold.

Left to a person are free descriptions (``StudyDescription``, ``SeriesDescription``, ``ProtocolName``) and characteristics such
as age and weight: the profile removes them, and its options keep them.

It cannot see what is only in the pixels: a file that claims to have no burnt-in text is believed. Nor can it see whether a UID was
replaced; nothing of a header is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

MissingBurnedIn = Literal["refuse", "warn"]
"""What to do where a file of a modality at risk does not say whether text is burnt into its pixels."""

NAMES: Final = frozenset({
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "OtherPatientNames", "OtherPatientIDsSequence",
    "PatientBirthName", "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation",
    "MilitaryRank", "BranchOfService", "CountryOfResidence", "RegionOfResidence", "PatientReligiousPreference",
    "PatientComments", "AdditionalPatientHistory", "ResponsiblePerson", "ResponsibleOrganization", "MedicalRecordLocator",
    "PatientInsurancePlanCodeSequence", "PatientInstitutionResidence", "PersonName", "PersonAddress", "PersonTelephoneNumbers",
    "ReferringPhysicianName", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers", "ConsultingPhysicianName",
    "PhysiciansOfRecord", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "RequestingPhysician",
    "ScheduledPerformingPhysicianName", "PhysicianApprovingInterpretation", "InterpretationAuthor", "InterpretationRecorder",
    "VerifyingObserverName", "HumanPerformerName", "HumanPerformerOrganization", "NamesOfIntendedRecipientsOfResults",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "RequestingService",
    "AccessionNumber", "StudyID", "AdmissionID", "IssuerOfAdmissionID", "ServiceEpisodeID", "RequestAttributesSequence",
    "ReferencedPatientSequence", "OriginalAttributesSequence", "ModifiedAttributesSequence", "DeviceSerialNumber",
    "PlateID", "DetectorID", "CassetteID", "GantryID", "ImageComments", "StudyComments", "RequestedProcedureComments",
    "TextString", "TextComments", "IdentifyingComments", "AcquisitionComments", "FrameComments", "VisitComments",
    "InterpretationText", "Impressions", "ResultsComments", "DigitalSignaturesSequence", "IconImageSequence",
    "EncryptedAttributesSequence", "MACParametersSequence", "DataSetTrailingPadding", "AffectedSOPInstanceUID",
})  # fmt: skip
DATES: Final = frozenset({
    "PatientBirthDate", "PatientBirthTime", "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime", "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime",
    "AdmittingDate", "AdmittingTime", "ScheduledStudyStartDate", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "LastMenstrualDate",
    "DateOfLastCalibration", "TimeOfLastCalibration", "FrameAcquisitionDateTime", "OverlayDate", "CurveDate",
})  # fmt: skip
_ALWAYS: Final = frozenset({"PatientBirthDate", "PatientBirthTime"})
_PSEUDONYMS: Final = frozenset({"PatientID", "PatientName"})
AT_RISK: Final = frozenset({"US", "IVUS", "SC", "OT", "ES", "XC", "XA", "RF", "SM", "GM", "DOC", "ECG", "OP", "EPS"})
"""Modalities that habitually draw text into the picture."""
_PRIVATE, _OVERLAY, _CURVE = "private elements", "overlays (60xx)", "curves (50xx)"
BURNT_IN: Final = "BurnedInAnnotation=YES"
BURNT_IN_UNKNOWN: Final = "BurnedInAnnotation is absent"
FACE: Final = "RecognizableVisualFeatures=YES"


@dataclass(frozen=True)
class Element:
    """One element of a header, without what it holds.

    Args:
        group: Of its tag.
        keyword: Of the dictionary; empty if it has none.
        is_empty: Whether it holds nothing.
        is_nested: Whether it is inside of a sequence, where the pseudonym of the file does not reach.
    """

    group: int
    keyword: str
    is_empty: bool
    is_nested: bool = False


@dataclass(frozen=True)
class Claims:
    """What a file says about its own de-identification.

    Args:
        modality: Such as ``CT``.
        identity_removed: (0012,0062) is YES.
        dates_moved: (0028,0303) is MODIFIED or REMOVED.
        burned_in: (0028,0301), upper case, empty if absent.
        recognisable: (0028,0302) is YES.
        one_pseudonym: Name and identifier of the patient are the same text.
    """

    modality: str = ""
    identity_removed: bool = False
    dates_moved: bool = False
    burned_in: str = ""
    recognisable: bool = False
    one_pseudonym: bool = False


@dataclass
class Findings:
    """Attribute to number of files in which it still says something.

    Args:
        stops: Why nothing may be imported.
        warnings: What a person should look at.
    """

    stops: dict[str, int] = field(default_factory=dict[str, int])
    warnings: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, stops: Iterable[str], warnings: Iterable[str] = ()) -> None:
        """Count one file's findings."""
        for into, names in ((self.stops, stops), (self.warnings, warnings)):
            for name in set(names):
                into[name] = into.get(name, 0) + 1


def identifying(elements: Iterable[Element], claims: Claims) -> set[str]:
    """Names of what in a DICOM header still identifies somebody.

    Args:
        elements: Of the whole header, those in sequences included.
        claims: What the file says of itself.
    """
    found: set[str] = set()
    for element in elements:
        if element.is_empty:
            continue
        if element.group % 2:
            found.add(_PRIVATE)
        elif 0x6000 <= element.group <= 0x60FF:  # noqa: PLR2004 - repeating groups of PS3.6
            found.add(_OVERLAY)
        elif 0x5000 <= element.group <= 0x50FF:  # noqa: PLR2004
            found.add(_CURVE)
        elif (element.keyword in NAMES and (element.is_nested or not _is_pseudonym(element.keyword, claims))) or (
            element.keyword in DATES and (element.keyword in _ALWAYS or not claims.dates_moved)
        ):
            found.add(element.keyword)
    return found


def in_the_picture(claims: Claims, *, missing: MissingBurnedIn) -> tuple[set[str], set[str]]:
    """What the pixels may show of somebody: (what stops the import, what is a warning)."""
    stops, warnings = set[str](), set[str]()
    if claims.burned_in == "YES":
        stops.add(BURNT_IN)
    if claims.recognisable:
        stops.add(FACE)
    if claims.burned_in not in {"YES", "NO"} and claims.modality in AT_RISK:
        (stops if missing == "refuse" else warnings).add(f"{BURNT_IN_UNKNOWN} ({claims.modality})")
    return stops, warnings


def in_words(counts: Mapping[str, int]) -> str:
    """Such as ``PatientName (3 files), StudyDate (3 files)``: names and counts only."""
    return ", ".join(f"{name} ({count} file{'s' if count != 1 else ''})" for name, count in sorted(counts.items()))


def _is_pseudonym(keyword: str, claims: Claims) -> bool:
    if keyword not in _PSEUDONYMS or not claims.identity_removed:
        return False
    return keyword == "PatientID" or claims.one_pseudonym
