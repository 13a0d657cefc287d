import pytest
from pydantic import ValidationError

from aggregator.report.content import Estimate, SiteReadiness, StudyReport, VariableReadiness
from federation.errors import CheckpointError
from tests.example_report import example_report


def test_nan_is_not_an_estimate():
    with pytest.raises(ValidationError):
        Estimate(value=float("nan"))


def test_a_site_passes_if_every_variable_does():
    good, bad = VariableReadiness(variable="age", passed=True), VariableReadiness(variable="chol", passed=False)
    assert SiteReadiness(site="a", variables=(good,)).passed
    assert not SiteReadiness(site="a", variables=(good, bad)).passed


def test_a_setting_is_found_by_name():
    report = example_report(sites={"a": 30, "b": 20})
    assert report.setting("pooled").title == "Pooled records"
    assert report.setting("absent") is None


def test_an_unknown_key_in_a_stored_report_is_named():
    data = example_report(sites={"a": 30, "b": 20}).as_data()
    with pytest.raises(CheckpointError, match="readyness"):
        StudyReport.from_data(data | {"readyness": []}, error=CheckpointError)
