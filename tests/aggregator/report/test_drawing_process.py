"""A page made by a copy of the process is the same; without it the page is made all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.report import drawing_process
from aggregator.report.drawing import pictures
from aggregator.report.drawing_process import DrawingProcess
from aggregator.report.html import make_page, render_html
from aggregator.report.page import Page, write_report
from conf.processes import copied_process
from conf.processes.copied_process import Receive
from tests.example_report import example_report


def test_the_page_is_the_one_made_here(tmp_path: Path) -> None:
    report = example_report()
    with DrawingProcess() as drawing:
        drawing.begin(report)
        page = drawing.page(report)
    assert page == make_page(report)
    assert list(page.figures) == list(pictures(report))
    write_report(report, page, tmp_path)
    assert (tmp_path / "report.html").read_text() == render_html(report)


def test_the_copy_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing_process, "_make_page", lambda receive: Page(receive().decode()[:1], {}).as_json())
    with DrawingProcess() as drawing:
        drawing.begin(example_report())
        assert drawing.page(example_report()) == Page("{", {})


def test_json_keeps_page_and_figures() -> None:
    page = make_page(example_report("regression"))
    assert Page.from_json(page.as_json()) == page


@pytest.mark.parametrize("can_copy", [True, False])
def test_figures_are_the_same_whoever_draws_them(can_copy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing_process, "pays_to_copy", lambda: can_copy)
    report = example_report("multiclass")
    drawn = drawing_process._drawn(report)
    assert drawn == pictures(report)
    assert list(drawn) == list(pictures(report))


def test_a_copy_that_ends_loses_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_process.CopiedProcess, "answer", lambda *_, **__: None)
    report = example_report()
    assert drawing_process._drawn(report) == pictures(report)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"html": "", "figures": {"sites": [{"name": "x"}]}}', b'{"figures": {}}', b'{"html": ""}']
)
def test_what_is_no_page_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Page.from_json(text)


@pytest.mark.parametrize("work", [lambda _: b"no page", lambda _: os._exit(0), lambda receive: receive()[:0]])
def test_a_copy_that_makes_nothing_loses_nothing(
    work: Callable[[Receive], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing_process, "_make_page", work)
    report = example_report()
    with DrawingProcess() as drawing:
        drawing.begin(report)
        assert drawing.page(report) == make_page(report)


def test_a_process_that_is_not_needed_ends_with_its_block() -> None:
    with DrawingProcess() as drawing:
        assert drawing.is_alive
    assert not drawing.is_alive
