"""Figures drawn by another process are the same; without it they are drawn all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aggregator.report.drawing import pictures
from aggregator.report.drawing_process import DrawingProcess, drawn_as_json, drawn_from
from aggregator.report.html import render_html, write_report
from tests.example_report import example_report


def test_the_figures_are_those_drawn_here(tmp_path: Path) -> None:
    report = example_report()
    with DrawingProcess() as drawing:
        drawn = drawing.draw(report)
    assert drawn == pictures(report)
    write_report(report, tmp_path, drawn=drawn)
    assert (tmp_path / "report.html").read_text() == render_html(report)


def test_json_keeps_every_figure() -> None:
    drawn = pictures(example_report("regression"))
    assert drawn_from(drawn_as_json(drawn)) == drawn


@pytest.mark.parametrize("text", [b"", b"[]", b'{"sites": [{"name": "x"}]}', b'{"sites": 1}'])
def test_what_is_no_figure_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        drawn_from(text)


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/nowhere/python"])
def test_a_process_that_draws_nothing_loses_nothing(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = example_report()
    monkeypatch.setattr(sys, "executable", program)
    with DrawingProcess() as drawing:
        assert drawing.draw(report) == pictures(report)


def test_a_process_that_is_not_needed_ends_with_its_block() -> None:
    with DrawingProcess() as drawing:
        process = drawing._process
    assert process is not None
    assert process.poll() is not None
