"""The command `cohortium analyse`: tables, JSON, figures, and what it remembers from one call to the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experiments.analyse_commands import analyse
from federation.errors import ConfigurationError, PrivacyRefusedError

SMALL = ("study=generated_survival", "study.options.num_sites=3", "study.options.patients_per_site=60")


def run(tmp_path: Path, *arguments: str, output: str = "out") -> str:
    app = typer.Typer()
    app.command()(analyse)
    places = ["--memory", str(tmp_path / "memory"), "--output", str(tmp_path / output)]
    result = CliRunner().invoke(app, [*SMALL, *arguments, *places])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_secure_sums_are_the_default_and_json_is_all_that_is_printed(tmp_path: Path) -> None:
    printed = json.loads(run(tmp_path, "analysis=crosstab", "rows=stage", "columns=treated", "--json"))
    assert printed == json.loads((tmp_path / "out" / "result.json").read_text())
    assert (printed["patients"], len(printed["sites"]), printed["steps"]) == (180, 3, 2)
    assert (tmp_path / "out" / "command.txt").read_text().startswith("cohortium analyse study=generated_survival")


def test_a_survival_curve_is_a_figure(tmp_path: Path) -> None:
    asked = ("analysis=kaplan_meier", "time=months", "event=died", "group=treated", "grid=1", "aggregation=open")
    output = run(tmp_path, *asked)
    assert "survival.png" in output
    assert (tmp_path / "out" / "survival.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "out" / "survival.svg").read_text()
    assert "share without the event" in svg
    again = run(tmp_path, *asked, output="again")
    assert "survival.svg" in again
    assert (tmp_path / "again" / "survival.svg").read_text() == svg


def test_coefficients_are_a_table_and_a_figure(tmp_path: Path) -> None:
    asked = ("analysis=cox", "formula=~ age + stage + treated", "time=months", "event=died", "strata=site")
    output = run(tmp_path, *asked, "aggregation=open")
    assert "stage[T.late]" in output
    assert "log hazard ratio" in (tmp_path / "out" / "coefficients.svg").read_text()


def test_what_was_answered_before_is_remembered_by_the_next_call(tmp_path: Path) -> None:
    run(tmp_path, "analysis=crosstab", "rows=stage", "columns=treated", "aggregation=open")
    with pytest.raises(PrivacyRefusedError, match="differs"):
        run(tmp_path, "analysis=crosstab", "rows=stage", "columns=treated", "aggregation=open", "where=age < 89.5")


def test_two_hospitals_are_too_few_for_secure_sums(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 3 sites for secure sums, got 2"):
        run(tmp_path, "analysis=describe", "study.options.num_sites=2")


def test_a_wrong_option_of_the_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        run(tmp_path, "analysis=describe", "study.options.hospitals=4")
