from __future__ import annotations

import io

import pytest
from rich.console import Console

from federation.errors import UnknownCodeError
from site_client.data_checks import assess
from site_client.readiness_table import show_report, show_verdict
from site_client.sources.source import Survey
from tests.site_client.small_site import contract, definition, records


def shown(show, what, *, width=100) -> str:
    text = io.StringIO()
    show(what, console=Console(file=text, width=width, highlight=False))
    return text.getvalue()


def report(**survey):
    survey = {"records": records(), **survey}
    return assess(Survey(**survey), contract=contract(), definition=definition()).report


def test_a_good_report():
    text = shown(show_report, report(notices=("chol: no unit [given]",)))
    assert "40 records of 40 patients" in text
    assert "note: chol: no unit [given]" in text
    assert text.rstrip().endswith("pass")
    assert "patients to train on" in text


def test_only_steps_that_left_records_out_are_shown():
    some = records(age=[float("nan")] * 3 + [30] * 37)
    steps = [line.split()[0] for line in shown(show_report, report(records=some)).splitlines() if "present" in line]
    assert steps == ["age"]


def test_a_bad_report_says_what_to_do():
    problem = UnknownCodeError("expected codes [a]", site="st_mary", variable="male", remedy="add the code")
    text = shown(show_report, report(problems=(problem,)))
    assert "problem: site st_mary · variable male: expected codes [a]" in text
    assert "→ add the code" in text
    assert text.rstrip().endswith("fail")


def test_the_verdict_is_pass_or_fail():
    assert shown(show_verdict, report().verdict()).splitlines()[0] == "age: pass"
    problem = UnknownCodeError("expected codes", site="st_mary", variable="male")
    lines = shown(show_verdict, report(problems=(problem,)).verdict()).splitlines()
    assert "male: fail" in lines
    assert lines[-1] == "st_mary: fail"
    assert all(line.endswith(("pass", "fail")) for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_names_are_not_cut_off_on_a_narrow_terminal(width):
    text = shown(show_report, report(), width=width)
    assert "…" not in text
