from __future__ import annotations

from site_client.sources.source import SurveyedSource, survey
from tests.site_client.small_site import TODAY, MemorySource, contract, records, source, write


def test_a_plain_source_has_no_findings_and_may_repeat_patients():
    plain = MemorySource(records(3))
    assert not isinstance(plain, SurveyedSource)
    found = survey(plain, contract(), today=TODAY)
    assert found.records is plain.content
    assert found.problems == ()
    assert found.repeated_patients


def test_a_surveyed_source_answers_itself(tmp_path):
    write(tmp_path)
    found = survey(source(tmp_path), contract(), today=TODAY)
    assert len(found.records) == 4
    assert not found.repeated_patients
