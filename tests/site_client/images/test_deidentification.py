"""Whatever in a header still says whose an image is stops the import, is named, and is never shown."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from federation.errors import PrivacyRefusedError
from site_client.images.deidentification import AT_RISK, DATES, NAMES, Findings
from site_client.images.importing import refuse_identifying
from site_client.images.reading import check_header
from tests.site_client.images.dicom_files import (
    BIRTHDAY,
    NAME,
    content,
    dataset,
    saved,
    with_nested_name,
    with_private_element,
)


def findings(made: bytes, missing: str = "refuse") -> Findings:
    found = Findings()
    assert check_header(made, found, missing=missing) is None
    return found


def test_a_file_without_anything_identifying_passes() -> None:
    assert findings(content()) == Findings()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", BIRTHDAY), ("PatientAddress", "1 High Street"), ("ReferringPhysicianName", NAME),
        ("InstitutionName", "St Mary"), ("AccessionNumber", "77"), ("StudyDate", "20210101"), ("OtherPatientIDs", "9"),
        ("OperatorsName", NAME), ("StationName", "CT1"), ("ImageComments", NAME), ("StudyID", "study-4711"),
    ],
)  # fmt: skip
def test_an_identifying_attribute_is_named_and_not_shown(keyword: str, value: str) -> None:
    found = findings(content(**{keyword: value}))
    assert found.stops == {keyword: 1}
    with pytest.raises(PrivacyRefusedError) as refused:
        refuse_identifying(found)
    assert keyword in str(refused.value)
    assert value not in str(refused.value)
    assert value not in str(refused.value.as_dict())
    assert findings(content(**{keyword: ""})).stops == {}


def test_every_name_of_the_rules_is_one_of_the_dictionary() -> None:
    from pydicom.datadict import tag_for_keyword

    assert [name for name in NAMES | DATES if tag_for_keyword(name) is None] == []


def test_a_pseudonym_is_allowed_only_where_identity_was_removed_and_name_and_identifier_agree() -> None:
    assert findings(content(PatientIdentityRemoved="NO")).stops == {"PatientID": 1, "PatientName": 1}
    assert findings(content(PatientName=NAME)).stops == {"PatientName": 1}
    assert findings(content(PatientName="")).stops == {}


def test_dates_are_allowed_only_where_they_were_moved_and_a_birthday_never() -> None:
    moved = {"StudyDate": "20210101", "LongitudinalTemporalInformationModified": "MODIFIED"}
    assert findings(content(**moved)).stops == {}
    assert findings(content(**moved, PatientBirthDate=BIRTHDAY)).stops == {"PatientBirthDate": 1}
    assert findings(content(**moved | {"LongitudinalTemporalInformationModified": "UNMODIFIED"})).stops == {
        "StudyDate": 1
    }


def test_private_elements_nested_names_overlays_and_the_preamble_are_found() -> None:
    assert findings(saved(with_private_element())).stops == {"private elements": 1}
    assert findings(saved(with_nested_name())).stops == {"PatientName": 1, "PatientID": 1}
    overlaid = dataset()
    overlaid.add_new(Tag(0x6000, 0x3000), "OW", np.zeros(98, dtype=np.uint8).tobytes())
    assert findings(saved(overlaid)).stops == {"overlays (60xx)": 1}
    hidden = bytearray(content())
    hidden[0:8] = b"Doe^Jane"
    assert findings(bytes(hidden)).stops == {"preamble": 1}


def test_deep_nesting_is_not_followed_for_ever() -> None:
    made, inner = dataset(), Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner]
        inner = outer
    made.ReferencedImageSequence = [inner]
    assert findings(saved(made)).stops == {"private elements": 1}


def test_text_that_is_burnt_in_stops_and_silence_of_a_modality_at_risk_does_unless_the_site_says_otherwise() -> None:
    assert findings(content(BurnedInAnnotation="YES")).stops == {"BurnedInAnnotation=YES": 1}
    assert findings(content(RecognizableVisualFeatures="YES")).stops == {"RecognizableVisualFeatures=YES": 1}
    for modality in ("US", "SC"):
        silent = dataset(Modality=modality)
        del silent.BurnedInAnnotation
        name = f"BurnedInAnnotation is absent ({modality})"
        assert modality in AT_RISK
        assert findings(saved(silent)).stops == {name: 1}
        allowed = findings(saved(silent), missing="warn")
        assert (allowed.stops, allowed.warnings) == ({}, {name: 1})
    silent = dataset(Modality="CT")
    del silent.BurnedInAnnotation
    assert findings(saved(silent)) == Findings()


def test_findings_are_counted_by_file() -> None:
    found = Findings()
    for made in (content(StudyID="4"), content(StudyID="5", StationName="x"), content()):
        check_header(made, found, missing="refuse")
    with pytest.raises(PrivacyRefusedError, match=r"StationName \(1 file\), StudyID \(2 files\)"):
        refuse_identifying(found)
